"""A real registry of images on loopback (Docker's own, CNCF Distribution), and a way to it that can be disturbed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.docker.platform import free_ports
from tests.engine import EngineError
from tests.image_scripts import broken
from tests.images import PROGRAMS, File, descriptors, make, recipe
from tests.tools import require_tool

USER, PASSWORD = "reader", "canary-registry-0815"
START_SECONDS = 20

_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {data}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
{auth}
"""
_AUTH = "auth: {{htpasswd: {{realm: test, path: {path}}}}}"


class Registry:
    """A registry of a folder; with `locked`, one that asks for a name and a password. It takes plain HTTP, which
    engines allow for loopback.
    """

    def __init__(self, folder, *, locked=False):
        self.folder = Path(folder)
        self.port = free_ports(1)[0]
        self.locked = locked
        self._process = None

    def name(self, name):
        """What an engine calls an image of this registry."""
        return f"127.0.0.1:{self.port}/{name}"

    def start(self):
        """Start it, on the data it has, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        auth = ""
        if self.locked:
            import bcrypt

            path = self.folder / f"passwords-{self.port}"
            path.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
            auth = _AUTH.format(path=path)
        config = self.folder / f"config-{self.port}.yml"
        config.write_text(_CONFIG.format(data=self.folder / "data", port=self.port, auth=auth))
        with (self.folder / f"log-{self.port}").open("ab") as log:
            command = [require_tool("docker-registry"), "serve", str(config)]
            environ = {"PATH": os.defpath, "OTEL_TRACES_EXPORTER": "none"}
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            said = (self.folder / f"log-{self.port}").read_text()
            assert self._process.poll() is None, f"the registry does not start: {said}"
            assert time.monotonic() < deadline, f"the registry does not answer: {said}"
            time.sleep(0.02)

    def stop(self):
        """End it; its data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def publish(self, engine, name, release="1", how=""):
        """Put a small web server under a name (or one that is broken in some way); the engine does not keep it.

        No two of them are one image, whatever they are made for. Returns the name as an engine calls it.
        """
        files = {"/unique": File(uuid.uuid4().hex)}
        if how:
            files[PROGRAMS["loki"]] = File(broken("loki", how))
        made = recipe("loki", descriptors()["loki"], release)
        image = make(engine, replace(made, files={**made.files, **files}))
        full = self.name(name)
        former = _find_image(engine, full)
        engine.docker("tag", image, full)
        engine.docker("push", "--quiet", full)
        engine.docker("rmi", full, image)
        if former:  # what the engine calls by this name does not move with the registry's
            engine.docker("tag", former, full)
        return full

    def digest(self, name):
        """The digest that a tag leads to."""
        repository, _, tag = name.rpartition(":")
        return self._ask("HEAD", f"/v2/{repository}/manifests/{tag}", accept=f"{_MANIFEST}, {_LIST}")[0]

    def publish_for(self, architecture, name, tag):
        """Put a list of manifests under another tag of an image: it says that this one is for another architecture."""
        repository, _, known = name.rpartition(":")
        digest, text = self._ask("GET", f"/v2/{repository}/manifests/{known}", accept=_MANIFEST)
        platform = {"architecture": architecture, "os": "linux"}
        row = {"mediaType": _MANIFEST, "size": len(text), "digest": digest, "platform": platform}
        body = {"schemaVersion": 2, "mediaType": _LIST, "manifests": [row]}
        self._ask("PUT", f"/v2/{repository}/manifests/{tag}", json.dumps(body), kind=_LIST)
        return self.name(f"{repository}:{tag}")

    def _answers(self):
        try:
            return bool(self._ask("GET", "/v2/"))
        except OSError:
            return False

    def _ask(self, method, path, body=None, *, accept="*/*", kind=""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {"Accept": accept, "Content-Type": kind})
            response = connection.getresponse()
            text = response.read()
            assert response.status < 300 or response.status == 401, f"{method} {path}: {response.status} {text}"
            return response.headers.get("Docker-Content-Digest", ""), text
        finally:
            connection.close()


def _find_image(engine, name):
    try:
        return engine.api("GET", f"/images/{name}/json")["Id"]
    except EngineError:
        return None


class Gate:
    """A way to a registry that fails as often as `failures` says: an engine begins each attempt with `/v2/`."""

    def __init__(self, registry):
        gate = self
        self.failures = 0
        self.fails = False

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if gate.fail(self.path):
                    self.answer(503, {}, b"")
                    return
                link = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=10)
                accepted = ", ".join(self.headers.get_all("Accept") or ())
                link.request(self.command, self.path, headers={"Accept": accepted})
                response = link.getresponse()
                headers = {k: v for k, v in response.getheaders() if k.startswith(("Content-Type", "Docker-"))}
                self.answer(response.status, headers, response.read(), response.headers["Content-Length"])
                link.close()

            do_HEAD = do_GET  # noqa: N815 - the name that the server calls

            def answer(self, status, headers, body, length=None):
                self.send_response(status)
                for key, value in {**headers, "Content-Length": length or len(body)}.items():
                    self.send_header(key, str(value))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def name(self, name):
        """What an engine calls an image behind this way."""
        return f"127.0.0.1:{self.port}/{name}"

    def fail(self, path):
        """Whether this request is one of an attempt that fails."""
        if path == "/v2/":
            self.fails = self.failures > 0
            self.failures -= self.fails
        return self.fails

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def open_registry(folder=None, *, locked=False):
    """A registry that ends with the block; its data is removed unless it lies in a folder that was given."""
    place = Path(folder or tempfile.mkdtemp(prefix="autogit-registry-"))
    registry = Registry(place, locked=locked)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def open_gate(registry):
    gate = Gate(registry)
    try:
        yield gate
    finally:
        gate.close()
