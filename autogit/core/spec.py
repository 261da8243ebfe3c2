"""Building the spec: what `.env`, the catalogue, the host and the lockfile add up to; pure, every decision is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from ipaddress import ip_address

from autogit.core.catalogue import Catalogue
from autogit.core.certificate_spec import build_certificate, certificate_notes
from autogit.core.certificates import certificate_names, http_challenges
from autogit.core.containers import build_container, build_networks
from autogit.core.dns_records import wanted_records
from autogit.core.fallback import fallback_notes
from autogit.core.images import build_image, image_notes
from autogit.core.policy import limit_notes, policy_notes
from autogit.core.ports import allocate_ports
from autogit.core.programs import build_program
from autogit.core.routes import build_routes, filter_notes
from autogit.core.secret_specs import service_secrets
from autogit.core.settings import typed_value
from autogit.core.sizing import GIB, largest_fitting_tier, tier_total
from autogit.core.succession import check_successions, handed_over, rivals_of, running_manager, succession_notes
from autogit.core.traefik_resolver import TRAEFIK, build_resolver, check_manager, is_traefiks, resolver_notes
from autogit.errors import HostTooSmallError, UnsupportedError
from autogit.model.dns import WantedRecord
from autogit.model.host import CertificateFacts, HostFacts
from autogit.model.lockfile import Lockfile
from autogit.model.plan import Note
from autogit.model.project import ProjectPaths
from autogit.model.service import CatalogueEntry, ServiceDescriptor
from autogit.model.settings import Settings
from autogit.model.spec import PlatformSpec, ResolverSpec, ServiceSpec

_LOOPBACK = "127.0.0.1"
_DOCKER_ROOT = "/var/lib/docker"
_NO_CONTAINERS = "it is a container image and needs a Docker Engine"
_RUNTIMES = ("embedded", "docker")


def build_spec(
    settings: Settings, catalogue: Catalogue, facts: HostFacts, lockfile: Lockfile, paths: ProjectPaths
) -> PlatformSpec:
    """Return the whole desired platform.

    Raises UnsupportedError (a wish that this version cannot carry out, a route without its password), UsageError
    (an unknown service), PortTakenError, HostTooSmallError, RenderError (a program's arguments), UnavailableError (a
    name would lead nowhere) and SettingsError (a declared record).
    """
    check_supported(settings)
    services, ports, service_notes = _services(settings, catalogue, facts, lockfile, paths)
    routes = build_routes(services, settings)
    records = wanted_records(settings, facts.dns_targets, routes, services, catalogue.records)
    certificate = build_certificate(settings, facts, paths, certificate_names(settings, [r.host for r in routes]))
    ingress = next(service for service in services if service.name == settings.ingress)
    known = facts.certificates.get(settings.base_domain, CertificateFacts())
    resolver = build_resolver(settings, known, paths, certificate.names, ingress.secrets)
    resolver = _beside_former(resolver, known, running_manager(settings, lockfile))
    spec = PlatformSpec(
        project=settings.project_name,
        paths=paths,
        base_domain=settings.base_domain,
        runtime=settings.runtime,
        ingress=settings.ingress,
        owner=facts.owner,
        docker_socket=_docker_socket(settings),
        docker_root=(facts.engine.root_dir if facts.engine else "") or _DOCKER_ROOT,
        tier=settings.size,
        bind_address=settings.bind_address,
        services=services,
        routes=routes,
        records=records,
        certificate=certificate,
        ports=ports,
        challenges=http_challenges(settings, ports),
        resolver=resolver,
        settings=settings.effective(),
        notes=(
            *service_notes,
            *_engine_notes(services, facts),
            *succession_notes(lockfile, {s.name: s.instead_of for s in services}),
            *_dns_notes(settings, records),
            *certificate_notes(settings),
            *resolver_notes(settings, resolver),
            *fallback_notes(settings, facts, certificate),
            *filter_notes(services, routes, settings),
            *_standing_notes(services, settings, catalogue),
        ),
    )
    return _with_containers(spec, settings, facts) if spec.in_containers else _with_programs(spec, facts)


def _beside_former(resolver: ResolverSpec | None, known: CertificateFacts, manager: str) -> ResolverSpec | None:
    """Keep a certificate of AutoGit's own: it goes in a second step, once Traefik serves one that it ordered."""
    return replace(resolver, former=True) if resolver and known.version and manager != TRAEFIK else resolver


def _standing_notes(services: Sequence[ServiceSpec], settings: Settings, catalogue: Catalogue) -> Iterator[Note]:
    yield from _availability_notes(services)
    yield from _end_of_life_notes(settings, catalogue, (s.name for s in services))


def _services(
    settings: Settings, catalogue: Catalogue, facts: HostFacts, lockfile: Lockfile, paths: ProjectPaths
) -> tuple[tuple[ServiceSpec, ...], Mapping[str, int], Sequence[Note]]:
    """Return all services that were chosen, the host ports of all, and what a reader should know of size and ports."""
    chosen = chosen_services(settings, catalogue)
    missing = {entry.descriptor.service: _unavailable(entry.descriptor, settings, facts) for entry, _ in chosen}
    running = [entry.descriptor for entry, _ in chosen if not missing[entry.descriptor.service]]
    size_notes = tuple(_size_notes(running, settings, facts))  # before ports: a host that is too small is said first
    names = [entry.descriptor.service for entry, _ in chosen]
    rivals = {entry.descriptor.service: rivals_of(entry.descriptor, catalogue, names) for entry, _ in chosen}
    check_successions(lockfile, rivals, missing, settings)
    ports, port_notes = allocate_ports(running, settings, facts, handed_over(lockfile, rivals))
    services = tuple(
        replace(
            _service(entry, missing[entry.descriptor.service], ports, settings),
            secrets=service_secrets(entry.descriptor, settings, facts, lockfile, paths),
            image=build_image(entry.descriptor, settings, facts.engine, lockfile),
            needed_by=needed_by,
            instead_of=rivals[entry.descriptor.service],
        )
        for entry, needed_by in chosen
    )
    return services, ports, (*size_notes, *port_notes)


def check_supported(settings: Settings) -> None:
    """Raise UnsupportedError for a wish that this version cannot carry out."""
    if settings.runtime not in _RUNTIMES:
        raise UnsupportedError(
            f"RUNTIME={settings.runtime} ({settings.source_of('RUNTIME')}) is not part of this version of AutoGit",
            hint=f"set RUNTIME={_RUNTIMES[0]}",
        )
    if is_traefiks(settings):
        check_manager(settings)


def dependencies_of(descriptor: ServiceDescriptor, settings: Settings) -> tuple[str, ...]:
    """Return what a service needs in this runtime, roles replaced by the services that the settings choose."""
    run = descriptor.runs.container
    names = [*descriptor.dependencies, *(run.dependencies if run and settings.runtime != "embedded" else ())]
    roles = {"@ingress": settings.ingress, "@log-collector": settings.log_collector}
    return tuple(dict.fromkeys(roles.get(name, name) for name in names))


def _companions_of(descriptor: ServiceDescriptor, settings: Settings) -> tuple[str, ...]:
    run = descriptor.runs.container
    return run.companions if run and settings.runtime != "embedded" else ()


def chosen_services(settings: Settings, catalogue: Catalogue) -> list[tuple[CatalogueEntry, tuple[str, ...]]]:
    """Return ingress, listed services and what they need, dependencies first; each with who brought it along."""
    needed_by: dict[str, set[str]] = {settings.ingress: set()}
    listed = set(settings.services_enabled)
    needed_by.update({name: set() for name in listed})
    queue = sorted(needed_by)
    graph: dict[str, Sequence[str]] = {}
    while queue:
        name = queue.pop()
        descriptor = catalogue.get(name).descriptor
        graph[name] = sorted({*dependencies_of(descriptor, settings), *_companions_of(descriptor, settings)})
        for dependency in graph[name]:
            if dependency not in needed_by:
                needed_by[dependency] = set()
                queue.append(dependency)
            needed_by[dependency].add(name)
    own = listed | {settings.ingress}
    return [(catalogue.get(n), () if n in own else tuple(sorted(needed_by[n]))) for n in _stable_order(graph)]


def _stable_order(graph: Mapping[str, Sequence[str]]) -> list[str]:
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order.extend(ready)
        sorter.done(*ready)
    return order


def _unavailable(descriptor: ServiceDescriptor, settings: Settings, facts: HostFacts) -> str:
    if settings.runtime != "embedded":
        known = descriptor.runs.container is not None
        return "" if known else descriptor.runs.unavailable.get("docker", "it has no container form")
    run = descriptor.runs.embedded
    if run is None:
        reason = _NO_CONTAINERS if descriptor.runs.container else "it cannot run in the embedded runtime"
        return descriptor.runs.unavailable.get("embedded", reason)
    if run.program not in facts.executables:
        return run.missing or f"the program {run.program} is not on PATH"
    return ""


def _availability_notes(services: Sequence[ServiceSpec]) -> Iterator[Note]:
    by_reason: dict[str, list[str]] = {}
    for service in services:
        if service.unavailable:
            by_reason.setdefault(service.unavailable, []).append(service.name)
        if service.needed_by:
            yield Note("info", service.name, f"comes along for {', '.join(service.needed_by)}")
    for reason, names in by_reason.items():
        yield Note("info", ", ".join(names), f"unavailable here: {reason}")


def _end_of_life_notes(settings: Settings, catalogue: Catalogue, chosen: Iterable[str]) -> Iterator[Note]:
    """Say aloud what is at its end: what was chosen, be it by a setting whose service cannot run here."""
    for name in dict.fromkeys([*chosen, settings.ingress, settings.log_collector]):
        entry = catalogue.find(name)
        if entry and entry.descriptor.end_of_life:
            yield Note("warning", name, entry.descriptor.end_of_life, "change the setting in .env that chose it")


def _size_notes(running: Sequence[ServiceDescriptor], settings: Settings, facts: HostFacts) -> Iterator[Note]:
    cpus, memory = tier_total(running, settings.size)
    if not facts.memory_bytes:  # rendered for another host
        yield Note("info", "size", f"needs {cpus:g} cores, {memory / GIB:.1f} GB (tier {settings.size})")
        return
    words = (
        f"needs {cpus:g} of {facts.cpus} cores, {memory / GIB:.1f} of {facts.memory_bytes / GIB:.1f} GB "
        f"(tier {settings.size})"
    )
    if memory > facts.memory_bytes:
        fitting = largest_fitting_tier(running, facts.memory_bytes)
        raise HostTooSmallError(
            f"this host is too small: it {words}",
            hint=f"set SIZE={fitting}" if fitting else "take services out of SERVICES_ENABLED",
        )
    over = cpus > facts.cpus
    if over:
        yield Note("warning", "size", f"{words}: it will be slow under load", "choose a smaller SIZE")
    else:
        yield Note("info", "size", words)


def _engine_notes(services: Sequence[ServiceSpec], facts: HostFacts) -> Iterator[Note]:
    """Tell what does not work on this engine, and which tags have moved on."""
    if facts.engine is None:
        return
    for limit in facts.engine.limits:
        yield Note("warning", "engine", limit, "docs/how-to/exposure.md tells what works where")
    yield from image_notes([s for s in services if not s.unavailable], facts.engine)


def _dns_notes(settings: Settings, records: Sequence[WantedRecord]) -> Iterator[Note]:
    """Say so where names lead to an address that nothing listens on."""
    own = (f"*.{settings.base_domain}", settings.base_domain)
    led = {v for r in records if r.record.key.name in own and r.record.key.type == "A" for v in r.record.values}
    if led and ip_address(settings.bind_address).is_loopback and not all(ip_address(v).is_loopback for v in led):
        message = f"names lead to {', '.join(sorted(led))}, and the ingress listens on {settings.bind_address} only"
        yield Note("warning", "dns", message, "set BIND_ADDRESS=0.0.0.0, or have something pass on what comes in")


def _docker_socket(settings: Settings) -> str:
    """Return the path of the engine's socket on the host that runs the containers."""
    scheme, _, place = (settings.docker_host or "").partition("://")
    return place if scheme == "unix" and place else "/var/run/docker.sock"


def _service(entry: CatalogueEntry, unavailable: str, ports: Mapping[str, int], settings: Settings) -> ServiceSpec:
    descriptor = entry.descriptor
    own = {
        name: number
        for address, number in ports.items()
        for service, _, name in [address.partition("/")]
        if service == descriptor.service
    }
    return ServiceSpec(
        entry=entry,
        size=descriptor.sizing.get(settings.size),
        ports=own,
        settings={
            s.name: typed_value(s, settings.service_settings.get(s.name, s.default or ""))
            for s in descriptor.settings
            if not s.secret
        },
        unavailable=unavailable,
    )


def _with_programs(spec: PlatformSpec, facts: HostFacts) -> PlatformSpec:
    services = tuple(
        s if s.unavailable else replace(s, program=build_program(spec, s, facts.executables)) for s in spec.services
    )
    return replace(spec, services=services)


def _with_containers(spec: PlatformSpec, settings: Settings, facts: HostFacts) -> PlatformSpec:
    running = {s.name for s in spec.running}

    def contained(service: ServiceSpec) -> ServiceSpec:
        container = build_container(spec, service, [*running & set(dependencies_of(service.descriptor, settings))])
        if container is not None and facts.engine is not None:
            # An engine refuses a limit above its cores (moby, daemon/daemon_unix.go).
            container = replace(container, cpus=min(container.cpus, facts.cpus))
        return replace(service, container=container)

    services = tuple(s if s.unavailable else contained(s) for s in spec.services)
    spec = replace(spec, services=services)
    return replace(spec, networks=build_networks(spec), notes=(*spec.notes, *limit_notes(spec), *policy_notes(spec)))
