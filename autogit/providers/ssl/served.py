"""Looking at the certificate that a TLS server really serves for a name."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from cryptography import x509


@dataclass(frozen=True, slots=True)
class Served:
    """What came over the wire: the leaf's serial (hex), when it begins and ends (UTC), who signed it; or why none."""

    serial: str = ""
    not_after: str = ""
    issuer: str = ""
    error: str = ""
    not_before: str = ""


def served_certificate(address: str, port: int, server_name: str, timeout_seconds: float = 3.0) -> Served:
    """Return what is served for a name (SNI), trusted or not: whether it should be is another's question."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), timeout_seconds) as raw,
            context.wrap_socket(raw, server_hostname=server_name) as link,
        ):
            der = link.getpeercert(binary_form=True)
    except (OSError, ValueError) as exc:
        return Served(error=getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)
    leaf = x509.load_der_x509_certificate(der or b"")
    return Served(
        serial=f"{leaf.serial_number:x}",
        not_after=leaf.not_valid_after_utc.isoformat(),
        issuer=leaf.issuer.rfc4514_string(),
        not_before=leaf.not_valid_before_utc.isoformat(),
    )
