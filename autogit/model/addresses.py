"""Nouns of IP addresses: what kind one is, where one was seen, who is asked for one, and which are remembered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, NamedTuple, get_args

from autogit.errors import RejectedError

Family = Literal["v4", "v6"]
AddressField = Literal["lan_v4", "lan_v6", "public_v4", "public_v6"]
FAMILIES: tuple[Family, ...] = get_args(Family)
FIELDS: tuple[AddressField, ...] = get_args(AddressField)
FAMILY_NAMES: Mapping[Family, str] = {"v4": "IPv4", "v6": "IPv6"}
IP = IPv4Address | IPv6Address
AGREEING = 2
"""How many sources must say the same."""

# Docker's bridges are br- and twelve digits; `br0` and `br-lan` may well be what this host has its network through.
_VIRTUAL = re.compile(
    r"lo|br-[0-9a-f]{12}"
    r"|(docker|veth|tun|tap|wg|ppp|virbr|vnet|vmnet|vboxnet|tailscale|zt|cni|flannel|cali|podman|lxcbr|lxdbr|incusbr).*"
)


class AddressClass(StrEnum):
    """What an address is good for; the internet knows the way to global ones only."""

    GLOBAL = "global"
    PRIVATE = "private"
    CGNAT = "cgnat"
    DOCUMENTATION = "documentation"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    BENCHMARK = "benchmark"
    TUNNEL = "tunnel"
    RESERVED = "reserved"


# Not `is_global` and `is_private`: both are False for CGNAT, True and False for 6to4, and what they say of other
# networks differs between the versions of Python. First match counts. (IANA special-purpose registries, RFC 6890.)
_NETWORKS = tuple(
    (ip_network(network), kind, told)
    for network, kind, told in (
        ("0.0.0.0/32", AddressClass.UNSPECIFIED, "RFC 1122"),
        ("0.0.0.0/8", AddressClass.RESERVED, "RFC 1122"),
        ("10.0.0.0/8", AddressClass.PRIVATE, "RFC 1918"),
        ("100.64.0.0/10", AddressClass.CGNAT, "RFC 6598"),
        ("127.0.0.0/8", AddressClass.LOOPBACK, "RFC 1122"),
        ("169.254.0.0/16", AddressClass.LINK_LOCAL, "RFC 3927"),
        ("172.16.0.0/12", AddressClass.PRIVATE, "RFC 1918"),
        ("192.0.0.0/24", AddressClass.RESERVED, "RFC 6890"),
        ("192.0.2.0/24", AddressClass.DOCUMENTATION, "RFC 5737"),
        ("192.88.99.0/24", AddressClass.TUNNEL, "6to4, RFC 7526"),
        ("192.168.0.0/16", AddressClass.PRIVATE, "RFC 1918"),
        ("198.18.0.0/15", AddressClass.BENCHMARK, "RFC 2544"),
        ("198.51.100.0/24", AddressClass.DOCUMENTATION, "RFC 5737"),
        ("203.0.113.0/24", AddressClass.DOCUMENTATION, "RFC 5737"),
        ("224.0.0.0/4", AddressClass.MULTICAST, "RFC 5771"),
        ("240.0.0.0/4", AddressClass.RESERVED, "RFC 1112"),
        ("::/128", AddressClass.UNSPECIFIED, "RFC 4291"),
        ("::1/128", AddressClass.LOOPBACK, "RFC 4291"),
        ("2001::/32", AddressClass.TUNNEL, "Teredo, RFC 4380"),
        ("2001:2::/48", AddressClass.BENCHMARK, "RFC 5180"),
        ("2001::/23", AddressClass.RESERVED, "RFC 2928"),
        ("2001:db8::/32", AddressClass.DOCUMENTATION, "RFC 3849"),
        ("2002::/16", AddressClass.TUNNEL, "6to4, RFC 3056"),
        ("3fff::/20", AddressClass.DOCUMENTATION, "RFC 9637"),
        ("2000::/3", AddressClass.GLOBAL, "RFC 4291"),
        ("fc00::/7", AddressClass.PRIVATE, "RFC 4193"),
        ("fe80::/10", AddressClass.LINK_LOCAL, "RFC 4291"),
        ("ff00::/8", AddressClass.MULTICAST, "RFC 4291"),
        # NAT64, IPv4-compatible, site-local, discard-only and all that nobody has been given yet.
        ("::/0", AddressClass.RESERVED, "RFC 4291"),
    )
)
_NO_NETWORK = frozenset(
    {AddressClass.LOOPBACK, AddressClass.LINK_LOCAL, AddressClass.MULTICAST, AddressClass.UNSPECIFIED}
)
_WHY = {
    AddressClass.PRIVATE: "it is private ({told}), known within its own network only",
    AddressClass.CGNAT: "your provider shares one address among many (CGNAT, {told}): use a tunnel",
    AddressClass.DOCUMENTATION: "it is for examples in documents ({told})",
    AddressClass.LOOPBACK: "it is each host's own ({told})",
    AddressClass.LINK_LOCAL: "it is link-local ({told}), known on one cable only",
    AddressClass.MULTICAST: "it is a multicast group ({told}), not a host",
    AddressClass.UNSPECIFIED: "it means no address at all ({told})",
    AddressClass.BENCHMARK: "it is for measurements in laboratories ({told})",
    AddressClass.TUNNEL: "it leads through a tunnel that is hardly served any more ({told})",
    AddressClass.RESERVED: "it is reserved ({told})",
}


def parse_ip(text: str) -> IP:
    """Return an address as it is judged: without zone, an IPv4-mapped one as its IPv4 (RFC 4291 section 2.5.5.2).

    Raises ValueError.
    """
    address = ip_address(text.strip())
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def family_of(address: IP) -> Family:
    """Return the family of an address."""
    return "v4" if isinstance(address, IPv4Address) else "v6"


def address_class(text: str) -> AddressClass:
    """Return what an address is good for. Raises RejectedError for what is none."""
    try:
        return _judged(parse_ip(text))[0]
    except ValueError as exc:
        raise RejectedError(f"addresses: {text!r} is no IP address", hint="such as 203.0.113.7 or 2001:db8::7") from exc


def unfit_for_public(text: str) -> str:
    """Return a sentence saying why an address cannot be published in public DNS, "" where it can."""
    try:
        kind, told = _judged(parse_ip(text))
    except ValueError:
        return f"{text!r} cannot be published: it is no IP address"
    return "" if kind is AddressClass.GLOBAL else f"{text} cannot be published: {_WHY[kind].format(told=told)}"


def _judged(address: IP) -> tuple[AddressClass, str]:
    # An address of the other family is in no network.
    found = ((kind, told) for network, kind, told in _NETWORKS if address in network)
    return next(found, (AddressClass.GLOBAL, ""))


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of this host, the interface it is on ("" where unknown), and what Linux says of an IPv6 one.

    `temporary` is of privacy extensions (RFC 8981): gone within a day. `usable` is False while it is deprecated, being
    tried or a duplicate. `fixed` was set by hand, without a lifetime.
    """

    interface: str
    address: str
    temporary: bool = False
    usable: bool = True
    fixed: bool = False

    @property
    def stable(self) -> bool:
        """Whether a name may lead to it."""
        return self.usable and not self.temporary


@dataclass(frozen=True, slots=True)
class AddressSource:
    """Who says which address a question came from: `https://host/path`, or `dns:name@server` (a TXT record).

    `target` is the path, or the name that is asked for. `families` are those it can tell.
    """

    scheme: Literal["https", "http", "dns"]
    host: str
    port: int
    target: str
    families: tuple[Family, ...] = FAMILIES

    @property
    def label(self) -> str:
        """Host, and port where it is not the usual one: HTTP's Host, and its name in sentences."""
        usual = {"https": 443, "http": 80, "dns": 53}[self.scheme]
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What one source said: an address, or a few words on why it said none."""

    label: str
    value: str = ""
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.label} {f'says {self.value}' if self.value else self.problem}"


class Finding(NamedTuple):
    """An address, and the interface that it is on ("" where it is on none of this host); or why there is none."""

    value: str = ""
    problem: str = ""
    interface: str = ""


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """What was found in one look: of each field that was asked for an address, or a sentence in `problems`.

    `interfaces` says which interface an address of this host is on, where that is known.
    """

    lan_v4: str = ""
    lan_v6: str = ""
    public_v4: str = ""
    public_v6: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)
    interfaces: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: AddressField) -> str:
        """Return the address of a field, "" where there is none."""
        return str(getattr(self, name))


def host_addresses(found: Mapping[AddressField, Finding]) -> HostAddresses:
    """Return findings as one value."""
    return HostAddresses(
        **{name: one.value for name, one in found.items()},
        problems={name: one.problem for name, one in found.items() if one.problem},
        interfaces={name: one.interface for name, one in found.items() if one.interface},
    )


def lan_address(family: Family, source: str, addresses: Iterable[InterfaceAddress]) -> Finding:
    """Return the address by which this host's own network knows it.

    `source` is where the default route starts from ("": there is none): its interface comes first, unless that is a
    tunnel or a container's.
    """
    mine = [one for one in addresses if family_of(parse_ip(one.address)) == family]
    way = next((one.interface for one in mine if one.address == source), "")
    fit = [one for one in mine if one.stable and not is_virtual(one.interface) and _is_in_a_network(one.address)]
    if fit:
        best = min(fit, key=lambda one: _lan_rank(one, source, way))
        return Finding(best.address, interface=best.interface)
    if source and not mine and _is_in_a_network(source):
        return Finding(source)
    kind = "IPv4" if family == "v4" else "lasting IPv6"
    return Finding(problem=f"this host has no {kind} address in a network; tunnels and containers' do not count")


def is_virtual(interface: str) -> bool:
    """Tell whether an interface is loopback, a tunnel, or one of containers and virtual machines."""
    return _VIRTUAL.fullmatch(interface) is not None


def _is_in_a_network(text: str) -> bool:
    return address_class(text) not in _NO_NETWORK


def _lan_rank(one: InterfaceAddress, source: str, way: str) -> tuple[bool, bool, int, bool]:
    """Sort by interface, then (IPv4) where the default route starts from, then kind, then whether it was set by hand.

    An IPv6 source may be a temporary address, so it says nothing of the others. Of these a global one comes before a
    unique local one, which may be of a box that announces a network for its own gadgets only.
    """
    six = family_of(parse_ip(one.address)) == "v6"
    order = [AddressClass.PRIVATE, AddressClass.GLOBAL]
    if six:
        order.reverse()
    kind = address_class(one.address)
    rank = order.index(kind) if kind in order else len(order)
    return one.interface != way, not six and one.address != source, rank, not one.fixed


def publishable_v6(seen: str, addresses: Iterable[InterfaceAddress]) -> Finding:
    """Return what to publish where sources see `seen`: a stable address of the same /64.

    Questions start from a temporary address where there are such (RFC 8981 privacy extensions). An address of which
    this host has no sibling was translated on the way, and is published as it is seen.
    """
    network = ip_network(f"{seen}/64", strict=False)
    siblings = [one for one in addresses if parse_ip(one.address) in network]
    stable = sorted((one for one in siblings if one.stable), key=lambda one: (not one.fixed, one.address != seen))
    if stable:
        return Finding(stable[0].address, interface=stable[0].interface)
    if siblings:
        return Finding(problem=f"the sources see {seen}, which does not last, and no lasting address is beside it")
    return Finding(seen)


def agreed(family: Family, answers: Sequence[SourceAnswer]) -> Finding:
    """Return the address that sources agree on, else a sentence saying what each of them said.

    It has more voices than any other address, and two of them (one, where only one source is set). A source has one
    voice, however often it is set.
    """
    what = f"the public {FAMILY_NAMES[family]} address"
    if not answers:
        return Finding(problem=f"no source is set that tells {what}")
    voices: dict[str, set[str]] = {}
    for one in answers:
        if one.value:
            voices.setdefault(one.value, set()).add(one.label)
    said = "; ".join(map(str, answers))
    if not voices:
        return Finding(problem=f"no source tells {what}: {said}")
    needed = min(AGREEING, len({one.label for one in answers}))
    first, *others = sorted(voices, key=lambda value: -len(voices[value]))
    if others and len(voices[first]) in {1, len(voices[others[0]])}:
        return Finding(problem=f"the sources disagree on {what}: {said}")
    if len(voices[first]) < needed:
        return Finding(problem=f"only one source tells {what}, {needed} must agree: {said}")
    unfit = unfit_for_public(first)
    return Finding(problem=f"the sources agree, but {unfit}") if unfit else Finding(first)


@dataclass(frozen=True, slots=True)
class BookEntry:
    """What is remembered of one field; moments are RFC 3339, UTC, "" for never.

    `value` is in force `since`. `candidate` is another one that the last `candidate_seen` looks in a row have found.
    `problem` is why the last look, at `checked_at`, found nothing ("" where it did).
    """

    value: str = ""
    since: str = ""
    candidate: str = ""
    candidate_seen: int = 0
    checked_at: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AddressBook:
    """What is remembered of each field that was ever looked at; `problem` says that the file of it was damaged."""

    entries: Mapping[AddressField, BookEntry] = field(default_factory=dict)
    problem: str = ""

    def value(self, name: AddressField) -> str:
        """Return the address in force for a field, "" where there is none yet."""
        return self.entries.get(name, BookEntry()).value
