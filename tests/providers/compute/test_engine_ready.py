"""Judging a started container by what several looks at it show; the engine is a stand-in that tells a story."""

from __future__ import annotations

import asyncio
import copy

import pytest

from autogit.errors import RejectedError, UnavailableError
from autogit.providers.compute.engine.ready import await_ready
from tests.providers.compute.test_engine_observe import RECORDED


class Story:
    """An engine whose container is another one at every look; the last look goes on for ever."""

    def __init__(self, *looks, check=lambda: False, events=()):
        self.looks = list(looks)
        self.check = check
        self.rows = events
        self.checks = 0

    async def call(self, work):
        return work(self)

    async def find(self, work):
        return work(self)

    def inspect_container(self, _id):
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def exec_create(self, _id, _command):
        self.checks += 1
        return {"Id": "check"}

    def exec_start(self, _id, *, detach):
        assert detach

    def exec_inspect(self, _id):
        verdict = self.check()
        return {"Running": verdict is None, "ExitCode": 0 if verdict else 1}

    def events(self, **_words):
        return iter(self.rows)


def look(status="running", health="starting", restarts=0, **state):
    raw = copy.deepcopy(RECORDED)
    raw["State"] |= {"Status": status, "Health": {"Status": health}, **state}
    raw["Config"]["Healthcheck"]["Timeout"] = 10**8
    raw["RestartCount"] = restarts
    return raw


def judge(story, seconds=20.0, report=lambda _text: None):
    return asyncio.run(await_ready(story, "5b12", seconds, report))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """The story does not need the time that a container does."""
    pause = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: pause(min(seconds, 0.001)))


def test_its_own_check_is_carried_out_before_the_engine_does():
    story = Story(look(), check=lambda: True)
    assert judge(story) == ""
    assert story.checks == 1


def test_what_the_engine_finds_healthy_is_not_asked_again():
    story = Story(look(health="healthy"))
    assert judge(story) == ""
    assert story.checks == 0


def test_it_is_ready_although_it_was_restarted_often_before():
    assert judge(Story(look(restarts=7, health="healthy"))) == ""


def test_ending_again_and_again_is_told_with_the_exit_code_that_was_seen():
    looks = [look("restarting", "unhealthy", n, ExitCode=3) for n in range(3)]
    assert judge(Story(*looks, look(restarts=3))) == "ends again and again, exit code 3"


def test_an_ending_that_nobody_saw_is_asked_for():
    events = [{"Actor": {"Attributes": {"exitCode": code}}} for code in ("1", "2")]
    assert judge(Story(look(), look(restarts=3), events=events)) == "ends again and again, exit code 2"
    assert judge(Story(look(), look(restarts=3))) == "ends again and again"


def test_the_engine_calls_unhealthy_what_it_starts_again_and_that_is_no_verdict():
    story = Story(look("restarting", "unhealthy", ExitCode=1), look(restarts=1), check=lambda: True)
    assert judge(story) == ""


def test_unhealthy_for_long_is_a_verdict_with_the_last_word_of_the_check():
    log = {"Status": "unhealthy", "Log": [{"Output": "first\n"}, {"Output": "no route\nto the database\n"}]}
    why = judge(Story(look(Health=log)))
    assert why == "runs, but its health check does not pass (to the database)"


def test_one_that_ended_for_want_of_memory_is_told_so():
    assert "more memory than its limit" in judge(Story(look("restarting", OOMKilled=True)))


def test_one_that_ended_for_good_is_told_with_its_code():
    assert judge(Story(look("exited", ExitCode=2))) == "ended, exit code 2"
    assert "(exec: no such file)" in judge(Story(look("exited", ExitCode=127, Error="exec: no such file")))


def test_one_that_was_removed_meanwhile_is_gone():
    assert judge(Story(look(), None)) == "is gone"


def test_a_check_that_hangs_or_cannot_be_begun_holds_nothing_up():
    said = []
    assert "did not become ready in 0 s" in judge(Story(look(), check=lambda: None), 0.3, said.append)

    def refuse():
        raise RejectedError("docker: exec: no such program")

    assert "did not become ready" in judge(Story(look(), check=refuse), 0.1)


def test_without_a_check_one_is_ready_that_stays_up(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    plain = look(health="none")
    plain["Config"]["Healthcheck"] = {"Test": ["NONE"]}
    said = []
    assert judge(Story(plain), report=said.append) == ""
    assert said
    assert said[0].startswith("starting: ")


def test_an_engine_that_is_lost_is_not_taken_for_a_failed_service():
    class Lost(Story):
        async def find(self, _work):
            raise UnavailableError("docker: the engine does not answer")

    with pytest.raises(UnavailableError):
        judge(Lost(look()))
