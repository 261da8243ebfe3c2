"""Real git over smart HTTP: `git http-backend` behind a threaded server with Basic auth, LFS and faults to order."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

_STATUS = re.compile(r"^Status: (\d{3})")


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # else of 32 connections at once most wait a second until they are tried again


class GitServer:
    """Serves the bare repositories of a folder at /<name>. `users` maps names to passwords; none: open to all.

    `fault` decides of each request: a status code, "cut" (the answer ends in the middle), ("redirect", URL) or None.
    `front` may answer a request in git's place (a forge's API on the same host): it says whether it did.
    """

    def __init__(self, root: Path, users: dict[str, str] | None = None) -> None:
        self.root = root
        self.users = users or {}
        self.fault = lambda _path: None
        self.front = lambda _handler: False
        self.speaks_version_2 = True
        self.lfs: dict[str, dict[str, bytes]] = {}
        self.headers_seen: list[dict[str, str]] = []
        self.requests: list[str] = []
        self._server = _Listening(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def allows(self, header: str | None) -> bool:
        if not self.users:
            return True
        kind, _, value = (header or "").partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":") if kind == "Basic" else ("", "", "")
        return bool(user) and self.users.get(user) == password


def _handler(server: GitServer):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: else a kept connection waits 40 ms for an acknowledgement

        def log_message(self, *_):
            """Say nothing."""

        def do_GET(self):
            self._serve(b"")

        def do_POST(self):
            self._serve(self._body())

        def _body(self):
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _serve(self, body):
            if server.front(self):
                return None
            server.requests.append(f"{self.command} {self.path}")
            server.headers_seen.append(dict(self.headers))
            fault = server.fault(self.path)
            if isinstance(fault, int):
                return self._plain(fault)
            if isinstance(fault, tuple):
                return self._plain(302, {"Location": fault[1] + self.path})
            if not server.allows(self.headers.get("Authorization")):
                return self._plain(401, {"WWW-Authenticate": 'Basic realm="git"'})
            if "/info/lfs/" in self.path:
                return self._lfs(body)
            return self._answer(self._backend(body), cut=fault == "cut")

        def do_PUT(self):
            self._serve(self._body())

        def _lfs(self, body):
            """The batch API and the objects themselves (git-lfs, docs/api/batch.md), a store a repository."""
            place, _, name = self.path.partition("/info/lfs/objects/")
            store = server.lfs.setdefault(place.strip("/"), {})
            if name == "batch":
                asked = json.loads(body)
                objects = [self._lfs_object(one, asked["operation"], store, place) for one in asked["objects"]]
                return self._send(200, json.dumps({"transfer": "basic", "objects": objects}).encode())
            if self.command == "PUT":
                store[name] = body
                return self._plain(200)
            return self._send(200, store[name]) if name in store else self._plain(404)

        def _lfs_object(self, one, operation, store, place):
            known = one["oid"] in store
            link = {"href": f"{server.url}{place}/info/lfs/objects/{one['oid']}",
                    "header": {"Authorization": self.headers.get("Authorization", "")}}  # fmt: skip
            if operation == "upload":
                return one | ({} if known else {"actions": {"upload": link}})
            missing = {"error": {"code": 404, "message": "Object does not exist"}}
            return one | ({"actions": {"download": link}} if known else missing)

        def _send(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.git-lfs+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _plain(self, status, headers=None):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _backend(self, body):
            path, _, query = self.path.partition("?")
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", "") if server.speaks_version_2 else "",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": "someone",
                "REMOTE_ADDR": "127.0.0.1",
            }
            return subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            ).stdout

        def _answer(self, output, *, cut):
            head, _, body = output.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            status = next((int(found[1]) for line in lines if (found := _STATUS.match(line))), 200)
            self.send_response(status)
            for line in lines:
                name, _, value = line.partition(": ")
                if name and name != "Status":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body[: len(body) // 2] if cut else body)
            except OSError:
                self.close_connection = True
            if cut:
                self.close_connection = True

    return Handler
