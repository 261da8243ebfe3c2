"""Both ingresses, the real ones, side by side: what one does with a request, the other does too."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import os
import random
import re
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from autogit.core.render import render
from autogit.model.service import TIERS
from autogit.providers.ssl.authority import Authority, private_pem
from tests.catalogue.platforms import PLATFORMS, without
from tests.conftest import Workbench
from tests.tools import find_tool

pytestmark = pytest.mark.integration

PASSWORD = "canary-password-4711"
SIZING = "{minimal: 0.1C/32M, homelab: 0.1C/32M, team: 0.1C/32M, production: 0.1C/32M}"
RUNS = "runs: {embedded: {program: python}, container: {ingress_network: web}}\n"
HEAD = "service: NAME\nsummary: x\nimage: example/NAME:1.0\nsizing: " + SIZING + "\n" + RUNS
SERVICES = {
    # Every kind of route on one name; the port that answers tells which route was taken.
    "app": HEAD + r"""
ports: {http: {internal: 80}, git: {internal: 81}, api: {internal: 82}, small: {internal: 83},
  ssh: {internal: 22, preferred: 2222, via_ingress: true}}
routes:
  - {rate_limit: 0}
  - {name: git, port: git, path_regexp: '^/[^/?]+/[^?]*\.git/', rate_limit: 0, security_headers: false}
  - {name: api, port: api, path_prefix: /api, rate_limit: 0}
  - {name: small, port: small, path_prefix: /api/v4/small, rate_limit: 0, max_body_bytes: 1000}
  - {name: busy, port: small, path_prefix: /busy, rate_limit: 5}
  - {name: dots, port: small, path_prefix: /a.b/, rate_limit: 0}
""",
    "vault": HEAD + """
ports: {http: {internal: 80}, open: {internal: 81}}
settings: [{name: VAULT_PASSWORD, description: x, secret: true, generate: 32, htpasswd: admin}]
routes:
  - {name: admin, path_prefix: /admin, exposure: authenticated, rate_limit: 0}
  - {name: open, port: open, rate_limit: 0}
""",
    # Nothing listens on its port, and its name has only a route below a path.
    "gone": HEAD + "ports: {http: {internal: 80}}\nroutes: [{path_prefix: /below, rate_limit: 0}]\n",
}  # fmt: skip
PORTS = {
    "APP": "app/http", "APP_GIT": "app/git", "APP_API": "app/api", "APP_SMALL": "app/small", "APP_SSH": "app/ssh",
    "VAULT": "vault/http", "VAULT_OPEN": "vault/open", "GONE": "gone/http",
}  # fmt: skip
OWN_PORTS = ("http", "https", "ping", "metrics")
HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


# --- A platform of such services, its certificate and its password file ---------------------------------------------

# Below the range that the system takes for outgoing connections, and never one twice.
_CANDIDATES = iter(random.sample(range(10000, 20000), 10000))


def _ports(count):
    """Ports that nobody listens on, all different."""
    found = []
    while len(found) < count:
        number = next(_CANDIDATES)
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", number))
            found.append(number)
    return found


def _platform(root, ingress, runtime="embedded", tier="homelab"):
    """The spec of a project in `root`, with ports that are free right now."""
    bench = Workbench(root)
    bench.facts = replace(
        bench.facts, executables={name: f"/opt/bin/{name}" for name in ("traefik", "nginx", "python")}
    )
    for name, text in SERVICES.items():
        bench.add_service(name, text)
    own = [f"{ingress.upper()}_{name.upper()}" for name in OWN_PORTS[2:]]
    keys = ["HTTP_PORT", "HTTPS_PORT", *(f"PORT_{name}" for name in (*own, *PORTS))]
    ports = dict(zip(keys, _ports(len(keys)), strict=True))
    if runtime != "embedded":
        ports = {key: ports[key] for key in ("HTTP_PORT", "HTTPS_PORT", "PORT_APP_SSH")}
    lines = [f"RUNTIME={runtime}", f"INGRESS={ingress}", f"SIZE={tier}", f"SERVICES_ENABLED={','.join(SERVICES)}"]
    spec = bench.spec("\n".join([*lines, *(f"{key}={number}" for key, number in ports.items())]) + "\n")
    _certificate(spec)
    for secret in (secret for service in spec.services for secret in service.secrets):
        Path(secret.file).parent.mkdir(parents=True, mode=0o700)
        _private(Path(secret.file), b"admin:" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)) + b"\n")
    return spec


def _certificate(spec):
    wish, folder = spec.certificate, Path(spec.certificate.key).parent
    leaf, root, key = Authority(spec.paths.certs / "local-ca", wish.name).issue(wish.names, 90, datetime.now(UTC))
    folder.mkdir(parents=True)
    _private(Path(wish.key), private_pem(key))
    Path(wish.fullchain).write_bytes(leaf.public_bytes(Encoding.PEM))
    (spec.paths.certs / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))


def _private(path, content):
    path.write_bytes(content)
    path.chmod(0o600)


def _write(spec, change=lambda text: text):
    """Write what is rendered for the ingress where its program looks for it; return that folder."""
    for path, file in render(spec).files.items():
        if path.startswith(f"{spec.ingress}/"):
            (spec.paths.rendered / path).parent.mkdir(parents=True, exist_ok=True)
            (spec.paths.rendered / path).write_text(change(file.text))
    for folder in (spec.paths.data / spec.ingress, spec.paths.logs):
        folder.mkdir(parents=True, exist_ok=True)
    return spec.paths.rendered / spec.ingress


# --- Backends that tell what reached them ---------------------------------------------------------------------------


class _Backend(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, as JSON; /socket speaks a WebSocket's bytes back."""

    protocol_version = "HTTP/1.1"
    server_version = "canary-server/1.0"

    def answer(self):
        self.server.seen.append(self.path)
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._socket()
            return
        length = 0
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length") or 0)
            while left and (piece := self.rfile.read(min(left, 65536))):
                length += len(piece)
                left -= len(piece)
        body = json.dumps(
            {"port": self.server.name, "path": self.path, "headers": self.headers.items(), "length": length}
        ).encode()
        self.send_response(200)
        self.send_header("X-Powered-By", "canary-framework")
        self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

    def _socket(self):
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while piece := self.connection.recv(100):
            self.connection.sendall(b"heard " + piece)
        self.close_connection = True

    def log_message(self, *args):
        pass


class _Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"SSH-2.0-canary\r\n")
        while piece := self.request.recv(100):
            self.request.sendall(piece[::-1])


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """A client may go away."""


@contextlib.contextmanager
def _serving(port, handler, name=""):
    server = _Threads(("127.0.0.1", port), handler)
    server.name, server.seen = name, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


# --- The ingress as a process, and a client that writes exactly what it is told -------------------------------------


@dataclass
class Ingress:
    """A running ingress, its backends, and how to talk to it."""

    spec: object
    process: subprocess.Popen
    log: Path
    backends: dict = field(default_factory=dict)

    @property
    def name(self):
        return self.spec.ingress

    def port(self, name):
        return self.spec.ports[f"{self.name}/{name}"]

    def host(self, name):
        return f"{name}.{self.spec.base_domain}"

    def context(self, *, checked=True):
        context = ssl.create_default_context(cafile=self.spec.paths.certs / "root.pem")
        context.check_hostname = checked
        return context

    def connect(self, host, *, tls=True, checked=True):
        link = socket.create_connection(("127.0.0.1", self.port("https" if tls else "http")), 10)
        return self.context(checked=checked).wrap_socket(link, server_hostname=host) if tls else link

    def ask(self, name, path="/", method="GET", *, headers=(), body=None, connection=None, tls=True, checked=True):
        """One request to a service's name; `path` goes out as it is, `body` may be a list of pieces (chunked)."""
        host = name if "." in name else self.host(name)
        client = connection or http.client.HTTPConnection(host)
        client.sock = client.sock or self.connect(host, tls=tls, checked=checked)
        try:
            client.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            client.putheader("Host", f"{host}:{self.port('https')}")
            for header, value in headers:
                client.putheader(header, value)
            chunked = body is not None and not isinstance(body, bytes)
            if body is not None:
                client.putheader(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))))
            client.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):  # refused before its end
                if chunked:
                    client.send(b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*body, b"")))
                elif body:
                    client.send(body)
            with client.getresponse() as answer:
                return Answer(answer.status, answer.headers, answer.read())
        finally:
            if connection is None:
                client.close()

    def reached(self):
        """What backends have seen so far."""
        return [path for backend in self.backends.values() for path in backend.seen]


@dataclass
class Answer:
    status: int
    headers: object
    body: bytes

    @property
    def seen(self):
        """What the backend says it was asked."""
        assert self.status == 200, (self.status, self.body)
        return json.loads(self.body)


def _login(password):
    return ("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())


def _command(spec, program, folder):
    if spec.ingress == "nginx":
        return [program, "-e", "stderr", "-c", str(folder / "nginx.conf")]
    return [program, f"--configFile={folder / 'traefik.yml'}"]


@contextlib.contextmanager
def _running(command, log, port, cwd):
    """A process with its output in `log`, from when `port` is listened on; ended as its own stop signal would."""
    with log.open("ab") as output:  # nginx opens it a second time, by /dev/stdout
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd)
    try:
        deadline = time.monotonic() + 15
        while not _listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def start(request, tmp_path_factory):
    """A function that returns a running ingress by its name; each is started once."""
    with contextlib.ExitStack() as stack:
        started = {}

        def begin(name):
            program = request.getfixturevalue(name)
            for _ in range(3):  # a port that was free may be taken by the time it is wanted
                if name not in started or "in use" in str(started[name]):
                    try:
                        started[name] = _begin(stack, program, name, tmp_path_factory.mktemp(name))
                    except (AssertionError, OSError) as exc:
                        started[name] = exc
            if isinstance(started[name], Exception):
                raise started[name]
            return started[name]

        yield begin


def _begin(stack, program, name, root):
    spec = _platform(root, name)
    (ssh,) = _ports(1)

    def change(text):
        # Idle times are lowered, so that a body that takes longer than they are shows that they do not cut it.
        text = re.sub(r"(idleTimeout: |client_body_timeout |send_timeout )\d+s", r"\g<1>1s", text)
        # As a process of the host a service has but one number for this port, and here the ingress listens on it.
        return re.sub(
            rf'(- address: |set \$backend )"127\.0\.0\.1:{spec.ports["app/ssh"]}"', rf'\1"127.0.0.1:{ssh}"', text
        )

    folder = _write(spec, change)
    stack.enter_context(_serving(ssh, _Echo))
    backends = {
        place: stack.enter_context(_serving(spec.ports[place], _Backend, place))
        for place in PORTS.values()
        if place not in {"gone/http", "app/ssh"}
    }
    log = spec.paths.logs / f"{name}.log"
    command = _command(spec, program, folder)
    process = stack.enter_context(_running(command, log, spec.ports[f"{name}/https"], spec.paths.data / name))
    one = Ingress(spec, process, log, backends)
    deadline = time.monotonic() + 10
    while not _is_ready(one):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return one


def _is_ready(ingress):
    """Traefik listens before it has read its routes and its certificate."""
    try:
        return ingress.ask("app").status == 200
    except OSError:
        return False


@pytest.fixture(params=["traefik", "nginx"])
def ingress(request, start):
    return start(request.param)


# --- What a user of either would miss -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "port"),
    [
        ("/", "app/http"),
        ("/apiary", "app/api"),  # a prefix is of characters, not of segments
        ("/api/v4/projects", "app/api"),
        ("/api/v4/small/x", "app/small"),
        ("/group/project.git/info/refs", "app/git"),
        ("/group%2Fsub/project.git/info/refs", "app/git"),
        ("/api/v4/small.git/info/refs", "app/git"),  # the longer rule, not the longer match
        ("/a.b/x", "app/small"),
        ("/axb/x", "app/http"),  # a dot in a prefix is a dot
        ("/a.b", "app/http"),
        ("/API/v4", "app/http"),
    ],
)
def test_the_most_specific_route_is_taken(ingress, path, port):
    assert ingress.ask("app", path).seen["port"] == port


def test_a_name_that_is_not_ours_reaches_no_backend(ingress):
    before = ingress.reached()
    for name in (f"nobody.{ingress.spec.base_domain}", "app.example.org", ingress.spec.base_domain):
        assert ingress.ask(name, checked=False).status == 404
    assert ingress.reached() == before


def test_a_path_without_a_route_reaches_no_backend(ingress):
    assert ingress.ask("gone", "/above").status == 404


def test_a_backend_that_is_down_is_a_bad_gateway_and_disturbs_nobody(ingress):
    assert ingress.ask("gone", "/below").status == 502
    assert ingress.ask("app").status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_is_sent_to_https_for_good(ingress, method):
    answer = ingress.ask("app", "/x%2Fy?z=1", method, tls=False, body=b"" if method == "POST" else None)
    assert answer.status in {301, 308}
    assert method == "GET" or answer.status == 308  # another status would turn the request into a GET
    assert answer.headers["Location"] == f"https://{ingress.host('app')}:{ingress.port('https')}/x%2Fy?z=1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_is_1_2_or_newer(ingress):
    assert _handshake(ingress, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert _handshake(ingress, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):  # said by the server, not by us
        _handshake(ingress, ssl.TLSVersion.TLSv1_1)


def _handshake(ingress, version):
    context = ingress.context()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", ingress.port("https")), 5) as link,
        context.wrap_socket(link, server_hostname=ingress.host("app")) as secured,
    ):
        return secured.version()


def test_the_backend_s_software_is_not_told_and_security_headers_are_ours(ingress):
    for name, path, login in (("app", "/", ()), ("vault", "/admin", ()), ("vault", "/admin", (_login(PASSWORD),))):
        headers = ingress.ask(name, path, headers=login).headers
        assert {key: headers.get_all(key) for key in HEADERS} == {key: [value] for key, value in HEADERS.items()}
        assert headers["X-Powered-By"] is None
        assert headers["Server"] in {None, "nginx"}  # no version


def test_a_route_that_keeps_its_own_headers_keeps_them_but_for_hsts(ingress):
    headers = ingress.ask("app", "/g/p.git/x").headers
    assert headers.get_all("X-Frame-Options") == ["SAMEORIGIN"]
    assert headers["Referrer-Policy"] is None
    assert headers["Strict-Transport-Security"] == HEADERS["Strict-Transport-Security"]  # of the way in, not of theirs


def test_both_send_the_same_headers(start):
    both = {}
    for name in ("traefik", "nginx"):
        found = start(name).ask("app").headers
        both[name] = {key.lower(): value for key, value in found.items()} | {"server": "", "date": "", "connection": ""}
        both[name].pop("content-length")
    assert both["traefik"] == both["nginx"]


def test_an_authenticated_route_asks_for_the_password_and_keeps_it_to_itself(ingress):
    before = len(ingress.backends["vault/http"].seen)
    for login in ((), (_login("wrong"),), (("Authorization", "Bearer x"),)):
        answer = ingress.ask("vault", "/admin/x", headers=login)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="vault-admin"'
    assert len(ingress.backends["vault/http"].seen) == before
    seen = ingress.ask("vault", "/admin/x", headers=[_login(PASSWORD)]).seen
    assert "authorization" not in {key.lower() for key, _ in seen["headers"]}
    assert ("Authorization", "Bearer x") in _headers(ingress.ask("app", headers=[("Authorization", "Bearer x")]))


def _headers(answer):
    return [tuple(pair) for pair in answer.seen["headers"]]


@pytest.mark.parametrize(
    "path",
    ["/admin", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/x/%2e%2e/admin", "/x/.%2e/admin", "/admin%2fx"],
)
def test_no_spelling_of_a_path_gets_around_the_password(ingress, path):
    ingress.backends["vault/open"].seen.clear()
    assert ingress.ask("vault", path).status in {301, 308, 400, 401}
    assert ingress.backends["vault/open"].seen == []


@pytest.mark.parametrize("path", ["/x%5Cy", "/x%00y"])
def test_paths_without_honest_use_are_refused(ingress, path):
    before = ingress.reached()
    assert ingress.ask("app", path).status == 400
    assert ingress.reached() == before


@pytest.mark.parametrize("path", ["/../etc", "/..%2f..%2fetc", "/x%2f%2e%2e%2fy", "/x/..;/y", "/x\\..\\y"])
def test_dot_segments_are_refused_where_paths_are_passed_on_as_they_came(start, path):
    nginx = start("nginx")
    before = nginx.reached()
    assert nginx.ask("app", path).status == 400
    assert nginx.reached() == before


def test_honest_paths_with_dots_pass(ingress):
    for path in ("/a/...b/c", "/a/.gitignore", "/compare/v1...v2", "/a..b", "/.well-known/x"):
        assert ingress.ask("app", path).seen["path"] == path


@pytest.mark.parametrize(
    "path", ["/api/v4/projects/a%2Fb%2Fc/x?y=%2F&z=a+b", "/a%20b/%C3%BC", "/x%3Fy%23z", "/q?a=/../b"]
)
def test_an_encoded_path_reaches_the_backend_unchanged(ingress, path):
    assert ingress.ask("app", path).seen["path"] == path


def test_what_a_client_says_of_itself_is_not_believed(ingress):
    claims = {
        "X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "6",
        "X-Forwarded-Host": "evil.test", "X-Forwarded-Prefix": "/6", "X_Forwarded_For": "6.6.6.6",
        "X-Forwarded-Server": "evil.test", "X-Forwarded-Uri": "/evil", "X-Forwarded-Method": "EVIL",
    }  # fmt: skip
    host = f"{ingress.host('app')}:{ingress.port('https')}"
    found = _headers(ingress.ask("app", headers=claims.items()))
    values = {key.lower(): value for key, value in found}
    assert max(Counter(key.lower() for key, _ in found).values()) == 1
    assert {
        "x-forwarded-for": "127.0.0.1",
        "x-real-ip": "127.0.0.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": host,
        "x-forwarded-port": str(ingress.port("https")),
        "host": host,
    }.items() <= values.items()
    assert not re.search(r"6\.6\.6\.6|evil|EVIL|/6", json.dumps(found))


def test_too_many_requests_are_answered_429_and_other_routes_are_not_touched(ingress):
    before = len(ingress.backends["app/small"].seen)
    client = http.client.HTTPConnection("x")
    statuses = [ingress.ask("app", "/busy", connection=client).status for _ in range(40)]
    client.close()
    passed = statuses.count(200)
    assert set(statuses[:10]) == {200}, "the burst of twice the rate passes"
    assert passed + statuses.count(429) == 40
    assert passed <= 20
    assert len(ingress.backends["app/small"].seen) - before == passed
    assert ingress.ask("app").status == 200


def test_a_body_over_the_limit_is_413_and_only_on_its_route(ingress):
    assert ingress.ask("app", "/api/v4/small", "POST", body=b"x" * 1000).seen["length"] == 1000
    assert ingress.ask("app", "/api/v4/small", "POST", body=b"x" * 1001).status == 413
    assert ingress.ask("app", "/api/v4/small", "POST", body=[b"x" * 600] * 2).status == 413
    large = 20 * 1024**2
    assert ingress.ask("app", "/g/p.git/git-receive-pack", "POST", body=b"x" * large).seen["length"] == large
    assert ingress.ask("app", "/", "POST", body=[b"x" * 65536] * 160).seen["length"] == 65536 * 160


def test_a_body_that_takes_longer_than_the_idle_time_passes(ingress):
    def slowly():
        for _ in range(6):
            time.sleep(0.4)
            yield b"x" * 10

    assert _send_in_pieces(ingress, slowly()).seen["length"] == 60


def _send_in_pieces(ingress, pieces):
    host = ingress.host("app")
    client = http.client.HTTPConnection(host)
    client.sock = ingress.connect(host)
    with contextlib.closing(client):
        client.request("POST", "/g/p.git/git-receive-pack", pieces, {"Host": host}, encode_chunked=True)
        with client.getresponse() as answer:
            return Answer(answer.status, answer.headers, answer.read())


def test_a_websocket_passes_both_ways(ingress):
    host = ingress.host("app")
    with ingress.connect(host) as link:
        link.sendall(
            f"GET /socket?token=canary HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n".encode()
        )
        with link.makefile("rb") as lines:
            assert lines.readline().split()[1] == b"101"
            headers = http.client.parse_headers(lines)
            assert headers["Upgrade"] == "websocket"
            for word in (b"one", b"two"):
                link.sendall(word)
                assert lines.read(9) == b"heard " + word


def test_a_tcp_route_passes_both_ways(ingress):
    address = ("127.0.0.1", ingress.spec.ports["app/ssh"])
    with socket.create_connection(address, 5) as link, link.makefile("rb") as lines:
        assert lines.readline() == b"SSH-2.0-canary\r\n"
        link.sendall(b"abc")
        assert lines.read(3) == b"cba"


def test_the_access_log_tells_the_request_and_nothing_secret(ingress):
    ingress.ask(
        "app", "/logged/x%2Fy?private_token=canary-query", headers=[_login("canary-login"), ("User-Agent", "u/1")]
    )
    ingress.ask("vault", "/admin?token=canary-query", headers=[_login(PASSWORD)])
    ingress.ask("gone", "/below?token=canary-query", headers=[_login("canary-login")])
    ingress.ask("app", "/api/v4/small?token=canary-query", "POST", body=b"x" * 1001)
    deadline = time.monotonic() + 5
    while not re.search(r'"/below".*"/api/v4/small"', text := ingress.log.read_text(), re.DOTALL):
        assert time.monotonic() < deadline, text[-500:]
        time.sleep(0.05)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    line = next(x for x in lines if x.get("RequestPath", "").startswith("/logged"))
    wished = {"RequestMethod": "GET", "RequestPath": "/logged/x%2Fy", "DownstreamStatus": 200, "OriginStatus": 200}
    assert wished.items() <= line.items()
    assert line["RequestHost"] == ingress.host("app")
    assert line["ClientHost"] == "127.0.0.1"
    assert line["RouterName"].partition("@")[0] == "app"
    assert line["request_User-Agent"] == "u/1"
    assert 0 <= line["Duration"] < 5e9
    for secret in ("canary-query", "canary-login", PASSWORD, _login(PASSWORD)[1], _login("canary-login")[1]):
        assert secret not in text  # of requests and of faults: both are in the one file


def test_health_and_metrics_are_on_inner_ports(ingress):
    def inner(port, path):
        client = http.client.HTTPConnection("127.0.0.1", ingress.port(port), timeout=5)
        client.request("GET", path)
        with client.getresponse() as answer:
            found = (answer.status, answer.read().decode())
        client.close()
        return found

    assert inner("ping", "/ping") == (200, "OK")
    status, text = inner("metrics", "/metrics")
    assert status == 200
    assert re.search(r"^(nginx_connections_active|traefik_open_connections\{.*\}) [1-9]", text, re.MULTILINE)
    if promtool := find_tool("promtool"):
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert ingress.name == "traefik" or (done.returncode, done.stderr) == (0, "")


def test_nothing_was_warned_of_meanwhile(ingress):
    assert _complaints(ingress.log.read_text()) == []


def _complaints(text):
    """Lines of Traefik's and nginx' logs that tell of something wrong, but for too large bodies and not being root."""
    provoked = re.compile(r'Maximum size \d+ was reached|the "user" directive makes sense only')
    lines = [x for x in text.splitlines() if re.search(r"\b(WRN|ERR|FTL)\b|\[(warn|error|crit|alert|emerg)\]", x)]
    return [line for line in lines if not provoked.search(line)]


# --- What is rendered, in every form, is taken by the program that it is for -----------------------------------------


class _Engine(http.server.BaseHTTPRequestHandler):
    """As much of a Docker Engine as Traefik asks for: no containers, and nothing happens."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = re.sub(r"^/v1\.\d+", "", self.path).partition("?")[0]
        answers = {"/_ping": "OK", "/version": {"ApiVersion": "1.44", "Version": "27.0"}, "/containers/json": []}
        body = json.dumps(answers.get(path, {})).encode()
        self.send_response(200)
        self.send_header("Api-Version", "1.44")
        self.send_header("Content-Type", "application/json")
        if path == "/events":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.connection.settimeout(20)
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - as above

    def log_message(self, *args):
        pass


class _Names(socketserver.BaseRequestHandler):
    """As much of the Engine's name server as nginx asks for: the names it knows are on loopback."""

    def handle(self):
        question, link = self.request
        end = question.index(b"\0", 12) + 5
        is_known = question[13 : 13 + question[12]].decode() in self.server.known
        code, count, record = (b"\x81\x80", b"\0\1", b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1")
        if not is_known:
            code, count, record = (b"\x81\x83", b"\0\0", b"")
        header = question[:2] + code + b"\0\1" + count + b"\0\0\0\0"
        link.sendto(header + question[12:end] + record, self.client_address)


@contextlib.contextmanager
def _name_server(port):
    with socketserver.UDPServer(("127.0.0.1", port), _Names) as server:
        server.known = set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@dataclass(frozen=True)
class _StandIns:
    """Ports here of what a container finds on its networks."""

    engine: int
    names: int
    app: int


def _on_this_machine(spec, stand_ins, version=(99, 0, 0)):
    """What a container has and this machine lacks: paths of mounts, a /tmp and low ports of its own, the user nginx,
    neighbours by name; and perhaps an nginx that is new enough for `http2`.
    """
    inner = _ports(2)
    own = {80: spec.ports[f"{spec.ingress}/http"], 443: spec.ports[f"{spec.ingress}/https"]}
    own |= {8082: inner[0], 8083: inner[1]}

    def change(text):
        for inside, here in (
            ('"/tmp/', f'"{spec.paths.data}/{spec.ingress}/'),  # first: the others may lie below /tmp here
            ("/etc/autogit/certs", spec.paths.certs),
            ("/etc/autogit/traefik", spec.paths.rendered / "traefik"),
            ("/etc/autogit/nginx", spec.paths.rendered / "nginx"),
            ("/run/autogit/htpasswd", spec.paths.passwords),
            ("user nginx;", "user daemon;"),
            ("resolver 127.0.0.11 ", f"resolver 127.0.0.1:{stand_ins.names} "),
            ('"http://app:80"', f'"http://app:{stand_ins.app}"'),
            ("tcp://socket-proxy:2375", f"tcp://127.0.0.1:{stand_ins.engine}"),
        ):
            text = text.replace(inside, str(here))
        text = re.sub(r'(listen "\*:|address: ":)(\d+)"', lambda m: f'{m[1]}{own.get(int(m[2]), m[2])}"', text)
        return text if version >= (1, 25, 1) else re.sub(r" *http2 on;.*\n", "", text)

    return change


def _version(program):
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return tuple(int(part) for part in re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", said).groups())


def _changed_for(spec, program):
    stand_ins = _StandIns(*_ports(3))
    version = _version(program) if spec.ingress == "nginx" else (99, 0, 0)
    return stand_ins, _on_this_machine(spec, stand_ins, version) if spec.in_containers else lambda text: text


@pytest.mark.parametrize("runtime", ["embedded", "docker"])
@pytest.mark.parametrize("tier", TIERS)
def test_nginx_takes_what_is_rendered_without_a_word(nginx, tmp_path, tier, runtime):
    spec = _platform(tmp_path, "nginx", runtime, tier)
    _, change = _changed_for(spec, nginx)
    folder = _write(spec, change)
    done = subprocess.run([*_command(spec, nginx, folder), "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _complaints(done.stderr) == []


@pytest.mark.parametrize("runtime", ["embedded", "docker"])
@pytest.mark.parametrize("tier", TIERS)
def test_traefik_starts_on_what_is_rendered_without_a_warning(traefik, tmp_path, tier, runtime):
    spec = _platform(tmp_path, "traefik", runtime, tier)
    with contextlib.ExitStack() as stack:
        one = _as_rendered(stack, traefik, spec)
        time.sleep(0.3)  # what it has to say of its providers comes a moment later
        assert re.search(r"Starting provider \*file\.Provider", one.log.read_text())
        assert ("*docker.Provider" in one.log.read_text()) == spec.in_containers
        assert _complaints(one.log.read_text()) == []


def _as_rendered(stack, program, spec, prefix=()):
    """The running ingress of a spec of any runtime, with stand-ins for what its container would find around it."""
    stand_ins, change = _changed_for(spec, program)
    folder = _write(spec, change)
    engine = stack.enter_context(_serving(stand_ins.engine, _Engine))
    names = stack.enter_context(_name_server(stand_ins.names))
    app = stack.enter_context(_serving(stand_ins.app, _Backend, "app/http"))
    log = spec.paths.logs / "output.log"
    command = [*prefix, *_command(spec, program, folder)]
    port = spec.ports[f"{spec.ingress}/https"]
    # Plugins are looked for where Traefik runs.
    place = folder if (folder / "plugins-local").is_dir() else spec.paths.data / spec.ingress
    process = stack.enter_context(_running(command, log, port, place))
    return Ingress(spec, process, log, {"engine": engine, "names": names, "app/http": app})


def _platform_of_the_catalogue(root, name, tier):
    """The spec of one of the catalogue's platforms in a tier, with ports that are free right now."""
    bench = Workbench(root)
    bench.facts = replace(bench.facts, cpus=64, memory_bytes=256 * 1024**3)
    env = without(PLATFORMS[name], "SIZE", "HTTP_PORT", "HTTPS_PORT", "SSH_PORT", "BIND_ADDRESS")
    ports = dict(zip(("HTTP_PORT", "HTTPS_PORT", "SSH_PORT"), _ports(3), strict=True))
    spec = bench.spec(f"{env}SIZE={tier}\n" + "".join(f"{key}={number}\n" for key, number in ports.items()))
    _certificate(spec)
    for secret in (secret for service in spec.services for secret in service.secrets if secret.htpasswd_user):
        Path(secret.file).parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        _private(Path(secret.file), b"admin:" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)) + b"\n")
    return spec


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", [name for name in PLATFORMS if name.startswith("nginx")])
def test_nginx_takes_every_platform_of_the_catalogue(nginx, tmp_path, name, tier):
    spec = _platform_of_the_catalogue(tmp_path, name, tier)
    folder = _write(spec, _changed_for(spec, nginx)[1])
    done = subprocess.run([*_command(spec, nginx, folder), "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _complaints(done.stderr) == []


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", [name for name in PLATFORMS if name.startswith("traefik")])
def test_traefik_starts_on_every_platform_of_the_catalogue_without_a_warning(traefik, tmp_path, name, tier):
    spec = _platform_of_the_catalogue(tmp_path, name, tier)
    with contextlib.ExitStack() as stack:
        one = _as_rendered(stack, traefik, spec)
        deadline = time.monotonic() + 10
        while _status(one, spec.routes[0].host) not in (401, 502):  # its backend is not here
            assert time.monotonic() < deadline, one.log.read_text()
            time.sleep(0.05)
        assert _complaints(one.log.read_text()) == []


def _status(ingress, host):
    """What a host's root is answered with, 0 while nobody speaks TLS there yet."""
    try:
        return ingress.ask(host, "/").status
    except OSError:
        return 0


def test_in_a_container_nginx_starts_without_its_backends_and_finds_them_when_they_come(nginx, tmp_path):
    spec = _platform(tmp_path, "nginx", "docker")
    with contextlib.ExitStack() as stack:
        one = _as_rendered(stack, nginx, spec)
        assert one.ask("app", "/x%2Fy").status == 502
        one.backends["names"].known.add("app")
        assert one.ask("app", "/x%2Fy").seen["path"] == "/x%2Fy"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give capabilities up")
@pytest.mark.parametrize("name", ["traefik", "nginx"])
def test_a_container_s_capabilities_suffice_where_another_user_runs_autogit(request, name):
    """The certificate's key is 0600 of that user; root without capabilities could not read it."""
    root = Path(tempfile.mkdtemp(prefix="autogit-"))
    root.chmod(0o755)  # workers have a user of their own, and a container's mounts have nothing above them
    try:
        spec = _platform(root, name, "docker")
        for path in (spec.paths.certs, *spec.paths.certs.rglob("*"), *spec.paths.passwords.iterdir()):
            os.chown(path, 4711, 4711)
            path.chmod(0o700 if path.is_dir() else 0o600)
        for path in spec.paths.passwords.iterdir():
            path.chmod(0o444)  # as AutoGit writes it for containers
        for path in (spec.paths.state, spec.paths.secrets, spec.paths.passwords):
            path.chmod(0o755)
        run = next(s.descriptor.runs.container for s in spec.running if s.name == name)
        bounding = ",".join(["-all", *(f"+{word.lower()}" for word in run.cap_add)])
        prefix = ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}"]
        if run.user == "{{ owner }}":
            prefix += ["--reuid=4711", "--regid=4711", "--clear-groups"]
        with contextlib.ExitStack() as stack:
            one = _as_rendered(stack, request.getfixturevalue(name), spec, prefix)
            deadline = time.monotonic() + 5
            while not _asks_for_a_password(one):
                assert time.monotonic() < deadline, one.log.read_text()
                time.sleep(0.05)
            assert one.ask("vault", "/admin", headers=[_login("wrong")]).status == 401
            assert one.ask("vault", "/admin", headers=[_login(PASSWORD)]).status == 502  # past the password
            assert _complaints(one.log.read_text()) == []
    finally:
        shutil.rmtree(root)


def _asks_for_a_password(ingress):
    try:
        return ingress.ask("vault", "/admin").status == 401
    except OSError:
        return False


@pytest.mark.parametrize("name", ["traefik", "nginx"])
def test_changed_routes_are_in_force_without_cutting_what_is_under_way(request, tmp_path_factory, name):
    with contextlib.ExitStack() as stack:
        one = _begin(stack, request.getfixturevalue(name), name, tmp_path_factory.mktemp(name))

        def leads_to(path, backend):
            return one.ask("app", path).seen["port"] == backend

        sent = []

        def until(condition):
            """Keep sending: the idle time of this ingress is a second, however slow the machine is."""
            deadline = time.monotonic() + 10
            while True:
                sent.append(b"x" * 10)
                yield sent[-1]
                if condition():
                    return
                assert time.monotonic() < deadline, one.log.read_text()
                time.sleep(0.05)

        def pieces():  # asked for after the headers are sent: by then the request may be under way
            yield from until(lambda: len(one.reached()) > before)  # it is under way, by the old routes
            _move(one, "/busy", "/moved")
            yield from until(lambda: leads_to("/moved", "app/small"))
            sent.append(b"y" * 10)
            yield sent[-1]

        assert leads_to("/moved", "app/http")
        before = len(one.reached())
        assert _send_in_pieces(one, pieces()).seen["length"] == len(b"".join(sent))
        # An old worker may still take a connection that came before it was told to end.
        _wait(lambda: leads_to("/busy", "app/http"), one)
        assert _complaints(one.log.read_text()) == []


def _wait(condition, ingress, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, ingress.log.read_text()
        time.sleep(0.05)


def _move(ingress, old, new):
    """Write the routes anew as AutoGit does, whole and at once; nginx is told, Traefik notices."""
    folder = ingress.spec.paths.rendered / ingress.name
    path = folder / ("nginx.conf" if ingress.name == "nginx" else "dynamic/routes.yml")
    path.with_suffix(".new").write_text(path.read_text().replace(old, new))
    path.with_suffix(".new").replace(path)
    if ingress.name == "nginx":
        ingress.process.send_signal(signal.SIGHUP)
