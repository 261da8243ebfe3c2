"""SIGKILL of `up` at random instants of its work on an engine: the next one converges and nothing is left over.

A short seeded sample runs in `make test`; `make soak` runs the long form and prints its figures.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest
import yaml

from tests.docker.healing_platform import answers, healing_platform, read_marker, volumes_made, write_marker
from tests.docker.platform import eventually, free_ports
from tests.images import next_image

pytestmark = pytest.mark.integration

SEED = int(os.environ.get("AUTOGIT_SEED", "20261124"))


@pytest.fixture(scope="module")
def platform(engine, images):
    """A platform that is up, with two releases of two of its services and two ports to choose from."""
    with healing_platform(engine, images) as one:
        one.releases = [images["loki"], next_image(engine, images, "loki")]
        one.http_ports = [one.env["HTTP_PORT"], *free_ports(1)]
        write_marker(one)
        yield one


def _wishes(platform, turn):
    """Ask for another state than the last turn did: new images, limits, variables, and now and then a port."""
    image = platform.releases[turn % 2]
    size = ["minimal", "homelab"][turn // 2 % 2]
    platform.set(IMAGE_WEB=image, IMAGE_STORE=image, SIZE=size, HTTP_PORT=platform.http_ports[turn // 4 % 2])


def _kill_at_work(platform, seconds):
    """Begin `up` and kill it then; returns whether it was still at work."""
    victim = platform.start("up", "--yes")
    time.sleep(seconds)
    at_work = victim.poll() is None
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    return at_work


def _what_is_wrong(platform):
    """How the platform differs from what the rendered Compose file means; nothing where it is as it should be."""
    compose = yaml.safe_load((platform.root / ".autogit" / "rendered" / "docker-compose.yml").read_text())
    found, wrong = platform.containers(), []
    if set(found) != {f"{name}-1" for name in compose["services"]}:
        wrong.append(f"containers: {sorted(found)}")
    for name, wish in compose["services"].items():
        if raw := found.get(f"{name}-1"):
            wrong += [f"{name}: {what}" for what in _differences(platform, name, wish, raw)]
    networks = sorted(f"{platform.name}_{name}" for name in compose["networks"])
    if platform.networks() != networks:
        wrong.append(f"networks: {platform.networks()}")
    strays = [c for c in platform.engine.api("GET", "/containers/json?all=1") if platform.name in c["Names"][0]]
    if len(strays) != len(compose["services"]):
        wrong.append(f"by name: {[c['Names'] for c in strays]}")
    return wrong


def _differences(platform, name, wish, raw):
    if raw["State"]["Status"] != "running" or raw["RestartCount"]:
        yield f"{raw['State']['Status']}, started again {raw['RestartCount']} times"
    networks = raw["NetworkSettings"]["Networks"]
    if set(networks) != {f"{platform.name}_{network}" for network in wish["networks"]}:
        yield f"is on {sorted(networks)}"
    for network, endpoint in networks.items():
        asked = wish["networks"][network.removeprefix(f"{platform.name}_")] or {}
        if not {name, *asked.get("aliases", ())} <= set(endpoint["Aliases"] or ()):
            yield f"is known as {endpoint['Aliases']} on {network}"
    if raw["Config"]["Image"] != wish["image"]:
        yield f"is of {raw['Config']['Image']}"
    recorded = platform.lockfile["resources"][f"container/{name}"]["attributes"]
    if (recorded["id"], recorded["hash"]) != (raw["Id"], raw["Config"]["Labels"]["autogit.hash"]):
        yield "is recorded as another one"


def _converges_after_kills(platform, kills, seed):
    """Kill `up` until `kills` died at work, from nothing and between two states; every next one converges.

    Returns the figures: how many were started, and in how many cases something half-made was left.
    """
    dice = random.Random(seed)
    began = time.monotonic()
    _wishes(platform, 0)
    platform.up()
    longest = time.monotonic() - began
    born, started, killed, halves = volumes_made(platform), 0, 0, 0
    while killed < kills:
        started += 1
        assert started <= 4 * kills + 10, "most of them ended before their moment came"
        place = f"seed {seed}, turn {started}"
        if started % 4 == 0:
            platform.run("down")
        _wishes(platform, started)
        killed += _kill_at_work(platform, dice.uniform(0.2 * longest, longest))
        assert platform.lockfile["schema"] == 1
        halves += len(platform.ids()) != 7
        platform.up()
        assert eventually(lambda: not _what_is_wrong(platform)), f"{place}: {_what_is_wrong(platform)}"
        assert eventually(lambda: answers(platform)), place
        assert "Nothing to do" in platform.up().stdout, place
        assert read_marker(platform) == "kept", place
        assert volumes_made(platform) == born, place
    return started, halves


def test_up_survives_sigkill_at_a_few_random_instants(platform):
    started, _ = _converges_after_kills(platform, kills=4, seed=SEED)
    assert started >= 4


def _kill_between_two_copies(platform, image):
    """Kill `up` while a service has its former container and the one that is not proven yet."""
    while True:
        platform.set(IMAGE_WEB=image)
        victim = platform.start("up", "--yes")
        while victim.poll() is None and len(platform.ids()) < 8:
            time.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        copies = [name for name in platform.ids() if name.endswith("web-1")]
        if len(copies) == 2:
            return copies
        platform.set(IMAGE_WEB=None)
        platform.up()


def test_healing_goes_on_with_a_killed_up_only_where_a_service_is_down(platform):
    _wishes(platform, 0)
    platform.up()
    former = platform.container("web")["Id"]
    copies = _kill_between_two_copies(platform, platform.releases[1])
    platform.run("reconcile", expect=None)
    assert former in platform.ids().values(), "who stopped the up may have had second thoughts"
    assert answers(platform)
    for copy in copies:
        platform.engine.docker("stop", "--time=0", platform.ids()[copy])
    platform.run("reconcile")
    assert platform.container("web")["Config"]["Image"] == platform.releases[1]
    platform.up()
    assert not _what_is_wrong(platform)


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_up_survives_sigkill_at_a_hundred_random_instants(platform, capsys):
    started, halves = _converges_after_kills(platform, kills=100, seed=SEED)
    with capsys.disabled():
        print(
            f"\nseed {SEED}: SIGKILL of up on an engine: {started} were started, 100 killed at work "
            f"({halves} with other containers than there should be), {started - 100} had ended, {started} converged"
        )
    assert started >= 100


def test_a_first_up_from_nothing_at_all_survives_sigkill(engine, images):
    with healing_platform(engine, images) as one:
        one.run("down", "--purge", "--confirm", one.name)
        assert one.volumes() == []
        assert _kill_at_work(one, 1.5) or json.loads((one.root / "autogit.lock.json").read_text())
        one.up()
        assert eventually(lambda: not _what_is_wrong(one)), _what_is_wrong(one)
        assert "Nothing to do" in one.up().stdout
