"""Why an engine is not reached: each cause has its own sentence and its own way out."""

from __future__ import annotations

import pytest

from autogit.errors import RejectedError, UnavailableError
from autogit.providers.compute.engine import client as clients
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.registry import meaning_of
from autogit.providers.compute.engine.unreachable import tls_files, unreachable

REMOTE = "tcp://engine.example:2376"
SSH = "ssh://me@engine.example"


@pytest.mark.parametrize(
    ("host", "said", "means", "hint"),
    [
        ("unix:///x.sock", "PermissionError(13, 'Permission denied')", "may not use the engine", "usermod"),
        ("unix:///x.sock", "FileNotFoundError(2, 'No such file')", "there is no engine at", "RUNTIME=embedded"),
        ("unix:///x.sock", "Connection refused", "it refused the connection", "systemctl status docker"),
        ("unix:///x.sock", "Read timed out.", "did not answer in time", "systemctl status docker"),
        ("hello", "Invalid bind address format: port is required: hello", "is no address", "tcp://HOST:PORT"),
        (REMOTE, "Failed to resolve 'engine.example'", "there is no host of that name", "on its machine"),
        (REMOTE, "CERTIFICATE_VERIFY_FAILED: unable to get local", "not of the authority in ca.pem", "DOCKER_CERT"),
        (REMOTE, "FAILED: IP address mismatch, certificate is not valid for", "for another name", "DOCKER_CERT"),
        (REMOTE, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]", "does not take the certificate in", "DOCKER_CERT"),
        (REMOTE, "[SSL: WRONG_VERSION_NUMBER] wrong version", "it speaks no TLS", "on its machine"),
        (REMOTE, "Client sent an HTTP request to an HTTPS server.", "it speaks TLS", "DOCKER_CERT_PATH is"),
        (REMOTE, "RemoteDisconnected", "the connection broke", "on its machine"),
        (SSH, "Install paramiko package to enable ssh:// support", "needs the package paramiko", "autogit[ssh]"),
        (SSH, "Server 'engine.example' not found in known_hosts", "host key is not the one", "without a question"),
        (SSH, "No authentication methods available", "ssh does not let us in", "without a question"),
        (SSH, "Unable to connect to port 22 on 192.0.2.1", "it refused the connection", "docker version must work"),
    ],
)
def test_a_cause_has_its_sentence(host, said, means, hint):
    error = unreachable(host, OSError(said))
    assert means in error.message
    assert host in error.message or "paramiko" in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Credentials store error: StoreError('docker-credential-desktop not installed')", "docker-credential-desktop"),
        ("InvalidConfigFile: Invalid configuration file", "it is damaged"),
    ],
)
def test_logins_that_cannot_be_read_are_no_fault_of_the_engine(said, why):
    error = unreachable("unix:///x.sock", ValueError(said))
    assert isinstance(error, RejectedError)
    assert f"~/.docker/config.json: {why}" in error.message
    assert meaning_of(error.message, "x:1").final


def test_the_files_of_tls_are_all_there_or_named(tmp_path):
    (tmp_path / "ca.pem").write_text("")
    with pytest.raises(UnavailableError, match=r"DOCKER_CERT_PATH=.* has no cert.pem, key.pem"):
        tls_files(str(tmp_path))
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    assert tls_files(str(tmp_path)) == tuple(str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem"))


class Adapter:
    """The SDK's adapter for ssh: it keeps a pool for each URL that is asked."""

    def __init__(self):
        self.pools = {}

    def get_connection(self, url, proxies=None):
        return self.pools.setdefault(url, object())


class Counted(Engine):
    """Counts its connections instead of making them."""

    made = 0

    def _connect(self):
        self.made += 1
        return object()


def test_an_ssh_server_is_not_asked_for_more_sessions_than_it_opens():
    engine = Counted(SSH)
    seats = [engine._seat() for _ in range(20)]
    for seat in seats:
        seat.__enter__()
    assert engine.made == 3
    for seat in seats:
        seat.__exit__(None, None, None)
    with engine._seat():
        assert engine.made == 3


def test_a_socket_is_asked_everything_by_one_client():
    engine = Counted("unix:///x.sock")
    seats = [engine._seat() for _ in range(20)]
    for seat in seats:
        seat.__enter__()
    assert engine.made == 1


def test_all_urls_of_an_ssh_engine_share_their_sessions():
    class Client:
        _custom_adapter = Adapter()

    clients._share_sessions(Client)
    adapter = Client._custom_adapter
    assert adapter.get_connection("http+docker://ssh/info") is adapter.get_connection("http+docker://ssh/version")
