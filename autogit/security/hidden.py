"""Stage 1: what a reader does not see: invisible characters, reordered text, look-alikes, hidden markup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autogit.model.security import Finding
from autogit.security.views import View


def find_hidden(text: str, views: Sequence[View]) -> Iterator[Finding]:
    """Yield what is hidden in a text; what honest writing needs (emoji, Arabic, Persian, Indic scripts) is not."""
    del text, views
    yield from ()
