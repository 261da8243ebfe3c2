"""Self-healing: whether a service is repaired now, later or not for a while, from what was seen of it; pure.

A service is `on trial` from the start of a repair until it was healthy for the calm time. The breaker is open while
`opened_at` is set.

| seen or done | before | becomes |
|---|---|---|
| deploying | any | deploying; nothing is counted, nothing is repaired |
| healthy | any other state | healthy; the calm time begins |
| healthy | healthy for the calm time | no failures, no back-off, no trial; the breaker closes |
| absent, degraded | on trial | a failed repair, see below |
| absent, degraded | breaker open, not on trial | failed; what it waits for stays |
| absent, degraded | as many repairs in the window as allowed | failed; the breaker opens |
| absent, degraded | else | absent or degraded; repaired as soon as its back-off, if any, is over |
| repair begun | absent, degraded, failed and its time has come | repairing, on trial |
| repair done | repairing | healthy, still on trial |
| repair failed | fewer failures than allowed | degraded; back-off: first, x factor, x factor ... up to the longest |
| repair failed | as many failures, or repairs in the window, as allowed | failed; the breaker opens: cool-down |
| repair failed | breaker open (it was the half-open trial) | failed; the last cool-down x factor, up to the longest |

A fall after the calm time is a new fault, even where nobody looked in between. Clocks jump: moments in the future are
taken as now, and a wait that is longer than any wait may be is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from autogit.model.healing import DEFAULT_POLICY, HealingPolicy, ServiceHealth, ServiceState

SCHEMA = 1
Seen = Literal["absent", "deploying", "healthy", "degraded"]

_REPAIRABLE = frozenset({ServiceState.ABSENT, ServiceState.DEGRADED, ServiceState.FAILED})
_GROWTHS = 64
"""Back-off is as long as it gets after so many steps; more would overflow a float after days of failures."""


def observed(health: ServiceHealth, seen: Seen, reason: str, now: datetime, policy: HealingPolicy) -> ServiceHealth:
    """Return the health after one look at the service; `deploying` is starting within its budget."""
    health = _settled(_anchored(health, now, policy), now, policy)
    state = ServiceState(seen)
    if state not in _REPAIRABLE:
        return _entered(health, state, reason, now)
    if health.on_trial:
        return _failed(health, state, reason, now, policy)
    if not health.opened_at and _flaps(health, policy):
        return _opened(health, reason, now, policy)
    return _entered(health, ServiceState.FAILED if health.opened_at else state, reason, now)


def may_repair(health: ServiceHealth, now: datetime, policy: HealingPolicy) -> bool:
    """Tell whether the service needs a repair and may have it now; with an open breaker that is the half-open trial."""
    return health.state in _REPAIRABLE and _wait_seconds(health, now, policy) <= 0


def begun(health: ServiceHealth, now: datetime) -> ServiceHealth:
    """Return the health of a service whose repair begins."""
    started = _entered(health, ServiceState.REPAIRING, health.reason, now)
    return replace(started, repairs=(*health.repairs, _stamp(now)), on_trial=True)


def repaired(health: ServiceHealth, *, ok: bool, reason: str, now: datetime, policy: HealingPolicy) -> ServiceHealth:
    """Return the health after a repair; one that went well is forgotten only after the calm time."""
    health = _anchored(health, now, policy)
    if ok:
        return _entered(health, ServiceState.HEALTHY, reason, now)
    return _failed(health, ServiceState.DEGRADED, reason, now, policy)


def next_wake(
    healths: Mapping[str, ServiceHealth], now: datetime, policy: HealingPolicy = DEFAULT_POLICY
) -> float | None:
    """Return the seconds until the first service may be repaired, 0 for now, None where none needs it."""
    waits = [_wait_seconds(health, now, policy) for health in healths.values() if health.state in _REPAIRABLE]
    return min(waits, default=None)


def transitions(before: ServiceHealth, after: ServiceHealth, policy: HealingPolicy = DEFAULT_POLICY) -> tuple[str, ...]:
    """Return what of a change is worth an audit line or telling somebody, as sentences without the service's name."""
    return (*_state_sentences(before, after), *_breaker_sentences(before, after, policy))


def dump_healths(healths: Mapping[str, ServiceHealth]) -> str:
    """Return the text that `load_healths` reads."""
    services = {name: {k: v for k, v in asdict(h).items() if k != "service"} for name, h in healths.items()}
    return json.dumps({"schema": SCHEMA, "services": services}, indent=1, sort_keys=True) + "\n"


def load_healths(text: str) -> dict[str, ServiceHealth]:
    """Return what was dumped. Experience can be made again: what cannot be read is left out, never an error."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or not isinstance(raw.get("services"), dict):
        return {}
    return {name: health for name, entry in raw["services"].items() if (health := _read(name, entry)) is not None}


def _anchored(health: ServiceHealth, now: datetime, policy: HealingPolicy) -> ServiceHealth:
    """Pull moments of the future back to now, drop repairs that left the window, and waits that cannot be."""
    oldest = now - timedelta(seconds=policy.window_seconds)
    repairs = [min(_moment(text), now) for text in health.repairs]
    return replace(
        health,
        since=_stamp(min(_moment(health.since), now)) if health.since else "",
        repairs=tuple(_stamp(moment) for moment in repairs if moment > oldest),
        next_try_at=health.next_try_at if _is_possible(health, now, policy) else "",
    )


def _settled(health: ServiceHealth, now: datetime, policy: HealingPolicy) -> ServiceHealth:
    """Forget failures, back-off and breaker where the service was healthy for the calm time."""
    if health.state is not ServiceState.HEALTHY or not health.since:
        return health
    if now - _moment(health.since) < timedelta(seconds=policy.calm_seconds):
        return health
    return replace(health, failures=0, next_try_at="", opened_at="", on_trial=False)


def _entered(health: ServiceHealth, state: ServiceState, reason: str, now: datetime) -> ServiceHealth:
    since = health.since if state is health.state and health.since else _stamp(now)
    return replace(health, state=state, since=since, reason=reason)


def _failed(
    health: ServiceHealth, state: ServiceState, reason: str, now: datetime, policy: HealingPolicy
) -> ServiceHealth:
    """Count a repair that did not hold, and say when the next may be."""
    health = replace(health, failures=health.failures + 1, on_trial=False)
    if health.opened_at or health.failures >= policy.most_failures or _flaps(health, policy):
        return _opened(health, reason, now, policy)
    grown = policy.first_backoff_seconds * policy.factor ** min(health.failures - 1, _GROWTHS)
    return replace(_entered(health, state, reason, now), next_try_at=_after(now, grown, policy))


def _opened(health: ServiceHealth, reason: str, now: datetime, policy: HealingPolicy) -> ServiceHealth:
    """Open the breaker, or open it again for longer."""
    seconds = policy.cool_down_seconds
    if health.opened_at and health.next_try_at:
        last = (_moment(health.next_try_at) - _moment(health.opened_at)).total_seconds()
        seconds = max(seconds, last * policy.factor)
    failed = _entered(health, ServiceState.FAILED, reason, now)
    return replace(failed, opened_at=_stamp(now), next_try_at=_after(now, seconds, policy))


def _flaps(health: ServiceHealth, policy: HealingPolicy) -> bool:
    """Tell whether one more repair would be more than the window allows."""
    return len(health.repairs) >= policy.most_repairs


def _wait_seconds(health: ServiceHealth, now: datetime, policy: HealingPolicy) -> float:
    if not health.next_try_at or not _is_possible(health, now, policy):
        return 0.0
    return max(0.0, (_moment(health.next_try_at) - now).total_seconds())


def _is_possible(health: ServiceHealth, now: datetime, policy: HealingPolicy) -> bool:
    """Tell whether the next try is no further off than any wait may be; else the clock was set back."""
    longest = timedelta(seconds=policy.longest_backoff_seconds)
    return not health.next_try_at or _moment(health.next_try_at) - now <= longest


def _after(now: datetime, seconds: float, policy: HealingPolicy) -> str:
    return _stamp(now + timedelta(seconds=min(seconds, policy.longest_backoff_seconds)))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment.astimezone(UTC)


def _breaker_sentences(before: ServiceHealth, after: ServiceHealth, policy: HealingPolicy) -> Iterator[str]:
    failed = after.failures > before.failures
    if after.opened_at and after.opened_at != before.opened_at:
        if failed and before.opened_at:
            what = "stays open: the trial repair did not hold"
        elif after.failures >= policy.most_failures:
            what = f"opened after {_count(after.failures, 'failed repair')}"
        else:
            what = f"opened after {_count(len(after.repairs), 'repair')} in {policy.window_seconds:g} s"
        yield f"breaker {what}; next try in {_between(after.opened_at, after.next_try_at):g} s"
    elif failed:
        wait = _between(after.since, after.next_try_at)
        yield f"repair did not hold ({after.failures} in a row); next try in {wait:g} s"
    elif before.opened_at and not after.opened_at:
        yield f"breaker closed: healthy for {policy.calm_seconds:g} s"


def _state_sentences(before: ServiceHealth, after: ServiceHealth) -> Iterator[str]:
    if after.state is before.state and before.since:
        return
    if after.state in _REPAIRABLE:
        yield f"{after.state}: {after.reason}" if after.reason else f"{after.state}"
    elif after.state is ServiceState.HEALTHY and before.since:
        how = {ServiceState.REPAIRING: "after a repair", ServiceState.DEPLOYING: "after its start"}
        yield f"healthy {how.get(before.state, 'again by itself')}"


def _between(start: str, end: str) -> float:
    return (_moment(end) - _moment(start)).total_seconds()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _read(service: str, raw: Any) -> ServiceHealth | None:
    try:
        return ServiceHealth(
            service=service,
            state=ServiceState(raw["state"]),
            since=_read_moment(raw["since"]),
            failures=max(0, int(raw["failures"])),
            repairs=tuple(_stamp(_moment(text)) for text in raw["repairs"]),
            next_try_at=_read_moment(raw["next_try_at"]),
            opened_at=_read_moment(raw["opened_at"]),
            reason=str(raw["reason"]),
            on_trial=bool(raw["on_trial"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _read_moment(text: str) -> str:
    return _stamp(_moment(text)) if text else ""
