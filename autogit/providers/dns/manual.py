"""A provider for DNS that is kept by hand: it says the lines to enter, and looks by DNS whether they are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from autogit.errors import MissingError, UnavailableError, UnsupportedError
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, normal_name, record_set
from autogit.providers.base import HealthStatus, ProviderContext
from autogit.providers.dns.asking import Endpoints, Texts, answered, ask, system_servers
from autogit.providers.dns.base import DNSConfig, DNSProvider
from autogit.providers.dns.presentation import zone_lines

_ASK_SECONDS = 3.0


class ManualConfig(DNSConfig):
    """Which zones are kept by hand, and who is asked about them."""

    zones: Texts = Field((), description="Zones kept by hand, separated by commas. Unset: the base domain")
    resolvers: Endpoints = Field(
        (), description="DNS servers to ask, each host or host:port, separated by commas (empty: the system's)"
    )
    ttl: int = Field(300, ge=1, le=86400, description="TTL, in seconds, of the lines to enter")
    private: bool = Field(False, description="Whether only the own network sees these zones")


class ManualDNS(DNSProvider[ManualConfig]):
    """Writes nothing: a write succeeds where asking shows that it was done by hand, else it says the lines.

    Resolvers answer with what is left of a TTL, so none is compared: every set has the `ttl` of the configuration,
    which the capabilities have as least and most. A zone is not listed by asking; keys are. A name that only a
    wildcard answers for looks as if it were there; when it is to be deleted it counts as gone.
    """

    provider_name: ClassVar[str] = "manual"
    capabilities: ClassVar[Capabilities] = Capabilities(
        types=frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}),
        one_ttl=True,
        lists=False,
        by_hand=True,
    )
    Config: ClassVar[type[DNSConfig]] = ManualConfig

    def __init__(self, context: ProviderContext, config: ManualConfig) -> None:
        super().__init__(context, config)
        self._zones = [Zone(name, name, self.private) for name in dict.fromkeys(map(normal_name, config.zones))]
        fitting = replace(self.capabilities, least_ttl=config.ttl, most_ttl=config.ttl)
        self.capabilities = fitting  # type: ignore[misc] # the configuration says which TTL

    @property
    def asked_at(self) -> tuple[str, ...]:
        """The servers that the settings name."""
        return self.config.resolvers

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones of the configuration; their names are their ids."""
        return self._zones

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return what DNS answers for the keys; nothing without keys, for a zone does not show what is in it."""
        if zone not in self._zones:
            raise MissingError(f"manual: MANUAL_ZONES has no zone {zone.name}")
        mine = [key for key in sorted(keys or ()) if self.choose_zone(key.name, self._zones) == zone]
        found = [await self._asked(key) for key in mine]
        return [one for one in found if one]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Look whether a set was entered. Raises UnsupportedError with its lines where it was not."""
        there = await self._now(zone, wanted)
        if there is None:
            raise _by_hand(zone, add=wanted)
        if there.values != wanted.values:
            raise self.changed(wanted.key, there)

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Look whether a set was changed. Raises UnsupportedError with the old and the new lines where it was not."""
        there = await self._now(zone, wanted)
        if there is None or there.values not in {old.values, wanted.values}:
            raise self.changed(wanted.key, there)
        if there.values != wanted.values:
            raise _by_hand(zone, add=wanted, remove=old)

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Look whether a set was removed. Raises UnsupportedError with its lines where it was not."""
        there = await self._now(zone, old)
        if there is None or await self._is_a_wildcards(zone, there):
            return
        if there.values != old.values:
            raise self.changed(old.key, there)
        raise _by_hand(zone, remove=old)

    async def health(self) -> HealthStatus:
        """Ask for the zones by DNS: somebody must answer, be it no."""
        try:
            for zone in self._zones:
                await self._asked(RecordKey(zone.name, "NS"))
        except UnavailableError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        return await super().health()

    async def _now(self, zone: Zone, like: RecordSet) -> RecordSet | None:
        if like.proxied:
            raise UnsupportedError(f"manual: {like.key} cannot be proxied: there is nothing to tell that to")
        return await self.find_record(zone, like.key)

    async def _is_a_wildcards(self, zone: Zone, there: RecordSet) -> bool:
        """Tell whether a wildcard above answers the same (RFC 4592): then the name itself need not be there."""
        above = there.key.name
        while above != zone.name and not above.startswith("*."):
            above = above.partition(".")[2]
            wild = await self._asked(RecordKey(f"*.{above}", there.key.type))
            if wild is not None and wild.values == there.values:
                return True
        return False

    async def _asked(self, key: RecordKey) -> RecordSet | None:
        values = await asyncio.to_thread(self._ask_each, key)
        return record_set(key.name, key.type, self.config.ttl, values) if values else None

    def _ask_each(self, key: RecordKey) -> list[str]:
        """Return what the first server that answers knows."""
        from dns import rcode  # noqa: PLC0415 - dnspython takes long to import, and the contract is read often

        said = []
        for server in self.config.resolvers or system_servers():
            try:
                answer = ask(server, key, _ASK_SECONDS)
            except UnavailableError as exc:
                said.append(exc.message)
                continue
            if answer.rcode() in {rcode.NOERROR, rcode.NXDOMAIN}:
                return answered(answer, key)
            said.append(f"{server} says {rcode.to_text(answer.rcode())}")
        raise UnavailableError(
            f"manual: nobody answers for {key}: {'; '.join(said) or 'this system names no DNS server'}",
            hint="MANUAL_RESOLVERS names the DNS servers to ask",
        )


def _by_hand(zone: Zone, *, add: RecordSet | None = None, remove: RecordSet | None = None) -> UnsupportedError:
    """Return the error that says what to do: the change that asked for it has not been made yet."""
    parts = []
    if remove:
        parts += [f"remove from the zone {zone.name}:", *zone_lines(remove)]
    if add:
        parts += [f"enter in the zone {zone.name}:", *zone_lines(add)]
    return UnsupportedError(
        "manual: " + "\n".join(parts),
        hint="do that where the zone is kept, then run the command again; a resolver may remember the former answer "
        "for some minutes, the zone's own servers (MANUAL_RESOLVERS) do not",
    )
