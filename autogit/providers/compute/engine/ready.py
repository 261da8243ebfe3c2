"""Judging a started container: whether it became ready within its budget, asked as its own health check asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from autogit.errors import AutogitError
from autogit.providers.compute.engine.client import Engine, in_short
from autogit.providers.compute.engine.observe import Found

Report = Callable[[str], None]

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_REPORT_SECONDS = 1.0
_MOST_RESTARTS = 3
_CALM_SECONDS = 3.0
_CHECK_SECONDS = 30.0
_LONGEST_POLL_SECONDS = 0.1
_LONGEST_WORD = 90
_NANOS = 10**9


async def await_ready(engine: Engine, container_id: str, budget_seconds: float, report: Report) -> str:
    """Wait until a container is ready; return "" or why it is not (the end of a sentence that begins with its name).

    Ready is what its health check finds well. The check is carried out here as soon as it may pass: the engine's own
    timer would first let an interval go by. Without a check a container is ready that stayed up for three seconds.
    Reports once a second.
    """
    began = time.monotonic()
    pause, reported = _FIRST_PAUSE_SECONDS, 0.0
    looks = _Looks()
    while True:
        raw = await engine.find(lambda api: api.inspect_container(container_id))
        elapsed = time.monotonic() - began
        if raw is None:
            return "is gone"
        found = Found(raw)
        looks.add(found, elapsed)
        if why := _gave_up(found, looks):
            return why
        if found.status == "running" and await _is_well(engine, found, elapsed - looks.calm_since):
            return ""
        if looks.restarts >= _MOST_RESTARTS or (looks.restarts and looks.unhealthy > 1):
            return f"ends again and again{looks.ending or await _last_ending(engine, container_id)}"
        if looks.unhealthy > 1:
            return f"runs, but its health check does not pass{_last_word(raw)}"
        elapsed = time.monotonic() - began
        if elapsed >= budget_seconds:
            return f"did not become ready in {budget_seconds:.0f} s{_last_word(raw)}"
        if elapsed - reported >= _REPORT_SECONDS:
            reported = elapsed
            report(f"{_phase(found)}: {elapsed:.0f} of at most {budget_seconds:.0f} s")
        await asyncio.sleep(min(pause, budget_seconds - elapsed))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


async def complaints_of(engine: Engine, container_id: str, command: Sequence[str], most: int) -> Sequence[str]:
    """Return the last lines of a command in a container that fails; none where it ends well or cannot be carried out.

    No words, no complaints.
    """

    def ask(api: Any) -> tuple[bytes, int]:
        exec_id = str(api.exec_create(container_id, list(command))["Id"])
        said = api.exec_start(exec_id)
        return said, int(api.exec_inspect(exec_id)["ExitCode"] or 0)

    try:
        said, code = await engine.call(ask) if command else (b"", 0)
    except AutogitError:
        return ()
    return (said.decode("utf-8", "replace").splitlines()[-most:] or [f"exit code {code}"]) if code else ()


class _Looks:
    """What several looks at one container tell that a single one does not."""

    def __init__(self) -> None:
        self.restarts = 0
        """How often the engine started it again since the first look; before that is none of our business."""
        self.calm_since = 0.0
        self.ending = ""
        """How it last ended, as far as it was seen."""
        self.unhealthy = 0
        """How often in a row it ran and was called unhealthy; the engine calls so, too, what it is about to restart."""
        self._first: int | None = None

    def add(self, found: Found, elapsed: float) -> None:
        """Learn from one look."""
        count = int(found.raw.get("RestartCount") or 0)
        if self._first is None:
            self._first = count
        if count - self._first != self.restarts:
            self.restarts, self.calm_since = count - self._first, elapsed
        self.unhealthy = self.unhealthy + 1 if found.state == "unhealthy" else 0
        if found.status != "running":
            self.ending = _ending(found.raw["State"])


def _gave_up(found: Found, looks: _Looks) -> str:
    state = found.raw["State"]
    if state.get("OOMKilled") and found.status != "running":
        return "was ended for using more memory than its limit"
    if found.status in ("exited", "dead"):
        return f"ended{looks.ending}"
    return ""


async def _last_ending(engine: Engine, container_id: str) -> str:
    """Ask the engine how a container ended that runs again already; "" where it does not remember."""

    def read(api: Any) -> list[Any]:
        chosen = {"container": [container_id], "event": ["die"]}
        return list(api.events(since="0", until=f"{time.time():.9f}", filters=chosen, decode=True))

    try:
        seen = await engine.call(read)
    except AutogitError:
        return ""
    code = ((seen[-1].get("Actor") or {}).get("Attributes") or {}).get("exitCode") if seen else None
    return f", exit code {code}" if code is not None else ""


def _ending(state: Any) -> str:
    error = str(state.get("Error") or "")
    return f", exit code {state.get('ExitCode')}" + (f" ({in_short(error)})" if error else "")


async def is_well_after_all(engine: Engine, found: Found) -> bool:
    """Ask a container that the engine calls unhealthy once more: after a pause, its verdict is of before the pause."""
    return found.status == "running" and await _is_well(engine, found, 0.0)


async def _is_well(engine: Engine, found: Found, calm_seconds: float) -> bool:
    check = found.raw["Config"].get("Healthcheck") or {}
    test = check.get("Test") or []
    if found.health == "healthy":
        return True
    if not test or test[0] == "NONE":
        return calm_seconds >= _CALM_SECONDS
    command = ["/bin/sh", "-c", test[1]] if test[0] == "CMD-SHELL" else list(test[1:])
    return await _passes(engine, found.id, command, (check.get("Timeout") or 0) / _NANOS or _CHECK_SECONDS)


async def _passes(engine: Engine, container_id: str, command: list[str], limit_seconds: float) -> bool:
    """Carry a health check out; one that hangs is left behind, as the engine does with its own."""

    def begin(api: Any) -> str:
        exec_id = str(api.exec_create(container_id, command)["Id"])
        api.exec_start(exec_id, detach=True)
        return exec_id

    deadline, pause = time.monotonic() + limit_seconds, 0.02
    try:
        exec_id = await engine.call(begin)
        while True:
            seen = await engine.call(lambda api: api.exec_inspect(exec_id))
            if not seen["Running"]:
                return bool(seen["ExitCode"] == 0)
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)
    except AutogitError:
        return False  # it ended meanwhile, or has no such program: the next look tells


def _phase(found: Found) -> str:
    if found.status == "restarting":
        return "starting again"
    word = _last_word(found.raw)
    return f"starting{word}" if found.health else "starting"


def _last_word(raw: Any) -> str:
    """Return what the health check said last, in one short line: it tells the phase a long first start is in."""
    log = (raw["State"].get("Health") or {}).get("Log") or []
    lines = str(log[-1].get("Output") or "").strip().splitlines() if log else []
    word = in_short(lines[-1]) if lines else ""
    return f" ({word[:_LONGEST_WORD]})" if word else ""
