"""Looking at DNS from outside: whether it says what is wished for, and would let a certificate be issued."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from autogit.core.reconcile import Prepared, prepare
from autogit.errors import RejectedError, UsageError
from autogit.model.dns import DNS_RECORD, RecordSet, View, WantedRecord, Zone, normal_name
from autogit.model.dns_checks import DnssecState, RecordCheck
from autogit.model.dns_views import DnsVerifyView, RecordCheckView, ServerAnswerView, ZoneCheckView
from autogit.operations.dns import kept, zones_of
from autogit.operations.dns_views import lookup_of
from autogit.operations.project import Project
from autogit.providers.dns.world.caa import CaaRequest, caa_allows
from autogit.providers.dns.world.dnssec import check_dnssec
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.verifying import verify
from autogit.providers.dns.world.zone_health import rebind_protection, split_horizon

_ADDRESSES = ("A", "AAAA")


async def verify_dns(project: Project, names: Collection[str] = ()) -> DnsVerifyView:
    """Ask the servers of each zone for every wished record, and look at the zones themselves; changes nothing.

    `names` are the only ones to look at (all where empty). A public zone's servers are found by its delegation; one
    of the own network is asked where it is kept. Raises UsageError for a name that is not wished for, and what
    planning raises.
    """
    dns = kept(project)
    prepared = await prepare(project.engine)
    wished = [r.payload for r in prepared.desired if r.address.kind == DNS_RECORD]
    if names:
        wished = [one for name in names for one in _of_name(_normal(name), wished)]
    else:  # a record of somebody else's may hide a service from the wildcard (RFC 4592)
        known = {one.record.key.name for one in wished}
        hosts = sorted({route.host for route in prepared.spec.routes} - known)
        wished += [one for host in hosts if _is_below(host, known) for one in _of_name(host, wished)]
    records: list[RecordCheckView] = []
    zones: list[ZoneCheckView] = []
    for view, provider in dns.views.items():
        sets = [w.record for w in wished if w.view is view]
        lookup = lookup_of(provider, project.settings)
        records += [_record(view, check) for check in await verify(lookup, sets)]
        for zone in await zones_of(view, provider, prepared):
            zones += await _zone_checks(lookup, zone, [s for s in sets if zone.holds(s.key.name)], prepared)
    return DnsVerifyView(records=tuple(records), zones=tuple(zones))


def _normal(name: str) -> str:
    try:
        return normal_name(name)
    except RejectedError as exc:
        raise UsageError(exc.message, hint="autogit dns plan shows the names") from exc


def _is_below(host: str, names: Collection[str]) -> bool:
    return f"*.{host.partition('.')[2]}" in names


def _of_name(name: str, wished: Sequence[WantedRecord]) -> list[WantedRecord]:
    """Return what is wished for of a name: its own records, else what the wildcard above makes of it."""
    own = [one for one in wished if one.record.key.name == name]
    wild = f"*.{name.partition('.')[2]}"
    above = [one for one in wished if one.record.key.name == wild]
    if not own and not above:
        raise UsageError(f"nothing is wished for of {name}", hint="autogit dns plan shows the names")
    return own or [replace(one, record=replace(one.record, key=replace(one.record.key, name=name))) for one in above]


def _record(view: View, check: RecordCheck) -> RecordCheckView:
    return RecordCheckView(
        name=check.wanted.key.name,
        type=check.wanted.key.type,
        seen_by=view.value,
        state=check.state.value,
        sentence=check.sentence,
        via=check.via.value,
        warnings=check.warnings,
        servers=tuple(
            ServerAnswerView(
                server=str(row.server),
                values=row.values,
                ttl=row.ttl,
                rcode=row.rcode,
                authoritative=row.authoritative,
                error=row.error,
            )
            for row in check.rows
        ),
    )


async def _zone_checks(
    lookup: Lookup, zone: Zone, sets: Sequence[RecordSet], prepared: Prepared
) -> list[ZoneCheckView]:
    """Look at what no record shows: rebind protection, and of a public zone split horizon, DNSSEC and CAA."""
    hosts = sorted({one.key.name for one in sets if one.key.type in _ADDRESSES and not one.key.name.startswith("*.")})
    found: list[ZoneCheckView] = []
    for host in hosts[:1]:
        rebind = await rebind_protection(lookup, host)
        found.append(
            _seen(zone, "this host's resolver", "warning" if rebind.hint else "ok", rebind.sentence, rebind.hint)
        )
    if zone.private:
        return found
    horizon = await split_horizon(lookup, zone.name, hosts)
    found.append(_seen(zone, "split horizon", "warning" if horizon.private else "ok", horizon.sentence))
    dnssec = await check_dnssec(lookup, zone.name)
    level = "error" if dnssec.state is DnssecState.BROKEN else "warning" if dnssec.warnings else "ok"
    found.append(_seen(zone, "DNSSEC", level, "; ".join((dnssec.sentence, *dnssec.warnings))))
    found += await _caa_checks(lookup, zone, prepared)
    return found


async def _caa_checks(lookup: Lookup, zone: Zone, prepared: Prepared) -> list[ZoneCheckView]:
    """Ask whether the authorities that are wished for may sign for the names of the certificate."""
    settings, names = prepared.spec.settings, prepared.spec.certificate.names
    domains = [name for name in settings.get("DNS_CAA", "").split(",") if name]
    if settings.get("CERT_ISSUER", "").startswith("letsencrypt"):
        domains = ["letsencrypt.org"]
    found: list[ZoneCheckView] = []
    for name in names if domains and zone.holds(prepared.spec.base_domain) else ():
        verdict = await caa_allows(lookup, name, CaaRequest(domains))
        found.append(_seen(zone, f"CAA of {name}", "ok" if verdict.allowed else "error", verdict.sentence))
    return found


def _seen(zone: Zone, check: str, level: str, message: str, fix: str = "") -> ZoneCheckView:
    return ZoneCheckView.model_validate(
        {"zone": zone.name, "check": check, "level": level, "message": message, "fix": fix}
    )
