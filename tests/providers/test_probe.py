import http.server
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autogit.providers.probe import http_status, https_probe

pytestmark = pytest.mark.integration

NAME = "api.autogit.localhost"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = {"/ok": 204, "/moved": 302}.get(self.path, 404)
        self.send_response(wanted if self.headers["Host"] != "wrong" else 421)
        self.end_headers()

    def log_message(self, *args):
        pass


def serve(tls=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


@pytest.fixture
def plain():
    server = serve()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def secured(tmp_path):
    """A TLS server with a self-signed certificate for NAME: (port, the certificate's file, its serial)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 0xABC123)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "cert.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    both = tmp_path / "both.pem"
    both.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + file.read_bytes()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server = serve(context)
    yield server.server_port, str(file)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("path", "status"), [("/ok", 204), ("/moved", 302), ("/none", 404)])
def test_the_status_is_told_and_redirects_are_not_followed(plain, path, status):
    assert http_status("127.0.0.1", plain, path, timeout_seconds=2) == status


def test_the_host_header_is_the_callers(plain):
    assert http_status("127.0.0.1", plain, "/ok", timeout_seconds=2, host_header="wrong") == 421


def test_nobody_there_is_zero(free_tcp_port):
    assert http_status("127.0.0.1", free_tcp_port, "/", timeout_seconds=1) == 0


def test_an_answer_that_is_not_http_is_zero(answering):
    for words in (b"", b"hello\r\n", b"HTTP/1.0\r\n", b"HTTP/1.0 abc\r\n", b"x" * 5000):
        assert http_status("127.0.0.1", answering(words), "/", timeout_seconds=1) == 0


def test_a_tls_answer_carries_status_and_the_served_serial(secured):
    port, ca = secured
    assert https_probe("127.0.0.1", port, NAME, ca, path="/ok") == (204, "abc123", "", "")


def test_a_wrong_name_an_untrusted_certificate_and_a_missing_ca_are_told(secured, tmp_path):
    port, ca = secured
    wrong = https_probe("127.0.0.1", port, "other.autogit.localhost", ca)
    assert wrong.status == 0
    assert "not valid for" in wrong.error
    assert https_probe("127.0.0.1", port, NAME, str(tmp_path / "none.pem")).error
    assert https_probe("127.0.0.1", port, "bad..name", ca).error


@pytest.fixture
def free_tcp_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def answering():
    """A function that serves one connection with given bytes and returns the port."""
    import socket

    threads = []

    def serve_once(words: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def answer():
            with listener, listener.accept()[0] as link:
                link.recv(4096)
                link.sendall(words)

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return port

    yield serve_once
    for thread in threads:
        thread.join(timeout=5)
