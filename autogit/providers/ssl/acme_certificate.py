"""Certificates as they are asked for and as they come: names, keys, requests, chains, and checks before any is used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from autogit.errors import CertificateError, RejectedError
from autogit.model.acme import Issued, KeyType
from autogit.providers.ssl.acme_keys import base64url
from autogit.providers.ssl.authority import matches_key, signed_by

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
_CLOCK_SKEW = timedelta(minutes=5)
_CURVES: Mapping[int, KeyType] = {256: "P-256", 384: "P-384"}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def checked_names(server: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return names in lower case, each once. Raises RejectedError for what no certificate can be for."""
    wanted = tuple(dict.fromkeys(name.strip().lower().rstrip(".") for name in names))
    odd = [name for name in wanted if not _is_name(name)]
    if not wanted or odd:
        what = f"{odd[0]!r} is not a name that a certificate can be for" if odd else "no name was given"
        raise RejectedError(
            f"{server}: {what}",
            hint="names are letters, digits and hyphens, with one leading `*.` at most; addresses have no certificate "
            "here, and a name with other letters is written as its A-label (xn--...)",
        )
    return wanted


def new_key(kind: KeyType) -> PrivateKey:
    """Return a fresh key of a type."""
    if kind == "RSA-2048":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP384R1() if kind == "P-384" else ec.SECP256R1())


def key_pem(key: PrivateKey) -> bytes:
    """Return a private key as PKCS #8 PEM without a passphrase; it belongs in files of mode 0600 only."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signing_request(key: PrivateKey, names: Sequence[str]) -> str:
    """Return a request for names as base64url DER (RFC 8555 section 7.4); never with Must-Staple."""
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.add_extension(alternatives, critical=False).sign(key, hashes.SHA256())
    return base64url(signed.public_bytes(Encoding.DER))


def load_leaf(server: str, pem: bytes) -> x509.Certificate:
    """Return the first certificate of a PEM file. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise CertificateError(
            f"{server}: what should be a certificate cannot be read", hint="give a PEM file, the certificate first"
        ) from exc


def certificate_id(leaf: x509.Certificate) -> str:
    """Return a certificate's name in renewal information (RFC 9773 section 4.1), "" where it has none."""
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return ""
    if authority is None:
        return ""
    # A DER integer is signed: one more bit than the number has.
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big", signed=True)
    return f"{base64url(authority)}.{base64url(serial)}"


def serial_of(leaf: x509.Certificate) -> str:
    """Return a certificate's serial, hexadecimal."""
    return f"{leaf.serial_number:x}"


def key_type_of(leaf: x509.Certificate) -> str:
    """Return the type of a certificate's key as the settings name it."""
    key: Any = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.key_size, f"EC-{key.key_size}")
    return f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__


def top_issuer(chain: bytes) -> str:
    """Return the common name that the last certificate of a chain is signed by, "" for none."""
    found = _load_chain(chain)
    return common_name(found[-1].issuer) if found else ""


def common_name(name: x509.Name) -> str:
    """Return a common name, "" for none."""
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(values[0].value) if values else ""


def checked_certificate(server: str, fullchain: bytes, key: bytes, names: Sequence[str], now: datetime) -> Issued:
    """Return what came, once it is sure that it can be served. Raises CertificateError saying what is wrong with it."""
    chain = _load_chain(fullchain)
    fault = _fault(chain, key, names, now)
    if fault:
        raise CertificateError(
            f"{server}: the certificate that came cannot be used: {fault}",
            hint="it was not taken into use, what is being served goes on; try again, and look at this machine's clock",
        )
    leaf = chain[0]
    return Issued(
        fullchain=b"".join(one.public_bytes(Encoding.PEM) for one in chain),
        key=key,
        names=tuple(names),
        serial=serial_of(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        issuer=common_name(leaf.issuer),
    )


def _fault(chain: Sequence[x509.Certificate], key: bytes, names: Sequence[str], now: datetime) -> str:
    """Return the first thing that is wrong, "" for nothing."""
    if not chain:
        return "there is no certificate in it"
    leaf, found = chain[0], _names_of(chain[0])
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    broken = [(one, signer) for one, signer in pairwise(chain) if not signed_by(one, signer)]
    faults = (
        (not matches_key(leaf, key), "it is for another key"),
        (found != sorted(names), f"it is for {', '.join(found) or 'no name'} and not for {', '.join(sorted(names))}"),
        (bool(broken), "".join(f"{_title(signer)} did not sign {_title(one)}" for one, signer in broken[:1])),
        (start > now + _CLOCK_SKEW, f"it is valid from {start:%Y-%m-%d %H:%M} UTC, and here it is {now:%H:%M} UTC"),
        (end <= now, f"it expired at {end:%Y-%m-%d %H:%M} UTC, and here it is {now:%Y-%m-%d %H:%M} UTC"),
    )
    return next((sentence for wrong, sentence in faults if wrong), "")


def _names_of(leaf: x509.Certificate) -> list[str]:
    """Return all alternative names, those that are not DNS names included: they were not asked for."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return sorted(str(one.value).lower() for one in alternatives)


def _load_chain(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a chain; none where any cannot be read."""
    try:
        return [x509.load_pem_x509_certificate(block) for block in _PEM.findall(pem)]
    except ValueError:
        return []


def _title(certificate: x509.Certificate) -> str:
    return common_name(certificate.subject) or f"serial {certificate.serial_number:x}"


def _is_name(name: str) -> bool:
    labels = name.removeprefix("*.").split(".")
    # A last label of digits is an address (RFC 1123 section 2.1).
    return len(name) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
