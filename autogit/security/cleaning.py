"""The text without what was found; everything else stays as it is, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogit.model.security import Finding


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned text and the fragments that were taken out of it, in order."""

    text: str
    fragments: tuple[str, ...]


def clean(text: str, findings: Sequence[Finding]) -> Cleaned:
    """Return the text without the parts that findings name (and the sentence around an instruction)."""
    kept, fragments, at = [], [], 0
    for start, end in _merged(findings):
        kept.append(text[at:start])
        fragments.append(text[start:end])
        at = end
    return Cleaned("".join([*kept, text[at:]]), tuple(fragments))


def _merged(findings: Sequence[Finding]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted((one.start, one.end) for one in findings if one.end > one.start):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
