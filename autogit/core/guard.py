"""The guard: refuses plans that lose data or delete on a large scale unless each address is named; pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from autogit.errors import Fault, UnsafePlanError
from autogit.model.dns import DNS_RECORD
from autogit.model.plan import Action, Change, Plan
from autogit.model.resource import Address

PRECIOUS = frozenset({"volume", "secret", "certificate", "acme_storage"})
"""Kinds whose loss cannot be undone by the next `up`."""
REGENERABLE = frozenset({"file", "image", "network"})
"""Kinds that the next `up` makes again from `.env`, without any data: they do not count towards a mass deletion."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one plan may delete without naming it (octodns `Plan.raise_if_unsafe`).

    Up to `free_deletes` resources, or `share` (0..1) of what exists, whichever is more. DNS records have limits of
    their own, `free_records` and `records_share`: they are many, and the world remembers that they were gone.
    """

    share: float = 0.5
    free_deletes: int = 2
    records_share: float = 0.3
    free_records: int = 5
    allowed: frozenset[Address] = frozenset()


def check_safe(plan: Plan, limits: Limits) -> None:
    """Raise UnsafePlanError where the plan loses data or deletes too much; `--yes` never passes this."""
    there = [c for c in plan.changes if c.before is not None and not c.gone]
    deletes = [c for c in there if c.action is Action.DELETE and c.address not in limits.allowed]
    precious = [c for c in deletes if c.address.kind in PRECIOUS]
    if precious:
        _refuse("the plan would destroy data that cannot be made again", precious)
    ours = [c for c in there if c.address.kind == DNS_RECORD and c.before and not c.before.foreign]
    records = [c for c in deletes if c in ours and c.before and c.before.payload is not None]
    held = len(ours)
    if len(records) > max(limits.free_records, int(limits.records_share * held)):
        _refuse(f"the plan would delete {len(records)} of {held} DNS records at once", records)
    counted = [c for c in deletes if c.address.kind not in REGENERABLE | {DNS_RECORD}]
    existing = sum(1 for c in there if c.address.kind not in REGENERABLE | PRECIOUS | {DNS_RECORD})
    if len(counted) > max(limits.free_deletes, int(limits.share * existing)):
        _refuse(f"the plan would delete {len(counted)} of {existing} resources at once", counted)


def _refuse(sentence: str, changes: Collection[Change]) -> None:
    names = [str(c.address) for c in changes]
    raise UnsafePlanError(
        sentence,
        hint="name each one that may go: " + " ".join(f"--allow-delete {name}" for name in names),
        faults=[Fault("plan", str(c.address), c.reason) for c in changes],
    )
