"""How a zone looks from here and from outside: split horizon, and private addresses that a resolver withholds."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

from autogit.model.dns import RecordKey, normal_name
from autogit.model.dns_checks import HorizonView, RebindCheck, SplitHorizon
from autogit.providers.dns.world.exchange import Question
from autogit.providers.dns.world.lookup import Lookup

# RFC 6598: shared by the customers of a carrier. `ipaddress` takes it neither for private nor for global.
_CARRIER = ipaddress.ip_network("100.64.0.0/10")
_LOCAL = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
    "::1",
)
_PRIVATE = (*map(ipaddress.ip_network, _LOCAL), _CARRIER)
_ADDRESSES = ("A", "AAAA")


def is_private_address(text: str) -> bool:
    """Tell whether only a local network reaches an address.

    RFC 1918, unique local IPv6, a carrier's (RFC 6598), loopback and link-local; False for what is no address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in _PRIVATE)


async def split_horizon(lookup: Lookup, zone: str, names: Sequence[str] = ()) -> SplitHorizon:
    """Compare a zone as this host's resolver has it with the public one: SOA and servers (their order aside).

    Private addresses that the public view has for the zone, its servers or `names` are listed.
    """
    zone = normal_name(zone)
    system, public = await asyncio.gather(_view(lookup, zone, is_system=True), _view(lookup, zone, is_system=False))
    split = system.identity != public.identity if system.answered and public.answered else None
    sentence = _horizon_sentence(zone, system, public, split=split)
    private = await _private_answers(lookup, [zone, *public.nameservers, *map(normal_name, names)])
    if private:
        sentence += f"; public DNS shows private addresses: {', '.join(private)}"
    return SplitHorizon(zone, split, sentence, system, public, private)


async def rebind_protection(lookup: Lookup, name: str) -> RebindCheck:
    """Tell whether this host's resolver withholds the private addresses that a name has in public DNS.

    Resolvers with "rebind protection" do so, and then the name works from outside of them only.
    """
    name = normal_name(name)
    private: list[str] = []
    withheld: list[str] = []
    for kind in _ADDRESSES:
        key = RecordKey(name, kind)
        seen = await lookup.ask_all(key)
        found = sorted({value for row in seen.speaking for value in row.values if is_private_address(value)})
        if not found:
            continue
        private += found
        heard = await lookup.ask_system(Question(key, unchecked=False))
        if heard.reply is None:
            return RebindCheck(name, None, f"{name}: the resolver of this host does not answer: {heard.sentence}")
        if lookup.config.servers and heard.reply.rcode == "NXDOMAIN":  # a zone of the own network
            told = f"{name} is {', '.join(private)} where it is kept, and {heard.by} knows no such name"
            return RebindCheck(name, None, told, "have the resolver of this network ask the zone's server for it")
        if not heard.reply.final_values(kind):
            withheld.append(f"{heard.by} answers {heard.reply.rcode} without an address")
    if not private:
        return RebindCheck(name, False, f"{name} has no private address in public DNS")
    if not withheld:
        return RebindCheck(name, False, f"{name} has {', '.join(private)}, and the resolver of this host says so too")
    sentence = f"{name} has {', '.join(private)}, but {withheld[0]}: that is rebind protection"
    return RebindCheck(name, True, sentence, _rebind_hint(name, lookup))


async def _view(lookup: Lookup, zone: str, *, is_system: bool) -> HorizonView:
    ask = lookup.ask_system if is_system else lookup.ask_public
    soa, servers = await asyncio.gather(*(ask(Question(RecordKey(zone, kind))) for kind in ("SOA", "NS")))
    if soa.reply is None or servers.reply is None:
        silent = soa if soa.reply is None else servers
        return HorizonView("", error=silent.sentence)
    found = soa.reply.soa(zone)
    if found is None:
        answered = soa.reply.decides
        return HorizonView(soa.by, error=f"{soa.by} answers {soa.reply.rcode} without an SOA", answered=answered)
    names = servers.reply.values(RecordKey(zone, "NS"))
    return HorizonView(soa.by, found[0], found[1], found[2], names, answered=True)


def _horizon_sentence(zone: str, system: HorizonView, public: HorizonView, *, split: bool | None) -> str:
    if split is None:
        silent = [f"{who}: {view.error}" for who, view in (("here", system), ("outside", public)) if not view.answered]
        return f"{zone} cannot be compared, {'; '.join(silent)}"
    if system.error and public.error:
        return f"{zone} is no zone, neither here nor outside"
    if not split:
        lag = "" if system.serial == public.serial else f" (serials {system.serial} here, {public.serial} outside)"
        return f"{zone} is the same here and outside{lag}"
    if public.error:
        return f"{zone} is there for this network only: outside, {public.error}"
    if system.error:
        return f"{zone} is there outside, but here {system.error}"
    return (
        f"{zone} is another zone here than outside: here of {', '.join(system.nameservers) or system.primary}, "
        f"outside of {', '.join(public.nameservers) or public.primary}"
    )


async def _private_answers(lookup: Lookup, names: Sequence[str]) -> tuple[str, ...]:
    keys = [RecordKey(name, kind) for name in dict.fromkeys(names) for kind in _ADDRESSES]
    heard = await asyncio.gather(*(lookup.ask_public(Question(key)) for key in keys))
    found = [(key.name, one.reply.final_values(key.type)) for key, one in zip(keys, heard, strict=True) if one.reply]
    return tuple(f"{name} {value}" for name, values in found for value in values if is_private_address(value))


def _rebind_hint(name: str, lookup: Lookup) -> str:
    """Return the lines that make a resolver pass private addresses of a domain."""
    zone = lookup.known_zone(name) or name
    return (
        f"let the resolver pass private addresses of {zone}. dnsmasq, Pi-hole: rebind-domain-ok=/{zone}/ ; "
        f'unbound (section server): private-domain: "{zone}" ; a router: add {zone} to the exceptions of its DNS '
        "rebind protection"
    )
