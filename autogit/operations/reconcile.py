"""Self-healing: look, put back what fell, remember how that went; once, or as long as somebody lets it run."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

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
from autogit.core.reconcile import Prepared, carry_out, prepare
from autogit.core.repairs import find_repairs, without
from autogit.errors import ApplyLockHeldError, AutogitError
from autogit.fastpath import sealed_resources
from autogit.model.healing import DEFAULT_POLICY, HealingPolicy, ServiceHealth, ServiceState
from autogit.model.plan import Outcome, Plan
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address
from autogit.model.views import HealthView, RepairView, TurnView
from autogit.operations.audit import write_audit
from autogit.operations.project import Project
from autogit.operations.seal import break_seal
from autogit.providers.host.atomic import write_atomic

COMMAND = "reconcile"
Open = Callable[[], Project]
OnTurn = Callable[[TurnView], None]
_WORTH_TELLING = ("breaker", "repair did not hold")
"""Beginnings of sentences that a reader must see; the audit log has them all."""
_SETTLE_SECONDS = 0.3
_LEAST_PAUSE_SECONDS = 0.2
_LISTEN_AGAIN_SECONDS = 2.0


@dataclass
class _Turn:
    """One look and what followed from it."""

    project: Project
    healths: dict[str, ServiceHealth]
    policy: HealingPolicy
    repairs: list[RepairView] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return self.project.context.clock()

    def keep(self, before: ServiceHealth, after: ServiceHealth) -> None:
        """Remember a service's health, and write down what is worth it."""
        self.healths[after.service] = after
        for sentence in transitions(before, after, self.policy):
            if sentence.startswith(_WORTH_TELLING):
                self.messages.append(f"{after.service}: {sentence}")
            write_audit(self.project.paths, self.now(), COMMAND, {"service": after.service, "message": sentence})


async def reconcile(project: Project, policy: HealingPolicy = DEFAULT_POLICY) -> TurnView:
    """Look once and repair what may be repaired now.

    Raises ApplyLockHeldError where another command changes the platform, UnavailableError where the runtime does not
    answer, and whatever planning raises. A repair that fails is part of the view.
    """
    if sealed_resources(str(project.paths.root)) is not None and not _restless(project.paths):
        _beat(project, "ok")
        return TurnView(healthy=True, services=_views(read_healths(project.paths)))
    async with apply_lock(project.paths.apply_lock, COMMAND):
        turn = _Turn(project, read_healths(project.paths), policy)
        prepared = await prepare(project.engine)
        await _heal(turn, prepared)
        names = {service.name for service in prepared.spec.running}
        turn.healths = {name: health for name, health in turn.healths.items() if name in names}
        write_atomic(project.paths.healths, dump_healths(turn.healths).encode(), 0o600)
    healthy = all(health.state is ServiceState.HEALTHY for health in turn.healths.values())
    _beat(project, "ok" if healthy else "not healthy")
    return TurnView(
        healthy=healthy,
        services=_views(turn.healths),
        repairs=tuple(turn.repairs),
        messages=tuple(turn.messages),
    )


async def watch(open_project: Open, interval_seconds: float, on_turn: OnTurn, stop: asyncio.Event) -> None:
    """Heal until `stop` is set: at once when the runtime tells of something, else at the interval.

    The project is opened anew for each turn, so that an edited `.env` counts; while it is broken, the last good one
    goes on being healed.
    """
    project = open_project()
    heard = asyncio.Event()
    _listen(project, asyncio.get_running_loop(), heard)
    while not stop.is_set():
        heard.clear()
        with suppress(AutogitError):
            project = open_project()
        on_turn(await _guarded_turn(project))
        await _pause(project, interval_seconds, heard, stop)


async def _guarded_turn(project: Project) -> TurnView:
    try:
        return await reconcile(project)
    except ApplyLockHeldError as exc:
        return TurnView(healthy=True, services=(), messages=(f"waits: {exc.message}",))
    except AutogitError as exc:
        _beat(project, exc.code)
        return TurnView(healthy=False, services=(), messages=(exc.message,))


async def _pause(project: Project, interval_seconds: float, heard: asyncio.Event, stop: asyncio.Event) -> None:
    now = project.context.clock()
    wake = next_wake(read_healths(project.paths), now)
    seconds = max(_LEAST_PAUSE_SECONDS, min(interval_seconds, interval_seconds if wake is None else wake))
    waits = {asyncio.ensure_future(heard.wait()), asyncio.ensure_future(stop.wait())}
    done, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if done and not stop.is_set():
        await asyncio.sleep(_SETTLE_SECONDS)  # one fault is several events


def _listen(project: Project, loop: asyncio.AbstractEventLoop, heard: asyncio.Event) -> None:
    """Listen to the runtime in a thread of its own; where it falls silent, listen again a little later."""

    def listen() -> None:
        pause = threading.Event()
        while not loop.is_closed():
            with suppress(AutogitError, RuntimeError):
                for _ in project.runtime.events():
                    loop.call_soon_threadsafe(heard.set)
            pause.wait(_LISTEN_AGAIN_SECONDS)

    threading.Thread(target=listen, name="runtime-events", daemon=True).start()


async def _heal(turn: _Turn, prepared: Prepared) -> None:
    kind = prepared.spec.unit_kind
    found = find_repairs(prepared.plan, prepared.lockfile)
    for service in prepared.spec.running:
        before = turn.healths.get(service.name, ServiceHealth(service.name))
        seen, reason = _look(prepared, Address(kind, service.name), found.refused)
        turn.keep(before, observed(before, seen, reason, turn.now(), turn.policy))
    resting = [
        Address(kind, name) for name, health in turn.healths.items() if not may_repair(health, turn.now(), turn.policy)
    ]
    plan = without(found.plan, resting)
    if plan.pending:
        await _repair(turn, prepared, plan)


def _look(prepared: Prepared, address: Address, refused: Mapping[Address, str]) -> tuple[Seen, str]:
    """Return what is seen of a service, and why it is not well."""
    resource = prepared.state.find(address)
    change = next((c for c in prepared.plan.pending if c.address == address), None)
    if resource is None:
        return ("absent", refused.get(address) or "it is gone") if prepared.lockfile.find(address) else ("healthy", "")
    if change is None or address in refused:
        return ("deploying", "it is starting") if resource.attributes.get("health") == "starting" else ("healthy", "")
    return "degraded", change.reason


async def _repair(turn: _Turn, prepared: Prepared, plan: Plan) -> None:
    kind = prepared.spec.unit_kind
    reasons = {change.address: change.reason for change in plan.pending}
    before = dict(turn.healths)
    for address in reasons:
        if address.kind == kind:
            turn.healths[address.name] = begun(before[address.name], turn.now())

    def on_outcome(outcome: Outcome) -> None:
        error = outcome.error.message if isinstance(outcome.error, AutogitError) else ""
        reason = reasons.get(outcome.address, "")
        view = RepairView(
            address=str(outcome.address),
            reason=reason,
            ok=outcome.ok,
            message=error or outcome.detail or "put back",
            seconds=round(outcome.seconds, 3),
        )
        turn.repairs.append(view)
        write_audit(turn.project.paths, turn.now(), COMMAND, {**view.model_dump(), "action": outcome.action.value})
        if outcome.address.kind == kind:
            _note_repair(turn, outcome.address.name, ok=outcome.ok, reason=error or reason)

    break_seal(turn.project.paths)
    result, _ = await carry_out(turn.project.engine, prepared, plan, on_outcome, COMMAND)
    for address in result.skipped:
        if address.kind == kind:  # it was not touched: that is no failure of its own
            turn.healths[address.name] = before[address.name]


def _note_repair(turn: _Turn, service: str, *, ok: bool, reason: str) -> None:
    before = turn.healths[service]
    turn.keep(before, repaired(before, ok=ok, reason=reason, now=turn.now(), policy=turn.policy))


def read_healths(paths: ProjectPaths) -> dict[str, ServiceHealth]:
    """Return what healing remembers; nothing where it never ran."""
    try:
        return load_healths(paths.healths.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def _restless(paths: ProjectPaths) -> bool:
    """Tell whether healing still has something to remember or to forget: then it looks in full."""
    healths = read_healths(paths)
    return not healths or any(h.state is not ServiceState.HEALTHY or h.on_trial for h in healths.values())


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


def _beat(project: Project, result: str) -> None:
    """Leave a sign of life."""
    row = {"at": project.context.clock().strftime("%Y-%m-%dT%H:%M:%SZ"), "result": result}
    write_atomic(project.paths.heartbeats / f"{COMMAND}.json", json.dumps(row).encode(), 0o600)


def sentences(view: TurnView) -> Sequence[str]:
    """Return what a turn did, in lines; none where there was nothing to do."""
    lines = [
        f"{r.address}  {'' if r.ok else 'FAILED  '}{r.reason}: {r.message} in {r.seconds:.1f}s" for r in view.repairs
    ]
    return [*lines, *view.messages]
