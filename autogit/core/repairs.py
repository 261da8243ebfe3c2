"""Repairs: the part of a plan that brings back what was applied last, and nothing that was not applied yet; pure.

Healing puts the world back; only `up` moves it on. So a difference is a repair where the wish is what the lockfile
recorded, and the world has moved. A wish that has changed since waits for `up`; a service that fell meanwhile is
started as it was.

| the plan says | the wish, compared with the lockfile | repair |
|---|---|---|
| create | equal: it was removed behind our back | made again |
| create | differs, or never applied | none: `up` |
| update, replace | every field that differs is as recorded | carried out |
| update, replace of a container | some is wished anew; it fell, lost a network or a limit | that alone is put back |
| the same, of two copies | it is down, and a killed `up` had begun this very wish | gone on with |
| update, replace | else | none: `up` |
| delete, hold | any | none |

What is put back alone is recorded as it was: the next `up` must still see what is wished anew. A volume that is gone is
no repair: an empty one in its place would hide that data was lost. Whatever needs it waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from autogit.core.plan import intent
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action, Change, Plan
from autogit.model.resource import Address, Resource

_STATE, _COPIES = "state", "copies"
_IN_PLACE = (frozenset({_STATE}), frozenset({"networks"}), frozenset({"memory_bytes", "cpus"}))
"""What can be put back in a container that exists: each of these together, or not at all."""


@dataclass(frozen=True, slots=True)
class Repairs:
    """What is to be put back, and why other differences are not (address -> sentence). `lost` are volumes."""

    plan: Plan
    refused: dict[Address, str]
    lost: frozenset[Address] = frozenset()


def find_repairs(plan: Plan, lockfile: Lockfile) -> Repairs:
    """Return the repairs of a plan."""
    lost = frozenset(c.address for c in plan.pending if c.address.kind == "volume" and _applied(c.address, lockfile))
    refused: dict[Address, str] = {}
    chosen: list[Change] = []
    for change in plan.pending:
        repair = _repair(change, lockfile.find(change.address))
        if change.address in lost:
            refused[change.address] = "it was removed, and its data with it"
        elif repair is None:
            applied = _applied(change.address, lockfile)
            refused[change.address] = "its wish has changed since the last up" if applied else "it waits for autogit up"
        elif missing := lost & set(change.depends_on):
            names = ", ".join(str(address) for address in sorted(missing))
            refused[change.address] = (
                f"{names} was removed, and its data with it: restore a backup, or autogit up begins with an empty one"
            )
        else:
            chosen.append(repair)
    return Repairs(replace(plan, changes=tuple(chosen)), refused, lost)


def without(plan: Plan, addresses: Iterable[Address]) -> Plan:
    """Return a plan without the changes of these addresses."""
    gone = set(addresses)
    return replace(plan, changes=tuple(c for c in plan.changes if c.address not in gone))


def _applied(address: Address, lockfile: Lockfile) -> bool:
    entry = lockfile.find(address)
    return entry is not None and bool(entry.attributes)


def _repair(change: Change, entry: LockEntry | None) -> Change | None:
    if entry is None or not entry.attributes or change.after is None:
        return None
    wish = change.after.attributes
    anew = {name for name in wish if name not in entry.attributes or wish[name] != entry.attributes[name]}
    if change.action is Action.CREATE:
        return None if anew else change
    names = {field.name for field in change.fields}
    if not anew or not (anew | {_COPIES}) & names:
        return change
    return _put_back(change, change.after, entry, anew) if change.address.kind == "container" else None


def _put_back(change: Change, wish: Resource, entry: LockEntry, anew: set[str]) -> Change | None:
    """Return the repair of a container of which something else is wished anew."""
    moved = {field.name: field for field in change.fields if field.name not in anew}
    if _COPIES in moved:
        return change if _STATE in moved and entry.intended == intent(wish) else None
    groups = [group for group in _IN_PLACE if not group & anew]
    fields = tuple(field for name, field in moved.items() if any(name in group for group in groups))
    if not fields or set(moved) - frozenset().union(*_IN_PLACE):
        return None
    fell = [f"it is {field.before}" for field in fields if field.name == _STATE]
    return replace(
        change,
        action=Action.UPDATE,
        fields=fields,
        after=replace(wish, attributes={n: entry.attributes[n] for n in wish.attributes if n in entry.attributes}),
        reason=next(iter(fell), "changed behind AutoGit's back: " + ", ".join(sorted(f.name for f in fields))),
    )
