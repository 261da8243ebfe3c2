"""Dependency order of resources and of changes: stable, and a circle is a fault; pure."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from autogit.errors import PlanError
from autogit.model.plan import Change
from autogit.model.resource import Address, Resource


def in_dependency_order(resources: Sequence[Resource]) -> list[Resource]:
    """Return the resources so that each follows all it depends on; ties by address. Raises PlanError on a circle."""
    by_address = {r.address: r for r in resources}
    graph: TopologicalSorter[Address] = TopologicalSorter()
    for address in sorted(by_address):
        graph.add(address, *sorted(d for d in by_address[address].depends_on if d in by_address))
    try:
        graph.prepare()
    except CycleError as exc:
        circle = " -> ".join(str(a) for a in exc.args[1])
        raise PlanError(f"resources depend on each other in a circle: {circle}") from exc
    ordered: list[Resource] = []
    while graph.is_active():
        ready = sorted(graph.get_ready())
        ordered.extend(by_address[a] for a in ready)
        graph.done(*ready)
    return ordered


def most_awaited_first(changes: Sequence[Change]) -> list[Change]:
    """Return changes in dependency order so that those on the longest chain come first, then what most wait for.

    Whoever carries out several at once works on them in turn: what much else waits for must not be the last.
    """
    waiting: dict[Address, list[Address]] = {c.address: [] for c in changes}
    for change in changes:
        for dependency in change.depends_on:
            if dependency in waiting:
                waiting[dependency].append(change.address)
    chain: dict[Address, int] = {}
    for change in reversed(changes):  # each is followed by all that depend on it
        chain[change.address] = 1 + max((chain[a] for a in waiting[change.address]), default=0)
    return sorted(changes, key=lambda c: (-chain[c.address], -len(waiting[c.address])))
