"""Starts git in a process group of its own, and ends that group: nothing that git started outlives who asked for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path

_LIMIT_BYTES = 64 * 1024
_GRACE_SECONDS = 5.0


async def start_process(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str], keep_open: Sequence[int] = ()
) -> Process:
    """Start a program with pipes for its input and both outputs. Raises OSError where it cannot be run.

    A task that is stopped while the program starts leaves nothing behind. asyncio alone would close its half of the
    pipes, kill the program, and wait for whoever else holds the other half: a child of it, for as long as that lives.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *words, cwd=folder, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True,
            pass_fds=tuple(keep_open), limit=_LIMIT_BYTES,
        )
    )  # fmt: skip
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _to_its_end(_end_started(starting))
        raise


async def end_process(process: Process, *, grace_seconds: float = _GRACE_SECONDS) -> None:
    """Stop a program's whole process group: a transport helper of git, or what packs for it, may live on.

    It may remove its lock files: SIGTERM comes first, SIGKILL after `grace_seconds`. A task that is stopped meanwhile
    stops when this is done.
    """
    await _to_its_end(_end(process, grace_seconds))


async def _end_started(starting: asyncio.Future[Process]) -> None:
    await _end(await starting, grace_seconds=_GRACE_SECONDS)


async def _end(process: Process, grace_seconds: float) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace_seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Await what must not stop in the middle, though the task that waits for it be stopped once more."""
    doing = asyncio.ensure_future(work)
    stopped = False
    while not doing.done():
        try:
            await asyncio.wait({doing})
        except asyncio.CancelledError:
            stopped = True
    doing.result()
    if stopped:
        raise asyncio.CancelledError
