"""The page about GitLab's first steps, followed to the letter; the fake stands where GitLab's container would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autogit.model.gitlab import TOKEN_SECRET
from tests.connectors.gitlab_world import World
from tests.fakes.gitlab.clients import connect
from tests.pages import HOW_TO, follow, with_programs

pytestmark = pytest.mark.integration

PAGE = "gitlab-first-steps.md"
ADOPT = "autogit gitlab bootstrap --adopt gitlab_setting/group/ops"


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "world") as world:
        yield world


@pytest.fixture
def place(world, tmp_path):
    """A project folder, and an environment whose `autogit` finds the fake."""
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
    (tmp_path / "project" / ".env").write_text("RUNTIME=docker\nSIZE=team\nSERVICES_ENABLED=gitlab,grafana\n")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "AUTOGIT_TEST_GITLAB": world.fake.url,
        "AUTOGIT_TEST_GITLAB_WORLD": str(tmp_path / "world"),
    }
    script = f'exec "{sys.executable}" -m tests.connectors.gitlab_cli "$@"\n'
    return tmp_path / "project", with_programs(environ, tmp_path / "bin", autogit=script)


def _again(place, command):
    """Type one more command of the page, exit code whatever it is."""
    root, environ = place
    return subprocess.run(
        ["sh", "-c", command], cwd=root, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def test_first_steps(place, world):
    root, environ = place
    printed = follow(PAGE, root, environ)
    assert "token  new: autogit" in printed["autogit gitlab bootstrap"]
    assert "user root, password:" in printed["autogit gitlab password"]
    api = connect(world.fake, printed_token(place))
    assert {group.full_path for group in api.groups.list(get_all=True)} >= {"ops", "ops/tools"}
    assert [user.name for user in api.users.list(username="ana")] == ["Ana"]
    assert len(printed["autogit secrets reveal gitlab_user_ana"].strip()) > 15
    assert "Nothing to do" in _again(place, "autogit gitlab bootstrap").stdout


def printed_token(place):
    """The token that AutoGit made for itself."""
    done = _again(place, f"autogit secrets reveal {TOKEN_SECRET}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_somebody_else_made_is_told_and_taken_over_as_the_page_says(place, world):
    page = (HOW_TO / PAGE).read_text()
    assert f"`{ADOPT}`" in page
    root, _ = place
    assert _again(place, "autogit gitlab bootstrap").returncode == 0
    connect(world.fake, printed_token(place)).groups.create({"path": "ops", "name": "By hand"})
    (root / "gitlab.yml").write_text("groups:\n  - {path: ops, name: Operations}\n")
    told = _again(place, "autogit gitlab bootstrap")
    assert told.returncode == 4
    assert "somebody else's" in told.stdout
    assert _again(place, ADOPT).returncode == 0
    assert "Nothing to do" in _again(place, "autogit gitlab bootstrap").stdout
