"""Redaction: known secret values never leave through a log line, an error or a view."""

from __future__ import annotations

from collections.abc import Iterable

MASK = "(secret)"
_SHORTEST = 6
"""Shorter values are not masked: they would blacken ordinary words, and no secret of ours is so short."""


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every known secret value masked, the longest first."""
    for value in sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text
