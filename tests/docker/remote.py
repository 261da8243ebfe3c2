"""A Docker Engine of our own that is reached by TCP with TLS, as one on another machine is."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.docker.platform import free_ports
from tests.engine import PREFIX, Engine, EngineError, mark_owned, why_no_daemon

_DAY = dt.timedelta(days=1)


class Authority:
    """An authority of its own and what it signs, as the files that Docker names so."""

    def __init__(self, name):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self._certificate = self._sign(self._name, self._key.public_key(), [(constraints, True)])

    def write(self, folder, usage):
        """Write ca.pem, cert.pem and key.pem for a server on loopback or for a client; returns the folder."""
        folder.mkdir(parents=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        extensions = [(x509.ExtendedKeyUsage([usage]), False), (address, False)]
        certificate = self._sign(subject, key.public_key(), extensions)
        pem = serialization.Encoding.PEM
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "ca.pem").write_bytes(self._certificate.public_bytes(pem))
        (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
        (folder / "key.pem").write_bytes(key.private_bytes(pem, *form))
        return folder

    def _sign(self, subject, public_key, extensions):
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(self._name, subject, public_key, x509.random_serial_number())
        builder = builder.not_valid_before(now - _DAY).not_valid_after(now + _DAY)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        own = x509.SubjectKeyIdentifier.from_public_key(public_key)
        for extension, critical in [*extensions, (authority, False), (own, False)]:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


class Remote:
    """The engine, its address, and the folders of certificates by which it is reached, or not."""

    def __init__(self, engine, host, folder):
        self.engine = engine
        self.host = host
        self.client = folder / "client"
        self.stranger = folder / "stranger"


@contextmanager
def open_remote():
    """An engine on tcp:// with TLS; skips where there can be none."""
    import pytest

    if why := why_no_daemon():
        pytest.skip(f"server missing: dockerd ({why})")
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    mark_owned(folder)
    certificates = Path(tempfile.mkdtemp(prefix="autogit-tls-"))
    authority = Authority("engine authority")
    server = authority.write(certificates / "server", ExtendedKeyUsageOID.SERVER_AUTH)
    authority.write(certificates / "client", ExtendedKeyUsageOID.CLIENT_AUTH)
    Authority("somebody else").write(certificates / "stranger", ExtendedKeyUsageOID.CLIENT_AUTH)
    host = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    pairs = {"--tlscacert": "ca.pem", "--tlscert": "cert.pem", "--tlskey": "key.pem"}
    files = [word for option, name in pairs.items() for word in (option, str(server / name))]
    engine = Engine(folder / "docker.sock", folder, ("-H", host, "--tlsverify", *files))
    try:
        try:
            engine.start()
        except EngineError as exc:
            pytest.skip(f"server missing: dockerd (it does not start here: {exc})")
        yield Remote(engine, host, certificates)
    finally:
        engine.remove()
        shutil.rmtree(certificates, ignore_errors=True)
