"""What a container should not do without a reason, and what does not work with it, as its descriptor says; pure."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import normpath
from pathlib import PurePosixPath

from autogit.model.container import ContainerSpec
from autogit.model.plan import Note
from autogit.model.service import PolicyRule
from autogit.model.spec import PlatformSpec

_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
_LOW_PORTS = "NET_BIND_SERVICE"
_ROOT = frozenset({"", "0", "root"})


def limit_notes(spec: PlatformSpec) -> Iterator[Note]:
    """Yield what does not work with a service in a container."""
    for service in spec.running:
        run = service.descriptor.runs.container
        yield from (Note("info", service.name, limit) for limit in (run.limits if run else ()))


def policy_notes(spec: PlatformSpec) -> Iterator[Note]:
    """Yield a warning for each breach of the policy that the service's descriptor gives no reason for."""
    for service in spec.running:
        if service.container is None or service.descriptor.runs.container is None:
            continue
        reasons = service.descriptor.runs.container.exceptions
        for rule, sentence in breaches(spec, service.container):
            if rule not in reasons:
                message = f"{sentence}, and its descriptor does not say why ({rule.value})"
                yield Note(
                    "warning", service.name, message, "change it, or say why under exceptions in its service.yml"
                )


def breaches(spec: PlatformSpec, container: ContainerSpec) -> Iterator[tuple[PolicyRule, str]]:
    """Yield each rule that a container breaks, with what it does."""
    if container.user.partition(":")[0] in _ROOT:
        yield PolicyRule.ROOT_USER, "it runs as root"
    if not container.read_only:
        yield PolicyRule.WRITABLE_ROOT, "its root file system can be written to"
    if "ALL" not in container.cap_drop or set(container.cap_add) - {_LOW_PORTS}:
        yield PolicyRule.CAPABILITIES, "it has capabilities of root's"
    if not container.no_new_privileges:
        yield PolicyRule.NEW_PRIVILEGES, "its programs may gain privileges"
    if container.privileged:
        yield PolicyRule.PRIVILEGED, "it is privileged"
    if container.pid:
        yield PolicyRule.HOST_NAMESPACE, "it sees the processes of the host"
    if container.health is None:
        yield PolicyRule.NO_HEALTH_CHECK, "nothing asks whether it is well"
    yield from _mount_breaches(spec, container)


def _mount_breaches(spec: PlatformSpec, container: ContainerSpec) -> Iterator[tuple[PolicyRule, str]]:
    own = {str(spec.paths.certs), str(spec.paths.acme_challenges), str(spec.paths.passwords), f"./{container.service}"}
    if spec.resolver and container.service == spec.ingress:
        own |= {str(spec.paths.data / spec.ingress), *(source for source, _ in spec.resolver.binds)}
    rendered = f"./{container.service}/"
    binds = [m.source for m in container.mounts if m.kind == "bind"]
    sources = [
        s for s in binds if s not in own and not (s.startswith(rendered) and normpath(s) == s.removeprefix("./"))
    ]
    if sources:
        yield PolicyRule.HOST_PATH, f"it sees {', '.join(sources)} of the host"
    # A path below the rendered files is written relative to them; two dots lead out of there.
    places = [PurePosixPath(normpath(spec.paths.rendered / source)) for source in sources]
    if any(
        PurePosixPath(socket).is_relative_to(place) for socket in {spec.docker_socket, *_SOCKETS} for place in places
    ):
        yield PolicyRule.DOCKER_SOCKET, "it can reach the Docker Engine"
    if container.devices:
        yield PolicyRule.DEVICES, f"it is given {', '.join(container.devices)}"
