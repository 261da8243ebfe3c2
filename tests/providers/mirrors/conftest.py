"""What tests of mirror sources share: the stand-ins, and rules and calls for them."""

from __future__ import annotations

import asyncio

import pytest

from autogit.model.mirror import MirrorRule
from autogit.providers.registry import load_provider
from tests.fakes.forges.bitbucket import FakeBitbucket
from tests.fakes.forges.gitea import FakeGitea
from tests.fakes.forges.github import FakeGitHub
from tests.fakes.forges.gitlab_com import FakeGitLabCom


@pytest.fixture(autouse=True)
def _only_what_the_test_says(monkeypatch, tmp_path):
    """Neither this machine's proxies nor its .netrc."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def load(context):
    """Load a source by its name."""
    return lambda kind: load_provider("mirrors", kind, context)


@pytest.fixture
def ask(load):
    """Discover at a stand-in: rule fields as keywords, `token`, `etags`."""

    def asked(kind, server, owner="acme", token="", etags=None, **more):
        rule = MirrorRule(name="m", kind=kind, owner=owner, server=server, **more)
        return asyncio.run(load(kind).discover(rule, token, etags or {}))

    return asked


@pytest.fixture
def look_up(load):
    """Find one repository at a stand-in."""

    def asked(kind, server, identity, owner="acme", token="", **more):
        rule = MirrorRule(name="m", kind=kind, owner=owner, server=server, **more)
        return asyncio.run(load(kind).find(rule, token, identity))

    return asked


@pytest.fixture
def github():
    with FakeGitHub() as fake:
        fake.add_account("acme", "Organization")
        fake.add_account("ana")
        fake.add_account("bob")
        yield fake
        assert fake.unknown_parameters == []


@pytest.fixture
def gitlab():
    with FakeGitLabCom() as fake:
        fake.groups.add("acme")
        fake.users.add("ana")
        yield fake
        assert fake.unknown_parameters == []


@pytest.fixture
def gitea():
    with FakeGitea() as fake:
        fake.users.add("ana")
        fake.orgs.add("acme")
        yield fake
        assert fake.unknown_parameters == []


@pytest.fixture
def bitbucket():
    with FakeBitbucket() as fake:
        fake.workspaces.add("acme")
        yield fake
        assert fake.unknown_parameters == []


def paths(discovery):
    return [one.path for one in discovery.repositories]


@pytest.fixture(name="paths")
def _paths():
    return paths
