"""Records as lines of text, asking by DNS what is there, and a provider of both for DNS that is kept by hand."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import shlex
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from autogit.errors import MissingError, RejectedError, UnavailableError, UnsupportedError
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, normal_name, record_set, zone_of
from autogit.providers.base import HealthStatus, ProviderContext
from autogit.providers.dns.base import DNSConfig, DNSProvider

if TYPE_CHECKING:
    from dns.message import Message
    from dns.rdata import Rdata

_PORT = 53
_ASK_SECONDS = 3.0
_STRING_BYTES = 255
_PRINTABLE = range(0x20, 0x7F)
# Which field of a value is a name: a set has it without the final dot, a zone file needs that dot.
_NAME_FIELD = {"CNAME": 0, "DNAME": 0, "NS": 0, "PTR": 0, "MX": 1, "SRV": 3, "HTTPS": 1, "SVCB": 1}

_QUOTED = r'"(?:\\.|[^"\\])*"'
_COMMENT = re.compile(rf"({_QUOTED})|(?:^|\s)#.*")
_FIELD = re.compile(rf"((?:{_QUOTED}|[^,\"])*),?")
_ESCAPE = re.compile(r'\\(["tnebr\\])')
_CONTROLS = {"t": "\t", "n": "\n", "e": "\x1b", "b": "\b", "r": "\r"}
_CAA = 257

Triple = tuple[str, str, str]
"""Name, type and value that a line of dnsmasq's files says, the name as it is written there."""


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
Command = Annotated[str, AfterValidator(lambda text: shlex.join(shlex.split(text)))]
Texts = Annotated[tuple[str, ...], BeforeValidator(_parted)]
Endpoints = Annotated[tuple[Endpoint, ...], BeforeValidator(_parted)]


class ManualConfig(DNSConfig):
    """Which zones are kept by hand, and who is asked about them."""

    zones: Texts = Field((), description="Zones kept by hand, separated by commas")
    resolvers: Endpoints = Field(
        (), description="DNS servers to ask, each host or host:port, separated by commas (empty: the system's)"
    )
    ttl: int = Field(300, ge=1, le=86400, description="TTL, in seconds, of the lines to enter")


class ManualDNS(DNSProvider[ManualConfig]):
    """Writes nothing: a write succeeds where asking shows that it was done by hand, else it says the lines.

    Resolvers answer with what is left of a TTL, so none is compared: every set has the `ttl` of the configuration,
    which the capabilities have as least and most. A zone is not listed by asking; keys are. A name that only a
    wildcard answers for looks as if it were there; when it is to be deleted it counts as gone.
    """

    provider_name: ClassVar[str] = "manual"
    capabilities: ClassVar[Capabilities] = Capabilities(
        types=frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}), one_ttl=True
    )
    Config: ClassVar[type[DNSConfig]] = ManualConfig

    def __init__(self, context: ProviderContext, config: ManualConfig) -> None:
        super().__init__(context, config)
        self._zones = [Zone(name, name) for name in dict.fromkeys(map(normal_name, config.zones))]
        fitting = replace(self.capabilities, least_ttl=config.ttl, most_ttl=config.ttl)
        self.capabilities = fitting  # type: ignore[misc] # the configuration says which TTL

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones of the configuration; their names are their ids."""
        return self._zones

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return what DNS answers for the keys; nothing without keys, for a zone does not show what is in it."""
        if zone not in self._zones:
            raise MissingError(f"manual: MANUAL_ZONES has no zone {zone.name}")
        mine = [key for key in sorted(keys or ()) if zone_of(key.name, self._zones) == zone]
        found = [await self._asked(key) for key in mine]
        return [one for one in found if one]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Look whether a set was entered. Raises UnsupportedError with its lines where it was not."""
        there = await self._now(zone, wanted)
        if there is None:
            raise _by_hand(zone, add=wanted)
        if there.values != wanted.values:
            raise self.changed(wanted.key, there)

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Look whether a set was changed. Raises UnsupportedError with the old and the new lines where it was not."""
        there = await self._now(zone, wanted)
        if there is None or there.values not in {old.values, wanted.values}:
            raise self.changed(wanted.key, there)
        if there.values != wanted.values:
            raise _by_hand(zone, add=wanted, remove=old)

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Look whether a set was removed. Raises UnsupportedError with its lines where it was not."""
        there = await self._now(zone, old)
        if there is None or await self._is_a_wildcards(zone, there):
            return
        if there.values != old.values:
            raise self.changed(old.key, there)
        raise _by_hand(zone, remove=old)

    async def health(self) -> HealthStatus:
        """Ask for the zones by DNS: somebody must answer, whatever the answer."""
        try:
            for zone in self._zones:
                await self._asked(RecordKey(zone.name, "NS"))
        except UnavailableError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        return await super().health()

    async def _now(self, zone: Zone, like: RecordSet) -> RecordSet | None:
        if like.proxied:
            raise UnsupportedError(f"manual: {like.key} cannot be proxied: there is nothing to tell that to")
        return await self.find_record(zone, like.key)

    async def _is_a_wildcards(self, zone: Zone, there: RecordSet) -> bool:
        """Tell whether a wildcard above answers the same (RFC 4592): then the name itself need not be there."""
        above = there.key.name
        while above != zone.name and not above.startswith("*."):
            above = above.partition(".")[2]
            wild = await self._asked(RecordKey(f"*.{above}", there.key.type))
            if wild is not None and wild.values == there.values:
                return True
        return False

    async def _asked(self, key: RecordKey) -> RecordSet | None:
        values = await asyncio.to_thread(self._ask_each, key)
        return record_set(key.name, key.type, self.config.ttl, values) if values else None

    def _ask_each(self, key: RecordKey) -> list[str]:
        """Return what the first server that answers knows."""
        from dns import rcode  # noqa: PLC0415 - dnspython takes long to import, and the contract is read often

        said = []
        for server in self.config.resolvers or _system_servers():
            try:
                answer = ask(server, key, _ASK_SECONDS)
            except UnavailableError as exc:
                said.append(exc.message)
                continue
            if answer.rcode() in {rcode.NOERROR, rcode.NXDOMAIN}:
                return answered(answer, key)
            said.append(f"{server} says {rcode.to_text(answer.rcode())}")
        raise UnavailableError(
            f"manual: nobody answers for {key}: {'; '.join(said) or 'this system names no DNS server'}",
            hint="MANUAL_RESOLVERS names the DNS servers to ask",
        )


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


def value_of(rdata: Rdata, kind: str) -> str:
    """Return a value as a RecordSet has it."""
    if kind == "TXT":
        strings: tuple[bytes, ...] = rdata.strings  # type: ignore[attr-defined] # of the TXT class only
        return b"".join(strings).decode("utf-8", "backslashreplace")
    return _with_name(rdata.to_text(), kind, lambda text: text.rstrip(".").lower() or ".")


def zone_lines(wanted: RecordSet) -> list[str]:
    """Return a set as the lines of a zone file (RFC 1035 section 5.1), every name absolute."""
    start = f"{wanted.key.name}. {wanted.ttl} IN {wanted.key.type} "
    return [start + _zone_value(wanted.key.type, value) for value in wanted.values]


def strings_of(text: str) -> list[bytes]:
    """Return a text as the strings that a TXT value is made of, 255 bytes each at most (RFC 1035 section 3.3)."""
    data = text.encode("utf-8", "surrogateescape")
    return [data[at : at + _STRING_BYTES] for at in range(0, max(1, len(data)), _STRING_BYTES)]


def _zone_value(kind: str, value: str) -> str:
    if kind == "TXT":
        return " ".join('"' + "".join(map(_escaped, string)) + '"' for string in strings_of(value))
    return _with_name(value, kind, lambda text: text.rstrip(".") + ".")


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return f"\\{byte:c}"
    return chr(byte) if byte in _PRINTABLE else f"\\{byte:03d}"


def _with_name(value: str, kind: str, rewrite: Callable[[str], str]) -> str:
    place = _NAME_FIELD.get(kind)
    fields = value.split()
    if place is None or place >= len(fields):
        return value
    return " ".join([*fields[:place], rewrite(fields[place]), *fields[place + 1 :]])


def _system_servers() -> list[str]:
    from dns import exception, resolver  # noqa: PLC0415 - dnspython takes long to import

    try:
        return [str(server) for server in resolver.Resolver().nameservers]
    except exception.DNSException:
        return []


def _by_hand(zone: Zone, *, add: RecordSet | None = None, remove: RecordSet | None = None) -> UnsupportedError:
    """Return the error that says what to do: the change that asked for it has not been made yet."""
    parts = []
    if remove:
        parts += [f"remove from the zone {zone.name}:", *zone_lines(remove)]
    if add:
        parts += [f"enter in the zone {zone.name}:", *zone_lines(add)]
    return UnsupportedError(
        "manual: " + "\n".join(parts),
        hint="do that where the zone is kept, then run the command again; a resolver may remember the former answer "
        "for some minutes, the zone's own servers (MANUAL_RESOLVERS) do not",
    )


def hosts_lines(wanted: RecordSet) -> list[str]:
    """Return an address set as lines of a hosts file."""
    return [f"{value} {wanted.key.name}" for value in wanted.values]


def hosts_values(text: str) -> dict[RecordKey, set[str]]:
    """Return what a hosts file says."""
    return _by_key(_hosts_triples(text))


def conf_values(text: str) -> dict[RecordKey, set[str]]:
    """Return what a dnsmasq configuration says, as far as AutoGit can stumble over it."""
    return _by_key(_conf_triples(text))


def _by_key(triples: Iterable[Triple]) -> dict[RecordKey, set[str]]:
    values: dict[RecordKey, set[str]] = {}
    for name, kind, value in triples:
        with suppress(RejectedError):  # a pattern, or nothing: no name of a record
            values.setdefault(RecordKey(normal_name(name), kind), set()).add(value)
    return values


def _hosts_triples(text: str) -> Iterator[Triple]:
    for line in text.split("\n"):
        place, *names = line.partition("#")[0].split() or [""]
        yield from ((name, *address) for name in names for address in addresses_of(place))


def conf_lines(wanted: RecordSet) -> list[str]:
    """Return a set as lines of a dnsmasq configuration.

    Beside a wildcard, what dnsmasq has no data for is not asked elsewhere: an AAAA that another server denies would
    take the A with it.
    """
    name, kind = wanted.key.name, wanted.key.type
    if kind == "TXT":
        return [f"txt-record={name},{','.join(map(_conf_string, strings_of(value)))}" for value in wanted.values]
    if kind == "CAA":
        return [f"dns-rr={name},{_CAA},{_caa_data(value).hex()}" for value in wanted.values]
    if not name.startswith("*."):
        return [f"host-record={name},{value}" for value in wanted.values]
    return [*(f"address=/{name}/{value}" for value in wanted.values), f"local=/{name}/"]


def _conf_triples(text: str) -> Iterator[Triple]:
    for line in text.split("\n"):
        option, _, rest = _COMMENT.sub(lambda found: found[1] or "", line).partition("=")
        fields = [_unquoted(field) for field in _FIELD.findall(rest)[:-1]]
        if option.strip() in _OPTIONS and fields:
            yield from _OPTIONS[option.strip()](fields)


def _of_address(fields: list[str]) -> Iterator[Triple]:
    """`address=/a/*.b/192.0.2.1`: a name and all below it, or with `*.` only what is below."""
    *names, place = fields[0].removeprefix("/").split("/")
    for name in names:
        for address in addresses_of(place):
            yield (name.removeprefix("."), *address)
            if not name.startswith("*"):
                yield (f"*.{name.removeprefix('.')}", *address)


def _of_host_record(fields: list[str]) -> Iterator[Triple]:
    names = [field for field in fields if not addresses_of(field)]
    yield from ((name, *address) for name in names for field in fields for address in addresses_of(field))


def _of_cname(fields: list[str]) -> Iterator[Triple]:
    *names, target = [field for field in fields if not field.isdigit()] or [""]
    yield from ((name, "CNAME", target.lower()) for name in names)


def _of_txt_record(fields: list[str]) -> Iterator[Triple]:
    data = "".join(fields[1:]).encode("utf-8", "surrogateescape")
    yield fields[0], "TXT", data.decode("utf-8", "backslashreplace")


def _of_dns_rr(fields: list[str]) -> Iterator[Triple]:
    from dns import exception, rdata  # noqa: PLC0415 - dnspython takes long to import

    with suppress(IndexError, ValueError, exception.DNSException):
        if int(fields[1]) == _CAA:
            data = bytes.fromhex("".join(fields[2:]).replace(":", ""))
            yield fields[0], "CAA", rdata.from_wire("IN", "CAA", data, 0, len(data)).to_text()


_OPTIONS = {
    "address": _of_address,
    "host-record": _of_host_record,
    "cname": _of_cname,
    "txt-record": _of_txt_record,
    "dns-rr": _of_dns_rr,
}


def addresses_of(text: str) -> list[tuple[str, str]]:
    """Return type and normal form of an address; `#` is dnsmasq's sign for both null addresses."""
    if text == "#":
        return [("A", "0.0.0.0"), ("AAAA", "::")]  # noqa: S104 - nothing is bound to it
    with suppress(ValueError):
        address = ipaddress.ip_address(text)
        return [("A" if isinstance(address, ipaddress.IPv4Address) else "AAAA", str(address))]
    return []


def _conf_string(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(field: str) -> str:
    def plain(found: re.Match[str]) -> str:
        return _ESCAPE.sub(lambda escape: _CONTROLS.get(escape[1], escape[1]), found[0][1:-1])

    return re.sub(_QUOTED, plain, field.strip())


def _caa_data(value: str) -> bytes:
    from dns import exception, rdata  # noqa: PLC0415 - dnspython takes long to import

    try:
        return rdata.from_text("IN", "CAA", value).to_digestable()
    except (ValueError, exception.DNSException) as exc:
        raise RejectedError(f"{value!r} is not a CAA value (RFC 8659)") from exc
