"""Real repositories, and real git servers in front of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autogit.providers.git.bare import BareCopy, Reading
from autogit.providers.git.credentials import Credential
from autogit.providers.git.refs import advertise, difference
from autogit.providers.git.runner import Git
from tests.git_server import GitServer

NOW = datetime(2026, 11, 27, 8, 15, tzinfo=UTC)
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (
        ("NAME", "A"), ("EMAIL", "a@example.org"), ("DATE", "1700000000 +0000"))},
}  # fmt: skip


class Upstream:
    """A bare repository that a test writes as its owner would."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--bare", "--quiet", "--initial-branch=main", *options, ".")

    def git(self, *arguments, stdin=""):
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=stdin,
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, text, *parents):
        blob = self.git("hash-object", "-w", "--stdin", stdin=text)
        tree = self.git("mktree", stdin=f"100644 blob {blob}\tfile\n")
        return self.git("commit-tree", tree, *(word for parent in parents for word in ("-p", parent)), stdin=text)

    def ref(self, name, object_id):
        self.git("update-ref", name, object_id)
        return object_id

    def delete(self, name):
        self.git("update-ref", "-d", name)

    def refs(self):
        lines = self.git("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
        return {name: object_id for object_id, name in (line.split(" ", 1) for line in lines)}

    def objects(self):
        return set(self.git("rev-list", "--objects", "--all", "--no-object-names").splitlines())


class Bench:
    """A source, a copy of it, and what mirrors them; runs each step in a loop of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git = Git()
        self.copy = BareCopy(root / "copy.git", self.git)

    def upstream(self, name="source.git", *options):
        return Upstream(self.root / "served" / name, *options)

    def advertise(self, url, credential=None):
        return asyncio.run(advertise(self.git, str(url), credential))

    def sync(self, url, *, credential=None, now=NOW, allow_empty=False, copy=None):
        async def once():
            source = await advertise(self.git, str(url), credential)
            reading = Reading(str(url), credential, allow_empty)
            return await (copy or self.copy).fetch(source, reading, now)

        return asyncio.run(once())

    def unlike(self, url, credential=None):
        return difference(self.advertise(url, credential), asyncio.run(self.copy.advertisement()))

    def copied(self, *arguments, stdin=""):
        return Upstream.git(self._view(self.copy.path), *arguments, stdin=stdin)

    def _view(self, path):
        view = object.__new__(Upstream)
        view.path = path
        return view


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def source(bench):
    """A source with a history: main of two commits, a branch, tags of both kinds, a note."""
    upstream = bench.upstream()
    first = upstream.commit("first")
    second = upstream.ref("refs/heads/main", upstream.commit("second", first))
    upstream.ref("refs/heads/topic/a", upstream.commit("topic", first))
    upstream.git("tag", "light", first)
    upstream.git("tag", "-a", "v1", "-m", "one", second)
    upstream.git("notes", "add", "-m", "well done", second)
    upstream.ref("refs/pull/7/head", upstream.commit("from a fork", second))
    return upstream


@pytest.fixture
def served(bench):
    """The folder of upstreams over smart HTTP, for one who knows the password."""
    (bench.root / "served").mkdir(exist_ok=True)
    with GitServer(bench.root / "served", {"mirror": "canary-4f1c9a"}) as server:
        server.credential = Credential.for_url(server.url, "mirror", "canary-4f1c9a")
        yield server
