"""DNSSEC of a zone: the parent's DS set, the zone's keys, and what validating resolvers make of them (RFC 4035)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autogit.model.dns import RecordKey, normal_name
from autogit.model.dns_checks import Authority, DnssecCheck, DnssecState
from autogit.providers.dns.world.exchange import Question, Reply
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import Heard

if TYPE_CHECKING:
    from dns.rdtypes.ANY.DNSKEY import DNSKEY
    from dns.rdtypes.ANY.DS import DS


async def check_dnssec(lookup: Lookup, zone: str) -> DnssecCheck:
    """Compare the DS set at the parent with the zone's DNSKEY set, and ask resolvers whether the zone validates."""
    zone = normal_name(zone)
    ds, keys, valid = await asyncio.gather(_ds(lookup, zone), _keys(lookup, zone), _validity(lookup, zone))
    matching = tuple(one for one in ds.records if any(_fits(zone, one, key) for key in keys.records))
    state, sentence = _dnssec_verdict(zone, ds, keys, matching, valid)
    stray = [one for one in ds.records if one not in matching]
    warnings = [*keys.warnings]
    if matching and stray:
        tags = ", ".join(str(one.key_tag) for one in stray)
        warnings.append(f"the parent of {zone} has a DS without a key in the zone: {tags}")
    return DnssecCheck(
        zone,
        state,
        sentence,
        ds=tuple(one.key_tag for one in ds.records),
        keys=tuple(sorted({_tag(key) for key in keys.records})),
        matching=tuple(one.key_tag for one in matching),
        validated=valid.authentic,
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True)
class _DsSet:
    """The parent's DS set; `failure` says why it is not known."""

    records: tuple[DS, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _KeySet:
    """The zone's keys, all servers together; `failure` says why they are not known."""

    records: tuple[DNSKEY, ...] = ()
    failure: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Validity:
    """What a validating resolver says: whether it validated, or that it fails unless told not to check."""

    authentic: bool | None = None
    fails: bool = False
    reason: str = ""


async def _ds(lookup: Lookup, zone: str) -> _DsSet:
    """Ask the parent's servers: what a resolver has may be yesterday's."""
    parent = await lookup.authoritative(zone.partition(".")[2]) if "." in zone else Authority("")
    question = Question(RecordKey(zone, "DS"), recurse=False)
    for _, reply in await lookup.ask_each(parent, question):
        return _DsSet(tuple(reply.records(question.key)))
    heard = await lookup.ask_public(Question(RecordKey(zone, "DS")))
    if heard.reply is None or not heard.reply.decides:
        return _DsSet(failure=_failure(heard))
    return _DsSet(tuple(heard.reply.records(question.key)))


async def _keys(lookup: Lookup, zone: str) -> _KeySet:
    """Ask every server of the zone: one without keys breaks the zone for those who reach it."""
    authority = await lookup.servers_of(zone)
    question = Question(RecordKey(zone, "DNSKEY"), recurse=False)
    told = await lookup.ask_each(authority, question)
    sets = {str(server): tuple(reply.records(question.key)) for server, reply in told}
    if not sets:
        heard = await lookup.ask_public(Question(question.key))
        if heard.reply is None or not heard.reply.decides:
            return _KeySet(failure=authority.sentence or _failure(heard))
        return _KeySet(tuple(heard.reply.records(question.key)))
    every = tuple(dict.fromkeys(key for keys in sets.values() for key in keys))
    without = [who for who, keys in sets.items() if every and not keys]
    warnings = tuple(f"{who} has the zone without its keys" for who in without)
    return _KeySet(every, warnings=warnings)


async def _validity(lookup: Lookup, zone: str) -> _Validity:
    """Ask every public resolver: one may still have what was valid an hour ago."""
    key = RecordKey(zone, "SOA")
    heard = await lookup.ask_every_public(Question(key, unchecked=False, authentic=True))
    replies = [reply for _, reply in heard if isinstance(reply, Reply)]
    failing = [reply for reply in replies if reply.rcode == "SERVFAIL"]
    if failing:
        unchecked = await lookup.ask_public(Question(key))
        if unchecked.reply is not None and unchecked.reply.decides:
            return _Validity(authentic=False, fails=True, reason=failing[0].reason)
    deciding = [reply for reply in replies if reply.decides]
    return _Validity(authentic=any(reply.has("AD") for reply in deciding) if deciding else None)


def _dnssec_verdict(
    zone: str, ds: _DsSet, keys: _KeySet, matching: Sequence[DS], valid: _Validity
) -> tuple[DnssecState, str]:
    because = f" ({valid.reason})" if valid.reason else ""
    refused = f"resolvers that validate answer SERVFAIL{because}, and a CA gets no answer either"
    if ds.records and keys.records and not matching:
        tags = ", ".join(str(one.key_tag) for one in ds.records)
        has = ", ".join(str(_tag(key)) for key in keys.records)
        return (
            DnssecState.BROKEN,
            f"DNSSEC of {zone} is broken: the parent's DS ({tags}) fits no key of the zone ({has}): {refused}",
        )
    if ds.records and not keys.records and not keys.failure:
        return DnssecState.BROKEN, f"DNSSEC of {zone} is broken: the parent has a DS, the zone has no key: {refused}"
    if valid.fails:
        return DnssecState.BROKEN, f"DNSSEC of {zone} is broken: {refused}; without validation there is an answer"
    if ds.failure or keys.failure:
        return DnssecState.UNKNOWN, f"DNSSEC of {zone} cannot be checked: {ds.failure or keys.failure}"
    if not ds.records:
        half = "has keys, but the parent has no DS: nobody validates it" if keys.records else "is not signed"
        return DnssecState.UNSIGNED, f"{zone} {half}"
    judged = {True: "a resolver validates it", False: "no resolver that was asked validates"}
    told = "no resolver could be asked" if valid.authentic is None else judged[valid.authentic]
    return DnssecState.SIGNED, f"{zone} is signed, the parent's DS fits, and {told}"


def _fits(zone: str, ds: DS, key: DNSKEY) -> bool:
    """Tell whether a DS is a key's digest; a digest of an unknown kind fits nothing."""
    from dns import dnssec, exception  # noqa: PLC0415 - dnspython takes long to import

    if _tag(key) != ds.key_tag or key.algorithm != ds.algorithm:
        return False
    try:
        made = dnssec.make_ds(f"{zone}.", key, ds.digest_type.name, policy=dnssec.allow_all_policy)  # SHA-1 too
    except (exception.DNSException, ValueError):
        return False
    return bool(made.digest == ds.digest)


def _tag(key: DNSKEY) -> int:
    from dns import dnssec  # noqa: PLC0415 - dnspython takes long to import

    return dnssec.key_id(key)


def _failure(heard: Heard) -> str:
    return heard.sentence if heard.reply is None else f"{heard.by} answers {heard.reply.rcode}"
