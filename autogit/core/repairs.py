"""Repairs: the part of a plan that brings back what was applied last, and nothing that was not applied yet; pure.

Healing puts the world back; only `up` moves it on. So a difference is a repair where the wish is what the lockfile
recorded, and the world has moved. A wish that has changed since waits for `up`; a service that fell meanwhile is
started as it was.

| the plan says | the wish, compared with the lockfile | repair |
|---|---|---|
| create | equal: it was removed behind our back | made again |
| create | differs, or never applied | none: `up` |
| update, replace | every field that differs is as recorded | carried out |
| update, replace | some field was wished anew since, and it is down | started as it is |
| update, replace | else | none: `up` |
| delete, hold | any | none |

A volume that is gone is no repair: an empty one in its place would hide that data was lost. Whatever needs it waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from autogit.model.lockfile import Lockfile
from autogit.model.plan import Action, Change, Plan
from autogit.model.resource import Address

_UNITS = frozenset({"container", "process"})


@dataclass(frozen=True, slots=True)
class Repairs:
    """What is to be put back, and why other differences are not (address -> sentence)."""

    plan: Plan
    refused: dict[Address, str]


def find_repairs(plan: Plan, lockfile: Lockfile) -> Repairs:
    """Return the repairs of a plan."""
    lost = {c.address for c in plan.pending if c.address.kind == "volume" and lockfile.find(c.address)}
    refused = dict.fromkeys(lost, "the volume was removed, and its data with it")
    chosen: list[Change] = []
    for change in plan.pending:
        repair = None if change.address in lost else _repair(change, lockfile)
        if repair is None:
            refused.setdefault(change.address, "its wish has changed since the last up")
        elif missing := lost & set(change.depends_on):
            names = ", ".join(str(address) for address in sorted(missing))
            refused[change.address] = (
                f"{names} was removed, and its data with it: restore a backup, or autogit up begins with an empty one"
            )
        else:
            chosen.append(repair)
    return Repairs(replace(plan, changes=tuple(chosen)), refused)


def without(plan: Plan, addresses: Iterable[Address]) -> Plan:
    """Return a plan without the changes of these addresses."""
    gone = set(addresses)
    return replace(plan, changes=tuple(c for c in plan.changes if c.address not in gone))


def _repair(change: Change, lockfile: Lockfile) -> Change | None:
    entry = lockfile.find(change.address)
    if entry is None or change.after is None or not entry.attributes:
        return None
    wish, recorded = change.after.attributes, entry.attributes
    anew = {name for name in wish if wish[name] != recorded.get(name)}
    if change.action is Action.CREATE:
        return None if anew else change
    if not anew & {field.name for field in change.fields}:
        return change
    state = tuple(field for field in change.fields if field.name == "state")
    if state and change.address.kind in _UNITS:
        return replace(change, action=Action.UPDATE, fields=state, reason=f"it is {state[0].before}")
    return None
