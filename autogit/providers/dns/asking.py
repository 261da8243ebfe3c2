"""Asking DNS servers: where they are, one question to one of them, and what an answer says."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from autogit.errors import UnavailableError
from autogit.model.dns import RecordKey
from autogit.providers.dns.presentation import value_of

if TYPE_CHECKING:
    from dns.message import Message

_PORT = 53


def endpoint(text: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port`, `2001:db8::1` or `[2001:db8::1]:port`. Raises ValueError."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not (port or "0").isdigit():
        raise ValueError(f"{text!r} is not host or host:port")
    return host, int(port or _PORT)


def _parted(value: Any) -> Any:
    """Take a list or, as `.env` has it, a text with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _endpoint(text: str) -> str:
    endpoint(text)
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_parted)]
Endpoints = Annotated[tuple[Endpoint, ...], BeforeValidator(_parted)]


def ask(server: str, key: RecordKey, timeout_seconds: float) -> Message:
    """Return what a server answers, a refusal too. Raises UnavailableError, whose message names no provider yet."""
    from dns import exception, message, query  # noqa: PLC0415 - dnspython takes long to import

    host, port = endpoint(server)
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4][0])
        question = message.make_query(key.name, key.type)
        return query.udp_with_fallback(question, address, timeout_seconds, port)[0]
    except (OSError, EOFError, exception.DNSException) as exc:
        raise UnavailableError(f"{server} does not answer") from exc


def answered(answer: Message, key: RecordKey) -> list[str]:
    """Return a key's own values in an answer, in normal form: what a CNAME leads to is left out."""
    from dns import name, rdataclass, rdatatype  # noqa: PLC0415 - dnspython takes long to import

    kind = rdatatype.from_text(key.type)
    found = answer.get_rrset(answer.answer, name.from_text(key.name), rdataclass.IN, kind)
    return sorted({value_of(rdata, key.type) for rdata in found or ()})


def system_servers() -> list[str]:
    """Return the addresses of the DNS servers that this host asks."""
    from dns import exception, resolver  # noqa: PLC0415 - dnspython takes long to import

    try:
        return [str(server) for server in resolver.Resolver().nameservers]
    except exception.DNSException:
        return []
