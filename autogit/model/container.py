"""A container as the platform wishes for it: complete, frozen, the same for every engine and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autogit.model.service import HealthCheck

MountKind = Literal["bind", "volume"]


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: `source` is a host path (a bind, absolute or relative to the rendered tree) or a volume's name."""

    kind: MountKind
    source: str
    target: str
    read_only: bool = True
    propagation: str = ""


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads into a container (TCP)."""

    host_address: str
    host_port: int
    container_port: int


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network of the platform: an internal one has no way out and publishes nothing.

    `subnet` is CIDR ("": the engine chooses), `setting` the key of `.env` that says so.
    """

    name: str
    internal: bool
    subnet: str = ""
    setting: str = ""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The image of a service: what is wanted and why just that one.

    `origin` says who chose `reference`: the `catalogue`, a `setting` of `.env` or `deploy`. `id` is the one that this
    platform is held to ("" where nothing is known yet), `digest` what a registry knows that id by. A `local` image is
    made here from AutoGit itself; `content` is what it is made of.
    """

    reference: str
    origin: str
    id: str = ""
    digest: str = ""
    content: str = ""
    local: bool = False


def repository_of(reference: str) -> str:
    """Return an image reference without its tag and digest."""
    name = reference.partition("@")[0]
    return name if "/" in name.rpartition(":")[2] else name.rpartition(":")[0] or name


def short_repository(reference: str) -> str:
    """Return the repository as engines shorten it: what lies on Docker Hub goes without a host."""
    return repository_of(reference).removeprefix("docker.io/").removeprefix("library/")


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container. `networks` maps each network to the further names it is known by there.

    `secrets` maps a name below /run/secrets to the host's file. `depends_on` names services that must be healthy first.
    `gpus` is a count, `all` or "" for none; sizes are bytes, times seconds.
    """

    service: str
    image: str
    command: tuple[str, ...]
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    secrets: Mapping[str, str]
    networks: Mapping[str, tuple[str, ...]]
    ports: tuple[PublishedPort, ...]
    depends_on: tuple[str, ...]
    cpus: float
    memory_bytes: int
    health: HealthCheck | None
    local_image: bool = False
    user: str = ""
    read_only: bool = True
    cap_drop: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = True
    privileged: bool = False
    init: bool = False
    tmpfs: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    stop_signal: str = ""
    stop_grace_seconds: int = 10
    shm_bytes: int = 0
    pids_limit: int = 1024
    pid: str = ""
    gpus: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
