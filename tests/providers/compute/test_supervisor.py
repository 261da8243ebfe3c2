import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from autogit.errors import StorageFullError, UnavailableError
from autogit.providers.compute.program_conf import ProgramRecord
from autogit.providers.compute.supervisor import Supervisor, ensure_private


def test_a_private_folder_is_made_once_and_accepted_again(tmp_path):
    ensure_private(tmp_path / "own")
    ensure_private(tmp_path / "own")
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_enter_is_refused(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(UnavailableError, match="only this user can enter"):
        ensure_private(folder)


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UnavailableError):
        ensure_private(tmp_path / "link")


def test_a_state_folder_that_cannot_be_made_is_a_storage_fault(project):
    project.paths.state.write_text("a file is in the way")
    record = ProgramRecord(project.wish("web", 1).payload.program, "a1", "", str(project.paths.root))
    with pytest.raises(StorageFullError, match="cannot make"):
        Supervisor(project.paths).add(record)


@pytest.mark.integration
def test_a_foreign_file_in_place_of_the_socket_does_not_stop_a_start(project, free_port):
    supervisor = Supervisor(project.paths)
    project.paths.supervisor.mkdir(parents=True)
    supervisor.socket.write_text("stale")
    (project.paths.supervisor / "supervisord.pid").write_text("999999")
    (outcome,) = project.apply(project.wish("web", free_port()))
    assert outcome.ok, outcome.error


@pytest.mark.integration
def test_a_supervisord_that_hangs_is_named_with_its_pid(project, free_port):
    project.apply(project.wish("web", free_port()))
    pid = int((project.paths.supervisor / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    record = ProgramRecord(project.wish("web", 1).payload.program, "b2", "", str(project.paths.root))
    try:
        with pytest.raises(UnavailableError, match=f"supervisord .pid {pid}. runs but does not answer"):
            Supervisor(project.paths, budget_seconds=0.5).add(record)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.integration
def test_two_starts_at_once_give_one_supervisord(project, free_port):
    records = [
        ProgramRecord(project.wish(name, free_port()).payload.program, "a1", "", str(project.paths.root))
        for name in ("one", "two")
    ]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda record: Supervisor(project.paths).add(record), records))
    found = Supervisor(project.paths).infos()
    assert [info.name for info in found] == ["one.a1", "two.a1"]
    log = (project.paths.supervisor / "supervisord.log").read_text()
    assert log.count("supervisord started with pid") == 1


@pytest.mark.integration
def test_what_one_adds_another_does_not_write_over(project):
    """Reading the records, writing the configuration and having it read is one step, whoever else does the same."""
    program = replace(project.wish("web", 1).payload.program, executable="sleep", arguments=("60",))
    names = [f"s{number}" for number in range(12)]

    def add(part):
        supervisor = Supervisor(project.paths)  # one each, as in processes of their own
        for name in part:
            supervisor.add(ProgramRecord(replace(program, service=name), "a1", "", str(project.paths.root)))

    with ThreadPoolExecutor() as pool:
        list(pool.map(add, (names[:4], names[4:8], names[8:])))
    assert {info.service for info in Supervisor(project.paths).infos()} == set(names)
