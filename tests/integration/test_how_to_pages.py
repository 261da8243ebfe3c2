"""The page "Add a service", followed to the letter: every file is written, every command typed, in their order."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.integration

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"```(\w+)(?: (file|append)=(\S+))?\n(.*?)```", re.DOTALL)


def _follow(page, installation):
    """Write each file and type each command of a page; returns what each command printed."""
    programs = installation.root.parent / "bin"
    programs.mkdir()
    (programs / "autogit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m autogit "$@"\n')
    (programs / "autogit").chmod(0o755)
    environ = {**installation.environ, "PATH": f"{programs}:{installation.environ['PATH']}"}
    printed = {}
    for language, how, path, text in BLOCK.findall((HOW_TO / page).read_text()):
        if path:
            target = installation.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text if how == "file" else target.read_text() + text)
        for line in text.splitlines() if language == "console" else ():
            command = line.removeprefix("$ ")
            done = subprocess.run(
                ["sh", "-c", command], cwd=installation.root, env=environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            printed[command] = done.stdout
    return printed


def test_add_a_service_works_as_its_page_says(installation):
    installation.run("up")
    printed = _follow("add-a-service.md", installation)
    assert "process/hello" in printed["autogit plan"]
    assert installation.probe("hello.autogit.localhost", "/greeting.json").status == 200
    rendered = installation.root / ".autogit" / "rendered" / "hello" / "greeting.json"
    assert json.loads(rendered.read_text())["greeting"] == "Good morning"
    assert "Nothing to do" in installation.run("up").stdout
    compose = yaml.safe_load((installation.root / "rendered-docker" / "docker-compose.yml").read_text())
    hello = compose["services"]["hello"]
    assert hello["networks"] == {"web": {}}
    assert hello["read_only"] is True
    assert hello["deploy"]["resources"]["limits"]["memory"] == str(64 * 1024**2)
    assert "does not say why" not in printed["autogit render --env-file docker.env --out rendered-docker"]
    installation.set(SERVICES_ENABLED="api", HELLO_GREETING=None)
    installation.run("up", "--yes")
    assert installation.probe("hello.autogit.localhost").status == 404
