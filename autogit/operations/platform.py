"""The main job: what `up` would do, and doing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from autogit.core.compose import COMPOSE_FILE
from autogit.core.guard import Limits, check_safe
from autogit.core.images import Relock, check_upgrades, keep_locks, moved_services
from autogit.core.lock import apply_lock
from autogit.core.plan import conflicts
from autogit.core.reconcile import Engine, Prepared, carry_out, find_obstacles, prepare, record_in_sync
from autogit.core.redact import redact
from autogit.core.store import Recorder
from autogit.core.traefik_resolver import order_anew, started_anew
from autogit.errors import (
    AutogitError,
    BlockedError,
    Fault,
    NotConfirmedError,
    NotReadyError,
    PartialApplyError,
    StalePlanError,
    UnavailableError,
    UnsafePlanError,
    UnsupportedError,
    UsageError,
)
from autogit.model.plan import Action, ApplyResult, Change, Note, Outcome, Plan, Policy
from autogit.model.resource import Address
from autogit.model.views import PlanView, UpView
from autogit.operations import certs_by_ingress, present
from autogit.operations.asked_routes import ask_routes, ask_what_runs
from autogit.operations.audit import write_audit
from autogit.operations.dns_views import remember
from autogit.operations.gitlab_wiring import is_bootstrap_due
from autogit.operations.project import Project
from autogit.operations.prompt_filter import prepare_filter
from autogit.operations.seal import break_seal, write_seal
from autogit.operations.taking_back import Run, take_certificate_back, take_refused_back
from autogit.providers.host.atomic import write_atomic
from autogit.providers.host.files import forget_previous


@dataclass(frozen=True, slots=True)
class UpRequest:
    """How `up` is asked for.

    `expected_fingerprint` is that of a reviewed plan: that plan and no other is applied. `relock` says which images are
    held to. `only` names one service: what it needs and itself, nothing else; `anew` makes its unit new even where it
    is in sync. `kinds` are the only kinds of resources that are looked at further (all where empty). `adopt` names what
    becomes AutoGit's though somebody else made it. `here_only` leaves out what is kept elsewhere, in DNS and in GitLab.
    """

    policy: Policy = Policy.SYNC
    expected_fingerprint: str | None = None
    lock_wait_seconds: float = 0.0
    allow_delete: frozenset[Address] = frozenset()
    dry_run: bool = False
    command: str = "up"
    relock: Relock = keep_locks
    only: str = ""
    anew: bool = False
    kinds: frozenset[str] = frozenset()
    adopt: frozenset[Address] = frozenset()
    here_only: bool = False


_WITHOUT_DNS = "autogit up --here-only leaves DNS and GitLab out"


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show while a command works: `done` of `total` changes have landed."""

    kind: str  # "progress" or "outcome"
    address: str = ""
    text: str = ""
    done: int = 0
    total: int = 0
    ok: bool = True


Confirm = Callable[[PlanView], bool]
OnEvent = Callable[[Event], None]


def always(_plan: PlanView) -> bool:
    """Ask nobody."""
    return True


def ignore(_event: Event) -> None:
    """Show nothing."""


async def plan(project: Project, request: UpRequest = UpRequest()) -> PlanView:
    """Return what `up` would do, and what stands in its way; changes nothing."""
    prepared = await _prepare(project, request)
    return await _plan_view(project, prepared, _part(prepared, request))


async def _prepare(project: Project, request: UpRequest) -> Prepared:
    try:
        prepared = await prepare(_engine(project, request), request.policy, request.relock, request.adopt)
    except UnavailableError as exc:
        if exc.message.partition(":")[0] in project.settings.dns_providers and not request.kinds:
            exc.hint = "; ".join(part for part in (exc.hint, _WITHOUT_DNS) if part)
        raise
    others = {a for a, resource in prepared.state.resources.items() if resource.foreign}
    if unknown := request.adopt - others:
        names = ", ".join(sorted(map(str, unknown)))
        raise UsageError(f"--adopt {names}: nobody else made that", hint="autogit plan shows what somebody else made")
    planned = order_anew(prepared.spec, prepared.plan)
    if not request.kinds and await certs_by_ingress.is_without_its_own(project, prepared):
        planned = started_anew(prepared.spec, planned, "it serves a certificate of its own making, and has a good one")
    return replace(prepared, plan=planned)


def _engine(project: Project, request: UpRequest) -> Engine:
    return project.engine_here if request.here_only else project.engine


async def _plan_view(project: Project, prepared: Prepared, plan: Plan) -> PlanView:
    told = conflicts(plan)  # the plan's own lines say these
    obstacles = [fault for fault in await find_obstacles(project.engine, plan) if fault not in told]
    notes = [Note("warning", f.place, f"{f.subject} {f.message}".strip()) for f in obstacles]
    try:
        check_safe(plan, Limits())
    except UnsafePlanError as exc:
        notes.append(Note("warning", "guard", f"{exc.message}: {exc.hint}"))
    for service in sorted(moved_services(plan)):
        try:
            check_upgrades(prepared.spec, prepared.lockfile, {service})
        except UnsupportedError as exc:
            notes.append(Note("warning", service, exc.message, exc.hint))
    return present.plan_view(prepared, replace(plan, notes=(*plan.notes, *notes)))


async def up(project: Project, request: UpRequest, *, confirm: Confirm = always, on_event: OnEvent = ignore) -> UpView:
    """Bring the platform to what `.env` asks for, and prove it; then make its GitLab ready where that is due.

    Raises StalePlanError, UnsafePlanError, ApplyLockHeldError before anything is changed; NotReadyError or
    PartialApplyError where some of it failed (what landed is recorded, the next `up` goes on from there). What keeps
    GitLab from being made ready fails nothing: it stands in the notes.
    """
    view = await _up(project, request, confirm=confirm, on_event=on_event)
    if not _is_whole(request) or not is_bootstrap_due(project):
        return view
    from autogit.operations.gitlab_up import finish_gitlab  # noqa: PLC0415 - it is made of this module's nouns

    def apply_to(service: str) -> Awaitable[UpView]:
        return _up(project, replace(request, only=service), confirm=always, on_event=on_event)

    return await finish_gitlab(project, view, apply_to, on_event=on_event)


def _is_whole(request: UpRequest) -> bool:
    """Tell whether all is asked for that `up` does, and not one reviewed plan, a part or a policy."""
    narrowed = request.kinds or request.only or request.here_only or request.dry_run or request.expected_fingerprint
    return request.command == "up" and not narrowed and request.policy is Policy.SYNC


async def _up(project: Project, request: UpRequest, *, confirm: Confirm, on_event: OnEvent) -> UpView:
    if request.dry_run:
        prepared = await _prepare(project, request)
        return UpView(plan=await _plan_view(project, prepared, _part(prepared, request)))
    async with apply_lock(project.paths.apply_lock, request.command, wait_seconds=request.lock_wait_seconds):
        project.certificates.at_once = request.command == "up"
        prepared = await _prepare(project, request)
        part = _part(prepared, request)
        _check_fingerprint(part if request.kinds else prepared.plan, request.expected_fingerprint)
        check_safe(part if request.kinds else prepared.plan, Limits(allowed=request.allow_delete))
        check_upgrades(prepared.spec, prepared.lockfile, moved_services(part))
        caller = Caller(request.command, confirm, on_event, _engine(project, request), local=not request.kinds)
        return await apply_part(project, prepared, part, caller)


def _part(prepared: Prepared, request: UpRequest) -> Plan:
    """Return the whole plan, or that of one service: its unit and whatever that needs but other services' units."""
    if request.kinds:
        chosen = tuple(c for c in prepared.plan.changes if c.address.kind in request.kinds)
        notes = tuple(note for note in prepared.plan.notes if note.subject == "dns")
        return replace(prepared.plan, changes=chosen, notes=notes)
    if not request.only:
        return prepared.plan
    kind = prepared.spec.unit_kind
    wanted = {Address(kind, request.only), Address("file", COMPOSE_FILE)}
    for change in reversed(prepared.plan.changes):
        if change.address in wanted:
            wanted |= {a for a in change.depends_on if a.kind != kind}
    changes = (_remade(c, request, kind) for c in prepared.plan.changes if c.address in wanted)
    return replace(prepared.plan, changes=tuple(changes))


def _remade(change: Change, request: UpRequest, kind: str) -> Change:
    if not request.anew or change.address != Address(kind, request.only) or change.action is not Action.NOOP:
        return change
    return replace(change, action=Action.REPLACE, reason="asked for")


def save(path: Path, document: str) -> None:
    """Write a plan for later, readable by its owner only."""
    write_atomic(path.absolute(), document.encode(), 0o600)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a change, how to ask back, where to show what happens; `local`: whether routes are asked after."""

    command: str
    confirm: Confirm
    on_event: OnEvent
    engine: Engine
    local: bool = True


async def apply_part(project: Project, prepared: Prepared, plan: Plan, caller: Caller) -> UpView:
    """Apply a plan made from `prepared`, the whole or a part of it, and say what became of it.

    The caller holds the apply lock. Raises what `up` raises.
    """
    started = monotonic()
    view = present.plan_view(prepared, plan)
    if not plan.pending and not conflicts(plan):
        return await _nothing_to_change(project, prepared, plan, caller)
    if obstacles := await find_obstacles(caller.engine, plan):
        raise BlockedError(
            "nothing was changed: "
            + ("something stands" if len(obstacles) == 1 else f"{len(obstacles)} things stand")
            + " in the way",
            hint=present.way_out(obstacles),
            faults=obstacles,
        )
    if not caller.confirm(view):
        raise NotConfirmedError("not applied: the question was answered with no")
    break_seal(project.paths)
    project.store.keep_previous()
    if project.dns:
        remember(project.dns, project.settings, prepared.facts.dns_targets, project.paths)
    result, problems = await _carry_out(project, prepared, plan, caller)
    if _unproven_images(result):
        await _name_former_images(caller)
    _raise_failures(project, result, problems)
    after = await prepare(caller.engine, plan.policy)
    applied = tuple(present.outcome_view(o) for o in result.outcomes)
    if plan is prepared.plan and (rest := certs_by_ingress.settling(after)):
        done = await apply_part(project, after, rest, replace(caller, confirm=always))
        return done.model_copy(
            update={
                "plan": view,
                "applied": (*applied, *done.applied),
                "seconds": round(monotonic() - started, 3),
            }
        )
    if not after.plan.pending and not after.plan.held:
        _record_whole(project, caller, after)
    return UpView(
        plan=view,
        applied=applied,
        urls=present.urls(prepared.spec) if caller.local else (),
        seconds=round(monotonic() - started, 3),
        in_sync=after.plan.count(Action.NOOP),
        certificate=prepared.spec.certificate.name if caller.local else "",
        issuer=prepared.spec.certificate.issuer if caller.local else "",
    )


def _record_whole(project: Project, caller: Caller, after: Prepared) -> None:
    """Write down that everything is as wished: former files are needed no more, and the next `up` is quick."""
    forget_previous(project.paths)
    record_in_sync(caller.engine, after)
    _seal(project, after)


def _seal(project: Project, prepared: Prepared) -> None:
    """Make the next `up` quick, but where it has to make GitLab ready."""
    if project.as_wished and not is_bootstrap_due(project):
        write_seal(project, prepared)


async def _nothing_to_change(project: Project, prepared: Prepared, plan: Plan, caller: Caller) -> UpView:
    """Say so only where every route answers too: an `up` that ended well is a platform that is well."""
    record_in_sync(caller.engine, prepared)
    if plan is prepared.plan and not plan.held:
        break_seal(project.paths)
        verdict = await ask_routes(project, prepared.spec)
        if verdict.problems:
            raise NotReadyError(
                "there is nothing to change, and not everything answers",
                hint="autogit status; autogit logs",
                faults=[Fault("route", "probe", problem) for problem in verdict.problems],
            )
        _seal(project, prepared)
    view = present.plan_view(prepared, plan)
    return UpView(plan=view, in_sync=plan.count(Action.NOOP), urls=present.urls(prepared.spec))


async def _carry_out(
    project: Project, prepared: Prepared, plan: Plan, caller: Caller
) -> tuple[ApplyResult, Sequence[str]]:
    prepare_filter(project.paths, prepared.spec)
    total, landed = len(plan.pending), 0

    def on_outcome(outcome: Outcome) -> None:
        nonlocal landed
        landed += 1
        row = {
            "address": str(outcome.address),
            "action": outcome.action.value,
            "ok": outcome.ok,
            "error": getattr(outcome.error, "code", None),
        }
        write_audit(project.paths, project.context.clock(), caller.command, row)
        view = present.outcome_view(outcome)
        text = f"{view.message or view.action} in {view.seconds:.1f}s" if view.ok else view.message
        caller.on_event(Event("outcome", view.address, text, landed, total, view.ok))

    async def verify(result: ApplyResult, recorder: Recorder) -> Sequence[str]:
        recorder.put_back(_unproven_images(result))
        run = Run(project, plan, result, recorder, caller.engine.providers)
        await take_refused_back(run)
        missed = [*(o.address for o in result.failed), *result.skipped]
        failed = frozenset(a.name for a in missed if a.kind == prepared.spec.unit_kind)
        if prepared.spec.ingress in failed or not caller.local:
            return ()
        up = tuple(route for route in prepared.spec.routes if route.service not in failed)
        spec, is_whole = replace(prepared.spec, routes=up), plan is prepared.plan
        verdict = await (ask_routes(project, spec) if is_whole else ask_what_runs(project, spec, recorder.lockfile))
        if verdict.certificate:
            await take_certificate_back(run, prepared.spec.certificate)
        return verdict.problems

    return await carry_out(caller.engine, prepared, plan, on_outcome, caller.command, verify=verify)


def _unproven_images(result: ApplyResult) -> list[Address]:
    """Return the images of containers that did not come up: who failed on an image is held to the former one again."""
    missed = [*(o.address for o in result.failed), *result.skipped]
    return [Address("image", address.name) for address in missed if address.kind == "container"]


async def _name_former_images(caller: Caller) -> None:
    """Write the Compose file once more: who failed on an image is held to the former one again, and it says so."""
    with suppress(AutogitError):  # what failed before is what is told
        prepared = await prepare(caller.engine)
        changes = tuple(c for c in prepared.plan.pending if c.address == Address("file", COMPOSE_FILE))
        if changes:
            part = replace(prepared.plan, changes=changes)
            await carry_out(caller.engine, prepared, part, lambda _: None, caller.command, verify=_failed_before)


async def _failed_before(_result: ApplyResult, _recorder: Recorder) -> Sequence[str]:
    return ("what was asked for failed",)


def _raise_failures(project: Project, result: ApplyResult, problems: Sequence[str]) -> None:
    failed = result.failed
    if not failed and not problems:
        return
    faults = [Fault(str(o.address), o.action.value, _message(o)) for o in failed]
    faults += [Fault(str(a), "skipped", "what it depends on failed") for a in result.skipped]
    faults += [Fault("route", "probe", problem) for problem in problems]
    context = [line for o in failed if isinstance(o.error, AutogitError) for line in o.error.context]
    values = _secret_values(project)
    landed = sum(1 for o in result.outcomes if o.ok)
    first = failed[0].error if failed and isinstance(failed[0].error, AutogitError) else None
    kind = NotReadyError if problems or isinstance(first, NotReadyError) else PartialApplyError
    raise kind(
        f"{landed} changes were applied, {len(failed) or len(problems)} failed; the rest of the platform stays up",
        hint=(
            first.hint if first and first.hint else "autogit status; autogit logs; then autogit up goes on from here"
        ),
        faults=faults,
        context=[redact(line, values) for line in context],
    )


def _message(outcome: Outcome) -> str:
    return outcome.error.message if isinstance(outcome.error, AutogitError) else str(outcome.error)


def _secret_values(project: Project) -> Collection[str]:
    try:
        return project.secrets.load().values()
    except AutogitError:
        return ()


def _check_fingerprint(plan: Plan, expected: str | None) -> None:
    if expected is not None and plan.fingerprint != expected:
        raise StalePlanError(
            f"the saved plan {expected} is not the plan of this moment ({plan.fingerprint}): something changed since",
            hint="look again: autogit plan --out FILE",
        )
