"""Values of records as text: as a set has them, and as a zone file has them (RFC 1035 section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autogit.model.dns import RecordSet

if TYPE_CHECKING:
    from dns.rdata import Rdata

_STRING_BYTES = 255
_PRINTABLE = range(0x20, 0x7F)
# Which field of a value is a name: a set has it without the final dot, a zone file needs that dot.
_NAME_FIELD = {"CNAME": 0, "DNAME": 0, "NS": 0, "PTR": 0, "MX": 1, "SRV": 3, "HTTPS": 1, "SVCB": 1}


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
