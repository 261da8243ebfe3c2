"""What stands before Pebble: it writes down every request, adds what old Pebbles lack, and answers badly when told to.

Pebble makes its URLs from the Host header, so all of a client's requests come through here, signatures intact. ARI
(RFC 9773) and profiles are added to the directory; windows are served here. Pebble's own paths are the constants.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

DIRECTORY, NEW_NONCE, NEW_ACCOUNT, NEW_ORDER = "/dir", "/nonce-plz", "/sign-me-up", "/order-plz"
FINALISE, ORDER, AUTHORIZATION, CHALLENGE = "/finalize-order/", "/my-order/", "/authZ/", "/chalZ/"
CERTIFICATE, REVOKE, KEY_CHANGE, ACCOUNT, RENEWAL_INFO = "/certZ/", "/revoke-cert", "/rollover", "/my-account/", "/ari/"


@dataclass
class Request:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def protected(self):
        """The JWS's protected header."""
        return json.loads(_bytes(json.loads(self.body)["protected"]))

    @property
    def payload(self):
        """The JWS's payload, None for a POST-as-GET."""
        text = _bytes(json.loads(self.body)["payload"])
        return json.loads(text) if text else None

    @property
    def open_text(self):
        """All that a server can read of it: every part of the JWS decoded, those inside its payload as well."""
        return _opened(self.body.decode())


@dataclass
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def problem(status, code, detail="", **headers):
    """An ACME problem document; header names have `_` for `-`."""
    body = json.dumps({"type": f"urn:ietf:params:acme:error:{code}", "detail": detail or f"about {code}"}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/problem+json", **named})


def altered(**changes):
    """What makes an answer of the server one with other JSON in it; `headers` are added."""
    headers = changes.pop("headers", {})

    def change(_request, forward):
        answer = forward()
        answer.body = json.dumps({**json.loads(answer.body), **changes}).encode()
        answer.headers.update(headers)
        return answer

    return change


class DirectoryShim:
    """The shim before a Pebble. `windows` are (start, end, other JSON, headers) by certificate id, "" for all."""

    def __init__(self, pebble):
        self.pebble = pebble
        self.requests: list[Request] = []
        self.profiles: dict[str, str] = {}
        self.windows: dict[str, Answer] = {}
        self.ari = True
        self._rules: list[tuple[str, str, Callable[[Request, Callable[[], Answer]], Answer], list[int]]] = []
        self._stopping = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pebble.ca_file, pebble.key_file)
        self._server = _Server(self, context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self):
        return self._server.server_address[1]

    @property
    def directory_url(self):
        return f"https://127.0.0.1:{self.port}{DIRECTORY}"

    def server(self, **told):
        """It as a client is told of it."""
        return self.pebble.server(directory_url=self.directory_url, **told)

    def when(self, path, answer, *, times=1, method="POST"):
        """Give an answer, or what a function of (request, forward) makes of it, for the next requests to a path."""
        made = answer if callable(answer) else lambda _request, _forward: answer
        self._rules.append((method, path, made, [times]))

    def lose(self, path, *, times=1, method="POST"):
        """Let requests to a path land, and lose their answers."""

        def lost(_request, forward):
            forward()
            return Answer(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"})

        self.when(path, lost, times=times, method=method)

    def hang(self, path, *, times=1, method="POST"):
        """Answer requests to a path when the shim stops, and no earlier."""

        def hung(_request, _forward):
            self._stopping.wait(60)
            return Answer(503)

        self.when(path, hung, times=times, method=method)

    def window(self, start, end, *, certificate="", headers=None, **more):
        """Serve a renewal window (texts, RFC 3339)."""
        body = json.dumps({"suggestedWindow": {"start": start, "end": end}, **more}).encode()
        self.windows[certificate] = Answer(200, body, {"Content-Type": "application/json", **(headers or {})})

    def sent(self, path):
        """The POSTs to a path so far."""
        return [one for one in self.requests if one.method == "POST" and one.path.startswith(path)]

    def answer(self, request):
        self.requests.append(request)
        for method, path, made, left in self._rules:
            if left[0] > 0 and request.method == method and request.path.startswith(path):
                left[0] -= 1
                return made(request, lambda: self._forwarded(request))
        if request.path.startswith(RENEWAL_INFO):
            certificate = request.path.removeprefix(RENEWAL_INFO)
            return self.windows.get(certificate) or self.windows.get("") or problem(404, "malformed", "no such one")
        return self._forwarded(request)

    def start(self):
        self._thread.start()

    def stop(self):
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _forwarded(self, request):
        connection = http.client.HTTPSConnection("127.0.0.1", self.pebble.port, context=self.pebble.trust(), timeout=30)
        kept = {k: v for k, v in request.headers.items() if k.lower() not in {"connection", "accept-encoding"}}
        try:
            connection.request(request.method, request.path, request.body or None, kept)
            with connection.getresponse() as came:
                answer = Answer(came.status, came.read(), {})
                skipped = {"content-length", "connection", "transfer-encoding"}
                for name, value in came.getheaders():
                    if name.lower() not in skipped:
                        # Several Link headers are one with commas (RFC 9110 section 5.3).
                        answer.headers[name] = f"{answer.headers[name]}, {value}" if name in answer.headers else value
        finally:
            connection.close()
        return self._with_more(answer) if request.path == DIRECTORY else answer

    def _with_more(self, answer):
        found = json.loads(answer.body)
        if self.ari:
            found["renewalInfo"] = f"https://127.0.0.1:{self.port}{RENEWAL_INFO.rstrip('/')}"
        if self.profiles:
            found.setdefault("meta", {})["profiles"] = self.profiles
        return Answer(answer.status, json.dumps(found).encode(), answer.headers)


class _Server(http.server.ThreadingHTTPServer):
    """Each connection has a thread, which does the handshake too; one request each."""

    def __init__(self, shim, context):
        self.shim, self.context = shim, context
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self):
        plain, address = super().get_request()
        return self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, _request, _address):
        """Clients that hang up are what the tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.shim.answer(Request(self.command, self.path, dict(self.headers.items()), body))
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = _serve  # noqa: N815 - the names that the standard library looks for

    def log_message(self, *_args):
        """Say nothing."""


@contextlib.contextmanager
def directory_shim(pebble):
    """Run one before a Pebble."""
    shim = DirectoryShim(pebble)
    shim.start()
    try:
        yield shim
    finally:
        shim.stop()


def _opened(text):
    """A text with all base64url of JSON in it decoded, however deep."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if isinstance(found, dict):
        return json.dumps({key: _inner(value) for key, value in found.items()})
    return text


def _inner(value):
    if isinstance(value, dict):
        return {key: _inner(one) for key, one in value.items()}
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            decoded = _bytes(value).decode()
            if decoded.startswith("{"):
                return _inner(json.loads(decoded))
    return value


def _bytes(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
