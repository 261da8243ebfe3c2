"""Shared by all tests: sockets stay on loopback, and a skip that hides a missing server fails under CI."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from autogit.core.catalogue import load_catalogue
from autogit.core.paths import templates_root
from autogit.core.settings import load_settings
from autogit.core.spec import build_spec
from autogit.model.host import HostFacts
from autogit.model.lockfile import Lockfile
from autogit.model.project import ProjectPaths
from tests.tools import require_tool

_CONNECT = socket.socket.connect


def _loopback_only(self, address):
    host = address[0] if isinstance(address, tuple) else "unix"
    if host not in {"::1", "localhost", "unix"} and not host.startswith("127."):
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One worker more than cores, five at most: whoever has the engine's tests mostly waits for it."""
    return min(max(os.cpu_count() or 1, 2) + 1, 5)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Where several workers share the tests: a file is one worker's, all that ask for the engine are one worker's.

    Those take longest by far, so they begin first; by number of tests others would.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return "engine" if nodeid.startswith("tests/docker/") else super()._split_scope(nodeid)

        def _assign_work_unit(self, node):
            if "engine" in self.workqueue:
                self.workqueue.move_to_end("engine", last=False)
            super()._assign_work_unit(node)

    return Scheduling(config, log)


def pytest_collection_modifyitems(config, items):
    """Leave the long suites to `make soak`, and tests that run the same lines over and over out of the coverage."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.no_cover)
    if os.environ.get("AUTOGIT_SOAK") == "1":
        return
    skip = pytest.mark.skip(reason="long suite: make soak")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(skip)


SERVICE = """\
service: NAME
summary: A small web server
subdomain: NAME
internal_port: 8000
health_endpoint: /health
ready_endpoint: /ready
ports:
  http: {internal: 8000}
sizing: {minimal: 0.1C/32M, homelab: 0.1C/32M, team: 0.1C/32M, production: 0.1C/32M}
runs:
  embedded:
    program: python
    arguments: ["-m", "http.server", "{{ ports.http }}"]
"""


class Workbench:
    """Builds a platform of a `.env` text and service folders, on a host of one's choice; touches no real host."""

    def __init__(self, root: Path) -> None:
        self.paths = ProjectPaths(root, root / ".env")
        self.facts = HostFacts(
            cpus=16,
            memory_bytes=64 * 1024**3,
            disk_free_bytes=100 * 1024**3,
            executables={n: f"/opt/bin/{n}" for n in ("traefik", "python", "prometheus")},
        )
        self.lockfile = Lockfile()

    def add_service(self, name, text=None, **config):
        """Write a service folder below overrides/; `config` maps template paths to their texts."""
        folder = self.paths.overrides / "services" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "service.yml").write_text((SERVICE if text is None else text).replace("NAME", name))
        for path, template in config.items():
            (folder / "config" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "config" / path).write_text(template)
        return folder

    def catalogue(self):
        return load_catalogue([templates_root() / "services", self.paths.overrides / "services"])

    def settings(self, env=""):
        self.paths.env_file.write_text(env)
        return load_settings(self.paths.env_file, self.catalogue().descriptors)

    def spec(self, env=""):
        return build_spec(self.settings(env), self.catalogue(), self.facts, self.lockfile, self.paths)


@pytest.fixture(scope="session")
def promtool():
    """The real promtool."""
    return require_tool("promtool")


@pytest.fixture
def workbench(tmp_path):
    """A function-scoped project that can be turned into settings, a catalogue and a spec."""
    return Workbench(tmp_path)
