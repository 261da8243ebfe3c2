"""Looks at what an authority will look at, before an order costs one of its few tries."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from autogit.errors import Fault, RejectedError
from autogit.model.acme import ChallengeKind
from autogit.model.dns import RecordKey, normal_name
from autogit.model.dns_checks import DnssecState, Seen, Via
from autogit.providers.dns.world.caa import CaaRequest, caa_allows
from autogit.providers.dns.world.dnssec import check_dnssec
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.zone_health import is_private_address, split_horizon
from autogit.providers.ssl.solvers.http_probe import Probe, addresses_of, look

# RFC 6761, 6762, 7686, 8375, 9476; ICANN keeps .internal for own networks; the rest is what routers made a habit.
_OWN = (
    *("alt", "corp", "example", "home", "home.arpa", "internal", "invalid", "lan", "local", "localdomain"),
    *("localhost", "intranet", "onion", "private", "test"),
)
_LOOKED_FOR = "/.well-known/acme-challenge/autogit-preflight"
_LOCAL_ISSUER = "CERT_ISSUER=local has the platform's own authority sign it; or use a name of a domain that you own"


@dataclass(frozen=True, slots=True)
class Preflight:
    """One check: its name, whether an order may go on, what was seen, and the way out.

    One that is `ok` and has a `fix` is a warning. `names` are the names concerned.
    """

    check: str
    ok: bool
    sentence: str
    fix: str = ""
    names: tuple[str, ...] = ()

    @property
    def is_warning(self) -> bool:
        """Whether it may go wrong."""
        return self.ok and bool(self.fix)


@dataclass(frozen=True, slots=True)
class PreflightRequest:
    """What is to be ordered.

    `names` with wildcards; `ca_domains` and `account_uri` are what CAA records name (a directory's meta.caaIdentities;
    empty where it has none, the account where it is known). `is_public` tells whether the authority sees the public
    internet only. `own_addresses` are those that names have to lead to for http-01 (empty: not compared, as behind a
    proxy). `skip` are checks that are left out.
    """

    names: tuple[str, ...]
    kind: ChallengeKind = "dns-01"
    ca_domains: tuple[str, ...] = ()
    account_uri: str = ""
    is_public: bool = True
    own_addresses: tuple[str, ...] = ()
    skip: frozenset[str] = frozenset()


async def preflight(lookup: Lookup, request: PreflightRequest, probe: Probe | None = None) -> tuple[Preflight, ...]:
    """Return all checks of an order, nothing written anywhere; alike ones of several names are one.

    Checks: `public-name`, `servers`, `caa`, `dnssec`, `split-horizon`, and for http-01 `wildcard`, `address`, `port-80`
    (with a `probe`). Names that no public authority can know are not looked at further. Raises RejectedError for what
    is no name.
    """
    own: list[tuple[str, str]] = []
    further: list[str] = []
    for name in dict.fromkeys(map(normal_name, request.names)):
        reason = own_network(name) if request.is_public and "public-name" not in request.skip else ""
        if reason:
            own.append((name, reason))
        else:
            further.append(name)
    checks = [Preflight("public-name", False, reason, _LOCAL_ISSUER, (name,)) for name, reason in own]
    work: list[Awaitable[list[Preflight]]] = []
    if further:
        work.append(_zones(lookup, request, further))
        work += [_caa(lookup, request, name) for name in further if "caa" not in request.skip]
        if request.kind == "http-01":
            work += [_http(lookup, request, name, probe) for name in further]
    for found in await asyncio.gather(*work):
        checks += found
    return _merged([one for one in checks if one.check not in request.skip])


def require(server_name: str, checks: Sequence[Preflight]) -> None:
    """Raise RejectedError with every check that says no; `server_name` is the authority's in sentences."""
    failed = [one for one in checks if not one.ok]
    if not failed:
        return
    said = "; ".join(one.sentence for one in failed)
    faults = [Fault(server_name, one.check, one.sentence) for one in failed]
    hint = "; ".join(dict.fromkeys(one.fix for one in failed if one.fix))
    raise RejectedError(f"{server_name}: not asked, it would refuse: {said}", hint=hint, faults=faults)


def is_public_authority(directory_url: str) -> bool:
    """Tell whether an authority is one of the internet, by its directory's host: it sees what the internet sees."""
    host = urlsplit(directory_url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return not own_network(host)
    return not is_private_address(host)


def own_network(name: str) -> str:
    """Return why no public authority signs a name, "" where its form does not tell."""
    bare = name.removeprefix("*.")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        pass
    else:
        return f"{bare} is an address, not a name"
    if "." not in bare:
        return f"{bare} has no domain: no public authority can look at it"
    for suffix in _OWN:
        if bare == suffix or bare.endswith(f".{suffix}"):
            return f"{bare} is a name of the own network (.{suffix}): no public authority can look at it"
    return ""


async def _zones(lookup: Lookup, request: PreflightRequest, names: Sequence[str]) -> list[Preflight]:
    """Look at the zones that the names are in, each once."""
    checks: list[Preflight] = []
    zones: dict[str, list[str]] = {}
    for name in names:  # one after the other: those of one zone would all find out its servers
        bare = name.removeprefix("*.")
        # What the authority will ask for; the zone's servers are asked, no resolver that would remember.
        dns01 = request.kind == "dns-01"
        seen = await lookup.ask_all(RecordKey(f"_acme-challenge.{bare}", "TXT") if dns01 else RecordKey(bare, "A"))
        checks.append(_servers(bare, seen, is_public=request.is_public))
        for zone in dict.fromkeys(filter(None, map(lookup.known_zone, seen.chain))):
            zones.setdefault(zone, []).append(bare)
    for zone, members in zones.items():
        if "dnssec" not in request.skip:
            checks.append(await _dnssec(lookup, zone, members))
        if "split-horizon" not in request.skip:
            checks.append(await _horizon(lookup, zone, members))
    return checks


def _servers(name: str, seen: Seen, *, is_public: bool) -> Preflight:
    authority = seen.authority
    zone = authority.zone or name
    names = (name,)
    if not authority.servers and not authority.zone and authority.via is not Via.NOBODY:
        fix = _LOCAL_ISSUER if is_public else "name the servers that know it (DNS_RESOLVERS)"
        return Preflight("public-name", not is_public, f"{authority.sentence}: no authority can look at it", fix, names)
    if seen.speaking:
        odd = [row.sentence for row in seen.answers if row.error]
        if not odd:
            return Preflight("servers", True, f"all {len(seen.speaking)} servers of {zone} answer", "", names)
        sentence = f"not every server of {zone} answers: {'; '.join(odd)}"
        return Preflight("servers", True, sentence, "mend them: an authority may ask just these", names)
    return _unheard(zone, seen, names)


def _unheard(zone: str, seen: Seen, names: tuple[str, ...]) -> Preflight:
    """Judge a zone none of whose servers was heard: that may be the zone, or only this network."""
    if seen.intercepted:
        sentence = "port 53 is redirected here: whether a record has arrived is asked over HTTPS"
        return Preflight("servers", True, sentence, "let this host ask the internet on port 53", names)
    if not seen.answers and seen.authority.via is Via.NOBODY:
        fix = "let this host ask the internet on port 53 or 443; where it can, mend the zone's servers"
        return Preflight("servers", True, f"{zone} cannot be looked at: {seen.authority.sentence}", fix, names)
    said = "; ".join(row.sentence for row in seen.answers) or seen.authority.sentence
    lame = [row for row in seen.lame if not row.recursive]
    if lame and len(seen.lame) == len(seen.answers):
        return Preflight("servers", False, f"no server serves {zone}: {said}", "mend the delegation of the zone", names)
    fix = "if they are up, let this host ask the internet on port 53; else mend them"
    return Preflight("servers", True, f"no server of {zone} answers here: {said}", fix, names)


async def _dnssec(lookup: Lookup, zone: str, names: Sequence[str]) -> Preflight:
    found = await check_dnssec(lookup, zone)
    sentence = "; ".join((found.sentence, *found.warnings))
    if found.state is DnssecState.BROKEN:
        fix = "have the registrar remove the DS record, or enter that of the zone's present key"
        return Preflight("dnssec", False, sentence, fix, tuple(names))
    fix = "have the registrar's DS records and the zone's keys agree" if found.warnings else ""
    return Preflight("dnssec", True, sentence, fix, tuple(names))


async def _horizon(lookup: Lookup, zone: str, names: Sequence[str]) -> Preflight:
    found = await split_horizon(lookup, zone)
    fix = ""
    if found.split:
        fix = f"write challenges into the public zone {zone}: what the resolver of this network says is not looked at"
    return Preflight("split-horizon", True, found.sentence, fix, tuple(names))


async def _caa(lookup: Lookup, request: PreflightRequest, name: str) -> list[Preflight]:
    if not request.ca_domains:
        told = "the authority does not say which CAA records are meant for it: they are not looked at"
        return [Preflight("caa", True, told, "", (name,))]
    wanted = CaaRequest(request.ca_domains, name.startswith("*."), request.kind, request.account_uri)
    found = await caa_allows(lookup, name, wanted)
    fix = ""
    if found.allowed is not True:
        tag = "issuewild" if name.startswith("*.") else "issue"
        at = found.at_name or name.removeprefix("*.")
        fix = f'have a CAA record at {at}: 0 {tag} "{min(wanted.domains)}"'
    if found.allowed is None:
        fix = "mend the servers of the zone: what cannot be told, an authority takes as no"
    return [Preflight("caa", found.allowed is not False, found.sentence, fix, (name,))]


async def _http(lookup: Lookup, request: PreflightRequest, name: str, probe: Probe | None) -> list[Preflight]:
    if name.startswith("*."):
        return [Preflight("wildcard", False, f"{name} cannot be shown by http-01", "use dns-01 for it", (name,))]
    if {"address", "port-80"} <= request.skip:
        return []
    addresses, failure = await addresses_of(lookup, name)
    address = _address(request, name, addresses, failure)
    checks = [address]
    if address.ok and probe is not None and "port-80" not in request.skip:
        checks.append(await _port(probe, name, addresses))
    return checks


def _address(request: PreflightRequest, name: str, addresses: Sequence[str], failure: str) -> Preflight:
    here = {_normal(one) for one in request.own_addresses}
    where = ", ".join(request.own_addresses)
    if not addresses:
        fix = f"have a record of {name} lead to {where or 'this host'}"
        return Preflight("address", False, f"{name} leads nowhere: {failure}", fix, (name,))
    private = [one for one in addresses if is_private_address(one)]
    if private and request.is_public:
        sentence = f"{name} leads to {', '.join(private)}, which only the own network reaches"
        return Preflight("address", False, sentence, "use dns-01 for it: nobody has to reach the name then", (name,))
    elsewhere = [one for one in addresses if _normal(one) not in here] if here else []
    if elsewhere:
        sentence = f"{name} leads to {', '.join(elsewhere)}, and this is {where}"
        fix = f"have every A and AAAA record of {name} lead here, or use dns-01; an authority tries IPv6 first"
        return Preflight("address", False, sentence, fix, (name,))
    return Preflight("address", True, f"{name} leads to {', '.join(addresses)}", "", (name,))


async def _port(probe: Probe, name: str, addresses: Sequence[str]) -> Preflight:
    """Look whether something speaks HTTP on port 80, whatever it says of a challenge that does not exist."""
    sights = await asyncio.gather(*(look(probe, name, one, _LOOKED_FOR) for one in addresses))
    silent = [one for one in sights if one.error]
    if not silent:
        return Preflight("port-80", True, f"port 80 of {name} answers at {', '.join(addresses)}", "", (name,))
    fix = (
        "open port 80 to the internet and lead it to the ingress (a router that does not lead its own address back "
        "inside looks the same from here); or use dns-01"
    )
    sentence = f"port 80 of {name} does not do: {'; '.join(one.sentence for one in silent)}"
    # One address that answers is enough for an authority, unless the other takes the connection and is wrong.
    return Preflight("port-80", len(silent) < len(sights) or not probe.strict, sentence, fix, (name,))


def _normal(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _merged(checks: Collection[Preflight]) -> tuple[Preflight, ...]:
    """Return the checks, those that say the same as one with all of their names."""
    found: dict[tuple[str, bool, str, str], list[str]] = {}
    for one in checks:
        found.setdefault((one.check, one.ok, one.sentence, one.fix), []).extend(one.names)
    return tuple(Preflight(*key, names=tuple(dict.fromkeys(names))) for key, names in found.items())
