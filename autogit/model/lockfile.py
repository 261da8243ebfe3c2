"""The lockfile's content: what is ours and what was last applied. No secrets; it may be committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autogit.model.resource import Address, Value, digest

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One resource that AutoGit made: the attributes it was given and when (RFC 3339, UTC).

    `intended` is the spec hash of a change that was begun and whose end is not recorded: it marks what a killed `up`
    may have left behind as ours.
    """

    address: Address
    attributes: Mapping[str, Value]
    applied_at: str = ""
    depends_on: tuple[Address, ...] = ()
    intended: str = ""

    def intends(self, attributes: Mapping[str, Value]) -> bool:
        """Tell whether these are what a run was about to make that did not live to record it."""
        names = self.intended.partition(":")[0].split(",")
        seen = digest({name: attributes.get(name) for name in names})
        return bool(self.intended) and self.intended == f"{','.join(names)}:{seen}"


@dataclass(frozen=True, slots=True)
class Lockfile:
    """Everything recorded of a project. `serial` grows by one with each write.

    `settings` are the effective non-secret settings of the last apply, `ports` the host ports that were chosen
    (`service/port name` -> number), `last_apply` who applied what, when and with which end, `engine` the container
    engine it was applied to (`api`: the API version agreed on), `owner` what marks the things of this installation.
    """

    project: str = "autogit"
    autogit_version: str = ""
    serial: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    entries: Mapping[Address, LockEntry] = field(default_factory=dict)
    last_apply: Mapping[str, str] = field(default_factory=dict)
    engine: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""

    def find(self, address: Address) -> LockEntry | None:
        """Return the entry of an address, or None where AutoGit never made it."""
        return self.entries.get(address)
