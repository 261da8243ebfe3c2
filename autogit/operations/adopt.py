"""Taking over a platform that somebody started by hand from the rendered Compose file, without touching it."""

from __future__ import annotations

from autogit.core.lock import apply_lock
from autogit.core.reconcile import Prepared, prepare, record_in_sync
from autogit.model.plan import Action, Change
from autogit.model.views import AdoptView
from autogit.operations.project import Project
from autogit.operations.seal import break_seal


async def adopt(project: Project, *, lock_wait_seconds: float = 0.0) -> AdoptView:
    """Write down what is there and already as wished; nothing is created, changed or restarted.

    What differs is named with its reason: the next `up` would change it.
    """
    async with apply_lock(project.paths.apply_lock, "adopt", wait_seconds=lock_wait_seconds):
        prepared = await prepare(project.engine_here)
        break_seal(project.paths)
        record_in_sync(project.engine_here, prepared)
    return AdoptView(
        adopted=tuple(str(c.address) for c in prepared.plan.changes if _is_new(c, prepared)),
        known=sum(1 for c in prepared.plan.changes if c.action is Action.NOOP and not _is_new(c, prepared)),
        different=tuple(_difference(c) for c in prepared.plan.changes if c.action is not Action.NOOP),
    )


def _is_new(change: Change, prepared: Prepared) -> bool:
    return change.action is Action.NOOP and prepared.lockfile.find(change.address) is None


def _difference(change: Change) -> str:
    if change.action is Action.HOLD:
        return f"{change.address} was edited by hand and is left alone: autogit drift"
    fields = ", ".join(field.name for field in change.fields) if change.before else "not there"
    return f"autogit up would {change.action.value} {change.address} ({fields})"
