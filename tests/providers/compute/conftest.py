"""A project folder, small real HTTP servers and the embedded runtime that runs them."""

import asyncio
import socket
import sys
import textwrap
from pathlib import Path

import pytest

from autogit.model.plan import Action, Change, FieldChange
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource
from autogit.model.spec import ProcessPayload, Program
from autogit.providers.base import ProviderContext, Scope
from autogit.providers.compute.embedded import EmbeddedRuntime

SERVER = """
import http.server, json, os, signal, sys, time

port, text = int(sys.argv[1]), sys.argv[2]
reloads = 0

def reload(*_):
    global reloads
    reloads += 1

signal.signal(signal.SIGHUP, reload)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 503 if os.path.exists("sick") or text == "never" else 200
        body = json.dumps({"argv": sys.argv[2:], "env": dict(os.environ), "reloads": reloads, "cwd": os.getcwd(),
                           "pid": os.getpid()}).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

if text == "broken":
    print("cannot read the configuration: no such thing", flush=True)
    sys.exit(3)
print("serving", text, flush=True)
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def free_port():
    """A function that returns a port of loopback that nobody uses."""

    def find() -> int:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    return find


class Project:
    """A project whose services are small real servers; `make` builds the desired resource of one."""

    def __init__(self, root: Path) -> None:
        self.paths = ProjectPaths(root, root / ".env")
        self.script = root / "server.py"
        self.script.write_text(textwrap.dedent(SERVER))
        self.progress: list[tuple[str, str]] = []
        self.restored: list[Address] = []
        self.runtime = EmbeddedRuntime(
            ProviderContext(self.paths, progress=lambda a, t: self.progress.append((str(a), t))), restore=self.restore
        )

    def restore(self, address: Address) -> bool:
        self.restored.append(address)
        return True

    def wish(self, service, port, text="one", **more):
        """The desired resource of a server; `more`: version, extra (arguments), env, reload, timeout."""
        program = Program(
            service=service,
            executable=sys.executable,
            arguments=("-I", str(self.script), str(port), text, *more.get("extra", ())),
            environment=more.get("env", {}),
            health_port=port,
            health_path="/health",
            ready_path="/ready",
            reload_signal="HUP",
            stop_signal="TERM",
            stop_grace_seconds=3,
            ready_timeout_seconds=more.get("timeout", 10),
        )
        return Resource(
            Address("process", service),
            {
                **program.attributes,
                "program": more.get("version", "a1"),
                "reload": more.get("reload", ""),
                "state": "running",
            },
            payload=ProcessPayload(program, (Address("file", f"{service}/conf.yml"),)),
            replace_on=frozenset({"program", "command", "environment"}),
        )

    def apply(self, *wishes, action=Action.CREATE, fields=(), before=None):
        """Apply one change a wish, at once, and return the outcomes."""
        changed = tuple(FieldChange(name, None, None) for name in fields)
        changes = [Change(w.address, action, "", changed, before, w) for w in wishes]

        async def run():
            async def one(change):
                return await anext(aiter(self.runtime.apply([change])))

            return await asyncio.gather(*(one(c) for c in changes))

        return asyncio.run(run())

    def delete(self, service):
        change = Change(Address("process", service), Action.DELETE, "", (), Resource(Address("process", service), {}))

        async def run():
            return await anext(aiter(self.runtime.apply([change])))

        return asyncio.run(run())

    def observe(self):
        seen = asyncio.run(self.runtime.observe(Scope()))
        return {r.address.name: dict(r.attributes) for r in seen}


@pytest.fixture
def make_project():
    """A function that makes a project in a folder; every project's supervisord is ended after the test."""
    made: list[Project] = []

    def make(root: Path) -> Project:
        root.mkdir(parents=True, exist_ok=True)
        made.append(Project(root))
        return made[-1]

    yield make
    for project in made:
        asyncio.run(project.runtime.stop_all())


@pytest.fixture
def project(make_project, tmp_path):
    """One project."""
    return make_project(tmp_path / "p")
