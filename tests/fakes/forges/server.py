"""What the stand-ins for forges share: an HTTP server on loopback, a log of what was asked, faults, ETags."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

_GIT = re.compile(r"/(?:info/refs|git-upload-pack|info/lfs/.*)$")


class Refusal(Exception):  # noqa: N818 - an answer, raised where it is found
    """An answer that is an error."""

    def __init__(self, status, body, **headers):
        super().__init__(status)
        self.answer = Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Asked:
    """One request as it came. `segments` are the parts of its path, decoded one by one."""

    path: str
    query: dict
    headers: dict

    @property
    def segments(self):
        return [unquote(part) for part in self.path.strip("/").split("/")]


@dataclass
class Answer:
    """An answer; a body of bytes is sent as it is, with its headers."""

    status: int = 200
    body: object = None
    headers: dict = field(default_factory=dict)


@dataclass
class Fault:
    """What comes in place of an answer to paths with a beginning, once `skip` of them have passed, `times` times."""

    answer: Answer | None = None
    prefix: str = "/"
    skip: int = 0
    times: int = 1
    cut: bool = False


class Forge:
    """Answers at `url`. Subclasses have `answer(asked)`; those with ETags call `conditional`."""

    parameters: dict = {}  # noqa: RUF012 - read only
    """Documented query parameters by the kind of list."""

    def __init__(self):
        self.asked, self.faults, self.unknown_parameters, self.statuses = [], [], [], []
        self.url, self._server, self.lock = "", None, threading.RLock()

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.forge = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def with_code(self, git):
        """Answer on the host of a git server, which has the repositories; `opens` decides who may fetch them."""
        self.url, git.front, git.allows = git.url, self._in_front, self._lets_in
        git.users = {"everybody": "by opens"}
        with git:
            yield self

    def answer(self, asked):
        raise NotImplementedError

    def data_page(self, asked, entries, kind, size_name, most):
        """One page of a list of data: the entries, and whether there are more."""
        self.known(asked, kind)
        size, page = number(asked, size_name, 30, most), number(asked, "page", 1, 10**6)
        return entries[(page - 1) * size : page * size], page, page * size < len(entries)

    def opens(self, user, password):
        """Whether git may fetch with such a login; subclasses know their tokens."""
        raise NotImplementedError

    def _lets_in(self, header):
        kind, _, value = (header or "").partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":") if kind == "Basic" else ("", "", "")
        return bool(user) and self.opens(user, password)

    def _in_front(self, handler):
        if handler.command != "GET" or _GIT.search(urlsplit(handler.path).path):
            return False
        respond(self, handler)
        return True

    def fail(self, status, body=None, prefix="/", skip=0, times=1, **headers):
        """Answer with a status, later on or at once."""
        told = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        self.faults.append(Fault(Answer(status, body, told), prefix, skip, times))

    def cut(self, prefix="/", skip=0):
        """Break the connection in the middle of an answer."""
        self.faults.append(Fault(prefix=prefix, skip=skip, cut=True))

    def replied(self, asked):
        with self.lock:
            self.asked.append(asked)
            fault = self._fault(asked)
            if fault:
                return fault
            try:
                return self.answer(asked)
            except Refusal as refusal:
                return refusal.answer

    def known(self, asked, kind):
        """Take note of parameters that the documentation of a list does not have."""
        more = asked.query.keys() - self.parameters[kind]
        self.unknown_parameters += [(asked.path, name) for name in sorted(more)]

    def _fault(self, asked):
        for fault in self.faults:
            if asked.path.startswith(fault.prefix) and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault if fault.cut else fault.answer
        return None


def conditional(asked, answer, whose="", weak=False):
    """Give an answer its ETag, or 304 where the asker has it already; it differs from token to token."""
    text = json.dumps([answer.body, answer.headers.get("Link"), whose], sort_keys=True)
    etag = f'{"W/" if weak else ""}"{hashlib.sha256(text.encode()).hexdigest()}"'
    answer.headers["ETag"] = etag
    if asked.headers.get("if-none-match") == etag:
        return Answer(304, None, answer.headers)
    return answer


def link(base, asked, relation, **changes):
    """One entry of a Link header."""
    return f'<{base}?{urlencode({**asked.query, **changes})}>; rel="{relation}"'


def number(asked, name, default, most):
    """A number of the query, within its bounds."""
    text = asked.query.get(name, "")
    return min(max(int(text), 1), most) if text.isdigit() else default


def respond(forge, handler):
    """Write the answer to a request."""
    parts = urlsplit(handler.path)
    headers = {name.lower(): value for name, value in handler.headers.items()}
    asked = Asked(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers)
    reply = forge.replied(asked)
    if isinstance(reply, Fault):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n[")
        handler.close_connection = True
        return
    forge.statuses.append(reply.status)
    raw = isinstance(reply.body, bytes)
    body = reply.body if raw else b"" if reply.status == 304 else json.dumps(reply.body).encode()
    handler.send_response_only(reply.status)
    told = {"Date": formatdate(usegmt=True), "Content-Type": "text/html" if raw else "application/json"}
    for name, value in (told | reply.headers).items():
        handler.send_header(name, value)
    if reply.status != 304:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        respond(self.server.forge, self)

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
