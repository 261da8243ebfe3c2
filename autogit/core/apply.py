"""Applying: carry out a plan's changes in dependency order, independent ones at once, recording each as it lands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic

from autogit.core.observe import providers_by_kind
from autogit.core.order import most_awaited_first
from autogit.core.store import Recorder
from autogit.errors import ApplyError
from autogit.model.cert_hooks import CERT_HOOK
from autogit.model.plan import Action, ApplyResult, Change, Outcome, Plan
from autogit.model.resource import Address
from autogit.providers.base import Reconciler

OnOutcome = Callable[[Outcome], None]


async def apply_plan(
    plan: Plan, providers: Sequence[Reconciler], recorder: Recorder, on_outcome: OnOutcome
) -> ApplyResult:
    """Carry out every pending change and return the outcomes in the order they landed.

    A change waits for the changes it depends on and is skipped if one of them failed; the others go on. Deletes come
    last, one after the other, and only if nothing failed: the old is not removed before the new is proven.
    """
    return await _Run(plan, providers_by_kind(providers), recorder, on_outcome).run()


class _Run:
    """One application of one plan."""

    def __init__(
        self, plan: Plan, providers: Mapping[str, Reconciler], recorder: Recorder, on_outcome: OnOutcome
    ) -> None:
        self.providers = providers
        self.recorder = recorder
        self.on_outcome = on_outcome
        self.makes = most_awaited_first([c for c in plan.pending if c.action is not Action.DELETE])
        self.deletes = [c for c in plan.pending if c.action is Action.DELETE]
        self.tasks: dict[Address, asyncio.Task[bool]] = {}
        self.outcomes: list[Outcome] = []
        self.skipped: list[Address] = []
        self.saving = asyncio.Lock()

    async def run(self) -> ApplyResult:
        async with asyncio.TaskGroup() as group:
            for change in self.makes:  # each after what it depends on, so that every dependency's task exists already
                self.tasks[change.address] = group.create_task(self._after_dependencies(change))
        # What is to go stays where something failed; a hook takes what is in force to others, nothing hangs on it.
        missed = [*self.skipped, *(o.address for o in self.outcomes if not o.ok)]
        stays = any(address.kind != CERT_HOOK for address in missed)
        for change in self.deletes:
            if stays:
                self.skipped.append(change.address)
            else:
                await self._carry_out(change)
        return ApplyResult(tuple(self.outcomes), tuple(self.skipped))

    async def _after_dependencies(self, change: Change) -> bool:
        waits = [self.tasks[a] for a in change.depends_on if a in self.tasks]
        if not all([await task for task in waits]):
            self.skipped.append(change.address)
            return False
        return await self._carry_out(change)

    async def _carry_out(self, change: Change) -> bool:
        started = monotonic()
        outcome: Outcome | None = None
        async for landed in self.providers[change.address.kind].apply([change]):
            outcome = replace(landed, seconds=monotonic() - started)
        if outcome is None:
            error = ApplyError(f"{change.address}: its provider reported no outcome")
            outcome = Outcome(change.address, change.action, ok=False, error=error)
        self.recorder.note(change, outcome)
        await self._save()
        self.outcomes.append(outcome)
        self.on_outcome(outcome)
        return outcome.ok

    async def _save(self) -> None:
        """Write down what landed: one write serves all that landed during the one before, and holds up nothing else."""
        async with self.saving:
            await asyncio.to_thread(self.recorder.flush)
