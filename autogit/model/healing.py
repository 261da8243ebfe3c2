"""Self-healing: what is remembered of each service's health, and how patient repairing is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ServiceState(StrEnum):
    """Where a service stands. `failed` is a service that is not repaired for now: its breaker is open."""

    ABSENT = "absent"
    DEPLOYING = "deploying"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    REPAIRING = "repairing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """What is remembered of one service between two turns; every moment is RFC 3339, UTC.

    `since` is the last change of state, "" before the first observation. `failures` counts repairs in a row after
    which the service was not healthy for the calm time; `repairs` are the moments of those inside the window.
    `next_try_at` is when it may be repaired again ("" is now), `opened_at` when the breaker last opened ("" is
    closed). `on_trial` says that a repair was begun and has neither held for the calm time nor been counted as failed.
    """

    service: str
    state: ServiceState = ServiceState.ABSENT
    since: str = ""
    failures: int = 0
    repairs: tuple[str, ...] = ()
    next_try_at: str = ""
    opened_at: str = ""
    reason: str = ""
    on_trial: bool = False


@dataclass(frozen=True, slots=True)
class HealingPolicy:
    """How patient repairing is.

    The breaker opens after `most_failures` repairs in a row that did not hold, and where a service falls that was
    repaired `most_repairs` times within the window already (it flaps). It then waits `cool_down_seconds`, each time
    it opens again on a failed trial `factor` times longer. No wait is longer than `longest_backoff_seconds`.
    """

    first_backoff_seconds: float = 2.0
    factor: float = 2.0
    longest_backoff_seconds: float = 300.0
    most_failures: int = 3
    window_seconds: float = 600.0
    most_repairs: int = 10
    cool_down_seconds: float = 60.0
    calm_seconds: float = 10.0


DEFAULT_POLICY = HealingPolicy()
