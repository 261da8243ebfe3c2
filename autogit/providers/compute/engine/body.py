"""What the Engine API is told of a container, a network and a volume, and the labels that Docker Compose knows; pure.

Docker Engine API 1.41, `POST /containers/create`. Mounts, not Binds: a source that is missing is then an error and not
a new folder of root's. The labels are those of Docker Compose v2 (`pkg/api/labels.go`): without `config-hash` it would
not see a container, and its own hash of a service cannot be computed here, so ours stands in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autogit.model.container import ContainerSpec, Mount
from autogit.model.service import HealthCheck
from autogit.model.spec import ContainerPayload

_NANOS = 10**9
_COMPOSE = "com.docker.compose."
PROJECT = _COMPOSE + "project"
SERVICE = _COMPOSE + "service"
WORKING_DIR = _COMPOSE + "project.working_dir"
MANAGED = "autogit.managed"
_COMPOSE_FILE = "docker-compose.yml"
_SECRETS = "/run/secrets"
RESTART_POLICY = "always"
"""`unless-stopped` would stay down where the engine was killed, and after a signal that asked for a reload."""
LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}


def container_name(project: str, service: str) -> str:
    """Return a container's name, as Docker Compose v2 forms it."""
    return f"{project}-{service}-1"


def object_name(project: str, name: str) -> str:
    """Return the name of a network or a volume, as Docker Compose forms it."""
    return f"{project}_{name}"


def object_labels(kind: str, project: str, name: str) -> dict[str, str]:
    """Return the labels of a network or a volume. No config-hash: a wrong one makes Compose offer to lose the data."""
    return {PROJECT: project, _COMPOSE + kind: name, MANAGED: "true"}


def container_labels(payload: ContainerPayload, image_id: str) -> dict[str, str]:
    """Return all labels of a container: the spec's and Compose's."""
    spec = payload.container
    return {
        **spec.labels,
        PROJECT: payload.project,
        SERVICE: spec.service,
        WORKING_DIR: payload.rendered,
        _COMPOSE + "project.config_files": str(Path(payload.rendered, _COMPOSE_FILE)),
        _COMPOSE + "config-hash": spec.labels.get("autogit.hash", ""),
        _COMPOSE + "container-number": "1",
        _COMPOSE + "oneoff": "False",
        _COMPOSE + "image": image_id,
        _COMPOSE + "depends_on": ",".join(f"{name}:service_healthy:false" for name in spec.depends_on),
    }


def create_body(payload: ContainerPayload, image: str, image_id: str, *, aliases: bool) -> dict[str, Any]:
    """Return the body of a create request for the container's first network; `image` is what it is started from.

    Without `aliases` nobody finds it by the service's name yet: it is to be proven first.
    """
    spec = payload.container
    first = next(iter(sorted(spec.networks)), "")
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": list(spec.command) or None,
        "Entrypoint": list(spec.entrypoint) or None,
        "Env": [f"{name}={value}" for name, value in sorted(spec.environment.items())],
        "User": spec.user,
        "Labels": container_labels(payload, image_id),
        "StopSignal": spec.stop_signal or None,
        "StopTimeout": spec.stop_grace_seconds,
        "Healthcheck": _health(spec.health) if spec.health else None,
        "ExposedPorts": {f"{port.container_port}/tcp": {} for port in spec.ports},
        "HostConfig": _host_config(payload, first),
    }
    if first:
        endpoint = {"Aliases": endpoint_aliases(spec, first)} if aliases else {}
        body["NetworkingConfig"] = {"EndpointsConfig": {object_name(payload.project, first): endpoint}}
    return {name: value for name, value in body.items() if value is not None}


def endpoint_aliases(spec: ContainerSpec, network: str) -> list[str]:
    """Return the names by which others on a network find the container."""
    return [spec.service, *spec.networks[network]]


def _host_config(payload: ContainerPayload, first: str) -> dict[str, Any]:
    spec = payload.container
    return {
        "NetworkMode": object_name(payload.project, first) if first else "none",
        "Mounts": [*(_mount(mount, payload) for mount in spec.mounts), *_secret_mounts(spec.secrets)],
        "PortBindings": {
            f"{p.container_port}/tcp": [{"HostIp": p.host_address, "HostPort": str(p.host_port)}] for p in spec.ports
        },
        "NanoCpus": round(spec.cpus * _NANOS),
        "Memory": spec.memory_bytes,
        "PidsLimit": spec.pids_limit,
        "ShmSize": spec.shm_bytes or None,
        "ReadonlyRootfs": spec.read_only,
        "Tmpfs": dict(_tmpfs(text) for text in spec.tmpfs),
        "CapDrop": list(spec.cap_drop),
        "CapAdd": list(spec.cap_add),
        "SecurityOpt": ["no-new-privileges:true"] if spec.no_new_privileges else [],
        "Privileged": spec.privileged,
        "Init": spec.init,
        "PidMode": spec.pid,
        "Devices": [_device(text) for text in spec.devices],
        "DeviceRequests": _device_requests(spec.gpus),
        "RestartPolicy": {"Name": RESTART_POLICY},
        "LogConfig": {"Type": "json-file", "Config": LOG_OPTIONS},
    }


def _mount(mount: Mount, payload: ContainerPayload) -> dict[str, Any]:
    if mount.kind == "volume":
        source = object_name(payload.project, mount.source)
        return {"Type": "volume", "Source": source, "Target": mount.target, "ReadOnly": mount.read_only}
    source = str(Path(payload.rendered, mount.source))
    body: dict[str, Any] = {"Type": "bind", "Source": source, "Target": mount.target, "ReadOnly": mount.read_only}
    if mount.propagation:
        body["BindOptions"] = {"Propagation": mount.propagation}
    return body


def _secret_mounts(secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"Type": "bind", "Source": file, "Target": f"{_SECRETS}/{name}", "ReadOnly": True}
        for name, file in sorted(secrets.items())
    ]


def _tmpfs(text: str) -> tuple[str, str]:
    path, _, options = text.partition(":")
    return path, options


def _device(text: str) -> dict[str, str]:
    """Read Compose's form `host[:container[:permissions]]`."""
    host, _, rest = text.partition(":")
    inside, _, permissions = rest.partition(":")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": permissions or "rwm"}


def _device_requests(gpus: str) -> list[dict[str, Any]]:
    if not gpus:
        return []
    count = -1 if gpus == "all" else int(gpus)
    return [{"Driver": "nvidia", "Count": count, "Capabilities": [["gpu", "compute", "utility"]]}]


def _health(check: HealthCheck) -> dict[str, Any]:
    times = {
        "Interval": check.interval_seconds * _NANOS,
        "Timeout": check.timeout_seconds * _NANOS,
        "Retries": check.retries,
        "StartPeriod": check.start_period_seconds * _NANOS,
    }
    return {"Test": list(check.test), **times} if check.test else times
