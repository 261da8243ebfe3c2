"""Fixtures of the connectors' tests."""

from __future__ import annotations

import pytest

from tests.connectors.gitlab_world import World


@pytest.fixture
def world(tmp_path):
    """A fake GitLab that answers."""
    with World(tmp_path / "world") as world:
        yield world


class Kept(dict):
    """Secrets in a dictionary."""

    def put(self, name, value):
        self.pop(name, None)
        if value is not None:
            self[name] = value


@pytest.fixture
def kept():
    return Kept()
