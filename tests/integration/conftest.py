"""A whole installation in a folder of its own: the real CLI, supervisord, Traefik and API on loopback ports."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from autogit.providers.probe import https_probe

_TRACED = ("test_main_job.py", "test_changes.py")


@dataclass
class Installation:
    """One project folder and how to talk to it."""

    root: Path
    environ: dict = field(default_factory=dict)

    def command(self, *words):
        return [sys.executable, "-m", "autogit", *words]

    def run(self, *words, expect=0, timeout=120, **kwargs):
        """Run `autogit ...` in the project folder; fails with its output where the exit code is another."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
            **kwargs,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if expect is not None:
            assert done.returncode == expect, f"autogit {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words):
        return subprocess.Popen(
            self.command(*words),
            cwd=self.root,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def json(self, *words, expect=0):
        return json.loads(self.run(*words, "--format", "json", expect=expect).stdout)

    def set(self, **values):
        """Set keys of `.env` (None removes one)."""
        env_file = self.root / ".env"
        lines = [x for x in env_file.read_text().splitlines() if x.partition("=")[0] not in values]
        lines += [f"{k}={v}" for k, v in values.items() if v is not None]
        env_file.write_text("\n".join(lines) + "\n")

    @property
    def lockfile(self):
        return json.loads((self.root / "autogit.lock.json").read_text())

    @property
    def https_port(self):
        return next(port for name, port in self.lockfile["ports"].items() if name in ("traefik/https", "nginx/https"))

    @property
    def root_certificate(self):
        return next((self.root / ".autogit" / "certs" / "local-ca").rglob("root.pem"))

    def probe(self, host, path="/", root=None):
        return https_probe("127.0.0.1", self.https_port, host, root or self.root_certificate, path, 5.0)

    def processes(self):
        """Every process of this installation: supervisord and what it runs, by command line or working folder."""
        found = []
        for process in psutil.process_iter():
            try:
                place = process.cwd() + " " + " ".join(process.cmdline())
            except (psutil.Error, OSError):
                continue
            if str(self.root) in place and process.pid != os.getpid():
                found.append(process)
        return found

    def supervisor_infos(self):
        from autogit.providers.compute.supervisor_wire import process_states, socket_path

        return process_states(socket_path(str(self.root / ".autogit" / "supervisor")), 2.0)

    def process_pid(self, service):
        return next((pid for name, _, pid, _ in self.supervisor_infos() or () if name.startswith(f"{service}.")), 0)

    def add_service(self, name, descriptor, **config):
        folder = self.root / "overrides" / "services" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "service.yml").write_text(descriptor)
        for path, text in config.items():
            (folder / "config").mkdir(exist_ok=True)
            (folder / "config" / path).write_text(text)


def free_ports(count):
    """Ports that are free right now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def make_installation(folder, **settings):
    http, https, low = free_ports(3)
    # Each worker has pools of its own: a port that nobody holds yet may be another installation's in a moment.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
    pool = 20000 + (worker * 40 + low % 40) * 60
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONWARNINGS": "error",
        **_tracing(),
    }
    (folder / "home").mkdir(parents=True)
    project = folder / "project"
    project.mkdir()
    base = {
        "RUNTIME": "embedded",
        "SIZE": "minimal",
        "SERVICES_ENABLED": "api",
        "HTTP_PORT": http,
        "HTTPS_PORT": https,
        "PORT_POOL": f"{pool}-{pool + 59}",
    }
    (project / ".env").write_text("".join(f"{k}={v}\n" for k, v in {**base, **settings}.items() if v is not None))
    return Installation(project, environ)


def _tracing():
    """Return what has commands traced for coverage, which doubles what they take: those of the main files only."""
    file = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
    if not file.endswith(_TRACED):
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS")}


def end_installation(installation):
    installation.run("down", expect=None)
    for process in installation.processes():
        process.kill()


@pytest.fixture
def installation():
    """A fresh project, ended and removed afterwards (a short path: supervisord's socket lies in it)."""
    folder = Path(tempfile.mkdtemp(prefix="autogit-"))
    one = make_installation(folder)
    yield one
    end_installation(one)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running():
    """A project that is up, shared by the tests of one module that only look at it."""
    folder = Path(tempfile.mkdtemp(prefix="autogit-"))
    one = make_installation(folder)
    one.first_up = one.run("up")
    yield one
    end_installation(one)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def free_port():
    """A function that returns a port that is free right now."""
    return lambda: free_ports(1)[0]
