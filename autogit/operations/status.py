"""How the platform is: each service asked directly and through the ingress, the certificate from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autogit.core.lock import find_holder
from autogit.core.reconcile import Prepared, prepare
from autogit.core.traefik_resolver import is_traefiks
from autogit.core.verify import RouteCheck, check_routes
from autogit.model.healing import ServiceHealth, ServiceState
from autogit.model.spec import PlatformSpec, ServiceSpec
from autogit.model.views import (
    CertificateView,
    MirrorSummaryView,
    Service,
    ServicePorts,
    ServiceStatusView,
    Status,
    StatusView,
)
from autogit.operations import present
from autogit.operations.certs_by_ingress import serials_of
from autogit.operations.project import Project
from autogit.operations.reconcile import read_healths
from autogit.operations.wire import days_left


async def status(project: Project) -> StatusView:
    """Return everything `autogit status` says; changes nothing."""
    prepared = await prepare(project.engine_here)
    spec, units = prepared.spec, _units(prepared)
    checks, unasked = await _checks(project, spec, running=spec.ingress in units)
    healths = read_healths(project.paths)
    seen = (_service(spec, one, units.get(one.name), checks.get(one.name), unasked) for one in spec.services)
    services = tuple(view.model_copy(update=_healing(view, healths.get(view.name))) for view in seen)
    certificate = _certificate(project, prepared, checks)
    holder = find_holder(project.paths.apply_lock)
    mirrors = _mirrors(project)
    return StatusView(
        status=_overall(services, certificate, mirrors),
        runtime=prepared.spec.runtime,
        base_domain=prepared.spec.base_domain,
        services=services,
        routes_probed=len(checks),
        drift=sum(1 for c in prepared.plan.changes if c.drift),
        pending=len(prepared.plan.pending) + len(prepared.plan.held),
        certificate=certificate,
        mirrors=mirrors,
        last_apply=dict(prepared.lockfile.last_apply),
        lock_holder=f"{holder.command} (pid {holder.pid}, since {holder.since})" if holder else "",
        notes=tuple(present.note_view(n) for n in prepared.spec.notes),
    )


async def list_services(project: Project) -> tuple[Service, ...]:
    """Return the specification's ServiceList: what `services list` prints and GET /api/v1/services answers.

    It plans nothing and needs no secret: the API asks for it from inside a container.
    """
    spec = project.outline()
    units = {name: _Unit(state) for name, state in (await project.runtime.units()).items()}
    checks, unasked = await _checks(project, spec, running=spec.ingress in units)
    views = (_service(spec, one, units.get(one.name), checks.get(one.name), unasked) for one in spec.services)
    return tuple(Service(name=v.name, subdomain=v.subdomain, status=v.status, ports=v.ports) for v in views)


@dataclass(frozen=True, slots=True)
class _Unit:
    """A running service's process or container: its state, and since when."""

    state: str
    since: str = ""


def _units(prepared: Prepared) -> dict[str, _Unit]:
    return {
        address.name: _Unit(str(resource.attributes.get("state")), str(resource.attributes.get("since") or ""))
        for address, resource in prepared.state.resources.items()
        if address.kind == prepared.spec.unit_kind
    }


async def _checks(project: Project, spec: PlatformSpec, *, running: bool) -> tuple[Mapping[str, RouteCheck], str]:
    """Ask the routes of the services that run; return the answers, and why nothing could be asked."""
    root = project.certificates.root_path(spec.base_domain)
    if not running:
        return {}, "not reachable: the ingress is down"
    if not root.exists():
        return {}, "not asked through the ingress: there is no certificate yet (autogit certs status)"
    checks = await check_routes(spec, root, address=project.ingress_address)
    return {check.route.service: check for check in checks}, ""


def _service(
    spec: PlatformSpec, service: ServiceSpec, unit: _Unit | None, check: RouteCheck | None, unasked: str
) -> ServiceStatusView:
    probed = any(r.service == service.name and r.probe_path != "" for r in spec.routes)
    state, detail = _verdict(service, unit, check, unasked if probed else "")
    descriptor = service.descriptor
    hosts = [r.host for r in spec.routes if r.service == service.name]
    return ServiceStatusView(
        name=service.name,
        subdomain=descriptor.subdomain,
        status=state,
        ports=ServicePorts(internal=descriptor.internal_port, external=_external_port(service)),
        detail=detail,
        url=present.route_url(spec, hosts[0]) if hosts else "",
        since=unit.since if unit else "",
    )


def _healing(view: ServiceStatusView, health: ServiceHealth | None) -> dict[str, str]:
    """Say what healing has to tell of a service; nothing where all is well."""
    if health is None or view.status == "healthy" or health.state in (ServiceState.HEALTHY, ServiceState.DEPLOYING):
        return {}
    words = health.state.value + (f" ({health.reason})" if health.reason else "")
    if health.opened_at:
        words += f", not repaired any more for now: {health.failures} failures"
    return {"healing": words + (f", next try {health.next_try_at[:19]}Z" if health.next_try_at else "")}


def _external_port(service: ServiceSpec) -> int | None:
    if service.unavailable:
        return service.descriptor.external_port
    published = [name for name, port in service.descriptor.ports.items() if port.published]
    return service.ports.get("https" if "https" in published else "http")


def _verdict(service: ServiceSpec, unit: _Unit | None, check: RouteCheck | None, unasked: str) -> tuple[Status, str]:
    """Return how a service is; `unasked` is why its probe through the ingress was not asked ("": it was)."""
    if service.unavailable:
        return "unknown", service.unavailable
    if unit is None:
        return "unknown", "not running: autogit up starts it"
    if unit.state != "running":
        return "unhealthy", f"it is {unit.state}"
    if check is not None and check.problem:
        return "degraded", check.problem
    if check is None and unasked:
        return "degraded", unasked
    return "healthy", "answers" + (" directly and through the ingress" if check else "")


def _certificate(project: Project, prepared: Prepared, checks: Mapping[str, RouteCheck]) -> CertificateView | None:
    facts = prepared.facts.certificates.get(prepared.spec.base_domain)
    if facts is None or not facts.serial:
        return None
    served = sorted({c.probe.serial_hex for c in checks.values() if c.probe.serial_hex})
    wildcard = f"*.{prepared.spec.base_domain}"
    return CertificateView(
        name=wildcard if wildcard in facts.names else prepared.spec.base_domain,
        issuer=prepared.spec.certificate.issuer,
        not_after=facts.not_after,
        days_left=days_left(facts.not_after, project.context.clock()),
        renew_at="" if is_traefiks(project.settings) else facts.renew_at,
        serial=facts.serial,
        served_serial=", ".join(served),
        matches=set(served) <= serials_of(project, facts) if served else None,
    )


def _mirrors(project: Project) -> MirrorSummaryView | None:
    if not project.paths.mirror_rules.exists():
        return None
    from autogit.operations.mirror_health import summary  # noqa: PLC0415 - for those who mirror something

    return summary(project)


def _overall(
    services: tuple[ServiceStatusView, ...], certificate: CertificateView | None, mirrors: MirrorSummaryView | None
) -> Status:
    """Return the worst of what runs here; what this runtime cannot run does not count.

    A copy that is not proven within its limit makes the platform a degraded one. A source that is gone does not: what
    it had is kept, and nothing here brings it back.
    """
    states = {s.status for s in services if s.status != "unknown" or s.detail.startswith("not running")}
    if certificate is not None and certificate.matches is False:
        states.add("degraded")
    if mirrors is not None and mirrors.counts.get("stale"):
        states.add("degraded")
    ranks: tuple[Status, ...] = ("unhealthy", "unknown", "degraded", "healthy")
    return next((status for status in ranks if status in states), "unknown")
