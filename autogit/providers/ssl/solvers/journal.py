"""Remembers on disk which challenge values are out in the world, so that a later run takes away what a killed one left.

Each run holds the kernel's lock (flock) of a file of its own for as long as it may still clean up by itself: the lock
ends with its process, in whichever container that ran, and needs neither a process id nor a clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from autogit.errors import StorageFullError
from autogit.providers.base import Clock, utc_now
from autogit.providers.host.atomic import write_atomic

_VERSION = 1
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Entry:
    """One value that is, or is about to be, published.

    `asked` is where the authority looks, `place` where the value really is (a CNAME may lie between), `provider` who
    keeps it, `noted_at` when it was written down (RFC 3339, UTC), `run` whose it is.
    """

    provider: str
    place: str
    value: str
    asked: str = ""
    noted_at: str = field(default="", compare=False)
    run: str = field(default="", compare=False)


class Journal:
    """The values of all runs in one JSON file (0600). Blocks: each call writes durably before it returns."""

    def __init__(self, path: Path, *, clock: Clock = utc_now, say: Callable[[str], None] = lambda _text: None) -> None:
        self.path = path
        self._clock = clock
        self._say = say
        self._run = ""
        self._held = -1

    def note(self, entries: Collection[Entry]) -> None:
        """Write down what is about to be published by this run. Raises StorageFullError: then nothing may be."""
        with self._locked():
            self._hold()
            at = _text(self._clock())
            mine = {Entry(one.provider, one.place, one.value, one.asked, at, self._run) for one in entries}
            self._write([*(one for one in self._read() if one not in mine), *mine])

    def forget(self, entries: Collection[Entry]) -> None:
        """Strike out what was taken away. Raises StorageFullError: then the next run takes it away once more."""
        if not entries or not self.path.exists():
            return
        with self._locked():
            kept = self._read()
            left = [one for one in kept if one not in entries]
            if left != kept:
                self._write(left)

    def orphans(self) -> list[Entry]:
        """Return what runs left that are over. Raises StorageFullError where nobody can tell."""
        if not self.path.exists():
            return []
        with self._locked():
            return [one for one in self._read() if not self._is_running(one.run)]

    def release(self) -> None:
        """End this run: what it has not struck out is left over from now on. Never raises."""
        if self._held < 0:
            return
        with contextlib.suppress(OSError):  # a full disk, or somebody removed the folder: the lock ends all the same
            self._lock_file(self._run).unlink(missing_ok=True)
        os.close(self._held)
        self._held, self._run = -1, ""

    def _hold(self) -> None:
        if self._held < 0:
            run = secrets.token_hex(8)
            self._held = _opened(self._lock_file(run))
            fcntl.flock(self._held, fcntl.LOCK_EX)
            self._run = run

    def _is_running(self, run: str) -> bool:
        if not run.isalnum():
            return False
        try:
            descriptor = os.open(self._lock_file(run), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _lock_file(self, run: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{run}.run")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Have the file to oneself for an instant."""
        descriptor = -1
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = _opened(self.path.with_name(f"{self.path.name}.lock"))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        except OSError as exc:
            raise StorageFullError(
                f"cannot write {self.path}: {exc.strerror}",
                hint="free space or mend the permissions, then run the command again",
            ) from exc
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _read(self) -> list[Entry]:
        try:
            return _parsed(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError):
            aside = self.path.with_name(f"{self.path.name}.unreadable")
            self.path.replace(aside)
            # A value that stays in the DNS harms nobody; a certificate that is not renewed because of it does.
            self._say(f"{self.path} cannot be read and is kept as {aside.name}: values named in it may be left over")
            return []

    def _write(self, entries: Collection[Entry]) -> None:
        ordered = sorted(entries, key=lambda one: (one.noted_at, one.place, one.value))
        text = json.dumps({"version": _VERSION, "entries": [asdict(one) for one in ordered]}, indent=1)
        write_atomic(self.path, text.encode(), _MODE)
        self._sweep({one.run for one in entries})

    def _sweep(self, runs: Collection[str]) -> None:
        """Remove the lock files of runs that are over and left nothing."""
        for file in self.path.parent.glob(f"{self.path.name}.*.run"):
            run = file.name.removeprefix(f"{self.path.name}.").removesuffix(".run")
            if run not in runs and not self._is_running(run):
                file.unlink(missing_ok=True)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)


def _parsed(data: bytes) -> list[Entry]:
    found = json.loads(data)
    if found["version"] != _VERSION:
        raise ValueError("written by another version")
    entries = [Entry(**one) for one in found["entries"]]
    if not all(isinstance(value, str) for one in entries for value in asdict(one).values()):
        raise TypeError("not texts")
    return entries


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
