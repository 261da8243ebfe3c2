"""The local certificate authority of one domain: a name-constrained root that signs leafs for that domain only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from autogit.errors import CertificateError
from autogit.providers.host.atomic import write_atomic

ROOT_DAYS = 3650
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Authority:
    """A domain's root: `root.pem` (0644) and `key.pem` (0600) in a folder of their own."""

    folder: Path
    base_domain: str

    @property
    def root_file(self) -> Path:
        """The root certificate."""
        return self.folder / "root.pem"

    @property
    def key_file(self) -> Path:
        """The root's private key."""
        return self.folder / "key.pem"

    def load_root(self) -> x509.Certificate | None:
        """Return the root, None where there is none. Raises CertificateError where it is damaged."""
        try:
            return x509.load_pem_x509_certificate(self.root_file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise CertificateError(
                f"local: {self.root_file} cannot be read: {exc.strerror}", hint="mend its permissions"
            ) from exc
        except ValueError as exc:
            raise CertificateError(
                f"local: the root certificate {self.root_file.name} of {self.base_domain} is damaged",
                hint=f"restore {self.folder} from a backup, or move it aside to start a new authority, which every "
                "device has to trust anew",
            ) from exc

    def ensure(self, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Return root and key, made on first use. Raises CertificateError for a root without its key."""
        root = self.load_root()
        if root is None and not self.key_file.exists():
            self._create(now)
            root = self.load_root()
        if root is None:
            # A killed first issue wrote the key and not yet the root: nobody trusts it yet.
            key = self._load_key()
            write_atomic(self.root_file, _self_signed(key, self.base_domain, now).public_bytes(Encoding.PEM), 0o644)
            return self.ensure(now)
        return root, self._key_of(root)

    def check(self) -> None:
        """Raise CertificateError where root and key cannot sign; reads only, and no authority at all is no fault."""
        root = self.load_root()
        if root is not None:
            self._key_of(root)

    def issue(
        self, names: tuple[str, ...], days: int, now: datetime
    ) -> tuple[x509.Certificate, x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Return (leaf, root, leaf key) for DNS names: P-256, valid for `days`, for TLS servers only."""
        root, root_key = self.ensure(now)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
            .issuer_name(root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(min(now + timedelta(days=days), root.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_authority_key(root), critical=False)
        )
        return builder.sign(root_key, hashes.SHA256()), root, key

    def _create(self, now: datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomic(self.key_file, private_pem(key), 0o600)
        write_atomic(self.root_file, _self_signed(key, self.base_domain, now).public_bytes(Encoding.PEM), 0o644)

    def _key_of(self, root: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        key = self._load_key()
        if _public(key.public_key()) != _public(root.public_key()):
            raise self._key_unusable("belongs to another root")
        return key

    def _load_key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = load_pem_private_key(self.key_file.read_bytes(), None)
        except FileNotFoundError as exc:
            raise self._key_unusable("is missing") from exc
        except (OSError, ValueError, TypeError) as exc:
            raise self._key_unusable("cannot be read") from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise self._key_unusable("is of another type")
        return key

    def _key_unusable(self, what: str) -> CertificateError:
        return CertificateError(
            f"local: the private key of the authority for {self.base_domain} {what}, so no certificate can be signed; "
            "the present one is untouched",
            hint=f"restore {self.key_file} from a backup; or move {self.folder} aside to start a new authority, which "
            "every device has to trust anew (autogit certs trust)",
        )


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PKCS #8 PEM without a passphrase; it belongs in files of mode 0600 only."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signed_by(leaf: x509.Certificate, root: x509.Certificate) -> bool:
    """Tell whether the root's key signed the leaf."""
    try:
        leaf.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def matches_key(certificate: x509.Certificate, key_pem: bytes) -> bool:
    """Tell whether a private key belongs to a certificate."""
    try:
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        return False
    return _public(key.public_key()) == _public(certificate.public_key())


def sha256_of(certificate: x509.Certificate) -> str:
    """Return a certificate's SHA-256 fingerprint in hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _self_signed(key: ec.EllipticCurvePrivateKey, base_domain: str, now: datetime) -> x509.Certificate:
    """Return the root: RFC 5280, with critical name constraints (4.2.1.10): this domain, and no IP address at all."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"AutoGit local CA ({base_domain})"[:64])])
    every_address = [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
    constraints = x509.NameConstraints(permitted_subtrees=[x509.DNSName(base_domain)], excluded_subtrees=every_address)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


def _authority_key(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _public(key: PublicKeyTypes | CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
