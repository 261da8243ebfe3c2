"""What a decoder found: parts of a text in another form, and where each of them stands in the text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

import re2

from autogit.security.vocabulary import compiled

GAP = "\n\n"
"""What stands between two parts: no sentence reaches over it."""
_MOST_LINES = 10_000
"""How many lines with a hint are told apart; where there are more, the rest of the text is one block."""
_MOST_UNITS = 50_000
"""How many escapes of one part are told apart; where there are more, each is told as the whole part."""

Locate = Callable[[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a text (`start` to `end`) in its decoded form.

    `locate` maps offsets in the decoded form to offsets in the stretch; without it, all stands for the whole.
    """

    start: int
    end: int
    text: str
    locate: Locate | None = None


class Decoded:
    """All that one decoder found in a text, as one text."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.text = GAP.join(part.text for part in parts)
        self._parts = parts

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """Return which stretch of the encoded text a part of the decoded one comes from."""
        first, last = self._number(start), self._number(max(start, end - 1))
        begin, _ = self._within(first, start, end if first == last else start + 1)
        _, finish = self._within(last, start if first == last else max(start, end - 1), end)
        return begin, max(begin, finish)

    def _number(self, offset: int) -> int:
        return max(0, bisect_right(self._begins, offset) - 1)

    @cached_property
    def _begins(self) -> list[int]:
        return [0, *accumulate(len(part.text) + len(GAP) for part in self._parts[:-1])]

    def _within(self, number: int, start: int, end: int) -> tuple[int, int]:
        part, begin = self._parts[number], self._begins[number]
        if part.locate is None:
            return part.start, part.end
        size = len(part.text)
        low, high = min(max(start - begin, 0), size), min(max(end - begin, 0), size)
        found = part.locate(low, high)
        return part.start + found[0], part.start + found[1]


def same(start: int, end: int) -> tuple[int, int]:
    """Locate in a part whose characters were changed one by one."""
    return start, end


def backwards(size: int) -> Locate:
    """Locate in a part that was turned around."""
    return lambda start, end: (size - end, size - start)


def substituted(
    text: str, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str], hint: str
) -> Iterator[Part]:
    """Yield the blocks of lines that hold a match of `hint` (for RE2), each match replaced.

    What a match becomes is told where the match stood, all else where it stood itself.
    """
    for start, end in blocks(text, hint):
        block = text[start:end]
        changed = pattern.sub(replace, block)
        if changed != block:
            yield Part(start, end, changed, _units(block, pattern, replace))


def blocks(text: str, hint: str) -> Iterator[tuple[int, int]]:
    """Yield runs of neighbouring lines that hold a match of an expression for RE2."""
    begin = end = -1
    for number, match in enumerate(_lines(hint).finditer(text)):
        start = text.rfind("\n", 0, match.start()) + 1
        if begin < 0:
            begin = start
        elif start > end + 1:
            yield begin, end
            begin = start
        end = max(match.end(), end)
        if number == _MOST_LINES:
            end = len(text)
            break
    if begin >= 0:
        yield begin, end


def matches(text: str, pattern: re.Pattern[str], hint: str, beyond: int = 200) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern in the lines with a hint (and so many characters more, where one may end)."""
    at = 0
    for start, end in blocks(text, hint):
        for match in pattern.finditer(text, max(start, at), end + beyond):
            if match.start() > end:
                break
            yield match
            at = match.end()


@lru_cache(maxsize=64)
def _lines(hint: str) -> re2._Regexp:
    """Return what matches from a hint to the end of its line, so that no line is looked at twice."""
    return compiled(f"(?:{hint})[^\n]*")


def _units(block: str, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str]) -> Locate:
    made: list[tuple[list[int], list[int], list[bool]]] = []

    def locate(start: int, end: int) -> tuple[int, int]:
        if not made:
            made.append(_table(block, pattern, replace))
        begins, stands, verbatim = made[0]
        if len(begins) > _MOST_UNITS:
            return 0, len(block)
        first = bisect_right(begins, start) - 1
        last = bisect_right(begins, max(start, end - 1)) - 1
        low = stands[first] + (start - begins[first] if verbatim[first] else 0)
        high = stands[last] + end - begins[last] if verbatim[last] else stands[last + 1]
        return low, min(max(low, high), len(block))

    return locate


def _table(
    block: str, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str]
) -> tuple[list[int], list[int], list[bool]]:
    """Return where pieces begin in the changed block, where in the block itself, and which are unchanged."""
    begins, stands, verbatim = [0], [0], [True]
    at = size = 0
    for match in pattern.finditer(block):
        size += match.start() - at
        begins += (size, size + len(replace(match)))
        stands += (match.start(), match.end())
        verbatim += (False, True)
        size, at = begins[-1], match.end()
        if len(begins) > _MOST_UNITS:
            break
    stands.append(len(block))
    return begins, stands, verbatim
