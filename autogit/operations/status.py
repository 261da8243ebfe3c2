"""How the platform is: each service asked directly and through the ingress, the certificate from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from autogit.core.lock import find_holder
from autogit.core.reconcile import Prepared, prepare
from autogit.core.verify import RouteCheck, check_routes
from autogit.model.healing import ServiceHealth, ServiceState
from autogit.model.resource import Resource
from autogit.model.spec import ServiceSpec
from autogit.model.views import (
    CertificateView,
    Service,
    ServicePorts,
    ServiceStatusView,
    Status,
    StatusView,
)
from autogit.operations import present
from autogit.operations.project import Project
from autogit.operations.reconcile import read_healths

_SECONDS_A_DAY = 86400


async def status(project: Project) -> StatusView:
    """Return everything `autogit status` says; changes nothing."""
    prepared = await prepare(project.engine)
    checks = await _checks(project, prepared)
    healths = read_healths(project.paths)
    seen = (_service(prepared, service, checks.get(service.name)) for service in prepared.spec.services)
    services = tuple(view.model_copy(update=_healing(view, healths.get(view.name))) for view in seen)
    certificate = _certificate(project, prepared, checks)
    holder = find_holder(project.paths.apply_lock)
    return StatusView(
        status=_overall(services, certificate),
        runtime=prepared.spec.runtime,
        base_domain=prepared.spec.base_domain,
        services=services,
        routes_probed=len(checks),
        drift=sum(1 for c in prepared.plan.changes if c.drift),
        pending=len(prepared.plan.pending) + len(prepared.plan.held),
        certificate=certificate,
        last_apply=dict(prepared.lockfile.last_apply),
        lock_holder=f"{holder.command} (pid {holder.pid}, since {holder.since})" if holder else "",
        notes=tuple(present.note_view(n) for n in prepared.spec.notes),
    )


async def list_services(project: Project) -> tuple[Service, ...]:
    """Return the specification's ServiceList: what `services list` prints and GET /api/v1/services answers."""
    prepared = await prepare(project.engine)
    checks = await _checks(project, prepared)
    views = (_service(prepared, service, checks.get(service.name)) for service in prepared.spec.services)
    return tuple(Service(name=v.name, subdomain=v.subdomain, status=v.status, ports=v.ports) for v in views)


async def _checks(project: Project, prepared: Prepared) -> Mapping[str, RouteCheck]:
    """Ask the routes of the services that run; a service that is down needs no second witness."""
    root = project.certificates.root_path(prepared.spec.base_domain)
    ingress = _unit(prepared, prepared.spec.ingress)
    if ingress is None or not root.exists():
        return {}
    return {check.route.service: check for check in await check_routes(prepared.spec, root)}


def _service(prepared: Prepared, service: ServiceSpec, check: RouteCheck | None) -> ServiceStatusView:
    state, detail = _verdict(service, _unit(prepared, service.name), check)
    unit = _unit(prepared, service.name)
    descriptor = service.descriptor
    hosts = [r.host for r in prepared.spec.routes if r.service == service.name]
    return ServiceStatusView(
        name=service.name,
        subdomain=descriptor.subdomain,
        status=state,
        ports=ServicePorts(internal=descriptor.internal_port, external=_external_port(service)),
        detail=detail,
        url=present.route_url(prepared.spec, hosts[0]) if hosts else "",
        since=str(unit.attributes.get("since") or "") if unit else "",
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


def _verdict(service: ServiceSpec, unit: Resource | None, check: RouteCheck | None) -> tuple[Status, str]:
    if service.unavailable:
        return "unknown", service.unavailable
    if unit is None:
        return "unknown", "not running: autogit up starts it"
    state = unit.attributes.get("state")
    if state != "running":
        return "unhealthy", f"it is {state}"
    if check is not None and check.problem:
        return "degraded", check.problem
    if (
        (service.program or service.container)
        and check is None
        and any(r.exposure != "internal" for r in service.descriptor.routes)
    ):
        return "degraded", "not reachable: the ingress is down"
    return "healthy", "answers" + (" directly and through the ingress" if check else "")


def _unit(prepared: Prepared, name: str) -> Resource | None:
    for address, resource in prepared.state.resources.items():
        if address.kind == prepared.spec.unit_kind and address.name == name:
            return resource
    return None


def _certificate(project: Project, prepared: Prepared, checks: Mapping[str, RouteCheck]) -> CertificateView | None:
    facts = prepared.facts.certificates.get(prepared.spec.base_domain)
    if facts is None or not facts.version:
        return None
    served = sorted({c.probe.serial_hex for c in checks.values() if c.probe.serial_hex})
    left = datetime.fromisoformat(facts.not_after) - project.context.clock()
    return CertificateView(
        name=f"*.{prepared.spec.base_domain}",
        issuer=prepared.spec.certificate.issuer,
        not_after=facts.not_after,
        days_left=int(left.total_seconds() // _SECONDS_A_DAY),
        renew_at=facts.renew_at,
        serial=facts.serial,
        served_serial=", ".join(served),
        matches=served == [facts.serial] if served else None,
    )


def _overall(services: tuple[ServiceStatusView, ...], certificate: CertificateView | None) -> Status:
    """Return the worst of what runs here; what this runtime cannot run does not count."""
    states = {s.status for s in services if s.status != "unknown" or s.detail.startswith("not running")}
    if certificate is not None and certificate.matches is False:
        states.add("degraded")
    ranks: tuple[Status, ...] = ("unhealthy", "unknown", "degraded", "healthy")
    return next((status for status in ranks if status in states), "unknown")
