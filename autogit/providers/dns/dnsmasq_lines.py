"""Lines of dnsmasq's files: a set as lines, and the sets that lines say."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from autogit.errors import RejectedError
from autogit.model.dns import RecordKey, RecordSet, normal_name
from autogit.providers.dns.presentation import strings_of

_QUOTED = r'"(?:\\.|[^"\\])*"'
_COMMENT = re.compile(rf"({_QUOTED})|(?:^|\s)#.*")
_FIELD = re.compile(rf"((?:{_QUOTED}|[^,\"])*),?")
_ESCAPE = re.compile(r'\\(["tnebr\\])')
_CONTROLS = {"t": "\t", "n": "\n", "e": "\x1b", "b": "\b", "r": "\r"}
_CAA = 257

Triple = tuple[str, str, str]
"""Name, type and value that a line of dnsmasq's files says, the name as it is written there."""


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
