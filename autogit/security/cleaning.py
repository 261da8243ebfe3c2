"""The text without what was found; everything else stays as it is, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autogit.model.security import Finding, Stage
from autogit.security.elements import find_hidden_elements
from autogit.security.folding import lookalikes
from autogit.security.hidden import BIDI, MIXED, STRAY
from autogit.security.passages import construct, sentence, token
from autogit.security.smuggling import TAGS

_LEAST_WEIGHT = 0.2
"""What weighs less stays: it is a remark, not a charge."""
_STRONG_WEIGHT = 0.5
_NEAR = 200
_MARGIN = 150
"""What lies that deep within a cut needs no cut of its own."""
_EXACT = frozenset(
    ("base64", "hex", "base32", "base85", "binary", "codes", "morse", "tags", "selectors", "zero-width-bits")
)
"""Views whose parts are told as the whole run that was decoded."""
_NOT_SHOWN = frozenset(("html-comment", "hidden-element", "alt-text", "link-title", "reference"))

_Edit = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned text and the fragments that were taken out of it, in order."""

    text: str
    fragments: tuple[str, ...]


def clean(text: str, findings: Sequence[Finding]) -> Cleaned:
    """Return the text without what findings name.

    Hidden characters go exactly, letters of another script become the ones they look like, an encoded payload goes as
    a run, a hidden element as a whole; of an instruction the sentence goes, and behind a strong one those that carry
    its demand.
    """
    charges = _charges(findings)
    kept: list[str] = []
    fragments: list[str] = []
    at = 0
    for start, end, instead in _merged(_edits(text, charges)):
        kept += (text[at:start], instead)
        fragments.append(text[start:end])
        at = end
    return Cleaned("".join([*kept, text[at:]]), tuple(fragments))


def clean_stretch(text: str, findings: Sequence[Finding]) -> Cleaned:
    """Return the text without all that stands from the first to the last thing that findings name."""
    charges = _charges(findings)
    if not charges:
        return Cleaned(text, ())
    start, end = min(one.start for one in charges), max(one.end for one in charges)
    return Cleaned(text[:start] + text[end:], (text[start:end],))


def _charges(findings: Sequence[Finding]) -> list[Finding]:
    return [one for one in findings if one.weight >= _LEAST_WEIGHT and one.stage is not Stage.CLASSIFIER]


def _edits(text: str, charges: Sequence[Finding]) -> Iterator[_Edit]:
    spans = _around(text, [one for one in charges if one.stage is not Stage.HIDDEN and one.end > one.start])
    yield from ((start, end, "") for start, end in spans)
    for one in charges:
        if one.stage is Stage.HIDDEN and (found := _IN_PLACE.get(one.rule)):
            pattern, instead = found
            for match in pattern.finditer(text, one.start, one.end):
                yield match.start(), match.end(), instead(match.group())
        elif one.stage is Stage.HIDDEN and one.end > one.start:
            yield one.start, one.end, ""


def _around(text: str, charges: Sequence[Finding]) -> Iterator[tuple[int, int]]:
    """Yield what is to go with each charge that a rule brought."""
    views = {one.view.partition(">")[0] for one in charges}
    elements = [(start, end) for start, end, _ in find_hidden_elements(text)] if "hidden-element" in views else []
    strong = _strong(charges)
    begin = stop = 0
    for start, end, view in sorted({(one.start, one.end, one.view.partition(">")[0]) for one in charges}):
        if begin <= start and end + _MARGIN < stop:
            continue
        begin, stop = _reach(text, (start, end), view, elements, strong=start in strong)
        yield begin, stop


def _reach(
    text: str, span: tuple[int, int], view: str, elements: Sequence[tuple[int, int]], *, strong: bool
) -> tuple[int, int]:
    """Return what is to go with one charge; `view` is how the text around it was read."""
    if view in _EXACT:
        return span
    if view in _NOT_SHOWN:
        return construct(text, span, view, elements)
    if view == "percent" and not re.search(r"\s", text[span[0] : span[1]]):
        return token(text, *span)
    return sentence(text, *span, strong=strong)


def _strong(charges: Sequence[Finding]) -> frozenset[int]:
    """Return where instructions begin that are strong, by themselves or together with another one close by."""
    starts = sorted({(one.start, one.rule.partition("-")[0]) for one in charges})
    together: set[int] = set()
    for (one, family), (other, second) in pairwise(starts):
        if other - one < _NEAR and family != second:
            together |= {one, other}
    return frozenset(together | {one.start for one in charges if one.weight >= _STRONG_WEIGHT})


def _merged(edits: Iterator[_Edit]) -> list[_Edit]:
    """Return edits in order, none within another: cuts that touch are one, what is cut need not be mended."""
    merged: list[_Edit] = []
    for start, end, instead in sorted(edits, key=lambda one: (one[0], -one[1])):
        if merged and (start < merged[-1][1] or (start == merged[-1][1] and not instead and not merged[-1][2])):
            last = merged[-1]
            merged[-1] = (last[0], max(last[1], end), last[2])
        else:
            merged.append((start, end, instead))
    return merged


def _plain(word: str) -> str:
    return word.translate(lookalikes())


_IN_PLACE: Mapping[str, tuple[re.Pattern[str], Callable[[str], str]]] = {
    "hidden-characters": (STRAY, lambda _run: ""),
    "hidden-tags": (TAGS, lambda _run: ""),
    "hidden-bidi": (BIDI, lambda _run: ""),
    "hidden-lookalikes": (MIXED, _plain),
}
