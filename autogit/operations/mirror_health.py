"""How the mirrors are, for those who ask about the whole platform: `status` and `doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from autogit.errors import AutogitError
from autogit.model.mirror import MirrorRule, MirrorState, MirrorStatusView, SourceKind
from autogit.model.views import FindingView, MirrorSummaryView, MirrorTroubleView
from autogit.operations import mirror
from autogit.operations.mirror_last_sync import LastSync, read_last_sync, running_sync
from autogit.operations.mirror_wiring import is_recorded
from autogit.operations.project import Project
from autogit.providers.git.runner import Git

_GIB = 1024**3
_MIB = 1024**2
_MOST_NAMED = 3
_BAD = (MirrorState.STALE, MirrorState.GONE, MirrorState.MOVED, MirrorState.FAILING)


def summary(project: Project) -> MirrorSummaryView | None:
    """Return all mirrors in a few words, None where nothing is mirrored; what cannot be read is a problem in it."""
    if not project.paths.mirror_rules.exists():
        return None
    last = read_last_sync(project.paths) or LastSync()
    problems = list(last.problems)
    view = MirrorStatusView(counts={str(state): 0 for state in MirrorState}, mirrors=())
    rules: Sequence[MirrorRule] = ()
    try:
        rules = mirror.load_rules(project)
        view = mirror.status(project)
    except AutogitError as exc:
        problems += _sentences(exc)
    if not rules and not problems:
        return None
    return MirrorSummaryView(
        declared=len(rules),
        repositories=len(view.mirrors),
        counts=view.counts,
        troubles=tuple(_troubles(view)),
        problems=tuple(problems),
        synced_at=last.at,
        synced_seconds=_age(last, project.context.clock()),
    )


def _sentences(exc: AutogitError) -> list[str]:
    return [f"{fault.place}: {fault.subject} {fault.message}" for fault in exc.faults] or [exc.message]


def _troubles(view: MirrorStatusView) -> Iterator[MirrorTroubleView]:
    for one in view.mirrors:
        if one.state is not MirrorState.OK:
            yield MirrorTroubleView(
                mirror=one.rule,
                repository=one.path,
                state=str(one.state),
                lag_seconds=one.lag_seconds,
                detail=one.detail,
            )


def _age(last: LastSync, now: datetime) -> int | None:
    try:
        return max(0, int((now - datetime.fromisoformat(last.at).astimezone(UTC)).total_seconds()))
    except ValueError:
        return None


async def findings(project: Project) -> list[FindingView]:
    """Return what `doctor` has to say of mirrors; nothing where nothing is mirrored. Raises SettingsError."""
    rules = mirror.load_rules(project)
    if not rules:
        return []
    found = [*await _git(), *_lfs(rules), *_room(project, rules), *_credentials(project, rules)]
    return [*found, *_declared(project), *_freshness(project), *_asked(project)]


async def _git() -> list[FindingView]:
    try:
        major, minor = await Git().version()
    except AutogitError as exc:
        return [FindingView(check="git", level="error", message=exc.message, fix=exc.hint)]
    return [FindingView(check="git", level="ok", message=f"git {major}.{minor}")]


def _lfs(rules: Sequence[MirrorRule]) -> Iterator[FindingView]:
    """Look for git-lfs: without it, repositories that have LFS objects are not mirrored to the end."""
    if not any(rule.lfs for rule in rules):
        return
    if shutil.which("git-lfs"):
        yield FindingView(check="git-lfs", level="ok", message="git-lfs is there")
    else:
        message = "there is no git-lfs: repositories with LFS objects cannot be mirrored whole"
        yield FindingView(check="git-lfs", level="warning", message=message, fix="install git-lfs 3 or newer")


def _room(project: Project, rules: Sequence[MirrorRule]) -> Iterator[FindingView]:
    """Compare the free disk space with what the mirrors are to leave."""
    free = shutil.disk_usage(_there(project.paths.mirrors)).free
    least = max(rule.min_free_mb for rule in rules) * _MIB
    message = f"{free / _GIB:.1f} GB free for copies"
    if free >= least:
        yield FindingView(check="mirrors' disk", level="ok", message=message)
    else:
        message += f", and nothing is fetched below {least / _GIB:.1f} GB (min_free_mb)"
        yield FindingView(
            check="mirrors' disk", level="error", message=message, fix="make room, or a smaller min_free_mb"
        )


def _there(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _credentials(project: Project, rules: Sequence[MirrorRule]) -> Iterator[FindingView]:
    """Look whether the secrets that rules name are stored."""
    wanted = {rule.credential for rule in rules if rule.credential}
    for name in sorted(wanted - set(project.secrets.list_names()) if wanted else ()):
        users = ", ".join(rule.name for rule in rules if rule.credential == name)
        message = f"there is no secret {name}, which {users} names"
        yield FindingView(check="mirrors", level="error", message=message, fix=f"autogit secrets set {name}")
    for rule in rules:
        if not rule.credential and rule.private and rule.kind in _FORGES:
            message = f"{rule.name} has no credential: private repositories are not seen, and few requests are allowed"
            yield FindingView(check="mirrors", level="ok", message=message)


_FORGES = frozenset({SourceKind.GITHUB, SourceKind.GITLAB, SourceKind.GITEA, SourceKind.BITBUCKET})


def _declared(project: Project) -> Iterator[FindingView]:
    """Tell of what was edited by hand, and of mirrors that nobody syncs."""
    if not is_recorded(project.paths.mirror_rules, project.store.load()):
        message = f"{project.paths.mirror_rules.name} was edited: what it declares is not recorded yet"
        yield FindingView(check="mirrors", level="warning", message=message, fix="autogit plan shows it; autogit up")
    if read_last_sync(project.paths) is None:
        message = "no sync of all mirrors has come to its end yet"
        yield FindingView(check="mirrors", level="warning", message=message, fix=_FIRST)


_FIRST = "autogit mirror sync; autogit schedule install has a timer do it"


def _freshness(project: Project) -> Iterator[FindingView]:
    view = mirror.status(project)
    for state in _BAD:
        named = [f"{one.rule}/{one.path}" for one in view.mirrors if one.state is state]
        if named:
            names = ", ".join(named[:_MOST_NAMED]) + (", ..." if len(named) > _MOST_NAMED else "")
            message = f"{len(named)} {state}: {names}"
            yield FindingView(check="mirrors", level="warning", message=message, fix="autogit mirror status says why")
    if not any(view.counts[state] for state in _BAD) and view.counts[MirrorState.OK]:
        message = f"{view.counts[MirrorState.OK]} repositories are proven fresh"
        yield FindingView(check="mirrors", level="ok", message=message)


def _asked(project: Project) -> Iterator[FindingView]:
    last = read_last_sync(project.paths)
    for problem in last.problems if last else ():
        yield FindingView(check="mirrors", level="warning", message=problem, fix="autogit mirror sync says more")


def at_work(project: Project) -> list[FindingView]:
    """Tell of a sync that is at work right now; nothing where none is."""
    holder = running_sync(project.paths)
    if holder is None:
        return []
    message = f"a sync is at work (pid {holder.pid}, since {holder.since})"
    return [FindingView(check="mirrors", level="ok", message=message)]
