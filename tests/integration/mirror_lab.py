"""A GitHub and a GitLab for mirrors: forge, git server, fake GitLab and a project between them, all real over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from autogit.model.gitlab import TOKEN_SECRET
from autogit.operations import mirror
from autogit.operations.gitlab_access import StoreKeeper
from autogit.operations.mirror_sync import SyncRequest, sync
from autogit.operations.project import open_project, project_paths
from tests.connectors.gitlab_world import World
from tests.fakes.forges.github import FakeGitHub
from tests.git_server import GitServer
from tests.providers.git.conftest import Upstream

ENV = "RUNTIME=docker\nSIZE=team\nSERVICES_ENABLED=gitlab\n"
RULE = "github-you"


class Lab:
    """`forge` and `git` are the source, `world.fake` is the target, `project` mirrors from one to the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git = GitServer(root / "git")
        self.forge = FakeGitHub()
        self.world = World(root / "world")
        self.later = timedelta(0)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._stack.enter_context(self.forge.with_code(self.git))
        self._stack.enter_context(self.world)
        self.forge.add_account("you")
        folder = self.root / "project"
        folder.mkdir()
        (folder / ".env").write_text(ENV)
        self.project = open_project(project_paths(folder))
        self.keeper = StoreKeeper(self.project.secrets.store)
        self.keeper.put("FORGE_TOKEN", self.forge.add_token("you"))
        self.token = self.fake.seed_admin_token(["api"], "mirror")
        self.keeper.put(TOKEN_SECRET, self.token)
        return self

    def __exit__(self, *ending):
        self._stack.__exit__(*ending)

    @property
    def fake(self):
        return self.world.fake

    def add(self, **options):
        """Declare the mirror of you."""
        given = mirror.MirrorOptions(server=self.forge.url, credential="FORGE_TOKEN", **options)
        return mirror.add(self.project, "github:you", given)

    def make(self, name, *options, refs=("heads/main",), **about):
        """Make a repository at the forge, with a commit under each ref."""
        self.forge.add("you", name, visibility=about.pop("visibility", "private"), **about)
        upstream = Upstream(self.root / "git" / "you" / f"{name}.git", *options)
        for ref in refs:
            upstream.ref(f"refs/{ref}", upstream.commit(f"{ref} of {name}"))
        return upstream

    def sync(self, **request):
        """Sync in this process; return the view of each repository by path, and the whole."""
        clock = self.project.context.clock
        context = replace(self.project.context, clock=lambda: clock() + self.later)
        project = replace(self.project, context=context)
        view = asyncio.run(sync(project, SyncRequest(**request), access=self.world.access()))
        return {one.path: one for one in view.mirrors}, view

    def fine(self, **request):
        """Sync, and demand that all went well; return the views by path."""
        views, view = self.sync(**request)
        bad = {path: (one.detail, one.differences) for path, one in views.items() if one.state != "ok"}
        assert (bad, view.problems) == ({}, ()), f"{bad} {view.problems}"
        return views

    def target(self, path, *, wiki=False):
        """Return the refs of a project's repository on GitLab's disk, and its HEAD."""
        folder = self.fake.repository(path, wiki=wiki)
        lines = run_git(folder, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
        return {name: object_id for object_id, name in (line.split(" ", 1) for line in lines)}

    def project_of(self, path):
        return self.fake.state.find_project(path)

    def asked(self):
        """Return what GitLab was asked since the last time: (method, path)."""
        seen = [(one.method, one.path) for one in self.fake.requests]
        self.fake.requests.clear()
        return seen


def run_git(folder, *words, stdin=""):
    done = subprocess.run(
        ["git", *words], cwd=folder, input=stdin, check=True, capture_output=True, text=True, errors="surrogateescape"
    )
    return done.stdout.strip()


def put_lfs(lab, upstream, text, branch="main"):
    """Commit an LFS pointer upstream, its object on the server; return its id."""
    body = text.encode()
    oid = hashlib.sha256(body).hexdigest()
    store = lab.git.lfs.setdefault(f"you/{upstream.path.name}", {})
    store[oid] = body
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(body)}\n"
    parents = [one for name, one in upstream.refs().items() if name == f"refs/heads/{branch}"]
    upstream.ref(f"refs/heads/{branch}", upstream.commit(pointer, *parents))
    return oid
