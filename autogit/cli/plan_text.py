"""A plan and the end of an `up` as a person reads them (ux.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autogit.cli.output import columns
from autogit.model.settings import LOCAL_ISSUER
from autogit.model.text import age_words, one_line
from autogit.model.views import (
    ChangeView,
    MirrorSummaryView,
    MirrorTroubleView,
    PlanView,
    StatusView,
    UpgradeView,
    UpView,
)

_MARKS = {"create": "+", "update": "~", "replace": "-/+", "delete": "-", "hold": "!", "noop": " "}
_WORDS = (("create", "to create"), ("update", "to update"), ("replace", "to replace"), ("delete", "to delete"))


def plan_lines(plan: PlanView, *, verbose: bool = False, title: str = "plan") -> Iterator[str]:
    """Yield a plan: counts, one line a change, notes, published ports."""
    counts = ", ".join(f"{plan.counts[action]} {words}" for action, words in _WORDS)
    held = f", {plan.counts['hold']} held" if plan.counts["hold"] else ""
    yield f"{counts}{held}, {plan.counts['noop']} unchanged    {title} {plan.fingerprint}"
    if plan.changes:
        yield ""
    rows = columns([(_MARKS[c.action], c.address, c.action, c.reason, c.detail) for c in plan.changes])
    for line, change in zip(rows, plan.changes, strict=True):
        yield line
        if verbose or change.action == "hold":
            yield from _details(change, fields=verbose)
    if plan.changed_settings:
        yield ""
        yield "Changed settings: " + "; ".join(plan.changed_settings)
    if plan.notes:
        yield ""
    for note in plan.notes:
        yield f"{'!' if note.level == 'warning' else ' '} {note.subject}: {note.message}"
    if plan.published_ports:
        ports = ", ".join(f"{number} ({name})" for name, number in plan.published_ports.items())
        yield f"  Published ports: {ports}."


def _details(change: ChangeView, *, fields: bool) -> Iterator[str]:
    if change.action == "hold" and change.foreign:
        yield f"      left as it is. Make it AutoGit's: autogit up --adopt {change.address}"
    elif change.action == "hold" and change.drift:
        yield f"      kept as it is. Make it yours: autogit drift --adopt {change.address}"
        yield f"      or put it back:           autogit drift --revert {change.address}"
    if not fields:
        return
    if change.diff:
        yield from (f"      {line}" for line in change.diff[2:])
        return
    for field in change.fields:
        yield f"      {field.name}: {field.before} -> {field.after}"


def up_lines(result: UpView) -> Iterator[str]:
    """Yield the end of an `up`: what changed, where everything is, what to do next."""
    failed = sum(1 for o in result.applied if not o.ok)
    changed = f"{len(result.applied)} changed, {failed} failed, {result.in_sync} resources in sync"
    yield f"Up in {result.seconds:.1f}s: {changed}."
    yield from columns([(f"  {u.service}", u.url, u.login) for u in result.urls])
    if result.certificate:
        yield f"Certificate of {result.certificate} served on {len(result.urls)} of {len(result.urls)} routes."
        is_local = result.issuer == LOCAL_ISSUER
        yield "Next: autogit status" + ("; to let curl and browsers trust it: autogit certs trust" if is_local else "")


def upgrade_lines(view: UpgradeView, *, verbose: bool = False) -> Iterator[str]:
    """Yield what an upgrade would do: one line a service, then the plan."""
    rows = [
        (r.service, r.current or "-", r.wanted, "moves" if r.changes else "stays", r.registry) for r in view.services
    ]
    yield from columns(rows, ("SERVICE", "NOW", "THEN", "", "REGISTRY"))
    yield ""
    yield from plan_lines(view.plan, verbose=verbose)


def status_lines(status: StatusView) -> Iterator[str]:
    """Yield the state of the platform."""
    running = [s for s in status.services if s.status != "unknown" or s.detail.startswith("not running")]
    last = status.last_apply
    asked = f"{len(running)} services, {status.routes_probed} routes probed, drift {status.drift or 'none'}"
    ended = " ".join(last.get(key, "") for key in ("command", "at", "result")) if last else "nothing applied yet"
    yield f"{status.status}    {asked}, last: {ended}"
    if status.lock_holder:
        yield f"changing now: {status.lock_holder}"
    if status.pending:
        yield f"{status.pending} changes pending: autogit plan"
    yield ""
    rows = [(s.name, s.status, s.since or "-", s.detail, s.url) for s in running]
    yield from columns(rows, ("SERVICE", "STATE", "SINCE", "HEALTH", "URL"))
    yield from (f"! {s.name}: {s.healing}" for s in running if s.healing)
    certificate = status.certificate
    if certificate:
        served = {True: "served = on disk", False: "served is ANOTHER one", None: "not asked"}[certificate.matches]
        yield ""
        renews = f"renews from {certificate.renew_at[:10]}" if certificate.renew_at else "Traefik renews it"
        until = f"{certificate.days_left} days left, {renews}"
        yield f"CERTIFICATE {certificate.name}   {until}, {served}"
    if status.mirrors:
        yield from ("", *mirror_lines(status.mirrors))
    for note in status.notes:
        if note.level == "warning" or note.message.startswith("unavailable"):
            yield f"{'!' if note.level == 'warning' else ' '} {note.subject}: {note.message}"


def mirror_lines(mirrors: MirrorSummaryView) -> Iterator[str]:
    """Yield the mirrors in one line, and one more for each that could not be asked."""
    named = {state: [one for one in mirrors.troubles if one.state == state] for state in _NAMED_STATES}
    parts = [
        f"{count} {_MIRROR_WORDS.get(state, state)}{_named(named.get(state, []))}"
        for state, count in mirrors.counts.items()
        if count
    ]
    synced = "never synced" if mirrors.synced_seconds is None else f"last sync {age_words(mirrors.synced_seconds)} ago"
    yield f"MIRRORS     {', '.join(parts) or 'nothing known yet'}; {synced}"
    yield from (f"! mirrors: {one_line(text)}" for text in mirrors.problems)


_MIRROR_WORDS = {"ok": "fresh", "new": "not proven yet"}
_NAMED_STATES = ("stale", "moved", "failing")
_MOST_NAMED = 3


def _named(troubles: Sequence[MirrorTroubleView]) -> str:
    """Name the first of them, with the age of the last proof and the reason."""
    if not troubles:
        return ""
    texts = [one_line(_trouble(one)) for one in troubles[:_MOST_NAMED]]
    return f" ({'; '.join(texts)}{'; ...' if len(troubles) > _MOST_NAMED else ''})"


def _trouble(one: MirrorTroubleView) -> str:
    proven = "" if one.lag_seconds is None else f", {age_words(one.lag_seconds)}"
    return f"{one.mirror}/{one.repository}{proven}" + (f": {one.detail}" if one.detail else "")
