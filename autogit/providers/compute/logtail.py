"""Reading the end of a process's log file without reading all of it, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

_BLOCK_BYTES = 64 * 1024
_POLL_SECONDS = 0.3


def size(path: Path) -> int:
    """Return the file's present size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tail(path: Path, lines: int, *, since: int = 0) -> list[str]:
    """Return the last `lines` lines written after byte `since`, the oldest first; bytes that are no text are replaced.

    A file that is now shorter than `since` was rotated meanwhile and is read from its beginning.
    """
    if lines < 1:
        return []
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            start = since if since <= end else 0
            data, position = b"", end
            while position > start and data.count(b"\n") <= lines:
                step = min(_BLOCK_BYTES, position - start)
                position -= step
                file.seek(position)
                data = file.read(step) + data
    except OSError:
        return []
    return data.decode("utf-8", "replace").splitlines()[-lines:]


def tail_rotated(path: Path, lines: int) -> list[str]:
    """Return the last `lines` lines of a log and, where it was rotated just now, of the file before it."""
    found = tail(path, lines)
    missing = lines - len(found)
    return [*tail(path.with_name(f"{path.name}.1"), missing), *found] if missing > 0 else found


def follow(files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (name, line) for each line that is written to these files from now on; blocks between them."""
    tails = [_Tail(name, path) for name, path in files.items()]
    while True:
        found = [line for tail_ in tails for line in tail_.read()]
        yield from found
        if not found:
            time.sleep(_POLL_SECONDS)


class _Tail:
    """One file, read from its present end on; a rotated file is finished, then the new one begins."""

    def __init__(self, service: str, path: Path) -> None:
        self.service = service
        self.path = path
        self.file: TextIO | None = None
        self._open(at_end=True)

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield whole lines that are there now."""
        if self.file is None:
            self._open(at_end=False)
        if self.file is None:
            return
        while line := self.file.readline():
            yield self.service, line.rstrip("\n")
        if self._rotated(self.file):
            self.file.close()
            self.file = None

    def _open(self, *, at_end: bool) -> None:
        try:
            self.file = self.path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        if at_end:
            self.file.seek(0, os.SEEK_END)

    def _rotated(self, file: TextIO) -> bool:
        try:
            return self.path.stat().st_ino != os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            return True
