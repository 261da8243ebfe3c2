"""Looking for this host's addresses: on its interfaces, and as sources on the internet see them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from autogit.errors import RejectedError, UsageError
from autogit.model.addresses import (
    FAMILIES,
    FAMILY_NAMES,
    FIELDS,
    AddressClass,
    AddressField,
    AddressSource,
    Family,
    Finding,
    HostAddresses,
    InterfaceAddress,
    SourceAnswer,
    address_class,
    agreed,
    family_of,
    host_addresses,
    lan_address,
    parse_ip,
    publishable_v6,
)
from autogit.model.dns import RecordKey, normal_name

if TYPE_CHECKING:
    import ssl

ASK_SECONDS = 5.0
MOST_REPLY_BYTES = 100
DEFAULT_SOURCES = (
    AddressSource("https", "api.ipify.org", 443, "/", ("v4",)),
    AddressSource("https", "ipv4.icanhazip.com", 443, "/", ("v4",)),
    AddressSource("https", "v4.ident.me", 443, "/", ("v4",)),
    AddressSource("https", "api6.ipify.org", 443, "/", ("v6",)),
    AddressSource("https", "ipv6.icanhazip.com", 443, "/", ("v6",)),
    AddressSource("https", "v6.ident.me", 443, "/", ("v6",)),
    AddressSource("dns", "ns1.google.com", 53, "o-o.myaddr.l.google.com"),
)

_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80
_IF_INET6_FIELDS = 6
# Documentation networks (RFC 5737, RFC 3849): the way there is the default route, and nobody is there.
_NOWHERE: Mapping[Family, str] = {"v4": "192.0.2.1", "v6": "2001:db8::1"}
_LAN: Mapping[Family, AddressField] = {"v4": "lan_v4", "v6": "lan_v6"}
_PUBLIC: Mapping[Family, AddressField] = {"v4": "public_v4", "v6": "public_v6"}
_SOCKET_FAMILY: Mapping[Family, socket.AddressFamily] = {"v4": socket.AF_INET, "v6": socket.AF_INET6}
_HEAD_BYTES = 16384
_FOUND, _REDIRECTIONS = 200, range(300, 400)


class Host:
    """This host as the kernel shows it; tests have one of their own. `if_inet6` is where Linux lists IPv6 addresses."""

    def __init__(self, if_inet6: Path = Path("/proc/net/if_inet6")) -> None:
        self._if_inet6 = if_inet6

    def addresses(self) -> tuple[InterfaceAddress, ...]:
        """Return the addresses of the interfaces that are up."""
        import psutil  # noqa: PLC0415 - costs 15 ms

        try:
            up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
            listed = psutil.net_if_addrs()
        except OSError:  # a sandbox that forbids looking
            return ()
        found = [
            InterfaceAddress(name, str(parse_ip(one.address)))
            for name, several in listed.items()
            for one in several
            if name in up and one.family in _SOCKET_FAMILY.values()
        ]
        try:
            told = parse_if_inet6(self._if_inet6.read_text(encoding="ascii"))
        except OSError:  # no IPv6, or not Linux: then nobody says which addresses are temporary
            return tuple(found)
        flags = {(one.interface, one.address): one for one in told}
        return tuple(flags.get((one.interface, one.address), one) for one in found)

    def source(self, family: Family) -> str:
        """Return the address that the default route starts from, "" where there is none; nothing is sent."""
        return source_towards(_NOWHERE[family])


def source_towards(target: str) -> str:
    """Return the address that packets to an address start from, "" where none can; connecting UDP sends nothing."""
    try:
        with socket.socket(_SOCKET_FAMILY[family_of(parse_ip(target))], socket.SOCK_DGRAM) as link:
            link.connect((target, 9))
            return str(parse_ip(link.getsockname()[0]))
    except OSError:
        return ""


def parse_if_inet6(text: str) -> tuple[InterfaceAddress, ...]:
    """Return the addresses of a `/proc/net/if_inet6` (address, index, prefix length, scope, flags, interface; hex)."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        try:
            digits, flags = bytes.fromhex(fields[0]), int(fields[4], 16)
            address = socket.inet_ntop(socket.AF_INET6, digits)
        except (ValueError, IndexError):
            continue
        if len(fields) == _IF_INET6_FIELDS:
            found.append(
                InterfaceAddress(
                    fields[5],
                    address,
                    temporary=bool(flags & _TEMPORARY),
                    usable=not flags & (_DAD_FAILED | _DEPRECATED | _TENTATIVE),
                    fixed=bool(flags & _PERMANENT),
                )
            )
    return tuple(found)


def sources_of(texts: Sequence[str]) -> tuple[AddressSource, ...]:
    """Return what `https://host/path` and `dns:name@server` say; none at all are the default ones.

    A host should have both families: each is asked by itself. Raises RejectedError, which names every fault.
    """
    found, faults = [], []
    for number, text in enumerate(texts, 1):
        try:
            found.append(_dns_source(text) if text.startswith("dns:") else _http_source(text))
        except (ValueError, RejectedError) as exc:
            faults.append(f"source {number}: {exc}")  # not the text: people put passwords into URLs
    if faults:
        raise RejectedError(
            f"addresses: {'; '.join(faults)}", hint="such as https://api.ipify.org or dns:name@server, one or more"
        )
    return tuple(found) or DEFAULT_SOURCES


def _dns_source(text: str) -> AddressSource:
    from autogit.providers.dns.asking import endpoint  # noqa: PLC0415 - pydantic takes long to import

    name, _, server = text.removeprefix("dns:").partition("@")
    if not name or not server:
        raise ValueError("it is not dns:name@server")
    host, port = endpoint(server)
    return AddressSource("dns", _host_name(host), port, normal_name(name))


def _http_source(text: str) -> AddressSource:
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("there is a user or a password in it, which nothing is done with")
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("it is neither https://host/path nor dns:name@server")
    host = _host_name(parts.hostname)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not re.fullmatch(r"[!-~]+", target):
        raise ValueError("there are signs in it that no URL has")
    if parts.scheme == "https":
        return AddressSource("https", host, parts.port or 443, target)
    if not _on_loopback(host):
        raise ValueError("it is not https: anybody on the way could answer in its place")
    return AddressSource("http", host, parts.port or 80, target)


def _host_name(text: str) -> str:
    try:
        return str(parse_ip(text))
    except ValueError:
        return normal_name(text)


def _on_loopback(host: str) -> bool:
    try:
        return address_class(host) is AddressClass.LOOPBACK
    except RejectedError:
        return False


async def look(
    wanted: Collection[str],
    sources: Sequence[AddressSource] = DEFAULT_SOURCES,
    *,
    timeout_seconds: float = ASK_SECONDS,
    host: Host | None = None,
) -> HostAddresses:
    """Return an address or a problem for each field that is wanted; only public ones ask anybody.

    All sources are asked at once, each within `timeout_seconds`. Raises UsageError for a field that is none.
    """
    unknown = sorted(set(wanted) - set(FIELDS))
    if unknown:
        raise UsageError(f"addresses: there is no {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    host = host or Host()
    addresses = host.addresses() if wanted else ()
    asked = [family for family in FAMILIES if f"public_{family}" in wanted]
    answers = await asyncio.gather(*(_ask_all(family, sources, timeout_seconds, host) for family in asked))
    found: dict[AddressField, Finding] = {}
    for family in FAMILIES:
        if _LAN[family] in wanted:
            found[_LAN[family]] = lan_address(family, host.source(family), addresses)
    for family, one in zip(asked, answers, strict=True):
        found[_PUBLIC[family]] = publishable_v6(one.value, addresses) if family == "v6" and one.value else one
    return host_addresses(found)


async def _ask_all(family: Family, sources: Sequence[AddressSource], timeout_seconds: float, host: Host) -> Finding:
    name = FAMILY_NAMES[family]
    if not host.source(family):
        return Finding(problem=f"this host has no way out by {name}: it has no default route")
    fitting = [one for one in dict.fromkeys(sources) if family in one.families]
    return agreed(family, await asyncio.gather(*(ask_source(one, family, timeout_seconds) for one in fitting)))


class _SilentError(Exception):
    """A source says no address; the message goes on a sentence that begins with its name."""


async def ask_source(source: AddressSource, family: Family, timeout_seconds: float = ASK_SECONDS) -> SourceAnswer:
    """Return what a source says when it is asked by one family only; a failure is its answer's problem."""
    try:
        async with asyncio.timeout(timeout_seconds):
            texts = await (_dns_said if source.scheme == "dns" else _http_said)(source, family)
        return SourceAnswer(source.label, _only_address(texts, family))
    except _SilentError as exc:
        return SourceAnswer(source.label, problem=str(exc))
    except TimeoutError:
        return SourceAnswer(source.label, problem=f"does not answer within {timeout_seconds:g} s")
    except OSError as exc:
        return SourceAnswer(source.label, problem=f"cannot be asked: {_reason(exc)}")


def _reason(exc: OSError) -> str:
    """Return an error's own words: asyncio writes the address into them, OpenSSL its source line."""
    told = getattr(exc, "verify_message", "") or str(getattr(exc, "reason", None) or "").replace("_", " ").lower()
    if told:
        return f"TLS: {told}"
    return os.strerror(exc.errno) if exc.errno else str(exc) or "the connection broke"


def _only_address(texts: Iterable[str], family: Family) -> str:
    """Return the one address among texts. Others beside it are let be: DNS may tell of the client's network too."""
    found = set()
    for text in texts:
        with contextlib.suppress(ValueError):
            found.add(parse_ip(text))
    if len(found) != 1:
        raise _SilentError("says several addresses" if found else "says nothing that is an address")
    (address,) = found
    if family_of(address) != family:
        raise _SilentError(f"says {address}, which is no {FAMILY_NAMES[family]} address")
    return str(address)


async def _dns_said(source: AddressSource, family: Family) -> list[str]:
    from dns import asyncquery, exception, message  # noqa: PLC0415 - dnspython takes long to import

    from autogit.providers.dns.asking import answered  # noqa: PLC0415 - pydantic takes long to import

    key = RecordKey(source.target, "TXT")
    (address, *_) = await addresses_of(source.host, source.port, family)
    try:
        question = message.make_query(key.name, key.type)
        answer, _ = await asyncquery.udp_with_fallback(question, address, port=source.port)
    except (EOFError, exception.DNSException) as exc:
        raise _SilentError("gives an answer that is not DNS") from exc
    return answered(answer, key)


async def _http_said(source: AddressSource, family: Family) -> list[str]:
    context = await asyncio.to_thread(_tls_context) if source.scheme == "https" else None
    failed = OSError()
    for address in await addresses_of(source.host, source.port, family):
        try:
            reader, writer = await asyncio.open_connection(
                address, source.port, ssl=context, server_hostname=source.host if context else None
            )
        except OSError as exc:
            failed = exc
            continue
        try:
            return [await _body(source, reader, writer)]
        finally:
            writer.transport.abort()  # a polite end of TLS would be waited for
    raise failed


def _tls_context() -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - not needed for the addresses of the own network

    return ssl.create_default_context()


async def _body(source: AddressSource, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Return what GET is answered with (RFC 9112), as far as it is short. Redirects are not followed."""
    import h11  # noqa: PLC0415 - not needed for the addresses of the own network

    link = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    headers = [
        ("Host", source.label),
        ("User-Agent", "autogit"),
        ("Accept", "text/plain"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    request = h11.Request(method="GET", target=source.target, headers=headers)
    writer.write((link.send(request) or b"") + (link.send(h11.EndOfMessage()) or b""))
    body = b""
    try:
        while not isinstance(event := link.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                link.receive_data(await reader.read(_HEAD_BYTES))
            elif isinstance(event, h11.Response) and event.status_code != _FOUND:
                raise _SilentError(_refused(event.status_code))
            elif isinstance(event, h11.Data):
                body += event.data
            if len(body) > MOST_REPLY_BYTES:
                raise _SilentError(f"says more than {MOST_REPLY_BYTES} bytes: that is no address")
    except h11.RemoteProtocolError as exc:
        raise _SilentError("gives an answer that is not HTTP, or half of one") from exc
    return body.decode("ascii", "replace")


def _refused(status: int) -> str:
    if status in _REDIRECTIONS:
        return f"sends elsewhere (HTTP {status}), where nobody follows"
    return f"answers with HTTP {status}"


async def addresses_of(
    host: str, port: int, family: Family, lookup: Callable[..., list[Any]] = socket.getaddrinfo
) -> list[str]:
    """Return the addresses of one family that a name or an address has, looked up in a thread that nobody waits for.

    A resolver without network takes half a minute to give up, and asyncio waits for its own threads at the end.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Any]] = loop.create_future()

    def settle(found: list[Any]) -> None:
        if not future.done():
            future.set_result(found)

    def work() -> None:
        try:
            found = lookup(host, port, _SOCKET_FAMILY[family], socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        with contextlib.suppress(RuntimeError):  # the loop is closed: who asked has long gone
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name=f"lookup {host}", daemon=True).start()
    found = [str(one[4][0]) for one in await future]
    if not found:
        raise _SilentError(f"has no {FAMILY_NAMES[family]} address, or it cannot be looked up")
    return list(dict.fromkeys(found))
