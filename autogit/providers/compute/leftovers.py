"""Processes that a killed supervisord may have left: recognised by pid and start time, ended by pid."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_SAME_START_SECONDS = 5.0
_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.05
_LEAST_PID = 2


def noted_pid(path: Path) -> int:
    """Return the pid in a launcher's `.starts` file, 0 where there is none."""
    return _note(path).pid


def quick_restarts(path: Path) -> int:
    """Return the count of successive short runs in a launcher's `.starts` file."""
    return _note(path).quick


def is_alive(pid: int) -> bool:
    """Tell whether a process with this pid runs (a zombie does not)."""
    import psutil  # noqa: PLC0415 - heavy

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def listens(pid: int, port: int) -> bool:
    """Tell whether a process or one of its children listens on a TCP port; yes where the system does not tell."""
    import psutil  # noqa: PLC0415 - heavy

    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in one.net_connections("tcp")):
                return True
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
    return False


def with_children(pids: Iterable[int], notes: Iterable[Path]) -> frozenset[int]:
    """Return these pids and those that `.starts` files tell of, as far as they run, with all their children."""
    import psutil  # noqa: PLC0415 - heavy

    found: set[int] = set()
    for pid in {*pids, *(process.pid for process in _still_running(notes))}:
        try:
            found |= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return frozenset(found)


def end(notes: Iterable[Path], grace_seconds: float) -> None:
    """End the processes that launchers noted in these `.starts` files and that still run: SIGTERM, then SIGKILL."""
    running = list(_still_running(notes))
    for process in running:
        _ask(process, "terminate")
    stubborn = _wait(running, grace_seconds)
    for process in stubborn:
        _ask(process, "kill")
    _wait(stubborn, _KILL_SECONDS)


def _ask(process: psutil.Process, verb: str) -> None:
    import psutil  # noqa: PLC0415 - heavy

    try:
        getattr(process, verb)()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


def _wait(processes: Iterable[psutil.Process], budget_seconds: float) -> list[psutil.Process]:
    """Return those that still run after the budget. A zombie has ended: in a container nobody may ever reap it."""
    deadline = time.monotonic() + budget_seconds
    left = [p for p in processes if is_alive(p.pid)]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = [p for p in left if is_alive(p.pid)]
    return left


def _still_running(notes: Iterable[Path]) -> Iterator[psutil.Process]:
    import psutil  # noqa: PLC0415 - heavy

    for path in notes:
        note = _note(path)
        if note.pid < _LEAST_PID:  # no note; 0 and below are groups to the kernel, 1 is the machine's own
            continue
        try:
            process = psutil.Process(note.pid)
            has_ended = not is_alive(process.pid)  # a zombie's group may go on, as after its end
            is_noted = abs(process.create_time() - note.created) < _SAME_START_SECONDS
        except psutil.NoSuchProcess:
            has_ended = is_noted = True
        if has_ended and is_noted:
            yield from _orphans(note)
        elif is_noted:
            yield process


def _orphans(note: _Note) -> Iterator[psutil.Process]:
    """Yield what a program that was killed left of its process group (nginx: workers that go on, on its ports).

    Numbers of pids and groups come again, after a restart of the machine at once: whoever is in that group must be in
    the session of the supervisor that started the program, which no other process can enter, and be younger than it.
    """
    import psutil  # noqa: PLC0415 - heavy

    if note.session < _LEAST_PID or note.session == note.pid or note.created < psutil.boot_time():
        return
    for pid in psutil.pids():
        try:
            is_of = os.getpgid(pid) == note.pid and os.getsid(pid) == note.session
            if is_of and psutil.Process(pid).create_time() > note.created - _SAME_START_SECONDS:
                yield psutil.Process(pid)
        except (OSError, psutil.NoSuchProcess):
            continue


@dataclass(frozen=True, slots=True)
class _Note:
    """What a launcher noted: the program's pid, which is its group, when it began, and its supervisor's session."""

    pid: int = 0
    created: float = 0.0
    quick: int = 0
    session: int = 0


def _note(path: Path) -> _Note:
    try:
        pid, created, _begins, quick, *session = (float(word) for word in path.read_text(encoding="ascii").split())
        return _Note(int(pid), created, int(quick), int(session[0]) if session else 0)
    except (OSError, ValueError, OverflowError):
        return _Note()
