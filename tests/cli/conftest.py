"""The command line in this process: its words, its two streams, its exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from autogit.__main__ import main


@dataclass
class Done:
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


@pytest.fixture
def autogit(tmp_path, monkeypatch, capsys):
    """A function that runs `autogit ...` in an empty project folder with a home of its own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")  # whatever this machine has
    monkeypatch.delenv("AUTOGIT_IDENTITY_FILE", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path / "project")

    def run(*words):
        monkeypatch.setattr("sys.argv", ["autogit", *words])
        code = main()
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    run.root = tmp_path / "project"
    return run


@pytest.fixture
def env(autogit):
    """A function that writes `.env`."""
    return (autogit.root / ".env").write_text
