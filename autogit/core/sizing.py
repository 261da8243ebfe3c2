"""Sizing: the specification's tiers, their totals, and what fits a host; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from autogit.model.service import TIERS, ServiceDescriptor, SizingTier, Tier

GIB = 1024**3
_WHOLE_FROM_GIB = 10
_HALVES = 2


def tier_total(descriptors: Iterable[ServiceDescriptor], tier: Tier) -> tuple[float, int]:
    """Return (CPU cores, memory in bytes) that the services need together in a tier."""
    sizes = [d.sizing[tier] for d in descriptors if tier in d.sizing]
    return sum(s.cpus for s in sizes), sum(s.memory_bytes for s in sizes)


def format_total(cpus: float, memory_bytes: int) -> str:
    """Return a total as the specification's sizing guide writes it: `16C/11G`.

    The guide rounds memory up: to half a GiB below 10 GiB, to a whole one from there (6.375 GiB is 6.5G, 10.75 GiB is
    11G).
    """
    gib = memory_bytes / GIB
    rounded = math.ceil(gib) if gib >= _WHOLE_FROM_GIB else math.ceil(gib * _HALVES) / _HALVES
    return f"{cpus:g}C/{rounded:g}G"


def format_size(size: SizingTier) -> str:
    """Return a size as the specification writes it: `0.5C/128M`."""
    memory = f"{size.memory_bytes // GIB}G" if size.memory_bytes % GIB == 0 else f"{size.memory_bytes // 1024**2}M"
    return f"{size.cpus:g}C/{memory}"


def largest_fitting_tier(descriptors: Sequence[ServiceDescriptor], memory_bytes: int) -> Tier | None:
    """Return the largest tier whose memory fits, None where not even the smallest does."""
    fitting = [tier for tier in TIERS if tier_total(descriptors, tier)[1] <= memory_bytes]
    return fitting[-1] if fitting else None


def whole_cpus(size: SizingTier) -> int:
    """Return the number of threads a program may run at once: its cores, rounded up, at least one."""
    return max(1, math.ceil(size.cpus))


def go_memory_limit(size: SizingTier) -> str:
    """Return a Go program's soft memory limit (GOMEMLIMIT): nine tenths of its memory, so that it collects in time."""
    return f"{size.memory_bytes * 9 // 10 // 1024**2}MiB"
