"""The desired resources of a platform: what the spec and the rendered tree ask for, as comparable attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace

from autogit.core.containers import container_labels, files_read
from autogit.core.programs import fill_directory
from autogit.core.traefik_resolver import storage_address
from autogit.core.verify import reachable
from autogit.model.cert_hooks import DeployHook, command_digest, hook_address
from autogit.model.container import ContainerSpec, ImageSpec
from autogit.model.dns import WantedRecord
from autogit.model.resource import Address, Resource, Value, digest
from autogit.model.service import OnChange
from autogit.model.spec import (
    ContainerPayload,
    PlatformSpec,
    ProcessPayload,
    RenderedTree,
    ResolverSpec,
    SecretSpec,
    ServiceSpec,
)

_NEW_CONTAINER = frozenset({"hash", "image", "image_id", "content", "command", "environment", "ports"})
"""What cannot be changed in a container that exists."""


def desired_resources(spec: PlatformSpec, tree: RenderedTree) -> list[Resource]:
    """Return every resource the platform wants, in no particular order; pure."""
    return [
        *(_secret(secret) for service in spec.running for secret in service.secrets),
        *((_certificate(spec),) if spec.resolver is None else (_storage(spec.resolver),)),
        *_hooks(spec, tree),
        *_files(spec, tree),
        *(_process(service, spec, tree) for service in spec.running if service.program),
        *(_in_containers(spec, tree) if spec.in_containers else ()),
        *(_dns_record(record) for record in spec.records),
    ]


def _dns_record(wanted: WantedRecord) -> Resource:
    return Resource(
        wanted.address,
        {
            "provider": wanted.provider,
            "values": wanted.record.values,
            "ttl": wanted.record.ttl,
            "proxied": wanted.record.proxied,
            "marked": True,
        },
        payload=wanted,
    )


def _in_containers(spec: PlatformSpec, tree: RenderedTree) -> Iterator[Resource]:
    for network in spec.networks:
        yield Resource(
            Address("network", network.name),
            {"name": f"{spec.project}_{network.name}", "internal": network.internal, "subnet": network.subnet},
            payload=network,
            replace_on=frozenset({"name", "internal", "subnet"}),
        )
    for volume in sorted(
        {m.source for s in spec.running if s.container for m in s.container.mounts if m.kind == "volume"}
    ):
        yield Resource(Address("volume", volume), {"name": f"{spec.project}_{volume}"})
    for service in spec.running:
        if service.container and service.image:
            yield _image(service.name, service.image)
            yield _container(service, service.container, service.image, spec, tree)


def _image(service: str, image: ImageSpec) -> Resource:
    """Leave out what is not known before it is pulled or built: whatever comes is written down."""
    attributes: dict[str, Value] = {"reference": image.reference, "origin": image.origin}
    attributes |= {"content": image.content} if image.local else {"id": image.id} if image.id else {}
    return Resource(Address("image", service), attributes, payload=image)


def _container(
    service: ServiceSpec, container: ContainerSpec, image: ImageSpec, spec: PlatformSpec, tree: RenderedTree
) -> Resource:
    labels = container_labels(service, tree.files)
    run = service.descriptor.runs.container
    payload = ContainerPayload(
        project=spec.project,
        rendered=str(spec.paths.rendered),
        container=replace(container, labels=labels),
        image=image,
        config_files=tuple(Address("file", path) for path in files_read(service, tree.files, reload=False)),
        reload_signal=f"SIG{run.reload_signal}" if run and run.reload_signal else "",
        ready_timeout_seconds=run.ready_timeout_seconds if run else 0,
        beside=not container.ports and all(mount.read_only for mount in container.mounts),
        reload_check=run.reload_check if run else (),
        instead_of=service.instead_of,
    )
    attributes: dict[str, Value] = {
        "name": f"{spec.project}-{service.name}-1",
        "hash": labels["autogit.hash"],
        "image": image.reference,
        "command": (*container.entrypoint, *container.command),
        "environment": tuple(f"{name}={value}" for name, value in sorted(container.environment.items())),
        "ports": tuple(sorted(f"{p.host_address}:{p.host_port}->{p.container_port}" for p in container.ports)),
        "networks": tuple(" ".join((name, *aliases)) for name, aliases in sorted(container.networks.items())),
        "memory_bytes": container.memory_bytes,
        "cpus": container.cpus,
        "config": labels["autogit.config"],
        "reload": labels["autogit.reload"],
        "state": "running",
        "copies": 1,
    }
    attributes |= {"content": image.content} if image.local else {"image_id": image.id} if image.id else {}
    return Resource(
        Address("container", service.name),
        attributes,
        depends_on=(
            *_needs_of(service, spec),
            Address("image", service.name),
            *(Address("secret", s.name) for s in service.secrets),
            *(Address("file", path) for path, file in tree.files.items() if file.service == service.name),
            *(Address("network", name) for name in container.networks),
            *(Address("volume", mount.source) for mount in container.mounts if mount.kind == "volume"),
            *(Address("container", name) for name in container.depends_on),
        ),
        payload=payload,
        replace_on=_NEW_CONTAINER,
    )


def _secret(secret: SecretSpec) -> Resource:
    source = "generated" if secret.given is None else "given"
    attributes: dict[str, Value] = {"source": source, "version": secret.version, "file": secret.file}
    if secret.given is not None and secret.fingerprint:
        attributes["fingerprint"] = secret.fingerprint
    return Resource(Address("secret", secret.name), attributes, payload=secret)


def _certificate(spec: PlatformSpec) -> Resource:
    wanted = spec.certificate
    attributes: dict[str, Value] = {
        "issuer": wanted.issuer,
        "names": wanted.names,
        "key_type": wanted.key_type,
        "version": wanted.version,
    }
    if wanted.lifetime_days:  # another authority decides that itself
        attributes["lifetime_days"] = wanted.lifetime_days
    return Resource(
        Address("certificate", wanted.name), attributes, depends_on=tuple(_way_of_challenges(spec)), payload=wanted
    )


def _storage(resolver: ResolverSpec) -> Resource:
    """Traefik starts without its resolver, and says so in its log only, where others may read that file."""
    return Resource(storage_address(resolver), {"mode": "0600"}, payload=resolver.storage)


def _needs_of(service: ServiceSpec, spec: PlatformSpec) -> Iterator[Address]:
    """Yield what must be there before a service starts: the certificate, or the file that Traefik keeps its own in."""
    if spec.resolver is None:
        yield Address("certificate", spec.certificate.name)
    elif service.name == spec.ingress:
        yield storage_address(spec.resolver)


def _way_of_challenges(spec: PlatformSpec) -> Iterator[Address]:
    """Yield what leads an authority that asks for http-01 to AutoGit: it must stand before an order."""
    if spec.challenges is None:
        return
    for service in spec.running:
        for config in service.descriptor.config:
            if config.with_port in service.ports:
                yield Address("file", f"{service.name}/{config.path}")
    if spec.in_containers and spec.challenges.listen_port:
        yield Address("network", "edge")


def _hooks(spec: PlatformSpec, tree: RenderedTree) -> Iterator[Resource]:
    """Yield what takes the certificate to others, each by itself: that one fails must hinder none of the rest."""
    certificate = spec.certificate
    hosts = tuple(sorted({route.host for route in spec.routes})) or (certificate.name,)
    port = spec.ports.get(f"{spec.ingress}/https", 0)
    for words in certificate.hooks:
        yield Resource(
            hook_address(words),
            {"version": certificate.version, "command": command_digest(words)},
            depends_on=(
                Address("certificate", certificate.name),
                Address(spec.unit_kind, spec.ingress),
                # A unit that stays as it is does not wait for the files that it reads.
                *(Address("file", path) for path, file in tree.files.items() if file.service == spec.ingress),
            ),
            payload=DeployHook(words, certificate, hosts, reachable(spec.bind_address), port),
        )


def _files(spec: PlatformSpec, tree: RenderedTree) -> Iterator[Resource]:
    secrets = [secret for service in spec.running for secret in service.secrets if secret.file]
    # A failed order changes no file at all: what reads them would be left with some new and some old.
    waiting = (Address("certificate", spec.certificate.name),) if spec.resolver is None else ()
    way = set(_way_of_challenges(spec))
    for path, file in tree.files.items():
        # What a file names must be there before anything reads the file: the certificate, and files of secrets.
        named = [Address("secret", secret.name) for secret in secrets if secret.file in file.text]
        if Address("file", path) not in way:
            named = [*waiting, *named]
        yield Resource(
            Address("file", path),
            {"sha256": hashlib.sha256(file.text.encode()).hexdigest(), "mode": "0644"},
            depends_on=tuple(named),
            payload=file.text,
            user_editable=True,
        )


def _process(service: ServiceSpec, spec: PlatformSpec, tree: RenderedTree) -> Resource:
    program = service.program
    if program is None:  # pragma: no cover - the caller filters
        raise ValueError(service.name)
    own = {path: file for path, file in tree.files.items() if file.service == service.name}
    restart = tuple(path for path, file in own.items() if file.on_change == OnChange.RESTART)
    reload = tuple(path for path, file in own.items() if file.on_change == OnChange.RELOAD)
    running = {s.name for s in spec.running}
    run = service.descriptor.runs.embedded
    place = fill_directory(spec, service)
    return Resource(
        Address("process", service.name),
        {
            **program.attributes,
            "program": digest([asdict(program), {p: own[p].text for p in restart}, *([place] if place else [])])[:12],
            "reload": digest({p: own[p].text for p in reload})[:12] if reload else "",
            "state": "running",
        },
        depends_on=(
            *_needs_of(service, spec),
            *(Address("secret", s.name) for s in service.secrets),
            *(Address("file", path) for path in own),
            *(Address("process", name) for name in service.descriptor.dependencies if name in running),
        ),
        payload=ProcessPayload(
            program,
            tuple(Address("file", path) for path in restart),
            run.reload_check if run else (),
            service.instead_of,
            place,
        ),
        replace_on=frozenset({"program", "command", "environment"}),
    )
