"""A project folder whose platform runs on a real engine: the real command line, requests through the real ingress."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.engine import EngineError
from tests.images import env_lines

AUTOGIT = Path(sys.executable).with_name("autogit")
TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "services"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
_NUMBERS = count(1)

SERVICE = """\
service: NAME
summary: A small web server
subdomain: NAME
internal_port: 3100
health_endpoint: /ready
ready_endpoint: /ready
image: IMAGE
ports:
  http: {internal: 3100}
sizing: {minimal: 0.1C/32M, homelab: 0.2C/48M, team: 0.1C/32M, production: 0.1C/32M}
runs:
  container:
    user: "10001:10001"
    tmpfs: [/tmp]
    networks: [web]
    health:
      test: ["CMD", "/usr/bin/loki", "-health"]
      interval_seconds: 1
      retries: 2
      start_period_seconds: 1
    stop_grace_seconds: 5
"""
"""A service of the image that stands for Loki: any number of them run beside the ingress."""

ROUTED = "routes: [{}]\n"
VOLUME = "    volumes: {NAME-data: /loki}\n"


class Answer(NamedTuple):
    """What came through the ingress."""

    status: int
    text: str


class Platform:
    """One project on one engine. Everything that fails shows what the command said."""

    def __init__(self, engine, images, *services, **settings):
        self.engine = engine
        self.images = images
        self.prefix = []
        """Words before the command."""
        self.name = f"t{os.getpid()}-{next(_NUMBERS)}"
        self.folder = Path(tempfile.mkdtemp(prefix="autogit-"))
        self.folder.chmod(0o755)  # a container's user must get at what is mounted from here
        self.root = self.folder / "project"
        self.root.mkdir()
        (self.folder / "home").mkdir()
        http_port, https_port = free_ports(2)
        self.https_port = https_port
        self.env = {
            "RUNTIME": "docker",
            "PROJECT_NAME": self.name,
            "DOCKER_HOST": f"unix://{engine.socket}",
            "SIZE": "minimal",
            "SERVICES_ENABLED": ",".join(services) or "none",
            "HTTP_PORT": http_port,
            "HTTPS_PORT": https_port,
            **dict(line.split("=", 1) for line in env_lines(images).splitlines()),
        }
        self.environ = {  # not traced for coverage: it would double what the longest suite takes
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONWARNINGS": "error,ignore:unclosed:ResourceWarning",  # the SDK's connections, when a command ends
        }
        self.set(**settings)

    # What it is made of

    def set(self, **values):
        """Set keys of `.env` (None removes one)."""
        self.env |= values
        lines = (f"{name}={value}\n" for name, value in self.env.items() if value is not None)
        (self.root / ".env").write_text("".join(lines))

    @contextmanager
    def settings(self, **values):
        """Set keys of `.env`, and put back afterwards what they were."""
        former = {name: self.env.get(name) for name in values}
        self.set(**values)
        try:
            yield
        finally:
            self.set(**former)

    def add(self, name, text=SERVICE, *extra, image="loki", **config):
        """Write a service below overrides/ (`extra` is added to the text); `config` maps templates to their texts."""
        folder = self.root / "overrides" / "services" / name
        (folder / "config").mkdir(parents=True, exist_ok=True)
        text = "".join([text, *extra]).replace("NAME", name).replace("IMAGE", self.images.get(image, image))
        (folder / "service.yml").write_text(text)
        for path, template in config.items():
            (folder / "config" / path).write_text(template)

    def change(self, service, *words):
        """Put a changed copy of a built-in service below overrides/: each word is replaced by the one after it."""
        text = (TEMPLATES / service / "service.yml").read_text()
        for former, word in zip(words[::2], words[1::2], strict=True):
            assert former in text, f"{former} is not in {service}/service.yml"
            text = text.replace(former, word)
        shutil.copytree(TEMPLATES / service, self.root / "overrides" / "services" / service)
        self.add(service, text)

    def add_cadvisor(self):
        """Take what a sandbox cannot give out of the service that comes along with Prometheus."""
        lines = (TEMPLATES / "cadvisor" / "service.yml").read_text().splitlines(keepends=True)
        self.add("cadvisor", "".join(x for x in lines if "privileged:" not in x and "devices:" not in x))

    # The command line

    def command(self, *words):
        return [*self.prefix, str(AUTOGIT), *words]

    def run(self, *words, expect=0, timeout=120, **kwargs):
        """Run `autogit WORDS`; fails with what it said where the exit code is another, or where it is no sentence."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **kwargs,
        )
        said = f"autogit {' '.join(words)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        for word in ("Traceback", "unexpected:", "Exception ignored", "Warning:"):
            assert word not in done.stderr, said
        assert expect is None or done.returncode == expect, said
        return done

    def up(self, *words, expect=0, **kwargs):
        return self.run("up", "--yes", *words, expect=expect, **kwargs)

    def start(self, *words):
        """Begin `autogit WORDS` and go on."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, process, seconds):
        """End a process as a crash would, unless it ends by itself in time; returns what it still said."""
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.communicate()[0]

    def json(self, *words, expect=0):
        return json.loads(self.run(*words, "--format", "json", expect=expect).stdout)

    @property
    def lockfile(self):
        return json.loads((self.root / "autogit.lock.json").read_text())

    # What is there

    def container(self, service):
        """The inspection of a service's container."""
        return self.engine.api("GET", f"/containers/{self.name}-{service}-1/json")

    def containers(self):
        """The inspections of all containers of this project, by their names without its own."""
        found = self._labelled("containers/json?all=1&")
        raws = [self.engine.api("GET", f"/containers/{row['Id']}/json") for row in found]
        return {raw["Name"].removeprefix(f"/{self.name}-"): raw for raw in raws}

    def ids(self):
        """The ids of all containers of this project, by their names without its own."""
        return {
            row["Names"][0].removeprefix(f"/{self.name}-"): row["Id"]
            for row in self._labelled("containers/json?all=1&")
        }

    def networks(self):
        return sorted(row["Name"] for row in self._labelled("networks?"))

    def volumes(self):
        return sorted(row["Name"] for row in self._labelled("volumes?")["Volumes"] or ())

    def everything(self):
        """Every object of the engine that a failed command could have left."""
        return {
            "containers": sorted(row["Id"] for row in self.engine.api("GET", "/containers/json?all=1")),
            "networks": sorted(row["Id"] for row in self.engine.api("GET", "/networks")),
            "volumes": sorted(row["Name"] for row in self.engine.api("GET", "/volumes")["Volumes"] or ()),
        }

    def _labelled(self, path):
        chosen = json.dumps({"label": [f"{PROJECT_LABEL}={self.name}"]})
        return self.engine.api("GET", f"/{path}filters={chosen.replace(' ', '')}")

    # Requests

    def get(self, service, path="/ready", timeout=5):
        """Ask a service through the ingress, by its name, over TLS with the platform's own root."""
        root = next((self.root / ".autogit" / "certs" / "local-ca").rglob("root.pem"))
        context = ssl.create_default_context(cafile=root)
        host = f"{service}.autogit.localhost"
        with (
            socket.create_connection(("127.0.0.1", self.https_port), timeout) as raw,
            context.wrap_socket(raw, server_hostname=host) as link,
        ):
            link.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(link)
            response.begin()
            return Answer(response.status, response.read().decode())

    # The end

    def close(self):
        if self.engine.answers():
            self.engine.sweep(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def platform_of(engine, images, *services, **settings):
    """A platform that is swept away afterwards."""
    one = Platform(engine, images, *services, **settings)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def foreign(engine, kind, name, *words):
    """An object of the engine that is not AutoGit's."""
    create = ["create", "--name", name, *words] if kind == "container" else [kind, "create", *words, name]
    made = engine.docker(*create).strip()
    try:
        yield made
    finally:
        with suppress(EngineError):
            engine.docker(kind, "rm", *([] if kind == "network" else ["--force"]), name)


def free_ports(number):
    """Ports that are free right now, all different."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def eventually(condition, seconds=20):
    """Whether something comes true before long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
