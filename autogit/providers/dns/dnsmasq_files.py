"""The files that dnsmasq reads, and commands: written whole, one writer at a time, refusals told."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autogit.errors import ProviderAuthError, ProviderError, RejectedError, StorageFullError, UnavailableError
from autogit.providers.host.atomic import write_atomic

_COMMAND_SECONDS = _LOCK_SECONDS = 60.0
_PAUSE_SECONDS = 0.02


@contextmanager
def rights(path: Path) -> Iterator[None]:
    """Have a refused access be an error that says what is needed."""
    try:
        yield
    except OSError as exc:
        hint = "AutoGit's user must be able to read what dnsmasq reads, and to write to both folders"
        raise ProviderAuthError(f"dnsmasq: {path} cannot be used: {exc.strerror}", hint=hint) from exc


def files(folder: Path) -> list[Path]:
    """Return the files of a folder that dnsmasq reads: it leaves out dotfiles and what editors leave behind."""
    with rights(folder):
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if not path.name.startswith((".", "#")) and not path.name.endswith("~")]


def content_of(path: Path) -> bytes | None:
    """Return what a file holds, or None where there is none."""
    with rights(path):
        return path.read_bytes() if path.is_file() else None


def store(path: Path, data: bytes) -> None:
    """Write a file whole, at once. Raises ProviderError where there is no room."""
    try:
        write_atomic(path, data, 0o644)  # first under a dotfile's name; dnsmasq reads it as a user of its own
    except StorageFullError as exc:
        raise ProviderError(f"dnsmasq: {exc.message}", hint=exc.hint) from exc


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes of ours out while files are read and then written."""
    limit = time.monotonic() + _LOCK_SECONDS
    with rights(path):
        file = path.open("ab")
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if time.monotonic() > limit:
                    raise UnavailableError(f"dnsmasq: another process holds {path}") from exc
            time.sleep(_PAUSE_SECONDS)
        yield


def run(words: list[str], what: str) -> None:
    """Run a command; its output goes into a file, for a daemon that it starts may hold on to a pipe."""
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=_COMMAND_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise UnavailableError(f"dnsmasq: {what} did not end within {_COMMAND_SECONDS:.0f} seconds") from exc
        except OSError as exc:
            raise RejectedError(f"dnsmasq: {what} cannot be run: {exc.strerror}", hint="is the path right?") from exc
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").split("\n")
    if done.returncode:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        raise RejectedError(f"dnsmasq: {what} failed: {last}", hint="run it by hand as the user that AutoGit runs as")
