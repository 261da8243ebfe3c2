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
_LEADER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
_SUPERVISOR = f"""
import subprocess, sys, time
leader = subprocess.Popen([sys.executable, "-c", {_LEADER!r}], process_group=0)
print(leader.pid, flush=True)
if sys.argv[1] == "reaps":
    leader.wait()
    print("reaped", flush=True)
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


@pytest.fixture(params=["reaps", "leaves a zombie"])
def orphan(request):
    """A process whose group has lost its leader, the words of a note of that leader, and their session."""
    command = [sys.executable, "-c", _SUPERVISOR, request.param]
    supervisor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    leader, pid = (int(supervisor.stdout.readline()) for _ in range(2))
    words = [leader, psutil.Process(leader).create_time(), 0, 0]
    os.kill(leader, signal.SIGKILL)
    _await_end(leader)
    if request.param == "reaps":
        assert supervisor.stdout.readline() == "reaped\n"
    yield pid, words, supervisor.pid
    if leftovers.is_alive(pid):
        os.kill(pid, signal.SIGKILL)
        _await_end(pid)
    supervisor.kill()
    supervisor.communicate()  # to the end of the output that all three had


def test_what_a_killed_program_left_of_its_group_is_ended(tmp_path, orphan):
    pid, words, session = orphan
    note = tmp_path / "web.starts"
    note.write_text(" ".join(map(str, [*words, session])))
    leftovers.end([note], _SETTLE_SECONDS)
    assert not leftovers.is_alive(pid)
    assert leftovers.is_alive(os.getpid())


@pytest.mark.parametrize("session", [[], [0], ["itself"], [999_999_999]])
def test_a_group_of_that_number_in_another_session_is_somebody_elses(tmp_path, orphan, session):
    """Numbers come again: after a restart of the machine, a daemon may have the one that is noted."""
    pid, words, _ = orphan
    note = tmp_path / "web.starts"
    note.write_text(" ".join(map(str, [*words, *(words[0] if one == "itself" else one for one in session)])))
    leftovers.end([note], 0.0)
    assert leftovers.is_alive(pid)


def _await_end(pid):
    deadline = time.monotonic() + _SETTLE_SECONDS
    while leftovers.is_alive(pid):
        assert time.monotonic() < deadline, f"{pid} did not end"
        time.sleep(0.05)
