"""The end of an `up`: GitLab made ready through the fake, Grafana told once, and what does not work fails nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from autogit.model.views import PlanView, UpView
from autogit.operations.gitlab_up import finish_gitlab
from autogit.operations.gitlab_wiring import is_bootstrap_due
from autogit.operations.platform import UpRequest, _is_whole
from autogit.operations.project import open_project, project_paths
from tests.connectors.gitlab_world import World
from tests.fakes.gitlab.state import now

ENV = "RUNTIME=docker\nSIZE=team\nSERVICES_ENABLED=gitlab,grafana\nGRAFANA_GITLAB_SIGN_IN=true\n"
VIEW = UpView(plan=PlanView(fingerprint="x", policy="sync", counts={}, changes=(), notes=()), seconds=2.0)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", str(tmp_path / "keys" / "identity.txt"))
    with World(tmp_path / "world") as world:
        yield world


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / ".env").write_text(ENV)
    return root


def opened(root):
    project = open_project(project_paths(root))
    return replace(project, context=replace(project.context, clock=now))


def finish(project, world):
    """Returns the view, what was told on the way, and the services that were brought up once more."""
    told, again = [], []

    async def apply_to(service):
        again.append(service)
        return UpView(plan=VIEW.plan, in_sync=7, seconds=1.0)

    done = asyncio.run(finish_gitlab(project, VIEW, apply_to, access=world.access(), on_event=told.append))
    return done, [event.text for event in told], again


def test_it_is_due_once_and_grafana_is_told_once(root, world):
    world.fake.faults.boot(bad_gateway=2, not_ready=1)
    assert is_bootstrap_due(opened(root))
    done, told, again = finish(opened(root), world)
    assert (done.unfinished, done.warnings, done.in_sync, done.seconds) == ((), (), 7, 3.0)
    assert told[0].startswith("the container runs, GitLab's web server does not answer yet: 0 of at most 1200 s")
    assert again == ["grafana"]
    assert not is_bootstrap_due(opened(root))
    _, told, again = finish(opened(root), world)
    assert (told, again) == ([], [])


def test_a_gitlab_that_is_not_ready_in_time_fails_nothing_and_tells_what_next(root, world):
    world.fake.faults.boot(bad_gateway=10_000)
    done, _, again = finish(opened(root), world)
    (sentence,) = done.unfinished
    assert sentence.startswith("all else is up, GitLab is not ready to use: GitLab was not ready within 20 minutes")
    assert sentence.endswith("autogit logs gitlab; autogit gitlab bootstrap goes on from here")
    assert again == []
    assert is_bootstrap_due(opened(root))


def test_faults_of_gitlab_yml_are_told_before_anybody_waits(root, world):
    (root / "gitlab.yml").write_text("groups: [{path: -ops}]\nusers: 7\n")
    world.fake.faults.boot(bad_gateway=10_000)
    done, told, _ = finish(opened(root), world)
    assert told == []
    assert "2 faults in gitlab.yml" in done.unfinished[0]
    assert [line.split()[2] for line in done.unfinished[1:]] == ["1", "2"]


def test_what_somebody_else_made_is_told_with_the_way_to_adopt_it(root, world):
    (root / "gitlab.yml").write_text("groups: [{path: ops}]\n")
    world.fake.seed_group("ops")
    done, _, again = finish(opened(root), world)
    (sentence,) = done.unfinished
    assert sentence.startswith("gitlab_setting/group/ops is somebody else's and was left as it is: ")
    assert sentence.endswith("autogit gitlab bootstrap --adopt gitlab_setting/group/ops")
    assert again == ["grafana"]


def test_two_commands_at_once_do_not_bootstrap_twice(root, world):
    from autogit.core.lock import apply_lock

    project = opened(root)

    async def both():
        async with apply_lock(project.paths.apply_lock, "up"):
            return await finish_gitlab(project, VIEW, None, access=world.access())

    assert "autogit gitlab bootstrap" in asyncio.run(both()).unfinished[0]
    assert world.fake.writes() == []


@pytest.mark.parametrize(
    "narrowed",
    [
        {"command": "deploy"}, {"only": "grafana"}, {"kinds": frozenset({"dns_record"})}, {"here_only": True},
        {"dry_run": True}, {"expected_fingerprint": "sha256:x"},
    ],
)  # fmt: skip
def test_only_an_up_of_everything_makes_gitlab_ready(narrowed):
    assert _is_whole(UpRequest())
    assert not _is_whole(UpRequest(**narrowed))
