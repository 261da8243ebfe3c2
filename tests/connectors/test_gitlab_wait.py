"""Waiting for GitLab by phases, without a clock of this world."""

from __future__ import annotations

import asyncio

import pytest

from autogit.connectors.gitlab_wait import Looks, Phase, Time, await_gitlab, look_at_phase
from autogit.errors import NotReadyError
from tests.connectors.gitlab_world import Clock


def wait(looks, clock, **more):
    told = []
    asyncio.run(await_gitlab(looks, Time(clock.now, clock.sleep), told.append, **more))
    return told


def test_a_booting_gitlab_is_waited_for_phase_by_phase(world):
    world.fake.faults.boot(bad_gateway=3, not_ready=2)
    access = world.access()
    told = wait(access.looks, world.clock)
    assert [line.split(":")[0] for line in told] == [
        "the container runs, GitLab's web server does not answer yet",
        "GitLab's web server is up, its database or another part is not ready yet",
    ]


def test_the_api_is_waited_for_too(world):
    world.fake.faults.fail("/api/v4/version", status=502, times=2)
    told = wait(world.access().looks, world.clock)
    assert [line.split(":")[0] for line in told] == ["GitLab is ready, its API does not answer yet"]


def looks_of(container, page=0):
    async def state():
        return container

    async def status(_path):
        return page

    return Looks(state, status)


@pytest.mark.parametrize(
    ("container", "page", "phase"),
    [
        ("", 200, Phase.ABSENT),
        ("exited", 200, Phase.STARTING),
        ("running", 0, Phase.BOOTING),
        ("running", 502, Phase.BOOTING),
        ("unhealthy", 200, Phase.ANSWERING),
        ("running", 200, Phase.ANSWERING),
    ],
)
def test_phases(container, page, phase):
    assert asyncio.run(look_at_phase(looks_of(container, page))) is phase


def test_without_a_container_nothing_is_waited_for():
    clock = Clock()
    with pytest.raises(NotReadyError, match="no container") as caught:
        wait(looks_of(""), clock)
    assert (caught.value.hint, clock.slept) == ("autogit up starts it", [])


def test_the_budget_ends_it_and_the_sentence_says_where_it_hangs():
    clock = Clock()
    with pytest.raises(NotReadyError, match="within 20 minutes: the container runs, GitLab's web server"):
        wait(looks_of("running", 502), clock)
    assert clock.seconds == 1200
    assert len(clock.slept) < 150
    assert max(clock.slept) == 10


def test_a_long_phase_is_told_again_every_half_minute():
    clock, told = Clock(), []
    with pytest.raises(NotReadyError):
        asyncio.run(await_gitlab(looks_of("running"), Time(clock.now, clock.sleep), told.append, budget_seconds=120))
    assert 3 <= len(told) <= 5
