"""Nouns of DNS: zones, record sets and what a provider can do; names in one form, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from autogit.errors import RejectedError
from autogit.model.resource import Address

DNS_RECORD = "dns_record"
"""The kind of resource that a record set is."""
_LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_ESCAPE = re.compile(r"\\([0-9]{3})")


@dataclass(frozen=True, slots=True, order=True)
class RecordKey:
    """What a record set is known by: an fqdn as `normal_name` writes it, and a type in capitals."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}/{self.type}"


@dataclass(frozen=True, slots=True)
class RecordSet:
    """All values of one name and type, the unit of DNS data (RFC 2181 section 5).

    `ttl` is in seconds, `values` are sorted and without repeats, each in presentation form (RFC 1035 section 5.1) with
    names as `normal_name` writes them; a TXT value is its bare text, as one string of any length. `proxied` and `mark`
    (the owner's note) mean something only where the provider says so in its capabilities. `handles` are the provider's
    own names of the values, for its own use.
    """

    key: RecordKey
    ttl: int
    values: tuple[str, ...]
    proxied: bool = False
    mark: str = ""
    handles: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def same_data(self, other: RecordSet) -> bool:
        """Tell whether both answer alike: values and `proxied`, and the TTL where they are not proxied."""
        alike = self.key == other.key and self.values == other.values and self.proxied == other.proxied
        return alike and (self.proxied or self.ttl == other.ttl)


def record_set(name: str, kind: str, ttl: int, values: Iterable[str], *, proxied: bool = False) -> RecordSet:
    """Return a set in normal form: the name as `normal_name` writes it, values sorted, no repeats."""
    return RecordSet(RecordKey(normal_name(name), kind.upper()), ttl, tuple(sorted(set(values))), proxied)


class View(StrEnum):
    """Who sees a record: everybody (`DNS_PROVIDER`), or the own network (`DNS_LAN_PROVIDER`): split horizon."""

    PUBLIC = "public"
    LAN = "lan"


@dataclass(frozen=True, slots=True)
class WantedRecord:
    """A set that the platform wishes for in one view; `provider` is who keeps it."""

    view: View
    provider: str
    record: RecordSet

    @property
    def address(self) -> Address:
        """Its resource's address: `dns_record/NAME/TYPE`, of the LAN view `dns_record/lan/NAME/TYPE`."""
        return address_of(self.view, self.record.key)


def address_of(view: View, key: RecordKey) -> Address:
    """Return the address of a set in a view."""
    return Address(DNS_RECORD, f"{view}/{key}" if view is View.LAN else str(key))


def key_of(address: Address) -> tuple[View, RecordKey]:
    """Return view and key of an address. Raises ValueError where it is not one of a set."""
    parts = address.name.split("/")
    view = View.LAN if parts[:-2] == [View.LAN] else View.PUBLIC
    if address.kind != DNS_RECORD or len(parts) != (3 if view is View.LAN else 2):
        raise ValueError(f"{address} is not the address of a DNS record: dns_record/NAME/TYPE")
    return view, RecordKey(*parts[-2:])


@dataclass(frozen=True, slots=True)
class Targets:
    """What was detected for a view: addresses that names may lead to ("" where none), and why there is none."""

    v4: str = ""
    v6: str = ""
    problem_v4: str = ""
    problem_v6: str = ""


@dataclass(frozen=True, slots=True)
class ExtraRecord:
    """A set that the user declares in `overrides/dns.yml`, at a line of it.

    A `name` without a final dot is below the base domain.
    """

    name: str
    type: str
    values: tuple[str, ...]
    views: tuple[View, ...] = (View.PUBLIC, View.LAN)
    ttl: int | None = None
    proxied: bool = False
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone of a provider: its own id for it, the fqdn, and whether only a private network sees it."""

    id: str
    name: str
    private: bool = False

    def holds(self, name: str) -> bool:
        """Tell whether a name is this zone's apex or below it."""
        return name == self.name or name.endswith(f".{self.name}")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can hold.

    `marks`: keeps an owner's note beside a set. `proxied`: can answer with its own addresses instead. `least_ttl` and
    `most_ttl` in seconds. `types` are the record types that it takes. `one_ttl`: the whole provider has a single TTL,
    which an instance gives as least and most. `lists`: a zone shows all that is in it, not only what is asked for by
    name. `by_hand`: a person carries out the writes.
    """

    types: frozenset[str] = frozenset({"A", "AAAA", "CAA", "CNAME", "TXT"})
    marks: bool = False
    proxied: bool = False
    least_ttl: int = 1
    most_ttl: int = 86400
    one_ttl: bool = False
    lists: bool = True
    by_hand: bool = False


def normal_name(text: str) -> str:
    r"""Return an fqdn in the one form used everywhere: lower-case A-labels (RFC 5890), no trailing dot, `*` unescaped.

    `Büro.Example.ORG.` becomes `xn--bro-hoa.example.org`, `\042.example.org.` becomes `*.example.org` (escapes are
    decimal, RFC 1035 section 5.1). Raises RejectedError for what is no name of a record: an empty or overlong label, a
    `*` that is not the leftmost label (RFC 4592 section 2.1.1), more than 253 characters, other signs than letters,
    digits, `-` and `_`.
    """
    plain = _ESCAPE.sub(lambda found: chr(int(found[1])), text.strip()).rstrip(".").lower()
    labels = [_a_label(label) for label in plain.split(".")]
    name = ".".join(labels)
    for number, label in enumerate(labels):
        if not (label == "*" and number == 0) and not _LABEL.fullmatch(label):
            raise RejectedError(f"{text!r} is not a DNS name: {label!r} cannot be a part of one")
    if len(name) > _LONGEST_NAME:
        raise RejectedError(f"{text!r} is not a DNS name: it has more than {_LONGEST_NAME} characters")
    return name


def _a_label(label: str) -> str:
    if label.isascii():
        return label
    import idna  # noqa: PLC0415 - 10 ms, and rarely needed

    try:
        return idna.encode(label, uts46=True).decode("ascii")
    except idna.IDNAError as exc:
        raise RejectedError(f"{label!r} cannot be a part of a DNS name: {exc}") from exc


def zone_of(name: str, zones: Iterable[Zone], *, private: bool = False) -> Zone | None:
    """Return the zone that a name is in: the longest that holds it among the public (or private) ones.

    Raises RejectedError where two of a provider's zones are the same one but for their ids: nobody can tell which.
    """
    holding = [zone for zone in zones if zone.private == private and zone.holds(name)]
    if not holding:
        return None
    longest = max(len(zone.name) for zone in holding)
    nearest = [zone for zone in holding if len(zone.name) == longest]
    if len(nearest) > 1:
        ids = ", ".join(zone.id for zone in nearest)
        raise RejectedError(f"the zone {nearest[0].name} is there {len(nearest)} times ({ids}): name the id of one")
    return nearest[0]
