"""The pages about the Docker runtime, followed to the letter on a real engine with Docker's own commands."""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon import find_program
from tests.docker.platform import TEMPLATES, eventually, free_ports, platform_of
from tests.engine import EngineError
from tests.images import broken_image, descriptors, next_image
from tests.pages import HOW_TO, follow, with_programs
from tests.tools import require_tool

pytestmark = pytest.mark.integration

NOWHERE = "images.invalid"
"""A registry that there will never be (RFC 6761): whatever is named after it is this machine's own."""

EXAMPLES = {"grafana/grafana:": f"{NOWHERE}/grafana:"}


@pytest.fixture(scope="module")
def plain(engine, images):
    """A platform that came up as the first page says."""
    with platform_of(engine, images, "grafana") as one:
        one.typed = typed(one, "run-on-docker.md", {"project=autogit": f"project={one.name}"})
        yield one


def typed(platform, page, examples=None, before=None):
    """Follow a page in a platform's folder, where `docker` and `docker compose` mean its engine."""
    compose = Path(importlib.util.find_spec("compose").origin).with_name("docker-compose")
    script = f'[ "$1" != compose ] || {{ shift; exec "{compose}" "$@"; }}\nexec "{find_program("docker")}" "$@"\n'
    environ = {
        **platform.environ,
        "DOCKER_HOST": f"unix://{platform.engine.socket}",
        "DOCKER_CONFIG": "/nonexistent",  # neither the user's configuration nor the contexts in it
    }
    environ = with_programs(environ, platform.folder / "bin", docker=script)
    return follow(page, platform.root, environ, examples=examples, before=before)


@contextmanager
def named(engine, **references):
    """Names below NOWHERE for images, which have them until the end."""
    names = {f"{NOWHERE}/{name}": reference for name, reference in references.items()}
    try:
        for name, reference in names.items():
            engine.docker("tag", reference, name)
        yield
    finally:
        for name in names:
            with suppress(EngineError):
                engine.docker("rmi", "--force", name)


def catalogue(platform, service, image):
    """Have the catalogue name another image for a service, as another AutoGit would."""
    override(platform, service, f"image: {descriptors()[service]['image']}\n", f"image: {NOWHERE}/{image}\n")


def override(platform, service, text, by):
    """Replace a service of the catalogue by one with another text in its descriptor."""
    folder = platform.root / "overrides" / "services" / service
    shutil.copytree(TEMPLATES / service, folder, dirs_exist_ok=True)
    descriptor = (folder / "service.yml").read_text()
    assert text in descriptor
    (folder / "service.yml").write_text(descriptor.replace(text, by))


def test_run_on_docker(plain):
    assert "kept as they were: RUNTIME" in plain.typed["autogit init --yes"]
    for command in ("docker ps", "docker compose"):
        said = next(text for line, text in plain.typed.items() if line.startswith(command))
        assert f"{plain.name}-grafana-1" in said


def test_survive_a_reboot_as_far_as_a_test_may(plain):
    page = (HOW_TO / "reboot.md").read_text()
    for words in ("schedule install --dry-run", "schedule show"):
        assert f"\nautogit {words}\n" in page
    plain.run("schedule", "install", "--dry-run")
    # A machine without systemd and cron (a container that runs tests) has no schedule to show, and is told so.
    has_scheduler = Path("/run/systemd/system").is_dir() or shutil.which("crontab")
    said = plain.run("schedule", "show", expect=0 if has_scheduler else 2)
    assert has_scheduler or "schedule install --dry-run shows a unit" in said.stderr
    plain.engine.docker("kill", f"{plain.name}-grafana-1")
    assert "container/grafana" in plain.run("reconcile").stdout
    assert eventually(lambda: plain.container("grafana")["State"]["Running"])


def test_upgrade(engine, images):
    newer = next_image(engine, images, "grafana")
    grafana = {
        "grafana:13.2.0": images["grafana"],
        "grafana:13.2.1": newer,
        "grafana:13.2.2": newer,
        "grafana:13.3.0": broken_image(engine, images, "grafana", "exits"),
    }
    gitlab = {f"gitlab-ce:{version}-ce.0": images["gitlab"] for version in ("18.11.12", "19.2.7", "19.5.3")}
    settings = {"IMAGE_GRAFANA": None, "IMAGE_GITLAB": None, "SSH_PORT": free_ports(1)[0]}
    with (
        named(engine, **grafana, **gitlab),
        platform_of(engine, images, "grafana", "gitlab", **settings) as one,
    ):
        catalogue(one, "grafana", "grafana:13.2.0")
        catalogue(one, "gitlab", "gitlab-ce:18.11.12-ce.0")
        one.up()
        catalogue(one, "grafana", "grafana:13.2.1")
        assert "Nothing to do" in one.up().stdout, "versions never move by themselves"
        printed = typed(
            one,
            "upgrade.md",
            {**EXAMPLES, "gitlab/gitlab-ce:": f"{NOWHERE}/gitlab-ce:"},
            {"GitLab: stops on the way": lambda: catalogue(one, "gitlab", "gitlab-ce:19.5.3-ce.0")},
        )
        row = next(x for x in printed["autogit upgrade --dry-run"].splitlines() if x.startswith("grafana"))
        assert row.split()[:4] == ["grafana", f"{NOWHERE}/grafana:13.2.0", f"{NOWHERE}/grafana:13.2.1", "moves"]
        assert ", 0 failed," in printed["autogit upgrade grafana --yes"]
        failed = printed[f"autogit deploy grafana --image {NOWHERE}/grafana:13.3.0 --yes"]
        assert "error[not-ready]" in failed
        assert "the former one is serving" in failed
        assert "grafana: cannot migrate the data" in failed
        assert "its data must stop on the way at 19.2.7-ce.0\n" in printed["autogit upgrade gitlab --yes"]
        rows = {view["service"]: view for view in one.json("images", "list")}
        assert rows["grafana"]["reference"] == f"{NOWHERE}/grafana:13.2.1"
        assert rows["gitlab"]["reference"] == f"{NOWHERE}/gitlab-ce:19.5.3-ce.0"


def test_a_machine_without_internet(engine, images):
    newer = next_image(engine, images, "grafana")
    with (
        named(engine, **{"grafana:13.2.0": newer}),
        platform_of(engine, images, "grafana", IMAGE_GRAFANA=None) as one,
    ):
        catalogue(one, "grafana", "grafana:13.2.0")

        def go_there():
            one.run("down", "--volumes", "--confirm", one.name)
            shutil.rmtree(one.root / ".autogit")
            (one.root / "autogit.lock.json").unlink()
            engine.docker("rmi", newer, f"{NOWHERE}/grafana:13.2.0")
            assert [v["present"] for v in one.json("images", "list") if v["service"] == "grafana"] == [False]

        printed = typed(one, "air-gapped.md", EXAMPLES, {"3. On the machine without": go_there})
        assert "3 images" in printed["autogit images save images.tar"]
        assert f"loaded {NOWHERE}/grafana:13.2.0" in printed["autogit images load images.tar"]
        assert ", 0 failed," in printed["autogit up --yes"]
        assert "error[blocked]" in printed["autogit up --yes"]
        assert f"{NOWHERE}/grafana:13.9.9" in printed["autogit up --yes"]
        assert one.get("grafana", "/api/health").status == 200


def test_take_over_what_was_started_by_hand(engine, images):
    with platform_of(engine, images, "grafana") as one:
        # Compose waits for a whole interval of the health check before it starts what depends on it.
        override(one, "socket-proxy", "interval_seconds: 15\n", "interval_seconds: 1\n")
        printed = typed(one, "adopt.md")
        assert ", 0 differ" in printed["autogit adopt"]
        assert "Nothing to do" in printed["autogit up"]
        assert ", 1 differ\n  autogit up would update container/grafana (state)" in printed["autogit adopt"]
        assert "stand-in for grafana" in one.get("grafana", "/").text


def test_what_is_reachable_from_where(engine, images):
    require_tool("curl")
    first_http, first_https, second_https = free_ports(3)
    settings = {"HTTP_PORT": None, "HTTPS_PORT": None}
    settings |= {"PORT_TRAEFIK_HTTP": first_http, "PORT_TRAEFIK_HTTPS": first_https}
    with platform_of(engine, images, "grafana", **settings) as one:
        one.up()
        examples = {
            "8443": str(second_https),
            "192.168.1.170": "127.0.0.2",
            "autogit_web": f"{one.name}_web",
            "traefik/whoami:v1.11.0": images["gitlab"],  # it answers on port 80
            "--name whoami": f"--name {one.name}-whoami",
            "--force whoami": f"--force {one.name}-whoami",
        }
        try:
            printed = typed(one, "exposure.md", examples)
        finally:
            with suppress(EngineError):
                engine.docker("rm", "--force", f"{one.name}-whoami")
        published = next(text for line, text in printed.items() if line.startswith("docker ps")).splitlines()
        ours = [row for row in published if row.startswith(f"{one.name}-")]
        assert [row.split()[0] for row in ours if "->" in row] == [f"{one.name}-traefik-1"]
        assert f"Published ports: {first_http} (traefik http), {first_https} (traefik" in printed["autogit plan"]
        assert f"{first_https} (traefik https) is held by our" in printed["autogit doctor"]
        assert "stand-in for gitlab" in next(text for line, text in printed.items() if line.startswith("curl"))
        bindings = one.container("traefik")["HostConfig"]["PortBindings"].values()
        places = {(port["HostIp"], int(port["HostPort"])) for ports in bindings for port in ports}
        assert places == {("127.0.0.2", first_http), ("127.0.0.2", second_https)}
