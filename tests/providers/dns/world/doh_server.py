"""A DNS-over-HTTPS server on loopback with a certificate of its own CA; it asks a real server, or misbehaves."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dns.message
import dns.query
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class DohServer:
    """Its URL, the file of its CA, what it was asked; `fault` makes it answer wrongly."""

    def __init__(self, folder, port):
        self.ca_file = folder / "doh.pem"
        self.asked = []
        self.fault = ""
        self._port = port
        key = folder / "doh.key"
        _write_certificate(self.ca_file, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None  # a client that does not trust it hangs up
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"https://127.0.0.1:{self._server.server_address[1]}/dns-query"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self):
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                data = self.rfile.read(int(self.headers["Content-Length"]))
                query = dns.message.from_wire(data)
                question = query.question[0]
                mine.asked.append((question.name.to_text(omit_final_dot=True), question.rdtype.name))
                headers = {"Content-Type": "application/dns-message"}
                status, body = 200, b"garbage"
                if self.headers["Content-Type"] != "application/dns-message" or query.id != 0:
                    status = 400
                elif mine.fault == "status":
                    status = 503
                elif mine.fault == "redirect":
                    status, headers = 307, {"Location": "http://127.0.0.1:1/elsewhere"}
                elif mine.fault == "type":
                    headers = {"Content-Type": "text/html"}
                elif mine.fault == "other":
                    body = dns.message.make_response(dns.message.make_query("other.test", "A")).to_wire()
                elif mine.fault != "garbage":
                    body = dns.query.udp_with_fallback(query, "127.0.0.1", 10, mine._port)[0].to_wire()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler


@contextlib.contextmanager
def doh_server(folder, port):
    """Run one that asks the DNS server at a port of 127.0.0.1."""
    server = DohServer(folder, port)
    try:
        yield server
    finally:
        server.stop()


def _write_certificate(certificate_file, key_file):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "doh of a test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
