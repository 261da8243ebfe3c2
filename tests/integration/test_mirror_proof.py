"""Generated repositories through the real `autogit mirror sync` into GitLab, killed at random, proven object by object.

A seeded sample runs in `make test`; `make soak` runs 200 repositories and 1,000 operations, and prints its figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from autogit.model.lockfile import Lockfile
from tests.integration.mirror_lab import Lab, put_lfs, run_git
from tests.providers.git.test_random_operations import Owner
from tests.tls_front import TlsFront, write_certificate
from tests.tools import require_tool

pytestmark = pytest.mark.integration
_NAME = "gitlab.autogit.localhost"
_PLAIN = ("refs/heads/", "refs/tags/", "refs/notes/")
_MOST_TRIES = 6


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The lab, its GitLab behind TLS where the project's ingress would be, and the real program."""
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", str(tmp_path / "keys" / "identity.txt"))
    programs = Path(require_tool("git-lfs")).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    root, key = write_certificate(tmp_path / "tls", _NAME)
    with Lab(tmp_path) as lab, TlsFront(root, key, lab.fake.port) as front:
        place = lab.project.certificates.root_path("autogit.localhost")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(root.read_bytes())
        lab.project.store.save(Lockfile(ports={"traefik/https": front.port}))
        yield Proof(lab)


class Proof:
    """Repositories, their owners, and what was ever seen of them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.upstreams = {}
        self.ids = {}
        self.owners = {}
        self.had: dict[str, set[str]] = {}
        self.kills = self.syncs = 0
        (lab.root / "scratch").mkdir()

    def generate(self, count, dice):
        """Make repositories of all sorts: branches, tags, notes, pull requests, LFS, SHA-256, empty ones."""
        for number in range(count):
            name = f"r{number:03d}"
            options = ("--object-format=sha256",) if number % 6 == 4 else ()
            upstream = self.lab.make(name, *options, refs=())
            self.upstreams[name] = upstream
            self.ids[name] = max(self.lab.forge.repositories)
            self.owners[name] = Owner(upstream, dice)
            if number % 6 == 5:
                continue
            first = upstream.commit(f"first of {name}")
            main = upstream.ref("refs/heads/main", upstream.commit("second", first))
            upstream.ref("refs/heads/topic/x", upstream.commit("topic", first))
            upstream.git("tag", "-a", "v1", "-m", "one", main)
            upstream.git("notes", "add", "-m", "well done", main)
            upstream.ref("refs/pull/7/head", upstream.commit("from a fork", main))
            if number % 6 == 1:
                put_lfs(self.lab, upstream, f"large file of {name}")

    def act(self, dice):
        """Have somebody do something to a repository, or to its name."""
        name = dice.choice(list(self.upstreams))
        happens = dice.random()
        if happens < 0.03:
            self._rename(name)
        elif happens < 0.1 and "main" in run_git(self.upstreams[name].path, "branch", "--list", "main"):
            put_lfs(self.lab, self.upstreams[name], f"large {dice.random()}")
        else:
            self.owners[name].act()

    def _rename(self, name):
        upstream, about = self.upstreams[name], self.lab.forge.repositories[self.ids[name]]
        new = f"{about['name']}x"
        moved = upstream.path.with_name(f"{new}.git")
        upstream.path.rename(moved)
        self.lab.git.lfs[f"you/{new}.git"] = self.lab.git.lfs.pop(f"you/{upstream.path.name}", {})
        upstream.path, about["name"] = moved, new

    def start(self):
        words = [sys.executable, "-m", "autogit", "mirror", "sync", "--allow-empty", "--debug", "--format", "json"]
        return subprocess.Popen(
            words, cwd=self.lab.project.paths.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(self.lab.root / "scratch")},
        )  # fmt: skip

    def kill(self, dice, seconds):
        """Sync, and end it at some moment, in half of all cases with all that it started."""
        with self.start() as child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=dice.uniform(0.4, seconds))
            if child.poll() is None:
                family = psutil.Process(child.pid).children(recursive=True) if dice.random() < 0.5 else []
                child.send_signal(signal.SIGKILL)
                self.kills += 1
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        self.look()

    def sync(self):
        """Sync until all is proven: orphans of a killed run may still hold a copy for a moment."""
        for _ in range(_MOST_TRIES):
            with self.start() as child:
                out, err = child.communicate(timeout=580)
            self.syncs += 1
            view = json.loads(out) if out else {"mirrors": (), "problems": [err.decode()]}
            bad = {one["path"]: one["detail"] for one in view["mirrors"] if one["state"] != "ok"}
            if child.returncode == 0:
                break
            time.sleep(0.5)
        assert (bad, view["problems"], child.returncode) == ({}, [], 0), err.decode()
        self.look()
        return {one["identity"]: one for one in view["mirrors"]}

    def look(self):
        """Remember every id that a copy shows now."""
        for folder in self._folders():
            self.had.setdefault(str(folder), set()).update(
                run_git(folder, "for-each-ref", "--format=%(objectname)").split()
            )

    def _folders(self):
        return [file.parent for file in self.lab.project.paths.mirrors.glob("*/*.git/packed-refs")]

    def compare(self, views):
        """Every ref and every object at the source, in the copy and in GitLab are the same."""
        for name, upstream in self.upstreams.items():
            view = views[f"github:{self.ids[name]}"]
            copy = self.lab.project.paths.mirrors / view["folder"]
            refs, objects = upstream.refs(), upstream.objects()
            shown = {ref: one for ref, one in _refs(copy).items() if not ref.startswith("refs/autogit/")}
            assert (shown, _objects(copy, "--exclude=refs/autogit/*")) == (refs, objects), name
            target = self.lab.fake.repository(view["target"])
            wanted = {
                r if r.startswith(_PLAIN) else f"refs/autogit/{r.removeprefix('refs/')}": i for r, i in refs.items()
            }
            found = _refs(target)
            if not any(ref.startswith("refs/heads/") for ref in refs):  # GitLab deletes no default branch
                kept = {ref for ref in found if ref.startswith("refs/heads/")}
                found = {ref: one for ref, one in found.items() if ref not in kept}
                assert len(kept) <= 1, name
                assert found == wanted, name
                continue
            assert (found, _objects(target)) == (wanted, objects), name
            assert set(self.lab.git.lfs.get(f"you/{upstream.path.name}", {})) <= (
                self.lab.project_of(view["target"]).lfs | set(_unused(self.lab, upstream))
            ), name

    def nothing_is_lost(self):
        """All that a copy ever showed is in it still."""
        for folder, ids in self.had.items():
            words = ("rev-list", "--objects", "--stdin", "--not", "--all")
            assert run_git(folder, *words, stdin="\n".join(ids)) == "", folder
        return sum(map(len, self.had.values()))


def _unused(lab, upstream):
    """Return the LFS objects on the server that no ref names any more."""
    held = lab.git.lfs.get(f"you/{upstream.path.name}", {})
    said = run_git(upstream.path, "rev-list", "--objects", "--all", "--no-object-names")
    blobs = run_git(upstream.path, "cat-file", "--batch", stdin=f"{said}\n") if said else ""
    return [oid for oid in held if oid not in blobs]


def _refs(folder):
    lines = run_git(folder, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    return {name: object_id for object_id, name in (line.split(" ", 1) for line in lines)}


def _objects(folder, *more):
    return set(run_git(folder, "rev-list", "--objects", "--no-object-names", *more, "--all").split())


def _run(world, *, repositories, operations, kills, seconds, seed):
    dice = random.Random(seed)
    began = time.monotonic()
    world.generate(repositories, dice)
    world.lab.add()
    made = time.monotonic()
    world.compare(world.sync())
    first = time.monotonic()
    for _ in range(kills):
        for _ in range(operations // kills):
            world.act(dice)
        world.kill(dice, seconds)
    views = world.sync()
    proven = time.monotonic()
    world.compare(views)
    ids = world.nothing_is_lost()
    world.lab.asked()
    resting = time.monotonic()
    world.sync()
    rested, asked = time.monotonic() - resting, world.lab.asked()
    assert [one for one in asked if one[0] != "GET"] == []
    assert len([path for _, path in asked if path.endswith("/info/refs")]) == repositories
    assert len(asked) <= repositories + 1 + repositories // 100, "the group's projects, a hundred a page"
    return (
        f"{repositories} repositories, {operations} operations, {world.kills} kills: all refs and objects equal, "
        f"{ids} ids kept; made in {made - began:.0f} s, first sync and proof {first - made:.0f} s, "
        f"rounds {proven - first:.0f} s, {world.syncs} whole syncs; "
        f"with nothing to do {rested:.1f} s and {len(asked)} requests to GitLab, none of them a write"
    )


def test_refs_and_objects_are_the_same_after_random_operations_and_kills(world):
    _run(world, repositories=6, operations=30, kills=3, seconds=1.5, seed=20261128)
    assert world.lab.fake.unknown_parameters == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_repositories_and_a_thousand_operations(world, capsys):
    text = _run(world, repositories=200, operations=1000, kills=20, seconds=12.0, seed=int(os.environ.get("SEED", "1")))
    with capsys.disabled():
        print(f"\n{text}")
