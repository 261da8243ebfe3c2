"""The reconciler of what is mirrored: `mirror/...` in the one plan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import ClassVar

from autogit.errors import AutogitError, StorageFullError
from autogit.model.mirror_plan import MIRROR
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Resource, Value
from autogit.providers.base import HealthStatus, ProviderContext, Reconciler, Scope
from autogit.providers.host.mirror_records import MirrorRecords


class MirrorRules(Reconciler):
    """Holds `mirror/<name>`: a declaration that is in force stands in the lockfile, and nowhere else.

    Making one fetches nothing: that is the sync's. It makes the folder that tells that there are or were mirrors.
    Taking one away forgets what is known of its repositories, so that nobody looks after them any more; their copies
    stay. `defaults` are what fields mean that an entry of an earlier AutoGit does not have.
    """

    provider_type: ClassVar[str] = "host"
    provider_name: ClassVar[str] = "mirror-rules"
    kinds: ClassVar[tuple[str, ...]] = (MIRROR,)

    def __init__(self, context: ProviderContext, defaults: Mapping[str, Value]) -> None:
        super().__init__(context)
        self._defaults = defaults
        self._records = MirrorRecords(context.paths.mirrors / "records.sqlite")

    async def health(self) -> HealthStatus:
        """Tell whether the records can be read."""
        try:
            known = await asyncio.to_thread(self._records.load)
        except AutogitError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        return HealthStatus(ok=True, detail=f"{len(known)} repositories are known")

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return what was declared."""
        ours = (entry for entry in scope.owned.values() if entry.attributes)
        return [Resource(entry.address, {**self._defaults, **entry.attributes}) for entry in ours]

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Say what is next, or forget."""
        for change in changes:
            work = self._forget if change.action is Action.DELETE else self._declare
            yield await asyncio.to_thread(work, change)

    def _declare(self, change: Change) -> Outcome:
        folder = self.context.paths.mirrors
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            error = StorageFullError(f"{folder} cannot be made: {exc.strerror}", hint="make room, or let it be made")
            return Outcome(change.address, change.action, ok=False, error=error)
        detail = f"declared; next: autogit mirror sync {change.address.name}"
        return Outcome(change.address, change.action, ok=True, detail=detail)

    def _forget(self, change: Change) -> Outcome:
        name = change.address.name
        try:
            if self._records.path.exists():
                self._records.forget(name)
        except AutogitError as exc:
            return Outcome(change.address, change.action, ok=False, error=exc)
        return Outcome(change.address, change.action, ok=True, detail="forgotten, its copies stay")
