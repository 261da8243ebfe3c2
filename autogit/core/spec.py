"""Building the spec: what `.env`, the catalogue, the host and the lockfile add up to; pure, every decision is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from ipaddress import ip_address
from pathlib import PurePosixPath

from autogit.core.catalogue import Catalogue
from autogit.core.certificates import issuer_name
from autogit.core.containers import build_container, build_networks
from autogit.core.context import PASSWORDS_DIR
from autogit.core.dns_records import wanted_records
from autogit.core.images import build_image, image_notes
from autogit.core.policy import policy_notes
from autogit.core.ports import allocate_ports
from autogit.core.programs import build_program
from autogit.core.settings import typed_value
from autogit.core.sizing import GIB, largest_fitting_tier, tier_total
from autogit.errors import DescriptorError, Fault, HostTooSmallError, UnsupportedError
from autogit.model.dns import WantedRecord
from autogit.model.host import CertificateFacts, HostFacts
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Note
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address
from autogit.model.service import CatalogueEntry, Exposure, ServiceDescriptor
from autogit.model.settings import LOCAL_ISSUER, Settings
from autogit.model.spec import CertificateSpec, PlatformSpec, Route, SecretSpec, ServiceSpec

_LOCAL_DAYS = 90
_LOOPBACK = "127.0.0.1"
_DOCKER_ROOT = "/var/lib/docker"
_NO_CONTAINERS = "it is a container image and needs a Docker Engine"
_DESCRIBED = {"RUNTIME": ("embedded", "docker"), "INGRESS": ("traefik", "nginx")}
_CARRIED_OUT = {"INGRESS": ("traefik",)}


def build_spec(
    settings: Settings, catalogue: Catalogue, facts: HostFacts, lockfile: Lockfile, paths: ProjectPaths
) -> PlatformSpec:
    """Return the whole desired platform.

    Raises UnsupportedError (a wish that this version cannot even describe, a route without its password), UsageError
    (an unknown service), PortTakenError, HostTooSmallError, RenderError (a program's arguments), UnavailableError (a
    name would lead nowhere) and SettingsError (a declared record).
    """
    _check_wishes(settings, _DESCRIBED)
    chosen = chosen_services(settings, catalogue)
    missing = {entry.descriptor.service: _unavailable(entry.descriptor, settings, facts) for entry, _ in chosen}
    running = [entry.descriptor for entry, _ in chosen if not missing[entry.descriptor.service]]
    size_notes = tuple(_size_notes(running, settings, facts))
    ports, port_notes = allocate_ports(running, settings, facts, lockfile)
    services = tuple(
        replace(
            _service(entry, missing[entry.descriptor.service], ports, settings),
            secrets=tuple(_secrets(entry.descriptor, settings, facts, lockfile, paths)),
            image=build_image(entry.descriptor, settings, facts.engine, lockfile),
            needed_by=needed_by,
        )
        for entry, needed_by in chosen
    )
    routes = _distinct(sorted(_routes(services, settings), key=lambda r: r.name), services)
    records = wanted_records(settings, facts.dns_targets, routes, services, catalogue.records)
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
        certificate=_certificate(settings, facts, paths),
        ports=ports,
        settings=settings.effective(),
        notes=(
            *(*size_notes, *port_notes),
            *_engine_notes(services, facts),
            *_dns_notes(settings, records),
            *_availability_notes(services),
            *_end_of_life_notes(settings, catalogue, (s.name for s in services)),
        ),
    )
    return _with_containers(spec, settings, facts) if spec.in_containers else _with_programs(spec, facts)


def check_supported(settings: Settings) -> None:
    """Raise UnsupportedError for a wish that this version can describe and not carry out."""
    _check_wishes(
        settings, {**_DESCRIBED, **_CARRIED_OUT}, "; autogit render --out DIR writes the files of any runtime"
    )


def _check_wishes(settings: Settings, known: Mapping[str, tuple[str, ...]], hint: str = "") -> None:
    wishes = {"RUNTIME": settings.runtime, "INGRESS": settings.ingress}
    for key, wish in wishes.items():
        if wish not in known[key]:
            raise UnsupportedError(
                f"{key}={wish} ({settings.source_of(key)}) is not part of this version of AutoGit",
                hint=f"set {key}={known[key][0]}{hint}",
            )


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


def _certificate(settings: Settings, facts: HostFacts, paths: ProjectPaths) -> CertificateSpec:
    domain = settings.base_domain
    names = (domain, f"*.{domain}")
    known = facts.certificates.get(domain, CertificateFacts())
    due = ("" if known.can_wait else known.due) or ("" if set(known.names) == set(names) else "its names differ")
    is_local = settings.cert_issuer == LOCAL_ISSUER
    key_type = "P-256" if is_local else settings.cert_key_type
    if not due and known.key_type and known.key_type != key_type:
        due = f"key type {known.key_type} -> {key_type}"
    version = known.version + 1 if due else known.version
    folder = paths.certs / domain / f"v{version}"
    return CertificateSpec(
        name=domain,
        issuer=issuer_name(settings),
        names=names,
        version=version,
        fullchain=str(folder / "fullchain.pem"),
        key=str(folder / "key.pem"),
        root=str(paths.local_root(domain)) if is_local else "",
        due=due,
        key_type=key_type,
        lifetime_days=_LOCAL_DAYS if is_local else 0,
    )


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


def _secrets(
    descriptor: ServiceDescriptor, settings: Settings, facts: HostFacts, lockfile: Lockfile, paths: ProjectPaths
) -> Iterator[SecretSpec]:
    for setting in descriptor.settings:
        given = settings.service_secrets.get(setting.name)
        if not setting.secret or (given is None and setting.generate is None):
            continue
        fingerprint = facts.secret_fingerprints.get(setting.name, "")
        version = _secret_version(lockfile.find(Address("secret", setting.name)), fingerprint)
        # A new value is a new file: programs that keep the file they read learn of it by its name (decision 0005).
        file = ""
        if setting.htpasswd:
            file = str(paths.passwords / f"{setting.name}.v{version}.htpasswd")
        elif setting.file:
            file = str(paths.secrets / descriptor.service / f"{setting.name}.v{version}")
        yield SecretSpec(
            name=setting.name,
            description=setting.description,
            length=setting.generate or 0,
            given=given.get_secret_value() if given else None,
            htpasswd_user=setting.htpasswd or "",
            version=version,
            fingerprint=fingerprint,
            file=file,
            mode=0o600 if settings.runtime == "embedded" else 0o444,
        )


def _secret_version(entry: LockEntry | None, fingerprint: str) -> int:
    """Return the recorded version, or the one after it where the value wanted now is another one."""
    known = int(str(entry.attributes.get("version") or 0)) if entry else 0
    changed = known and fingerprint and entry and entry.attributes.get("fingerprint") != fingerprint
    return known + 1 if changed else max(known, 1)


def _routes(services: Sequence[ServiceSpec], settings: Settings) -> Iterator[Route]:
    for service in services:
        password = next((s.file for s in service.secrets if s.htpasswd_user), "")
        for route in service.descriptor.routes:
            absent = route.when is not None and not service.settings[route.when]
            if service.unavailable or route.exposure is Exposure.INTERNAL or absent:
                continue
            if route.exposure is Exposure.AUTHENTICATED and not password:
                raise UnsupportedError(
                    f"{service.entry.origin}/service.yml: route {route.name} is authenticated, no setting has htpasswd",
                    hint="give the service a secret setting with generate and htpasswd",
                )
            subdomain = route.subdomain or service.descriptor.subdomain or service.name
            yield Route(
                name=service.name if route.name == "web" else f"{service.name}-{route.name}",
                service=service.name,
                host=f"{subdomain}.{settings.base_domain}",
                path_prefix=route.path_prefix,
                path_regexp=route.path_regexp,
                target=_target(service, route.port, settings),
                exposure=route.exposure,
                rate_limit=route.rate_limit,
                max_body_bytes=route.max_body_bytes,
                probe_path=route.probe_path,
                security_headers=route.security_headers,
                password_file=_password_file(password, settings) if route.exposure is Exposure.AUTHENTICATED else "",
            )


def _target(service: ServiceSpec, port: str, settings: Settings) -> str:
    if settings.runtime == "embedded":
        return f"http://{_LOOPBACK}:{service.ports[port]}"
    return f"http://{service.name}:{service.descriptor.ports[port].internal}"


def _password_file(file: str, settings: Settings) -> str:
    """Return a password file's path as the ingress sees it."""
    return file if settings.runtime == "embedded" else f"{PASSWORDS_DIR}/{PurePosixPath(file).name}"


def _distinct(routes: Sequence[Route], services: Sequence[ServiceSpec]) -> tuple[Route, ...]:
    """Return the routes. Raises DescriptorError where two claim one place: which of them answers would be chance."""
    origins = {s.name: f"{s.entry.origin}/service.yml" for s in services}
    owners: dict[tuple[str, str], Route] = {}
    faults = []
    for route in routes:
        first = owners.setdefault((route.host, route.path_regexp or route.path_prefix), route)
        if first is not route:
            claim = (
                f"https://{route.host}{route.path_regexp or route.path_prefix} is claimed by {first.service} already"
            )
            faults.append(Fault(origins[route.service], "routes", claim))
    if faults:
        raise DescriptorError("two services claim the same route", faults=faults, hint="give one another subdomain")
    return tuple(routes)


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
    return replace(spec, networks=build_networks(spec), notes=(*spec.notes, *policy_notes(spec)))
