"""Drift: what differs from the last apply, and its two ways out: it becomes the wish, or it is put back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from autogit.core.lock import apply_lock
from autogit.core.reconcile import Prepared, prepare, record_in_sync
from autogit.errors import UsageError
from autogit.model.plan import Action, Change, Plan
from autogit.model.resource import Address
from autogit.model.views import PlanView, UpView
from autogit.operations import present
from autogit.operations.platform import Caller, Confirm, OnEvent, always, apply_part, ignore
from autogit.operations.project import Project
from autogit.operations.seal import break_seal
from autogit.providers.host.atomic import write_atomic


async def drift(project: Project) -> PlanView:
    """Return what differs from the last apply, as a plan of those lines alone."""
    prepared = await prepare(project.engine)
    return present.plan_view(prepared, _drifted(prepared.plan))


async def adopt(project: Project, addresses: Collection[Address], *, lock_wait_seconds: float = 0.0) -> tuple[str, ...]:
    """Make hand edits the wish: each edited file is copied to overrides/files/, which wins from now on."""
    async with apply_lock(project.paths.apply_lock, "drift --adopt", wait_seconds=lock_wait_seconds):
        prepared = await prepare(project.engine)
        changes = _select(_drifted(prepared.plan), addresses)
        refused = [c for c in changes if c.action is not Action.HOLD]
        if refused:
            names = ", ".join(str(c.address) for c in refused)
            raise UsageError(
                f"only an edited file can be adopted, not {names}", hint="autogit drift --revert ADDRESS heals it"
            )
        _check_adoptable(prepared, changes)
        messages = tuple(_copy_to_overrides(project, change) for change in changes)
        break_seal(project.paths)
        record_in_sync(project.engine, await prepare(project.engine))
        return messages


async def revert(
    project: Project,
    addresses: Collection[Address],
    *,
    confirm: Confirm = always,
    on_event: OnEvent = ignore,
    lock_wait_seconds: float = 0.0,
) -> UpView:
    """Put drifted resources back to what AutoGit last applied or now wishes; touches nothing else."""
    async with apply_lock(project.paths.apply_lock, "drift --revert", wait_seconds=lock_wait_seconds):
        prepared = await prepare(project.engine)
        chosen = _select(_drifted(prepared.plan), addresses)
        part = replace(prepared.plan, changes=tuple(_released(change) for change in chosen))
        return await apply_part(project, prepared, part, Caller("drift --revert", confirm, on_event, project.engine))


def _drifted(plan: Plan) -> Plan:
    return replace(plan, changes=tuple(c for c in plan.changes if c.drift), notes=())


def _select(plan: Plan, addresses: Collection[Address]) -> list[Change]:
    missing = sorted(set(addresses) - {c.address for c in plan.changes})
    if missing:
        raise UsageError(
            f"not drifted: {', '.join(map(str, missing))}", hint="autogit drift lists what differs from the last apply"
        )
    return [c for c in plan.changes if c.address in addresses]


def _released(change: Change) -> Change:
    return replace(change, action=Action.UPDATE) if change.action is Action.HOLD else change


def _check_adoptable(prepared: Prepared, changes: Collection[Change]) -> None:
    """Refuse what names the certificate's version: adopted, it would name that one for ever."""
    place = prepared.spec.certificate.place
    named = [c for c in changes if c.after and place in str(c.after.payload)]
    if named:
        names = ", ".join(str(change.address) for change in named)
        raise UsageError(
            f"{names} cannot be adopted: it names the certificate's version, and no renewal would be served any more",
            hint=f"autogit drift --revert {named[0].address} puts it back",
        )


def _copy_to_overrides(project: Project, change: Change) -> str:
    source = project.paths.rendered / change.address.name
    target = project.paths.overrides / "files" / change.address.name
    write_atomic(target, source.read_bytes(), 0o644)
    return f"{change.address} adopted: {Path('overrides', 'files', change.address.name)} now wins over the template"
