"""The fast path may only ever say "nothing to do" when the full path would: many random states, both asked."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal

import pytest

from autogit.fastpath import sealed_resources
from autogit.operations.platform import plan as full_plan
from autogit.operations.project import open_project, project_paths

pytestmark = pytest.mark.integration


def _full_path_says_nothing_to_do(installation):
    try:
        view = asyncio.run(full_plan(open_project(project_paths(installation.root))))
    except Exception:  # noqa: BLE001 - any error at all is "not nothing to do"
        return False
    return not view.changes


def _disturbances(installation):
    """Each disturbs the installation in one way and returns how to undo it."""
    root = installation.root

    def edit(path, change):
        def do(_dice):
            before, mode = path.read_bytes(), path.stat().st_mode
            path.write_bytes(change(before))

            def undo():
                path.write_bytes(before)
                path.chmod(mode)

            return undo

        return do

    def remove(path):
        def do(_dice):
            before, mode = path.read_bytes(), path.stat().st_mode
            path.unlink()

            def undo():
                path.write_bytes(before)
                path.chmod(mode)

            return undo

        return do

    def chmod(path, mode):
        def do(_dice):
            before = path.stat().st_mode
            path.chmod(mode)
            return lambda: path.chmod(before)

        return do

    def add_override(_dice):
        folder = root / "overrides" / "files" / "traefik" / "dynamic"
        folder.mkdir(parents=True)
        (folder / "middlewares.yml").write_text("http: {}\n")
        return lambda: shutil.rmtree(root / "overrides")

    def stop_process(dice):
        pid = installation.process_pid(dice.choice(["api", "traefik"]))
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def nothing(_dice):
        return lambda: None

    state = root / ".autogit"
    certs = state / "certs"
    rendered = [p for p in (state / "rendered").rglob("*") if p.is_file()]
    yield from [nothing, nothing, add_override, stop_process]
    yield edit(root / ".env", lambda b: b + b"\n# a comment changes nothing\n")
    yield edit(root / ".env", lambda b: b.replace(b"SIZE=minimal", b"SIZE=homelab"))
    yield edit(root / ".env", lambda b: b + b"NONSENSE=1\n")
    yield edit(root / "autogit.lock.json", lambda b: b.replace(b'"serial"', b'"Serial"'))
    yield remove(root / "autogit.lock.json")
    yield remove(next(certs.glob("autogit.localhost/v*/key.pem")))
    yield edit(next(certs.glob("autogit.localhost/v*/fullchain.pem")), lambda b: b[:-30])
    for path in rendered:
        yield edit(path, lambda b: b + b"# edited\n")
        yield remove(path)
        yield chmod(path, 0o600)


@pytest.fixture(autouse=True)
def _as_the_installation_sees_it(running, monkeypatch):
    """Both paths are asked in this process: with the environment that the commands had."""
    for name in ("HOME", "PATH"):
        monkeypatch.setenv(name, running.environ[name])
    monkeypatch.delenv("AUTOGIT_IDENTITY_FILE", raising=False)


def test_both_paths_agree_over_random_states(running):
    dice = random.Random(7)
    root = str(running.root)
    assert sealed_resources(root) is not None
    rounds = 0
    for disturb in [d for d in _disturbances(running) for _ in range(2)]:
        undo = disturb(dice)
        try:
            if sealed_resources(root) is not None:
                assert _full_path_says_nothing_to_do(running), disturb
            rounds += 1
        finally:
            undo()
    assert rounds > 30
    assert sealed_resources(root) is not None, "undone, the seal holds again"


def test_a_changed_service_folder_or_program_breaks_the_seal(running, monkeypatch):
    root = str(running.root)
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", "/nowhere/identity.txt")
    assert sealed_resources(root) is None
    monkeypatch.delenv("AUTOGIT_IDENTITY_FILE")
    assert sealed_resources(root) is not None
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert sealed_resources(root) is None


def test_the_fast_path_imports_next_to_nothing(running):
    import subprocess
    import sys

    code = (
        "import os, sys; from autogit.fastpath import try_fast_up; assert try_fast_up(['up']) == 0;"
        "heavy = {'typer', 'rich', 'pydantic', 'yaml', 'jinja2', 'asyncio', 'ssl', 'psutil', 'cryptography'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=running.root, env=running.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
