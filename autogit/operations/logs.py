"""Reading what services wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autogit.errors import UsageError
from autogit.operations.project import Project


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of one service."""

    service: str
    text: str


async def read_logs(project: Project, services: Sequence[str], lines: int) -> tuple[LogEntry, ...]:
    """Return the last lines of each service (all that have written when none is named). Raises UsageError."""
    found = [
        LogEntry(name, text)
        for name in await _chosen(project, services)
        for text in await project.runtime.logs(name, lines=lines)
    ]
    return tuple(found)


def follow_logs(project: Project, services: Sequence[str]) -> Iterator[LogEntry]:
    """Yield each new line of services that `read_logs` was given, or that it found, until the caller stops."""
    chosen = tuple(services) or tuple(sorted(project.catalogue.entries))
    for service, text in project.runtime.follow(chosen):
        yield LogEntry(service, text)


async def _chosen(project: Project, services: Sequence[str]) -> tuple[str, ...]:
    for name in services:
        project.catalogue.get(name)
    chosen = tuple(services) or tuple(sorted(await project.runtime.wrote()))
    if not chosen:
        raise UsageError("no service has written a log yet", hint="autogit up")
    return chosen
