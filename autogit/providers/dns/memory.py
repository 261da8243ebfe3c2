"""Keeps records in the memory of this process: for trying things out, and for tests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from pydantic import Field

from autogit.errors import MissingError, RejectedError
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, normal_name
from autogit.providers.base import ProviderContext
from autogit.providers.dns.asking import Texts
from autogit.providers.dns.base import DNSConfig, DNSProvider

_ALIAS = "CNAME"


class MemoryConfig(DNSConfig):
    """Which zones there are."""

    zones: Texts = Field((), description="Zones that are there, separated by commas. Unset: the base domain")
    private: bool = Field(False, description="Whether only the own network sees them")


class MemoryDNS(DNSProvider[MemoryConfig]):
    """Zones in a dictionary; they end with the process."""

    provider_name: ClassVar[str] = "memory"
    capabilities: ClassVar[Capabilities] = Capabilities(
        types=frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}), marks=True, proxied=True
    )
    Config: ClassVar[type[DNSConfig]] = MemoryConfig

    def __init__(self, context: ProviderContext, config: MemoryConfig) -> None:
        super().__init__(context, config)
        self._zones: dict[str, dict[RecordKey, RecordSet]] = {normal_name(name): {} for name in config.zones}

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones of the configuration; their names are their ids."""
        return [Zone(name, name, self.private) for name in self._zones]

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return what is kept."""
        kept = self._records(zone)
        return [kept[key] for key in sorted(kept) if keys is None or key in keys]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Keep a set."""
        kept = self._records(zone)
        there = kept.get(wanted.key)
        if there is not None and not there.same_data(wanted):
            raise self.changed(wanted.key, there)
        self._check_alias(kept, wanted.key)
        kept.setdefault(wanted.key, wanted)  # a set as wanted keeps its mark: it may be another owner's

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Keep another set in a set's place."""
        kept = self._records(zone)
        there = kept.get(wanted.key)
        if there is None or not (there.same_data(old) or there.same_data(wanted)):
            raise self.changed(wanted.key, there)
        kept[wanted.key] = wanted

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Forget a set."""
        kept = self._records(zone)
        there = kept.get(old.key)
        if there is not None and not there.same_data(old):
            raise self.changed(old.key, there)
        kept.pop(old.key, None)

    def _records(self, zone: Zone) -> dict[RecordKey, RecordSet]:
        if zone.name not in self._zones:
            raise MissingError(f"memory: there is no zone {zone.name}")
        return self._zones[zone.name]

    def _check_alias(self, kept: Collection[RecordKey], key: RecordKey) -> None:
        """Refuse a CNAME beside other data (RFC 1034 section 3.6.2)."""
        beside = [other for other in kept if other.name == key.name and other.type != key.type]
        if beside and _ALIAS in {key.type, *(other.type for other in beside)}:
            raise RejectedError(f"memory: {key} cannot be beside {beside[0]}: a CNAME stands alone")
