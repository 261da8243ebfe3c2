"""Dependency order of resources: stable, and a circle is a fault; pure."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from autogit.errors import PlanError
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
