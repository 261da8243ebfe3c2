"""DNS records as resources of the one plan: read with their owners, compared by the engine, written with a mark."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, ClassVar

from autogit.errors import AutogitError, Fault, MissingError, OwnershipError, UnavailableError, UnsupportedError
from autogit.model.addresses import unfit_for_public
from autogit.model.dns import (
    DNS_RECORD,
    RecordKey,
    RecordSet,
    View,
    WantedRecord,
    Zone,
    address_of,
    key_of,
    record_set,
)
from autogit.model.lockfile import LockEntry
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Address, Resource, Value
from autogit.providers.base import HealthStatus, ProviderContext, Reconciler, Scope
from autogit.providers.dns.base import DNSProvider
from autogit.providers.dns.ownership import keys_asked, mark_key, mark_text, marks_of, parse_mark, programs_marks, whose

_AUTOMATIC_TTL = 1
"""A proxied set has no TTL of its own; this stands for it (it is what Cloudflare says)."""
_ALIAS = "CNAME"
_TEXT = "TXT"
_ADDRESSES = ("A", "AAAA")


@dataclass(frozen=True)
class Seen:
    """What was read of a view: the zone of each key, and the sets that are there."""

    zones: Mapping[RecordKey, Zone] = field(default_factory=dict)
    sets: Mapping[RecordKey, RecordSet] = field(default_factory=dict)


class DNSRecords(Reconciler):
    """Holds `dns_record/NAME/TYPE` of all views, over the four primitives of the providers.

    `allow_private` says whether addresses of a private network may stand in a zone that everybody sees.
    """

    provider_type: ClassVar[str] = "dns"
    provider_name: ClassVar[str] = "dns"
    kinds: ClassVar[tuple[str, ...]] = (DNS_RECORD,)
    signs: ClassVar[bool] = True

    def __init__(
        self, context: ProviderContext, views: Mapping[View, DNSProvider[Any]], *, allow_private: bool = False
    ) -> None:
        super().__init__(context)
        self.views = views
        self.allow_private = allow_private
        self._owner = ""
        self._seen: dict[View, Seen] = {}

    async def health(self) -> HealthStatus:
        """Ask every provider; the first that is not well speaks for all."""
        found = [await provider.health() for provider in self.views.values()]
        return next(
            (one for one in found if not one.ok), HealthStatus(ok=True, detail="; ".join(f.detail for f in found))
        )

    def normalise(self, desired: Sequence[Resource]) -> Sequence[Resource]:
        """Fit TTLs to what each provider can hold. Raises UnsupportedError for a type or a proxy that it lacks."""
        return [self._fit(wish) for wish in desired]

    def _fit(self, wish: Resource) -> Resource:
        wanted: WantedRecord = wish.payload
        provider = self.views[wanted.view]
        can, record = provider.capabilities, wanted.record
        if record.key.type not in can.types:
            kinds = ", ".join(sorted(can.types))
            raise UnsupportedError(
                f"{provider.provider_name} cannot hold {record.key}: it has {kinds}",
                hint="take the setting out that asks for it, or choose another provider",
            )
        if record.proxied and not can.proxied:
            raise UnsupportedError(
                f"{provider.provider_name} has no proxy for {record.key}", hint="set DNS_PROXIED=false"
            )
        ttl = _AUTOMATIC_TTL if record.proxied else min(max(record.ttl, can.least_ttl), can.most_ttl)
        fitted = replace(wanted, record=replace(record, ttl=ttl))
        return replace(wish, attributes={**wish.attributes, "ttl": ttl}, payload=fitted)

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Read what is wished for or recorded, and who made it. Raises MissingError where a name has no zone."""
        self._owner = scope.owner
        found: list[Resource] = []
        for view, provider in self.views.items():
            wanted = {key: r for a, r in scope.desired.items() for v, key in [key_of(a)] if v is view}
            owned = {key: e for a, e in scope.owned.items() for v, key in [key_of(a)] if v is view}
            if wanted or owned:
                values = {key: _values(owned.get(key)) + _values(wanted.get(key)) for key in {*wanted, *owned}}
                found += await self._observe(view, provider, wanted, values)
        return [_with_intended(resource, scope.owned.get(resource.address)) for resource in found]

    async def _observe(
        self,
        view: View,
        provider: DNSProvider[Any],
        wanted: Collection[RecordKey],
        ours: Mapping[RecordKey, tuple[str, ...]],
    ) -> list[Resource]:
        """Read what `ours` names, each key with the values that AutoGit gave it or is to give it."""
        zones = await self._zones(provider, wanted, ours)
        sets: dict[RecordKey, RecordSet] = {}
        marks = provider.capabilities.marks
        for zone in dict.fromkeys(zones.values()):
            keys = {key for key, its in zones.items() if its == zone}
            asked = keys_asked(keys, zone, marks=marks or provider.capabilities.by_hand)
            sets |= {one.key: one for one in await provider.list_records(zone, asked)}
        self._seen[view] = Seen(zones, sets)
        return [self._resource(view, provider, key, ours[key]) for key in sorted(zones) if key in sets]

    async def _zones(
        self, provider: DNSProvider[Any], wanted: Collection[RecordKey], ours: Collection[RecordKey]
    ) -> dict[RecordKey, Zone]:
        """Return the zone of each key; one that is only recorded may have lost its zone: then it is gone too."""
        zones = await provider.list_zones()
        found: dict[RecordKey, Zone] = {}
        for key in ours:
            zone = provider.choose_zone(key.name, zones)
            if zone is not None:
                found[key] = zone
            elif key in wanted:
                raise provider.no_zone(key.name, zones)
        return found

    def _resource(self, view: View, provider: DNSProvider[Any], key: RecordKey, ours: tuple[str, ...]) -> Resource:
        """Return a set as it is compared; of a text, which many may share, the values of others are left out."""
        seen, can = self._seen[view], provider.capabilities
        one = seen.sets[key]
        marks = [] if can.by_hand else marks_of(key, seen.sets, seen.zones[key], marks=can.marks)
        foreign = whose(marks, self._owner, by_hand=can.by_hand)
        shared = key.type == _TEXT and not foreign and not can.by_hand
        attributes: dict[str, Value] = {
            "provider": provider.provider_name,
            "zone": seen.zones[key].name,
            "values": tuple(v for v in one.values if v in ours) if shared else one.values,
            "ttl": _AUTOMATIC_TTL if one.proxied else one.ttl,
            "proxied": one.proxied,
            "marked": bool(marks) or can.by_hand,
        }
        return Resource(address_of(view, key), attributes, payload=one, foreign=foreign)

    async def check(self, changes: Sequence[Change]) -> Sequence[Fault]:
        """Return what no zone may or can hold, before anything is begun."""
        found: list[Fault] = []
        for change in changes:
            view, key = key_of(change.address)
            if change.action is Action.DELETE and key not in self._seen[view].zones:
                name = self.views[view].provider_name
                found.append(
                    Fault(
                        str(change.address),
                        "",
                        f"is in a zone that {name} does not show now: have the settings name that zone until it is "
                        f"gone, or leave it there: autogit dns forget {change.address}",
                    )
                )
            if change.after is not None and change.action is not Action.DELETE:
                wanted: WantedRecord = change.after.payload
                found += [Fault(str(change.address), "", sentence) for sentence in self._problems(wanted)]
                if change.before and change.before.foreign:
                    found += self._held_by_programs(change.address, wanted)
        return found

    def _held_by_programs(self, address: Address, wanted: WantedRecord) -> list[Fault]:
        """Refuse to adopt what another program still says is its own: it would take it back."""
        seen, key = self._seen[wanted.view].sets, wanted.record.key
        if fixed := self.views[wanted.view].fixed_by(seen[key]):
            return [Fault(str(address), "", f"cannot be adopted: {fixed}; change it there")]
        marks = programs_marks(key, seen)
        return [
            Fault(
                str(address), "", f"cannot be adopted: {mark} holds it by the TXT at {key.name}; have it let go first"
            )
            for key, mark in marks
        ]

    def _problems(self, wanted: WantedRecord) -> list[str]:
        seen, key = self._seen[wanted.view], wanted.record.key
        zone, found = seen.zones[key], list[str]()
        if not zone.private and not self.allow_private and key.type in _ADDRESSES:
            unfit = [why for value in wanted.record.values if (why := unfit_for_public(value))]
            found += [
                f"{why}; everybody sees the zone {zone.name}: DNS_ALLOW_PRIVATE=true publishes it all the same"
                for why in unfit
            ]
        if key.type in _ADDRESSES and any(ip_address(v).is_unspecified for v in wanted.record.values):
            found.append("leads nowhere: that is the unspecified address")
        if key.type == "MX" and key.name == zone.name:
            found.append(f"is at the apex of {zone.name}: mail of the zone itself is kept by hand")
        alias = RecordKey(key.name, _ALIAS)
        if key.type != _ALIAS and alias in seen.sets:
            target = ", ".join(seen.sets[alias].values)
            found.append(f"cannot be beside the CNAME to {target} that is there: remove that, or choose another name")
        return found

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Write each change, its mark first and away last, and look that it is there."""
        for change in changes:
            view, key = key_of(change.address)
            provider = self.views[view]
            try:
                attributes = await self._carry_out(view, provider, key, change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)
            else:
                detail = change.before.foreign if change.before and change.action is Action.DELETE else ""
                yield Outcome(
                    change.address,
                    change.action,
                    ok=True,
                    attributes=attributes,
                    detail=f"left as it is: {detail}" if detail else "",
                )

    async def _carry_out(
        self, view: View, provider: DNSProvider[Any], key: RecordKey, change: Change
    ) -> dict[str, Value]:
        zone = self._seen[view].zones.get(key)
        if zone is None:
            raise MissingError(
                f"{provider.provider_name}: the zone of {key} is not shown now",
                hint=f"autogit dns forget {change.address} leaves the record, if it is there",
            )
        if change.after is None or change.action is Action.DELETE:
            await self._delete(provider, zone, key, change)
            return {}
        async with provider.lock(zone):
            return await self._write(provider, zone, change, change.after)

    async def _delete(self, provider: DNSProvider[Any], zone: Zone, key: RecordKey, change: Change) -> None:
        before = change.before
        if before is not None and before.foreign:
            return
        if before is not None and before.payload is not None:
            async with provider.lock(zone):
                await self._check_still_ours(provider, zone, key)
                if left := _of_others(before):
                    await provider.update_record(zone, before.payload, replace(before.payload, values=left, mark=""))
                else:
                    await provider.delete_record(zone, before.payload)
        await self._unregister(provider, zone, key)

    async def _check_still_ours(self, provider: DNSProvider[Any], zone: Zone, key: RecordKey) -> None:
        """Look at the mark once more right before a delete. Raises OwnershipError."""
        if provider.capabilities.by_hand:
            return
        place = mark_key(key, zone) if self._uses_registry(provider) else key
        there = await provider.find_record(zone, place)
        if there is None and not self._uses_registry(provider):
            return  # gone already
        texts = () if there is None else there.values if self._uses_registry(provider) else (there.mark,)
        if mark_text(self._owner) not in texts:
            raise OwnershipError(
                f"{provider.provider_name}: the mark of {key} was taken away since the plan was made",
                hint="autogit plan shows whose it is now",
            )

    async def _unregister(self, provider: DNSProvider[Any], zone: Zone, key: RecordKey) -> None:
        if self._uses_registry(provider):  # `remove_txt` holds the zone itself
            await provider.remove_txt(zone, mark_key(key, zone).name, mark_text(self._owner))

    async def _write(self, provider: DNSProvider[Any], zone: Zone, change: Change, wish: Resource) -> dict[str, Value]:
        wanted: RecordSet = replace(wish.payload.record, mark=mark_text(self._owner))
        if not provider.capabilities.marks:
            wanted = replace(wanted, mark="")
        old: RecordSet | None = change.before.payload if change.before else None
        wanted = replace(wanted, values=tuple(sorted({*wanted.values, *_of_others(change.before)})))
        adopting = bool(change.before and change.before.foreign)
        await self._check_unchanged(provider, zone, wanted.key, old)
        fresh = None
        if self._uses_registry(provider):
            fresh = await self._register(provider, zone, wanted, adopting=adopting, new=old is None)
        try:
            if old is None:
                await provider.create_record(zone, wanted)
            elif not old.same_data(wanted) or old.mark != wanted.mark:
                await provider.update_record(zone, old, wanted)
        except UnavailableError:
            raise  # nobody knows whether it was done: the mark stays, and the next run looks
        except AutogitError:
            if fresh is not None:  # a mark beside what we did not make would have it taken for ours
                await provider.delete_record(zone, fresh)
            raise
        now = wanted if provider.capabilities.by_hand else await provider.find_record(zone, wanted.key)
        if now is None or not now.same_data(wanted):
            raise provider.changed(wanted.key, now)
        if now.mark != wanted.mark:
            mark = parse_mark(now.mark) or "none"
            raise OwnershipError(
                f"{provider.provider_name}: {wanted.key} came to be with another mark: {mark}",
                hint=f"somebody else made the same record meanwhile; autogit up --adopt {change.address} takes it over",
            )
        return {**wish.attributes, "zone": zone.name}

    def _uses_registry(self, provider: DNSProvider[Any]) -> bool:
        return not provider.capabilities.marks and not provider.capabilities.by_hand

    async def _check_unchanged(
        self, provider: DNSProvider[Any], zone: Zone, key: RecordKey, old: RecordSet | None
    ) -> None:
        """Look once more right before a write: the plan may be minutes old. Raises StalePlanError."""
        if provider.capabilities.by_hand:
            return
        now = await provider.find_record(zone, key)
        if (now is None) != (old is None) or (now and old and (now.mark != old.mark or not now.same_data(old))):
            raise provider.changed(key, now)

    async def _register(
        self, provider: DNSProvider[Any], zone: Zone, wanted: RecordSet, *, adopting: bool, new: bool
    ) -> RecordSet | None:
        """Have the mark stand beside a set; return it where it was not there. Raises OwnershipError.

        A mark that stood when the plan was made and is gone since was taken away: it does not come back by itself.
        """
        key, text = mark_key(wanted.key, zone), mark_text(self._owner)
        there = await provider.find_record(zone, key)
        fresh = record_set(key.name, key.type, _fitting(provider, wanted.ttl), [text])
        if there is None:
            if not new and not adopting:
                raise OwnershipError(
                    f"{provider.provider_name}: the mark of {wanted.key} was taken away since the plan was made",
                    hint="autogit plan shows whose it is now",
                )
            await provider.create_record(zone, fresh)
            return fresh
        if there.values != fresh.values:
            if not adopting:
                marks = ", ".join(there.values)
                raise OwnershipError(
                    f"{provider.provider_name}: {wanted.key} bears another mark at {key.name}: {marks}",
                    hint=(
                        f"if nobody needs it any more, remove the TXT at {key.name}"
                        if new
                        else f"autogit up --adopt {DNS_RECORD}/{wanted.key} takes it over"
                    ),
                )
            await provider.update_record(zone, there, fresh)
        return None

    async def release(self, address: Address) -> None:
        """Take the mark off a record that is ours, and leave the record: it is somebody else's from now on."""
        view, key = key_of(address)
        provider, seen = self.views[view], self._seen[view]
        zone, one = seen.zones.get(key), seen.sets.get(key)
        if zone is None:
            return
        await self._unregister(provider, zone, key)
        if one is not None and one.mark == mark_text(self._owner):
            async with provider.lock(zone):
                await provider.update_record(zone, one, replace(one, mark=""))


def _values(known: Resource | LockEntry | None) -> tuple[str, ...]:
    found = known.attributes.get("values") if known else None
    return found if isinstance(found, tuple) else ()


def _with_intended(seen: Resource, entry: LockEntry | None) -> Resource:
    """Return a text with all its values where a run that was killed has left just these: then none is another's."""
    if entry is None or seen.foreign:
        return seen
    whole = {**seen.attributes, "values": seen.payload.values}
    return replace(seen, attributes=whole) if entry.intends(whole) else seen


def _of_others(before: Resource | None) -> tuple[str, ...]:
    """Return the values of a set of ours that others put there: only texts are shared so."""
    if before is None or before.foreign or before.payload is None:
        return ()
    return tuple(v for v in before.payload.values if v not in _values(before))


def _fitting(provider: DNSProvider[Any], ttl: int) -> int:
    return min(max(ttl, provider.capabilities.least_ttl), provider.capabilities.most_ttl)
