"""The views of a text that rules look at: the text folded to one form, and everything that is encoded in it, decoded.

A view knows where each of its parts stands in the original, so that a finding is always told in the original's offsets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from autogit.security.decoders import PACKED, find_decoders, find_raw_decoders
from autogit.security.folding import BlankMap, FoldMap, collapse, fold, odd_characters, visible, without_surrogates
from autogit.security.regions import Decoded, Locate, Part
from autogit.security.repeats import Shortened, Span, shortened
from autogit.security.runs import abridged

MOST_DEPTH = 5
"""How many decoders deep: base64 in base64 in a comment is three."""
MOST_VIEWS = 32
"""How many views one text has at most; the first found are the shallowest."""
MOST_SHARE, SPARE_CHARS = 2.25, 64 << 10
"""All decoded views together hold at most so many times the text and so much more: an archive can't blow up."""
_RESPELT_SHARE = 1.0
"""What the views of it may hold that are as long as what they are made of, of which each text might have a dozen."""
_AS_IT_STANDS = frozenset((one,) for one in ("html-comment", "hidden-element", "alt-text", "link-title", "reference"))
_TWICE = frozenset(
    (one, one) for one in ("shift", "reversed", "reversed-words", "rendered", "spaced", "leet", "joined", "pig-latin")
)
"""Decoders that find nothing new in what they made."""
_LARGE = 32 << 10
"""As much is kept of what stands in the text around it anyway: its view says only that nobody sees it there."""


Places: TypeAlias = Callable[[Sequence[Span]], list[Span]]
"""Maps parts of a text to the places that they come from: of what repeats, a part stands for several."""


@dataclass(frozen=True, slots=True)
class View:
    """One form of a text.

    `text` is folded: lower case, NFKC, Latin letters without accents, look-alikes of other scripts as ASCII, curly
    quotes and dashes as ASCII, nothing invisible, runs of blanks as one space; line ends stay. Of what stands there
    over and over it holds a part (`repeats.py`). It can always be encoded (no surrogates). `trail` names the decoders
    that led to it, outermost first (empty: the text itself). `places` maps parts of it to all the parts of the original
    that they stand for. `complete` is false where for want of room a part of what is encoded in it is in no view.
    """

    text: str
    trail: tuple[str, ...]
    places: Places
    complete: bool = True

    def locate(self, start: int, end: int) -> Span:
        """Return the first part of the original that a part stands for."""
        return self.places([(start, end)])[0]

    @property
    def name(self) -> str:
        """The trail in one word: `base64>rot13`, empty for the text itself."""
        return ">".join(self.trail)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A text as it was decoded, before it is folded, and the way back to the original."""

    text: str
    trail: tuple[str, ...]
    places: Places


@dataclass(frozen=True, slots=True)
class _Form:
    """A layer as it is looked at: no repetitions, nothing that can't be seen; `odd`: its characters beyond ASCII."""

    layer: _Layer
    odd: frozenset[str]
    seen: str
    short: Shortened | None

    @classmethod
    def of(cls, layer: _Layer) -> _Form:
        if short := shortened(layer.text):
            layer = replace(layer, text=short.text, places=_joined(layer.places, short.places))
        odd = odd_characters(layer.text)
        seen = visible(layer.text, odd)
        return cls(layer, odd, seen, shortened(seen) if seen != layer.text else None)

    @property
    def text(self) -> str:
        return self.short.text if self.short else self.seen

    def back(self) -> Places:
        """Return the way from `text` to the original."""
        layer = self.layer
        back = layer.places if self.seen == layer.text else _over(layer.places, FoldMap(layer.text, visible).locate)
        return _joined(back, self.short.places) if self.short else back


def build_views(text: str) -> tuple[View, ...]:
    """Return the views of a text, that of the text itself first; never raises, whatever the text holds.

    Bounded by `MOST_DEPTH`, `MOST_VIEWS` and `SPARE_CHARS`: beyond them nothing more is decoded.
    """
    views: list[View] = []
    known = {text}
    spare: _Spare | None = None
    waiting = deque([_Layer(without_surrogates(text), (), list)])
    while waiting:
        form = _Form.of(waiting.popleft())
        spare = spare or _Spare.beside(len(form.text))
        room = MOST_VIEWS - len(views) - len(waiting) - 1
        is_open = room > 0 and spare.chars > 0
        found: list[_Layer] = []
        if is_open and len(form.layer.trail) < MOST_DEPTH and not _was_decoded(form.layer):
            found = _unknown(_decoded(form, packed_only=spare.respelt <= 0), known)
        kept = spare.taken_by(found[:room])
        waiting += kept
        complete = is_open and spare.respelt > 0 and _size(found) == _size(kept)
        views.append(_view(form, complete=complete))
    return tuple(views)


@dataclass(slots=True)
class _Spare:
    """How many characters decoded views may still hold, and those of them that are as long as what they came from."""

    chars: int
    respelt: int

    @classmethod
    def beside(cls, size: int) -> _Spare:
        """Return what there is for a text of so many characters."""
        return cls(*(int(size * share) + SPARE_CHARS for share in (MOST_SHARE, _RESPELT_SHARE)))

    def taken_by(self, found: Sequence[_Layer]) -> list[_Layer]:
        """Return layers cut so that there is room for all of them, and let them have it."""
        packed = _within([one for one in found if one.trail[-1] in PACKED], self.chars)
        self.chars -= _size(packed)
        respelt = _within([one for one in found if one.trail[-1] not in PACKED], min(self.chars, self.respelt))
        self.chars -= _size(respelt)
        self.respelt -= _size(respelt)
        return packed + respelt


def _unknown(layers: Iterable[_Layer], known: set[str]) -> list[_Layer]:
    """Return the layers whose text was not there before, and note these."""
    found = []
    for one in layers:
        if one.text not in known:
            known.add(one.text)
            found.append(one)
    return found


def _size(layers: Sequence[_Layer]) -> int:
    return sum(len(one.text) for one in layers)


def _was_decoded(layer: _Layer) -> bool:
    """Say whether a layer is a large part of the one around it, as it stands: all in it was decoded there."""
    return layer.trail[-1:] in _AS_IT_STANDS and len(layer.text) > _LARGE // 2


def _within(layers: Sequence[_Layer], spare: int) -> list[_Layer]:
    """Return layers cut so that all fit: small ones are whole, whatever large ones are there to crowd them out."""
    left, share = spare, 0
    for number, size in enumerate(sorted(len(one.text) for one in layers)):
        share = left // (len(layers) - number)
        left -= min(size, share)
    sizes = [min(share, _LARGE) if one.trail[-1:] in _AS_IT_STANDS else share for one in layers]
    return [_cut(one, size) for one, size in zip(layers, sizes, strict=True) if size > 0]


def _cut(layer: _Layer, size: int) -> _Layer:
    """Return both ends of a layer that is too long: what was put behind a lot of nothing is not to be missed."""
    front, gone = size // 2, len(layer.text) - size
    if gone <= 0:
        return layer

    def locate(start: int, end: int) -> Span:
        if start >= front:
            return start + gone, end + gone
        return start, end if end <= front else end + gone

    return replace(layer, text=layer.text[:front] + layer.text[front + gone :], places=_over(layer.places, locate))


def _decoded(form: _Form, *, packed_only: bool) -> Iterator[_Layer]:
    layer = form.layer
    for decoder in find_raw_decoders(layer.text, form.odd):
        if parts := tuple(decoder.decode(layer.text)):
            yield _made_of(layer, decoder.name, parts, layer.places)
    back = form.back()
    for decoder in find_decoders(form.text, packed_only=packed_only):
        if (*layer.trail[-1:], decoder.name) in _TWICE:
            continue
        if parts := tuple(decoder.decode(form.text)):
            yield _made_of(layer, decoder.name, parts, back)


def _made_of(layer: _Layer, name: str, parts: Sequence[Part], back: Places) -> _Layer:
    found = Decoded(parts)
    return _Layer(without_surrogates(found.text), (*layer.trail, name), _over(back, found.locate))


def _view(form: _Form, *, complete: bool) -> View:
    """Return a form as rules read it, with the way back to the original that is the cheapest there is."""
    layer, text = form.layer, form.text
    if runs := abridged(text):
        text = runs.text
    folded = collapse(text)
    if form.short is None and runs is None and not (layer.text.isascii() and form.seen == layer.text):
        return View(folded, layer.trail, _over(layer.places, FoldMap(layer.text, fold).locate), complete)
    back = _over(form.back(), runs.locate) if runs else form.back()
    places = back if len(folded) == len(text) else _over(back, BlankMap(text).locate)
    return View(folded, layer.trail, places, complete)


def _over(outer: Places, locate: Locate) -> Places:
    """Return the way back of which `locate` is the last step, for each part by itself."""
    return lambda spans: outer([locate(*one) for one in spans])


def _joined(outer: Places, inner: Places) -> Places:
    return lambda spans: outer(inner(spans))
