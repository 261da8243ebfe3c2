"""Long runs of digits (base64, base32, hexadecimal) in long texts: decoders read them, rules see the ends of each.

No sentence is in the middle of one, but pieces of words are, by chance, and each makes a rule worth a search.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

import re2

_LEAST_TEXT = 16 << 10
"""Shorter texts are read as they are."""
_LEAST, _LEAST_LINE, _MARGIN = 256, 60, 64
"""How long a run is at least, in one line or of lines so long, and how much of either end is kept: what begins or ends
a run may be the last word of a sentence, or the first."""
_DIGIT = "[A-Za-z0-9+/=]"
_HINT = rf"{_DIGIT}{{{_LEAST}}}|(?:{_DIGIT}{{{_LEAST_LINE}}}{_DIGIT}*\r?\n[ \t>#*|]*){{2}}"
_RUN = re.compile(rf"(?<!{_DIGIT}){_DIGIT}{{{_LEAST_LINE},}}+(?:\r?\n[ \t>#*|]{{0,8}}{_DIGIT}{{{_LEAST_LINE},}}+)*+")


class Abridged:
    """A text of whose long runs the middle is missing: `text` is what is left."""

    def __init__(self, text: str, gaps: list[tuple[int, int]]) -> None:
        ends = [0, *(end for _, end in gaps)]
        kept = [text[at:start] for at, (start, _) in zip(ends, gaps, strict=False)]
        self.text = "".join((*kept, text[ends[-1] :]))
        self._at = [*accumulate(map(len, kept))]
        self._gone = [0, *accumulate(end - start for start, end in gaps)]

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """Return which part of the whole text a part of `text` stands for."""
        return start + self._gone[bisect_right(self._at, start)], end + self._gone[bisect_left(self._at, end)]


def abridged(text: str) -> Abridged | None:
    """Return a long text without the middle of its long runs; nothing where it has none."""
    if len(text) < _LEAST_TEXT or not _hint().search(text.encode("utf-8", "replace")):
        return None
    gaps = [*_gaps(text)]
    return Abridged(text, gaps) if gaps else None


def _gaps(text: str) -> Iterator[tuple[int, int]]:
    for match in _RUN.finditer(text):
        start, end = match.span()
        if end - start >= _LEAST:
            yield start + _MARGIN, end - _MARGIN


@lru_cache(maxsize=1)
def _hint() -> re2._Regexp:
    options = re2.Options()
    options.never_capture = True
    return re2.compile(_HINT.encode(), options)
