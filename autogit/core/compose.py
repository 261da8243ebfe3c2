"""The Compose file of a platform: a document of plain data, written so that every tool reads the same; pure.

Compose specification 2.20 or newer. Every string is double-quoted, keys included: YAML 1.1 and 1.2 disagree on what
`1e3`, `yes` or `0o17` are. Every `$` is doubled: Compose would replace what follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from autogit.core.containers import MANAGED, container_labels
from autogit.model.container import ContainerSpec, Mount
from autogit.model.spec import PlatformSpec, RenderedFile

COMPOSE_FILE = "docker-compose.yml"
_HEAD = """\
# Written by AutoGit from .env; what is changed here is lost. By hand: docker compose -f THIS_FILE up
"""
_LOGGING = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}


def compose_text(spec: PlatformSpec, files: Mapping[str, RenderedFile]) -> str:
    """Return the text of docker-compose.yml; `files` are the others, whose digests containers carry."""
    return _HEAD + dump_yaml(_escaped(compose_document(spec, files)))


def compose_document(spec: PlatformSpec, files: Mapping[str, RenderedFile]) -> dict[str, Any]:
    """Return the document before escaping: services, networks, volumes and secrets by name."""
    labels = {service.name: container_labels(service, files) for service in spec.running}
    containers = [service.container for service in spec.running if service.container]
    volumes = sorted({m.source for c in containers for m in c.mounts if m.kind == "volume"})
    secrets = {name: file for c in containers for name, file in c.secrets.items()}
    document: dict[str, Any] = {
        "name": spec.project,
        "services": {c.service: _service(c, labels[c.service]) for c in containers},
        "networks": {n.name: _network(n.internal, n.subnet) for n in spec.networks},
        "volumes": {name: {"labels": dict(MANAGED)} for name in volumes},
        "secrets": {name: {"file": file} for name, file in sorted(secrets.items())},
    }
    return {key: value for key, value in document.items() if value}


def dump_yaml(document: Any) -> str:
    """Return a document as YAML whose strings are all double-quoted; equal documents give equal bytes."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=True, width=10**6, allow_unicode=True)


_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml writes the same, five times as fast


class _Dumper(_SafeDumper):  # type: ignore[misc]  # whichever PyYAML was built with
    """Quotes every string and never writes an anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _service(c: ContainerSpec, labels: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "image": c.image,
        "pull_policy": "never" if c.local_image else "",
        "command": list(c.command),
        "entrypoint": list(c.entrypoint),
        "environment": dict(c.environment),
        "user": c.user,
        "read_only": c.read_only,
        "init": c.init,
        "privileged": c.privileged,
        "cap_drop": list(c.cap_drop),
        "cap_add": list(c.cap_add),
        "security_opt": ["no-new-privileges:true"] if c.no_new_privileges else [],
        "tmpfs": list(c.tmpfs),
        "devices": list(c.devices),
        "volumes": [_mount(mount) for mount in c.mounts],
        "secrets": [{"source": name, "target": name} for name in sorted(c.secrets)],
        "networks": {name: {"aliases": list(aliases)} if aliases else {} for name, aliases in c.networks.items()},
        "ports": [
            {"target": p.container_port, "published": str(p.host_port), "host_ip": p.host_address, "protocol": "tcp"}
            for p in c.ports
        ],
        "depends_on": {name: {"condition": "service_healthy", "restart": False} for name in c.depends_on},
        "healthcheck": _health(c),
        "stop_signal": c.stop_signal,
        "stop_grace_period": f"{c.stop_grace_seconds}s",
        "shm_size": c.shm_bytes,
        "pid": c.pid,
        "restart": "always",
        "logging": _LOGGING,
        "labels": dict(labels),
        "deploy": {"resources": _resources(c)},
    }
    return {key: value for key, value in body.items() if value not in ("", [], {}, 0, False, None)}


def _mount(mount: Mount) -> dict[str, Any]:
    body: dict[str, Any] = {"type": mount.kind, "source": mount.source, "target": mount.target}
    if mount.read_only:
        body["read_only"] = True
    if mount.kind == "bind":
        # A path that is missing must be an error, not a new folder of root's.
        body["bind"] = {"create_host_path": False}
        if mount.propagation:
            body["bind"]["propagation"] = mount.propagation
    return body


def _health(c: ContainerSpec) -> dict[str, Any]:
    if c.health is None:
        return {}
    times = {
        "interval": f"{c.health.interval_seconds}s",
        "timeout": f"{c.health.timeout_seconds}s",
        "retries": c.health.retries,
        "start_period": f"{c.health.start_period_seconds}s",
    }
    return {"test": list(c.health.test), **times} if c.health.test else times


def _resources(c: ContainerSpec) -> dict[str, Any]:
    limits: dict[str, Any] = {"pids": c.pids_limit}
    if c.cpus:
        limits["cpus"] = f"{c.cpus:g}"
    if c.memory_bytes:
        limits["memory"] = str(c.memory_bytes)
    if not c.gpus:
        return {"limits": limits}
    count = c.gpus if c.gpus == "all" else int(c.gpus)
    device = {"driver": "nvidia", "count": count, "capabilities": ["gpu", "compute", "utility"]}
    return {"limits": limits, "reservations": {"devices": [device]}}


def _network(internal: bool, subnet: str) -> dict[str, Any]:  # noqa: FBT001 - the two facts of a network
    body: dict[str, Any] = {"internal": internal, "labels": dict(MANAGED)}
    if subnet:
        body["ipam"] = {"config": [{"subnet": subnet}]}
    return body


def _escaped(value: Any) -> Any:
    """Double every dollar sign, in keys too."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value
