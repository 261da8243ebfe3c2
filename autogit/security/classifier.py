"""Stage 4, optional: a model that adds to the score of the rules, and never takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autogit.model.security import Finding
from autogit.security.views import View


class Classifier(Protocol):
    """A model that judges views of a text; a user may bring another."""

    def find(self, views: Sequence[View], score: float) -> Finding | None:
        """Return one finding with what the model adds to a score, or nothing."""
