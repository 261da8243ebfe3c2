"""A resource: one thing with a desired state, its address and its comparable attributes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Scalar = str | int | float | bool | None
Value = Scalar | tuple[str, ...]
"""An attribute's value: a JSON scalar or a tuple of strings; never a secret (a keyed digest stands for one)."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """The name of a resource: `kind/name`, as `file/traefik/traefik.yml` or `process/api`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Split `kind/name` at the first slash. Raises ValueError where either part is empty."""
        kind, slash, name = text.partition("/")
        if not (kind and slash and name):
            raise ValueError(f"{text!r} is not an address: kind/name, as in process/api")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Resource:
    """One managed thing, desired or observed.

    `attributes` is what is compared and recorded. An observed resource may carry more attributes than the desired one
    asks for; only the desired ones are compared. `payload` is what a provider needs to make the thing and what is
    neither compared nor stored (a file's text, a program). `replace_on` names the attributes whose change needs a
    replacement (stop and start) instead of an update in place. `user_editable` resources are held, not overwritten,
    when somebody else changed them. `foreign` says whose an observed resource is, where it is not ours: it is left
    alone until it is adopted by name.
    """

    address: Address
    attributes: Mapping[str, Value]
    depends_on: tuple[Address, ...] = ()
    payload: Any = field(default=None, compare=False, repr=False)
    replace_on: frozenset[str] = frozenset()
    user_editable: bool = False
    foreign: str = ""

    @property
    def spec_hash(self) -> str:
        """SHA-256 (hex) of the attributes in canonical JSON: equal wishes have equal hashes."""
        return digest(dict(self.attributes))


def digest(value: object) -> str:
    """SHA-256 (hex) of a value's canonical JSON (sorted keys, no white space, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
