"""Values of records as text: as a set has them, and as a zone file has them (RFC 1035 section 5.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING

from autogit.errors import RejectedError
from autogit.model.dns import RecordSet, normal_name

if TYPE_CHECKING:
    from dns.rdata import Rdata

TEXTS = frozenset({"SPF", "TXT"})
"""Types whose values are character strings."""

_STRING_BYTES = 255
_PRINTABLE = range(0x20, 0x7F)
# Which field of a value is a name: a set has it without the final dot, a zone file needs that dot.
_NAME_FIELD = {"ALIAS": 0, "CNAME": 0, "DNAME": 0, "NS": 0, "PTR": 0, "MX": 1, "SRV": 3, "HTTPS": 1, "SVCB": 1}


def value_of(rdata: Rdata, kind: str) -> str:
    """Return a value as a RecordSet has it."""
    if kind == "TXT":
        return _joined(rdata)
    return _with_name(rdata.to_text(), kind, lambda text: text.rstrip(".").lower() or ".")


def normal_value(kind: str, spelled: str, name: Callable[[str], str] | None = None) -> str:
    """Return as a RecordSet has it what a backend spells; as it is where that is of no form we know.

    `name` makes the name in it normal: `shown_name` if it is not given.
    """
    if kind in TEXTS:
        return text_of(spelled)
    if kind in {"A", "AAAA"}:
        return _address(spelled)
    if kind == "CAA":
        return _authority(spelled)
    return _with_name(spelled, kind, name or shown_name)


def shown_name(text: str) -> str:
    """Return a name in normal form, or what is none of a host (`.`, `a/b.example.org`) in small letters, undotted."""
    try:
        return normal_name(text)
    except RejectedError:
        return text.rstrip(".").lower() or "."


def text_of(spelled: str, *, is_line: bool = False) -> str:
    """Return the text of quoted strings (RFC 1035 section 5.1), or what is spelled where it is none of these.

    What has no quotes is the text itself, or with `is_line` strings that blanks part, as in a line of a zone file.
    """
    if not is_line and not spelled.startswith('"'):
        return spelled
    from dns import exception, rdata  # noqa: PLC0415 - 50 ms, for texts only

    try:
        return _joined(rdata.from_text("IN", "TXT", spelled))
    except exception.DNSException:
        return spelled


def alike(one: RecordSet | None, other: RecordSet | None) -> bool:
    """Tell whether two sets answer alike, None being no set."""
    return one.same_data(other) if one and other else one is other


def zone_lines(wanted: RecordSet) -> list[str]:
    """Return a set as the lines of a zone file (RFC 1035 section 5.1), every name absolute."""
    start = f"{wanted.key.name}. {wanted.ttl} IN {wanted.key.type} "
    return [start + zone_value(wanted.key.type, value) for value in wanted.values]


def strings_of(text: str) -> list[bytes]:
    """Return a text as the strings that a TXT value is made of, 255 bytes each at most (RFC 1035 section 3.3)."""
    data = text.encode("utf-8", "surrogateescape")
    return [data[at : at + _STRING_BYTES] for at in range(0, max(1, len(data)), _STRING_BYTES)]


def zone_value(kind: str, value: str) -> str:
    """Return a value as a zone file has it: texts quoted and parted, names absolute (RFC 1035 section 5.1)."""
    if kind in TEXTS:
        return " ".join('"' + "".join(map(_escaped, string)) + '"' for string in strings_of(value))
    return _with_name(value, kind, lambda text: text.rstrip(".") + ".")


def _joined(rdata: Rdata) -> str:
    """Return the text of a TXT value; bytes that are no UTF-8 stay escaped."""
    strings: tuple[bytes, ...] = rdata.strings  # type: ignore[attr-defined] # of the TXT class only
    return b"".join(strings).decode("utf-8", "backslashreplace")


def _address(spelled: str) -> str:
    try:
        return str(ipaddress.ip_address(spelled))
    except ValueError:
        return spelled


def _authority(spelled: str) -> str:
    """Return a CAA value with its tag in small letters and its property in quotes (RFC 8659 section 4.1)."""
    flags, tag, value = (*spelled.split(None, 2), "", "", "")[:3]
    return f"{flags} {tag.lower()} " + (value if value.startswith('"') else f'"{value}"') if value else spelled


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
