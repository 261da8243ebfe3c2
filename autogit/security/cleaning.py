"""The text without what was found; everything else stays as it is, byte for byte."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import itemgetter

from autogit.model.security import Finding, Stage
from autogit.security.ciphers import shifted_lines
from autogit.security.elements import find_hidden_elements
from autogit.security.folding import lookalikes, without_surrogates
from autogit.security.hidden import BIDI, MIXED, STRAY
from autogit.security.passages import construct, sentence, token
from autogit.security.regions import Decoded, Part, same
from autogit.security.smuggling import TAGS

_LEAST_WEIGHT = 0.2
"""What weighs less stays: it is a remark, not a charge."""
_STRONG_WEIGHT = 0.5
_NEAR = 200
_MARGIN = 150
"""What lies that deep within a cut needs no cut of its own."""
_LONG, _STEP, _AROUND = 32 << 10, 256, 1536
"""Of a text from so many characters on only what stands so near to a change is looked at again; changes closer together
than a step are one."""
_EXACT = frozenset(
    ("base64", "hex", "base32", "base85", "binary", "codes", "morse", "tags", "selectors", "zero-width-bits")
)
"""Views whose parts are told as the whole run that was decoded."""
_NOT_SHOWN = frozenset(("html-comment", "hidden-element", "alt-text", "link-title", "reference"))

_Edit = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned text, the fragments that were taken out of it, and where (but for `_STEP`) it was changed, in order."""

    text: str
    fragments: tuple[str, ...]
    edges: tuple[int, ...] = ()


def clean(text: str, findings: Sequence[Finding]) -> Cleaned:
    """Return the text without what findings name.

    Hidden characters go exactly, letters of another script become the ones they look like, an encoded payload goes as
    a run, a hidden element as a whole; of an instruction the sentence goes, and behind a strong one those that carry
    its demand. Of what is mended character by character, the fragment is the stretch from the first to the last.
    """
    charges = _charges(findings)
    in_place = [one for one in charges if one.stage is Stage.HIDDEN and one.rule in _IN_PLACE]
    cuts = _merged(_cuts(without_surrogates(text), charges))
    begins = [start for start, _ in cuts]
    taken = [*cuts]
    for one in in_place:
        around = bisect_right(begins, one.start) - 1
        if around < 0 or one.end > cuts[around][1]:
            taken.append((one.start, one.end))
    fragments = tuple(text[start:end] for start, end in sorted(taken))
    edits = [(start, end, "") for start, end in cuts]
    edits += chain.from_iterable(_mends(text, one) for one in in_place)
    edited, edges = _edited(text, sorted(edits, key=_BEGIN))
    return Cleaned(edited, fragments, edges)


def _edited(text: str, edits: Iterable[_Edit]) -> tuple[str, tuple[int, ...]]:
    """Return a text with its edits, in order, carried out, and where; what lies within a cut needs no mending."""
    kept: list[str] = []
    edges: list[int] = []
    at = size = 0
    last = -_STEP
    for start, end, instead in edits:
        if start >= at:
            kept.append(text[at:start])
            size += start - at
            if instead:
                kept.append(instead)
                size += len(instead)
            if size >= last + _STEP:
                edges.append(size)
                last = size
        at = max(at, end)
    kept.append(text[at:])
    return "".join(kept), tuple(edges)


def changed_parts(cleaned: Cleaned) -> Decoded | None:
    """Return what stands around the changes of a long text that is mostly as it was; nothing for any other text."""
    text, edges = cleaned.text, cleaned.edges
    if len(text) < _LONG or not edges:
        return None
    spans = _merged((max(0, edge - _AROUND), min(len(text), edge + _STEP + _AROUND)) for edge in edges)
    spans = _merged((text.rfind("\n", max(0, start - _AROUND), start) + 1 or start, end) for start, end in spans)
    if sum(end - start for start, end in spans) > len(text) // 2:
        return None
    return Decoded([Part(start, end, text[start:end], same) for start, end in spans])


def clean_stretch(text: str, findings: Sequence[Finding]) -> Cleaned:
    """Return the text without all that stands from the first to the last thing that findings name."""
    charges = _charges(findings)
    if not charges:
        return Cleaned(text, ())
    start, end = min(one.start for one in charges), max(one.end for one in charges)
    return Cleaned(text[:start] + text[end:], (text[start:end],), (start,))


def _charges(findings: Sequence[Finding]) -> list[Finding]:
    return [one for one in findings if one.weight >= _LEAST_WEIGHT and one.stage is not Stage.CLASSIFIER]


def _cuts(text: str, charges: Sequence[Finding]) -> Iterator[tuple[int, int]]:
    """Yield what goes as a whole."""
    yield from _around(text, [one for one in charges if one.stage is not Stage.HIDDEN and one.end > one.start])
    for one in charges:
        if one.stage is Stage.HIDDEN and one.rule not in _IN_PLACE and one.end > one.start:
            yield one.start, one.end


def _mends(text: str, charge: Finding) -> list[_Edit]:
    """Return what is mended character by character where a charge stands."""
    pattern, table = _IN_PLACE[charge.rule]
    found = pattern.finditer(text, charge.start, charge.end)
    if table is None:
        return [(match.start(), match.end(), "") for match in found]
    plain = table()
    return [(match.start(), match.end(), match.group().translate(plain)) for match in found]


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
    if view == "shift":
        return shifted_lines(text, *span)
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


def _merged(cuts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return cuts in order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(cuts):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


_BEGIN = itemgetter(0)
_IN_PLACE: Mapping[str, tuple[re.Pattern[str], Callable[[], dict[int, int]] | None]] = {
    "hidden-characters": (STRAY, None),
    "hidden-tags": (TAGS, None),
    "hidden-bidi": (BIDI, None),
    "hidden-lookalikes": (MIXED, lookalikes),
}
"""What of a stretch is mended, and by which table; without one it goes."""
