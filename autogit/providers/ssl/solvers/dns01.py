"""Shows dns-01 challenges (RFC 8555 section 8.4): TXT values beside those of others, waited for once, taken away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderError,
    RejectedError,
    StalePlanError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.acme import Challenge, ChallengeKind
from autogit.model.dns import RecordKey, Zone, normal_name, record_set
from autogit.model.dns_checks import Propagation, PropagationState
from autogit.providers.dns.asking import system_servers
from autogit.providers.dns.base import DNSProvider
from autogit.providers.dns.patience import Sleep
from autogit.providers.dns.presentation import zone_lines
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.propagation import Waiting, await_txt
from autogit.providers.ssl.solvers.journal import Entry, Journal
from autogit.providers.ssl.solvers.unbroken import to_its_end

_MOST_ALIASES = 8
_TRIES = 5
_PAUSE_SECONDS = 0.5
_FIXED_WAIT_SECONDS = 60.0
_BY_HAND_SECONDS = 600.0
Say = Callable[[str], None]


def _nobody(_text: str) -> None:
    """Report nowhere."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the values of one challenge name really go."""

    asked: str
    name: str
    zone: Zone


class Dns01Solver:
    """Publishes TXT values through a DNS provider.

    `lookup` asks the world; a zone that the world does not have is asked at the provider's own server. `waiting` says
    how long to wait for the zone's servers (two minutes, ten where a person enters the values), `fixed_wait_seconds`
    how long where nobody can be asked. `state_file` holds what is published (see journal.py). What is raised begins
    with the provider's name.
    """

    kind: ClassVar[ChallengeKind] = "dns-01"

    def __init__(  # noqa: PLR0913 - each is a choice of the caller's, and all have a default
        self,
        provider: DNSProvider[Any],
        lookup: Lookup,
        *,
        state_file: Path,
        waiting: Waiting | None = None,
        ttl: int = 60,
        fixed_wait_seconds: float = _FIXED_WAIT_SECONDS,
        sleep: Sleep = asyncio.sleep,
        progress: Say = _nobody,
    ) -> None:
        self.provider = provider
        self._lookup = lookup
        usual = Waiting(_BY_HAND_SECONDS) if provider.capabilities.by_hand else Waiting()
        self._waiting = waiting or usual
        self._ttl = min(max(ttl, provider.capabilities.least_ttl), provider.capabilities.most_ttl)
        self._fixed_wait_seconds = fixed_wait_seconds
        self._sleep = sleep
        self._say = progress
        self._journal = Journal(state_file, say=progress)
        self._in_flight: set[tuple[str, str]] = set()
        self._noted: dict[tuple[str, str], Entry] = {}

    async def present(self, challenges: Sequence[Challenge]) -> None:
        """Publish all values, then wait until every server of their zones has them.

        What an earlier run left is taken away first. Raises MissingError where no zone of the provider holds the place,
        RejectedError for aliases that lead nowhere, UnavailableError where a server does not get the values in time,
        and what the provider raises; `clean` takes away what was published then.
        """
        wanted = _values(challenges)
        if not wanted:
            return
        if "TXT" not in self.provider.capabilities.types:
            hint = "choose another DNS provider, or http-01 for names that everybody can reach"
            raise UnsupportedError(
                f"{self.provider.provider_name}: holds no TXT records, which dns-01 needs", hint=hint
            )
        self._in_flight |= _pairs(wanted)
        await self._clean_up_after_others()
        zones = await self.provider.list_zones()
        places = [await self._end_of(place, zones) for place in wanted]
        values = _by_place(places, wanted)
        entries = [
            Entry(self.provider.provider_name, place.name, value, place.asked)
            for place in places
            for value in wanted[place.asked]
        ]
        await to_its_end(asyncio.to_thread(self._journal.note, entries))
        self._noted |= {(one.asked, one.value): one for one in entries}
        for (name, zone), texts in values.items():
            await self._publish(zone, name, texts)
        await self._wait(places, wanted)

    async def clean(self, challenges: Sequence[Challenge]) -> None:
        """Take these values away, all that can be; what cannot is tried again by the next run.

        Raises one ProviderError (UnavailableError where all may pass) for all that could not be taken away.
        """
        wanted: set[tuple[str, str]] = set()
        for one in challenges:
            with contextlib.suppress(RejectedError):  # so it was when it was to be presented: nothing of it is there
                wanted |= _pairs(_values([one]))
        try:
            found = [self._noted.pop(pair) for pair in sorted(wanted & self._noted.keys())]
            found += await self._unknown(wanted - self._in_flight)
            failures = await self._take_away(found)
        finally:
            self._in_flight -= wanted
            if not self._in_flight:
                await asyncio.to_thread(self._journal.release)
        if failures:
            raise _joined(self.provider.provider_name, failures)

    async def leftovers(self) -> tuple[Entry, ...]:
        """Return the values that runs left which are over, those of other providers too."""
        return tuple(await asyncio.to_thread(self._journal.orphans))

    async def clean_leftovers(self) -> tuple[Entry, ...]:
        """Take away what runs left which are over, and return that. Raises as `clean` does, after trying all."""
        found = [one for one in await self.leftovers() if self._is_ours(one)]
        failures = await self._take_away(found)
        if failures:
            raise _joined(self.provider.provider_name, failures)
        return tuple(found)

    async def _clean_up_after_others(self) -> None:
        """Take away what was left; a failure is told, it must not stop a renewal."""
        left = await self.leftovers()
        failures = await self._take_away([one for one in left if self._is_ours(one)])
        for failure in failures:
            self._say(f"a challenge value of an earlier run stays for now: {failure.message}")
        for name in sorted({one.provider for one in left if not self._is_ours(one)}):
            self._say(f"challenge values of an earlier run are still at {name}, which is not the provider any more")

    def _is_ours(self, entry: Entry) -> bool:
        return entry.provider == self.provider.provider_name

    async def _unknown(self, wanted: Collection[tuple[str, str]]) -> list[Entry]:
        """Return where values are that this instance did not publish."""
        if not wanted:
            return []
        zones = await self.provider.list_zones()
        places = {asked: await self._end_of(asked, zones) for asked in sorted({asked for asked, _ in wanted})}
        name = self.provider.provider_name
        return [Entry(name, places[asked].name, value, asked) for asked, value in sorted(wanted)]

    async def _publish(self, zone: Zone, name: str, values: Sequence[str]) -> None:
        if self.provider.capabilities.by_hand:
            lines = "\n".join(zone_lines(record_set(name, "TXT", self._ttl, values)))
            self._say(f"enter in the zone {zone.name}, beside what is there:\n{lines}")
            return
        for value in values:
            await self._patiently(partial(self.provider.add_txt, zone, name, value, self._ttl))

    async def _take_away(self, entries: Sequence[Entry]) -> list[AutogitError]:
        """Take values away and strike them out; returns why some stay."""
        if not entries:
            return []
        failures: list[AutogitError] = []
        gone: list[Entry] = []
        silent: set[Zone | None] = set()
        try:
            zones = await self.provider.list_zones()
            for one in entries:
                zone = self.provider.choose_zone(one.place, zones)
                if zone in silent:
                    continue
                try:
                    if await self._remove(one, zone, zones):
                        gone.append(one)
                except AutogitError as exc:
                    failures.append(exc)
                    # It would be asked for each value of the zone, each time for as long as patience lasts.
                    if isinstance(exc, UnavailableError) and not isinstance(exc.__cause__, StalePlanError):
                        silent.add(zone)
        except AutogitError as exc:  # no zones: nothing can be taken away
            failures.append(exc)
        finally:
            try:
                await asyncio.to_thread(self._journal.forget, gone)
            except AutogitError as exc:
                failures.append(exc)
        return failures

    async def _remove(self, entry: Entry, zone: Zone | None, zones: Collection[Zone]) -> bool:
        """Take one value away; tell whether it is gone."""
        if zone is None:
            raise self.provider.no_zone(entry.place, zones)
        try:
            await self._patiently(partial(self.provider.remove_txt, zone, entry.place, entry.value))
        except UnsupportedError:
            if not self.provider.capabilities.by_hand:
                raise
            lines = "\n".join(zone_lines(record_set(entry.place, "TXT", self._ttl, [entry.value])))
            self._say(f"remove from the zone {zone.name}:\n{lines}")
            return False
        return True

    async def _patiently(self, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Write; where somebody changed the set at that moment, write again: the value is added to what is there."""
        for attempt in range(1, _TRIES + 1):
            try:
                await to_its_end(write())
            except StalePlanError as exc:
                if attempt == _TRIES:
                    hint = "another client writes challenges there too: run the command again"
                    raise UnavailableError(exc.message, hint=hint) from exc
                await self._sleep(_PAUSE_SECONDS * attempt)
            else:
                return

    async def _end_of(self, asked: str, zones: Collection[Zone]) -> _Place:
        """Follow the aliases of a challenge name to where the TXT set has to be. Raises RejectedError, MissingError."""
        chain = [asked]
        while alias := await self._alias(chain, zones):
            if alias in chain:
                raise self._lost(f"the aliases of {asked} go round in a circle: {' -> '.join([*chain, alias])}")
            if len(chain) > _MOST_ALIASES:
                raise self._lost(f"{asked} leads through more than {_MOST_ALIASES} aliases")
            chain.append(alias)
        zone = self.provider.choose_zone(chain[-1], zones)
        if zone is None:
            raise self._no_zone(chain, zones)
        return _Place(asked, chain[-1], zone)

    async def _alias(self, chain: Sequence[str], zones: Collection[Zone]) -> str:
        """Return where a CNAME at a chain's end leads, "" without one.

        A zone of the provider's tells it best: an answer of DNS may be made of a wildcard (RFC 4592), which ends to
        answer for a name as soon as there is something at it.
        """
        name = chain[-1]
        zone = self.provider.choose_zone(name, zones)
        if zone is not None and not self.provider.capabilities.by_hand:
            found = await self.provider.find_record(zone, RecordKey(name, "CNAME"))
            return normal_name(found.values[0]) if found else ""
        # TXT, for an alias is followed only then; its zone's servers are asked, no resolver that remembers.
        seen = await self._lookup.ask_all(RecordKey(name, "TXT"))
        if len(seen.chain) > 1:
            return "" if zone is not None and await self._is_wild(name, seen.chain[1]) else seen.chain[1]
        if seen.sentence and seen.answers:
            raise UnavailableError(f"{self.provider.provider_name}: {name} cannot be followed: {seen.sentence}")
        if not seen.speaking and zone is None:
            raise self._no_zone(
                chain, zones, f"; whether it is an alias cannot be seen: {seen.sentence or 'no answer'}"
            )
        return ""

    async def _is_wild(self, name: str, alias: str) -> bool:
        """Tell whether an alias comes of a wildcard: a name beside it, which nobody has, leads there too."""
        beside = f"_autogit-no-such-name.{name.partition('.')[2]}"
        return (await self._lookup.ask_all(RecordKey(beside, "TXT"))).chain[1:2] == (alias,)

    def _no_zone(self, chain: Sequence[str], zones: Collection[Zone], besides: str = "") -> MissingError:
        told = self.provider.no_zone(chain[-1], zones)
        if len(chain) == 1:
            hint = f"keep the zone at {self.provider.provider_name}, or have a CNAME at {chain[0]} lead into one of its"
            return MissingError(f"{told.message}{besides}", hint=hint)
        way = " -> ".join(chain)
        hint = f"have the CNAME lead into a zone of {self.provider.provider_name}, or remove it"
        return MissingError(f"{told.message}; the challenge leads there by CNAME: {way}{besides}", hint=hint)

    def _lost(self, sentence: str) -> RejectedError:
        return RejectedError(f"{self.provider.provider_name}: {sentence}", hint="mend the CNAME records of that name")

    async def _wait(self, places: Sequence[_Place], wanted: dict[str, tuple[str, ...]]) -> None:
        """Wait for all places at once, each as the authority will ask for it: by the challenge's name."""
        most = f"at most {self._waiting.deadline_seconds:.0f} s"
        zones = ", ".join(sorted({one.zone.name for one in places}))
        self._say(f"{self.provider.provider_name}: waiting until every server of {zones} has the challenge, {most}")
        lookups = {zone: await self._lookup_for(zone) for zone in {place.zone for place in places}}
        found = await asyncio.gather(
            *(await_txt(lookups[one.zone], one.asked, wanted[one.asked], self._waiting) for one in places)
        )
        name = self.provider.provider_name
        for text in dict.fromkeys(warning for one in found for warning in one.warnings):
            self._say(f"{name}: {text}")
        late = [one.sentence for one in found if one.state is PropagationState.LATE]
        if late:
            rows = [row.sentence for one in found for row in one.rows]
            raise UnavailableError(f"{name}: {'; '.join(late)}", hint=_late_hint(found), context=rows)
        blind = [one.sentence for one in found if one.state is PropagationState.UNCHECKED]
        if blind:
            self._say(f"{name}: {'; '.join(blind)}; waiting {self._fixed_wait_seconds:.0f} s instead")
            await self._sleep(self._fixed_wait_seconds)

    async def _lookup_for(self, zone: Zone) -> Lookup:
        """Return what asks for a zone: the world, or the provider's server where the world does not have it."""
        own = self.provider.asked_at or (tuple(system_servers()) if zone.private else ())
        if self._lookup.config.servers or not own:
            return self._lookup
        if not zone.private and (await self._lookup.authority_over(zone.name)).servers:
            return self._lookup
        return Lookup(replace(self._lookup.config, servers=own))


def _values(challenges: Sequence[Challenge]) -> dict[str, tuple[str, ...]]:
    """Return the values by the name that the authority asks for."""
    found: dict[str, dict[str, None]] = {}
    for one in challenges:
        if one.kind != "dns-01":
            raise RejectedError(f"dns-01: {one.identifier} is to be shown by {one.kind}, which TXT records cannot do")
        found.setdefault(normal_name(one.place), {})[one.value] = None
    return {place: tuple(values) for place, values in found.items()}


def _pairs(wanted: dict[str, tuple[str, ...]]) -> set[tuple[str, str]]:
    return {(place, value) for place, values in wanted.items() for value in values}


def _by_place(places: Sequence[_Place], wanted: dict[str, tuple[str, ...]]) -> dict[tuple[str, Zone], tuple[str, ...]]:
    """Return the values by where they go: several names may lead to one place."""
    found: dict[tuple[str, Zone], dict[str, None]] = {}
    for place in places:
        found.setdefault((place.name, place.zone), {}).update(dict.fromkeys(wanted[place.asked]))
    return {place: tuple(values) for place, values in found.items()}


def _joined(name: str, failures: Sequence[AutogitError]) -> ProviderError:
    """Return all failures to take something away as one error."""
    kind = UnavailableError if all(isinstance(one, UnavailableError) for one in failures) else ProviderError
    said = "; ".join(dict.fromkeys(one.message.removeprefix(f"{name}: ") for one in failures))
    hint = next((one.hint for one in failures if one.hint), "")
    return kind(
        f"{name}: challenge values could not be taken away: {said}",
        hint=f"the next run tries again{f'; {hint}' if hint else ''}",
    )


def _late_hint(found: Sequence[Propagation]) -> str:
    waited = max(one.waited_seconds for one in found)
    return f"a server of the zone does not get the record: mend it, or wait longer than {waited:.0f} s for it"
