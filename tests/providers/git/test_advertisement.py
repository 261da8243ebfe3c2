"""Refs asked for without a git process: the same as git says, and each refusal a sentence of its own."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

import pytest

from autogit.errors import GoneError, ProviderAuthError, RateLimitedError, RejectedError, UnavailableError
from autogit.providers.git.advertisement import RefsByHttp, is_asked_directly, parse

LOGIN = ("mirror", "canary-4f1c9a")


def test_it_is_what_git_says(bench, source, served):
    url = f"{served.url}/source.git"
    found = RefsByHttp().ask(url, LOGIN)
    assert found == bench.advertise(url, served.credential)
    assert {"refs/pull/7/head", "refs/notes/commits", "refs/tags/v1"} < set(found.refs)


@pytest.mark.parametrize(
    ("url", "environment", "directly"),
    [
        ("https://git.example.org/a.git", {}, True),
        ("https://git.example.org/a.git", {"https_proxy": "http://proxy:3128"}, False),
        ("https://git.example.org/a.git", {"ALL_PROXY": "socks5://proxy:1080"}, False),
        ("https://git.example.org/a.git", {"https_proxy": "http://proxy:3128", "no_proxy": "example.org"}, True),
        ("http://127.0.0.1:8080/a.git", {"https_proxy": "http://proxy:3128"}, True),
        ("ssh://git@git.example.org/a.git", {}, False),
        ("/srv/a.git", {}, False),
    ],
)
def test_where_a_proxy_is_named_git_asks_through_it(monkeypatch, url, environment, directly):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_asked_directly(url) is directly


def test_an_empty_repository_and_a_detached_head_are_shown_as_git_shows_them(bench, served):
    bench.upstream("empty.git")
    assert RefsByHttp().ask(f"{served.url}/empty.git", LOGIN).refs == {}
    loose = bench.upstream("loose.git")
    loose.ref("refs/heads/main", loose.commit("one"))
    loose.git("update-ref", "--no-deref", "HEAD", loose.commit("two"))
    url = f"{served.url}/loose.git"
    assert RefsByHttp().ask(url, LOGIN) == bench.advertise(url, served.credential)


def test_a_redirect_to_another_host_gets_no_token(source, served):
    elsewhere = served.url.replace("127.0.0.1", "localhost")
    served.fault = lambda _path: ("redirect", elsewhere) if len(served.requests) == 1 else None
    with pytest.raises(ProviderAuthError):
        RefsByHttp().ask(f"{served.url}/source.git", LOGIN)
    assert ["Authorization" in headers for headers in served.headers_seen] == [True, False]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (404, GoneError),
        (401, ProviderAuthError),
        (403, ProviderAuthError),
        (429, RateLimitedError),
        (503, UnavailableError),
        ("cut", UnavailableError),
        (("redirect", "ftp://127.0.0.1"), RejectedError),
    ],
)
def test_each_refusal_has_its_error_and_no_token(source, served, fault, error):
    served.fault = lambda _path: fault
    with pytest.raises(error) as raised:
        RefsByHttp().ask(f"{served.url}/source.git", LOGIN)
    assert "canary" not in str(raised.value)


def test_nobody_there_is_told_with_the_place():
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        RefsByHttp().ask("http://127.0.0.1:1/x.git")


@pytest.mark.parametrize("body", [b"", b"003f00", b"zzzz", b"0008", b"<html>"])
def test_an_answer_that_is_none_is_refused(body):
    with pytest.raises((RejectedError, UnavailableError)):
        parse("https://example.org/x.git", body)


@pytest.mark.parametrize("drip", [b"", b"0"], ids=["says nothing", "a byte now and then"])
def test_whoever_keeps_us_waiting_is_given_up(drip):
    with _Slow(drip) as url, pytest.raises(UnavailableError):
        RefsByHttp(read_seconds=0.2).ask(url)


class _Slow:
    """A server that answers with the head of an advertisement, and then with a byte now and then, or nothing."""

    def __init__(self, drip):
        self._drip = drip
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return f"http://127.0.0.1:{self._server.getsockname()[1]}/x.git"

    def __exit__(self, *_):
        self._over.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection, contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection):
        connection.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n"
        connection.sendall(head + b"Content-Length: 100000\r\n\r\n")
        while not self._over.wait(0.05):
            connection.sendall(self._drip)
            if connection in select.select([connection], [], [], 0)[0]:
                return  # the other side has hung up
