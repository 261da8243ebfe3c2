"""Shared by all tests: sockets stay on loopback, and a skip that hides a missing server fails under CI."""

from __future__ import annotations

import os
import socket

import pytest

_CONNECT = socket.socket.connect


def _loopback_only(self, address):
    host = address[0] if isinstance(address, tuple) else "unix"
    if host not in {"127.0.0.1", "::1", "localhost", "unix"}:
        pytest.fail(f"a test wanted to connect to {host}: only loopback is allowed")
    return _CONNECT(self, address)


@pytest.fixture(autouse=True)
def _sockets_stay_on_loopback(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With CI=true a test that would be skipped because a server is missing fails instead."""
    outcome = yield
    report = outcome.get_result()
    missing = report.skipped and isinstance(report.longrepr, tuple) and "server missing" in report.longrepr[2]
    if missing and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not be skipped under CI: {report.longrepr[2]}"


def pytest_collection_modifyitems(config, items):
    """Leave the long suites to `make soak`."""
    if os.environ.get("AUTOGIT_SOAK") == "1":
        return
    skip = pytest.mark.skip(reason="long suite: make soak")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(skip)
