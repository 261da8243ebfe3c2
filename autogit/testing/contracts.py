"""The contract of a reconciler as tests: a test class inherits it and names a provider and two sets of wishes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from autogit.core.plan import make_plan
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Change, Outcome
from autogit.model.resource import Resource
from autogit.model.state import PlatformState
from autogit.providers.base import Reconciler, Scope

_NOTHING_RECORDED = Lockfile()


class ReconcilerContract:
    """What the engine relies on.

    A subclass has three pytest fixtures: `provider` (a Reconciler on an empty backend), `wishes` and `other_wishes`
    (Resources of the same addresses with different attributes).
    """

    def test_an_empty_backend_shows_nothing_and_stays_empty(
        self, provider: Reconciler, wishes: Sequence[Resource]
    ) -> None:
        """Observing makes nothing."""
        assert self.look(provider, wishes) == {}
        assert self.look(provider, wishes) == {}

    def test_after_apply_the_plan_changes_nothing(self, provider: Reconciler, wishes: Sequence[Resource]) -> None:
        """What was applied is observed as wished."""
        outcomes = self.bring(provider, wishes)
        assert [o.ok for o in outcomes] == [True] * len(wishes), [o.error for o in outcomes]
        assert self.pending(provider, wishes, outcomes) == []

    def test_applying_twice_is_applying_once(self, provider: Reconciler, wishes: Sequence[Resource]) -> None:
        """A repeated change is harmless."""
        changes = self.plan(provider, wishes)
        self.carry_out(provider, changes)
        before = self.look(provider, wishes)
        again = self.carry_out(provider, changes)
        assert all(o.ok for o in again)
        assert self.look(provider, wishes) == before

    def test_a_changed_wish_is_carried_out(
        self, provider: Reconciler, wishes: Sequence[Resource], other_wishes: Sequence[Resource]
    ) -> None:
        """Attributes follow the wish."""
        outcomes = self.bring(provider, wishes)
        changes = self.plan(provider, other_wishes, outcomes)
        assert [c.address for c in changes] == [w.address for w in sorted(other_wishes, key=lambda w: w.address)]
        changed = self.carry_out(provider, changes)
        assert all(o.ok for o in changed)
        assert self.pending(provider, other_wishes, [*outcomes, *changed]) == []

    def test_what_is_neither_wished_nor_ours_is_not_shown(
        self, provider: Reconciler, wishes: Sequence[Resource]
    ) -> None:
        """The scope is the limit."""
        self.bring(provider, wishes)
        alone = list(wishes)[:1]
        assert set(self.look(provider, alone)) == {str(alone[0].address)}

    def test_health_tells_and_never_raises(self, provider: Reconciler) -> None:
        """A provider knows how it is."""
        health = asyncio.run(provider.health())
        assert health.ok
        assert health.detail

    # What the tests above are made of.

    @staticmethod
    def state(
        provider: Reconciler, wishes: Sequence[Resource], lockfile: Lockfile = _NOTHING_RECORDED
    ) -> PlatformState:
        """Observe in the scope of the wishes and of what is recorded."""
        scope = Scope(desired={w.address: w for w in wishes}, owned=lockfile.entries)
        seen = asyncio.run(provider.observe(scope))
        return PlatformState({r.address: r for r in seen})

    def look(self, provider: Reconciler, wishes: Sequence[Resource]) -> dict[str, dict[str, object]]:
        """Return what is there, by address."""
        return {str(a): dict(r.attributes) for a, r in self.state(provider, wishes).resources.items()}

    def plan(
        self, provider: Reconciler, wishes: Sequence[Resource], outcomes: Sequence[Outcome] = ()
    ) -> Sequence[Change]:
        """Return the pending changes; `outcomes` are those of the last apply."""
        lockfile = Lockfile(entries={o.address: LockEntry(o.address, o.attributes) for o in outcomes})
        fitted = provider.normalise(wishes)
        return make_plan(fitted, self.state(provider, wishes, lockfile), lockfile).pending

    def pending(self, provider: Reconciler, wishes: Sequence[Resource], outcomes: Sequence[Outcome]) -> list[str]:
        """Return the pending changes in words."""
        return [f"{c.action} {c.address}: {c.reason}" for c in self.plan(provider, wishes, outcomes)]

    @staticmethod
    def carry_out(provider: Reconciler, changes: Sequence[Change]) -> list[Outcome]:
        """Apply changes and return their outcomes."""

        async def run() -> list[Outcome]:
            return [outcome async for outcome in provider.apply(changes)]

        return asyncio.run(run())

    def bring(self, provider: Reconciler, wishes: Sequence[Resource]) -> list[Outcome]:
        """Plan and apply."""
        return self.carry_out(provider, self.plan(provider, wishes))
