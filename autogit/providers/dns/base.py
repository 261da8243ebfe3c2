"""The contract of a DNS provider: four primitives over record sets, and what is made of them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from autogit.errors import MissingError, ProviderError, RejectedError, StalePlanError
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, record_set, zone_of
from autogit.providers.base import HealthStatus, Provider, ProviderContext


class DNSConfig(BaseModel):
    """A provider's own settings; each field is described and becomes `<PROVIDER>_<FIELD>` of `.env`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


C = TypeVar("C", bound=DNSConfig)


class DNSProvider(Provider, Generic[C]):
    """Zones and record sets of one account or server.

    An implementation holds the abstract methods and little else: it lists, adapts and executes; it compares nothing and
    knows of no owners. Its client library is imported inside the methods, on first use. Every error is an AutogitError
    whose message starts with the provider's name and says which setting or right is missing:

    | What happened | Raised |
    |---|---|
    | no answer, a 5xx, a broken connection | UnavailableError |
    | asked too often | RateLimitedError, with the seconds to wait if they were told |
    | credentials are wrong or lack a right | ProviderAuthError |
    | what was to be created is there; what was to be changed is not as it was read | StalePlanError |
    | what was to be changed or read is gone (zone) | MissingError |
    | refused for its content (CNAME beside other data, a TTL) | RejectedError |
    | cannot be held by this kind of backend at all | UnsupportedError |

    A write returns when the backend has accepted it and a read shows it; not when every secondary has it. Each method
    tries once: `patience.py` asks again, and reads before it repeats a write whose answer was lost.

    Where sets have marks: `create_record` leaves a set alone whose data is as wanted, whatever its mark (it may be
    another owner's); `update_record` writes the mark of `wanted` too.
    """

    provider_type: ClassVar[str] = "dns"
    twins_hint: ClassVar[str] = ""
    """What helps where two zones of one name are there: the setting that chooses one."""
    capabilities: ClassVar[Capabilities] = Capabilities()
    Config: ClassVar[type[DNSConfig]] = DNSConfig

    def __init__(self, context: ProviderContext, config: C) -> None:
        super().__init__(context)
        self.config = config
        self._locks: dict[str, asyncio.Lock] = {}

    @abstractmethod
    async def list_zones(self) -> Sequence[Zone]:
        """Return every zone that the credentials show, all pages of them."""

    @abstractmethod
    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return the sets of a zone, all pages of them, in normal form; with `keys` only those that are there.

        Types that this provider does not list in its capabilities are returned too where the backend shows them: they
        may stand in the way. Raises MissingError where the zone is gone.
        """

    @abstractmethod
    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Create a set. Raises StalePlanError where there is one of that name and type, unless it is as wanted."""

    @abstractmethod
    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Change a set as a whole, at once where the backend can.

        Raises StalePlanError where what is there is not `old`, unless it is as wanted already.
        """

    @abstractmethod
    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Delete a set. Raises StalePlanError where what is there is not `old`; nothing there is as good as deleted."""

    def lock(self, zone: Zone) -> asyncio.Lock:
        """Return what is held while a zone is read and then written: one writer of ours a zone."""
        return self._locks.setdefault(zone.id, asyncio.Lock())

    @property
    def private(self) -> bool:
        """Whether the zones that are meant are seen by a private network only: `<PROVIDER>_PRIVATE` says so."""
        return bool(getattr(self.config, "private", False))

    def fixed_by(self, one: RecordSet) -> str:
        """Return what keeps AutoGit from ever changing a set that was read, as a sentence; "" where nothing does."""
        del one
        return ""

    @property
    def asked_at(self) -> tuple[str, ...]:
        """Where its zones are asked by DNS, each as host:port; nothing where their delegation tells."""
        return ()

    @classmethod
    def may_be_private(cls) -> bool:
        """Tell whether it can keep zones that a private network sees only."""
        return "private" in cls.Config.model_fields or cls.private is not DNSProvider.private

    def choose_zone(self, name: str, zones: Collection[Zone]) -> Zone | None:
        """Return the zone that a name is in, of those that `list_zones` returned: the longest that holds it.

        Raises RejectedError where two of them are the same one but for their ids.
        """
        try:
            return zone_of(name, zones, private=self.private)
        except RejectedError as exc:
            raise RejectedError(f"{self.provider_name}: {exc.message}", hint=self.twins_hint) from exc

    async def find_zone(self, name: str) -> Zone:
        """Return the zone that a name is in. Raises MissingError, RejectedError."""
        zones = await self.list_zones()
        found = self.choose_zone(name, zones)
        if found is None:
            raise self.no_zone(name, zones)
        return found

    def no_zone(self, name: str, zones: Collection[Zone]) -> MissingError:
        """Return the error for a name that is in none of the zones."""
        seen = ", ".join(sorted(zone.name for zone in zones)[:5]) or "none at all"
        return MissingError(
            f"{self.provider_name}: no zone for {name}; the credentials show {seen}", hint=self._zones_hint(name)
        )

    def _zones_hint(self, name: str) -> str:
        if "zones" in type(self.config).model_fields:
            return f"{self.provider_name.upper()}_ZONES must name the zone that {name} is in"
        return f"give the credentials rights to the zone that {name} is in; BASE_DOMAIN says which names are wanted"

    async def find_record(self, zone: Zone, key: RecordKey) -> RecordSet | None:
        """Return one set as it is now, or None."""
        found = await self.list_records(zone, [key])
        return found[0] if found else None

    async def ensure_wildcard(self, domain: str, target: str, ttl: int) -> None:
        """Have `*.domain` lead to an address, IPv4 or IPv6 (the specification's `DNSProvider.ensure_wildcard`)."""
        wanted = record_set(f"*.{domain}", "AAAA" if ":" in target else "A", ttl, [target])
        zone = await self.find_zone(domain)
        async with self.lock(zone):
            old = await self.find_record(zone, wanted.key)
            if old is None:
                await self.create_record(zone, wanted)
            elif not old.same_data(wanted):
                await self.update_record(zone, old, replace(wanted, mark=old.mark))

    async def add_txt(self, zone: Zone, name: str, value: str, ttl: int) -> None:
        """Add one value to a TXT set, whose other values stay (an ACME challenge, RFC 8555 section 8.4)."""
        wanted = record_set(name, "TXT", ttl, [value])
        async with self.lock(zone):
            old = await self.find_record(zone, wanted.key)
            if old is None:
                await self.create_record(zone, wanted)
            elif value not in old.values:
                await self.update_record(zone, old, replace(old, values=tuple(sorted({*old.values, value}))))

    async def remove_txt(self, zone: Zone, name: str, value: str) -> None:
        """Take exactly this value out of a TXT set; it need not be there."""
        key = record_set(name, "TXT", 0, []).key
        async with self.lock(zone):
            old = await self.find_record(zone, key)
            if old is None or value not in old.values:
                return
            left = tuple(v for v in old.values if v != value)
            if left:
                await self.update_record(zone, old, replace(old, values=left))
            else:
                await self.delete_record(zone, old)

    async def health(self) -> HealthStatus:
        """Ask for the zones: that takes credentials, rights and reach, and changes nothing."""
        try:
            zones = await self.list_zones()
        except ProviderError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        return HealthStatus(ok=True, detail=f"{self.provider_name} shows {len(zones)} zones")

    def changed(self, key: RecordKey, now: RecordSet | None) -> StalePlanError:
        """Return the error for a set that is not what it was when it was read."""
        is_now = f"is {', '.join(now.values)} now" if now else "is gone"
        return StalePlanError(
            f"{self.provider_name}: {key} {is_now}, and was something else when the plan was made",
            hint="autogit plan shows it as it is",
        )
