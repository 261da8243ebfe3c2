"""A reconciler that keeps its resources in memory, for tests of the engine."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import NotReadyError
from autogit.model.plan import Action, Outcome
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource
from autogit.providers.base import HealthStatus, ProviderContext, Reconciler


class InMemory(Reconciler):
    provider_type = "host"
    provider_name = "memory"
    kinds = ("file", "process", "certificate", "secret", "volume", "cert_hook")

    def __init__(self, context):
        super().__init__(context)
        self.world = {}
        self.log = []
        self.failing = {}
        self.running = 0
        self.most_running = 0

    async def health(self):
        return HealthStatus(ok=True)

    async def observe(self, scope):
        known = set(scope.desired) | set(scope.owned)
        return [r for a, r in self.world.items() if a in known]

    async def apply(self, changes):
        for change in changes:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            self.log.append(str(change.address))
            restored = self.failing.get(str(change.address))
            if restored is not None:
                error = NotReadyError(f"{change.address} did not come up")
                yield Outcome(change.address, change.action, ok=False, error=error, restored=restored)
                continue
            if change.action is Action.DELETE:
                self.world.pop(change.address, None)
            else:
                self.world[change.address] = Resource(change.address, dict(change.after.attributes))
            yield Outcome(change.address, change.action, ok=True)


@pytest.fixture
def paths(tmp_path):
    return ProjectPaths(tmp_path, tmp_path / ".env")


@pytest.fixture
def memory(paths):
    return InMemory(ProviderContext(paths))


@pytest.fixture
def resource():
    def make(address, depends_on=(), *, replace_on=(), user_editable=None, **attributes):
        parsed = Address.parse(address)
        return Resource(
            parsed,
            attributes or {"v": 1},
            tuple(Address.parse(a) for a in depends_on),
            replace_on=frozenset(replace_on),
            user_editable=parsed.kind == "file" if user_editable is None else user_editable,
        )

    return make
