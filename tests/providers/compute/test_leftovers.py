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


@pytest.mark.parametrize(
    "text", [None, "", "0 0 0 0 0", "1 0 0 0 1", "-1 0 0 0 5", "words", "0.5 0 0 0 5", "nan 0 0 0 5", "inf 0 0 0 5"]
)
def test_a_note_that_tells_of_no_program_has_nobody_ended(tmp_path, text, monkeypatch):
    asked = []
    monkeypatch.setattr(leftovers, "_ask", lambda process, verb: asked.append((process.pid, verb)))
    note = tmp_path / "web.starts"
    if text is not None:
        note.write_text(text)
    leftovers.end([note], 0.0)
    assert asked == []
    assert leftovers.with_children([], [note]) == frozenset()


@pytest.fixture
def orphan(tmp_path):
    """A process whose group has lost its leader, and the words of a note of that leader."""
    leader = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    pid = int(leader.stdout.readline())
    words = [leader.pid, psutil.Process(leader.pid).create_time(), 0, 0]
    leader.kill()
    leader.wait()  # its output is the orphan's, too
    leader.stdout.close()
    yield pid, words
    _end(pid)


def test_what_a_killed_program_left_of_its_group_is_ended(tmp_path, orphan):
    pid, words = orphan
    note = tmp_path / "web.starts"
    note.write_text(" ".join(map(str, [*words, os.getsid(0)])))
    leftovers.end([note], _SETTLE_SECONDS)
    assert not leftovers.is_alive(pid)
    assert leftovers.is_alive(os.getpid())


@pytest.mark.parametrize("session", [[], [0], ["itself"], [999_999_999]])
def test_a_group_of_that_number_in_another_session_is_somebody_elses(tmp_path, orphan, session):
    """Numbers come again: after a restart of the machine, a daemon may have the one that is noted."""
    pid, words = orphan
    note = tmp_path / "web.starts"
    note.write_text(" ".join(map(str, [*words, *(words[0] if one == "itself" else one for one in session)])))
    leftovers.end([note], 0.0)
    assert leftovers.is_alive(pid)


def _end(pid):
    if leftovers.is_alive(pid):
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while leftovers.is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
