"""Observing: ask every reconciler what is there and join the answers into one state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from autogit.errors import UnsupportedError
from autogit.model.lockfile import Lockfile
from autogit.model.resource import Resource
from autogit.model.state import PlatformState
from autogit.providers.base import Reconciler, Scope


def providers_by_kind(providers: Sequence[Reconciler]) -> Mapping[str, Reconciler]:
    """Return the reconciler of each kind."""
    return {kind: provider for provider in providers for kind in provider.kinds}


def normalise(desired: Sequence[Resource], providers: Sequence[Reconciler]) -> list[Resource]:
    """Let each provider fit the wishes of its kinds; raises UnsupportedError for a kind that nobody holds."""
    by_kind = providers_by_kind(providers)
    orphans = sorted({r.address.kind for r in desired} - set(by_kind))
    if orphans:
        raise UnsupportedError(f"no provider holds resources of kind {', '.join(orphans)}")
    fitted: list[Resource] = []
    for provider in providers:
        fitted.extend(provider.normalise([r for r in desired if r.address.kind in provider.kinds]))
    return fitted


async def observe(providers: Sequence[Reconciler], desired: Sequence[Resource], lockfile: Lockfile) -> PlatformState:
    """Read the world through all providers at once."""

    async def one(provider: Reconciler) -> Sequence[Resource]:
        scope = Scope(
            desired={r.address: r for r in desired if r.address.kind in provider.kinds},
            owned={a: e for a, e in lockfile.entries.items() if a.kind in provider.kinds},
            owner=lockfile.owner,
        )
        return await provider.observe(scope)

    seen = await asyncio.gather(*(one(provider) for provider in providers))
    return PlatformState({resource.address: resource for resources in seen for resource in resources})
