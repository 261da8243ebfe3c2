"""The observed world: what providers saw, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autogit.model.resource import Address, Resource


@dataclass(frozen=True, slots=True)
class PlatformState:
    """Every observed resource by address, in no particular order."""

    resources: Mapping[Address, Resource]

    def find(self, address: Address) -> Resource | None:
        """Return the observed resource, or None where there is none."""
        return self.resources.get(address)
