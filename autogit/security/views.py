"""The views of a text that rules look at: the text folded to one form, and everything that is encoded in it, decoded.

A view knows where each of its parts stands in the original, so that a finding is always told in the original's offsets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from autogit.security.decoders import find_decoders, find_raw_decoders
from autogit.security.folding import BlankMap, FoldMap, collapse, fold, odd_characters, visible, without_surrogates
from autogit.security.regions import Decoded, Locate, same

MOST_DEPTH = 5
"""How many decoders deep: base64 in base64 in a comment is three."""
MOST_VIEWS = 32
"""How many views one text has at most; the first found are the shallowest."""
SPARE_CHARS = 64 << 10
"""All decoded views together hold at most twice the text and this much more: an archive can't blow up."""


@dataclass(frozen=True, slots=True)
class View:
    """One form of a text.

    `text` is folded: lower case, NFKC, Latin letters without accents, look-alikes of other scripts as ASCII, curly
    quotes and dashes as ASCII, nothing invisible, runs of blanks as one space; line ends stay. It can always
    be encoded (no surrogates). `trail` names the decoders that led to it, outermost first (empty: the text itself).
    `locate` maps a part of it to the part of the original that it comes from.
    """

    text: str
    trail: tuple[str, ...]
    locate: Callable[[int, int], tuple[int, int]]

    @property
    def name(self) -> str:
        """The trail in one word: `base64>rot13`, empty for the text itself."""
        return ">".join(self.trail)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A text as it was decoded, before it is folded, and the way back to the original."""

    text: str
    trail: tuple[str, ...]
    locate: Locate


def build_views(text: str) -> tuple[View, ...]:
    """Return the views of a text, that of the text itself first; never raises, whatever the text holds.

    Bounded by `MOST_DEPTH`, `MOST_VIEWS` and `SPARE_CHARS`: beyond them nothing more is decoded.
    """
    views: list[View] = []
    known = {text}
    spare = 2 * len(text) + SPARE_CHARS
    waiting = deque([_Layer(without_surrogates(text), (), same)])
    while waiting:
        layer = waiting.popleft()
        odd = odd_characters(layer.text)
        seen = visible(layer.text, odd)
        folded = collapse(seen)
        views.append(View(folded, layer.trail, _way_back(layer, seen, folded)))
        if len(layer.trail) >= MOST_DEPTH or spare <= 0:
            continue
        for found in _decoded(layer, seen, odd):
            if found.text not in known:
                known.add(found.text)
                waiting.append(replace(found, text=found.text[:spare]))
                spare -= len(waiting[-1].text)
            if spare <= 0 or len(views) + len(waiting) >= MOST_VIEWS:
                break
    return tuple(views)


def _decoded(layer: _Layer, seen: str, odd: frozenset[str]) -> Iterator[_Layer]:
    for decoder in find_raw_decoders(layer.text, odd):
        if parts := tuple(decoder.decode(layer.text)):
            found = Decoded(parts)
            yield _Layer(
                without_surrogates(found.text), (*layer.trail, decoder.name), _join(layer.locate, found.locate)
            )
    back = layer.locate if seen == layer.text else _chain(layer.locate, layer.text, visible)
    for decoder in find_decoders(seen):
        if parts := tuple(decoder.decode(seen)):
            found = Decoded(parts)
            yield _Layer(without_surrogates(found.text), (*layer.trail, decoder.name), _join(back, found.locate))


def _way_back(layer: _Layer, seen: str, folded: str) -> Locate:
    """Return the way from a folded text to the original, the cheapest there is."""
    if not layer.text.isascii() or seen != layer.text:
        return _chain(layer.locate, layer.text, fold)
    return layer.locate if len(folded) == len(seen) else _join(layer.locate, BlankMap(seen).locate)


def _chain(outer: Locate, text: str, transform: Callable[[str], str]) -> Locate:
    return _join(outer, FoldMap(text, transform).locate)


def _join(outer: Locate, inner: Locate) -> Locate:
    return lambda start, end: outer(*inner(start, end))
