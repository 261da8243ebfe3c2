"""The fast path may only ever say "nothing to do" when the full path would: many random states, both asked."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from autogit.core.reconcile import prepare
from autogit.fastpath import sealed_resources
from autogit.operations.platform import plan as full_plan
from autogit.operations.project import open_project, project_paths
from autogit.operations.seal import write_seal
from tests.integration.conftest import end_installation, make_installation
from tests.integration.test_faults import WITH_PASSWORD

pytestmark = pytest.mark.integration


def _full_path_says_nothing_to_do(installation):
    try:
        view = asyncio.run(full_plan(open_project(project_paths(installation.root))))
    except Exception:  # noqa: BLE001 - any error at all is "not nothing to do"
        return False
    return not view.changes


def _disturbances(installation):  # noqa: PLR0915 - one small function a disturbance
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
        return lambda: shutil.rmtree(root / "overrides" / "files")

    def add_service(_dice):
        installation.add_service("idle", "service: idle\nsummary: asked for by nobody\n")
        return lambda: shutil.rmtree(root / "overrides" / "services" / "idle")

    def add_empty_service_folder(_dice):
        (root / "overrides" / "services" / "empty").mkdir()
        return (root / "overrides" / "services" / "empty").rmdir

    def break_a_linked_service(_dice):
        folder = root.parent / "linked"
        folder.mkdir()
        (folder / "service.yml").write_text("service: linked\nnonsense: 1\n")
        (root / "overrides" / "services" / "linked").symlink_to(folder)

        def undo():
            (root / "overrides" / "services" / "linked").unlink()
            shutil.rmtree(folder)

        return undo

    def stop_process(dice):
        pid = installation.process_pid(dice.choice(["api", "traefik"]))
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def touch(path):
        def do(_dice):
            path.touch()
            return lambda: None

        return do

    def hold_the_lock(_dice):
        descriptor = os.open(state / "apply.lock", os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return lambda: os.close(descriptor)

    def add_stranger(_dice):
        (state / "rendered" / "stranger.txt").write_text("not ours")
        return (state / "rendered" / "stranger.txt").unlink

    state = root / ".autogit"
    certs = state / "certs"
    identity = root.parent / "home" / ".config" / "autogit" / "identity.txt"
    rendered = [p for p in (state / "rendered").rglob("*") if p.is_file()]
    yield from [
        add_override,
        add_service,
        add_empty_service_folder,
        break_a_linked_service,
        stop_process,
        hold_the_lock,
        add_stranger,
    ]
    yield edit(root / ".env", lambda b: b + b"\n# a comment changes nothing\n")
    yield edit(root / ".env", lambda b: b.replace(b"SIZE=minimal", b"SIZE=homelab"))
    yield edit(root / ".env", lambda b: b + b"NONSENSE=1\n")
    yield edit(root / ".env", lambda b: b + b"WEB_PASSWORD=another-password\n")
    yield edit(root / "autogit.lock.json", lambda b: b.replace(b'"serial"', b'"Serial"'))
    yield remove(root / "autogit.lock.json")
    yield remove(next(certs.glob("autogit.localhost/v*/key.pem")))
    yield edit(next(certs.glob("autogit.localhost/v*/fullchain.pem")), lambda b: b[:-30])
    yield chmod(next(certs.glob("autogit.localhost/v*/key.pem")), 0o644)
    yield from [remove(identity), chmod(identity, 0o644), remove(state / "secrets.age")]
    for path in (p for p in (state / "secrets").rglob("*") if p.is_file()):
        yield from [remove(path), chmod(path, 0o644), edit(path, lambda b: b + b"#")]
    for path in rendered:
        yield from [edit(path, lambda b: b + b"# edited\n"), remove(path), chmod(path, 0o600), touch(path)]


@pytest.fixture(scope="module")
def guarded():
    """A platform with a route behind a password, so that secrets and their files are part of what is compared."""
    folder = Path(tempfile.mkdtemp(prefix="autogit-"))
    one = make_installation(folder, SERVICES_ENABLED="api,web")
    one.add_service("web", WITH_PASSWORD)
    one.run("up")
    yield one
    end_installation(one)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _as_the_installation_sees_it(guarded, monkeypatch):
    """Both paths are asked in this process: with the environment that the commands had."""
    for name in ("HOME", "PATH"):
        monkeypatch.setenv(name, guarded.environ[name])
    monkeypatch.delenv("AUTOGIT_IDENTITY_FILE", raising=False)


def _both_paths_agree(installation, rounds, seed):
    """Disturb in up to three ways at once, ask both paths, undo; returns how often the fast path answered."""
    dice = random.Random(seed)
    root = str(installation.root)
    disturbances = list(_disturbances(installation))
    assert sealed_resources(root) is not None
    answered = 0
    for turn in range(rounds):
        chosen = dice.sample(disturbances, dice.choice([0, 1, 1, 1, 2, 3]))
        undo = []
        try:
            for disturb in chosen:
                with contextlib.suppress(FileNotFoundError):  # another one of this round removed it
                    undo.append(disturb(dice))
            if sealed_resources(root) is not None:
                answered += 1
                assert _full_path_says_nothing_to_do(installation), f"seed {seed}, turn {turn}: {chosen}"
        finally:
            for one in reversed(undo):
                one()
    assert sealed_resources(root) is not None, "undone, the seal holds again"
    return answered


def test_both_paths_agree_over_random_states(guarded):
    assert _both_paths_agree(guarded, rounds=60, seed=7) > 5


def test_what_was_edited_while_up_worked_is_not_sealed(guarded):
    project = open_project(project_paths(guarded.root))
    prepared = asyncio.run(prepare(project.engine))
    env, seal = guarded.root / ".env", guarded.root / ".autogit" / "in-sync.json"
    before, sealed = env.read_text(), seal.read_bytes()
    seal.unlink()
    env.write_text(before.replace("SIZE=minimal", "SIZE=homelab"))
    write_seal(project, prepared)
    assert not seal.exists(), "the plan was made from another .env"
    env.write_text(before)
    path = guarded.root / ".autogit" / "rendered" / "traefik" / "dynamic" / "routes.yml"
    text = path.read_text()
    path.write_text(text + "# edited\n")
    write_seal(project, prepared)
    assert not seal.exists(), "the plan was made from another file"
    path.write_text(text)
    write_seal(project, prepared)
    assert seal.exists()
    seal.write_bytes(sealed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_both_paths_agree_over_a_thousand_random_states(guarded, capsys):
    answered = _both_paths_agree(guarded, rounds=1000, seed=20261124)
    assert answered > 100
    with capsys.disabled():
        print(f"\n1000 random states: the fast path answered {answered}, each time the full path had nothing to do")


def test_a_changed_service_folder_or_program_breaks_the_seal(guarded, monkeypatch):
    root = str(guarded.root)
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", "/nowhere/identity.txt")
    assert sealed_resources(root) is None
    monkeypatch.delenv("AUTOGIT_IDENTITY_FILE")
    assert sealed_resources(root) is not None
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert sealed_resources(root) is None


def test_the_fast_path_imports_next_to_nothing(guarded):
    import subprocess
    import sys

    code = (
        "import os, sys; from autogit.fastpath import try_fast_up; assert try_fast_up(['up']) == 0;"
        "heavy = {'typer', 'rich', 'pydantic', 'yaml', 'jinja2', 'asyncio', 'ssl', 'psutil', 'cryptography'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    environ = {k: v for k, v in guarded.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=guarded.root, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
