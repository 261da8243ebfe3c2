"""Planning: compare the desired with the observed world and the lockfile, and decide; pure.

Three facts decide what becomes of a resource: what is wished (desired), what is there (observed) and what AutoGit
last gave it (the lockfile's entry).

| desired | observed | entry | decision |
|---|---|---|---|
| yes | absent | any | create |
| yes | equal | any | noop |
| yes | differs | same as observed, or none and not user-editable | update or replace |
| yes | differs | differs from observed: somebody else changed it | hold if user-editable, else update: healed |
| yes | somebody else's | any | hold: a conflict; update where it is adopted by name |
| no | somebody else's | yes | forget: it is left as it is |
| no | present | yes | delete; precious kinds are kept |
| no | absent | yes | forget (a delete that finds nothing) |
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from autogit.core.guard import PRECIOUS
from autogit.core.order import in_dependency_order
from autogit.errors import Fault
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action, Change, FieldChange, Note, Plan, Policy
from autogit.model.resource import Address, Resource, digest
from autogit.model.state import PlatformState
from autogit.model.text import printable

Explain = Callable[[Address], str]
"""Why a desired resource differs from what was last applied, or "" where that cannot be told."""


CONFLICT = "there "
"""How the sentence of a conflict begins."""


def no_explanation(_address: Address) -> str:
    """Know no reason."""
    return ""


def make_plan(  # noqa: PLR0913 - the three worlds, and what is said about them
    desired: Sequence[Resource],
    state: PlatformState,
    lockfile: Lockfile,
    policy: Policy = Policy.SYNC,
    *,
    explain: Explain = no_explanation,
    notes: Iterable[Note] = (),
    adopt: Collection[Address] = (),
) -> Plan:
    """Return the ordered changes from observed to desired; equal input gives an equal plan.

    `adopt` names resources that become ours though somebody else made them.
    """
    ordered = in_dependency_order(desired)
    wanted = {r.address for r in ordered}
    changes = [
        _adopted(r, seen)
        if seen and seen.foreign and r.address in adopt
        else _decide(r, seen, lockfile.find(r.address), explain)
        for r in ordered
        for seen in [state.find(r.address)]
    ]
    removals = [
        change
        for address in sorted(set(lockfile.entries) - wanted, reverse=True)
        if (change := _remove(lockfile.entries[address], state.find(address), explain)) is not None
    ]
    return Plan(
        tuple(_limit(change, policy) for change in [*changes, *_dependents_first(removals, lockfile)]),
        policy,
        tuple(notes),
    )


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[FieldChange, ...]:
    """Return the attributes whose wished value differs; attributes that nobody wishes for do not count."""
    return tuple(
        FieldChange(name, before.get(name), value)  # type: ignore[arg-type]  # mappings of Value by contract
        for name, value in after.items()
        if before.get(name) != value
    )


def _decide(wish: Resource, seen: Resource | None, entry: LockEntry | None, explain: Explain) -> Change:
    if seen is None:
        drift = entry is not None and not entry.intended and not _is_another_image(wish, entry)
        reason = "removed behind AutoGit's back" if drift else explain(wish.address) or "not there yet"
        return Change(wish.address, Action.CREATE, reason, differences({}, wish.attributes), None, wish, drift=drift)
    fields = differences(seen.attributes, wish.attributes)
    if seen.foreign:
        return Change(wish.address, Action.HOLD, f"{seen.foreign}, not AutoGit", fields, seen, wish)
    if not fields:
        return Change(wish.address, Action.NOOP, "in sync", (), seen, wish)
    drift = _drifted(wish, seen, entry)
    if drift and wish.user_editable:
        return Change(
            wish.address, Action.HOLD, "edited by hand since AutoGit wrote it", fields, seen, wish, drift=True
        )
    action = Action.REPLACE if wish.replace_on & {f.name for f in fields} else Action.UPDATE
    reason = explain(wish.address) or _reason(fields, drift=drift)
    return Change(wish.address, action, reason, fields, seen, wish, drift=drift)


def _adopted(wish: Resource, seen: Resource) -> Change:
    fields = differences(seen.attributes, wish.attributes)
    return Change(wish.address, Action.UPDATE, f"adopted: {seen.foreign}", fields, seen, wish)


def conflicts(plan: Plan) -> list[Fault]:
    """Return what somebody else made and what is wished for otherwise: it must be adopted, or the wish changed."""
    return [
        Fault(
            str(change.address),
            "",
            f"{CONFLICT}{_shown(change.before)}, wished {_shown(change.after)}: {change.reason}",
        )
        for change in plan.held
        if change.before and change.after and change.before.foreign and set(_names(change)) - {"marked"}
    ]


def _names(change: Change) -> Iterator[str]:
    yield from (field.name for field in change.fields)


def _shown(resource: Resource | None) -> str:
    values = resource.attributes.get("values") if resource else None
    return printable(", ".join(values)) if isinstance(values, tuple) else "something else"


def _is_another_image(wish: Resource, entry: LockEntry) -> bool:
    """Tell whether an image is wished that was never here: images are looked for by the wish, not by what was made."""
    return wish.address.kind == "image" and wish.attributes["reference"] != entry.attributes.get("reference")


def _drifted(wish: Resource, seen: Resource, entry: LockEntry | None) -> bool:
    """Tell whether the observed resource is something AutoGit neither recorded nor was about to make."""
    if entry is None:
        return wish.user_editable
    known = {name: seen.attributes.get(name) for name in entry.attributes}
    return known != dict(entry.attributes) and not entry.intends(seen.attributes)


def intent(resource: Resource) -> str:
    """Return what the lockfile remembers of a change before it is carried out: attribute names and their digest."""
    names = sorted(resource.attributes)
    return f"{','.join(names)}:{digest({n: resource.attributes[n] for n in names})}"


def _reason(fields: tuple[FieldChange, ...], *, drift: bool) -> str:
    changed = {f.name: f for f in fields}
    if "state" in changed:
        return f"it is {changed['state'].before}"
    if drift:
        return "changed behind AutoGit's back: " + ", ".join(sorted(changed))
    if set(changed) <= {"sha256", "mode"}:
        return "its template or something it is made of changed"
    return "changed: " + ", ".join(sorted(changed))


def _remove(entry: LockEntry, seen: Resource | None, explain: Explain) -> Change | None:
    if entry.address.kind in PRECIOUS:
        return None
    reason = explain(entry.address) or "no longer wanted"
    if seen is None or seen.foreign:
        reason += f" (left as it is: {seen.foreign})" if seen else " (already gone)"
    before = seen or Resource(entry.address, entry.attributes)
    return Change(entry.address, Action.DELETE, reason, (), before, None, gone=seen is None)


def _dependents_first(removals: list[Change], lockfile: Lockfile) -> list[Change]:
    """Order deletes so that what depends on something goes before it."""
    resources = [Resource(c.address, {}, lockfile.entries[c.address].depends_on) for c in removals]
    by_address = {c.address: c for c in removals}
    return [by_address[r.address] for r in reversed(in_dependency_order(resources))]


def _limit(change: Change, policy: Policy) -> Change:
    """Turn what the policy does not allow into a shown, untouched difference."""
    forbidden = {
        Policy.SYNC: frozenset[Action](),
        Policy.UPSERT_ONLY: frozenset({Action.DELETE}),
        Policy.CREATE_ONLY: frozenset({Action.DELETE, Action.UPDATE, Action.REPLACE}),
    }[policy]
    if change.action not in forbidden:
        return change
    reason = f"policy {policy.value} leaves it ({change.action.value}: {change.reason})"
    return Change(change.address, Action.HOLD, reason, change.fields, change.before, change.after, drift=change.drift)
