"""The fast path may only ever say "nothing to do" when the full path would: random states of a real engine, both asked.

A seeded sample runs in `make test`; `make soak` runs the long form and prints its figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys

import pytest

from autogit.errors import AutogitError
from autogit.fastpath import sealed_resources
from autogit.operations.platform import plan as full_plan
from autogit.operations.project import open_project, project_paths
from tests.docker import healing_platform as faults
from tests.docker.healing_platform import SERVICES, healing_platform
from tests.docker.platform import PROJECT_LABEL, SERVICE_LABEL, eventually
from tests.engine import EngineError

pytestmark = pytest.mark.integration

SEED = int(os.environ.get("AUTOGIT_SEED", "20261124"))
FORBIDDEN = [
    *("typer", "click", "rich", "pydantic", "docker", "requests", "urllib3", "jinja2", "yaml", "ssl"),
    *("asyncio", "cryptography", "psutil", "pathlib"),
]
"""What costs more to import than the whole check takes."""


@pytest.fixture(scope="module")
def platform(engine, images):
    """A platform that is up and sealed."""
    with healing_platform(engine, images) as one:
        one.up()
        yield one


@pytest.fixture(autouse=True)
def _as_the_platform_sees_it(platform, monkeypatch):
    """Both paths are asked in this process: with the environment that the commands had."""
    for name in ("HOME", "PATH"):
        monkeypatch.setenv(name, platform.environ[name])
    monkeypatch.delenv("AUTOGIT_IDENTITY_FILE", raising=False)


def _fast_path_answers(platform):
    try:
        return sealed_resources(str(platform.root)) is not None
    except (OSError, ValueError, KeyError, TypeError):
        return False  # as `try_fast_up` takes it


def _full_path_says_nothing_to_do(platform):
    try:
        view = asyncio.run(full_plan(open_project(project_paths(platform.root))))
    except AutogitError:
        return False  # any error at all is "not nothing to do"
    return not view.changes


def _with_undo(path, change):
    """Change a file's bytes or mode, or remove it; returns how to undo that."""

    def do(_platform, _dice):
        before, mode = path.read_bytes(), path.stat().st_mode
        change(path)

        def undo():
            path.write_bytes(before)
            path.chmod(mode)

        return undo

    do.__name__ = f"{getattr(change, '__name__', 'edit')} {path.name}"
    return do


def _added(text):
    def append(path):
        path.write_bytes(path.read_bytes() + text)

    return append


def _replaced(old, new):
    def replace(path):
        path.write_bytes(path.read_bytes().replace(old, new))

    return replace


def _unlink(path):
    path.unlink()


def _touch(path):
    path.touch()


def _make_readable_by_its_owner_only(path):
    path.chmod(0o600)


def _file_disturbances(platform):
    root = platform.root
    env, lockfile = root / ".env", root / "autogit.lock.json"
    yield _with_undo(env, _added(b"# a comment changes nothing\n"))
    yield _with_undo(env, _replaced(b"SIZE=minimal", b"SIZE=homelab"))
    yield _with_undo(env, _added(b"NONSENSE=1\n"))
    yield _with_undo(env, _added(b"PROMETHEUS_RETENTION=30d\n"))
    yield _with_undo(env, _touch)
    for change in (_touch, _unlink, _replaced(b'"serial"', b'"Serial"')):
        yield _with_undo(lockfile, change)
    yield _with_undo(root / ".autogit" / "secrets.age", _unlink)
    descriptor = root / "overrides" / "services" / "web" / "service.yml"
    yield _with_undo(descriptor, _added(b"# a comment\n"))
    yield _with_undo(descriptor, _replaced(b"0.1C/32M", b"0.1C/40M"))
    rendered = [p for p in (root / ".autogit" / "rendered").rglob("*") if p.is_file()]
    for path in sorted(rendered):
        for change in (_touch, _unlink, _added(b"# edited\n"), _make_readable_by_its_owner_only):
            yield _with_undo(path, change)

    def override(_platform, _dice):
        folder = root / "overrides" / "files" / "traefik" / "dynamic"
        folder.mkdir(parents=True)
        (folder / "middlewares.yml").write_text("http: {}\n")
        return lambda: shutil.rmtree(root / "overrides" / "files")

    yield override


def _limit(platform, service, _dice):
    platform.engine.docker("update", "--memory=100m", "--memory-swap=200m", f"{platform.name}-{service}-1")


def _rename(platform, service, _dice):
    platform.engine.docker("rename", f"{platform.name}-{service}-1", f"{platform.name}-renamed")


def _restart(platform, service, _dice):
    platform.engine.docker("restart", "--time=1", f"{platform.name}-{service}-1")


def _connect(platform, service, dice):
    mine = platform.container(service)["NetworkSettings"]["Networks"]
    other = dice.choice(sorted({*platform.networks(), "bridge"} - set(mine)))
    platform.engine.docker("network", "connect", other, f"{platform.name}-{service}-1")


def _know_by_another_name(platform, service, dice):
    container = f"{platform.name}-{service}-1"
    network = dice.choice(sorted(platform.container(service)["NetworkSettings"]["Networks"]))
    platform.engine.docker("network", "disconnect", network, container)
    platform.engine.docker("network", "connect", "--alias=other", network, container)


def _sicken(platform, service, _dice):
    chosen = service if service in ("store", "web") else "web"
    faults.make_sick(platform, chosen)
    eventually(lambda: _health(platform.container(chosen)) == "unhealthy")


def _healths(platform):
    """What the engine thinks of the containers."""
    return {_health(raw) for raw in platform.containers().values()}


def _health(raw):
    return (raw["State"].get("Health") or {}).get("Status")


def _hide_the_image(platform, service, _dice):
    raw = platform.container(service)
    platform.engine.docker("rmi", "--force", raw["Config"]["Image"])
    platform.hidden.append((raw["Image"], raw["Config"]["Image"]))


def _foreign(*labels):
    """A container that says it is of this project, more or less."""

    def add(platform, service, _dice):
        words = [f"--label={PROJECT_LABEL}={platform.name}"]
        words += [f"--label={label}".replace("SERVICE", service) for label in labels]
        platform.engine.docker("create", f"--name={platform.name}-foreign", *words, platform.images["loki"])

    add.__name__ = f"foreign {labels}"
    return add


def _engine_disturbances():
    yield from (faults.stop, faults.kill, faults.pause, faults.remove, faults.disconnect)
    yield from (_limit, _rename, _restart, _connect, _know_by_another_name, _sicken, _hide_the_image)
    yield from (_foreign(), _foreign("autogit.managed=true"), _foreign(f"{SERVICE_LABEL}=SERVICE"))
    yield _foreign("autogit.managed=true", f"{SERVICE_LABEL}=SERVICE")


def _on_the_engine(fault):
    def do(platform, dice):
        fault(platform, dice.choice(SERVICES), dice)

    do.__name__ = fault.__name__
    return do


def _put_back(platform, after=()):
    """Have the platform in sync and sealed again."""
    for image, name in platform.hidden:
        platform.engine.docker("tag", image, name)
    platform.hidden.clear()
    with contextlib.suppress(EngineError):
        platform.engine.docker("rm", "--force", f"{platform.name}-foreign")
    if not _fast_path_answers(platform):
        said = f"after {[disturb.__name__ for disturb in after]}: {platform.up().stdout}"
        # After a pause the engine calls a container unhealthy until its next check: nothing is sealed until then.
        if not eventually(lambda: "unhealthy" not in _healths(platform), 60):
            sick = {name: raw["State"] for name, raw in platform.containers().items() if _health(raw) == "unhealthy"}
            pytest.fail(f"{said} {sick}")
        said += "" if _fast_path_answers(platform) else platform.up().stdout
        assert _fast_path_answers(platform), f"not sealed {said}"


def _both_paths_agree(platform, rounds, seed):
    """Disturb in up to three ways at once, ask both paths, undo; returns how often the fast path answered."""
    dice, answered, platform.hidden = random.Random(seed), 0, []
    on_engine = [_on_the_engine(fault) for fault in _engine_disturbances()]
    for turn in range(rounds):
        on_disk = list(_file_disturbances(platform))
        chosen = [dice.choice(dice.choice([on_engine, on_disk])) for _ in range(dice.choice([0, 1, 1, 1, 2, 3]))]
        undo = []
        try:
            for disturb in chosen:
                # Another one of this round has removed what it would change.
                with contextlib.suppress(OSError, EngineError, KeyError, IndexError):
                    undo.append(disturb(platform, dice))
            answer = _fast_path_answers(platform)
            assert answer or chosen, "nothing was changed"
            if answer and not _full_path_says_nothing_to_do(platform):
                names = [disturb.__name__ for disturb in chosen]
                # A container's state may have moved between the two questions: then the fast path sees that by now.
                assert not _fast_path_answers(platform), f"seed {seed}, turn {turn}: {names}"
            answered += answer
        finally:
            for one in reversed([u for u in undo if u]):
                one()
        _put_back(platform, chosen)
    return answered


def test_both_paths_agree_over_random_states(platform):
    assert _both_paths_agree(platform, rounds=25, seed=SEED) >= 3


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_both_paths_agree_over_five_hundred_random_states(platform, capsys):
    answered = _both_paths_agree(platform, rounds=500, seed=SEED)
    assert answered > 50
    with capsys.disabled():
        print(
            f"\nseed {SEED}: 500 random states on an engine: the fast path answered {answered}, "
            "each time the full path had nothing to do"
        )


def test_a_no_op_up_imports_next_to_nothing(platform):
    code = (
        "import sys; sys.argv = ['autogit', 'up']; from autogit.__main__ import main; assert main() == 0;"
        f"heavy = set({FORBIDDEN!r}) & set(sys.modules); assert not heavy, heavy"
    )
    environ = {name: value for name, value in platform.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=platform.root, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing to do" in done.stdout


def test_an_engine_that_does_not_answer_leaves_it_to_the_full_path(platform):
    seal = platform.root / ".autogit" / "in-sync.json"
    sealed = seal.read_bytes()
    try:
        seal.write_bytes(sealed.replace(str(platform.engine.socket).encode(), b"/nowhere/docker.sock"))
        assert not _fast_path_answers(platform)
        assert "all" in platform.run("reconcile").stdout
        assert "Nothing to do" in platform.up().stdout
    finally:
        seal.write_bytes(sealed)
