"""Faults of engines, images, networks and hosts: a sentence with a way out, nothing half made, nothing lost."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.daemon import find_program
from tests.docker.platform import ROUTED, SERVICE, VOLUME, eventually, foreign, platform_of
from tests.engine import PREFIX, EngineError, own_engine
from tests.fakes.engine import fake_engine
from tests.images import broken_image, descriptors, make, next_image, recipe

pytestmark = pytest.mark.integration

IMPATIENT = "    ready_timeout_seconds: 3\n"
SEED = 4711


@pytest.fixture
def small(engine, images):
    """A platform of two small services, one of which keeps data; not up yet."""
    with platform_of(engine, images, "site", "store") as one:
        one.add("site", ROUTED.replace("{}", "{rate_limit: 0}") + SERVICE)
        one.add("store", SERVICE, VOLUME)
        yield one


def strays(platform, *services):
    """Containers of a platform that are not the one of a service."""
    return set(platform.ids()) - {f"{name}-1" for name in ("socket-proxy", "traefik", *services)}


# Engines


def test_an_engine_that_is_not_there_is_named_with_three_ways_out(small):
    small.set(DOCKER_HOST="unix:///nowhere/docker.sock")
    for words in (["up", "--yes"], ["status"]):
        said = small.run(*words, expect=1).stderr
        assert "error[unavailable]: docker: there is no engine at unix:///nowhere/docker.sock" in said
        assert "systemctl start docker" in said
        assert "RUNTIME=embedded" in said
    assert not (small.root / "autogit.lock.json").exists()


def test_an_engine_that_one_may_not_use_is_said_with_the_group(small):
    (small.folder / "locked").mkdir(mode=0)
    small.set(DOCKER_HOST=f"unix://{small.folder}/locked/docker.sock")
    small.environ["USER"] = "gandalf"
    if os.geteuid() == 0:  # root that is held to permissions
        if not find_program("setpriv"):
            pytest.skip("setpriv (util-linux) is missing")
        small.prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    said = small.up(expect=1).stderr
    assert f"gandalf may not use the engine at unix://{small.folder}/locked/docker.sock" in said
    assert "usermod -aG docker gandalf" in said


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ({"ApiVersion": "1.20", "MinAPIVersion": "1.12"}, "speaks API 1.20, at least 1.40 is needed"),
        ({"ApiVersion": "1.99", "MinAPIVersion": "1.90"}, "speaks API 1.90 and newer, this AutoGit up to"),
        ({"Name": "a web server"}, "is not a Docker Engine"),
        ("<html>", "the engine at"),
    ],
    ids=["old", "new", "other", "html"],
)
def test_an_engine_of_another_age_is_told(small, version, words):
    with fake_engine(small.folder / "s", version) as host:
        small.set(DOCKER_HOST=host)
        said = small.up(expect=1).stderr
    assert "error[unavailable]" in said
    assert words in said
    assert "hint:" in said


def test_an_engine_that_dies_in_the_middle_of_up_is_gone_on_with(small, engine):
    if not engine.can_restart:
        pytest.skip("this engine is not the tests' own")
    process = small.start("up", "--yes")
    try:
        assert eventually(lambda: {"site-1", "store-1"} & set(small.ids()))
        engine.kill()
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        engine.start()
    assert process.returncode in (1, 4), said
    assert "Traceback" not in said
    assert "unexpected" not in said, said
    assert "docker: the engine at" in said or "there is no engine" in said, said
    small.up()
    assert not strays(small, "site", "store")
    assert small.get("site").status == 200
    assert "Nothing to do" in small.up().stdout


# What stands in the way


def test_everything_that_stands_in_the_way_is_listed_at_once_and_nothing_is_made(small, engine, images):
    small.add("lost", SERVICE.replace("image: IMAGE", "image: autogit-test/lost:1"))
    small.add("gpu", SERVICE, "    gpus: 1\n")
    small.add("arm", SERVICE.replace("image: IMAGE", f"image: {for_arm(engine, images['loki'])}"))
    small.set(SERVICES_ENABLED="site,store,lost,gpu,arm")
    with (
        foreign(engine, "container", f"{small.name}-site-1", images["loki"]),
        foreign(engine, "network", f"{small.name}_web"),
        foreign(engine, "volume", f"{small.name}_store-data"),
    ):
        before = small.everything()
        said = small.up(expect=2).stderr
        assert small.everything() == before
        planned = small.run("plan").stdout
    assert "error[blocked]: nothing was changed: 6 things stand in the way" in said
    for text in (said, planned):
        assert f"container {small.name}-site-1" in text
        assert f"network {small.name}_web" in text
        assert f"volume {small.name}_store-data" in text
        assert "choose another PROJECT_NAME" in text
        assert "autogit-test/lost:1" in text
        assert "GPU" in text
        assert "is made for arm64, this engine is" in text
    assert "autogit images load FILE" in said
    assert "IMAGE_<SERVICE>=" in said
    assert not small.ids()


def test_a_limit_above_what_the_host_has_is_refused(small):
    small.add("huge", SERVICE.replace("minimal: 0.1C/32M", "minimal: 0.1C/900G"))
    small.set(SERVICES_ENABLED="site,huge")
    before = small.everything()
    said = small.up(expect=2).stderr
    assert "error[host-too-small]" in said
    assert "hint: set SIZE=" in said
    assert small.everything() == before


def test_a_port_that_is_taken_between_plan_and_up_is_named(small, tmp_path):
    small.run("plan", "--out", str(tmp_path / "plan.json"))
    with listening(small.https_port):
        said = small.run("up", "--plan", str(tmp_path / "plan.json"), expect=2).stderr
    assert "error[port-taken]" in said
    assert f"HTTPS_PORT={small.https_port}" in said
    assert not small.ids()


def test_a_port_that_is_taken_while_up_works_leaves_no_half_made_container(small):
    process = small.start("up", "--yes")
    try:
        assert eventually(lambda: "socket-proxy-1" in small.ids())
        with listening(small.https_port):
            said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 4, said
    assert f"traefik could not be started: port 127.0.0.1:{small.https_port} is taken" in said
    assert set(small.ids()) == {"site-1", "store-1", "socket-proxy-1"}
    small.up()
    assert small.get("site").status == 200


# Containers


def test_services_that_do_not_come_up_are_told_apart_and_taken_away(small, engine, images):
    for how in ("exits", "flaps"):
        text = SERVICE.replace("image: IMAGE", f"image: {broken_image(engine, images, 'loki', how)}")
        small.add(how, text.replace("start_period_seconds: 1", "start_period_seconds: 60"))
    never = broken_image(engine, images, "loki", "unhealthy")
    text = SERVICE.replace("start_period_seconds: 1", "start_period_seconds: 60")
    small.add("never", text.replace("image: IMAGE", f"image: {never}"), IMPATIENT)
    wrong = SERVICE.replace("    networks: [web]", "    networks: [web]\n    entrypoint: [/bin/not-there]")
    small.add("wrong", wrong)
    small.set(SERVICES_ENABLED="site,exits,flaps,never,wrong")
    said = small.up(expect=4).stderr
    assert "error[not-ready]" in said
    assert "exits ends again and again, exit code 1" in said, said
    assert "flaps ends again and again, exit code 1" in said, said
    assert "never did not become ready in 3 s" in said, said
    assert "wrong could not be started: " in said, said
    assert "/bin/not-there" in said, said
    assert "OCI runtime" not in said, said
    assert "cannot migrate the data" in said
    assert set(small.ids()) == {"site-1", "socket-proxy-1", "traefik-1"}
    assert small.get("site").status == 200
    small.set(SERVICES_ENABLED="site")
    small.up()
    assert "Nothing to do" in small.up().stdout


def test_up_that_is_killed_at_any_instant_is_gone_on_with(small, engine, images):
    releases = [next_image(engine, images, "loki"), images["loki"]]
    instants = random.Random(SEED)
    for number in range(3):
        process = small.start("up", "--yes")
        for line in process.stdout:  # until it begins to work
            if line.startswith("["):
                break
        said = small.end(process, instants.uniform(0, 1.5))
        small.up()
        assert not strays(small, "site", "store"), said
        assert json.loads(small.get("site").text)["release"] == ("1" if number % 2 == 0 else "2"), said
        assert "Nothing to do" in small.up().stdout
        small.set(IMAGE_SITE=releases[number % 2], IMAGE_STORE=releases[number % 2])


def test_ctrl_c_does_not_wait_for_a_container_that_takes_its_time(small):
    deaf = SERVICE.replace("stop_grace_seconds: 5", "stop_grace_seconds: 8")
    script = "    entrypoint: [/bin/sh, -c, \"trap '' TERM; /usr/bin/loki & while :; do wait; sleep 1; done\"]\n"
    small.add("store", deaf, VOLUME, script)
    small.up()
    small.add("store", deaf.replace("0.1C/32M", "0.1C/40M"), VOLUME, script)
    process = small.start("up", "--yes")
    try:
        (former,) = eventually(lambda: strays(small, "site", "store"))
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert small.containers()[former]["State"]["Running"], "it has not ended yet"
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "error[stopped]" in said
    assert "Traceback" not in said, said
    small.up()
    assert not strays(small, "site", "store")
    assert "Nothing to do" in small.up().stdout


# Disks


def test_a_full_disk_of_the_engine_is_said_and_gone_on_from(small):
    with small_engine("traefik", "socket-proxy", "loki") as (full, free):
        small.set(DOCKER_HOST=f"unix://{full.socket}")
        said = small.up(expect=4).stderr
        assert "no space left on the engine's disk" in said, said
        assert "docker system df" in said
        assert not full.api("GET", "/containers/json?all=1"), said
        free()
        small.up()
        small.run("down")


@contextmanager
def small_engine(*services):
    """A daemon of our own with images of services on a disk that is full; yields it, and what makes room there."""
    if os.geteuid() != 0 or not find_program("dockerd"):
        pytest.skip("server missing: dockerd (a second one, as root)")
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    me = psutil.Process()
    (folder / "owner").write_text(f"{me.pid} {me.create_time()}")
    (folder / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640m", "tmpfs", folder / "data"], check=True)
    one = own_engine(folder)
    try:
        one.start()
        for name in services:
            make(one, recipe(name, descriptors()[name]))
        filler = folder / "data" / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as target:
            while True:
                target.write(bytes(65536))
        yield one, filler.unlink
    finally:
        one.remove()
        shutil.rmtree(folder, ignore_errors=True)


def for_arm(engine, reference):
    """The same image, said to be made for another machine."""
    name = reference.replace("autogit-test/", "autogit-test/arm-")
    try:
        engine.api("GET", f"/images/{name}/json")
    except EngineError:
        pass
    else:
        return name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tar"
        engine.docker("save", "--output", path, reference)
        engine.docker("load", "--input", _changed(path, name))
    return name


def _changed(path, name):
    with tarfile.open(path) as archive:
        members = {m.name: (m, archive.extractfile(m).read() if m.isfile() else b"") for m in archive.getmembers()}
    manifest = json.loads(members["manifest.json"][1])
    config = json.loads(members.pop(manifest[0]["Config"])[1]) | {"architecture": "arm64"}
    data = json.dumps(config).encode()
    manifest[0] |= {"Config": f"{hashlib.sha256(data).hexdigest()}.json", "RepoTags": [name]}
    members.pop("repositories", None)
    target = path.with_name("changed.tar")
    with tarfile.open(target, "w") as archive:
        for member, content in [v for n, v in members.items() if n != "manifest.json"]:
            archive.addfile(member, io.BytesIO(content))
        for label, content in ((manifest[0]["Config"], data), ("manifest.json", json.dumps(manifest).encode())):
            info = tarfile.TarInfo(label)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


@contextmanager
def listening(port):
    """Somebody else on a port of this host."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield
