"""Renewal decides: when it is time, what a failure changes, and that no run of luck lets a certificate expire."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogit.core.acme_budget import LETSENCRYPT, refusal, spent
from autogit.core.renewal import (
    BACKOFF,
    after_failure,
    after_rehearsal,
    after_revocation,
    after_success,
    asked_of,
    due_at,
    is_due,
    jitter_share,
    may_ask,
    must_rehearse,
    next_check,
    overdue,
    paused_until,
    try_at,
    with_renewal_info,
    without_answer,
)
from autogit.errors import CertificateError
from autogit.model.acme import AcmeServer, RenewalInfo
from autogit.model.renewal import Budget, BudgetRequest, Life, RenewalState, state_from_json, state_to_json

START = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
SEED = "host-1 home.test"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
KINDS = ("validation", "rate-limited", "unavailable", "rejected", "deployment", "other")

moments = st.datetimes(
    START.replace(tzinfo=None, year=2020), START.replace(tzinfo=None, year=2040), timezones=st.just(UTC)
)
maybe_moments = st.none() | moments
lengths = st.integers(60, 400 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
seeds = st.text(max_size=30)


def life_of(length, start=START):
    return Life(start, start + length)


def info_at(start, end, retry_after=21600.0):
    return RenewalInfo(start, end, retry_after_seconds=retry_after)


class Scheduler:
    """A host whose `certs renew` runs every `step`, with an authority that the test scripts.

    `answer` gets the moment of a try and what is left of the life; it returns None for a certificate or what
    `after_failure` takes. `windows` gets a life and the moment, and returns the authority's RenewalInfo.
    """

    def __init__(self, length, step, *, answer=lambda now, left: None, windows=None, seed=SEED, start=START):
        self.length, self.step, self.answer, self.windows, self.seed = length, step, answer, windows, seed
        self.now, self.life, self.state = start, life_of(length, start), RenewalState(directory_url="https://ca.test")
        self.random = Random(20261127)
        self.asked, self.tries, self.renewed, self.picks, self.expired = [], [], [], set(), 0

    def run(self, until, *, renewals=10**6):
        while self.now < until and len(self.renewed) < renewals:
            self.now += self.step
            self.wake()
        return self

    def wake(self):
        before = self.state
        if self.windows and may_ask(self.life, self.state, self.now):
            info = self.windows(self.life, self.now)
            self.asked.append((self.now, info.retry_after_seconds))
            self.state = with_renewal_info(self.state, info, self.now, self.random.random)
            self.picks.add((self.life, self.state.pick_at))
        self.expired += self.now >= self.life.not_after
        if is_due(self.life, self.state, self.seed, self.now):
            self.attempt()
        if self.state != before:  # what is kept between two runs is what a file holds
            self.state = state_from_json(json.loads(json.dumps(state_to_json(self.state))))

    def attempt(self):
        left = self.life.not_after - self.now
        self.tries.append(self.now)
        failure = self.answer(self.now, left)
        if failure:
            self.state = after_failure(self.state, self.now, *failure)
            return
        self.renewed.append((self.now, left, due_at(self.life, self.state, self.seed).reason))
        self.life, self.state = life_of(self.length, self.now), after_success(self.state, self.now)


# --- When it is due


@pytest.mark.parametrize(
    ("length", "left", "reason"),
    [
        (90 * DAY, 30 * DAY, "a third"),
        (45 * DAY, 15 * DAY, "a third"),
        (10 * DAY + MINUTE, (10 * DAY + MINUTE) / 3, "a third"),
        (10 * DAY, 5 * DAY, "half"),
        (6 * DAY, 3 * DAY, "half"),
        (HOUR, 30 * MINUTE, "half"),
    ],
)
def test_without_a_window_a_third_is_left_of_long_lives_and_half_of_short_ones(length, left, reason):
    life = life_of(length)
    due = due_at(life, RenewalState(), SEED)
    assert reason in due.reason
    assert left <= life.not_after - due.moment <= left * 1.1


@given(lengths, seeds)
def test_a_hosts_jitter_is_stable_and_moves_it_earlier_by_a_tenth_at_most(length, seed):
    life = life_of(length)
    due = due_at(life, RenewalState(), seed)
    left = length / (2 if length <= 10 * DAY else 3)
    assert due == due_at(life, RenewalState(failures=2, failed_at=START), seed)
    assert left <= life.not_after - due.moment <= left * 1.1 + timedelta(microseconds=2)


def test_hosts_are_spread_over_the_whole_tenth():
    shares = sorted(jitter_share(f"host-{number} home.test") for number in range(1000))
    assert len(set(shares)) == 1000
    assert all(abs(share - number / 1000) < 0.06 for number, share in enumerate(shares))
    assert jitter_share("host-1 home.test") == pytest.approx(0.8847, abs=0.0001), "as it was in earlier releases"


@given(lengths, moments, st.timedeltas(timedelta(seconds=1), 400 * DAY), st.floats(0, 1, exclude_max=True), seeds)
def test_with_a_window_it_is_the_pick_but_at_the_latest_when_a_sixth_is_left(length, start, width, number, seed):
    life, info = life_of(length), info_at(start, start + width)
    state = with_renewal_info(RenewalState(), info, START, lambda: number)
    due = due_at(life, state, seed)
    assert info.start <= state.pick_at <= info.end
    assert due.moment <= life.not_after - length / 6
    assert due.moment == state.pick_at or (
        state.pick_at > due.moment >= life.not_after - length / 6 * 1.1 - timedelta(microseconds=2)
    )
    assert ("ARI" in due.reason) == (due.moment == state.pick_at)


@pytest.mark.parametrize("days", [2, 40, 70])
def test_the_pick_counts_whether_it_is_earlier_or_later_than_the_rule_of_thirds(days):
    life = life_of(90 * DAY)
    window = info_at(START + days * DAY, START + (days + 2) * DAY)
    state = with_renewal_info(RenewalState(), window, START, lambda: 0.5)
    assert due_at(life, state, SEED).moment == START + (days + 1) * DAY


def test_a_window_of_the_past_is_now():
    life = life_of(90 * DAY)
    state = with_renewal_info(RenewalState(), info_at(START - 2 * DAY, START - DAY), START, lambda: 0.9)
    assert is_due(life, state, SEED, START)


def test_a_pick_without_its_window_still_counts():
    state = RenewalState(pick_at=START + DAY)
    assert due_at(life_of(90 * DAY), state, SEED) == (START + DAY, "its authority wishes for it (ARI)")


def test_a_certificate_without_any_life_is_due():
    assert is_due(Life(START, START), RenewalState(), SEED, START)
    assert is_due(Life(START, START - DAY), RenewalState(), SEED, START)


# --- The window is asked for, and picked in once


def test_the_pick_stays_while_the_window_stays_and_moves_with_it():
    random = Random(1)
    window = info_at(START + 50 * DAY, START + 60 * DAY)
    first = with_renewal_info(RenewalState(), window, START, random.random)
    for _ in range(50):
        again = with_renewal_info(first, window, START + DAY, random.random)
        assert again.pick_at == first.pick_at
    moved = with_renewal_info(first, info_at(START + DAY, START + 2 * DAY), START + DAY, random.random)
    assert START + DAY <= moved.pick_at <= START + 2 * DAY


def test_an_authority_without_ari_is_the_rule_of_thirds_again():
    state = with_renewal_info(RenewalState(), info_at(START, START + DAY), START, lambda: 0.0)
    without = with_renewal_info(state, None, START, lambda: 0.0)
    assert without.window is None
    assert due_at(life_of(90 * DAY), without, SEED) == due_at(life_of(90 * DAY), RenewalState(), SEED)
    assert not may_ask(life_of(90 * DAY), without, START + 23 * HOUR)


def test_a_window_that_ends_before_it_starts_is_no_answer():
    known = with_renewal_info(RenewalState(), info_at(START + DAY, START + 2 * DAY), START, lambda: 0.5)
    for end in (START + 5 * DAY, START + 4 * DAY):
        after = with_renewal_info(known, info_at(START + 5 * DAY, end, 3600), START + HOUR, lambda: 0.1)
        assert (after.window, after.pick_at) == (known.window, known.pick_at)
        assert after.ask_at == START + 2 * HOUR


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        (21600.0, 6 * HOUR),
        (0.0, 6 * HOUR),
        (-5.0, 6 * HOUR),
        (float("nan"), 6 * HOUR),
        (1.0, MINUTE),
        (10.0**12, DAY),
        (float("inf"), DAY),
    ],
)
def test_the_authority_is_asked_as_often_as_it_likes_within_a_minute_and_a_day(retry_after, wait):
    life = life_of(90 * DAY)
    for state in (
        with_renewal_info(RenewalState(), info_at(START, START + DAY, retry_after), START, lambda: 0.5),
        without_answer(RenewalState(), START, retry_after),
    ):
        assert state.ask_at == START + wait
        assert not may_ask(life, state, START + wait - timedelta(seconds=1))
        assert may_ask(life, state, START + wait)


def test_a_window_that_could_not_be_had_changes_nothing_else():
    known = with_renewal_info(RenewalState(), info_at(START + DAY, START + 2 * DAY), START, lambda: 0.5)
    assert replace(without_answer(known, START + 6 * HOUR), ask_at=known.ask_at) == known


def test_nobody_asks_about_a_certificate_that_expired():
    assert not may_ask(life_of(DAY), RenewalState(), START + DAY)


@pytest.mark.parametrize(
    ("length", "most"), [(HOUR, 2.5 * MINUTE), (DAY, HOUR), (6 * DAY, 6 * HOUR), (90 * DAY, DAY), (10 * MINUTE, MINUTE)]
)
def test_the_next_look_is_the_sooner_the_shorter_the_life(length, most):
    asked = replace(RenewalState(), ask_at=START + DAY)
    assert next_check(life_of(length), asked, SEED, START) == START + most


def test_the_next_look_is_when_something_is_to_be_done():
    life = life_of(90 * DAY)
    asked = RenewalState(ask_at=START + 6 * HOUR)
    assert next_check(life, RenewalState(), SEED, START) == START, "the window was never asked for"
    assert next_check(life, asked, SEED, START) == START + 6 * HOUR
    due = due_at(life, asked, SEED).moment
    near = replace(asked, ask_at=due + 20 * HOUR)
    assert next_check(life, near, SEED, due - HOUR) == due
    assert next_check(life, near, SEED, due + HOUR) == due + HOUR
    failed = after_failure(near, due, "unavailable", "ca.test does not answer")
    assert next_check(life, failed, SEED, due) == try_at(life, failed, SEED, due) > due
    expired = replace(
        failed, failed_at=life.not_after, next_try_at=life.not_after + HOUR, ask_at=life.not_after + MINUTE
    )
    assert next_check(life, expired, SEED, life.not_after) == life.not_after + 15 * MINUTE, "no window is asked for"


# --- Failures


def test_each_failure_waits_longer_up_to_six_hours():
    life, now, state = life_of(90 * DAY), START + 61 * DAY, RenewalState()
    for wait in (*BACKOFF, BACKOFF[-1], BACKOFF[-1]):
        state = after_failure(state, now, "unavailable", "ca.test does not answer")
        again = try_at(life, state, SEED, now)
        assert wait <= again - now <= wait * 1.1
        assert not is_due(life, state, SEED, again - timedelta(seconds=1))
        now = again


def test_hosts_that_failed_together_do_not_come_back_together():
    waits = {
        after_failure(RenewalState(), START + timedelta(microseconds=n), "unavailable", "down").next_try_at
        - (START + timedelta(microseconds=n))
        for n in range(100)
    }
    assert len(waits) > 90


def test_a_retry_after_lengthens_the_back_off_and_never_shortens_it():
    life, now = life_of(90 * DAY), START + 61 * DAY
    longer = after_failure(RenewalState(), now, "unavailable", "maintenance", 7200)
    shorter = after_failure(RenewalState(failures=3), now, "unavailable", "maintenance", 10)
    assert try_at(life, longer, SEED, now) == now + 2 * HOUR
    assert try_at(life, shorter, SEED, now) >= now + 2 * HOUR


def test_the_less_is_left_the_more_often_it_is_tried():
    life, many = life_of(90 * DAY), RenewalState(failures=9)
    waits = []
    for left in (16 * DAY, DAY, 8 * HOUR, HOUR, MINUTE):
        now = life.not_after - left
        waits.append(try_at(life, after_failure(many, now, "unavailable", "down", 86400), SEED, now) - now)
    assert waits == [DAY, 3 * HOUR, HOUR, 15 * MINUTE, 15 * MINUTE]


def test_what_expired_is_tried_often_at_first_and_never_gives_up():
    life, many = life_of(90 * DAY), RenewalState(failures=50)
    waits = []
    for ago in (timedelta(0), 8 * HOUR, 100 * DAY):
        now = life.not_after + ago
        waits.append(try_at(life, after_failure(many, now, "unavailable", "down"), SEED, now) - now)
    assert waits[:2] == [15 * MINUTE, HOUR]
    assert 6 * HOUR <= waits[2] <= 6.6 * HOUR


def test_a_limit_of_the_authority_is_kept_however_little_is_left():
    life = life_of(90 * DAY)
    now = life.not_after - HOUR
    state = after_failure(RenewalState(), now, "rate-limited", "too many certificates", 34 * 3600)
    state = state_from_json(state_to_json(state))
    assert try_at(life, state, SEED, now) == now + 34 * HOUR
    later = after_failure(state, now + MINUTE, "unavailable", "down")
    assert try_at(life, later, SEED, now + MINUTE) == now + 34 * HOUR, "another failure does not lift it"
    shorter = after_failure(later, now + 2 * MINUTE, "rate-limited", "too many requests", 60)
    assert try_at(life, shorter, SEED, now + 2 * MINUTE) == now + 34 * HOUR
    assert is_due(life, shorter, SEED, now + 34 * HOUR)


def test_an_order_that_is_not_a_renewal_waits_for_the_pause_and_not_for_the_due_moment():
    life = life_of(90 * DAY)
    assert paused_until(life, RenewalState(), START) is None
    state = after_failure(RenewalState(), START, "validation", "home.test: NXDOMAIN")
    assert START + MINUTE <= paused_until(life, state, START) <= START + 1.1 * MINUTE
    assert paused_until(life, state, START + 2 * MINUTE) is None
    limited = after_failure(state, START, "rate-limited", "too many", 7200)
    assert paused_until(life, limited, START + HOUR) == START + 2 * HOUR
    assert paused_until(life, limited, START - DAY) is None, "the clock was set back"


@pytest.mark.parametrize(("retry_after", "wait"), [(0.0, HOUR), (5.0, MINUTE), (10.0**9, 7 * DAY)])
def test_a_limit_without_a_sane_moment_has_one(retry_after, wait):
    state = after_failure(RenewalState(), START, "rate-limited", "too many", retry_after)
    assert state.limited_until == START + wait


def test_a_success_forgets_window_pick_and_failures_and_keeps_whom_it_came_from():
    state = RenewalState("https://ca.test/directory", "shortlived", START, START + DAY, START + HOUR, START + HOUR)
    state = after_failure(state, START, "validation", "wrong TXT")
    assert after_success(state, START + DAY) == RenewalState(
        "https://ca.test/directory", "shortlived", last_success_at=START + DAY
    )


def test_the_same_failed_validation_twice_goes_to_staging_first():
    token = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
    state = after_failure(RenewalState(), START, "validation", f'home.test: Incorrect TXT record "{token}" found')
    assert not must_rehearse(state)
    other = f'home.test: Incorrect TXT record "{token[::-1]}" found'
    state = after_failure(state, START + MINUTE, "validation", other)
    assert must_rehearse(state), "a token in the words makes no other failure"
    state = after_failure(state, START + 6 * MINUTE, "validation", other)
    assert must_rehearse(state), "staging failed, too"
    passed = after_rehearsal(state)
    assert not must_rehearse(passed)
    assert is_due(life_of(DAY, START - 23 * HOUR), passed, SEED, START + 6 * MINUTE)
    again = after_failure(passed, START + 7 * MINUTE, "validation", other)
    assert must_rehearse(again), "production failed again"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("validation", "home.test: NXDOMAIN"), ("unavailable", "down"), ("rate-limited", "too many")],
)
def test_other_failures_do_not_go_to_staging(kind, sentence):
    state = after_failure(RenewalState(), START, "validation", "home.test: wrong TXT")
    state = after_failure(state, START, kind, sentence)
    assert not must_rehearse(state)
    assert not must_rehearse(after_failure(state, START, "unavailable", "down"))


def test_a_staging_authority_that_is_down_does_not_keep_production_from_being_asked():
    state = RenewalState()
    for _ in range(2):
        state = after_failure(state, START, "validation", "wrong TXT")
    assert not must_rehearse(after_failure(state, START, "unavailable", "staging does not answer"))


def test_what_one_authority_said_holds_for_no_other():
    state = asked_of(RenewalState(), "https://ca.test", "tlsserver")
    state = after_failure(state, START, "rate-limited", "too many", 7 * 86400)
    same = asked_of(state, "https://ca.test", "shortlived")
    assert same == replace(state, profile="shortlived")
    other = asked_of(state, "https://other.test", "")
    assert is_due(life_of(DAY, START - 23 * HOUR), other, SEED, START)
    assert other == RenewalState("https://other.test")


# --- How it stands


def test_what_is_renewed_in_time_is_fine():
    life = life_of(90 * DAY)
    due = due_at(life, RenewalState(), SEED).moment
    for now in (START, due, due + 9 * DAY):
        assert overdue(life, RenewalState(), SEED, now) == ("ok", "")


def test_due_for_longer_than_half_of_what_remains_is_a_warning():
    life = life_of(90 * DAY)
    state = with_renewal_info(RenewalState(), info_at(START + 60 * DAY, START + 61 * DAY), START, lambda: 0.0)
    assert overdue(life, state, SEED, START + 70 * DAY).level == "ok"
    late = overdue(life, state, SEED, START + 70 * DAY + MINUTE)
    assert late == ("warning", "due since 2026-11-30 12:00 UTC, expires at 2026-12-30 12:00 UTC")


def test_more_than_three_failures_are_a_warning_with_the_last_ones_words():
    life, state = life_of(90 * DAY), RenewalState()
    now = due_at(life, state, SEED).moment
    for _ in range(3):
        state = after_failure(state, now, "unavailable", "ca.test: does not answer")
        assert overdue(life, state, SEED, now).level == "ok"
    state = after_failure(state, now, "unavailable", "ca.test: does not answer")
    verdict = overdue(life, state, SEED, now)
    assert verdict.level == "warning"
    assert "the last 4 tries failed" in verdict.sentence
    assert verdict.sentence.endswith("ca.test: does not answer")


def test_what_was_revoked_is_an_error_and_due_at_once_in_a_pause_too_until_another_is_issued():
    life, now = life_of(90 * DAY), START + HOUR
    failed = after_failure(RenewalState("https://ca.test"), now, "unavailable", "down")
    state = after_revocation(failed, "2a")
    assert due_at(life, state, SEED).reason == "it was revoked"
    assert is_due(life, state, SEED, now)
    assert not is_due(life, after_failure(state, now, "rate-limited", "wait", 3600), SEED, now + MINUTE)
    assert overdue(life, state, SEED, now) == ("error", "it was revoked: autogit certs renew")
    fresh = after_success(state, now)
    assert not is_due(life, fresh, SEED, now)
    assert overdue(life, fresh, SEED, now).level == "ok"


def test_expired_is_an_error_and_not_yet_valid_is_a_warning_about_the_clock():
    life = life_of(DAY)
    state = after_failure(RenewalState(), START, "unavailable", "down")
    assert overdue(life, state, SEED, START + DAY) == ("error", "expired at 2026-10-02 12:00 UTC: down")
    early = overdue(life, RenewalState(), SEED, START - 2 * HOUR)
    assert early.level == "warning"
    assert "clock" in early.sentence


# --- Clocks


@pytest.mark.parametrize(
    "bad",
    [
        START.replace(tzinfo=None),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Madrid")),
        datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda bad: due_at(Life(bad, START), RenewalState(), SEED),
        lambda bad: due_at(Life(START, bad), RenewalState(), SEED),
        lambda bad: try_at(life_of(DAY), RenewalState(), SEED, bad),
        lambda bad: may_ask(life_of(DAY), RenewalState(), bad),
        lambda bad: next_check(life_of(DAY), RenewalState(), SEED, bad),
        lambda bad: overdue(life_of(DAY), RenewalState(), SEED, bad),
        lambda bad: with_renewal_info(RenewalState(), info_at(bad, START), START, lambda: 0.5),
        lambda bad: with_renewal_info(RenewalState(), info_at(START, bad), START, lambda: 0.5),
        lambda bad: with_renewal_info(RenewalState(), None, bad, lambda: 0.5),
        lambda bad: without_answer(RenewalState(), bad),
        lambda bad: after_failure(RenewalState(), bad, "other", "x"),
        lambda bad: after_success(RenewalState(), bad),
        lambda bad: RenewalState(pick_at=bad),
    ],
)
def test_moments_of_another_zone_or_none_are_refused(call, bad):
    with pytest.raises(CertificateError, match=r"^renewal: .* is not in UTC"):
        call(bad)


@pytest.mark.parametrize("zone", ["Europe/Madrid", "America/New_York", "UTC"])
def test_a_night_when_the_clocks_change_has_as_many_minutes_as_any(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        eve = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
        run = Scheduler(6 * HOUR, 5 * MINUTE, start=eve).run(eve + 48 * HOUR)
        waits = {after - before for (before, *_), (after, *_) in zip(run.renewed, run.renewed[1:], strict=False)}
        assert waits == {run.renewed[0][0] - eve}, "one renewal as far from the next as any other"
        assert run.expired == 0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_that_was_ahead_leaves_nothing_behind():
    ahead = START + 700 * DAY
    state = after_failure(RenewalState(), ahead, "rate-limited", "too many", 3600)
    state = without_answer(state, ahead)
    life = life_of(90 * DAY)
    now = START + 70 * DAY
    assert is_due(life, state, SEED, now)
    assert may_ask(life, state, now)
    fresh = after_failure(state, now, "rate-limited", "too many", 3600)
    assert try_at(life, fresh, SEED, now) == now + HOUR


def test_any_zone_that_is_utc_is_utc():
    due = due_at(Life(START.astimezone(ZoneInfo("Etc/UTC")), START + 90 * DAY), RenewalState(), SEED)
    assert due == due_at(life_of(90 * DAY), RenewalState(), SEED)


def test_a_clock_that_is_a_little_off_keeps_the_wait():
    state = after_failure(RenewalState(), START + 80 * DAY, "unavailable", "down")
    assert not is_due(life_of(90 * DAY), state, SEED, START + 80 * DAY - MINUTE)


# --- What is kept


@given(
    st.builds(
        RenewalState,
        directory_url=st.text(),
        profile=st.text(),
        window_start=maybe_moments,
        window_end=maybe_moments,
        pick_at=maybe_moments,
        ask_at=maybe_moments,
        failures=st.integers(0, 10**6),
        alike=st.integers(0, 10**6),
        failed_at=maybe_moments,
        failure_kind=st.sampled_from(KINDS),
        failure=st.text(),
        next_try_at=maybe_moments,
        limited_until=maybe_moments,
        rehearsed=st.booleans(),
        last_success_at=maybe_moments,
        revoked_serial=st.text(),
    )
)
def test_a_state_comes_back_from_json_as_it_was(state):
    assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(state_to_json(RenewalState()))), json_values) | json_values)
def test_whatever_stands_in_the_file_a_certificate_is_still_renewed(raw):
    state = state_from_json(raw)
    life = life_of(90 * DAY)
    due_at(life, state, SEED)
    next_check(life, state, SEED, START)
    after_failure(state, START, "validation", "x")
    assert due_at(life, state, SEED).moment <= life.not_after - 15 * DAY


def test_one_bad_entry_does_not_cost_the_others():
    good = RenewalState("https://ca.test", pick_at=START, failures=2, failure="down")
    raw = {**state_to_json(good), "failures": "many", "failure_kind": "odd", "window_start": "2026-10-01T12:00:00"}
    assert state_from_json(raw) == replace(good, failures=0)
    for bad in (-3, True, 2.0, "2", None):
        assert state_from_json({**raw, "failures": bad}) == replace(good, failures=0)
    assert state_from_json({**raw, "rehearsed": 1}).rehearsed is False
    assert state_from_json({**raw, "pick_at": "2026-10-01T14:00:00+02:00"}).pick_at == START


# --- Simulations


@st.composite
def stories(draw):
    """A life, a window, a while in its last sixth in which the authority answers, and its answers at other times."""
    length = draw(lengths)
    least, most = max(MINUTE, length / 1000), max(MINUTE, length / 80)
    step = least + (most - least) * draw(st.floats(0, 1))
    opens = timedelta(seconds=draw(st.floats(-1, 2)) * length.total_seconds())
    width = timedelta(seconds=1 + draw(st.floats(0, 1)) * length.total_seconds())
    retry_after = draw(st.floats(0, 10**5))
    windows = draw(
        st.sampled_from((None, lambda life, _: info_at(life[0] + opens, life[0] + opens + width, retry_after)))
    )
    up_at = START + length - length / 6 * (1 - draw(st.floats(0, 0.3)))
    left = START + length - up_at
    least_wait = min(max(length / 480, MINUTE), 15 * MINUTE)
    up_until = up_at + left / 8 + 2 * step + 2 * least_wait
    kinds = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(("a", "b"))), min_size=1, max_size=8))

    def answer(now, left):
        if up_at <= now <= up_until:
            return None
        kind, sentence = kinds[int(now.timestamp()) % len(kinds)]
        # A limit is the authority's word and is kept: here it ends before too much of the rest is over.
        retry_after = max(left.total_seconds(), 0) / 10 if kind == "rate-limited" else 86400 * (sentence == "b")
        return kind, sentence, retry_after or 60.0

    return Scheduler(length, step, answer=answer, windows=windows, seed=draw(seeds)), up_at


@settings(max_examples=100, deadline=None)
@given(stories())
def test_an_authority_that_answers_for_a_while_in_the_last_sixth_is_enough(story):
    run, up_at = story
    run.run(START + run.length, renewals=1)
    assert len(run.renewed) == 1
    assert run.expired == 0
    assert run.renewed[0][0] >= up_at
    assert len(run.picks) <= 1


@settings(max_examples=30, deadline=None)
@given(lengths, st.floats(0, 0.6), st.floats(30, 10**5), seeds)
def test_the_authority_is_never_asked_more_often_than_it_said(length, opens, retry_after, seed):
    def windows(life, _):
        return info_at(life[0] + length * opens, life[0] + length * (opens + 0.1), retry_after)

    run = Scheduler(length, max(MINUTE, length / 500), windows=windows, seed=seed).run(START + 2 * length)
    renewals = [moment for moment, *_ in run.renewed]
    for (before, wish), (after, _) in zip(run.asked, run.asked[1:], strict=False):
        same_certificate = not any(before <= moment < after for moment in renewals)
        assert not same_certificate or after - before >= timedelta(seconds=min(max(wish, 60), 86400))
    assert run.expired == 0
    assert len(run.picks) == len({life for life, _ in run.picks}), "one pick for each certificate"


@settings(max_examples=20, deadline=None)
@given(st.integers(6, 400), st.sampled_from(KINDS), seeds)
def test_failures_for_ever_stay_within_the_budget_of_lets_encrypt(days, kind, seed):
    budget = Budget()
    request = BudgetRequest(
        AcmeServer("letsencrypt", f"https://{LETSENCRYPT}/directory"), ("home.test",), ("home.test",)
    )

    def answer(now, _):
        nonlocal budget
        assert refusal(budget, request, now) == ""
        budget = spent(spent(budget, request, "order", now), request, "failure", now)
        return kind, "home.test: NXDOMAIN"

    run = Scheduler(days * DAY, days * DAY / 2000, answer=answer, seed=seed)
    run.now = due_at(run.life, run.state, run.seed).moment - HOUR
    run.run(run.life.not_after - days * DAY / 50)
    run.step = MINUTE
    run.run(run.life.not_after + HOUR)
    assert len(run.tries) > 20
    assert not run.renewed


def table(run):
    return [f"{moment:%Y-%m-%d %H}h, {left / DAY:.1f} days left" for moment, left, _ in run.renewed]


def test_a_year_of_certificates_of_45_days():
    run = Scheduler(45 * DAY, HOUR).run(START + 365 * DAY)
    assert table(run) == [
        "2026-10-30 05h, 16.3 days left",
        "2026-11-27 22h, 16.3 days left",
        "2026-12-26 15h, 16.3 days left",
        "2027-01-24 08h, 16.3 days left",
        "2027-02-22 01h, 16.3 days left",
        "2027-03-22 18h, 16.3 days left",
        "2027-04-20 11h, 16.3 days left",
        "2027-05-19 04h, 16.3 days left",
        "2027-06-16 21h, 16.3 days left",
        "2027-07-15 14h, 16.3 days left",
        "2027-08-13 07h, 16.3 days left",
        "2027-09-11 00h, 16.3 days left",
    ]
    assert {reason for *_, reason in run.renewed} == {"a third of its life is left"}
    assert run.expired == 0
    assert len(run.tries) == len(run.renewed)


def test_a_year_with_windows_an_outage_and_a_recall():
    """Windows of two days at day 60 of 90; the authority is down for two weeks, and in May it wants all anew."""
    down = (datetime(2027, 1, 28, tzinfo=UTC), datetime(2027, 2, 11, tzinfo=UTC))
    recall = datetime(2027, 5, 3, tzinfo=UTC)

    def windows(life, now):
        if life.not_before < recall <= now:
            return info_at(recall - DAY, recall, 3600)
        return info_at(life.not_before + 60 * DAY, life.not_before + 62 * DAY)

    def answer(now, _):
        return ("unavailable", "ca.test: does not answer") if down[0] <= now < down[1] else None

    run = Scheduler(90 * DAY, HOUR, answer=answer, windows=windows)
    warned = []
    while run.now < START + 365 * DAY:
        run.run(run.now + HOUR)
        verdict = overdue(run.life, run.state, run.seed, run.now)
        assert verdict.level != "error"
        warned += [run.now] if verdict.level == "warning" else []
    assert table(run) == [
        "2026-11-30 14h, 29.9 days left",
        "2027-02-11 01h, 17.5 days left",
        "2027-04-12 16h, 29.4 days left",
        "2027-05-03 05h, 69.5 days left",
        "2027-07-03 00h, 29.2 days left",
        "2027-09-02 22h, 28.1 days left",
    ]
    assert run.expired == 0
    assert len(run.tries) - len(run.renewed) == 44, "four a day while the authority was down, not one an hour"
    assert down[0] < warned[0] < down[0] + 3 * DAY
    assert down[1] <= warned[-1] + HOUR <= down[1] + 6 * HOUR


def test_a_year_of_six_day_certificates_stays_within_the_weekly_limit():
    run = Scheduler(6 * DAY, 6 * HOUR).run(START + 365 * DAY)
    renewals = [moment for moment, *_ in run.renewed]
    assert len(renewals) == 132
    assert {left for _, left, _ in run.renewed} == {3 * DAY + 6 * HOUR}
    assert max(sum(start <= m < start + 7 * DAY for m in renewals) for start in renewals) == 3
    assert run.expired == 0
