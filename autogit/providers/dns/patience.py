"""A provider that asks again: reads are repeated, a write whose answer was lost is looked at before it is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from autogit.errors import RateLimitedError, UnavailableError
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone
from autogit.model.resource import Address
from autogit.providers.base import HealthStatus
from autogit.providers.dns.base import DNSProvider

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[Any]]

_TRIES = 4
_PAUSES_SECONDS = (1.0, 3.0, 9.0)
LONGEST_WAIT_SECONDS = 120.0
"""What is waited for a backend that says when to come again; longer ones are told to the user."""


class PatientDNS(DNSProvider[Any]):
    """Wraps a provider. Waits as long as the backend says (RFC 9110 section 10.2.3), else 1, 3 and 9 seconds.

    Gives up after four tries, or where the backend asks for more than two minutes, with the last error.
    """

    provider_name: ClassVar[str] = "patient"

    def __init__(self, provider: DNSProvider[Any], sleep: Sleep = asyncio.sleep) -> None:
        super().__init__(provider.context, provider.config)
        self.provider = provider
        self._sleep = sleep
        # Told by an instance here: a wrapper is called what its provider is called.
        self.provider_name = provider.provider_name  # type: ignore[misc]

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override] # a class has it as a constant, a wrapper not
        """What the provider can do, as it says now: some learn it when they are asked."""
        return self.provider.capabilities

    async def list_zones(self) -> Sequence[Zone]:
        """Ask, and ask again."""
        return await self._asked(self.provider.list_zones)

    @property
    def private(self) -> bool:
        """As the provider says."""
        return self.provider.private

    def fixed_by(self, one: RecordSet) -> str:
        """As the provider says."""
        return self.provider.fixed_by(one)

    @property
    def asked_at(self) -> tuple[str, ...]:
        """As the provider says."""
        return self.provider.asked_at

    def choose_zone(self, name: str, zones: Collection[Zone]) -> Zone | None:
        """Ask the provider: it may choose among zones of one name."""
        return self.provider.choose_zone(name, zones)

    async def health(self) -> HealthStatus:
        """Ask the provider: it may know more to look at."""
        return await self.provider.health()

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Ask, and ask again."""
        return await self._asked(partial(self.provider.list_records, zone, keys))

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Create once, however often it takes to be told so."""
        await self._written(zone, wanted.key, wanted, partial(self.provider.create_record, zone, wanted))

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Change once."""
        await self._written(zone, wanted.key, wanted, partial(self.provider.update_record, zone, old, wanted))

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Delete once."""
        await self._written(zone, old.key, None, partial(self.provider.delete_record, zone, old))

    async def add_txt(self, zone: Zone, name: str, value: str, ttl: int) -> None:
        """Add a value: harmless to repeat."""
        await self._asked(partial(self.provider.add_txt, zone, name, value, ttl))

    async def remove_txt(self, zone: Zone, name: str, value: str) -> None:
        """Remove a value: harmless to repeat."""
        await self._asked(partial(self.provider.remove_txt, zone, name, value))

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                return await ask()
            except UnavailableError as exc:
                await self._wait(exc, attempt)
            attempt += 1

    async def _written(self, zone: Zone, key: RecordKey, wanted: RecordSet | None, write: Callable[[], Any]) -> None:
        attempt = 0
        while True:
            try:
                await write()
            except UnavailableError as exc:
                await self._wait(exc, attempt)
                # A refusal for asking too often was not carried out; for anything else nobody knows.
                if not isinstance(exc, RateLimitedError) and await self._is_done(zone, key, wanted):
                    return
            else:
                return
            attempt += 1

    async def _is_done(self, zone: Zone, key: RecordKey, wanted: RecordSet | None) -> bool:
        """Look whether a write landed; the write itself says where what is there is another's."""
        now = next(iter(await self.list_records(zone, [key])), None)
        return _alike(now, wanted, marks=self.capabilities.marks)

    async def _wait(self, exc: UnavailableError, attempt: int) -> None:
        if attempt >= _TRIES - 1:
            raise exc
        told = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
        if told > LONGEST_WAIT_SECONDS:
            exc.hint = "; ".join(p for p in (f"it may be asked again in {told / 60:.0f} minutes", exc.hint) if p)
            raise exc
        pause = told or _PAUSES_SECONDS[attempt]
        self.context.progress(Address("dns", self.provider_name), f"{exc.message}; asking again in {pause:.0f} s")
        await self._sleep(pause)


def _alike(one: RecordSet | None, other: RecordSet | None, *, marks: bool = False) -> bool:
    if one is None or other is None:
        return one is other
    return one.same_data(other) and (not marks or one.mark == other.mark)
