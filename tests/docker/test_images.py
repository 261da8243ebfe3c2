"""The images that stand for the catalogue's run as its descriptors want them to, and their health checks pass."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import EngineError
from tests.images import broken_image, descriptors, env_lines, next_image

SERVICES = Path(__file__).resolve().parents[2] / "templates" / "services"
pytestmark = pytest.mark.integration

TRAEFIK = """\
ping: {entryPoint: ping}
entryPoints: {ping: {address: ":8082"}}
providers: {docker: {endpoint: "tcp://127.0.0.1:1"}}
"""
NGINX = """\
daemon off;
user nginx;
pid /tmp/nginx.pid;
events {}
http {
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    access_log off;
    server {
        listen 8082;
        http2 on;
        location /ping { return 200 pong; }
    }
}
stream {}
"""


def hardening(run):
    """Arguments of `docker run` for what a descriptor says of rights and folders."""
    words = [f"--user={run['user']}"] if "{{" not in run.get("user", "{{") else []
    words += ["--read-only"] if run.get("read_only", True) else []
    words += [f"--cap-drop={name}" for name in run.get("cap_drop", ["ALL"])]
    words += [f"--cap-add={name}" for name in run.get("cap_add", ())]
    words += ["--security-opt=no-new-privileges"] if run.get("no_new_privileges", True) else []
    words += ["--init"] if run.get("init") else []
    words += [f"--tmpfs={path}" for path in run.get("tmpfs", ())]
    words += [f"--volume={path}" for path in run.get("volumes", {}).values()]
    words += ["--pid=host"] if run.get("pid") else []
    for bind in run.get("binds", ()):
        if bind.get("propagation"):
            words.append(f"--volume={bind['source']}:{bind['target']}:ro,{bind['propagation']}")
    words += [f"--stop-signal={run['stop_signal']}"] if "stop_signal" in run else []
    return words


@contextmanager
def running(engine, reference, *words, command=()):
    """The id of a container that is removed afterwards, with its volumes."""
    container = engine.docker("create", *words, reference, *command).strip()
    try:
        engine.docker("start", container)
        yield container
    finally:
        engine.docker("rm", "--force", "--volumes", container)


def passes(engine, container, test, seconds=20):
    """Whether a health check passes before long; its last complaint if not."""
    deadline, said = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            engine.docker("exec", container, *test)
        except EngineError as exc:
            said = str(exc)
        else:
            return ""
        time.sleep(0.1)
    return f"{said}\n{engine.docker('logs', container)}"


def state(engine, container):
    return engine.api("GET", f"/containers/{container}/json")["State"]


def wait_for(engine, container, wanted, seconds=20):
    """The container's state once it is as wanted, or as it is at the end of the time."""
    deadline = time.monotonic() + seconds
    while not wanted(found := state(engine, container)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_every_service_has_an_image_that_its_setting_names(images):
    assert set(images) == set(descriptors())
    assert "IMAGE_GITLAB_RUNNER=autogit-test/gitlab-runner:" in env_lines(images)
    assert "api" not in images


@pytest.mark.parametrize(
    "service", ["alloy", "gitlab", "grafana", "loki", "meilisearch", "node-exporter", "prometheus", "promtail", "tempo"]
)
def test_an_image_runs_hardened_and_passes_its_health_check(engine, images, service):
    run = descriptors()[service]["runs"]["container"]
    # Meilisearch's entry point is a script of the rendered folder.
    words = [
        *hardening(run),
        "--network=none",
        *(["--entrypoint=/bin/meilisearch"] if service == "meilisearch" else []),
    ]
    with running(engine, images[service], *words) as container:
        assert passes(engine, container, run["health"]["test"][1:]) == ""


def test_traefik_runs_hardened_and_passes_its_health_check(engine, images, tmp_path):
    run = descriptors()["traefik"]["runs"]["container"]
    (tmp_path / "traefik.yml").write_text(TRAEFIK)
    bind = f"--volume={tmp_path}:/etc/autogit/traefik:ro"
    command = ["--configFile=/etc/autogit/traefik/traefik.yml"]
    with running(engine, images["traefik"], *hardening(run), bind, "--network=none", command=command) as container:
        assert passes(engine, container, run["health"]["test"][1:]) == ""


def test_nginx_starts_with_what_only_newer_ones_know_and_reads_it_again(engine, images, tmp_path):
    run = descriptors()["nginx"]["runs"]["container"]
    (tmp_path / "nginx.conf").write_text(NGINX)
    words = [*hardening(run), f"--volume={tmp_path}:/etc/autogit/nginx:ro", "--network=none", "--entrypoint=nginx"]
    command = ["-e", "stderr", "-c", "/etc/autogit/nginx/nginx.conf"]
    with running(engine, images["nginx"], *words, command=command) as container:
        assert passes(engine, container, run["health"]["test"][1:]) == ""
        (tmp_path / "nginx.conf").write_text(NGINX.replace("/ping", "/again"))
        engine.docker("kill", "--signal=HUP", container)
        assert passes(engine, container, ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8082/again"]) == ""
        engine.docker("stop", container)
        assert state(engine, container)["ExitCode"] == 0


def test_prometheus_starts_with_what_only_newer_ones_know_and_reads_it_again(engine, images, tmp_path):
    run = descriptors()["prometheus"]["runs"]["container"]
    retention = "storage:\n  tsdb:\n    retention:\n      time: 15d\n"
    rules = "groups: [{name: NAME, rules: [{record: 'a:b', expr: vector(1)}]}]\n"
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "one.yml").write_text(rules.replace("NAME", "first"))
    (tmp_path / "prometheus.yml").write_text(f"rule_files: [rules/*.yml]\n{retention}")
    words = [*hardening(run), f"--volume={tmp_path}:/etc/autogit/prometheus:ro", "--network=none"]
    tmp_path.chmod(0o755)
    command = ["--config.file=/etc/autogit/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
    asked = ["sh", "-c", "wget -q -O - http://127.0.0.1:9090/api/v1/rules | grep second"]
    with running(engine, images["prometheus"], *words, command=command) as container:
        assert passes(engine, container, run["health"]["test"][1:]) == ""
        (tmp_path / "rules" / "one.yml").write_text(rules.replace("NAME", "second"))
        engine.docker("kill", "--signal=HUP", container)
        assert passes(engine, container, asked) == ""


@pytest.fixture
def proxy(engine, images):
    """A running socket proxy with the catalogue's own rules: its container's id and its address."""
    run = descriptors()["socket-proxy"]["runs"]["container"]
    rules = "/etc/autogit/socket-proxy"
    binds = [f"--volume={engine.socket}:/var/run/docker.sock:ro", f"--volume={SERVICES}/socket-proxy/config:{rules}:ro"]
    command = ["-W", "-db", "-f", f"{rules}/haproxy.cfg"]
    words = [*hardening(run), *binds, "--publish=127.0.0.1::2375"]
    with running(engine, images["socket-proxy"], *words, command=command) as container:
        assert passes(engine, container, run["health"]["test"][1:]) == ""
        yield container, f"http://{engine.docker('port', container, '2375/tcp').split()[0]}"


def test_the_socket_proxy_lets_reads_of_containers_pass(proxy):
    container, address = proxy
    assert container in {c["Id"] for c in json.load(urllib.request.urlopen(f"{address}/v1.41/containers/json?all=1"))}
    assert json.load(urllib.request.urlopen(f"{address}/containers/{container}/json"))["Id"] == container
    assert json.load(urllib.request.urlopen(f"{address}/networks"))
    assert urllib.request.urlopen(f"{address}/v1.41/containers/{container}/logs?stdout=1").status == 200


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/containers/CONTAINER/archive?path=/run/secrets", None),
        ("/v1.41/containers/CONTAINER/export", None),
        ("/containers/CONTAINER/top", None),
        ("/containers/CONTAINER/json/../archive?path=/", None),
        ("//containers/CONTAINER/archive?path=/", None),
        ("/containers/CONTAINER/%61rchive?path=/", None),
        ("/images/json", None),
        ("/volumes", None),
        ("/info", None),
        ("/containers/create", b"{}"),
        ("/containers/CONTAINER/kill", b""),
        ("/containers/CONTAINER/json", b"{}"),
    ],
)
def test_the_socket_proxy_lets_nothing_else_pass(proxy, path, data):
    container, address = proxy
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{address}{path.replace('CONTAINER', container)}", data))
    assert refused.value.code == 403
    refused.value.close()


def test_a_check_that_the_image_brings_is_asked_by_the_engine(engine, images):
    with running(engine, images["cadvisor"], "--network=none") as container:
        found = wait_for(engine, container, lambda s: s["Health"]["Status"] == "healthy")
        assert found["Health"]["Status"] == "healthy"


def test_gitlab_answers_on_the_port_of_ssh(engine, images):
    with running(engine, images["gitlab"], "--network=none") as container:
        assert passes(engine, container, ["sh", "-c", "nc 127.0.0.1 22 </dev/null | grep -q SSH-2.0"]) == ""


def test_gitlab_runner_ends_at_its_signal(engine, images):
    run = descriptors()["gitlab-runner"]["runs"]["container"]
    with running(engine, images["gitlab-runner"], *hardening(run), "--network=none") as container:
        assert passes(engine, container, run["health"]["test"][1:]) == ""
        engine.docker("stop", "--time=60", container)
        assert state(engine, container)["ExitCode"] == 0
        assert "gitlab-runner: ends" in engine.docker("logs", container)


def test_stand_ins_answer_with_their_name_and_release(engine, images):
    newer = next_image(engine, images, "grafana")
    for reference, release in ((images["grafana"], "1"), (newer, "2")):
        with running(engine, reference, "--network=none") as container:
            test = descriptors()["grafana"]["runs"]["container"]["health"]["test"][1:]
            assert passes(engine, container, test) == ""
            page = engine.docker("exec", container, "wget", "-q", "-O", "-", "http://127.0.0.1:3000/api/health")
            assert json.loads(page) == {"service": "grafana", "release": release}
    ids = {engine.api("GET", f"/images/{ref}/json")["Id"] for ref in (newer, images["grafana"])}
    assert len(ids) == 2


@pytest.mark.parametrize("service", ["grafana", "traefik"])
@pytest.mark.parametrize("how", ["exits", "flaps"])
def test_a_broken_release_ends_and_says_why(engine, images, service, how):
    with running(engine, broken_image(engine, images, service, how), "--network=none") as container:
        found = wait_for(engine, container, lambda s: s["Status"] == "exited")
        assert (found["Status"], found["ExitCode"]) == ("exited", 1)
        assert engine.docker("logs", container).startswith(f"{service}: release 2 starts")


@pytest.mark.parametrize("service", ["alloy", "gitlab", "loki", "prometheus", "traefik"])
def test_an_unhealthy_release_runs_and_fails_its_check(engine, images, service):
    run = descriptors()[service]["runs"]["container"]
    reference = broken_image(engine, images, service, "unhealthy")
    with running(engine, reference, *hardening(run), "--network=none") as container:
        with pytest.raises(EngineError):
            engine.docker("exec", container, *run["health"]["test"][1:])
        assert state(engine, container)["Status"] == "running"


def test_sweeping_a_project_leaves_others_alone(engine, images):
    for project in ("swept", "kept"):
        label = f"--label=com.docker.compose.project={project}"
        engine.docker("network", "create", label, project)
        engine.docker("volume", "create", label, project)
        engine.docker("run", "--detach", label, f"--name={project}", "--network", project, images["loki"])
    try:
        engine.sweep("swept")
        for kind in ("container", "network", "volume"):
            names = engine.docker(kind, "ls", *(["--all"] if kind == "container" else []))
            assert "swept" not in names
            assert "kept" in names
    finally:
        engine.sweep("kept")


def test_a_daemon_that_is_killed_starts_again_on_its_data(engine, images):
    if not engine.can_restart:
        pytest.skip("this engine is not the tests' own")
    # After a crash an engine of this age does not start `unless-stopped` again: it has stopped those itself.
    with running(engine, images["loki"], "--network=none", "--restart=always") as container:
        for end in (engine.kill, engine.terminate):
            end()
            assert not engine.answers()
            engine.start()
            assert wait_for(engine, container, lambda s: s["Running"])["Running"]
            assert passes(engine, container, descriptors()["loki"]["runs"]["container"]["health"]["test"][1:]) == ""
