"""`doctor`: each check says what it saw and names one fix; a broken `.env` stops none of the rest."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from autogit.core.lock import apply_lock, find_holder
from autogit.core.reconcile import Prepared, prepare
from autogit.core.schedule import MIRROR_SYNC, RENEWAL
from autogit.core.store import lockfile_store
from autogit.core.traefik_resolver import is_traefiks
from autogit.errors import AutogitError
from autogit.model.project import ProjectPaths
from autogit.model.quarantine import QuarantineStatus
from autogit.model.views import DoctorView, FindingView
from autogit.operations.present import published_ports
from autogit.operations.project import Project, open_project
from autogit.operations.quarantine import open_store
from autogit.operations.reconcile import last_heartbeat, read_healths
from autogit.providers.host.secret_store import SecretStore

_GIB = 1024**3
_LEAST_FREE_BYTES = 2 * _GIB
_LEAST_YEAR = 2026
_NEARLY_FULL = 0.9
_LOCALHOST = ".localhost"
_LONGEST_SYNC_SILENCE_SECONDS = 3600
_LONGEST_SILENCE_SECONDS = 900.0
_LONGEST_RENEWAL_SILENCE_SECONDS = 7 * 3600.0
"""The job starts every six hours, up to an hour late."""
_LONGEST_MIRROR_SILENCE_SECONDS = 900.0


async def diagnose(paths: ProjectPaths) -> DoctorView:
    """Return every finding. Never raises for what it finds."""
    findings = [*_disk(paths), *_clock(paths), *_lockfile(paths), *_lock(paths), *_identity(paths)]
    try:
        project = open_project(paths)
    except AutogitError as error:
        findings += _errors("settings", error)
    else:
        findings.append(
            FindingView(check="settings", level="ok", message=f"{paths.env_file.name} and the catalogue are valid")
        )
        findings += [finding async for finding in _project(project)]
    return DoctorView(findings=tuple(findings))


async def repair_lockfile(paths: ProjectPaths) -> tuple[str, ...]:
    """Go back to the last good lockfile; the damaged one is kept aside."""
    async with apply_lock(paths.apply_lock, "doctor --repair-lockfile"):
        aside, lockfile = lockfile_store(paths).repair()
    if aside is None:
        return (f"{paths.lockfile.name} is sound: nothing to repair",)
    return (
        f"{paths.lockfile.name} was damaged and is kept as {aside.name}",
        f"in force: the last good one ({len(lockfile.entries)} resources)"
        if lockfile.entries
        else "there was no good one: an empty one is in force, the next autogit up takes stock",
    )


async def _project(project: Project) -> AsyncIterator[FindingView]:
    checks: tuple[tuple[str, Callable[[Project], Awaitable[list[FindingView]]]], ...] = (
        ("platform", _platform),
        ("names", _names),
        ("dns", _dns),
        ("runtime", _runtime),
        ("certificates", _certificates),
        ("secrets", _secrets),
        ("healing", _healing),
        ("quarantine", _quarantine),
        ("mirrors", _mirrors),
    )
    for name, check in checks:
        try:
            for finding in await check(project):
                yield finding
        except AutogitError as error:
            for finding in _errors(name, error):
                yield finding


async def _platform(project: Project) -> list[FindingView]:
    prepared = await prepare(project.engine_here)
    found = [
        FindingView(
            check=note.subject,
            level="warning" if note.level == "warning" else "ok",
            message=note.message,
            fix=note.fix,
        )
        for note in prepared.spec.notes
    ]
    held, pending = len(prepared.plan.held), len(prepared.plan.pending)
    if held:
        found.append(
            FindingView(
                check="drift", level="warning", message=f"{held} files were edited by hand", fix="autogit drift"
            )
        )
    if pending:
        found.append(
            FindingView(check="plan", level="warning", message=f"{pending} changes are pending", fix="autogit up")
        )
    if not held and not pending:
        found.append(FindingView(check="plan", level="ok", message="everything is as .env asks for"))
    return [*found, *_ports(prepared)]


def _ports(prepared: Prepared) -> Iterator[FindingView]:
    """Name each published port with who holds it, and each that a container of ours publishes and should not."""
    from autogit.core.host import listening_ports  # noqa: PLC0415 - psutil costs 15 ms

    everybody, others = listening_ports(), prepared.facts.busy_ports
    engine = prepared.facts.engine
    own = engine.own_ports if engine else frozenset()
    wanted = published_ports(prepared.spec)
    for name, number in wanted.items():
        if number in others:
            fix = f"end that process, or give {name} another port in .env"
            message = f"{number} ({name}) is held by {others[number] or 'another process'}"
            yield FindingView(check="ports", level="warning", message=message, fix=fix)
        else:
            holder = f"is held by our {everybody[number]}" if number in everybody else "is free"
            yield FindingView(check="ports", level="ok", message=f"{number} ({name}) {holder}")
    for number in sorted(own - set(wanted.values())):
        message = f"{number} is published by a container of this project, and nothing here asks for it"
        yield FindingView(check="ports", level="warning", message=message, fix="autogit up makes the container anew")


async def _dns(project: Project) -> list[FindingView]:
    """Ask each DNS provider whether its credentials, rights and reach are enough."""
    found: list[FindingView] = []
    for view, provider in project.dns.views.items() if project.dns else ():
        health = await provider.health()
        check, detail = f"dns {view.value}", health.detail
        if health.ok:
            found.append(FindingView(check=check, level="ok", message=detail))
        else:
            found.append(FindingView(check=check, level="error", message=detail, fix=health.fix))
    return [*found, *_beat(project, "dns-sync", "dns sync", _LONGEST_SYNC_SILENCE_SECONDS)] if project.dns else found


async def _names(project: Project) -> list[FindingView]:
    host = f"api.{project.settings.base_domain}"
    if host.endswith(_LOCALHOST):
        message = (
            f"{host} is loopback by definition: curl, git and browsers know, other programs may need libnss-myhostname"
        )
        return [FindingView(check="names", level="ok", message=message)]
    try:
        seen = sorted({str(row[4][0]) for row in socket.getaddrinfo(host, 443)})
    except OSError:
        fix = f"add a DNS record, or a line in /etc/hosts: {project.settings.bind_address} {host}"
        return [FindingView(check="names", level="warning", message=f"{host} does not resolve here", fix=fix)]
    return [FindingView(check="names", level="ok", message=f"{host} resolves to {', '.join(seen)}")]


async def _runtime(project: Project) -> list[FindingView]:
    health = await project.runtime.health()
    return [
        FindingView(
            check="runtime",
            level="ok" if health.ok else "error",
            message=health.detail,
            fix="" if health.ok else health.fix or "autogit up",
        )
    ]


async def _certificates(project: Project) -> list[FindingView]:
    domain = project.settings.base_domain
    facts = project.certificates.facts(project.context.clock()).get(domain)
    found = []
    if facts is None:
        return [FindingView(check="certificates", level="ok", message="none yet", fix="autogit up")]
    if facts.due:
        fix = "autogit up" if is_traefiks(project.settings) else "autogit certs renew"
        found.append(FindingView(check="certificates", level="warning", message=f"{domain}: {facts.due}", fix=fix))
    else:
        found.append(
            FindingView(check="certificates", level="ok", message=f"{domain} is good until {facts.not_after[:10]}")
        )
    health = await project.certificates.health()
    if not health.ok:
        fix = health.fix or "restore the key from a backup before the certificate is due (docs/how-to/recover.md)"
        found.append(FindingView(check="authority", level="error", message=health.detail, fix=fix))
    hooks = await project.hooks.health()
    if project.settings.cert_deploy_hooks and not hooks.ok:
        found.append(FindingView(check="certificate hooks", level="error", message=hooks.detail, fix=hooks.fix))
    return [*found, *_beat(project, RENEWAL, "renewal", _LONGEST_RENEWAL_SILENCE_SECONDS)]


async def _healing(project: Project) -> list[FindingView]:
    """Look for the sign of life of a scheduled healing, and for services that are not repaired any more."""
    found = []
    for name, health in sorted(read_healths(project.paths).items()):
        if health.opened_at:
            message = f"{name} is not repaired any more for now: {health.reason}"
            found.append(FindingView(check="healing", level="warning", message=message, fix=f"autogit logs {name}"))
    return [*found, *_beat(project, "reconcile", "healing", _LONGEST_SILENCE_SECONDS)]


async def _quarantine(project: Project) -> list[FindingView]:
    """Look whether held texts can be read, and more can be kept; what is wrong with the store is raised."""
    store = open_store(project)
    if not store.exists:
        return []
    size = store.size()
    share = size.used_bytes / size.max_bytes
    message = f"{sum(size.counts.values())} texts, {size.counts.get(QuarantineStatus.PENDING, 0)} to be decided on"
    if share < _NEARLY_FULL:
        return [FindingView(check="quarantine", level="ok", message=message)]
    return [
        FindingView(
            check="quarantine",
            level="warning",
            message=f"{message}; {share:.0%} of QUARANTINE_MAX_MB is used",
            fix="autogit quarantine list, then release, reject or purge; or a larger QUARANTINE_MAX_MB",
        )
    ]


async def _mirrors(project: Project) -> list[FindingView]:
    """Look at what mirrors need, how they are, and for the sign of life of their timer."""
    if not project.paths.mirror_rules.exists():
        return []
    from autogit.operations.mirror_health import at_work, findings  # noqa: PLC0415 - for those who mirror something

    found = await findings(project)
    if not found:
        return []
    # The first sync may take hours: its timer starts no other meanwhile.
    alive = at_work(project) or _beat(project, MIRROR_SYNC, "mirrors", _LONGEST_MIRROR_SILENCE_SECONDS)
    return [*found, *alive]


def _beat(project: Project, job: str, check: str, longest_seconds: float) -> Iterator[FindingView]:
    """Tell when a job of the schedule was last at work; nothing where it never was."""
    beat = project.paths.heartbeats / f"{job}.json"
    if not beat.exists():
        return
    command = job.replace("-", " ")
    age = project.context.clock().timestamp() - beat.stat().st_mtime
    if age > longest_seconds:
        message = f"autogit {command} ran last {age / 60:.0f} minutes ago"
        yield FindingView(check=check, level="warning", message=message, fix="autogit schedule show")
    elif last_heartbeat(project, job)[1] == "failed":
        message = f"autogit {command} failed when it ran last, {age / 60:.0f} minutes ago"
        yield FindingView(check=check, level="warning", message=message, fix=f"autogit {command} says why")
    else:
        yield FindingView(check=check, level="ok", message=f"autogit {command} is at work")


async def _secrets(project: Project) -> list[FindingView]:
    health = await project.secrets.health()
    fix = "" if health.ok else "bring the identity back from your copy (docs/how-to/recover.md)"
    return [FindingView(check="secrets", level="ok" if health.ok else "error", message=health.detail, fix=fix)]


def _disk(paths: ProjectPaths) -> Iterator[FindingView]:
    free = shutil.disk_usage(paths.root).free
    enough = free >= _LEAST_FREE_BYTES
    yield FindingView(
        check="disk",
        level="ok" if enough else "error",
        message=f"{free / _GIB:.1f} GB free",
        fix="" if enough else f"free at least {_LEAST_FREE_BYTES // _GIB} GB",
    )


def _clock(paths: ProjectPaths) -> Iterator[FindingView]:
    now = datetime.now(UTC)
    newest = datetime.fromtimestamp(paths.lockfile.stat().st_mtime, UTC) if paths.lockfile.exists() else now
    wrong = now.year < _LEAST_YEAR or (newest - now).total_seconds() > 60  # noqa: PLR2004 - a minute of skew
    yield FindingView(
        check="clock",
        level="error" if wrong else "ok",
        message=f"it is {now:%Y-%m-%d %H:%M} UTC" + (", earlier than the last apply" if wrong else ""),
        fix="set the clock: timedatectl set-ntp true" if wrong else "",
    )


def _lockfile(paths: ProjectPaths) -> Iterator[FindingView]:
    try:
        lockfile = lockfile_store(paths).load()
    except AutogitError as error:
        yield FindingView(
            check="lockfile", level="error", message=error.message, fix="autogit doctor --repair-lockfile"
        )
    else:
        yield FindingView(
            check="lockfile", level="ok", message=f"{len(lockfile.entries)} resources, serial {lockfile.serial}"
        )


def _lock(paths: ProjectPaths) -> Iterator[FindingView]:
    holder = find_holder(paths.apply_lock)
    if holder:
        message = f"held by {holder.command} (pid {holder.pid}) since {holder.since}"
        yield FindingView(
            check="apply lock", level="warning", message=message, fix="wait for it, or --lock-wait SECONDS"
        )
    else:
        yield FindingView(check="apply lock", level="ok", message="free")


def _identity(paths: ProjectPaths) -> Iterator[FindingView]:
    store = SecretStore(paths.secrets_store)
    path = store.identity_path()
    if path.exists() or not store.path.exists():
        message = f"{_short(path)}{'' if path.exists() else ' (made when the first secret is)'}"
        yield FindingView(check="identity", level="ok", message=message)
    else:
        fix = "bring it back from your copy (docs/how-to/recover.md)"
        yield FindingView(check="identity", level="error", message=f"{_short(path)} is missing", fix=fix)


def _short(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def _errors(check: str, error: AutogitError) -> list[FindingView]:
    rows = [f"{f.place}: {f.subject} {f.message}" for f in error.faults] or [error.message]
    return [FindingView(check=check, level="error", message=row, fix=error.hint) for row in rows]
