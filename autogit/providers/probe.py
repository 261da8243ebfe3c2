"""Asking an HTTP endpoint on loopback whether it answers: raw HTTP/1.0, so that the fast path imports nothing heavy."""

from __future__ import annotations

import socket
from collections import namedtuple

TYPE_CHECKING = False  # typing's own costs the fast path 5 ms
if TYPE_CHECKING:
    from os import PathLike

_LONGEST_STATUS_LINE_BYTES = 256
_LONGEST_HEAD_BYTES = 16384

TlsProbe = namedtuple("TlsProbe", ("status", "serial_hex", "error", "service"), defaults=("",))  # noqa: PYI024 - typing is slow
"""What a TLS endpoint answered: HTTP status (0: none), the served leaf's serial (hex, lower case), the fault, and which
service the ingress says has answered (header X-Autogit-Service, "" without)."""


def http_status(host: str, port: int, path: str, *, timeout_seconds: float, host_header: str = "") -> int:
    """Return the HTTP status that GET `path` is answered with, 0 where nothing (or no HTTP) answers.

    `timeout_seconds` holds for each step (connect, send, receive). Redirects are not followed. Never raises OSError.
    """
    try:
        with socket.create_connection((host, port), timeout_seconds) as link:
            return _status(link, path, host_header or f"{host}:{port}")
    except OSError:
        return 0


def https_probe(  # noqa: PLR0913, PLR0917 - all six describe the one request
    address: str,
    port: int,
    server_name: str,
    ca_file: str | PathLike[str],
    path: str = "/",
    timeout_seconds: float = 2.0,
) -> TlsProbe:
    """Ask GET `path` over TLS with `server_name` as SNI and Host, verified against `ca_file` (PEM).

    `address` is where to connect (a name below `.localhost` need not resolve). A handshake that fails,
    an untrusted certificate and a missing `ca_file` are told in `error`; nothing is raised.
    """
    import ssl  # noqa: PLC0415 - the fast path never needs it

    serial = ""
    try:
        server_name.encode("idna")  # wrap_socket would leak the connection over a name that cannot be an SNI
        context = ssl.create_default_context(cafile=ca_file)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # `ca_file` may be an intermediate
        with (
            socket.create_connection((address, port), timeout_seconds) as raw,
            context.wrap_socket(raw, server_hostname=server_name) as link,
        ):
            serial = _serial(link.getpeercert())
            head = _head(link, path, server_name, b"\r\n\r\n", _LONGEST_HEAD_BYTES)
            return TlsProbe(_status_of(head), serial, "", _field(head, "x-autogit-service"))
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError; ValueError: a name that cannot be an SNI
        return TlsProbe(0, serial, str(exc) or type(exc).__name__)


def _status(link: socket.socket, path: str, host: str) -> int:
    return _status_of(_head(link, path, host, b"\n", _LONGEST_STATUS_LINE_BYTES))


def _head(link: socket.socket, path: str, host: str, end: bytes, most_bytes: int) -> bytes:
    """Ask, and read the answer up to `end`, or as far as it goes."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: autogit-probe\r\nConnection: close\r\n\r\n"
    link.sendall(request.encode("latin-1", "replace"))
    head = b""
    while end not in head and len(head) < most_bytes:
        chunk = link.recv(_LONGEST_STATUS_LINE_BYTES)
        if not chunk:
            break
        head += chunk
    return head


def _status_of(head: bytes) -> int:
    words = head.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0


def _field(head: bytes, name: str) -> str:
    """Return a header field's value, "" where there is none."""
    lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in fields if key.strip().lower() == name), "")


def _serial(certificate: object) -> str:
    serial = certificate.get("serialNumber", "") if isinstance(certificate, dict) else ""
    return format(int(serial, 16), "x") if serial else ""
