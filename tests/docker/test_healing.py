"""`autogit reconcile --watch` on a real engine: what falls is put back, what `.env` asks for anew waits for `up`.

A short seeded sample of the long suite runs in `make test`; `make soak` runs 200 faults and prints its figures.
"""

from __future__ import annotations

import os
import random
import statistics
import time

import psutil
import pytest

from tests.docker import healing_platform as faults
from tests.docker.healing_platform import (
    FAULTS,
    SERVICES,
    Watch,
    answers,
    await_healed,
    healing_platform,
    read_marker,
    repairs,
    shape,
    volumes_made,
    watching,
    write_marker,
)
from tests.docker.platform import eventually

pytestmark = pytest.mark.integration

SEED = int(os.environ.get("AUTOGIT_SEED", "20261124"))
_CALM_SECONDS = 11.0
"""A service that falls sooner after a repair has fallen again: the policy's patience is not what the faults try."""


@pytest.fixture(scope="module")
def platform(engine, images):
    """A platform that is up; nothing that these tests do to it is for good."""
    with healing_platform(engine, images) as one:
        write_marker(one)
        one.born, one.watch, one.wanted = volumes_made(one), None, shape(one)
        yield one
        unwatched(one)


def unwatched(platform):
    """The platform while nobody heals it."""
    if platform.watch is not None:
        watch, platform.watch = platform.watch, None
        watch.stop()
    return platform


@pytest.fixture
def healed(platform):
    """The platform while it is watched; afterwards it is as it was, by its own word too, and no data is gone."""
    if platform.watch is None:
        platform.up()
        platform.wanted, platform.watch = shape(platform), Watch(platform)
    yield platform
    try:
        await_healed(platform, platform.wanted)
        is_well(platform)
    except BaseException:
        platform.watch.end()
        platform.watch = None
        raise


@pytest.fixture
def alone(platform):
    """The platform, up and as it was before; who heals it is the test's business."""
    unwatched(platform).up()
    platform.wanted = shape(platform)
    yield platform
    await_healed(platform, platform.wanted)
    is_well(platform)


def is_well(platform):
    status = platform.json("status")
    assert (status["status"], status["pending"], status["drift"]) == ("healthy", 0, 0), status
    assert read_marker(platform) == "kept"
    assert volumes_made(platform) == platform.born


def heals(platform, fault, service, dice=None):
    """Do it, wait for the repair to be written down, and for everything to be as it was."""
    known = len(repairs(platform, service))
    fault(platform, service, dice)
    assert eventually(lambda: len(repairs(platform, service)) > known, 40), f"no repair of {service} is written down"
    assert repairs(platform, service)[-1]["ok"], repairs(platform, service)[-1]
    await_healed(platform, platform.wanted)


@pytest.mark.parametrize(
    ("kind", "service"), [("kill", "prometheus"), ("stop", "traefik"), ("rm", "store"), ("pause", "web")]
)
def test_a_container_that_fell_is_put_back(healed, kind, service):
    heals(healed, FAULTS[kind], service)


def test_a_container_that_lost_its_network_is_on_it_again_by_its_name(healed):
    heals(healed, faults.disconnect, "web")
    assert answers(healed)


def test_a_container_that_ran_out_of_memory_is_back(healed, engine):
    began = int(time.time())
    before = healed.container("store")["State"]["StartedAt"]
    faults.exhaust(healed, "store")
    # The engine starts it again by itself, mostly before anybody looks: healing has nothing left to do then.
    assert eventually(lambda: healed.container("store")["State"]["StartedAt"] != before, 40)
    await_healed(healed, healed.wanted)
    told = engine.docker("events", f"--since={began}", f"--until={int(time.time()) + 1}", "--filter=event=oom")
    assert f"name={healed.name}-store-1" in told


def test_a_container_whose_check_fails_is_started_again(healed):
    heals(healed, faults.make_sick, "web")


def test_a_check_that_never_ends_does_not_keep_the_others_waiting(healed, engine):
    engine.docker("exec", f"{healed.name}-web-1", "touch", "/tmp/hangs")
    assert eventually(lambda: shape(healed)["web-1"]["sick"], 20)
    heals(healed, faults.kill, "store")


def test_a_config_file_that_was_removed_is_written_again(healed):
    path = healed.root / ".autogit" / "rendered" / "traefik" / "dynamic" / "routes.yml"
    text = path.read_bytes()
    path.unlink()
    faults.kill(healed, "store")  # an event; nobody tells of files, the interval would find it too
    assert eventually(path.exists, 40)
    assert path.read_bytes() == text


def test_everything_comes_back_after_the_engine_was_started_anew(healed, engine):
    if not engine.can_restart:
        pytest.skip("this engine is not the tests' own")
    engine.restart()
    await_healed(healed, healed.wanted)
    engine.kill()
    assert eventually(lambda: any("engine" in said for said in healed.watch.said()), 20), "it says what is missing"
    engine.start()
    for service in ("store", "web"):  # what an engine that died does not bring back
        faults.remove(healed, service)
    await_healed(healed, healed.wanted)


def test_what_env_asks_for_anew_waits_for_up_and_what_fell_is_started_as_it_was(healed):
    healed.set(SIZE="homelab")
    try:
        for fault in (faults.kill, faults.disconnect):
            heals(healed, fault, "store")
            assert any("autogit up" in said for said in healed.watch.said())
        faults.remove(healed, "web")  # what it was cannot be made again: its settings are no longer there
        assert eventually(lambda: any(s["state"] == "absent" for s in healed.watch.turns()[-1]["services"]), 40)
        assert "web-1" not in healed.ids()
        healed.run("reconcile", expect=1)
        assert healed.json("plan")["counts"]["replace"] >= 1, "the next up still sees it"
    finally:
        healed.set(SIZE="minimal")


def test_a_platform_that_is_down_stays_down(alone):
    with watching(alone, interval=1.0):
        assert eventually(lambda: alone.run("down", expect=None).returncode == 0)
        assert "nothing was applied" in alone.run("reconcile").stdout
        assert alone.ids() == {}
        assert eventually(lambda: alone.up(expect=None).returncode == 0)


def test_a_service_that_falls_again_and_again_is_left_alone_for_a_while(alone):
    known = len(repairs(alone, "store"))
    with watching(alone, first_backoff_seconds=0.5, cool_down_seconds=8.0, calm_seconds=3.0) as watch:
        while not any("breaker opened" in said for said in watch.said()):
            assert len(repairs(alone, "store")) - known <= 3, "the policy allows three failures"
            if shape(alone).get("store-1", {}).get("state") == "running":
                faults.kill(alone, "store")
            time.sleep(0.1)
        opened, made = time.monotonic(), len(repairs(alone, "store"))
        status = alone.json("status")
        (store,) = (s for s in status["services"] if s["name"] == "store")
        assert "not repaired any more for now: 3 failures" in store["healing"], store
        alone.run("reconcile", expect=1)
        if time.monotonic() - opened < 6:
            assert len(repairs(alone, "store")) == made, "nothing is done while the breaker is open"
        await_healed(alone, alone.wanted)
        assert len(repairs(alone, "store")) == made + 1, "one trial"
        assert eventually(lambda: any("breaker closed" in said for said in watch.said()))
        assert watch.turns()[-1]["healthy"]
    assert len(repairs(alone, "store")) == made + 1


def _faults_in_turn(number, dice):
    """Each container with each fault once, then at random; which one falls next, and how."""
    whole = [(service, kind) for kind in FAULTS for service in SERVICES]
    yield from whole[:number]
    for _ in range(number - len(whole)):
        yield dice.choice(SERVICES), dice.choice(sorted(FAULTS))


class _Patience:
    """Waits as long as the healing policy would have to be patient with a service: ten repairs in ten minutes."""

    def __init__(self):
        self.moments = {service: [] for service in SERVICES}

    def wait(self, service):
        known = self.moments[service]
        ready = max([known[-1] + _CALM_SECONDS] if known else [0.0])
        if len(known) >= 9:
            ready = max(ready, known[-9] + 601)
        time.sleep(max(0.0, ready - time.monotonic()))
        known.append(time.monotonic())


def _heals_every_fault(platform, number, seed):
    """Do one fault after the other to a platform that is watched; returns the figures."""
    dice, patience = random.Random(seed), _Patience()
    known, seconds = len(repairs(platform)), []
    with watching(platform) as watch:
        healer, begun = psutil.Process(watch.process.pid), None
        for turn, (service, kind) in enumerate(_faults_in_turn(number, dice)):
            patience.wait(service)
            FAULTS[kind](platform, service, dice)
            seconds.append(await_healed(platform, platform.wanted, 90))
            if turn % 20 == 10:
                is_well(platform)
                begun = begun or (healer.memory_info().rss, healer.num_fds())
        openings = sum("breaker opened" in said for said in watch.said())
        grown = (healer.memory_info().rss - begun[0]) // 2**20, healer.num_fds() - begun[1], healer.num_threads()
    made = len(repairs(platform)) - known
    assert openings == 0
    assert made <= 2 * number, "nothing was thrashed"
    figures = (
        f"{number} faults, {len(seconds)} healed, {statistics.median(seconds):.1f} s median and "
        f"{max(seconds):.1f} s longest, {openings} breaker openings, {made / number:.2f} repairs a fault; "
        f"the healer has grown by {grown[0]} MB and {grown[1]} descriptors, and has {grown[2]} threads"
    )
    return len(seconds), figures


def test_a_dozen_faults_are_healed(healed):
    dice = random.Random(SEED)
    known = len(repairs(healed))
    for service, kind in dice.sample([(s, k) for k in FAULTS for s in SERVICES], 12):
        FAULTS[kind](healed, service, dice)
        await_healed(healed, healed.wanted)
    assert not any("breaker opened" in said for said in healed.watch.said())
    assert len(repairs(healed)) - known <= 24, "nothing was thrashed"


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_two_hundred_faults_are_healed(alone, capsys):
    healed, figures = _heals_every_fault(alone, 200, SEED)
    with capsys.disabled():
        print(f"\nseed {SEED}: {figures}")
    assert healed == 200
