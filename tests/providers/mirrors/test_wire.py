"""What can go wrong on the way to any forge; and that a token is seen by its own host only, in a header."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import traceback

import pytest

from autogit.errors import (
    AutogitError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    UsageError,
)
from autogit.model.mirror import MirrorRule
from tests.fakes.forges.github import FakeGitHub

pytestmark = pytest.mark.integration

KINDS = ("github", "gitlab", "gitea", "bitbucket")
CANARY = "canary0token0that0must0stay0hidden"


@pytest.fixture(params=KINDS)
def forge(request):
    """A kind and its stand-in, with an organisation of one repository."""
    fake = request.getfixturevalue(request.param)
    fake.add(*(["acme/app"] if request.param == "gitlab" else ["acme", "app"]))
    return request.param, fake


def text_of(caught):
    """Return all that anybody could see of an error."""
    error = caught.value
    return f"{error} {error!r} {error.hint} {''.join(traceback.format_exception(error))}"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors_are_for_later(forge, ask, status):
    kind, fake = forge
    fake.fail(status, b"<html>oops</html>")
    with pytest.raises(UnavailableError, match=f"^{kind}: .*not possible right now: HTTP status {status}"):
        ask(kind, fake.url)


def test_retry_after_is_told(forge, ask):
    kind, fake = forge
    fake.fail(429, {"message": "slow down"}, Retry_After="125")
    with pytest.raises(RateLimitedError, match="again in 2 minutes") as caught:
        ask(kind, fake.url)
    assert caught.value.retry_after_seconds == 125


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"", b"nonsense", b'"text"', b"[" * 100_000, b"\xff\xfe"])
def test_a_page_that_is_no_json(forge, ask, body):
    kind, fake = forge
    fake.fail(200, body)
    with pytest.raises(UnavailableError, match="not the API's answer"):
        ask(kind, fake.url)


@pytest.mark.parametrize("body", [[1, None, "x", []], [{"id": True, "full_name": 7}], [{}]])
def test_entries_that_are_none_are_left_out(forge, ask, body):
    kind, fake = forge
    skip = 1 if kind == "github" else 0
    fake.fail(200, {"values": body} if kind == "bitbucket" else body, skip=skip)
    found = ask(kind, fake.url)
    assert found.repositories == ()
    assert f"{len(body)} without an id or a name" in found.notes[0]


def test_a_connection_that_is_cut(forge, ask):
    kind, fake = forge
    fake.cut()
    with pytest.raises(UnavailableError, match="cannot be reached"):
        ask(kind, fake.url)


def test_an_answer_that_does_not_come(github, ask, monkeypatch):
    monkeypatch.setattr("autogit.providers.mirrors.wire._TIMEOUT_SECONDS", (1.0, 0.05))
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(UnavailableError, match="does not answer in time"),
    ):
        ask("github", f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_an_answer_without_end_is_not_read_to_it(forge, ask, monkeypatch):
    monkeypatch.setattr("autogit.providers.mirrors.wire._LARGEST_BYTES", 1000)
    kind, fake = forge
    fake.fail(200, b"[" + b" " * 200_000)
    with pytest.raises(UnavailableError, match="larger than any"):
        ask(kind, fake.url)


def test_a_port_where_nobody_is(ask):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnavailableError, match="127.0.0.1:[0-9]+ cannot be reached .Connection refused"):
        ask("github", f"http://127.0.0.1:{port}")


def test_a_name_that_the_dns_does_not_know(ask, monkeypatch):
    def unknown(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UnavailableError, match="nowhere.test cannot be reached .its name is not known to the DNS"):
        ask("github", "https://nowhere.test")


def test_a_certificate_that_cannot_be_trusted(ask, tmp_path):
    with _tls_server(tmp_path) as port, pytest.raises(UnavailableError, match="certificate of 127.0.0.1:.* trusted"):
        ask("github", f"https://127.0.0.1:{port}", token=CANARY)


def test_a_redirect_to_another_host_gets_nothing(forge, ask):
    kind, fake = forge
    with FakeGitHub() as other:
        fake.fail(302, None, Location=f"{other.url}/steal")
        with pytest.raises(RejectedError, match="leads to another host"):
            ask(kind, fake.url, token=CANARY)
        assert other.asked == []


def test_a_redirect_on_the_same_host_is_followed_but_not_forever(forge, ask):
    kind, fake = forge
    fake.fail(301, None, Location="/around")
    fake.fail(301, None, prefix="/around", times=99, Location="/around")
    with pytest.raises(RejectedError, match="redirects and redirects"):
        ask(kind, fake.url)
    assert len(fake.asked) == 4


def test_a_netrc_does_not_replace_the_token(forge, ask, tmp_path, monkeypatch):
    kind, fake = forge
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ask(kind, fake.url)
    assert "authorization" not in fake.asked[0].headers


@pytest.mark.parametrize("server", ["http://192.0.2.1", "http://git.example.org"])
def test_a_token_is_not_sent_without_tls(ask, server):
    for kind in KINDS:
        with pytest.raises(UsageError, match="without TLS"):
            ask(kind, server, token=CANARY)


@pytest.mark.parametrize(
    "server", ["https://me:pw@git.example.org", "ftp://git.example.org", "file:///etc", "https://"]
)
def test_a_server_that_is_none(ask, server):
    for kind in KINDS:
        with pytest.raises(UsageError, match="must be the address of a forge") as caught:
            ask(kind, server)
        assert "pw" not in str(caught.value)


@pytest.mark.parametrize("token", ["a b c", "two\nlines", "tök", "x\r\nX-Evil: 1", "a\0"])
def test_a_token_with_odd_signs_is_not_shown(ask, token):
    for kind in KINDS:
        with pytest.raises(ProviderAuthError) as caught:
            ask(kind, "https://git.example.org", token=token if kind != "bitbucket" else token.replace(":", ""))
        assert token not in text_of(caught)


def test_the_token_is_in_no_address_log_error_or_outcome(forge, ask, caplog):
    kind, fake = forge
    caplog.set_level(logging.DEBUG)
    seen = []
    for body in ({"message": f"bad {CANARY}"}, {"error": {"message": CANARY}}, CANARY.encode()):
        for status in (400, 401, 403, 404, 422, 429, 500):
            fake.faults.clear()
            fake.fail(status, body, times=9)
            with pytest.raises(AutogitError) as caught:
                ask(kind, fake.url, token=CANARY)
            seen.append(text_of(caught))
    fake.cut()
    fake.faults = fake.faults[-1:]
    with pytest.raises(AutogitError) as caught:
        ask(kind, fake.url, token=CANARY)
    seen += [text_of(caught), caplog.text, *(f"{one.path} {one.query}" for one in fake.asked)]
    assert all(CANARY in " ".join(one.headers.values()) for one in fake.asked)
    assert not [text for text in seen if CANARY in text]


def test_what_is_kept_of_a_discovery_has_no_token(github, ask):
    github.add("acme", "app")
    token = github.add_token("ana")
    found = ask("github", github.url, token=token)
    assert token not in repr(found)


def test_many_discoveries_at_once_do_not_mix(github, load):
    github.add("acme", "app")
    github.add("ana", "tool")

    async def all_of_them():
        rules = [MirrorRule(name="m", kind="github", owner=owner, server=github.url) for owner in ("acme", "ana") * 10]
        return await asyncio.gather(*(load("github").discover(rule, "", {}) for rule in rules))

    found = asyncio.run(all_of_them())
    assert [one.repositories[0].path for one in found] == ["app", "tool"] * 10


@pytest.mark.parametrize(
    ("kind", "token", "login"),
    [
        ("github", "t", ("x-access-token", "t")),
        ("gitlab", "t", ("oauth2", "t")),
        ("gitea", "t", ("autogit", "t")),
        ("bitbucket", "t", ("x-token-auth", "t")),
        ("bitbucket", "me@x.org:t", ("x-bitbucket-api-token-auth", "t")),
        ("git", "t", ("git", "t")),
        ("git", "me:t:u", ("me", "t:u")),
        ("path", "t", ("", "")),
    ],
)
def test_what_git_is_to_say(load, kind, token, login):
    assert load(kind).git_login(token) == login


class _tls_server:  # noqa: N801 - used as a function
    """Somebody with a certificate of nobody's."""

    def __init__(self, folder):
        from datetime import UTC, datetime, timedelta

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        made = builder.sign(key, hashes.SHA256())
        plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *plain)
        (folder / "tls.pem").write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.pem")
        self._plain = socket.create_server(("127.0.0.1", 0))
        self._context = context

    def __enter__(self):
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self._plain.getsockname()[1]

    def _serve(self):
        try:
            connection = self._plain.accept()[0]
            with self._context.wrap_socket(connection, server_side=True):
                pass
        except OSError:
            connection.close()

    def __exit__(self, *_):
        self._thread.join(5)
        self._plain.close()
