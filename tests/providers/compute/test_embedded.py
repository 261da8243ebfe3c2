import asyncio
import json
import os
import signal
import stat
import time
import urllib.request
from datetime import datetime

import pytest

from autogit.errors import NotReadyError, UnavailableError
from autogit.model.plan import Action
from autogit.model.resource import Address
from autogit.providers.compute.leftovers import is_alive
from autogit.providers.compute.supervisor import Supervisor
from autogit.providers.probe import http_status

pytestmark = pytest.mark.integration


def ask(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return json.load(answer)


def eventually(check, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.1)
    return False


def ignore_term(project):
    """Make the servers of a project survive their supervisor's death, which reaches them as SIGTERM."""
    text = project.script.read_text()
    project.script.write_text(text.replace("port,", "signal.signal(15, signal.SIG_IGN)\nport,", 1))


def supervisord_pid(project):
    return int((project.paths.supervisor / "supervisord.pid").read_text())


def test_a_created_process_serves_and_is_observed_as_wished(project, free_port):
    port = free_port()
    wish = project.wish("web", port, reload="r1")
    (outcome,) = project.apply(wish)
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    seen = project.observe()["web"]
    assert {name: seen[name] for name in wish.attributes} == dict(wish.attributes)
    assert seen["pid"] == ask(port)["pid"]
    assert outcome.attributes == wish.attributes
    assert datetime.fromisoformat(seen["since"]).tzinfo is not None
    assert ask(port)["cwd"] == str(project.paths.data / "web")


def test_nothing_is_observed_and_nothing_made_where_supervisord_never_ran(project):
    assert project.observe() == {}
    assert not project.paths.state.exists()


def test_services_created_at_once_all_run(project, free_port):
    ports = {name: free_port() for name in ("one", "two", "three")}
    outcomes = project.apply(*(project.wish(name, port) for name, port in ports.items()))
    assert [o.ok for o in outcomes] == [True, True, True]
    assert {name: ask(port)["pid"] for name, port in ports.items()} == {
        name: seen["pid"] for name, seen in project.observe().items()
    }


def test_only_the_owner_may_reach_the_control_socket(project, free_port):
    project.apply(project.wish("web", free_port()))
    socket = Supervisor(project.paths).socket
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_a_killed_process_comes_back_by_itself(project, free_port):
    port = free_port()
    project.apply(project.wish("web", port))
    for _ in range(4):
        pid = ask(port)["pid"]
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: http_status("127.0.0.1", port, "/", timeout_seconds=1) == 200)
        assert ask(port)["pid"] != pid
    assert project.observe()["web"]["state"] == "running"


def test_a_killed_supervisord_leaves_no_process_and_the_next_apply_recovers(project, free_port):
    port = free_port()
    wish = project.wish("web", port)
    project.apply(wish)
    child = ask(port)["pid"]
    os.kill(supervisord_pid(project), signal.SIGKILL)
    assert eventually(lambda: not is_alive(child))
    assert project.observe() == {}
    (outcome,) = project.apply(wish)
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    assert project.observe()["web"]["state"] == "running"


def test_a_process_that_ignores_its_parents_death_is_ended_by_the_next_start(project, free_port):
    port = free_port()
    ignore_term(project)
    wish = project.wish("web", port)
    project.apply(wish)
    stubborn = ask(port)["pid"]
    os.kill(supervisord_pid(project), signal.SIGKILL)
    assert is_alive(stubborn)
    (outcome,) = project.apply(wish)
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    assert ask(port)["pid"] != stubborn
    assert not is_alive(stubborn)


def test_own_pids_hold_what_runs_and_what_a_killed_supervisord_left(project, free_port):
    port = free_port()
    ignore_term(project)
    assert not project.runtime.own_pids()
    project.apply(project.wish("web", port))
    child = ask(port)["pid"]
    assert project.runtime.own_pids() == {child}
    os.kill(supervisord_pid(project), signal.SIGKILL)
    assert project.runtime.own_pids() == {child}
    os.kill(child, signal.SIGKILL)
    assert eventually(lambda: not project.runtime.own_pids())


def test_a_replacement_stops_the_former_version_and_forgets_it(project, free_port):
    port = free_port()
    project.apply(project.wish("web", port, "one", version="a1"))
    former = ask(port)["pid"]
    (outcome,) = project.apply(
        project.wish("web", port, "two", version="b2"), action=Action.REPLACE, fields=["program"]
    )
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    assert ask(port)["argv"] == ["two"]
    assert not is_alive(former)
    assert [info.name for info in Supervisor(project.paths).infos()] == ["web.b2"]


@pytest.mark.parametrize(("text", "reason"), [("broken", "ended 3 times"), ("never", "did not become ready in 2 s")])
def test_a_broken_replacement_leaves_the_former_one_serving(project, free_port, text, reason):
    port = free_port()
    project.apply(project.wish("web", port, "one", version="a1"))
    wish = project.wish("web", port, text, version="b2", timeout=10 if text == "broken" else 2)
    (outcome,) = project.apply(wish, action=Action.REPLACE, fields=["program"])
    assert isinstance(outcome.error, NotReadyError)
    assert reason in outcome.error.message
    assert outcome.error.message.endswith("the former one is serving again")
    expected = "cannot read the configuration: no such thing" if text == "broken" else "serving never"
    assert expected in outcome.error.context
    assert outcome.restored == (Address("file", "web/conf.yml"),)
    assert ask(port)["argv"] == ["one"]
    assert project.observe()["web"]["program"] == "a1"
    assert [info.name for info in Supervisor(project.paths).infos()] == ["web.a1"]


def test_a_service_that_never_becomes_ready_is_stopped_and_the_others_stay_up(project, free_port):
    good, bad = free_port(), free_port()
    fine, failed = project.apply(project.wish("good", good), project.wish("bad", bad, "never", timeout=2))
    assert fine.ok
    assert failed.error.code == "not-ready"
    assert failed.error.context == ("serving never",)
    assert any(address == "process/bad" and "of 2 s" in text for address, text in project.progress)
    assert list(project.observe()) == ["good"]
    assert http_status("127.0.0.1", bad, "/", timeout_seconds=1) == 0


def test_an_answer_of_a_stranger_on_the_port_does_not_make_a_service_ready(project, make_project, tmp_path, free_port):
    port = free_port()
    other = make_project(tmp_path / "other")
    other.apply(other.wish("holder", port))
    (outcome,) = project.apply(project.wish("web", port, timeout=10))
    assert isinstance(outcome.error, NotReadyError)
    assert any("Address already in use" in line for line in outcome.error.context)


def test_a_missing_program_is_told_with_its_name(project, free_port):
    wish = project.wish("web", free_port())
    object.__setattr__(wish.payload.program, "executable", "/nowhere/program")
    (outcome,) = project.apply(wish)
    assert isinstance(outcome.error, NotReadyError)
    assert "autogit: cannot start /nowhere/program: No such file or directory" in outcome.error.context


def test_a_changed_reload_file_sends_the_reload_signal_and_keeps_the_process(project, free_port):
    port = free_port()
    project.apply(project.wish("web", port, reload="r1"))
    before = ask(port)
    wish = project.wish("web", port, reload="r2")
    (outcome,) = project.apply(wish, action=Action.UPDATE, fields=["reload"])
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    assert eventually(lambda: ask(port)["reloads"] == 1)
    assert ask(port)["pid"] == before["pid"]
    assert project.observe()["web"]["reload"] == "r2"


def test_a_process_that_does_not_answer_is_unhealthy_and_is_restarted(project, free_port):
    port = free_port()
    wish = project.wish("web", port)
    project.apply(wish)
    os.kill(ask(port)["pid"], signal.SIGSTOP)
    assert project.observe()["web"]["state"] == "unhealthy"
    (outcome,) = project.apply(wish, action=Action.UPDATE, fields=["state"])
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    assert project.observe()["web"]["state"] == "running"


def test_a_stopped_program_is_observed_as_stopped_and_started_again(project, free_port):
    port = free_port()
    wish = project.wish("web", port)
    project.apply(wish)
    Supervisor(project.paths).stop("web.a1")
    seen = project.observe()["web"]
    assert (seen["state"], seen["pid"]) == ("stopped", 0)
    (outcome,) = project.apply(wish, action=Action.UPDATE, fields=["state"])
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    assert http_status("127.0.0.1", port, "/", timeout_seconds=1) == 200


def test_two_versions_left_by_a_killed_replacement_are_shown_and_joined_into_one(project, free_port):
    port = free_port()
    project.apply(project.wish("web", port, version="a1"))
    supervisor = Supervisor(project.paths)
    supervisor.stop("web.a1")
    wish = project.wish("web", port, "two", version="b2")
    from autogit.providers.compute.program_conf import ProgramRecord

    supervisor.add(ProgramRecord(wish.payload.program, "b2", "", str(project.paths.data / "web")))
    assert project.observe()["web"]["program"] == "several"
    (outcome,) = project.apply(wish, action=Action.REPLACE, fields=["program"])
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    assert [info.name for info in supervisor.infos()] == ["web.b2"]


def test_a_stop_right_after_a_start_does_not_wait_for_a_lost_signal(project, free_port):
    project.apply(project.wish("web", free_port()))
    supervisor = Supervisor(project.paths)
    for _ in range(5):
        supervisor.start("web.a1")
        supervisor.stop("web.a1")
    log = (project.paths.supervisor / "supervisord.log").read_text()
    assert "SIGKILL" not in log


def test_a_deleted_service_is_gone_and_its_data_and_log_stay(project, free_port):
    port = free_port()
    project.apply(project.wish("web", port))
    (project.paths.data / "web" / "kept").write_text("x")
    assert project.delete("web").ok
    assert http_status("127.0.0.1", port, "/", timeout_seconds=1) == 0
    assert project.observe() == {}
    assert (project.paths.data / "web" / "kept").exists()
    assert "serving one" in asyncio.run(project.runtime.logs("web", lines=5))
    assert project.delete("web").ok, "a repeated delete is harmless"


def test_a_restart_gives_a_new_process_and_an_unknown_service_is_told(project, free_port):
    port = free_port()
    project.apply(project.wish("web", port))
    before = ask(port)["pid"]
    asyncio.run(project.runtime.restart("web"))
    assert ask(port)["pid"] != before
    with pytest.raises(UnavailableError, match="nothing is not running here"):
        asyncio.run(project.runtime.restart("nothing"))


def test_stop_all_ends_every_process_and_supervisord(project, free_port):
    ports = [free_port(), free_port()]
    project.apply(project.wish("one", ports[0]), project.wish("two", ports[1]))
    pids = [supervisord_pid(project), *(ask(port)["pid"] for port in ports)]
    asyncio.run(project.runtime.stop_all())
    assert not any(is_alive(pid) for pid in pids)
    asyncio.run(project.runtime.stop_all())
    assert project.observe() == {}


def test_any_text_reaches_a_process_from_a_folder_with_an_awkward_name(make_project, tmp_path, free_port):
    project = make_project(tmp_path / "50% o'clock ;x #y [z] %(here)s é")
    port = free_port()
    extra = (
        "two words",
        "100%",
        "%(ENV_HOME)s",
        'it\'s "so"',
        " ;c #d",
        "line\nbreak",
        "back\\slash",
        "$HOME `id`",
        "",
    )
    env = {"A": "both ' and \"", "B": "a\nb", "C": "%d, x=y", "D_é": "ü", "E": "'quoted'"}
    (outcome,) = project.apply(project.wish("web", port, extra=extra, env=env))
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    answer = ask(port)
    assert tuple(answer["argv"][1:]) == extra
    assert {name: answer["env"].get(name) for name in env} == env
    assert not any(name.startswith("SUPERVISOR_") for name in answer["env"])


def test_the_callers_environment_does_not_reach_a_process(project, free_port, monkeypatch):
    monkeypatch.setenv("SOMEBODYS_TOKEN", "hunter2")
    port = free_port()
    project.apply(project.wish("web", port))
    assert "SOMEBODYS_TOKEN" not in ask(port)["env"]


def test_a_nul_character_is_refused_and_nothing_is_started(project, free_port):
    (outcome,) = project.apply(project.wish("web", free_port(), extra=("a\0b",)))
    assert outcome.error is not None
    assert "NUL" in outcome.error.message
    assert project.observe() == {}


def test_a_long_path_moves_the_socket_to_a_private_folder(make_project, tmp_path, free_port):
    project = make_project(tmp_path / ("x" * 60) / ("y" * 60))
    port = free_port()
    (outcome,) = project.apply(project.wish("web", port))
    assert outcome.ok, (outcome.error, outcome.error and outcome.error.context)
    socket = Supervisor(project.paths).socket
    assert len(os.fsencode(socket)) <= 96
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert project.observe()["web"]["state"] == "running"


def test_health_tells_whether_supervisord_runs(project, free_port):
    assert asyncio.run(project.runtime.health()).detail == "supervisord is not running"
    project.apply(project.wish("web", free_port()))
    assert asyncio.run(project.runtime.health()).detail == "supervisord runs 1 programs"


def test_a_record_that_cannot_be_kept_is_an_unsupported_wish(project, free_port):
    (outcome,) = project.apply(project.wish("web", free_port(), env={"A=B": "x"}))
    assert isinstance(outcome.error, NotReadyError)
    assert "environment variable" in outcome.error.message
