"""The desired platform, complete and pure: what `.env`, the catalogue and the host's facts add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from autogit.model.acme import HttpChallenges, KeyType
from autogit.model.container import ContainerSpec, ImageSpec, NetworkSpec
from autogit.model.dns import WantedRecord
from autogit.model.plan import Note
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Value
from autogit.model.service import CatalogueEntry, Exposure, FilterBypass, Scalar, ServiceDescriptor, SizingTier, Tier


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP route: the single model behind every ingress and every runtime.

    `name` is unique (`api`, `prometheus`), `host` an fqdn without trailing dot, `target` the backend's URL as the
    ingress reaches it. `password_file` is the htpasswd file for `authenticated` routes. `is_filtered` tells that its
    texts are judged by the prompt filter, but for requests that a `bypass` names.
    """

    name: str
    service: str
    host: str
    path_prefix: str
    target: str
    exposure: Exposure
    rate_limit: int
    security_headers: bool
    password_file: str = ""
    path_regexp: str | None = None
    max_body_bytes: int = 0
    probe_path: str | None = None
    is_filtered: bool = False
    bypass: tuple[FilterBypass, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A supervised process of the embedded runtime: an argument list, never a shell string."""

    service: str
    executable: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    health_port: int
    health_path: str
    ready_path: str
    reload_signal: str | None
    stop_signal: str
    stop_grace_seconds: int
    ready_timeout_seconds: int

    @property
    def attributes(self) -> Mapping[str, Value]:
        """What a plan compares and shows of it: the command as words, the environment as `NAME=value`."""
        return {
            "command": (self.executable, *self.arguments),
            "environment": tuple(f"{name}={value}" for name, value in sorted(self.environment.items())),
        }


@dataclass(frozen=True, slots=True)
class SecretSpec:
    """A secret the platform needs: given in `.env` (`given` is the SecretStr's text, kept out of repr) or generated.

    `version` grows by one with each new value, `fingerprint` is the value's keyed digest ("" before there is one).
    `file` is where a service reads it (absolute, one file a version), "" for the store only. Its `mode` is 0600, but
    for containers: a container's user is another one, there the folder around (0700) keeps others out.
    """

    name: str
    description: str
    length: int
    given: str | None = field(default=None, repr=False)
    htpasswd_user: str = ""
    version: int = 1
    fingerprint: str = ""
    file: str = ""
    mode: int = 0o600

    @property
    def plain_file(self) -> bool:
        """Whether the file holds the value itself, for the service to read."""
        return bool(self.file) and not self.htpasswd_user


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """The certificate that the ingress serves: `names` are SANs (wildcard and apex), `version` the v<N> wanted.

    `root` is the file of the local authority that signs it ("" for another issuer), `due` the reason for a new version,
    empty where the present one is good. `hooks` are commands that take it to others, as lists of words.
    """

    name: str
    issuer: str
    names: tuple[str, ...]
    version: int
    fullchain: str
    key: str
    root: str = ""
    due: str = ""
    key_type: KeyType = "P-256"
    lifetime_days: int = 90
    hooks: tuple[tuple[str, ...], ...] = ()

    @property
    def place(self) -> str:
        """Where its chain lies in the folder of certificates; a text that names the file ends so, whoever reads it."""
        return "/".join(PurePath(self.fullchain).parts[-3:])

    def is_named_in(self, text: str) -> bool:
        """Tell whether a text names one of its files, wherever the folder of certificates is seen from."""
        certs = PurePath(self.fullchain).parents[2]
        files = (PurePath(file) for file in (self.fullchain, self.key, self.root) if file)
        return any(file.relative_to(certs).as_posix() in text for file in files)


@dataclass(frozen=True, slots=True)
class ResolverSpec:
    """Traefik as the one who orders certificates: its resolver's configuration, and what its DNS client (lego) reads.

    `storage` is the file on the host that it keeps account and certificates in; every other path is as Traefik sees it.
    `environment` holds no secret: those lie in files of the ingress' secrets. `provider` is lego's name for the DNS
    provider ("" for http-01), `servers` whom it asks whether a record is there (none: its own choice), `is_private`
    tells that nobody else knows the zone. `duration_hours` is how long a certificate lives (0: the usual 90 days).
    `binds` are files of the host that Traefik's container must see, with their places inside. `is_awaited` tells that
    it has no certificate for the names yet, `former` that AutoGit's own is served until it has.
    """

    storage: str
    storage_path: str
    server: str
    key_type: str
    names: tuple[str, ...]
    email: str = ""
    preferred_chain: str = ""
    profile: str = ""
    ca_file: str = ""
    duration_hours: int = 0
    provider: str = ""
    servers: tuple[str, ...] = ()
    is_private: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[tuple[str, str], ...] = ()
    is_awaited: bool = True
    former: bool = False


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service as this platform runs it.

    `ports` maps a port's name to its host number. `unavailable` says why it cannot run in this runtime ("" where it
    can). `needed_by` names the services that brought it along (empty: the user listed it). `instead_of` are services
    that publish the same ports: what is left of them ends before it starts, and starts again where it fails.
    """

    entry: CatalogueEntry
    size: SizingTier | None
    ports: Mapping[str, int]
    settings: Mapping[str, Scalar]
    secrets: tuple[SecretSpec, ...] = ()
    image: ImageSpec | None = None
    container: ContainerSpec | None = None
    program: Program | None = None
    unavailable: str = ""
    needed_by: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The service's name."""
        return self.descriptor.service

    @property
    def descriptor(self) -> ServiceDescriptor:
        """The service's descriptor."""
        return self.entry.descriptor


@dataclass(frozen=True, slots=True)
class PlatformSpec:
    """The whole desired platform; services in dependency order, routes sorted by name."""

    project: str
    paths: ProjectPaths
    base_domain: str
    runtime: str
    ingress: str
    owner: str
    docker_socket: str
    docker_root: str
    tier: Tier
    bind_address: str
    services: tuple[ServiceSpec, ...]
    routes: tuple[Route, ...]
    certificate: CertificateSpec
    ports: Mapping[str, int]
    settings: Mapping[str, str]
    notes: tuple[Note, ...] = ()
    networks: tuple[NetworkSpec, ...] = ()
    records: tuple[WantedRecord, ...] = ()
    challenges: HttpChallenges | None = None
    resolver: ResolverSpec | None = None

    @property
    def unit_kind(self) -> str:
        """The kind of resource that a running service is: `container` or `process`."""
        return "container" if self.in_containers else "process"

    @property
    def in_containers(self) -> bool:
        """Whether services run as containers, not as processes of the host."""
        return self.runtime != "embedded"

    @property
    def running(self) -> tuple[ServiceSpec, ...]:
        """The services that this runtime can run."""
        return tuple(s for s in self.services if not s.unavailable)


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One rendered file: its service and its text."""

    service: str
    text: str
    on_change: str


@dataclass(frozen=True, slots=True)
class RenderedTree:
    """Every rendered file by its path below `.autogit/rendered/` (POSIX form), sorted."""

    files: Mapping[str, RenderedFile]


@dataclass(frozen=True, slots=True)
class ProcessPayload:
    """What the embedded runtime needs to run a process: the program and the rendered files that it reads at start.

    `config_files` are addresses of `file/` resources (restart type): a failed replacement puts their former bytes back.
    `reload_check` are words that make of its command one that checks the others. `instead_of` is as for `ServiceSpec`.
    `directory` is where it runs (empty: its own below the project's data).
    """

    program: Program
    config_files: tuple[Address, ...]
    reload_check: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()
    directory: str = ""


@dataclass(frozen=True, slots=True)
class ContainerPayload:
    """What a container engine needs to run a service.

    `project` prefixes every name, `rendered` is where relative binds begin. `config_files` are addresses of `file/`
    resources that it reads at start: a failed change puts their former bytes back. `reload_signal` is sent where one of
    its other files changed. A service `beside` its own former version shares nothing with it: both may run at once.
    `reload_check` and `instead_of` are as for `ProcessPayload`.
    """

    project: str
    rendered: str
    container: ContainerSpec
    image: ImageSpec
    config_files: tuple[Address, ...]
    reload_signal: str
    ready_timeout_seconds: int
    beside: bool
    reload_check: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()
