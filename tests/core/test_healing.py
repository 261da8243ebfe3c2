"""Self-healing decides: what is repaired when, what is left alone, and when it says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogit.core.healing import (
    begun,
    dump_healths,
    load_healths,
    may_repair,
    next_wake,
    observed,
    repaired,
    transitions,
)
from autogit.model.healing import HealingPolicy, ServiceHealth, ServiceState

POLICY = HealingPolicy(calm_seconds=30.0)
START = datetime(2026, 10, 20, 12, 0, tzinfo=UTC)


class Loop:
    """The loop that AutoGit runs, on a clock that the test turns; `cure` says whether a repair goes well."""

    def __init__(self, policy=POLICY, health=None):
        self.policy = policy
        self.now = START
        self.health = health or ServiceHealth("web")
        self.cure = True
        self.repairs = []
        self.said = []

    def wait(self, seconds):
        self.now += timedelta(seconds=seconds)
        return self

    def see(self, seen, reason="no answer"):
        self._become(observed(self.health, seen, reason, self.now, self.policy))
        return self

    def turn(self, seen):
        self.see(seen)
        if may_repair(self.health, self.now, self.policy):
            self.repairs.append(self.now)
            self._become(begun(self.health, self.now))
            self._become(repaired(self.health, ok=self.cure, reason="done", now=self.now, policy=self.policy))
            return True
        return False

    def _become(self, health):
        self.said.extend(transitions(self.health, health, self.policy))
        self.health = health

    @property
    def wakes_in(self):
        return next_wake({"web": self.health}, self.now, self.policy)


def _until_open(loop):
    loop.cure = False
    while not loop.health.opened_at:
        assert loop.turn("degraded")
        loop.wait(loop.wakes_in)
    return loop


@pytest.mark.parametrize("seen", ["absent", "degraded"])
def test_a_broken_service_is_repaired_at_once(seen):
    loop = Loop()
    loop.see(seen)
    assert loop.health.state == seen
    assert loop.health.reason == "no answer"
    assert loop.wakes_in == 0
    assert loop.turn(seen)
    assert loop.health.state is ServiceState.HEALTHY
    assert loop.health.repairs == ("2026-10-20T12:00:00Z",)


@pytest.mark.parametrize("seen", ["healthy", "deploying"])
def test_a_healthy_or_starting_service_is_left_alone(seen):
    loop = Loop()
    assert not loop.turn(seen)
    assert loop.health.state == seen
    assert loop.wakes_in is None


def test_a_service_under_repair_is_not_repaired_again():
    health = begun(ServiceHealth("web"), START)
    assert health.state is ServiceState.REPAIRING
    assert not may_repair(health, START + timedelta(days=1), POLICY)


def test_since_is_the_last_change_of_state_not_the_last_look():
    loop = Loop().see("healthy").wait(5).see("healthy")
    assert loop.health.since == "2026-10-20T12:00:00Z"
    assert loop.wait(5).see("degraded").health.since == "2026-10-20T12:00:10Z"


def test_failed_repairs_wait_longer_each_time_until_the_breaker_opens():
    loop = Loop()
    loop.cure = False
    waits = []
    for _ in range(3):
        assert loop.turn("degraded")
        assert not loop.turn("degraded")
        waits.append(loop.wakes_in)
        loop.wait(loop.wakes_in)
    assert waits == [2, 4, 60]
    assert loop.health.state is ServiceState.FAILED
    assert loop.health.failures == 3


def test_back_off_never_exceeds_the_longest_however_often_it_fails():
    loop = Loop(HealingPolicy(most_failures=5000, most_repairs=5000))
    loop.cure = False
    loop.turn("degraded")
    loop.health = repaired(
        ServiceHealth("web", ServiceState.REPAIRING, failures=4000),
        ok=False,
        reason="",
        now=loop.now,
        policy=loop.policy,
    )
    assert loop.wakes_in == 300


def test_the_cool_down_grows_with_each_failed_trial_up_to_the_longest():
    loop = _until_open(Loop())
    waits = []
    for _ in range(5):
        assert loop.turn("absent")
        assert loop.health.state is ServiceState.FAILED
        waits.append(loop.wakes_in)
        loop.wait(loop.wakes_in)
    assert waits == [120, 240, 300, 300, 300]


def test_a_trial_repair_that_holds_closes_the_breaker():
    loop = _until_open(Loop())
    loop.cure = True
    assert loop.turn("degraded")
    assert loop.health.state is ServiceState.HEALTHY
    assert loop.wait(29).see("healthy").health.opened_at
    loop.wait(1).see("healthy")
    assert loop.health == ServiceHealth(
        "web", ServiceState.HEALTHY, loop.health.since, 0, loop.health.repairs, reason="no answer"
    )
    assert loop.said[-1] == "breaker closed: healthy for 30 s"


def test_a_trial_repair_that_does_not_hold_opens_the_breaker_for_longer():
    loop = _until_open(Loop())
    loop.cure = True
    assert loop.turn("degraded")
    assert not loop.wait(10).turn("degraded")
    assert loop.health.state is ServiceState.FAILED
    assert loop.wakes_in == 120
    assert loop.said[-1] == "breaker stays open: the trial repair did not hold; next try in 120 s"


def test_a_service_that_recovers_by_itself_closes_the_breaker_without_a_repair():
    loop = _until_open(Loop())
    before = len(loop.repairs)
    loop.see("healthy").wait(30).see("healthy")
    assert not loop.health.opened_at
    assert len(loop.repairs) == before
    assert loop.said[-2:] == ["healthy again by itself", "breaker closed: healthy for 30 s"]


def test_a_short_recovery_does_not_shorten_or_lengthen_what_the_breaker_waits_for():
    loop = _until_open(Loop())
    loop.now -= timedelta(seconds=50)
    promised = loop.health.next_try_at
    loop.see("healthy").wait(5)
    assert not loop.turn("degraded")
    assert loop.health.state is ServiceState.FAILED
    assert loop.health.next_try_at == promised


def test_a_service_that_falls_within_the_calm_time_counts_as_a_failed_repair():
    loop = Loop()
    assert loop.turn("degraded")
    assert not loop.wait(10).turn("absent")
    assert loop.health.failures == 1
    assert loop.wakes_in == 2


def test_a_repair_that_ends_in_a_start_and_another_fall_counts_once():
    loop = Loop()
    loop.turn("degraded")
    loop.wait(5).see("deploying").wait(60).see("degraded").wait(60).see("degraded")
    assert loop.health.failures == 1


def test_a_service_that_falls_after_the_calm_time_starts_afresh_even_if_nobody_looked():
    loop = Loop()
    loop.turn("degraded")
    assert loop.wait(30).turn("degraded")
    assert loop.health.failures == 0


def test_a_fall_that_no_repair_came_before_counts_nothing():
    loop = Loop().see("healthy").wait(1)
    assert loop.turn("degraded")
    assert loop.health.failures == 0


def test_a_repair_that_was_killed_counts_as_failed():
    loop = Loop(health=begun(ServiceHealth("web"), START))
    assert not loop.wait(1).turn("degraded")
    assert loop.health.failures == 1


def test_a_flapping_service_opens_the_breaker_though_each_repair_seemed_to_succeed():
    loop = Loop()
    for _ in range(10):
        assert loop.turn("degraded")
        loop.wait(40).see("healthy")
    assert not loop.turn("degraded")
    assert loop.health.state is ServiceState.FAILED
    assert loop.said[-2:] == ["failed: no answer", "breaker opened after 10 repairs in 600 s; next try in 60 s"]
    assert loop.wait(60).turn("degraded")


@settings(deadline=None)
@given(st.lists(st.integers(60, 3600), min_size=1, max_size=60))
def test_one_off_faults_minutes_apart_never_open_the_breaker(gaps):
    loop = Loop()
    for gap in gaps:
        assert loop.turn("degraded")
        loop.wait(gap)
    assert not any("breaker" in line for line in loop.said)


def test_a_clock_that_jumps_back_locks_nothing_out():
    loop = _until_open(Loop())
    loop.now = START - timedelta(days=400)
    assert loop.wakes_in == 0
    loop.cure = True
    assert loop.turn("degraded")
    loop.health = observed(loop.health, "healthy", "", loop.now, POLICY)
    loop.now -= timedelta(days=1)
    loop.see("healthy").wait(30).see("healthy")
    assert not loop.health.opened_at


def test_a_wait_that_a_clock_made_too_long_does_not_come_back_as_time_nears_it():
    loop = Loop()
    loop.cure = False
    loop.turn("degraded")
    loop.wait(-299).see("degraded").wait(300).see("degraded")
    assert loop.wakes_in == 0


def test_moments_are_kept_exactly_and_in_utc():
    east = (START + timedelta(microseconds=250)).astimezone(tz=None)
    health = observed(ServiceHealth("web"), "absent", "", east, POLICY)
    assert health.since == "2026-10-20T12:00:00.000250Z"


def test_the_loop_wakes_for_the_first_service_that_may_be_repaired():
    waiting = repaired(begun(ServiceHealth("a"), START), ok=False, reason="", now=START, policy=POLICY)
    resting = observed(ServiceHealth("b"), "healthy", "", START, POLICY)
    assert next_wake({}, START) is None
    assert next_wake({"b": resting}, START) is None
    assert next_wake({"a": waiting, "b": resting}, START + timedelta(seconds=0.5)) == 1.5
    broken = observed(ServiceHealth("c"), "absent", "", START, POLICY)
    assert next_wake({"a": waiting, "c": broken}, START) == 0


def test_what_changed_is_told_once_in_sentences():
    loop = Loop().see("healthy")
    assert loop.said == []
    loop.see("degraded", "its port is closed").see("degraded", "its port is closed")
    assert loop.said == ["degraded: its port is closed"]
    loop.turn("degraded")
    assert loop.said[1:] == ["healthy after a repair"]
    loop.wait(1).see("absent", "")
    assert loop.said[2:] == ["absent", "repair did not hold (1 in a row); next try in 2 s"]
    loop.see("deploying").see("healthy")
    assert loop.said[4:] == ["healthy after its start"]


def test_a_breaker_that_opens_says_why_and_until_when():
    loop = _until_open(Loop())
    assert loop.said[-1] == "breaker opened after 3 failed repairs; next try in 60 s"
    one = _until_open(Loop(HealingPolicy(most_failures=1)))
    assert one.said[-1] == "breaker opened after 1 failed repair; next try in 60 s"


def test_what_was_remembered_is_read_back():
    loop = _until_open(Loop())
    healths = {"web": loop.health, "db": ServiceHealth("db")}
    text = dump_healths(healths)
    assert load_healths(text) == healths
    assert '"schema": 1' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"schema": 2, "services": {}}', '{"schema": 1, "services": []}']
)
def test_unreadable_experience_is_forgotten(text):
    assert load_healths(text) == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", "ill"),
        ("state", None),
        ("failures", "many"),
        ("failures", float("inf")),
        ("since", "26-10-20"),
        ("since", "2026-10-20T12:00:00"),
        ("since", "0001-01-01T00:00:00+10:00"),
        ("opened_at", 5),
        ("repairs", ["x"]),
        ("repairs", 5),
    ],
)
def test_a_damaged_entry_is_forgotten_and_the_others_are_kept(key, value):
    healths = {"db": ServiceHealth("db"), "web": begun(ServiceHealth("web"), START)}
    raw = json.loads(dump_healths(healths))
    raw["services"]["web"][key] = value
    raw["services"]["list"] = []
    assert load_healths(json.dumps(raw)) == {"db": healths["db"]}
    del raw["services"]["web"][key]
    assert load_healths(json.dumps(raw)) == {"db": healths["db"]}


STEPS = st.tuples(
    st.sampled_from(["absent", "deploying", "healthy", "degraded"]), st.booleans(), st.floats(0, 400, allow_nan=False)
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=80))
def test_no_course_of_events_leads_to_thrashing(steps):
    loop = Loop()
    for seen, cure, seconds in steps:
        loop.cure = cure
        loop.turn(seen)
        loop.wait(seconds)
    most = POLICY.most_repairs + POLICY.window_seconds / POLICY.cool_down_seconds + 1
    for moment in loop.repairs:
        span = [m for m in loop.repairs if timedelta() <= m - moment < timedelta(seconds=POLICY.window_seconds)]
        assert len(span) <= most
    assert load_healths(dump_healths({"web": loop.health})) == {"web": loop.health}


@settings(deadline=None)
@given(st.lists(st.tuples(STEPS, st.integers(-(10**7), 10**7) | st.just(0)), max_size=40))
def test_no_course_of_events_and_no_clock_locks_a_service_out(steps):
    loop = Loop()
    for (seen, cure, seconds), jump in steps:
        loop.cure = cure
        loop.turn(seen)
        assert not may_repair(loop.health, loop.now, POLICY)
        loop.wait(seconds + jump)
    loop.see("degraded").wait(POLICY.longest_backoff_seconds)
    assert loop.turn("degraded")
    loop.cure = True
    loop.see("healthy").wait(POLICY.calm_seconds).see("healthy")
    assert (loop.health.failures, loop.health.next_try_at, loop.health.opened_at) == (0, "", "")


def test_a_service_that_stays_broken_is_tried_every_few_minutes_and_no_more():
    loop = Loop()
    loop.cure = False
    end = START + timedelta(days=1)
    while loop.now < end:
        loop.turn("degraded")
        loop.wait(10)
    assert 24 * 60 / 6 < len(loop.repairs) < 24 * 60 / 5 + 6
