"""Runs one supervised program: ties its life to supervisord's, slows a crash loop down, then becomes the program.

What a former run of it that was killed has left is ended first.

A plain script (`python -I -S launch.py RECORD`) that imports nothing of AutoGit. RECORD is the program's JSON record:
argv, environment and directory come from there, because supervisord's own quoting cannot hold every value.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SHORT_LIFE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 30.0
_ORPHAN_SECONDS = 2.0
_POLL_SECONDS = 0.05


def main(record_path: str) -> None:
    """Become the program of `record_path`; returns never, exits 127 where the program cannot be started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _tie_to_supervisor(os.path.join(os.path.dirname(record_path), os.pardir, "supervisord.pid"))  # noqa: PTH118, PTH120
    notes = record_path.removesuffix(".json") + ".starts"
    _end_orphans(notes)
    time.sleep(_note_start(notes))
    with open(record_path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib doubles this script's start-up
        record = json.load(file)
    argv = [record["executable"], *record["arguments"]]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
    try:
        os.chdir(record["directory"])
        os.execvpe(argv[0], argv, kept | record["environment"])  # noqa: S606 - an argument list, no shell
    except OSError as exc:
        sys.exit(f"autogit: cannot start {argv[0]}: {exc.strerror}" if exc.strerror else f"autogit: {exc}")


def _tie_to_supervisor(pid_file: str) -> None:
    """Ask the kernel to send SIGTERM when supervisord dies (Linux); exit where it is already gone."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    import ctypes  # noqa: PLC0415 - Linux only

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        with open(pid_file, encoding="ascii") as file:  # noqa: PTH123
            parent = int(file.read())
    except (OSError, ValueError):
        pass  # run by hand: the parent seen before prctl must still be the parent
    if os.getppid() != parent:
        sys.exit("autogit: the supervisor is gone")


def _end_orphans(path: str) -> None:
    """End what a program that was killed left of its process group: nginx' workers go on without it, on its ports."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            former = int(file.read().split()[0])
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except (OSError, ValueError, IndexError):
        return  # the first start, or a system that does not tell
    if former <= 1 or former in pids:
        return  # no program's group; or it lives, or its number is another's now
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while orphans := [pid for pid in pids if _is_of(pid, former)]:
        stubborn = time.monotonic() > deadline
        for pid in orphans:
            _signal(pid, signal.SIGKILL if stubborn else signal.SIGTERM)
        if stubborn:
            break
        time.sleep(_POLL_SECONDS)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return  # it has ended


def _is_of(pid: int, group: int) -> bool:
    """Tell whether a process is of a group of this very supervisor's session."""
    try:
        return os.getpgid(pid) == group and os.getsid(pid) == os.getsid(0)
    except OSError:
        return False


def _note_start(path: str) -> float:
    """Record `pid created begins quick session` and return the seconds to wait before the program begins.

    `quick` counts successive runs that ended within five seconds; the pause grows with its square, so that a process
    killed by hand is back at once and a broken one does not burn the machine.
    """
    now = time.time()
    quick = 0
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            words = file.read().split()
        quick = int(words[3]) + 1 if 0 <= now - float(words[2]) < _SHORT_LIFE_SECONDS else 0
    except (OSError, ValueError, IndexError):
        pass  # the first start
    pause = min(_LONGEST_PAUSE_SECONDS, 0.01 * quick**2)
    with open(path + ".new", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(f"{os.getpid()} {now} {now + pause} {quick} {os.getsid(0)}\n")
    os.replace(path + ".new", path)  # noqa: PTH105
    return pause


if __name__ == "__main__":
    main(sys.argv[1])
