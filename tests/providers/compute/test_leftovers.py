"""What a killed supervisor left: only what a note tells of is ever ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from autogit.providers.compute import leftovers

_SETTLE_SECONDS = 20.0
_PARENT = """
import os, subprocess, sys, time
os.setpgid(0, 0)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("text", [None, "", "0 0 0 0", "1 0 0 0", "-1 0 0 0", "words", "0.5 0 0 0"])
def test_a_note_that_tells_of_no_program_has_nobody_ended(tmp_path, text, monkeypatch):
    asked = []
    monkeypatch.setattr(leftovers, "_ask", lambda process, verb: asked.append((process.pid, verb)))
    note = tmp_path / "web.starts"
    if text is not None:
        note.write_text(text)
    leftovers.end([note], 0.0)
    assert asked == []
    assert leftovers.with_children([], [note]) == frozenset()


def test_what_a_killed_program_left_of_its_group_is_ended(tmp_path):
    leader = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    orphan = int(leader.stdout.readline())
    try:
        note = tmp_path / "web.starts"
        note.write_text(f"{leader.pid} {psutil.Process(leader.pid).create_time()} 0 0")
        leader.kill()
        leader.wait()  # its output is the orphan's, too
        assert leftovers.is_alive(orphan)
        leftovers.end([note], _SETTLE_SECONDS)
        assert not leftovers.is_alive(orphan)
        assert leftovers.is_alive(os.getpid())
    finally:
        leader.kill()
        leader.stdout.close()
        _end(orphan)


def _end(pid):
    if leftovers.is_alive(pid):
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while leftovers.is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
