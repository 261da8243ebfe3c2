"""Judging a started container: whether it became ready within its budget, asked as its own health check asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from autogit.errors import AutogitError
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.observe import Found

Report = Callable[[str], None]

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_REPORT_SECONDS = 1.0
_MOST_RESTARTS = 3
_CALM_SECONDS = 2.0
_LONGEST_WORD = 90


async def await_ready(engine: Engine, container_id: str, budget_seconds: float, report: Report) -> str:
    """Wait until a container is ready; return "" or why it is not (the end of a sentence that begins with its name).

    Ready is what its health check finds well. The check is carried out here as soon as it may pass: the engine's own
    timer would first let an interval go by. Without a check a container is ready that stayed up for two seconds.
    Reports once a second.
    """
    began = time.monotonic()
    pause, reported = _FIRST_PAUSE_SECONDS, 0.0
    while True:
        raw = await engine.find(lambda api: api.inspect_container(container_id))
        elapsed = time.monotonic() - began
        if raw is None:
            return "is gone"
        found = Found(raw)
        if found.status == "running" and await _is_well(engine, found, elapsed):
            return ""
        if why := _gave_up(found):
            return why
        if elapsed >= budget_seconds:
            return f"did not become ready in {budget_seconds:.0f} s{_last_word(raw)}"
        if elapsed - reported >= _REPORT_SECONDS:
            reported = elapsed
            report(f"{_phase(found)}: {elapsed:.0f} of at most {budget_seconds:.0f} s")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _gave_up(found: Found) -> str:
    state = found.raw["State"]
    if state.get("OOMKilled") and found.status != "running":
        return "was ended for using more memory than its limit"
    if int(found.raw.get("RestartCount") or 0) >= _MOST_RESTARTS:
        return f"ends again and again, {_ending(state)}"
    if found.status in ("exited", "dead"):
        return f"ended, {_ending(state)}"
    if found.health == "unhealthy":
        return f"runs, but its health check does not pass{_last_word(found.raw)}"
    return ""


def _ending(state: Any) -> str:
    error = str(state.get("Error") or "")
    return f"exit code {state.get('ExitCode')}" + (f" ({error})" if error else "")


async def is_well_after_all(engine: Engine, found: Found) -> bool:
    """Ask a container that the engine calls unhealthy once more: after a pause, its verdict is of before the pause."""
    return found.status == "running" and await _is_well(engine, found, 0.0)


async def _is_well(engine: Engine, found: Found, elapsed: float) -> bool:
    test = (found.raw["Config"].get("Healthcheck") or {}).get("Test") or []
    if found.health == "healthy":
        return True
    if not test or test[0] == "NONE":
        return elapsed >= _CALM_SECONDS
    command = ["/bin/sh", "-c", test[1]] if test[0] == "CMD-SHELL" else list(test[1:])
    return await _passes(engine, found.id, command)


async def _passes(engine: Engine, container_id: str, command: list[str]) -> bool:
    def run(api: Any) -> bool:
        started = api.exec_create(container_id, command)
        api.exec_start(started["Id"])
        return bool(api.exec_inspect(started["Id"])["ExitCode"] == 0)

    try:
        return await engine.call(run)
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
    return f" ({lines[-1].strip()[:_LONGEST_WORD]})" if lines and lines[-1].strip() else ""
