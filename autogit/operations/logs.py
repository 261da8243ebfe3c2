"""Reading what services wrote."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from autogit.errors import UsageError
from autogit.operations.project import Project

_POLL_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of one service."""

    service: str
    text: str


async def read_logs(project: Project, services: Sequence[str], lines: int) -> tuple[LogEntry, ...]:
    """Return the last lines of each service (all that have written when none is named). Raises UsageError."""
    found = [
        LogEntry(name, text)
        for name in _chosen(project, services)
        for text in await project.runtime.logs(name, lines=lines)
    ]
    return tuple(found)


def follow_logs(project: Project, services: Sequence[str]) -> Iterator[LogEntry]:
    """Yield each new line as it is written, across rotations, until the caller stops."""
    tails = [_Tail(name, project.runtime.log_path(name)) for name in _chosen(project, services)]
    while True:
        found = [entry for tail in tails for entry in tail.read()]
        yield from found
        if not found:
            time.sleep(_POLL_SECONDS)


def _chosen(project: Project, services: Sequence[str]) -> tuple[str, ...]:
    for name in services:
        project.catalogue.get(name)
    known = sorted(project.catalogue.entries)
    chosen = tuple(services) or tuple(name for name in known if project.runtime.log_path(name).exists())
    if not chosen:
        raise UsageError("no service has written a log yet", hint="autogit up")
    return chosen


class _Tail:
    """One file, read from its present end on; a rotated file is finished, then the new one begins."""

    def __init__(self, service: str, path: Path) -> None:
        self.service = service
        self.path = path
        self.file: TextIO | None = None
        self._open(at_end=True)

    def read(self) -> Iterator[LogEntry]:
        """Yield whole lines that are there now."""
        if self.file is None:
            self._open(at_end=False)
        if self.file is None:
            return
        while line := self.file.readline():
            yield LogEntry(self.service, line.rstrip("\n"))
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
