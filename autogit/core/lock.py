"""The apply lock: one changing command per project at a time, and everybody can see who it is."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from autogit.errors import ApplyLockHeldError, StorageFullError

_POLL_SECONDS = 0.05
_LOOKERS_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds the lock: `since` is RFC 3339, UTC."""

    command: str
    pid: int
    host: str
    user: str
    since: str


@asynccontextmanager
async def apply_lock(path: Path, command: str, *, wait_seconds: float = 0.0) -> AsyncIterator[LockHolder]:
    """Hold the project's lock for the body's duration.

    The lock is the kernel's (flock): it ends with its process, so a killed `up` leaves no lock behind, only a stale
    note of its holder. Raises ApplyLockHeldError, naming the holder, once `wait_seconds` have passed, and
    StorageFullError where the lock's file cannot be made.
    """
    descriptor = await _acquire(path, wait_seconds)
    try:
        holder = LockHolder(command, os.getpid(), socket.gethostname(), _user(), _now())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
        yield holder
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def find_holder(path: Path) -> LockHolder | None:
    """Return who holds the lock right now, None where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try(descriptor, fcntl.LOCK_SH) else _read(path)
    finally:
        os.close(descriptor)


async def _acquire(path: Path, wait_seconds: float) -> int:
    """Return the descriptor of the locked file. Those who only look hold it for an instant: that is waited for."""
    deadline = monotonic() + max(wait_seconds, _LOOKERS_SECONDS)
    while True:
        descriptor = _open(path)
        if _try(descriptor, fcntl.LOCK_EX):
            if _is_still(descriptor, path):
                return descriptor
            os.close(descriptor)  # `down --purge` removed the file while this one waited
            continue
        os.close(descriptor)
        if monotonic() >= deadline:
            holder = _read(path)
            who = f"{holder.command} (pid {holder.pid} of {holder.user} on {holder.host}, since {holder.since})"
            raise ApplyLockHeldError(
                f"another command is changing this project: {who}",
                hint="wait for it, or let this one wait: --lock-wait SECONDS",
            )
        await asyncio.sleep(_POLL_SECONDS)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageFullError(
            f"cannot write {path}: {exc.strerror}", hint="free space or mend the permissions, then repeat the command"
        ) from exc


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> LockHolder:
    try:
        return LockHolder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return LockHolder("a command that has just begun", 0, "this host", "unknown", "now")


def _user() -> str:
    return os.environ.get("USER") or str(os.getuid())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
