"""Waiting for a GitLab that starts, phase by phase: its first start takes a quarter of an hour on a small host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from autogit.errors import NotReadyError

BUDGET_SECONDS = 1200.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, _GROWTH = 1.0, 10.0, 1.5
_REPORT_SECONDS = 30.0
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404


class Phase(StrEnum):
    """How far a GitLab is."""

    ABSENT = "absent"
    STARTING = "starting"
    BOOTING = "booting"
    ALIVE = "alive"
    READY = "ready"
    ANSWERING = "answering"


SENTENCES = {
    Phase.ABSENT: "GitLab has no container here",
    Phase.STARTING: "GitLab's container is not running",
    Phase.BOOTING: "the container runs, GitLab's web server does not answer yet",
    Phase.ALIVE: "GitLab's web server is up, its database or another part is not ready yet",
    Phase.READY: "GitLab is ready, its API does not answer yet",
    Phase.ANSWERING: "GitLab answers",
}
"""What is known in each phase, and no more."""


@dataclass(frozen=True)
class Looks:
    """How to look: the container's state as the runtime words it ("": none), and the status of a page (0: no answer).

    Pages are asked for from where GitLab trusts whoever asks: its health checks answer 404 to all others.
    """

    container: Callable[[], Awaitable[str]]
    page: Callable[[str], Awaitable[int]]


@dataclass(frozen=True)
class Time:
    """A clock in seconds that never goes back, and a sleep."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]


async def look_at_phase(looks: Looks) -> Phase:
    """Return how far GitLab is right now."""
    state = await looks.container()
    if not state:
        return Phase.ABSENT
    if state not in ("running", "unhealthy"):
        return Phase.STARTING
    if await looks.page("/-/liveness") != _OK:
        return Phase.BOOTING
    if await looks.page("/-/readiness") != _OK:
        return Phase.ALIVE
    if await looks.page("/api/v4/version") not in (_OK, _UNAUTHORIZED):
        return Phase.READY
    return Phase.ANSWERING


async def await_gitlab(
    looks: Looks, time: Time, report: Callable[[str], None], *, budget_seconds: float = BUDGET_SECONDS
) -> None:
    """Wait until GitLab's API answers; reports each phase, and every half minute that one lasts.

    Raises NotReadyError at once where there is no container, and with the phase it hangs in at the end of the budget.
    """
    began, pause, told, told_at = time.now(), _FIRST_PAUSE_SECONDS, None, 0.0
    while True:
        phase = await look_at_phase(looks)
        elapsed = time.now() - began
        if phase is Phase.ANSWERING:
            return
        if phase is Phase.ABSENT:
            raise NotReadyError(SENTENCES[phase], hint="autogit up starts it")
        if elapsed >= budget_seconds:
            raise NotReadyError(
                f"GitLab was not ready within {budget_seconds / 60:.0f} minutes: {SENTENCES[phase]}",
                hint="autogit logs gitlab; autogit gitlab bootstrap goes on from here",
            )
        if phase is not told or elapsed - told_at >= _REPORT_SECONDS:
            told, told_at = phase, elapsed
            report(f"{SENTENCES[phase]}: {elapsed:.0f} of at most {budget_seconds:.0f} s")
        await time.sleep(min(pause, budget_seconds - elapsed))
        pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)
