"""A plan: the ordered changes that turn the observed world into the desired one, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autogit.model.resource import Address, Resource, Value, digest


class Action(StrEnum):
    """What is done to one resource. `hold` is a difference that is shown and left alone (a hand edit, the policy)."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    NOOP = "noop"
    HOLD = "hold"


class Policy(StrEnum):
    """How far a plan may go: everything; no deletes; only what is not there yet (external-dns `plan/policy.go`)."""

    SYNC = "sync"
    UPSERT_ONLY = "upsert-only"
    CREATE_ONLY = "create-only"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One attribute's value before and after."""

    name: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Change:
    """One resource's step: what, why, and what it touches.

    `before` is the observed resource (None: not there), `after` the desired one (None: to be deleted). `drift` is true
    where the world differs from what AutoGit last applied. `gone` is true of a delete that only has to be recorded.
    """

    address: Address
    action: Action
    reason: str
    fields: tuple[FieldChange, ...] = ()
    before: Resource | None = field(default=None, repr=False)
    after: Resource | None = field(default=None, repr=False)
    drift: bool = False
    gone: bool = False

    @property
    def depends_on(self) -> tuple[Address, ...]:
        """The addresses that must be applied before this one (none for a delete)."""
        return self.after.depends_on if self.after else ()


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence a reader of the plan must see: something unavailable here, at its end of life, or too large.

    `level` is "info" or "warning"; a warning has a way out, `fix`.
    """

    level: str
    subject: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes in the order they may be applied: creates and updates follow dependencies, deletes come last."""

    changes: tuple[Change, ...]
    policy: Policy
    notes: tuple[Note, ...] = ()

    @property
    def pending(self) -> tuple[Change, ...]:
        """The changes that `apply` carries out."""
        return tuple(c for c in self.changes if c.action not in (Action.NOOP, Action.HOLD))

    @property
    def held(self) -> tuple[Change, ...]:
        """Differences that are shown and left alone."""
        return tuple(c for c in self.changes if c.action is Action.HOLD)

    def count(self, action: Action) -> int:
        """How many resources have this action."""
        return sum(1 for c in self.changes if c.action is action)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that name this plan and no other: equal input gives an equal fingerprint."""
        rows = [
            [
                str(c.address),
                c.action.value,
                c.before.spec_hash if c.before else "",
                c.after.spec_hash if c.after else "",
            ]
            for c in self.changes
        ]
        return digest([self.policy.value, rows])[:12]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change.

    `attributes` is what the provider now knows of the resource (recorded in the lockfile). `error` is set where it
    failed. `restored` lists addresses that a provider put back to their former state while undoing a failed change.
    """

    address: Address
    action: Action
    ok: bool
    detail: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: Exception | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)
    restored: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """Every outcome in the order it landed, and the addresses skipped because what they depend on failed."""

    outcomes: tuple[Outcome, ...]
    skipped: tuple[Address, ...] = ()

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes that are failures."""
        return tuple(o for o in self.outcomes if not o.ok)
