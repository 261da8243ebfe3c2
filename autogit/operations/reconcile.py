"""Self-healing: look once, put back what fell, remember how that went."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from autogit.core.healing import (
    Seen,
    begun,
    dump_healths,
    load_healths,
    may_repair,
    next_wake,
    observed,
    repaired,
    transitions,
)
from autogit.core.lock import apply_lock
from autogit.core.reconcile import Engine, Prepared, carry_out, find_obstacles, prepare
from autogit.core.repairs import Repairs, find_repairs, without
from autogit.core.traefik_resolver import STORAGE, with_storage_read
from autogit.errors import AutogitError
from autogit.fastpath import sealed_resources
from autogit.model.healing import DEFAULT_POLICY, HealingPolicy, ServiceHealth, ServiceState
from autogit.model.plan import Change, Outcome, Plan
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address
from autogit.model.views import HealthView, RepairView, TurnView
from autogit.operations.audit import write_audit
from autogit.operations.project import Project, as_it_runs
from autogit.operations.seal import break_seal
from autogit.providers.host.atomic import write_atomic

COMMAND = "reconcile"
_WORTH_TELLING = ("breaker", "repair did not hold")
"""Beginnings of sentences that a reader must see; the audit log has them all."""
_WELL = frozenset({ServiceState.HEALTHY, ServiceState.DEPLOYING})
_NOTHING = "nothing was applied yet that could be repaired: autogit up"


@dataclass
class Turn:
    """One look and what followed from it; `wake_seconds` is when there is something to do again (None: unknown)."""

    project: Project
    policy: HealingPolicy
    healths: dict[str, ServiceHealth]
    repairs: list[RepairView] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    wake_seconds: float | None = None

    @property
    def healthy(self) -> bool:
        """Whether every service is well and no repair failed."""
        return all(h.state in _WELL for h in self.healths.values()) and all(r.ok for r in self.repairs)

    def now(self) -> datetime:
        """Return the present moment."""
        return self.project.context.clock()

    def view(self) -> TurnView:
        """Return what a reader sees of it."""
        return TurnView(
            healthy=self.healthy,
            services=_views(self.healths),
            repairs=tuple(self.repairs),
            messages=tuple(dict.fromkeys(self.messages)),
        )

    def keep(self, before: ServiceHealth, after: ServiceHealth) -> None:
        """Remember a service's health, and write down what is worth it."""
        self.healths[after.service] = after
        for sentence in transitions(before, after, self.policy):
            if sentence.startswith(_WORTH_TELLING):
                self.messages.append(f"{after.service}: {sentence}")
            self.audit({"service": after.service, "message": sentence})

    def audit(self, row: Mapping[str, Any]) -> None:
        """Add a line to the audit log; where that is impossible, healing goes on."""
        try:
            write_audit(self.project.paths, self.now(), COMMAND, row)
        except OSError as exc:
            self.messages.append(f"the audit log cannot be written: {exc.strerror}")

    def save(self) -> None:
        """Write down what is remembered."""
        write_atomic(self.project.paths.healths, dump_healths(self.healths).encode(), 0o600)


async def reconcile(project: Project, policy: HealingPolicy = DEFAULT_POLICY) -> TurnView:
    """Look once and repair what may be repaired now.

    Raises ApplyLockHeldError where another command changes the platform, UnavailableError where the runtime does not
    answer, and whatever planning raises. A repair that fails is part of the view.
    """
    return (await take_turn(project, policy)).view()


async def take_turn(project: Project, policy: HealingPolicy) -> Turn:
    """Do the same; the turn knows when the next one is due, too."""
    paths = project.paths
    turn = Turn(project, policy, read_healths(paths))
    if not (_is_sealed(paths) and _is_calm(turn.healths)):
        kind = project.runtime.unit_kind
        if not any(address.kind == kind for address in project.store.load().entries):
            turn = Turn(project, policy, {}, messages=[_NOTHING])
        else:
            await _look_and_heal(turn)
    leave_heartbeat(project, "ok" if turn.healthy else "not healthy")
    return turn


async def _look_and_heal(turn: Turn) -> None:
    """Look without the lock, so that nobody who wants it is turned away for a mere look."""
    lock, opened = turn.project.paths.apply_lock, turn.project
    async with apply_lock(lock, COMMAND):
        pass  # whoever holds it is changing what would be looked at
    turn.project = as_it_runs(opened)
    prepared, repairs = await _look_for_repairs(turn.project)
    async with apply_lock(lock, COMMAND):
        if repairs.plan.pending:  # somebody may have had the lock since
            turn.project = as_it_runs(opened)
            prepared, repairs = await _look_for_repairs(turn.project)
        turn.healths = read_healths(turn.project.paths)
        await _heal(turn, prepared, repairs)


async def _look_for_repairs(project: Project) -> tuple[Prepared, Repairs]:
    project.certificates.patient = True
    prepared = await prepare(_engine(project))
    prepared = replace(prepared, plan=with_storage_read(prepared.spec, prepared.plan))
    return prepared, find_repairs(prepared.plan, prepared.lockfile)


def _engine(project: Project) -> Engine:
    """Return the engine without its search for causes in `.env`: what healing puts back has none there.

    DNS is left to `autogit dns sync`: that its provider cannot be reached must not keep a service down.
    """
    return replace(project.engine_here, former_settings=lambda _key, _value: project.settings)


async def _heal(turn: Turn, prepared: Prepared, found: Repairs) -> None:
    kind = prepared.spec.unit_kind
    before = turn.healths
    names = [s.name for s in prepared.spec.running if prepared.lockfile.find(Address(kind, s.name))]
    turn.healths = {name: before.get(name, ServiceHealth(name)) for name in names}
    obstacles = await _obstacles(turn, found.plan)
    refused = {**found.refused, **obstacles}
    _tell(turn, found, obstacles)
    for name, health in tuple(turn.healths.items()):
        seen, reason = _look(prepared, Address(kind, name), refused)
        turn.keep(health, observed(health, seen, reason, turn.now(), turn.policy))
    resting = {Address(kind, n) for n, h in turn.healths.items() if not may_repair(h, turn.now(), turn.policy)}
    left = resting | set(obstacles)
    if Address(kind, prepared.spec.ingress) in left:  # its file would be mended, and never be read
        left |= {change.address for change in found.plan.pending if change.address.kind == STORAGE}
    plan = without(found.plan, left)
    if plan.pending:
        await _repair(turn, prepared, plan)
    if turn.healths != before:
        turn.save()
    turn.wake_seconds = _wake(turn, {address.name for address in refused if address.kind == kind})


async def _obstacles(turn: Turn, plan: Plan) -> dict[Address, str]:
    """Return what stands in the way of repairs, and of those that need them."""
    faults = await find_obstacles(turn.project.engine_here, plan) if plan.pending else []
    places = {fault.place: f"{fault.subject} {fault.message}" for fault in faults}
    found: dict[Address, str] = {}
    for change in plan.pending:
        known = [places.get(str(change.address), ""), *(found.get(address, "") for address in change.depends_on)]
        if why := next(filter(None, known), ""):
            found[change.address] = why
    return found


def _tell(turn: Turn, found: Repairs, obstacles: Mapping[Address, str]) -> None:
    """Say what is not repaired."""
    turn.messages += [f"{address}: {found.refused[address]}" for address in sorted(found.lost)]
    turn.messages += [f"{address}: {why}" for address, why in sorted(obstacles.items())]
    if waiting := len(found.refused) - len(found.lost):
        turn.messages.append(
            "1 change waits for autogit up" if waiting == 1 else f"{waiting} changes wait for autogit up"
        )


def _look(prepared: Prepared, address: Address, refused: Mapping[Address, str]) -> tuple[Seen, str]:
    """Return what is seen of a service, and why it is not well."""
    resource = prepared.state.find(address)
    change = next((c for c in prepared.plan.pending if c.address == address), None)
    why = refused.get(address, "")
    if resource is None:
        return "absent", why or "it is gone"
    state = resource.attributes.get("state")
    if state != "running":
        return "degraded", f"it is {state}" + (f"; {why}" if why else "")
    if change is not None and not why:
        return "degraded", change.reason
    return ("deploying", "it is starting") if resource.attributes.get("health") == "starting" else ("healthy", "")


async def _repair(turn: Turn, prepared: Prepared, plan: Plan) -> None:
    kind = prepared.spec.unit_kind
    changes = {change.address: change for change in plan.pending}
    before = dict(turn.healths)
    for name in (address.name for address in changes if address.kind == kind):
        turn.healths[name] = begun(before[name], turn.now())
    turn.save()  # a repair that kills this process counts too

    def on_outcome(outcome: Outcome) -> None:
        _note_outcome(turn, changes[outcome.address], outcome, kind)

    break_seal(turn.project.paths)
    try:
        result, _ = await carry_out(turn.project.engine_here, prepared, plan, on_outcome, COMMAND)
    except ExceptionGroup as group:
        raise _first(group) from group
    for address in result.skipped:
        if address.kind == kind:  # it was not touched: that is no failure of its own
            turn.healths[address.name] = before[address.name]


def _note_outcome(turn: Turn, change: Change, outcome: Outcome, kind: str) -> None:
    error = outcome.error.message if isinstance(outcome.error, AutogitError) else ""
    view = RepairView(
        address=str(outcome.address),
        reason=change.reason,
        ok=outcome.ok,
        message=error or outcome.detail or "put back",
        seconds=round(outcome.seconds, 3),
    )
    turn.repairs.append(view)
    turn.audit({**view.model_dump(), "action": outcome.action.value})
    if outcome.address.kind == kind:
        health = turn.healths[outcome.address.name]
        reason = error or change.reason
        turn.keep(health, repaired(health, ok=outcome.ok, reason=reason, now=turn.now(), policy=turn.policy))


def _wake(turn: Turn, refused: set[str]) -> float | None:
    """Return when a rest ends or a trial is over; what cannot be repaired is looked at with the interval only."""
    resting = {n: h for n, h in turn.healths.items() if h.next_try_at and n not in refused}
    wakes = [next_wake(resting, turn.now(), turn.policy)]
    if any(h.on_trial and h.state is ServiceState.HEALTHY for h in turn.healths.values()):
        wakes.append(turn.policy.calm_seconds)
    return min((wake for wake in wakes if wake is not None), default=None)


def read_healths(paths: ProjectPaths) -> dict[str, ServiceHealth]:
    """Return what healing remembers; nothing where it never ran."""
    try:
        return load_healths(paths.healths.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def _is_sealed(paths: ProjectPaths) -> bool:
    try:
        return sealed_resources(str(paths.root), here_only=True) is not None
    except (OSError, ValueError, KeyError, TypeError):
        return False  # as for the fast path of `up`


def _is_calm(healths: Mapping[str, ServiceHealth]) -> bool:
    """Tell whether healing has nothing to remember or to forget; else it looks in full."""
    return bool(healths) and all(h.state is ServiceState.HEALTHY and not h.on_trial for h in healths.values())


def _views(healths: Mapping[str, ServiceHealth]) -> tuple[HealthView, ...]:
    return tuple(
        HealthView(
            service=h.service,
            state=h.state.value,
            since=h.since,
            reason=h.reason,
            failures=h.failures,
            next_try_at=h.next_try_at,
            breaker="open" if h.opened_at else "closed",
        )
        for _, h in sorted(healths.items())
    )


def leave_heartbeat(project: Project, result: str, job: str = COMMAND) -> None:
    """Leave a job's sign of life, where there is a place for it."""
    if not project.paths.state.exists():
        return
    row = {"at": project.context.clock().strftime("%Y-%m-%dT%H:%M:%SZ"), "result": result}
    with suppress(AutogitError):
        write_atomic(project.paths.heartbeats / f"{job}.json", json.dumps(row).encode(), 0o600)


def last_heartbeat(project: Project, job: str) -> tuple[str, str]:
    """Return when a job was last at work (RFC 3339, UTC) and how that ended; empty where it never was."""
    try:
        row = json.loads((project.paths.heartbeats / f"{job}.json").read_text(encoding="utf-8"))
        return str(row["at"]), str(row["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def sentence_of(exc: AutogitError | OSError) -> str:
    """Return what an error says, in one sentence."""
    return exc.message if isinstance(exc, AutogitError) else f"{exc.filename or 'the host'}: {exc.strerror}"


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the error that a group of tasks failed on."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, ExceptionGroup) else found


def sentences(view: TurnView) -> Sequence[str]:
    """Return what a turn did and what is not well, in lines; none where there was nothing to do."""
    lines = [
        f"{r.address}  {'' if r.ok else 'FAILED  '}{r.reason}: {r.message} in {r.seconds:.1f}s" for r in view.repairs
    ]
    lines += [f"{s.service}: {s.state}: {s.reason}" for s in view.services if ServiceState(s.state) not in _WELL]
    return [*lines, *view.messages]


def verdict(view: TurnView) -> str:
    """Return how the platform is, in one line."""
    if not view.healthy:
        return "not healthy: autogit status"
    if not view.services:
        return "nothing to heal"
    starting = [s.service for s in view.services if s.state == ServiceState.DEPLOYING]
    return f"all well, still starting: {', '.join(starting)}" if starting else "all healthy"
