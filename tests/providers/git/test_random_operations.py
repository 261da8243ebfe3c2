"""Random operations upstream, the syncing process killed at random moments: nothing that a copy had is ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autogit.providers.git.bare import BareCopy, Reading
from autogit.providers.git.refs import advertise, difference
from tests.providers.git.conftest import NOW

_ROOT = Path(__file__).resolve().parents[3]
_NAMES = ("main", "a", "a/b", "a/b/c", "A", "dev", "release/1", "release/1/x", "release")


class Owner:
    """Does to a repository what owners do."""

    def __init__(self, upstream, dice):
        self._upstream = upstream
        self._dice = dice
        self._count = 0

    def act(self):
        action = self._dice.choice(
            [self._advance] * 4 + [self._branch] * 3 + [self._rewrite] * 3 + [self._delete] * 2
            + [self._rename, self._tag, self._tag, self._note, self._head, self._pull]
        )  # fmt: skip
        action()

    def _commit(self, *parents):
        self._count += 1
        return self._upstream.commit(f"{self._count} {self._dice.random()}", *parents)

    def _heads(self):
        return {n: i for n, i in self._upstream.refs().items() if n.startswith("refs/heads/")}

    def _put(self, name, object_id):
        """A branch takes the place of a folder, and a folder that of a branch: what is in the way goes."""
        for other in self._upstream.refs():
            if other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                self._upstream.delete(other)
        self._upstream.ref(name, object_id)

    def _branch(self):
        heads = list(self._heads().values())
        parents = [self._dice.choice(heads)] if heads and self._dice.random() < 0.7 else []
        self._put(f"refs/heads/{self._dice.choice(_NAMES)}", self._commit(*parents))

    def _advance(self):
        for name, object_id in self._some():
            self._upstream.ref(name, self._commit(object_id))

    def _rewrite(self):
        for name, _ in self._some():
            self._upstream.ref(name, self._commit())

    def _delete(self):
        for name, _ in self._some():
            self._upstream.delete(name)

    def _rename(self):
        for name, object_id in self._some():
            self._upstream.delete(name)
            self._put(f"refs/heads/{self._dice.choice(_NAMES)}", object_id)

    def _tag(self):
        for _, object_id in self._some():
            kind = self._dice.choice([[], ["-a", "-m", "annotated"]])
            self._upstream.git("tag", "-f", *kind, f"v{self._dice.randrange(4)}", object_id)

    def _note(self):
        for _, object_id in self._some():
            self._upstream.git("notes", "add", "-f", "-m", str(self._dice.random()), object_id)

    def _head(self):
        self._upstream.git("symbolic-ref", "HEAD", f"refs/heads/{self._dice.choice(_NAMES)}")

    def _pull(self):
        self._upstream.ref(f"refs/pull/{self._dice.randrange(9)}/head", self._commit())

    def _some(self):
        heads = list(self._heads().items())
        return [self._dice.choice(heads)] if heads else []


class Keeper:
    """Remembers every id that the copy's refs ever showed, and demands each back from its refs and backups."""

    def __init__(self, bench):
        self._bench = bench
        self.had: set[str] = set()

    def look(self):
        if not self._bench.copy.exists:
            return
        lines = self._bench.copied("for-each-ref", "--format=%(objectname)").split()
        self.had |= set(lines)
        if self.had:
            lost = self._bench.copied("rev-list", "--objects", "--stdin", "--not", "--all", stdin="\n".join(self.had))
            assert lost == ""


def _sync_and_kill(url, path, dice):
    scratch = path.parent / "scratch"  # a killed process leaves its folders
    scratch.mkdir(exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.providers.git.sync_once", str(url), str(path)],
        cwd=_ROOT, env=os.environ | {"TMPDIR": str(scratch)}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == b"ready\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(dice.uniform(0, 0.05))
        family = _children(child.pid) if dice.random() < 0.5 else []
        child.send_signal(signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _children(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _run(bench, rounds, operations, seed):
    dice = random.Random(seed)
    source = bench.upstream()
    owner, keeper = Owner(source, dice), Keeper(bench)
    patient = BareCopy(bench.copy.path, bench.git, wait_seconds=60)

    async def whole():
        seen = await advertise(bench.git, str(source.path))
        await patient.fetch(seen, Reading(str(source.path), allow_empty=True), NOW)
        return difference(seen, await patient.advertisement())

    for _ in range(rounds):
        for _ in range(operations):
            owner.act()
        _sync_and_kill(source.path, bench.copy.path, dice)
        keeper.look()
        if dice.random() < 0.3:
            assert asyncio.run(whole()) == ()
            keeper.look()
    assert asyncio.run(whole()) == ()
    keeper.look()
    asyncio.run(patient.verify())
    assert source.objects() <= set(bench.copied("rev-list", "--objects", "--all", "--no-object-names").splitlines())
    return keeper


def test_kills_at_random_moments_lose_nothing(bench):
    assert len(_run(bench, rounds=25, operations=3, seed=8).had) > 4


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_operations_with_kills_lose_nothing(bench, seed):
    assert len(_run(bench, rounds=250, operations=4, seed=seed).had) > 40
