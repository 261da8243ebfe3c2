"""Long texts that repeat themselves: of what stands there over and over a part is looked at, and found in all of it.

Logs, generated files and floods do. A stretch has a period where each character is the one that stands a period before
it. Whole periods are left out from its middle, so that what is left reads like the text with fewer repetitions.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import gcd

from autogit.security.hints import PACKED64

Span = tuple[int, int]

_LEAST_TEXT = 16 << 10
"""Shorter texts are looked at as they are."""
_PROBES, _NEEDLE, _REACH = 16, 64, 4
"""From so many places on so many characters are looked for again, within the next quarter of the text: what repeats and
is shorter than one part in as many as there are probes may be missed."""
_AROUND = 2048
"""So much and a period is left on either side of what is left out; a period has at least as much. What is found there
is whole: a sentence or a payload, and what is longer than a period goes on through all of them."""
_LEAST_GONE = 4096
_STEP = 256
MOST_PLACES, CHARACTERS_FOR_ONE = 64, 1024
"""How many places are told for one rule, and how many characters allow for one more; the last tells of all the rest."""
_BLANK = re.compile(r"\s+")
_NO_DIGITS64 = re.compile(r"[^A-Za-z0-9+/_=\s>#*|-]")
_DIGITS32 = re.compile(r"[A-Z2-7=\s>#*|]+|[a-z2-7=\s>#*|]+|[0-9a-fA-Fx\s:,;|.-]+")
_PACKED = re.compile(rf"{PACKED64}|(?i:1f8b08)|78(?i:9c|da|01|5e)")
_GROUP85, _GROUP64, _GROUP32 = 5, 8, 16
"""How many digits of an encoding stand for a number of bytes, an even one (UTF-16) where that is not so anyway."""
_BITS, _GROUP_BITS = 3, 7 * 16
"""So few signs may be bits, in groups of 7, 8 or 16."""


@dataclass(frozen=True, slots=True)
class _Repeat:
    """Where in what is left periods are missing, how long one is and how many, and how far it still goes on."""

    at: int
    size: int
    count: int
    tail: int


class Shortened:
    """A text without repetitions: `text` is what is left of it."""

    def __init__(self, text: str, gaps: Sequence[tuple[int, int, int, int]]) -> None:
        kept: list[str] = []
        repeats: list[_Repeat] = []
        at = left = 0
        for start, size, count, end in gaps:
            kept.append(text[at:start])
            left += start - at
            at = start + size * count
            repeats.append(_Repeat(left, size, count, end - at))
        kept.append(text[at:])
        self.text = "".join(kept)
        self._repeats = repeats
        self._begins = [one.at for one in repeats]
        self._ends = [one.at + one.tail for one in repeats]
        self._gone = [0, *accumulate(one.size * one.count for one in repeats)]
        self._most = MOST_PLACES + len(text) // CHARACTERS_FOR_ONE

    def places(self, spans: Sequence[Span]) -> list[Span]:
        """Return where in the whole text parts of `text` stand, in order; the last tells of all that are too many."""
        found = sorted({place for span in spans for place in self._places(*span)})
        most = max(self._most, len(spans))
        if len(found) > most:
            last = max(end for _, end in found[most - 1 :])
            found[most - 1 :] = [(found[most - 1][0], last)]
        return found

    def _places(self, start: int, end: int) -> Iterator[Span]:
        number = bisect_right(self._begins, start)
        begin = start + self._gone[number]
        past = max(number, bisect_right(self._ends, end))
        if number == past < len(self._repeats):
            repeat = self._repeats[number]
            if start >= repeat.at - repeat.size:
                for times in range(repeat.count + 1):
                    yield begin + times * repeat.size, begin + end - start + times * repeat.size
                return
            if end >= repeat.at:
                past += 1
        yield begin, end + self._gone[past]


def shortened(text: str) -> Shortened | None:
    """Return a long text without its repetitions; nothing where it has none to speak of."""
    if len(text) < _LEAST_TEXT:
        return None
    gaps = [*_gaps(text)]
    return Shortened(text, gaps) if gaps else None


def _gaps(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield what can be left out: where, the size of a period, how many of them, and where the stretch ends."""
    done = 0
    for number in range(_PROBES):
        at = len(text) * number // _PROBES
        if at < done:
            continue
        again = text.find(text[at : at + _NEEDLE], at + 1, at + len(text) // _REACH)
        if again < 0:
            continue
        period = again - at
        start = max(done, at - _alike_before(text, at, again))
        end = again + _alike_after(text, at, again)
        least = _least(text, start, period)
        size = least * -(-_AROUND // least)
        count = (end - start - 2 * (size + _AROUND)) // size
        if count * size >= _LEAST_GONE:
            yield start + size + _AROUND, size, count, end
            done = end


def _least(text: str, start: int, period: int) -> int:
    """Return how much may be left out at once: whole periods and, where it may be encoded, whole groups of characters.

    Of what is packed nothing may be missing: then it is more than there is.
    """
    sample = text[start : start + period]
    digits = _NO_DIGITS64.search(sample) is None
    if digits and _PACKED.search(text, 0, start + period + _NEEDLE):
        return len(text)
    held = _BLANK.sub("", sample)
    group = _GROUP85 if len(held) == period or "<~" in text else 1
    if digits:
        group *= _GROUP32 if _DIGITS32.fullmatch(sample) else _GROUP64
    if len(set(held)) <= _BITS:
        group *= _GROUP_BITS
    return period * (group // gcd(group, len(held)))


def _alike_after(text: str, one: int, other: int) -> int:
    """Return how many characters are the same from two places on."""
    alike, step = 0, _STEP
    while step:
        size = min(step, len(text) - other - alike)
        if size and text[one + alike : one + alike + size] == text[other + alike : other + alike + size]:
            alike, step = alike + size, step * 2
        else:
            step = size // 2
    return alike


def _alike_before(text: str, one: int, other: int) -> int:
    """Return how many characters are the same before two places."""
    alike, step = 0, _STEP
    while step:
        size = min(step, one - alike)
        if size and text[one - alike - size : one - alike] == text[other - alike - size : other - alike]:
            alike, step = alike + size, step * 2
        else:
            step = size // 2
    return alike
