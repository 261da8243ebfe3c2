"""Renewal: when a certificate is renewed, when it is looked at again, and what a failure changes about that; pure.

| the authority says | due |
|---|---|
| a window (ARI, RFC 9773) | at the moment picked in it, at the latest when a sixth of the life is left |
| nothing, life over 10 days | when a third of the life is left |
| nothing, life of 10 days or less | when half of the life is left |
| that it has revoked it | now |

What is not picked at random is moved earlier by a share of the time left then that is the host's own, a tenth at most,
so that not all hosts ask at once.

After a failure the next try waits 1 min, 5 min, 30 min, 2 h, then 6 h each time, but never longer than an eighth of
the time to expiry (or since): a certificate with little time left is tried more often, at most every life/480, which
is 1 to 15 minutes. A limit of the authority (`rateLimited`) holds whatever the time left. Clocks jump: a wait that
began in the future is over, and so is a check that is further off than any may be.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from autogit.model.acme import RenewalInfo
from autogit.model.renewal import REVOKED, Due, FailureKind, Life, RenewalState, Verdict, in_utc

Random = Callable[[], float]
"""Gives the next random number, from 0 up to 1 (`random.random`)."""

BACKOFF = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
)
"""The wait after the first, second ... failure in a row; the last stays."""

_SHORT_LIFE = timedelta(days=10)
_WHEN_LEFT, _WHEN_LEFT_SHORT, _WHEN_LEFT_LATEST = 3, 2, 6
_JITTER = 0.1
_LEAST_ASK, _USUAL_ASK, _MOST_ASK = timedelta(minutes=1), timedelta(hours=6), timedelta(days=1)
_LOOKS_A_LIFE = 24
_LEAST_LOOK, _MOST_LOOK = timedelta(minutes=1), timedelta(days=1)
_WAITS_IN_REST = 8
_WAITS_IN_LIFE = 480
_LEAST_WAIT, _MOST_LEAST_WAIT = timedelta(minutes=1), timedelta(minutes=15)
_LEAST_LIMIT, _USUAL_LIMIT, _MOST_LIMIT = timedelta(minutes=1), timedelta(hours=1), timedelta(days=7)
_CLOCK_SKEW = timedelta(minutes=5)
_MANY_FAILURES = 3
_ALIKE_BEFORE_STAGING = 2
_LATE_SHARE = 2
_VARYING = re.compile(r"[A-Za-z0-9_-]{20,}|[0-9]+")


def due_at(life: Life, state: RenewalState, seed: str) -> Due:
    """Return when the certificate is to be renewed, and why then; a moment of the past means now.

    `seed` is what the host's own jitter is made of: its id and the certificate's name. Back-off is not in it:
    `try_at`. Raises CertificateError for moments that are not in UTC.
    """
    start, end = _checked(life)
    length = max(end - start, timedelta(0))
    if state.revoked_serial:
        return Due(start, REVOKED)
    if state.pick_at is None:
        short = length <= _SHORT_LIFE
        moment = _jittered(end, length / (_WHEN_LEFT_SHORT if short else _WHEN_LEFT), seed)
        return Due(moment, "half of its short life is left" if short else "a third of its life is left")
    latest = _jittered(end, length / _WHEN_LEFT_LATEST, seed)
    if state.pick_at > latest:
        return Due(latest, "a sixth of its life is left, and the authority's window is later than that")
    return Due(state.pick_at, f"its authority wishes for it {_window_text(state)}(ARI)")


def try_at(life: Life, state: RenewalState, seed: str, now: datetime) -> datetime:
    """Return when a renewal may be tried: when it is due, and back-off and the authority's limits are over."""
    due = due_at(life, state, seed).moment
    paused = paused_until(life, state, now)
    return max(due, paused) if paused else due


def paused_until(life: Life, state: RenewalState, now: datetime) -> datetime | None:
    """Return when back-off and the authority's limits are over, due or not, None where none of them holds now.

    What a certificate is ordered for that is not due (other names, another authority) has to wait for, too.
    """
    now = in_utc(now)
    if _clock_was_set_back(state, now):
        return None
    ends = (_backoff_end(life, state), state.limited_until)
    return max((end for end in ends if end and end > now), default=None)


def is_due(life: Life, state: RenewalState, seed: str, now: datetime) -> bool:
    """Tell whether a renewal is to be tried now."""
    return try_at(life, state, seed, now) <= now


def may_ask(life: Life, state: RenewalState, now: datetime) -> bool:
    """Tell whether the authority may be asked for its window now: not before its Retry-After, not after expiry.

    RFC 9773 section 4.3.
    """
    now = in_utc(now)
    ask_at = state.ask_at
    return now < _checked(life).not_after and (ask_at is None or not now < ask_at <= now + _MOST_ASK)


def next_check(life: Life, state: RenewalState, seed: str, now: datetime) -> datetime:
    """Return when the certificate must be looked at again, `now` where something is to be done already.

    At the latest after a 24th of its life (6 h for six days), one minute to one day.
    """
    now, life = in_utc(now), _checked(life)
    look = min(max((life.not_after - life.not_before) / _LOOKS_A_LIFE, _LEAST_LOOK), _MOST_LOOK)
    moments = [now + look, try_at(life, state, seed, now)]
    if may_ask(life, state, now):
        moments.append(now)
    elif state.ask_at is not None and now < life.not_after:
        moments.append(state.ask_at)
    return max(min(moments), now)


def with_renewal_info(state: RenewalState, info: RenewalInfo | None, now: datetime, random: Random) -> RenewalState:
    """Return the state after the authority was asked for its window; None: it has no ARI.

    A moment is picked once for each window. A window that ends before it starts is as no answer at all (RFC 9773
    section 4.2). Raises CertificateError for moments that are not in UTC.
    """
    now = in_utc(now)
    if info is None:
        return replace(state, window_start=None, window_end=None, pick_at=None, ask_at=now + _MOST_ASK)
    start, end = in_utc(info.start, "the start of the window"), in_utc(info.end, "the end of the window")
    state = without_answer(state, now, info.retry_after_seconds)
    if end <= start or (state.window == (start, end) and state.pick_at is not None):
        return state
    pick = start + (end - start) * random()
    return replace(state, window_start=start, window_end=end, pick_at=pick)


def without_answer(state: RenewalState, now: datetime, retry_after_seconds: float = 0.0) -> RenewalState:
    """Return the state after a question for the window that was not answered: what is known stays."""
    wait = _clamped(retry_after_seconds, _LEAST_ASK, _USUAL_ASK, _MOST_ASK)
    return replace(state, ask_at=in_utc(now) + wait)


def after_failure(
    state: RenewalState, now: datetime, kind: FailureKind, sentence: str, retry_after_seconds: float = 0.0
) -> RenewalState:
    """Return the state after a try that failed, at the staging authority as well; the sentence has no secret in it.

    `retry_after_seconds` is what the server asked for (0: nothing). Of `rate-limited` it is a limit, which holds
    however little time is left; of any other kind it lengthens the back-off.
    """
    now = in_utc(now)
    failures = state.failures + 1
    wait = _backoff(failures, f"{now.isoformat()} {sentence}")
    if kind != "rate-limited" and retry_after_seconds > 0:
        wait = max(wait, _clamped(retry_after_seconds, _LEAST_ASK, _USUAL_ASK, _MOST_ASK))
    return replace(
        state,
        failures=failures,
        alike=_alike(state, kind, sentence),
        failed_at=now,
        failure_kind=kind,
        failure=sentence,
        next_try_at=now + wait,
        limited_until=_limited_until(state, now, retry_after_seconds)
        if kind == "rate-limited"
        else state.limited_until,
        rehearsed=False,
    )


def must_rehearse(state: RenewalState) -> bool:
    """Tell whether the next try belongs to the staging authority: the same validation failed twice in a row."""
    return state.alike >= _ALIKE_BEFORE_STAGING and not state.rehearsed


def after_rehearsal(state: RenewalState) -> RenewalState:
    """Return the state after the order went well at the staging authority: production is next, at once."""
    return replace(state, rehearsed=True, next_try_at=None)


def after_revocation(state: RenewalState, serial: str) -> RenewalState:
    """Return the state after the certificate was revoked: another is due now, and no back-off holds it up."""
    return replace(state, revoked_serial=serial, next_try_at=None)


def after_success(state: RenewalState, now: datetime) -> RenewalState:
    """Return the state of a certificate that was issued and is served: window, pick and failures were another one's."""
    return RenewalState(
        directory_url=state.directory_url, profile=state.profile, last_success_at=in_utc(now, "the present")
    )


def asked_of(state: RenewalState, directory_url: str, profile: str) -> RenewalState:
    """Return the state for an order of this profile at this authority: that of another one says nothing about it.

    Where two authorities are asked in turn, each needs a state of its own: else no back-off would ever grow.
    """
    if state.directory_url in ("", directory_url):
        return replace(state, directory_url=directory_url, profile=profile)
    return RenewalState(directory_url=directory_url, profile=profile)


def overdue(life: Life, state: RenewalState, seed: str, now: datetime) -> Verdict:
    """Return how the certificate stands: expired and revoked are errors.

    A warning is: due for longer than half of what remains, more than three failures in a row, or not valid yet.
    """
    now, (start, end) = in_utc(now), _checked(life)
    due = due_at(life, state, seed).moment
    why = f": {state.failure}" if state.failures and state.failure else ""
    if now >= end:
        return Verdict("error", f"expired at {moment_text(end)}{why}")
    if state.revoked_serial:
        return Verdict("error", f"{REVOKED}: autogit certs renew")
    if now < start:
        return Verdict("warning", f"not valid before {moment_text(start)}: is this host's clock right?")
    if state.failures > _MANY_FAILURES:
        return Verdict("warning", f"the last {state.failures} tries failed, expires at {moment_text(end)}{why}")
    if now - due > (end - now) / _LATE_SHARE:
        return Verdict("warning", f"due since {moment_text(due)}, expires at {moment_text(end)}{why}")
    return Verdict("ok", "")


def jitter_share(seed: str) -> float:
    """Return a seed's share, from 0 up to 1: always the same, and another for another seed."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48


def moment_text(moment: datetime) -> str:
    """Return a moment as sentences have it: `2026-11-27 15:00 UTC`."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _checked(life: Life) -> Life:
    not_before, not_after = life
    return Life(in_utc(not_before, "the start of the validity"), in_utc(not_after, "the end of the validity"))


def _jittered(end: datetime, left: timedelta, seed: str) -> datetime:
    return end - left - left * _JITTER * jitter_share(seed)


def _window_text(state: RenewalState) -> str:
    if state.window is None:
        return ""
    return f"between {moment_text(state.window[0])} and {moment_text(state.window[1])} "


def _alike(state: RenewalState, kind: FailureKind, sentence: str) -> int:
    """Return how many of the last failures, this one with them, are the same failed validation."""
    if kind != "validation":
        return 0
    same = state.failure_kind == kind and _gist(state.failure) == _gist(sentence)
    return state.alike + 1 if same else 1


def _limited_until(state: RenewalState, now: datetime, retry_after_seconds: float) -> datetime:
    """Return until when the authority refuses: a later moment that it named before stays."""
    until = now + _clamped(retry_after_seconds, _LEAST_LIMIT, _USUAL_LIMIT, _MOST_LIMIT)
    if state.limited_until is None or _clock_was_set_back(state, now):
        return until
    return max(until, state.limited_until)


def _backoff(failures: int, seed: str) -> timedelta:
    """Return the wait after so many failures: up to a tenth longer, another tenth each time."""
    wait = BACKOFF[min(failures, len(BACKOFF)) - 1]
    return wait + wait * _JITTER * jitter_share(seed)


def _backoff_end(life: Life, state: RenewalState) -> datetime | None:
    """Return when the back-off is over, seen from how much time the certificate has or had left."""
    if state.next_try_at is None or state.failed_at is None:
        return state.next_try_at
    start, end = _checked(life)
    least = min(max((end - start) / _WAITS_IN_LIFE, _LEAST_WAIT), _MOST_LEAST_WAIT)
    most = max(abs(end - state.failed_at) / _WAITS_IN_REST, least)
    return min(state.next_try_at, state.failed_at + most)


def _clock_was_set_back(state: RenewalState, now: datetime) -> bool:
    return state.failed_at is not None and state.failed_at > now + _CLOCK_SKEW


def _clamped(seconds: float, least: timedelta, usual: timedelta, most: timedelta) -> timedelta:
    if not seconds > 0:  # a NaN is nothing, too
        return usual
    return max(timedelta(seconds=min(seconds, most.total_seconds())), least)


def _gist(sentence: str) -> str:
    """Return a sentence without what differs from try to try: tokens, values, numbers."""
    return _VARYING.sub("#", sentence).casefold()
