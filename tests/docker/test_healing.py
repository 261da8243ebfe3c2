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

from autogit.errors import UnavailableError
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.stream import watch_events
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
from tests.docker.platform import PROJECT_LABEL, SERVICE_LABEL, eventually
from tests.engine import EngineError

pytestmark = pytest.mark.integration

SEED = int(os.environ.get("AUTOGIT_SEED", "20261124"))


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
    if platform.watch is None or platform.watch.process.poll() is not None:
        platform.up()
        platform.wanted, platform.watch = shape(platform), Watch(platform)
    faults.forget(platform)
    yield platform
    platform.watch.show()
    await_healed(platform, platform.wanted)
    is_well(platform)


@pytest.fixture
def alone(platform):
    """The platform, up and as it was before; who heals it is the test's business."""
    unwatched(platform).up()
    faults.forget(platform)
    platform.wanted = shape(platform)
    yield platform
    await_healed(platform, platform.wanted)
    is_well(platform)


def is_well(platform):
    """Whether it is well by its own word, before long: on a busy machine a check may fail for once."""

    def says():
        status = platform.json("status", expect=None)
        return status["status"], status["pending"], status["drift"]

    assert eventually(lambda: says() == ("healthy", 0, 0), 60), platform.run("status", expect=None).stdout
    assert read_marker(platform) == "kept"
    assert volumes_made(platform) == platform.born


def heals(platform, fault, service, dice=None):
    """Do it, wait for the repair to be written down, and for everything to be as it was."""
    faults.forget(platform)
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
    assert answers(healed)


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
    assert eventually(lambda: shape(healed)["web-1"]["sick"], 40)
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
            assert eventually(lambda: any("autogit up" in said for said in healed.watch.said()), 40)
        faults.remove(healed, "web")  # what it was cannot be made again: its settings are no longer there
        assert eventually(lambda: any(s["state"] == "absent" for s in healed.watch.turns()[-1]["services"]), 40)
        assert "web-1" not in healed.ids()
        healed.run("reconcile", expect=1)
        assert healed.json("plan")["counts"]["update"] >= 1, "the next up still sees it"
    finally:
        healed.set(SIZE="minimal")
        assert eventually(lambda: healed.up(expect=None).returncode == 0)


def test_while_env_is_broken_what_was_read_before_counts(healed):
    env = healed.root / ".env"
    before = env.read_text()
    try:
        env.write_text(before + "NONSENSE=1\n")
        heals(healed, faults.kill, "store")
        assert eventually(lambda: any("goes on with what was read before" in said for said in healed.watch.said()), 40)
    finally:
        env.write_text(before)


def test_a_full_disk_ends_no_healer(healed):
    memory, log = (healed.root / ".autogit" / name for name in ("health.json", "audit.jsonl"))
    written = log.read_bytes()
    memory.unlink(missing_ok=True)
    memory.mkdir()  # nothing can be written there
    try:
        faults.kill(healed, "store")
        assert eventually(lambda: any("cannot write" in said for said in healed.watch.said()), 40)
        assert shape(healed)["store-1"]["state"] == "exited", "what cannot be remembered is not begun"
    finally:
        memory.rmdir()
        log.unlink()
        log.mkdir()
    try:
        await_healed(healed, healed.wanted)
        assert eventually(lambda: any("audit log cannot be written" in said for said in healed.watch.said()))
    finally:
        log.rmdir()
        log.write_bytes(written)


def test_a_healer_that_is_ended_in_a_repair_leaves_nothing_half_done(alone):
    with watching(alone):
        faults.kill(alone, "store")
        assert eventually(lambda: faults.remembered(alone)["store"]["state"] == "repairing", 40)
    assert faults.remembered(alone)["store"]["state"] == "healthy", "it has brought the repair to its end"
    await_healed(alone, alone.wanted)


def test_a_healer_that_was_killed_in_a_repair_counts_it(alone):
    watch = Watch(alone)
    faults.kill(alone, "store")
    assert eventually(lambda: faults.remembered(alone)["store"]["state"] == "repairing", 40)
    watch.end()
    assert faults.remembered(alone)["store"]["on_trial"]
    alone.engine.docker("stop", "--time=0", f"{alone.name}-store-1")
    assert "repair did not hold (1 in a row)" in alone.run("reconcile", expect=None).stdout
    faults.let_time_pass(alone, "store", 3)
    alone.run("reconcile")


def test_two_healers_repair_once(alone):
    known = len(repairs(alone, "store"))
    with watching(alone), watching(alone, name="second"):
        for service in ("store", "web"):
            faults.stop(alone, service)
            await_healed(alone, alone.wanted)
    assert len(repairs(alone, "store")) == known + 1


def test_a_platform_can_be_changed_while_it_is_watched(alone):
    with watching(alone, interval=1.0):
        alone.set(SIZE="homelab")
        assert ", 0 failed," in alone.up("--lock-wait", "20").stdout
        alone.run("down", "--lock-wait", "20")
        assert "nothing was applied" in alone.run("reconcile").stdout
        assert alone.ids() == {}, "a platform that is down stays down"
        alone.set(SIZE="minimal")
        alone.up("--lock-wait", "20")


def test_only_what_happens_to_the_project_is_heard(engine, images):
    heard = watch_events(Engine(f"unix://{engine.socket}"), "heard")
    assert next(heard) == "", "it listens"
    labels = [f"--label={PROJECT_LABEL}=heard", f"--label={SERVICE_LABEL}=web"]
    try:
        engine.docker("create", "--name=strange-web-1", f"--label={PROJECT_LABEL}=strange", images["loki"])
        for name in ("strange_data", "heard_data"):
            engine.docker("volume", "create", name)
            engine.docker("volume", "rm", name)
        engine.docker("create", "--name=heard-web-1", *labels, images["loki"])
        words = [next(heard), next(heard), next(heard)]
        assert words == ["", "", "web"], "a volume that came and went, which has no labels in its events"
    finally:
        engine.docker("rm", "--force", "strange-web-1", "heard-web-1")


def test_a_connection_that_says_nothing_for_long_is_given_up(engine):
    heard = watch_events(Engine(f"unix://{engine.socket}"), "nobody", silence_seconds=0.5)
    assert next(heard) == ""
    with pytest.raises(UnavailableError):
        next(heard)


def _until_the_breaker_opens(platform, watch):
    """Kill a service each time it is back."""
    while not any("breaker opened" in said for said in watch.said()):
        if shape(platform).get("store-1", {}).get("state") == "running":
            faults.kill(platform, "store")
        time.sleep(0.1)


def test_a_service_that_falls_again_and_again_is_left_alone_for_a_while(alone):
    known = len(repairs(alone, "store"))
    with watching(alone) as watch:
        _until_the_breaker_opens(alone, watch)
        made = len(repairs(alone, "store"))
        assert made - known == 3, "the policy allows three failures"
        (store,) = (s for s in alone.json("status", expect=None)["services"] if s["name"] == "store")
        assert "not repaired any more for now: 3 failures" in store["healing"], store
        assert "store: failed" in alone.run("reconcile", expect=1).stdout
        assert len(repairs(alone, "store")) == made, "nothing is done while the breaker is open"
    faults.let_time_pass(alone, "store", 61)
    assert "container/store  it is stopped: started" in alone.run("reconcile").stdout, "one trial"
    faults.let_time_pass(alone, "store", 11)
    assert "breaker closed" in alone.run("reconcile").stdout
    assert len(repairs(alone, "store")) == made + 1


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_breaker_opens_and_closes_in_its_own_time(alone, capsys):
    began = time.monotonic()
    with watching(alone) as watch:
        _until_the_breaker_opens(alone, watch)
        opened, made = time.monotonic(), len(repairs(alone, "store"))
        assert eventually(lambda: any("breaker closed" in said for said in watch.said()), 200)
    assert len(repairs(alone, "store")) == made + 1, "one trial"
    with capsys.disabled():
        print(f"\nthe breaker opened after {opened - began:.0f} s and closed {time.monotonic() - opened:.0f} s later")


def _faults_in_turn(number, dice):
    """Each container with each fault once, then at random; which one falls next, and how."""
    whole = [(service, kind) for kind in FAULTS for service in SERVICES]
    yield from whole[:number]
    for _ in range(number - len(whole)):
        yield dice.choice(SERVICES), dice.choice(sorted(FAULTS))


class _Patience:
    """Waits as long as the policy takes a fall for a failed repair, or for one too many in ten minutes."""

    def __init__(self, platform):
        self.platform = platform
        self.healed = {service: [] for service in SERVICES}

    def wait(self, service):
        known = self.healed[service]
        if len(known) >= 9:
            time.sleep(max(0.0, known[-9] + 601 - time.monotonic()))
        assert eventually(lambda: not self._on_trial(service), 120), f"{service} stays on trial"

    def _on_trial(self, service):
        return faults.remembered(self.platform).get(service, {}).get("on_trial")


def _do(fault, platform, service, dice):
    """Do it to a service; on a busy machine the engine may fail to, for once."""
    for _ in range(9):
        try:
            return fault(platform, service, dice)
        except EngineError as exc:
            said = exc
            time.sleep(1)
            await_healed(platform, platform.wanted, 90)
    raise said


def _heals_every_fault(platform, number, seed):
    """Do one fault after the other to a platform that is watched; returns the figures."""
    dice, patience = random.Random(seed), _Patience(platform)
    known, seconds = len(repairs(platform)), []
    with watching(platform) as watch:
        healer, begun = psutil.Process(watch.process.pid), None
        for turn, (service, kind) in enumerate(_faults_in_turn(number, dice)):
            patience.wait(service)
            _do(FAULTS[kind], platform, service, dice)
            seconds.append(await_healed(platform, platform.wanted, 90))
            patience.healed[service].append(time.monotonic())
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


def test_half_a_dozen_faults_are_healed(healed):
    dice = random.Random(SEED)
    known = len(repairs(healed))
    order = dice.sample(SERVICES, len(SERVICES))
    for turn in range(6):
        service, kind = order[turn % len(order)], dice.choice(sorted(FAULTS))
        _do(FAULTS[kind], healed, service, dice)
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
