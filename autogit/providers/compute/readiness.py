"""Judging a supervised process: whether it is alive, answers, and became ready within its budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from autogit.providers.compute import leftovers
from autogit.providers.compute.program_conf import ProgramRecord
from autogit.providers.compute.supervisor import ProcessInfo, Supervisor
from autogit.providers.probe import http_status

Report = Callable[[str], None]

_POLL_SECONDS = 0.1
_REPORT_SECONDS = 1.0
_PROBE_SECONDS = 2.0
_MOST_EXITS = 3
_OBSERVE_TRIES = 3
_OBSERVE_PAUSE_SECONDS = 0.4
_OBSERVE_PROBE_SECONDS = 1.0
_LOOPBACK = "127.0.0.1"


async def observe_state(supervisor: Supervisor, info: ProcessInfo) -> tuple[str, int]:
    """Return (`running` | `unhealthy` | `stopped`, pid), patient for a second with a process that just restarted."""
    record = await asyncio.to_thread(supervisor.record, info.name)
    seen: ProcessInfo | None = info
    state = "stopped"
    for attempt in range(_OBSERVE_TRIES):
        if attempt:
            await asyncio.sleep(_OBSERVE_PAUSE_SECONDS)
            seen = await asyncio.to_thread(supervisor.find, info.name)
        if seen is None or seen.state in {"STOPPED", "FATAL"}:
            return "stopped", 0
        state = await _state(seen, record)
        if state == "running":
            break
    return state, seen.pid if seen else 0


async def wait_until_ready(supervisor: Supervisor, record: ProgramRecord, report: Report) -> str:
    """Wait until a started program answers its ready path with 2xx; return "" or why it does not (a short sentence).

    Reports once a second. Gives up early where the process ended three times or nobody runs it any more.
    """
    budget = record.program.ready_timeout_seconds
    began = time.monotonic()
    reported = 0.0
    while (elapsed := time.monotonic() - began) < budget:
        info = await asyncio.to_thread(supervisor.find, record.name)
        exits = await asyncio.to_thread(supervisor.restarts, record.name)
        if info is None or info.state in {"STOPPED", "FATAL"}:
            return f"did not become ready: it is {info.state.lower() if info else 'gone'}"
        if exits >= _MOST_EXITS:
            return f"did not become ready: it ended {exits} times within {elapsed:.0f} s"
        if info.pid and await _is_ready(info, record):
            return ""
        if elapsed - reported >= _REPORT_SECONDS:
            reported = elapsed
            report(f"waiting until it is ready: {elapsed:.0f} of {budget} s, {info.state.lower()}")
        await asyncio.sleep(_POLL_SECONDS)
    return f"did not become ready in {budget} s"


async def _is_ready(info: ProcessInfo, record: ProgramRecord) -> bool:
    """Tell whether the process itself answers; another process on its port does not count."""
    port = record.program.health_port
    status = await asyncio.to_thread(
        http_status, _LOOPBACK, port, record.program.ready_path, timeout_seconds=_PROBE_SECONDS
    )
    return 200 <= status < 300 and await asyncio.to_thread(leftovers.listens, info.pid, port)  # noqa: PLR2004 - HTTP


async def _state(info: ProcessInfo, record: ProgramRecord | None) -> str:
    if info.state != "RUNNING":
        return "stopped"
    if record is None:
        return "unhealthy"
    program = record.program
    status = await asyncio.to_thread(
        http_status, _LOOPBACK, program.health_port, program.health_path, timeout_seconds=_OBSERVE_PROBE_SECONDS
    )
    return "running" if 200 <= status < 400 else "unhealthy"  # noqa: PLR2004 - HTTP success and redirection
