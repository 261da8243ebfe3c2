"""Processes that a killed supervisord may have left: recognised by pid and start time, ended by pid."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
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
    return int(_note(path)[0])


def quick_restarts(path: Path) -> int:
    """Return the count of successive short runs in a launcher's `.starts` file."""
    return int(_note(path)[3])


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
    except psutil.NoSuchProcess:
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
        pid, created, _, _ = _note(path)
        if pid < _LEAST_PID:  # no note; 0 and below are groups to the kernel, 1 is the machine's own
            continue
        try:
            process = psutil.Process(int(pid))
            if is_alive(process.pid) and abs(process.create_time() - created) < _SAME_START_SECONDS:
                yield process
        except psutil.NoSuchProcess:
            yield from _orphans(int(pid), created)


def _orphans(group: int, created: float) -> Iterator[psutil.Process]:
    """Yield what a program that was killed left of its process group (nginx: workers that go on, on its ports)."""
    import psutil  # noqa: PLC0415 - heavy

    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group and psutil.Process(pid).create_time() > created - _SAME_START_SECONDS:
                yield psutil.Process(pid)
        except (OSError, psutil.NoSuchProcess):
            continue


def _note(path: Path) -> tuple[float, float, float, float]:
    try:
        pid, created, begins, quick = (float(word) for word in path.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return 0, 0, 0, 0
    return pid, created, begins, quick
