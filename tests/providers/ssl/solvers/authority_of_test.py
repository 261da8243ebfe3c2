"""A real Pebble for the solvers, and an order carried out with the `acme` library and nothing of ours but a solver."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import os
import ssl
import subprocess
import time
import urllib.request

import josepy as jose
from acme import challenges, client, crypto_util, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from autogit.model.acme import Challenge
from tests.providers.dns.dnsmasq_server import free_port
from tests.tools import require_tool

_SETTLE_SECONDS = 30.0
_ORDER_SECONDS = 30


class Authority:
    """Pebble on loopback; `http_port` and `tls_port` are where it looks for port 80 and 443."""

    def __init__(self, folder, dns_server):
        folder.mkdir(parents=True)
        self.folder = folder
        self.http_port, self.tls_port = free_port(), free_port()
        self.port, management = free_port(), free_port()
        self.certificate, key = folder / "pebble.pem", folder / "pebble.key"
        write_certificate(self.certificate, key)
        told = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(self.certificate),
            "privateKey": str(key),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
        }
        (folder / "config.json").write_text(json.dumps({"pebble": told}))
        usual = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [require_tool("pebble"), "-config", str(folder / "config.json"), "-dnsserver", dns_server],
                env={**os.environ, **usual},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait()

    @property
    def directory(self):
        return f"https://127.0.0.1:{self.port}/dir"

    def stop(self):
        self._process.terminate()
        self._process.wait(_SETTLE_SECONDS)

    def _wait(self):
        context = ssl.create_default_context(cafile=self.certificate)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), opener.open(self.directory, timeout=5):
                return
            time.sleep(0.02)
        self.stop()
        raise AssertionError(f"pebble does not answer: {(self.folder / 'log').read_text()}")


def write_certificate(certificate, key_file, name="localhost"):
    """Write a certificate that signs itself, for loopback, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(_pem(key))


def _pem(key):
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


async def issue(authority, names, solver, *, meanwhile=None):
    """Order a certificate; returns its names. `meanwhile(asked)` is called when all is presented.

    Raises acme's errors.ValidationError where the authority did not see a challenge.
    """
    account = jose.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    net = client.ClientNetwork(account, alg=jose.ES256, user_agent="tests", verify_ssl=str(authority.certificate))
    net.session.trust_env = False
    try:
        acme = client.ClientV2(await asyncio.to_thread(client.ClientV2.get_directory, authority.directory, net), net)
        terms = messages.NewRegistration.from_data(email="me@example.org", terms_of_service_agreed=True)
        await asyncio.to_thread(acme.new_account, terms)
        csr = crypto_util.make_csr(_pem(ec.generate_private_key(ec.SECP256R1())), list(names))
        order = await asyncio.to_thread(acme.new_order, csr)
        asked = [_challenge(authorization, solver.kind, account) for authorization in order.authorizations]
        shown = [one for one, _, _ in asked]
        try:
            await solver.present(shown)
            if meanwhile:
                await meanwhile(shown)
            for _, body, response in asked:
                await asyncio.to_thread(acme.answer_challenge, body, response)
            until = dt.datetime.now() + dt.timedelta(seconds=_ORDER_SECONDS)  # noqa: DTZ005 - the library wants it so
            order = await asyncio.to_thread(acme.poll_authorizations, order, until)
        finally:
            await solver.clean(shown)
        done = await asyncio.to_thread(acme.finalize_order, order, until)
    finally:
        net.session.close()
    leaf = x509.load_pem_x509_certificate(done.fullchain_pem.encode())
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(found.get_values_for_type(x509.DNSName))


def _challenge(authorization, kind, account):
    """The challenge as a solver is given it, the library's own body of it, and its response."""
    (body,) = [one for one in authorization.body.challenges if one.chall.typ == kind]
    response, value = body.response_and_validation(account)
    name = authorization.body.identifier.value
    is_dns = isinstance(body.chall, challenges.DNS01)
    place = body.chall.validation_domain_name(name) if is_dns else body.chall.path
    return Challenge(kind, name, place, value), body, response


def reason(exc):
    """What the authority said of each challenge that it did not see."""
    assert isinstance(exc, errors.ValidationError)
    return " ".join(
        str(one.error.detail) for failed in exc.failed_authzrs for one in failed.body.challenges if one.error
    )
