"""When a copy's packs are joined: after all proofs of a sync, one copy at a time, and only where it needs it by now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autogit.errors import AutogitError
from autogit.operations.mirror_limits import Pace
from autogit.providers.git.bare import BareCopy

_MOST_PACKS = 20
"""A fetch makes one pack; git looks into each of them for each object. Its own limit (gc.autoPackLimit) is 50."""
_MOST_LOOSE = 27
"""Loose objects of one of the 256 folders: git's own limit (gc.auto) is 6,700 in all."""
_LOOSE_SAMPLE = "17"
_BUDGET_SECONDS = 3600.0


def needs_upkeep(folder: Path) -> bool:
    """Tell whether a copy has many packs, or many loose objects (by a sample of them, as git does)."""
    packs = sum(name.endswith(".pack") for name in _names(folder / "objects" / "pack"))
    return packs > _MOST_PACKS or len(_names(folder / "objects" / _LOOSE_SAMPLE)) > _MOST_LOOSE


async def keep_up(copies: Mapping[str, tuple[BareCopy, bool]], pace: Pace) -> tuple[str, ...]:
    """Maintain the copies that need it, by name; with True also what no ref reaches any more is dropped.

    What fails is returned as a sentence each: a copy is as it was then, only slower. Nothing is begun past the time.
    """
    failed: list[str] = []
    for name, (copy, full) in copies.items():
        if pace.is_over:
            break
        if full or needs_upkeep(copy.path):
            try:
                await copy.maintain(full=full, budget_seconds=pace.remaining(_BUDGET_SECONDS))
            except AutogitError as exc:
                failed.append(f"{name}: its packs were not joined: {exc.message}")
    return tuple(failed)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
