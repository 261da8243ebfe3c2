"""Let's Encrypt's Pebble, a real ACME server, on random ports of 127.0.0.1; its roots are new at each start."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from autogit.model.acme import AcmeServer
from tests.providers.dns.dnsmasq_server import free_port
from tests.tools import require_tool

_SETTLE_SECONDS = 30.0
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test server")])


class PebbleServer:
    """What it is told; nothing runs before `start`.

    `dns` is the resolver that it asks (`127.0.0.1:5300`); without one it must be `always_valid`. `nonce_reject` and
    `authz_reuse` are in per cent. `eab` are HMAC keys by their ids: given, accounts need one of them. `http_port` is
    where it looks for http-01. `env` and `config` are anything else that it knows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dns: str = "",
        always_valid: bool = False,
        nonce_reject: int = 0,
        authz_reuse: int = 0,
        alternates: int = 0,
        http_port: int = 0,
        eab: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.program = require_tool("pebble")
        self.port, self.management_port, self.http_port = free_port(), free_port(), http_port or free_port()
        self.ca_file = folder / "server.pem"
        self.key_file = folder / "server.key"
        self._dns = dns
        self._env = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
            "PEBBLE_AUTHZREUSE": str(authz_reuse),
            "PEBBLE_ALTERNATE_ROOTS": str(alternates),
            **({"PEBBLE_VA_ALWAYS_VALID": "1"} if always_valid else {}),
            **(env or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        write_server_certificate(self.ca_file, self.key_file)
        told = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(self.ca_file),
            "privateKey": str(self.key_file),
            "httpPort": self.http_port,
            "tlsPort": free_port(),
            "externalAccountBindingRequired": bool(eab),
            "externalAccountMACKeys": dict(eab or {}),
            **(config or {}),
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": told}))

    @property
    def directory_url(self):
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def log(self):
        """What it said so far."""
        return (self.folder / "log").read_text(errors="replace")

    def server(self, **told):
        """It as a client is told of it."""
        given = {"name": "pebble", "directory_url": self.directory_url, "ca_file": str(self.ca_file)}
        return AcmeServer(**{**given, **told})

    def start(self):
        """Start it and wait until it answers; accounts, orders and roots of before are gone. Harmless where it runs."""
        if self._process is not None:
            return
        command = [self.program, "-config", str(self.folder / "pebble.json"), "-strict"]
        command += ["-dnsserver", self._dns] if self._dns else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self._env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.ask(self.directory_url)
                self.managed("/roots/0")
                return
            time.sleep(0.02)
        self.stop()
        raise AssertionError(f"pebble does not answer:\n{self.log[-3000:]}")

    def stop(self):
        """End it. Harmless where it does not run."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(_SETTLE_SECONDS)
        self._process = None

    def ask(self, url):
        """The body at a URL of it."""
        # A proxy of the environment is not for loopback.
        here = urllib.request.ProxyHandler({})
        opener = urllib.request.build_opener(here, urllib.request.HTTPSHandler(context=self.trust()))
        with opener.open(url, timeout=10) as answer:
            return answer.read()

    def managed(self, path):
        """The body at a path of its management port."""
        return self.ask(f"https://127.0.0.1:{self.management_port}{path}")

    def root(self, number=0):
        """A root certificate (PEM): the usual one is 0, the alternates follow."""
        return self.managed(f"/roots/{number}")

    def status_of(self, serial):
        """What it says of a certificate by its hexadecimal serial: `Status`, `Reason`."""
        return json.loads(self.managed(f"/cert-status-by-serial/{serial}"))

    def trust(self):
        return ssl.create_default_context(cafile=str(self.ca_file))


@contextlib.contextmanager
def pebble_server(folder, **told):
    """Run one; what it was made of stays in its folder."""
    server = PebbleServer(folder, **told)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def write_server_certificate(certificate_file, key_file):
    """A certificate that vouches for itself, for 127.0.0.1 and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(made.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
