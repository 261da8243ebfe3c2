"""What provider tests share: a project's paths and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from autogit.model.plan import Action, Change
from autogit.model.project import ProjectPaths
from autogit.model.resource import Resource
from autogit.providers.base import ProviderContext


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self):
        return self.now

    def forward(self, days):
        self.now += timedelta(days=days)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def context(tmp_path, clock, monkeypatch):
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", str(tmp_path / "home" / "identity.txt"))
    root = tmp_path / "project"
    root.mkdir()
    return ProviderContext(ProjectPaths(root, root / ".env"), clock)


@pytest.fixture
def carry_out():
    """A function that applies one change of a provider and returns its outcome."""

    def run(provider, wish, action=Action.CREATE, before=None):
        after = None if action is Action.DELETE else wish
        change = Change(wish.address, action, "", (), before or (wish if after is None else None), after)

        async def one():
            return [o async for o in provider.apply([change])]

        (outcome,) = asyncio.run(one())
        return outcome

    return run


@pytest.fixture
def resource():
    return Resource
