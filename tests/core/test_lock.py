"""The apply lock: one at a time, the holder is named, a killed holder leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from autogit.core.lock import apply_lock, find_holder
from autogit.errors import ApplyLockHeldError, StorageFullError

HOLD = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from autogit.core.lock import apply_lock
    async def main():
        async with apply_lock(Path(sys.argv[1]), "up"):
            print("held", flush=True)
            sys.stdin.readline()
    asyncio.run(main())
    """
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock until its stdin closes."""
    path = tmp_path / "state" / "apply.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


async def _enter(path, wait=0.0):
    async with apply_lock(path, "second", wait_seconds=wait) as mine:
        return mine


def test_the_second_is_told_who_holds_it(holder):
    path, process = holder
    with pytest.raises(ApplyLockHeldError, match=rf"up \(pid {process.pid} of .* since 20") as fault:
        asyncio.run(_enter(path))
    assert fault.value.exit_code == 5
    assert "--lock-wait" in fault.value.hint
    assert find_holder(path).pid == process.pid


def test_waiting_gets_it_once_it_is_free(holder):
    path, process = holder

    async def free_while_waiting():
        waiting = asyncio.create_task(_enter(path, wait=30))
        await asyncio.sleep(0)
        process.stdin.write("\n")
        process.stdin.flush()
        return await waiting

    assert asyncio.run(free_while_waiting()).pid == os.getpid()


def test_a_killed_holder_leaves_no_lock(holder):
    path, process = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert find_holder(path) is None
    assert asyncio.run(_enter(path)).command == "second"


def test_nobody_holds_a_lock_that_was_never_taken(tmp_path):
    assert find_holder(tmp_path / "apply.lock") is None


def test_looking_who_holds_it_gets_in_nobodys_way(tmp_path):
    path = tmp_path / "apply.lock"
    path.touch()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            find_holder(path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()

    async def take():
        async with apply_lock(path, "up"):
            return True

    try:
        assert all(asyncio.run(take()) for _ in range(30))
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_waiter_is_not_fooled_by_a_lock_file_that_was_removed(tmp_path):
    path = tmp_path / "apply.lock"

    async def run():
        async with apply_lock(path, "down --purge"):
            waiter = asyncio.create_task(enter())
            await asyncio.sleep(0.2)
            path.unlink()
        return await waiter

    async def enter():
        async with apply_lock(path, "up", wait_seconds=5):
            return find_holder(path)

    assert asyncio.run(run()).command == "up"


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()

    async def run():
        async with apply_lock(tmp_path / "file" / "apply.lock", "up"):
            pass

    with pytest.raises(StorageFullError, match="cannot write"):
        asyncio.run(run())
