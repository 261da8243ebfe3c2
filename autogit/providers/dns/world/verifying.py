"""The verdict on wanted record sets: whether the servers of their zones answer as wished, in a sentence each."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autogit.model.dns import RecordKey, RecordSet
from autogit.model.dns_checks import CheckState, RecordCheck, Seen, ServerAnswer, Via
from autogit.providers.dns.presentation import value_of, zone_lines
from autogit.providers.dns.world.lookup import Lookup

_AT_ONCE = 8
_WORST_LAST = (
    CheckState.OK,
    CheckState.DIFFERS,
    CheckState.MISSING,
    CheckState.UNKNOWN,
    CheckState.UNREACHABLE,
)
_ADDRESSES = ("A", "AAAA")
_SHOWN_CHARACTERS = 80


def random_label() -> str:
    """Return a label that nobody has made a record for: what answers it is a wildcard."""
    return f"autogit-{secrets.token_hex(6)}"


async def verify(
    lookup: Lookup, wanted: Sequence[RecordSet], *, label: Callable[[], str] = random_label
) -> tuple[RecordCheck, ...]:
    """Return the verdict on each wanted set, in their order.

    Every address of the zone's servers is asked. Where none answers, public resolvers are asked, and the sentence says
    so. Of a proxied set only some address is expected. A wildcard is asked literally and by a random label below it.
    A TTL that is not as wanted is a warning; so are servers that do not answer or do not serve the zone.
    """
    room = asyncio.Semaphore(_AT_ONCE)
    lookup = lookup.impatient()

    async def verdict(one: RecordSet) -> RecordCheck:
        async with room:
            return await _verify_one(lookup, one, label)

    # One after the other first: sets of one zone would otherwise all find out its servers.
    for suffix in dict.fromkeys(".".join(one.key.name.split(".")[-2:]) for one in wanted):
        await lookup.authority_over(suffix)
    return tuple(await asyncio.gather(*map(verdict, wanted)))


async def _verify_one(lookup: Lookup, wanted: RecordSet, label: Callable[[], str]) -> RecordCheck:
    literal = await _verify_name(lookup, wanted, wanted.key.name)
    if not wanted.key.name.startswith("*."):
        return literal
    below = await _verify_name(lookup, wanted, f"{label()}.{wanted.key.name[2:]}")
    worst = max((literal, below), key=lambda check: _WORST_LAST.index(check.state))
    sentence = literal.sentence
    if below.state is not literal.state:
        sentence = f"{literal.sentence}; but a name below it: {below.sentence}"
    elif below.ok:
        sentence = f"{literal.sentence}, and so is {below.asked[0]} below it"
    return replace(
        worst,
        sentence=sentence,
        rows=(*literal.rows, *below.rows),
        warnings=tuple(dict.fromkeys((*literal.warnings, *below.warnings))),
        asked=(*literal.asked, *below.asked),
    )


async def _verify_name(lookup: Lookup, wanted: RecordSet, name: str) -> RecordCheck:
    if not wanted.proxied:
        return await _verify_key(lookup, wanted, RecordKey(name, wanted.key.type))
    kinds = [wanted.key.type] if wanted.key.type in _ADDRESSES else list(_ADDRESSES)
    checks = [await _verify_key(lookup, wanted, RecordKey(name, kind)) for kind in kinds]
    return min(checks, key=lambda check: _WORST_LAST.index(check.state))


async def _verify_key(lookup: Lookup, wanted: RecordSet, key: RecordKey) -> RecordCheck:
    seen = await lookup.ask_all(key)
    odd = _oddities(seen)
    asked = (key.name,)
    if seen.sentence and seen.answers:  # a circle of aliases, or servers that differ in one
        return RecordCheck(
            wanted, CheckState.DIFFERS, f"{key}: {seen.sentence}", seen.answers, odd, asked, Via.AUTHORITY
        )
    if seen.speaking:
        view = _View(key, seen.speaking, seen.chain)
        state, sentence = _judge(wanted, view)
        lag = _ttl_warnings(wanted, view) if state is CheckState.OK else ()
        return RecordCheck(wanted, state, sentence, seen.answers, (*odd, *lag), asked, Via.AUTHORITY)
    if not seen.authority.servers and seen.authority.via is not Via.NOBODY and not seen.authority.zone:
        return RecordCheck(
            wanted, CheckState.MISSING, f"{key}: {seen.authority.sentence}", (), odd, asked, seen.authority.via
        )
    return await _verify_from_outside(lookup, wanted, key, seen)


async def _verify_from_outside(lookup: Lookup, wanted: RecordSet, key: RecordKey, seen: Seen) -> RecordCheck:
    """Take what public resolvers say: the zone's servers could not be asked, or do not know the zone."""
    odd = _oddities(seen)
    rows = await lookup.public_answers(key, https_only=seen.intercepted)
    speaking = tuple(row for row in rows if not row.error)
    because = _why_not_asked(seen)
    if not speaking:
        state = CheckState.UNKNOWN if seen.lame and not seen.intercepted else CheckState.UNREACHABLE
        besides = ", and no public resolver says what it is" if seen.authority.zone or not seen.answers else ""
        sentence = f"{key} cannot be checked: {because}{besides}"
        return RecordCheck(wanted, state, sentence, (*seen.answers, *rows), odd, (key.name,))
    state, sentence = _judge(wanted, _View(key, speaking))
    via = Via.DOH if all(row.server.name.startswith("https:") for row in speaking) else Via.RESOLVER
    sentence = f"{sentence} (asked public resolvers: {because})"
    return RecordCheck(wanted, state, sentence, (*seen.answers, *rows), odd, (key.name,), via)


@dataclass(frozen=True, slots=True)
class _View:
    """The answers that count for a key, and the names that led to them."""

    key: RecordKey
    rows: tuple[ServerAnswer, ...]
    chain: tuple[str, ...] = ()

    @property
    def through(self) -> str:
        """The aliases as a part of a sentence."""
        return f" (through {' -> '.join(self.chain)})" if len(self.chain) > 1 else ""


def _judge(wanted: RecordSet, view: _View) -> tuple[CheckState, str]:
    key, through = view.key, view.through
    if not any(row.values for row in view.rows):
        return CheckState.MISSING, f"{key} is not there{through}: {_who(view.rows)} has nothing"
    if wanted.proxied:
        return CheckState.OK, f"{key} answers with the proxy's addresses, {_shown(view.rows[0].values)}{through}"
    right = normal_values(wanted)
    good = [row for row in view.rows if row.values == right]
    if len(good) == len(view.rows):
        return CheckState.OK, f"{key} is {_shown(right)} at {_who(view.rows)}{through}"
    wrong: dict[tuple[str, ...], list[ServerAnswer]] = {}
    for row in view.rows:
        if row.values != right:
            wrong.setdefault(row.values, []).append(row)
    said = [f"{_shown(values)} at {_who(rows)}" for values, rows in wrong.items()]
    as_wanted = f"as wanted at {_who(good)}, but " if good else ""
    instead = "" if good else f" instead of {_shown(right)}"
    return CheckState.DIFFERS, f"{key} is {as_wanted}{', '.join(said)}{instead}{through}"


def normal_values(wanted: RecordSet) -> tuple[str, ...]:
    """Return a set's values as an answer has them: `2001:DB8:0::1` as `2001:db8::1`, a CAA value quoted."""
    from dns import exception, rdata  # noqa: PLC0415 - dnspython takes long to import

    kind = wanted.key.type
    found = set()
    for line, value in zip(zone_lines(wanted), wanted.values, strict=True):
        try:
            found.add(value_of(rdata.from_text("IN", kind, line.split(" ", 4)[4]), kind))
        except (exception.DNSException, ValueError):
            found.add(value)  # a provider took it; then it is compared as it stands
    return tuple(sorted(found))


def _oddities(seen: Seen) -> tuple[str, ...]:
    """Return what is wrong with the servers themselves, a sentence each."""
    if seen.intercepted:
        return ("something on the way answers in the servers' place: port 53 is redirected, by a router or a firewall",)
    lame = [f"lame: {row.sentence}" for row in seen.lame]
    return (*lame, *(row.sentence for row in seen.silent if seen.speaking))


def _ttl_warnings(wanted: RecordSet, view: _View) -> tuple[str, ...]:
    """Return where the TTL is another one; through aliases it is the target's, which was not wished for."""
    if wanted.proxied or view.through:
        return ()
    other = [row for row in view.rows if row.ttl is not None and row.ttl != wanted.ttl]
    return tuple(f"{view.key} has a TTL of {row.ttl} s at {row.server}, {wanted.ttl} s is wanted" for row in other)


def _why_not_asked(seen: Seen) -> str:
    if seen.intercepted:
        return "port 53 is redirected, something on the way answers in the servers' place"
    if not seen.answers:
        return seen.authority.sentence
    if not seen.authority.zone:  # servers that were named
        return "; ".join(row.sentence for row in seen.answers)
    if not seen.lame:
        return f"no server of {seen.authority.zone} answers"
    return f"no server of {seen.authority.zone} answers with authority"


def _who(rows: Sequence[ServerAnswer]) -> str:
    """Return the servers in few words: all of them are in the rows."""
    servers = [str(row.server) for row in rows]
    return servers[0] if len(servers) == 1 else f"each of {len(servers)}: {', '.join(servers)}"


def _shown(values: Sequence[str]) -> str:
    """Return values in one line; a key of 600 characters would hide the sentence."""
    text = ", ".join(values) or "nothing"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
