"""A service descriptor: the typed content of one `templates/services/<name>/service.yml`."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Tier = Literal["minimal", "homelab", "team", "production"]
TIERS: tuple[Tier, ...] = ("minimal", "homelab", "team", "production")
Scalar = str | int | float | bool
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""One label of a domain name (RFC 1035, section 2.3.1): the wildcard certificate covers one, not two."""
ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]

EngineName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
"""A network's or a volume's name, as Compose and the Docker Engine take it."""
IMAGE = r"[a-z0-9]+([._/:-]+[a-z0-9]+)*:(?!latest$)[A-Za-z0-9_][A-Za-z0-9_.-]*(@sha256:[0-9a-f]{64})?"
"""An image by name and tag, which is another than `latest` (distribution reference grammar)."""

_UNITS = {"M": 1024**2, "G": 1024**3}


class Strict(BaseModel):
    """Frozen, and unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SizingTier(Strict):
    """What a service may use in one tier: CPU cores and memory in bytes."""

    cpus: float = Field(gt=0)
    memory_bytes: int = Field(gt=0)

    @classmethod
    def parse(cls, text: str) -> SizingTier:
        """Read the specification's form `0.5C/128M` (cores, MiB or GiB). Raises ValueError."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)C/(\d+(?:\.\d+)?)([MG])", text)
        if match is None:
            raise ValueError(f"{text!r} is not a size: cores and memory, as in 0.5C/128M")
        return cls(cpus=float(match[1]), memory_bytes=int(float(match[2]) * _UNITS[match[3]]))


class Exposure(StrEnum):
    """Who may reach a route: everybody, holders of the service's generated password, or nobody from outside."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    INTERNAL = "internal"


class FilterBypass(Strict):
    """Requests of a route that no prompt filter looks at: paths (RE2, with `^`), and methods (none: all)."""

    path_regexp: Annotated[str, Field(pattern=r"^\^/")]
    methods: tuple[Annotated[str, Field(pattern=r"^[A-Z]+$")], ...] = ()


class RouteDescriptor(Strict):
    """One HTTP route of a service, on `<subdomain>.BASE_DOMAIN`.

    `port` names one of the service's ports. A path is given as a prefix or as a regular expression (RE2, anchored by
    its own `^`); the longer rule wins. `rate_limit` is requests per second a client address, `max_body_bytes` the
    largest request body; 0 means none. `probe_path` is asked from outside to see whether the route works (unset: the
    service's health endpoint; empty: it is not asked). `when` names a flag of the service without which there is no
    such route. Texts of a `filtered` route are judged where the service prompt-filter runs, but for what `bypass`
    names.
    """

    name: ServiceName = "web"
    subdomain: Label | None = None
    path_prefix: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/._~-]*$")] = "/"
    path_regexp: str | None = None
    exposure: Exposure = Exposure.PUBLIC
    port: str = "http"
    rate_limit: int = Field(default=100, ge=0)
    max_body_bytes: int = Field(default=0, ge=0)
    probe_path: str | None = None
    security_headers: bool = True
    when: str | None = None
    filtered: bool = True
    bypass: tuple[FilterBypass, ...] = ()


class PortDescriptor(Strict):
    """One TCP port: `internal` in a container, `preferred` on the host; `setting` names the `.env` key that fixes it.

    `published` ports are reachable from other machines (the ingress and SSH only); the rest bind to loopback.
    `via_ingress` ports are published by the ingress, which passes the connection on as it is (TCP). `on_host` is that
    on which AutoGit itself shows ACME challenges, in every runtime; it has a number only while http-01 is chosen.
    """

    internal: int = Field(ge=1, le=65535)
    preferred: int | None = Field(default=None, ge=1, le=65535)
    embedded_preferred: int | None = Field(default=None, ge=1, le=65535)
    setting: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    published: bool = False
    via_ingress: bool = False
    on_host: bool = False


class MetricsDescriptor(Strict):
    """Where a service shows its metrics: one of its ports, and the path; `name` tells several apart.

    `when` names a flag of the service, or one of its `tier_values`, without which there is nothing to see.
    """

    name: str = ""
    port: str = "http"
    path: str = "/metrics"
    when: str | None = None


class OnChange(StrEnum):
    """What a process does when one of its files changes: start anew, re-read on a signal, or notice by itself."""

    RESTART = "restart"
    RELOAD = "reload"
    WATCHED = "watched"


class ConfigFile(Strict):
    """One template below the service's `config/` folder (path without `.j2`) and what its change entails.

    `with_port` names an `on_host` port of the service, `with_service` another service: without it there is no such
    file.
    """

    path: str
    on_change: OnChange = OnChange.RESTART
    with_port: str | None = None
    with_service: ServiceName | None = None


class EmbeddedRun(Strict):
    """How a service runs as a supervised process of this host.

    `program` is found on PATH or beside the running Python (`python` is that Python itself). `arguments`,
    `environment` values and `health_url` are sandboxed templates over the same context as the config files. No shell
    is involved. `directory` is where it runs (empty: its own below the project's data). `reload_signal` is sent for
    `reload` files; `reload_check` are words that make of the program's own command one that only reads those files, and
    fails where they are wrong: it goes before the signal. Times are in seconds.
    """

    program: str
    arguments: tuple[str, ...] = ()
    directory: str = ""
    environment: dict[str, str] = Field(default_factory=dict)
    reload_signal: Literal["HUP", "USR1", "USR2"] | None = None
    reload_check: tuple[str, ...] = ()
    stop_signal: Literal["TERM", "INT", "QUIT"] = "TERM"
    stop_grace_seconds: int = Field(default=10, ge=1)
    ready_timeout_seconds: int = Field(default=30, ge=1)
    missing: str = ""


class HealthCheck(Strict):
    """How the engine asks a container whether it is well: an argument list; empty means the image's own check."""

    test: tuple[str, ...] = ()
    interval_seconds: int = Field(default=15, ge=1)
    timeout_seconds: int = Field(default=5, ge=1)
    retries: int = Field(default=3, ge=1)
    start_period_seconds: int = Field(default=30, ge=0)


class Bind(Strict):
    """A folder or file of the host inside a container; `source` is a template, everything else stands as written.

    `with_service` names another service without which there is no such mount.
    """

    source: str
    target: str
    read_only: bool = True
    propagation: Literal["rslave"] | None = None
    with_service: ServiceName | None = None


class PolicyRule(StrEnum):
    """What a container may not do unless its descriptor says why (`exceptions`)."""

    ROOT_USER = "root-user"
    WRITABLE_ROOT = "writable-root"
    CAPABILITIES = "capabilities"
    NEW_PRIVILEGES = "new-privileges"
    PRIVILEGED = "privileged"
    HOST_PATH = "host-path"
    DEVICES = "devices"
    HOST_NAMESPACE = "host-namespace"
    DOCKER_SOCKET = "docker-socket"
    NO_HEALTH_CHECK = "no-health-check"


class ContainerRun(Strict):
    """How a service runs as a container, in the terms of the Compose specification.

    `command`, `entrypoint`, `environment` values, `user` and bind sources are templates like `EmbeddedRun.arguments`.
    A `local_image` is made on the host and never pulled. `volumes` maps a volume's name to its path inside,
    `config_dir` is where the rendered folder of the service is mounted (read-only), `certificates` where the
    certificate store is, `challenges` where the folder of ACME challenges is (each empty: not at all). Networks are
    internal but for `edge` (published ports) and `egress` (the way out); `subnets` maps a network to the setting that
    holds its subnet. `ingress_network` is where the ingress reaches it. `gpus` is a count or `all`. Without
    `reload_signal` a `reload` file means a restart. `reload_check` is as for `EmbeddedRun`. `limits` are sentences
    about what does not work with it, which a plan tells.
    `dependencies` are those of this runtime only; `@ingress` and `@log-collector` stand for who has the role.
    `companions` come along too, and are not waited for.
    """

    local_image: bool = False
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    user: str | None = None
    read_only: bool = True
    cap_drop: tuple[str, ...] = ("ALL",)
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = True
    privileged: bool = False
    init: bool = False
    tmpfs: tuple[str, ...] = ()
    volumes: dict[EngineName, str] = Field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    devices: tuple[str, ...] = ()
    config_dir: str | None = None
    certificates: str = ""
    challenges: str = ""
    networks: tuple[EngineName, ...] = ()
    subnets: dict[EngineName, str] = Field(default_factory=dict)
    ingress_network: EngineName = "web"
    health: HealthCheck | None = None
    reload_signal: Literal["HUP", "USR1", "USR2"] | None = None
    reload_check: tuple[str, ...] = ()
    stop_signal: Literal["TERM", "INT", "QUIT"] | None = None
    stop_grace_seconds: int = Field(default=10, ge=1)
    ready_timeout_seconds: int = Field(default=120, ge=1)
    shm_bytes: int = Field(default=0, ge=0)
    pids_limit: int = Field(default=1024, ge=1)
    pid: Literal["host"] | None = None
    gpus: int | Literal["all"] | None = None
    dependencies: tuple[str, ...] = ()
    companions: tuple[ServiceName, ...] = ()
    limits: tuple[str, ...] = ()
    exceptions: dict[PolicyRule, Annotated[str, Field(min_length=10)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_signals(self) -> Self:
        """Without a stop signal of its own, an engine takes any other signal for one and starts nothing again."""
        if self.reload_signal and not self.stop_signal:
            raise ValueError("reload_signal needs stop_signal beside it (TERM, if the image has none of its own)")
        return self


class Runs(Strict):
    """In which runtimes a service can run; absent means it cannot, and `unavailable` says why."""

    embedded: EmbeddedRun | None = None
    container: ContainerRun | None = None
    unavailable: dict[Literal["embedded", "docker"], str] = Field(default_factory=dict)


class SettingDescriptor(Strict):
    """One `.env` key that only this service has. A secret without a value is generated where `generate` is set.

    `generate` is the number of random characters; `htpasswd` writes the secret for the ingress as a bcrypt line for
    that user name, `file` writes it plain for the service's own container, which reads it at `secret_files.NAME`.
    A `flag` is true or false, a `number` a whole number from `minimum` on, a `subnet` in CIDR form; `choices` limits a
    text, and so does `pattern` (a whole match; `form` says it in words). `min_length` is a secret's least number of
    characters. `required_when` names a flag of the service with which the setting must be given, `required_with`
    another setting with which it must be, `needs_service` a service that must be enabled where the flag is true. A
    `kept` secret is one that AutoGit itself puts into the store where `.env` gives none: until then there is none.
    """

    name: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    description: str
    secret: bool = False
    default: str | None = None
    generate: int | None = Field(default=None, ge=16, le=128)
    htpasswd: str | None = None
    file: bool = False
    type: Literal["text", "flag", "number", "subnet"] = "text"
    choices: tuple[str, ...] = ()
    minimum: int = Field(default=0, ge=0)
    required_when: str | None = None
    required_with: str | None = None
    kept: bool = False
    pattern: str | None = None
    form: str = ""
    min_length: int = Field(default=0, ge=0)
    needs_service: str | None = None


class ServiceDescriptor(Strict):
    """All that AutoGit knows of a service.

    The first fields are the specification's discovery document. `role` marks services of which one is chosen by a
    setting (INGRESS, LOG_COLLECTOR). `tier_values` are further values that follow the tier, for templates.
    """

    service: ServiceName
    summary: str
    subdomain: Label | None = None
    internal_port: int | None = Field(default=None, ge=1, le=65535)
    external_port: int | None = Field(default=None, ge=1, le=65535)
    health_endpoint: str | None = None
    ready_endpoint: str | None = None
    labels: tuple[str, ...] = ()
    image: str | None = None
    ports: dict[str, PortDescriptor] = Field(default_factory=dict)
    role: Literal["ingress", "log-collector"] | None = None
    sizing: dict[Tier, SizingTier] = Field(default_factory=dict)
    tier_values: dict[Tier, dict[str, Scalar]] = Field(default_factory=dict)
    dependencies: tuple[ServiceName, ...] = ()
    health_port: str = "http"
    metrics: tuple[MetricsDescriptor, ...] = ()
    needs_ingress: bool = True
    routes: tuple[RouteDescriptor, ...] = ()
    config: tuple[ConfigFile, ...] = ()
    settings: tuple[SettingDescriptor, ...] = ()
    runs: Runs = Field(default_factory=Runs)
    end_of_life: str | None = None

    @field_validator("image")
    @classmethod
    def _check_image(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(IMAGE, value):
            raise ValueError(f"{value} is not an image with a tag (latest is none)")
        return value

    @field_validator("sizing", mode="before")
    @classmethod
    def _parse_sizing(cls, value: object) -> object:
        if isinstance(value, dict):
            return {k: SizingTier.parse(v) if isinstance(v, str) else v for k, v in value.items()}
        return value


class CatalogueEntry(BaseModel):
    """A descriptor and the folder it was read from (`origin` is how that folder is shown to a reader)."""

    model_config = ConfigDict(frozen=True)

    descriptor: ServiceDescriptor
    folder: Path
    origin: str
