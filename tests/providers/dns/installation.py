"""One installation's DNS records over a provider: what `up` does to them, without the rest of a platform."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from autogit.core.apply import apply_plan
from autogit.core.guard import Limits, check_safe
from autogit.core.observe import normalise, observe
from autogit.core.plan import conflicts, make_plan
from autogit.core.store import LockfileStore, Recorder
from autogit.model.dns import View, WantedRecord
from autogit.model.plan import Policy
from autogit.model.project import ProjectPaths
from autogit.model.resource import Resource
from autogit.providers.base import ProviderContext
from autogit.providers.dns.records import DNSRecords


def context_of(folder):
    """What a provider is made with."""
    return ProviderContext(ProjectPaths(Path(folder), Path(folder) / ".env"))


class Installation:
    """Wishes for record sets, plans and applies them as the engine does, with a lockfile of its own."""

    def __init__(self, folder, provider, owner="home-1", *, allow_private=True, view=View.PUBLIC):
        self.context = context_of(folder)
        self.provider, self.owner, self.view = provider, owner, view
        self.allow_private = allow_private
        self.store = LockfileStore(Path(folder) / "autogit.lock.json", Path(folder) / "previous.json")

    def records(self):
        self.provider._locks.clear()  # a process of its own each time, as far as a provider can tell
        return DNSRecords(self.context, {self.view: self.provider}, allow_private=self.allow_private)

    def desired(self, sets):
        return [
            Resource(
                wanted.address,
                {
                    "provider": wanted.provider,
                    "values": wanted.record.values,
                    "ttl": wanted.record.ttl,
                    "proxied": wanted.record.proxied,
                    "marked": True,
                },
                payload=wanted,
            )
            for wanted in (WantedRecord(self.view, self.provider.provider_name, one) for one in sets)
        ]

    def lockfile(self):
        found = self.store.load()
        return found if found.owner else replace(found, owner=self.owner)

    def plan(self, sets, adopt=(), policy=Policy.SYNC):
        return asyncio.run(self._plan(self.records(), sets, adopt, policy))

    async def _plan(self, records, sets, adopt=(), policy=Policy.SYNC):
        lockfile = self.lockfile()
        desired = normalise(self.desired(sets), [records])
        state = await observe([records], desired, lockfile)
        return make_plan(desired, state, lockfile, policy, adopt=adopt)

    def check(self, sets, adopt=()):
        """The sentences of what stands in the way of a plan."""

        async def check():
            records = self.records()
            plan = await self._plan(records, sets, adopt)
            return [*conflicts(plan), *await records.check(plan.pending)]

        return [f"{f.place}: {f.subject} {f.message}".replace(":  ", ": ") for f in asyncio.run(check())]

    def up(self, sets, adopt=(), allow_delete=None):
        """Plan and apply; returns the result. Conflicts are left out, as a user would who goes on with the rest."""

        async def work():
            records = self.records()
            plan = await self._plan(records, sets, adopt)
            check_safe(plan, Limits(share=1.0, free_deletes=1000) if allow_delete is None else allow_delete)
            recorder = Recorder(self.store, self.lockfile())
            recorder.adopt(plan.changes)
            recorder.begin(plan.pending, ports={})
            return await apply_plan(plan, [records], recorder, lambda _outcome: None)

        return asyncio.run(work())
