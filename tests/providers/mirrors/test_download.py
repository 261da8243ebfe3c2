"""A release's file that its forge keeps at a store: fetched from there, over TLS, and without the token."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from autogit.errors import AutogitError, RejectedError
from autogit.model.mirror import MirrorRule
from autogit.providers.mirrors.data import Asset
from autogit.providers.mirrors.download import Download
from tests.tls_front import TlsFront, write_certificate

STORE = "release-assets.githubusercontent.com"
FILE = os.urandom(300_000)


class _Store(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(FILE)))
        self.end_headers()
        self.wfile.write(FILE)

    def log_message(self, *_):
        pass


class _Proxy(BaseHTTPRequestHandler):
    """Whatever host is wanted is the one behind."""

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(("127.0.0.1", self.server.behind)) as inner:
            back = threading.Thread(target=_pass_on, args=(inner, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, inner)
            back.join()
        self.close_connection = True

    def log_message(self, *_):
        pass


def _pass_on(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def serve():
    started = []

    def run(handler, **facts):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        for name, value in facts.items():
            setattr(server, name, value)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        started.append((server, thread))
        return server

    yield run
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def store(serve, tmp_path, monkeypatch):
    """The store, which is at STORE for whoever asks through the proxy of the environment."""
    server = serve(_Store, seen=[])
    root, key = write_certificate(tmp_path / "tls", STORE)
    with TlsFront(root, key, server.server_address[1]) as front:
        proxy = serve(_Proxy, behind=front.port)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(root))
        yield server


def _download(github, load, **more):
    made = github.add("acme", "app")
    github.files[1] = FILE
    token = github.add_token("ana")
    rule = MirrorRule(name="m", kind="github", owner="acme", server=github.url)
    forge = load("github").data(rule, token)
    told = {"id": 1, "name": "app", "state": "uploaded", "size": len(FILE), "updated_at": "x", **more}
    github.data[made] = {"releases": [{"tag_name": "v1", "assets": [told]}]}
    (asset,) = forge.assets("app", {"tag_name": "v1", "assets": [told]})
    return token, asset, Download(forge.peer, forge.accept, 1 << 20)


def test_a_redirect_to_a_store_is_followed_without_the_token(github, load, store, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(f"machine {STORE} login me password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    token, asset, download = _download(github, load)
    github.store = f"https://{STORE}"
    fetched = download.fetch(asset, tmp_path / "assets" / "file")
    assert (tmp_path / "assets" / "file").read_bytes() == FILE
    assert fetched.sha256 == hashlib.sha256(FILE).hexdigest()
    ((path, headers),) = store.seen
    assert path == "/1?signature=x"
    assert "Authorization" not in headers
    assert token not in repr(headers)


@pytest.mark.parametrize(
    "place",
    [
        f"http://{STORE}",
        f"https://{STORE}:8443",
        f"https://{STORE}.evil.example",
        "https://githubusercontent.com.evil.example",
        "https://evilgithubusercontent.com",
        f"https://{STORE}@evil.example",
        "https://169.254.169.254",
        "http://127.0.0.1:1",
        "file:///etc/passwd?",
        "https://[::1",
    ],
)
def test_a_redirect_to_anywhere_else_is_not(github, load, store, tmp_path, place):
    _, asset, download = _download(github, load)
    github.store = place
    with pytest.raises(RejectedError, match="lies at (another host|what is no address)"):
        download.fetch(asset, tmp_path / "file")
    assert store.seen == []
    assert not (tmp_path / "file").exists()


def test_what_is_too_large_or_not_whole_leaves_nothing(github, load, tmp_path):
    _, asset, download = _download(github, load)
    for wanted, fetcher in (
        (asset, Download(download.peer, download.accept, 1000)),
        (Asset("v1", "app", asset.url, len(FILE) + 1), download),
        (Asset("v1", "app", asset.url, digest="0" * 64), download),
    ):
        with pytest.raises(AutogitError):
            fetcher.fetch(wanted, tmp_path / "here" / "file")
    assert list((tmp_path / "here").iterdir()) == []
