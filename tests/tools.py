"""The real tools that tests run, wherever they are; a test whose tool is missing skips and says how to get it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

_SERVERS = Path(__file__).resolve().parents[1] / ".cache" / "servers" / "bin"


def find_tool(name):
    """The path of a tool: what tests/servers/install fetched, beside the running Python, or on PATH; None without."""
    places = os.pathsep.join([str(_SERVERS), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=places)


def require_tool(name):
    """The path of a tool; skips the test without (under CI that fails it)."""
    found = find_tool(name)
    if found is None:
        pytest.skip(f"server missing: {name} (tests/servers/install fetches it)")
    return found
