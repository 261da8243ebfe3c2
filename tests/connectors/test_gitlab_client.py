"""The client of GitLab against the fake: patience, errors in sentences, and no way for a token out."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydantic import SecretStr

from autogit.connectors.gitlab import LONGEST_WAIT_SECONDS, GitLabClient, GitLabPlace
from autogit.connectors.gitlab_errors import wait_seconds
from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)

CANARY = "glpat-canary-4f1a-canary-token"


@pytest.fixture
def client(world):
    return GitLabClient(world.place(), SecretStr(world.fake.seed_admin_token(["api", "admin_mode"], "autogit")))


def with_token(world, token):
    return GitLabClient(world.place(), SecretStr(token))


def caught(work):
    with pytest.raises(AutogitError) as found:
        work()
    return found.value


def shown(error):
    parts = [error.message, error.hint, *error.context, *error.args, repr(error)]
    while error is not None:
        parts.append(repr(error))
        parts.extend(map(repr, getattr(error, "__dict__", {}).values()))
        error = error.__cause__
    return "\n".join(parts)


def test_it_reads_every_page_and_its_links_need_not_lead_here(world, client):
    for number in range(230):
        world.fake.seed_user(f"user{number}")
    assert len(client.list_all("/users")) == 231


class TestRefusals:
    def test_a_token_that_nobody_has(self, world):
        error = caught(lambda: with_token(world, CANARY).get("/user"))
        assert type(error) is ProviderAuthError
        assert error.message == "gitlab: does not know the token"
        assert "autogit gitlab bootstrap" in error.hint
        assert CANARY not in shown(error)

    def test_an_expired_and_a_revoked_one_say_so(self, world):
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        old = world.fake.seed_admin_token(expires_at=yesterday)
        assert caught(lambda: with_token(world, old).get("/user")).message == "gitlab: the token has expired"
        gone = with_token(world, world.fake.seed_admin_token())
        gone.delete("/personal_access_tokens/self")
        assert caught(lambda: gone.get("/user")).message == "gitlab: the token was revoked"

    def test_a_missing_scope_is_named(self, world):
        reader = with_token(world, world.fake.seed_admin_token(["read_repository"]))
        error = caught(lambda: reader.get("/groups"))
        assert type(error) is ProviderAuthError
        assert "lacks a scope: this needs api or read_api" in error.message

    def test_who_is_no_administrator(self, world):
        world.fake.seed_user("ada")
        error = caught(lambda: with_token(world, world.fake.seed_token("ada")).get("/application/settings"))
        assert type(error) is ProviderAuthError
        assert "may not do this" in error.message

    def test_what_is_not_there_is_taken_or_is_wrong(self, client):
        assert type(caught(lambda: client.get("/groups/none"))) is MissingError
        client.post("/groups", name="Ops", path="ops")
        error = caught(lambda: client.post("/groups", name="Ops", path="ops"))
        assert type(error) is RejectedError
        assert "has already been taken" in error.message
        made = {"username": "ada", "name": "Ada", "email": "ada@example.com", "password": "long enough 1"}
        client.post("/users", **made)
        error = caught(lambda: client.post("/users", **made))
        assert (type(error), error.message) == (RejectedError, "gitlab: Email has already been taken")


class TestPatience:
    def test_it_comes_again_when_gitlab_says(self, world, client):
        world.fake.faults.throttle_next("/api/v4/version", retry_after=7)
        assert client.get("/version")["version"] == "19.5.3"
        assert world.clock.slept == [7.0]

    def test_a_write_that_was_throttled_was_not_done_and_is_repeated(self, world, client):
        world.fake.faults.throttle_next("/api/v4/users", retry_after=3, method="POST")
        client.post("/users", username="ada", name="Ada", email="ada@example.com", password="long enough 1")
        assert world.clock.slept == [3.0]
        assert [one.status for one in world.fake.writes()] == [429, 201]

    def test_it_does_not_wait_for_an_hour(self, world, client):
        world.fake.faults.throttle_next("/api/v4/version", retry_after=3600, times=9)
        error = caught(lambda: client.get("/version"))
        assert type(error) is RateLimitedError
        assert error.retry_after_seconds == 3600 > LONGEST_WAIT_SECONDS
        assert world.clock.slept == []

    def test_reads_are_repeated_and_give_up_in_the_end(self, world, client):
        world.fake.faults.fail("/api/v4/version", status=502, times=2)
        world.fake.faults.cut("/api/v4/version", after_bytes=5)
        assert client.get("/version")["version"] == "19.5.3"
        world.fake.faults.fail("/api/v4/version", status=502, times=9)
        error = caught(lambda: client.get("/version"))
        assert (type(error), "502" in error.message) == (UnavailableError, True)

    def test_a_write_whose_answer_is_lost_is_not_repeated(self, world, client):
        world.fake.faults.cut("/api/v4/users", after_bytes=5, method="POST")
        made = {"username": "ada", "name": "Ada", "email": "ada@example.com", "password": "long enough 1"}
        assert type(caught(lambda: client.post("/users", **made))) is UnavailableError
        assert len(world.fake.writes()) == 1


def test_nobody_listens(tmp_path):
    client = GitLabClient(GitLabPlace("http://127.0.0.1:1", sleep=lambda _: None), SecretStr(CANARY))
    error = caught(lambda: client.get("/version"))
    assert type(error) is UnavailableError
    assert CANARY not in shown(error)


class _Page(BaseHTTPRequestHandler):
    status, headers_of, body = 200, (), b"<html>hello</html>"

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Host"), self.headers.get("PRIVATE-TOKEN")))
        self.send_response(self.server.status)
        for name, value in self.server.extra:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def page():
    """A function that serves one answer, by TLS if it is given a context."""
    servers = []

    def serve(status=200, extra=(), body=b"<html>hello</html>", context=None):
        server = HTTPServer(("127.0.0.1", 0), _Page)
        server.status, server.extra, server.body, server.seen = status, extra, body, []
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_is_no_gitlab(page):
    place = GitLabPlace(f"http://127.0.0.1:{page().server_port}", sleep=lambda _: None)
    error = caught(lambda: GitLabClient(place, SecretStr(CANARY)).get("/version"))
    assert "is not GitLab's API" in error.message


def test_the_token_follows_no_redirect(page):
    other = page(body=b"{}")
    here = page(302, [("Location", f"http://127.0.0.1:{other.server_port}/api/v4/version")])
    place = GitLabPlace(f"http://127.0.0.1:{here.server_port}", sleep=lambda _: None)
    error = caught(lambda: GitLabClient(place, SecretStr(CANARY)).get("/version"))
    assert "sends elsewhere (302)" in error.message
    assert other.seen == []


class TestTLS:
    @pytest.fixture
    def tls(self, tmp_path):
        from datetime import UTC, datetime, timedelta

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        def write(name, data):
            (tmp_path / name).write_bytes(data)
            return str(tmp_path / name)

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gitlab.autogit.localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("gitlab.autogit.localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        root = write("root.pem", certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        secret = write("key.pem", key.private_bytes(serialization.Encoding.PEM, *form))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(root, secret)
        context.sni_callback = lambda _socket, asked, _context: names.append(asked)
        names = []
        return root, context, names

    def test_the_name_is_asked_for_at_the_address(self, page, tls):
        root, context, names = tls
        server = page(body=b'{"version": "1"}', extra=[("Content-Type", "application/json")], context=context)
        place = GitLabPlace("https://gitlab.autogit.localhost", ("127.0.0.1", server.server_port), root)
        assert GitLabClient(place, SecretStr(CANARY)).get("/version") == {"version": "1"}
        assert server.seen == [("/api/v4/version", "gitlab.autogit.localhost", CANARY)]
        assert set(names) == {"gitlab.autogit.localhost"}

    def test_a_certificate_of_another_name_or_authority_gets_no_token(self, page, tls):
        root, context, _ = tls
        server = page(context=context)
        address = ("127.0.0.1", server.server_port)
        for place in (
            GitLabPlace("https://gitlab.example.org", address, root, sleep=lambda _: None),
            GitLabPlace("https://gitlab.autogit.localhost", address, "", sleep=lambda _: None),
        ):
            error = caught(lambda place=place: GitLabClient(place, SecretStr(CANARY)).get("/version"))
            assert "a certificate that is not trusted here" in error.message
        assert server.seen == []


def test_an_answer_that_does_not_come(world):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        place = GitLabPlace(url, timeout_seconds=0.05, sleep=lambda _: None)
        error = caught(lambda: GitLabClient(place, SecretStr(CANARY)).get("/version"))
    assert error.message == f"gitlab: {url} did not answer in time"


def test_a_date_is_a_wait_too():
    now = datetime(2026, 11, 28, tzinfo=UTC)
    assert wait_seconds("Sat, 28 Nov 2026 00:01:00 GMT", now) == 60
    assert [wait_seconds(text, now) for text in ("", "soon", "-5", "9999999", "²")] == [0, 0, 0, 86400, 0]
