"""Views: what `--format json` prints and the API returns, under stable names with a schema version."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]


class View(BaseModel):
    """Frozen base of every view."""

    model_config = ConfigDict(frozen=True)


class ServicePorts(View):
    """A service's main port: inside (container or loopback) and as reached from outside, null where there is none."""

    internal: int | None = None
    external: int | None = None


class Service(View):
    """The specification's `Service`."""

    name: str
    subdomain: str | None = None
    status: Status
    ports: ServicePorts


class ServiceDiscovery(View):
    """The specification's discovery document of one service."""

    service: str
    subdomain: str | None
    internal_port: int | None
    external_port: int | None
    health_endpoint: str | None
    ready_endpoint: str | None
    labels: tuple[str, ...]


class FieldView(View):
    """One attribute before and after (a secret's values read `(secret)`)."""

    name: str
    before: str
    after: str


class ChangeView(View):
    """One line of a plan.

    `detail` says in a few words what it is and what it touches (`-> reload prometheus`). `diff` is a unified diff for
    rendered files, empty otherwise.
    """

    address: str
    action: Literal["create", "update", "replace", "delete", "noop", "hold"]
    reason: str
    detail: str = ""
    fields: tuple[FieldView, ...] = ()
    drift: bool = False
    foreign: str = ""
    diff: tuple[str, ...] = ()


class NoteView(View):
    """A sentence beside the plan or the status."""

    level: Literal["info", "warning"]
    subject: str
    message: str


class PlanView(View):
    """A whole plan. `counts` has a number per action; `changes` leaves out what is in sync."""

    schema_version: int = 1
    fingerprint: str
    policy: str
    counts: dict[str, int]
    changes: tuple[ChangeView, ...]
    notes: tuple[NoteView, ...]
    published_ports: dict[str, int] = Field(default_factory=dict)
    changed_settings: tuple[str, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether anything differs from what is wished (held differences count)."""
        return bool(self.changes)


class RenderView(View):
    """What `render` wrote: paths below `out`, and the names of the secrets that the files refer to."""

    schema_version: int = 1
    out: str
    files: tuple[str, ...]
    secrets: tuple[str, ...]
    notes: tuple[NoteView, ...] = ()

    @property
    def warnings(self) -> tuple[NoteView, ...]:
        """The notes that a reader must see."""
        return tuple(note for note in self.notes if note.level == "warning")


class OutcomeView(View):
    """What became of one change."""

    address: str
    action: str
    ok: bool
    message: str = ""
    hint: str = ""
    context: tuple[str, ...] = ()
    seconds: float = 0.0


class UrlView(View):
    """Where a service is reached, and how to log in."""

    service: str
    url: str
    login: str = ""


class UpView(View):
    """The result of `up`: the plan that was applied, each outcome, and where everything is.

    `unfinished` are sentences about what did not come to its end though all that runs is up, each with what to do
    next; `warnings` about what is not done here at all.
    """

    schema_version: int = 1
    plan: PlanView
    applied: tuple[OutcomeView, ...] = ()
    skipped: tuple[str, ...] = ()
    urls: tuple[UrlView, ...] = ()
    seconds: float = 0.0
    in_sync: int = 0
    certificate: str = ""
    issuer: str = ""
    unfinished: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ImageView(View):
    """The image of one service: what it is called, who chose it, and the one that is held to."""

    service: str
    reference: str
    origin: str
    id: str
    digest: str
    present: bool


class UpgradeRow(View):
    """One service before and after an upgrade; `registry` is the digest that its tag leads to, or why it is unknown."""

    service: str
    current: str
    wanted: str
    changes: bool
    registry: str


class UpgradeView(View):
    """What an upgrade would do."""

    schema_version: int = 1
    services: tuple[UpgradeRow, ...]
    plan: PlanView


class AdoptView(View):
    """What `adopt` wrote down, how much it knew already, and what the next `up` would change."""

    schema_version: int = 1
    adopted: tuple[str, ...]
    known: int
    different: tuple[str, ...]


class RepairView(View):
    """One repair: what was wrong, what was done, and whether it helped."""

    address: str
    reason: str
    ok: bool
    message: str = ""
    seconds: float = 0.0


class HealthView(View):
    """What healing knows of one service."""

    service: str
    state: str
    since: str
    reason: str = ""
    failures: int = 0
    next_try_at: str = ""
    breaker: Literal["open", "closed"] = "closed"


class TurnView(View):
    """One look of `reconcile`: every service's health, what was repaired, and what is worth telling."""

    schema_version: int = 1
    healthy: bool
    services: tuple[HealthView, ...]
    repairs: tuple[RepairView, ...] = ()
    messages: tuple[str, ...] = ()


class ServiceStatusView(View):
    """One service's state: `detail` says what was probed and seen, `since` is when its process started (RFC 3339).

    `healing` is what `reconcile` says of it, "" where it has nothing to tell.
    """

    name: str
    subdomain: str | None
    status: Status
    ports: ServicePorts
    detail: str
    url: str = ""
    since: str = ""
    healing: str = ""


class CertificateView(View):
    """One certificate: on disk and as served (`matches` is null where nothing could be asked).

    `renew_at` is empty where Traefik sees to it.
    """

    name: str
    issuer: str
    not_after: str
    days_left: int
    renew_at: str
    serial: str
    served_serial: str = ""
    matches: bool | None = None


class MirrorTroubleView(View):
    """One mirrored repository that is not proven fresh: `state` as in `autogit mirror status`, and why.

    `lag_seconds` is the age of its last proof, null where there is none.
    """

    mirror: str
    repository: str
    state: str
    lag_seconds: int | None = None
    detail: str = ""


class MirrorSummaryView(View):
    """All mirrors in a few words: how many repositories are in each state, and those that are not `ok`.

    `problems` are of whole mirrors: a source that could not be asked, a declaration that cannot be read. `synced_at` is
    when the last sync of all mirrors ended, `synced_seconds` how long ago that is (empty and null: never).
    """

    declared: int
    repositories: int
    counts: dict[str, int]
    troubles: tuple[MirrorTroubleView, ...] = ()
    problems: tuple[str, ...] = ()
    synced_at: str = ""
    synced_seconds: int | None = None


class StatusView(View):
    """Everything `autogit status` says; `mirrors` is null where nothing is mirrored."""

    schema_version: int = 1
    status: Status
    runtime: str
    base_domain: str
    services: tuple[ServiceStatusView, ...]
    routes_probed: int
    drift: int
    pending: int
    certificate: CertificateView | None
    mirrors: MirrorSummaryView | None = None
    last_apply: dict[str, str]
    lock_holder: str = ""
    notes: tuple[NoteView, ...] = ()


class FindingView(View):
    """One check of `autogit doctor`: what was looked at, the verdict, and one fix."""

    check: str
    level: Literal["ok", "warning", "error"]
    message: str
    fix: str = ""


class DoctorView(View):
    """All findings."""

    schema_version: int = 1
    findings: tuple[FindingView, ...]

    @property
    def healthy(self) -> bool:
        """Whether no finding is an error."""
        return all(f.level != "error" for f in self.findings)
