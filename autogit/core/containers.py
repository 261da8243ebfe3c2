"""Containers: a descriptor's container form with its values filled in, and the networks that join them; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial

from autogit.core.context import (
    PASSWORDS_DIR,
    container_config_dir,
    container_port,
    resolver_environment,
    tcp_ports,
    template_context,
)
from autogit.core.templating import fill_text
from autogit.core.traefik_resolver import CONTAINER_DATA
from autogit.model.container import ContainerSpec, Mount, NetworkSpec, PublishedPort
from autogit.model.resource import digest
from autogit.model.service import ContainerRun, OnChange
from autogit.model.spec import PlatformSpec, RenderedFile, ServiceSpec

_OPEN_NETWORKS = frozenset({"edge", "egress"})
"""Networks that are not internal: ports are published on the one, the other is the way out."""


def build_container(spec: PlatformSpec, service: ServiceSpec, dependencies: Sequence[str]) -> ContainerSpec | None:
    """Return the container of a service, None where it has none. Raises RenderError."""
    run = service.descriptor.runs.container
    if run is None:
        return None
    context = cache(partial(template_context, spec, service))  # it tells of every service: only where a text asks

    def fill(subject: str, text: str) -> str:
        place = f"{service.entry.origin}/service.yml: runs.container {subject}"
        return fill_text(place, text, context()) if "{" in text else text

    return ContainerSpec(
        service=service.name,
        image=service.image.reference if service.image else "",
        command=tuple(fill("command", text) for text in run.command),
        entrypoint=tuple(fill("entrypoint", text) for text in run.entrypoint),
        environment={
            **{name: fill(name, text) for name, text in run.environment.items()},
            **resolver_environment(spec, service),
        },
        mounts=tuple(_mounts(spec, service, run, fill)),
        secrets={s.name: s.file for s in service.secrets if s.plain_file},
        networks={name: _aliases(spec, service, name) for name in _networks_of(spec, service, run)},
        ports=tuple(_published(spec, service)),
        depends_on=tuple(sorted(dependencies)),
        cpus=service.size.cpus if service.size else 0,
        memory_bytes=service.size.memory_bytes if service.size else 0,
        health=run.health,
        local_image=bool(service.image and service.image.local),
        user=fill("user", run.user or ""),
        read_only=run.read_only,
        cap_drop=run.cap_drop,
        cap_add=run.cap_add,
        no_new_privileges=run.no_new_privileges,
        privileged=run.privileged,
        init=run.init,
        tmpfs=run.tmpfs,
        devices=run.devices,
        stop_signal=f"SIG{run.stop_signal}" if run.stop_signal else "",
        stop_grace_seconds=run.stop_grace_seconds,
        shm_bytes=run.shm_bytes,
        pids_limit=run.pids_limit,
        pid=run.pid or "",
        gpus=str(run.gpus or ""),
    )


MANAGED = {"autogit.managed": "true"}
"""The label of everything that AutoGit makes on an engine."""


def container_labels(service: ServiceSpec, files: Mapping[str, RenderedFile]) -> dict[str, str]:
    """Return a container's labels: ours, and digests of its definition and of the files that it reads.

    A container that somebody starts by hand from the rendered Compose file carries them too: so it can be taken over.
    """
    if service.container is None:
        return dict(MANAGED)
    health = service.container.health
    definition = {**asdict(service.container), "health": health.model_dump() if health else None}
    return {
        **MANAGED,
        "autogit.hash": digest(definition)[:12],
        "autogit.config": _digest_of(files, files_read(service, files, reload=False)),
        "autogit.reload": _digest_of(files, files_read(service, files, reload=True)),
    }


def files_read(service: ServiceSpec, files: Mapping[str, RenderedFile], *, reload: bool) -> tuple[str, ...]:
    """Return the rendered files that a container must be told of: by its reload signal, or else by a restart."""
    run = service.descriptor.runs.container
    signal = bool(run and run.reload_signal)
    own = ((path, file.on_change) for path, file in files.items() if file.service == service.name)
    told = {path: change == OnChange.RELOAD and signal for path, change in own if change != OnChange.WATCHED}
    return tuple(path for path, by_signal in told.items() if by_signal is reload)


def _digest_of(files: Mapping[str, RenderedFile], paths: Sequence[str]) -> str:
    return digest({path: files[path].text for path in paths})[:12] if paths else ""


def build_networks(spec: PlatformSpec) -> tuple[NetworkSpec, ...]:
    """Return every network that a container of the platform is on, sorted by name."""
    subnets = {
        network: (str(service.settings[setting]), setting)
        for service in spec.running
        if service.descriptor.runs.container
        for network, setting in service.descriptor.runs.container.subnets.items()
    }
    if spec.challenges and spec.challenges.listen_port:
        subnets |= {"edge": (spec.settings["ACME_SUBNET"], "ACME_SUBNET")}
    names = {name for s in spec.running if s.container for name in s.container.networks}
    return tuple(NetworkSpec(name, name not in _OPEN_NETWORKS, *subnets.get(name, ())) for name in sorted(names))


def _mounts(
    spec: PlatformSpec, service: ServiceSpec, run: ContainerRun, fill: Callable[[str, str], str]
) -> Iterator[Mount]:
    if service.descriptor.config:
        yield Mount("bind", f"./{service.name}", container_config_dir(service))
    if run.certificates:
        yield Mount("bind", str(spec.paths.certs), run.certificates)
    if run.challenges:
        yield Mount("bind", str(spec.paths.acme_challenges), run.challenges)
    if service.name == spec.ingress and any(route.password_file for route in spec.routes):
        yield Mount("bind", str(spec.paths.passwords), PASSWORDS_DIR)
    if service.name == spec.ingress and spec.resolver:
        # A folder of the host, not a volume: a volume would be root's, and Traefik runs as who runs AutoGit.
        yield Mount("bind", str(spec.paths.data / service.name), CONTAINER_DATA, read_only=False)
        yield from (Mount("bind", source, target) for source, target in spec.resolver.binds)
    for volume, target in run.volumes.items():
        yield Mount("volume", volume, target, read_only=False)
    running = {s.name for s in spec.running}
    for bind in run.binds:
        if bind.with_service and bind.with_service not in running:
            continue
        source = fill("binds", bind.source)
        yield Mount("bind", source, bind.target, bind.read_only, bind.propagation or "")


def _networks_of(spec: PlatformSpec, service: ServiceSpec, run: ContainerRun) -> Sequence[str]:
    """Return a container's networks: the ingress joins the network of whatever it routes to."""
    names = set(run.networks)
    if service.name == spec.ingress:
        names |= {_ingress_network(s) for s in spec.running if _is_routed(spec, s)}
    elif _is_routed(spec, service):
        names.add(run.ingress_network)
    return sorted(names)


def _is_routed(spec: PlatformSpec, service: ServiceSpec) -> bool:
    return any(route.service == service.name for route in spec.routes) or bool(tcp_ports(service))


def _ingress_network(service: ServiceSpec) -> str:
    run = service.descriptor.runs.container
    return run.ingress_network if run else "web"


def _aliases(spec: PlatformSpec, service: ServiceSpec, network: str) -> tuple[str, ...]:
    """Return further names: on `web` the ingress answers to every public name, so that services find each other."""
    if service.name != spec.ingress or network != "web":
        return ()
    return tuple(sorted({route.host for route in spec.routes}))


def _published(spec: PlatformSpec, service: ServiceSpec) -> Iterator[PublishedPort]:
    for name, port in service.descriptor.ports.items():
        if port.published:
            number = container_port(spec, service, name)
            yield PublishedPort(spec.bind_address, number, number)
    if service.name == spec.ingress:
        for other in spec.running:
            for name in tcp_ports(other):
                number = spec.ports[f"{other.name}/{name}"]
                yield PublishedPort(spec.bind_address, number, number)
