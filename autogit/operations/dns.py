"""DNS as a user asks for it: which records there are, whose they are, letting go of them, zones as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from autogit.core.apply import apply_plan
from autogit.core.lock import apply_lock
from autogit.core.observe import observe
from autogit.core.plan import make_plan
from autogit.core.reconcile import Prepared, prepare
from autogit.core.store import Recorder
from autogit.errors import UsageError
from autogit.model.dns import DNS_RECORD, RecordSet, View, Zone, address_of, key_of
from autogit.model.dns_views import RecordsView, RecordView, ZoneTextView
from autogit.model.lockfile import LockEntry
from autogit.model.resource import Address, Resource
from autogit.operations.platform import UpRequest
from autogit.operations.project import Project
from autogit.operations.seal import break_seal
from autogit.providers.base import Scope
from autogit.providers.dns.base import DNSProvider
from autogit.providers.dns.ownership import mark_text, parse_mark
from autogit.providers.dns.presentation import zone_lines
from autogit.providers.dns.records import DNSRecords

_NO_DNS = "no DNS is kept here: DNS_PROVIDER and DNS_LAN_PROVIDER are none"


def request_of(**asked: Any) -> UpRequest:
    """Return what `up` is asked for where only DNS records are looked at further."""
    return UpRequest(kinds=frozenset({DNS_RECORD}), **asked)


def kept(project: Project) -> DNSRecords:
    """Return the records that the project keeps. Raises UsageError where it keeps none."""
    if project.dns is None:
        raise UsageError(_NO_DNS, hint="set DNS_PROVIDER; docs/how-to/dns-records.md")
    return project.dns


async def records(project: Project, *, everything: bool = False) -> RecordsView:
    """Return the records that are wished for or AutoGit's; with `everything` all that the zones show."""
    dns = kept(project)
    prepared = await prepare(project.engine)
    resources = {a: r for a, r in prepared.state.resources.items() if a.kind == DNS_RECORD}
    wished = {r.address for r in prepared.desired}
    rows = [_row(resource, wished) for _, resource in sorted(resources.items())]
    if everything:
        for view, provider in dns.views.items():
            rows += await _rest(view, provider, prepared, resources)
    return RecordsView(records=tuple(rows))


def _row(resource: Resource, wished: Collection[Address]) -> RecordView:
    view, key = key_of(resource.address)
    one: RecordSet = resource.payload
    return RecordView(
        address=str(resource.address),
        name=key.name,
        type=key.type,
        values=one.values,
        ttl=one.ttl,
        proxied=one.proxied,
        provider=str(resource.attributes["provider"]),
        zone=str(resource.attributes["zone"]),
        seen_by=view.value,
        foreign=resource.foreign,
        wished=resource.address in wished,
    )


async def _rest(
    view: View, provider: DNSProvider[Any], prepared: Prepared, known: Collection[Address]
) -> list[RecordView]:
    """Return what else the zones of the wished names show; whose it is, is not looked into."""
    found: list[RecordView] = []
    for zone in await zones_of(view, provider, prepared):
        for one in await provider.list_records(zone):
            address = address_of(view, one.key)
            if address not in known:
                attributes = {"provider": provider.provider_name, "zone": zone.name}
                foreign = _whose(one, prepared.lockfile.owner)
                found.append(_row(Resource(address, attributes, payload=one, foreign=foreign), ()))
    return found


def _whose(one: RecordSet, owner: str) -> str:
    """Say whose a set is that nobody wishes for, as far as the set itself tells."""
    beside = parse_mark(one.mark)
    if beside is not None:
        return "AutoGit's, and not recorded" if one.mark == mark_text(owner) else f"{beside} made it"
    marks = [mark for value in one.values if (mark := parse_mark(value)) is not None]
    return f"a mark of {marks[0]}" if marks and one.key.type == "TXT" else "not AutoGit's to change"


async def zones_of(view: View, provider: DNSProvider[Any], prepared: Prepared) -> list[Zone]:
    """Return the zones that the wished names of a view are in."""
    zones = await provider.list_zones()
    names = {
        r.payload.record.key.name for r in prepared.desired if r.address.kind == DNS_RECORD and r.payload.view is view
    }
    chosen = (provider.choose_zone(name, zones) for name in sorted(names))
    return list(dict.fromkeys(zone for zone in chosen if zone is not None))


async def export_zones(project: Project, *, wished: bool = False) -> tuple[ZoneTextView, ...]:
    """Return each zone as the lines of a zone file (RFC 1035 section 5): as it is, or only what is wished for."""
    dns = kept(project)
    prepared = await prepare(project.engine)
    found: list[ZoneTextView] = []
    for view, provider in dns.views.items():
        for zone in await zones_of(view, provider, prepared):
            sets = (
                _wished(view, zone, prepared) if wished else await _there(provider, zone, _wished(view, zone, prepared))
            )
            lines = [line for one in sets for line in zone_lines(one)]
            found.append(
                ZoneTextView(zone=zone.name, provider=provider.provider_name, seen_by=view.value, lines=tuple(lines))
            )
    return tuple(found)


def _wished(view: View, zone: Zone, prepared: Prepared) -> list[RecordSet]:
    wanted = [r.payload for r in prepared.desired if r.address.kind == DNS_RECORD]
    return [w.record for w in wanted if w.view is view and zone.holds(w.record.key.name)]


async def _there(provider: DNSProvider[Any], zone: Zone, wished: Sequence[RecordSet]) -> Sequence[RecordSet]:
    listed = await provider.list_records(zone)
    if provider.capabilities.lists:  # some learn only then that they cannot
        return listed
    return await provider.list_records(zone, [one.key for one in wished])


async def forget(
    project: Project, addresses: Collection[Address], *, everything: bool = False, lock_wait_seconds: float = 0.0
) -> tuple[str, ...]:
    """Let go of records: they stay as they are, bear AutoGit's mark no more, and are somebody else's from now on.

    Returns a sentence for each. Raises UsageError for what AutoGit does not hold, and what the provider raises: then
    what was let go of before is forgotten, the rest is not.
    """
    async with apply_lock(project.paths.apply_lock, "dns forget", wait_seconds=lock_wait_seconds):
        lockfile = project.store.load()
        held = {a: e for a, e in lockfile.entries.items() if a.kind == DNS_RECORD}
        unknown = sorted(set(addresses) - set(held))
        if unknown:
            raise UsageError(
                f"AutoGit does not hold {', '.join(map(str, unknown))}", hint="autogit dns records lists what it holds"
            )
        chosen = {a: e for a, e in held.items() if everything or a in addresses}
        here = {a: e for a, e in chosen.items() if _is_here(project, a, e)}
        break_seal(project.paths)
        recorder = Recorder(project.store, lockfile, project.context.clock)
        messages: list[str] = []
        if here and project.dns:
            await project.dns.observe(Scope(owned=here, owner=lockfile.owner))
        for address, entry in sorted(chosen.items()):
            if address in here and project.dns:
                await project.dns.release(address)
            recorder.forget(address)
            where = entry.attributes.get("provider", "its provider")
            rest = "" if address in here else "; its mark stays, for the settings name that provider no more"
            messages.append(f"{address} is left as it is at {where}, and AutoGit holds it no more{rest}")
        return tuple(messages)


async def remove_all(project: Project, recorder: Recorder) -> tuple[str, ...]:
    """Take every record away that is AutoGit's and whose provider the settings name; the caller holds the apply lock.

    Returns a sentence for each that was held. Raises what the provider raises, after what went well is recorded.
    """
    lockfile = recorder.lockfile
    held = {a: e for a, e in lockfile.entries.items() if a.kind == DNS_RECORD and _is_here(project, a, e)}
    left = [a for a in sorted(lockfile.entries) if a.kind == DNS_RECORD and a not in held]
    told = [f"{a} stays at {lockfile.entries[a].attributes.get('provider')}, which .env names no more" for a in left]
    if not held or project.dns is None:
        return tuple(told)
    ours = replace(lockfile, entries=held)
    plan = make_plan([], await observe([project.dns], [], ours), ours)
    result = await apply_plan(plan, [project.dns], recorder, lambda _outcome: None)
    for outcome in result.failed:
        if outcome.error is not None:
            raise outcome.error
    return (*told, *(f"{outcome.address} {outcome.detail or 'removed'}" for outcome in result.outcomes))


def _is_here(project: Project, address: Address, entry: LockEntry) -> bool:
    view, _ = key_of(address)
    provider = project.dns.views.get(view) if project.dns else None
    # One without attributes was begun by a run that died: at the provider that the settings name.
    return provider is not None and entry.attributes.get("provider", provider.provider_name) == provider.provider_name
