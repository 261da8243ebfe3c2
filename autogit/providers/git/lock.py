"""The lock of a bare copy, and the sweeping up after a process that was killed while it held it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from autogit.errors import ApplyLockHeldError, StorageFullError

_NAME = "autogit.lock"
_POLL_SECONDS = 0.05
_LEFTOVERS = (
    "*.lock", "refs/**/*.lock", "objects/info/**/*.lock", "objects/pack/*.lock",
    "objects/pack/tmp_*", "objects/pack/*.keep", "objects/tmp_*", "objects/??/tmp_*", "gc.pid",
)  # fmt: skip


@asynccontextmanager
async def copy_lock(folder: Path, wait_seconds: float) -> AsyncIterator[int]:
    """Hold a copy's lock and yield its descriptor, to be kept open by every git that works on the copy.

    So an orphaned git of a killed process holds the lock until it ends, and what lies about afterwards is surely
    nobody's: it is swept up before the next work begins. Raises ApplyLockHeldError past `wait_seconds`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageFullError(f"git: {folder} cannot be written: {exc.strerror}") from exc
    try:
        await _wait(folder, descriptor, wait_seconds)
        if os.pread(descriptor, 64, 0).strip():
            _sweep(folder)
        _note(descriptor, str(os.getpid()))
        try:
            yield descriptor
        except BaseException:
            _sweep(folder)  # half a pack would go on filling a disk that is full already
            raise
        _note(descriptor, "")
    finally:
        os.close(descriptor)


async def _wait(folder: Path, descriptor: int, wait_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise StorageFullError(f"git: {folder} cannot be locked: {exc.strerror}") from exc
        else:
            return
        if loop.time() >= until:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
            raise ApplyLockHeldError(
                f"git: {folder.name} is being worked on by another AutoGit (pid {holder}) or by a git that it left",
                hint="wait for it; an orphaned git ends by itself within a minute",
            )
        await asyncio.sleep(_POLL_SECONDS)


def _note(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _sweep(folder: Path) -> None:
    """Remove what a killed git left: locks, half-written packs, marks that keep packs from being repacked."""
    for pattern in _LEFTOVERS:
        for path in folder.glob(pattern):
            if path.name != _NAME:
                with contextlib.suppress(OSError):
                    path.unlink()
