"""A whole platform on a real engine: brought up, looked at with Docker's own tools, taken over, and taken down."""

from __future__ import annotations

import json

import pytest

from tests.docker.platform import ROUTED, SERVICE, VOLUME, eventually, foreign, platform_of

pytestmark = pytest.mark.integration

CANARY = "canary-4711-do-not-show"


@pytest.fixture(scope="module")
def whole(engine, images):
    """A platform that is up, for tests that only look at it."""
    with platform_of(engine, images, "api", "prometheus", PROMETHEUS_PASSWORD=CANARY) as one:
        one.add_cadvisor()
        one.first_up = one.up()
        yield one


@pytest.fixture
def small(engine, images):
    """A platform of two small services, one of which keeps data; not up yet."""
    with platform_of(engine, images, "site", "store") as one:
        one.add("site", SERVICE, ROUTED.replace("{}", "{rate_limit: 0}"))
        one.add("store", SERVICE, VOLUME)
        one.change("socket-proxy", "interval_seconds: 15", "interval_seconds: 1")
        yield one


def test_a_platform_comes_up_from_nothing(whole):
    assert ", 0 failed," in whole.first_up.stdout
    wanted = {f"{name}-1" for name in ("api", "cadvisor", "node-exporter", "prometheus", "socket-proxy", "traefik")}
    assert set(whole.ids()) == wanted
    assert whole.get("api", "/healthz").status == 200
    assert whole.get("prometheus", "/-/ready").status == 401, "it asks for its password"
    assert "Nothing to do" in whole.up().stdout


def test_plan_and_status_tell_the_same(whole):
    assert not [c for c in whole.json("plan")["changes"] if c["action"] != "noop"]
    assert {s["status"] for s in whole.json("status")["services"]} == {"healthy"}


def test_only_the_ingress_publishes_ports(whole):
    bindings = {name: raw["HostConfig"]["PortBindings"] or {} for name, raw in whole.containers().items()}
    assert {name for name, ports in bindings.items() if ports} == {"traefik-1"}
    places = {(p["HostIp"], int(p["HostPort"])) for rows in bindings["traefik-1"].values() for p in rows}
    assert places == {("127.0.0.1", whole.env["HTTP_PORT"]), ("127.0.0.1", whole.https_port)}
    assert not any(raw["HostConfig"]["PublishAllPorts"] for raw in whole.containers().values())


def test_no_secret_is_seen_in_an_inspection(whole):
    assert CANARY not in json.dumps(whole.containers())
    assert CANARY not in whole.first_up.stdout + whole.first_up.stderr
    assert CANARY not in (whole.root / "autogit.lock.json").read_text()


def test_docker_compose_shows_the_platform(whole, engine):
    place = whole.root / ".autogit" / "rendered"
    rows = [
        json.loads(line)
        for line in engine.compose("-p", whole.name, "ps", "--format", "json", cwd="/").split("\n")
        if line
    ]
    assert {row["Service"] for row in rows} == {name.removesuffix("-1") for name in whole.ids()}
    assert "prometheus-1" in engine.compose("-p", whole.name, "logs", "--no-color", "prometheus", cwd="/")
    assert whole.name in engine.compose("ls", cwd="/")
    assert json.loads(engine.compose("config", "--format", "json", cwd=place))["name"] == whole.name


def test_docker_compose_up_without_recreation_changes_nothing(whole, engine):
    before = whole.ids()
    engine.compose("up", "-d", "--no-recreate", cwd=whole.root / ".autogit" / "rendered")
    assert whole.ids() == before
    assert "Nothing to do" in whole.up().stdout


def test_containers_are_what_the_compose_file_means(whole, engine):
    other = f"{whole.name}-twin"
    try:
        engine.compose("-p", other, "create", cwd=whole.root / ".autogit" / "rendered")
        for name, raw in whole.containers().items():
            twin = engine.api("GET", f"/containers/{other}-{name}/json")
            assert _meaning(raw, whole.name) == _meaning(twin, other), name
    finally:
        engine.sweep(other)


def _meaning(raw, project):
    """What Compose says of a container, in the engine's words, without the project's name."""
    config, host = raw["Config"], raw["HostConfig"]
    parts = {
        **{
            name: config.get(name) for name in ("Cmd", "Entrypoint", "User", "Healthcheck", "StopSignal", "StopTimeout")
        },
        **{name: host[name] for name in ("Memory", "NanoCpus", "PidsLimit", "ReadonlyRootfs", "Privileged", "ShmSize")},
        **{name: host.get(name) or [] for name in ("SecurityOpt", "Devices", "Tmpfs", "PidMode")},
        **{name: sorted(cap.removeprefix("CAP_") for cap in host[name] or ()) for name in ("CapAdd", "CapDrop")},
        "Init": bool(host.get("Init")),
        "Env": sorted(config["Env"] or ()),
        "Restart": host["RestartPolicy"]["Name"],
        "LogConfig": host["LogConfig"],
        "PortBindings": host["PortBindings"] or {},
        "Networks": {n: sorted(_aliases(e, raw)) for n, e in raw["NetworkSettings"]["Networks"].items()},
        "Mounts": sorted(_mount(m, raw) for m in host["Mounts"] or ())
        + sorted(_bind(text) for text in host["Binds"] or ()),
    }
    return json.loads(json.dumps(parts).replace(f"{project}_", "").replace(f"{project}-", ""))


def _aliases(endpoint, raw):
    own = {raw["Id"][:12], raw["Name"].lstrip("/")}
    return set(endpoint["Aliases"] or ()) - own


def _mount(mount, raw):
    return [mount["Type"], mount["Source"], mount["Target"], bool(mount.get("ReadOnly"))]


def _bind(text):
    source, target, *options = text.split(":")
    return ["bind" if source.startswith("/") else "volume", source, target, "ro" in ",".join(options)]


def test_a_descriptor_is_kept_to_the_letter(whole):
    raw = whole.container("prometheus")
    host, config = raw["HostConfig"], raw["Config"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (512 * 1024**2, 10**9, 1024)
    assert (host["CapDrop"], host["CapAdd"] or [], host["ReadonlyRootfs"]) == (["ALL"], [], True)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert (config["User"], config["StopTimeout"]) == ("65534:65534", 30)
    assert config["Healthcheck"]["StartPeriod"] == 60 * 10**9
    assert [m["Name"] for m in raw["Mounts"] if m["Type"] == "volume"] == [f"{whole.name}_prometheus-data"]
    assert all(not m["RW"] for m in raw["Mounts"] if m["Type"] == "bind")


def test_every_container_stays_up_and_well_by_the_engines_own_check(whole):
    assert eventually(lambda: whole.container("traefik")["State"]["Health"]["Status"] == "healthy", 30)
    assert not [name for name, c in whole.containers().items() if c["State"]["Health"]["Status"] == "unhealthy"]
    assert not any(raw["RestartCount"] for raw in whole.containers().values())


def test_prometheus_reads_its_configuration_again_on_a_signal(whole):
    before = whole.containers()
    whole.set(PROMETHEUS_RETENTION="20d")
    assert "container/prometheus  reloaded" in whole.up().stderr
    after = whole.containers()
    for name, raw in before.items():
        assert after[name]["Id"] == raw["Id"]
        assert after[name]["State"]["StartedAt"] == raw["State"]["StartedAt"]
    assert "Nothing to do" in whole.up().stdout


def test_what_was_started_by_hand_from_the_rendered_files_is_taken_over(small, engine):
    small.run("render", "--out", ".autogit/rendered", "--with-secrets")
    engine.compose("up", "-d", cwd=small.root / ".autogit" / "rendered")
    by_hand = small.ids()
    assert set(by_hand) == {"site-1", "store-1", "socket-proxy-1", "traefik-1"}
    small.up()
    assert small.ids() == by_hand
    assert small.get("site").status == 200
    assert "Nothing to do" in small.up().stdout


def test_down_keeps_volumes_and_leaves_alone_what_is_not_autogits(small, engine, images):
    small.up()
    engine.docker("exec", small.container("store")["Id"], "sh", "-c", "echo kept >/loki/note")
    project = f"--label=com.docker.compose.project={small.name}"
    with (
        foreign(engine, "network", f"{small.name}_foreign", project),
        foreign(engine, "volume", f"{small.name}_foreign", project),
        foreign(
            engine, "container", f"{small.name}-foreign", project, "--network", f"{small.name}_web", images["loki"]
        ),
    ):
        engine.docker("start", f"{small.name}-foreign")
        said = small.run("down").stdout
        assert f"network {small.name}_web is used by {small.name}-foreign: it stays" in said
        assert set(small.ids()) == {"foreign"}
        assert small.networks() == [f"{small.name}_foreign", f"{small.name}_web"]
        assert small.volumes() == [f"{small.name}_foreign", f"{small.name}_store-data"]
        small.up()
        assert engine.docker("exec", small.container("store")["Id"], "cat", "/loki/note") == "kept\n"
        assert set(small.ids()) == {"foreign", "site-1", "store-1", "socket-proxy-1", "traefik-1"}


def test_two_platforms_of_one_name_do_not_take_from_each_other(small, engine, images):
    small.up()
    before = small.ids()
    with platform_of(engine, images, "site", "store", PROJECT_NAME=small.name) as other:
        other.add("site", SERVICE, ROUTED)
        other.add("store", SERVICE, VOLUME)
        done = other.up(expect=2)
        assert "error[blocked]" in done.stderr
        assert done.stderr.count("another PROJECT_NAME") >= 4, done.stderr
        assert small.ids() == before
        other.run("down")
        assert small.ids() == before
    assert "Nothing to do" in small.up().stdout
