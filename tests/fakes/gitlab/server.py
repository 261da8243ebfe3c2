"""The fake GitLab itself: a server on loopback with everything behind it, and what tests ask and order of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
import time
from pathlib import Path

import uvicorn

from tests.fakes.gitlab import api_packages, api_projects, lfs
from tests.fakes.gitlab.access import settle_default_branch
from tests.fakes.gitlab.app import API, App, Request, Unknown
from tests.fakes.gitlab.faults import Faults
from tests.fakes.gitlab.find import may_create_in
from tests.fakes.gitlab.rails import write_program
from tests.fakes.gitlab.repositories import Repositories
from tests.fakes.gitlab.state import OWNER, Namespace, State, now
from tests.fakes.gitlab.views import Views
from tests.fakes.gitlab.web import Call, Route

_ANY = Route("GET", "/", None)
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class _Server(uvicorn.Server):
    """uvicorn, but it leaves at once: tests start and stop very many."""

    _leave: asyncio.Event
    _loop: asyncio.AbstractEventLoop

    async def startup(self, sockets=None):
        self._leave, self._loop = asyncio.Event(), asyncio.get_running_loop()
        await super().startup(sockets)

    async def main_loop(self):
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leave.wait(), 0.1)

    async def shutdown(self, sockets=None):
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.close()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def leave(self):
        """Stop, called from another thread."""
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._leave.set)


class FakeGitLab:
    """A GitLab CE for tests: `with FakeGitLab(folder) as gitlab: ... gitlab.url`."""

    def __init__(self, root: Path, *, version="19.5.3"):
        self.version = version
        self.started_at = now()
        self.key = secrets.token_hex(16)
        self.state = State()
        self.faults = Faults()
        self.repositories = Repositories(root)
        self.lfs = lfs.Store(root)
        self.packages = api_packages.Files(root)
        self.views = Views(self)
        self.requests: list[Request] = []
        """Every request but those of the fake's own hooks, in the order of their answers; status 0: none was begun."""
        self.unknown_parameters: list[Unknown] = []
        """What was sent and never declared, once each."""
        self.crashes: list[str] = []
        """Tracebacks of this fake's own faults; leaving the `with` block raises on them."""
        self.port = 0
        self._server = None
        self._thread = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    # Running

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stop()
        if self.crashes and error is None:
            raise AssertionError("the fake GitLab failed:\n" + "\n".join(self.crashes))

    def start(self):
        """Serve; after `stop` again at the same port, with all it had."""
        # The protocol is named: asyncio turns Nagle's algorithm off for no other, which costs 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(256)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            App(self),
            http="h11",
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.001)

    def stop(self):
        """Stop serving; connections are refused from here on."""
        if self._server is not None:
            self._server.leave()
            self._thread.join()
            self._server = None

    # What tests ask and order

    def repository(self, path, *, wiki=False) -> Path:
        """The bare repository of a project on disk."""
        with self.state.lock:
            return self.repositories.path(self._project(path), wiki=wiki)

    def writes(self):
        """The requests to the API that could have changed something."""
        return [one for one in self.requests if one.path.startswith(API) and one.method in WRITES]

    def seed_admin_token(self, scopes=("api",), name="admin", expires_at=None) -> str:
        """A token of root."""
        return self.seed_token("root", scopes, name, expires_at)

    def seed_token(self, username, scopes=("api",), name="token", expires_at=None) -> str:
        with self.state.lock:
            return self.state.add_token(self.state.find_user(username), name, scopes, expires_at).value

    def seed_user(self, username, **attributes):
        with self.state.lock:
            return self.state.add_user(username, username.capitalize(), f"{username}@example.com", **attributes)

    def seed_group(self, path, visibility="private"):
        """A group of root, its parents made where they are missing."""
        with self.state.lock:
            if (found := self.state.find_namespace(path)) is not None:
                return found
            above, _, name = path.rpartition("/")
            parent = self.seed_group(above, visibility) if above else None
            group = Namespace(self.state.next_id("namespace"), "group", name, name, visibility, parent and parent.id)
            group.members[1] = OWNER
            self.state.namespaces[group.id] = group
            return group

    def seed_project(self, path, visibility="private", **attributes):
        """A project of root in its groups; both made as the API makes them."""
        with self.state.lock:
            above, _, name = path.rpartition("/")
            root = self.state.users[1]
            namespace = self.seed_group(above, visibility) if above else self.state.home(root)
            return api_projects.build_project(
                self._call(root),
                root,
                name=name,
                path=name,
                namespace=namespace,
                visibility=visibility,
                attributes=attributes,
            )

    def add_member(self, username, path, level):
        """Give a user a role in a group or a project."""
        with self.state.lock:
            thing = self.state.find_namespace(path) or self._project(path)
            thing.members[self.state.find_user(username).id] = level

    def write_rails(self, folder: Path) -> Path:
        """Put the stand-in for `gitlab-rails` into a folder for PATH."""
        return write_program(folder, self.url, self.key)

    def _project(self, path):
        found = self.state.find_project(path)
        if found is None:
            raise KeyError(path)
        return found

    def _call(self, user):
        return Call(self, _ANY, {}, {}, "", "", user=user, is_admin=user.admin)

    # What the parts of the fake ask of it

    def create_on_push(self, user, namespace, name):
        """A project that a push makes; None where the user may not create any."""
        call = self._call(user)
        if not may_create_in(call, namespace):
            return None
        return api_projects.build_project(call, user, name=name, path=name, namespace=namespace, visibility="private")

    def delete_project(self, project):
        del self.state.projects[project.id]
        for old in [path for path, number in self.state.redirects.items() if number == project.id]:
            del self.state.redirects[old]
        self.repositories.delete(project)

    def write_readme(self, project, branch=None):
        """The first commit of a project that is created with a README."""
        path, git = self.repositories.path(project), self.repositories.git
        who = {"GIT_AUTHOR_NAME": "Administrator", "GIT_AUTHOR_EMAIL": "admin@example.com"}
        who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
        blob = git(path, "hash-object", "-w", "--stdin", given=f"# {project.name}\n").strip()
        tree = git(path, "mktree", given=f"100644 blob {blob}\tREADME.md\n").strip()
        commit = git(path, "commit-tree", "-m", "Initial commit", tree, environment=who).strip()
        name = branch or self.repositories.head(project)
        git(path, "update-ref", f"refs/heads/{name}", commit)
        self.repositories.set_head(project, name)
        settle_default_branch(self, project)
