"""What a decoder found: parts of a text in another form, and where each of them stands in the text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain, pairwise

import re2

GAP = "\n\n"
"""What stands between two parts: no sentence reaches over it."""
_MOST_LINES = 10_000
"""How many lines with a hint are told apart; where there are more, the rest of the text is one block."""
_LONG_LINE, _WINDOW, _MARGIN, _OVERLAP = 8192, 512, 512, 128
"""Lines beyond the first are looked at in windows; what is around one comes with it."""
_MOST_UNITS = 50_000
"""How many escapes of one part are told apart; where there are more, each is told as the whole part."""

_MEMORY_BYTES = 128 << 20

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


def substituted(text: str, pattern: re.Pattern[str], replace: Callable[[str], str], hint: str) -> Iterator[Part]:
    """Yield the blocks of lines that hold a match of `hint` (for RE2), each match replaced.

    What a match becomes is told where the match stood, all else where it stood itself.
    """
    for start, end in blocks(text, hint):
        if part := respelt(text, (start, end), pattern, replace):
            yield part


def respelt(text: str, span: tuple[int, int], pattern: re.Pattern[str], replace: Callable[[str], str]) -> Part | None:
    """Return a stretch of a text with each match replaced; nothing where that changes nothing."""
    block = text[slice(*span)]
    made: list[str] = []
    known: dict[str, str] = {}

    def noted(match: re.Match[str]) -> str:
        found = match.group()
        new = known.get(found)
        if new is None:
            new = known[found] = replace(found)
        made.append(new)
        return new

    changed = pattern.sub(noted, block)
    return Part(*span, changed, _units(block, pattern, made)) if changed != block else None


def blocks(text: str, hint: str) -> Iterator[tuple[int, int]]:
    """Yield runs of neighbouring lines that hold a match of an expression for RE2; of long lines what is around one."""
    begin = end = -1
    for start, stop in _hinted(text, hint):
        if begin < 0:
            begin = start
        elif start > end + 1:
            yield begin, end
            begin = start
        end = max(stop, end)
    if begin >= 0:
        yield begin, end


def _hinted(text: str, hint: str) -> Iterator[tuple[int, int]]:
    """Yield the lines that hold a hint, each once, however many it holds; the windows of long ones."""
    data, found = text.encode("utf-8", "replace"), _searcher(hint)
    alike = len(data) == len(text)
    at = chars = 0  # where a line begins, in bytes and in characters
    for number in range(_MOST_LINES + 1):
        match = found.search(data, at)
        if match is None:
            return
        first = max(data.rfind(b"\n", at, match.start()) + 1, at)
        last = data.find(b"\n", match.end())
        last = len(data) if last < 0 else last
        start = chars + (first - at if alike else len(data[at:first].decode("utf-8", "replace")))
        end = start + (last - first if alike else len(data[first:last].decode("utf-8", "replace")))
        if number == _MOST_LINES:
            yield start, len(text)
        elif end - start > _LONG_LINE:
            yield from _windows(text, start, end, found)
        else:
            yield start, end
        at, chars = last + 1, end + 1
        if at >= len(data):
            return


def _windows(text: str, start: int, end: int, hint: re2._Regexp) -> Iterator[tuple[int, int]]:
    """Yield windows of a long line that hold a match; one match is no reason to decode a line of a megabyte."""
    for at in range(start, end, _WINDOW):
        near = text[max(start, at - _OVERLAP) : min(at + _WINDOW + _OVERLAP, end)]
        if hint.search(near.encode("utf-8", "replace")):
            yield max(start, at - _MARGIN), min(at + _WINDOW + _MARGIN, end)


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
def _searcher(hint: str) -> re2._Regexp:
    """Return an expression over UTF-8, which can be searched from any place without a copy."""
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.never_capture = True
    return re2.compile(hint.encode(), options)


def _units(block: str, pattern: re.Pattern[str], made: Sequence[str]) -> Locate:
    """Locate in a block in which each match of a pattern was replaced, by what."""
    tables: list[tuple[list[int], list[int]]] = []

    def locate(start: int, end: int) -> tuple[int, int]:
        if len(made) > _MOST_UNITS:
            return 0, len(block)
        if not tables:
            tables.append(_table(block, pattern, made))
        begins, stands = tables[0]
        first = bisect_right(begins, start) - 1
        last = bisect_right(begins, max(start, end - 1)) - 1
        low = stands[first] + (0 if first % 2 else start - begins[first])
        high = stands[last + 1] if last % 2 else stands[last] + end - begins[last]
        return low, min(max(low, high), len(block))

    return locate


def _table(block: str, pattern: re.Pattern[str], made: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return where pieces begin in the changed block, and where in the block itself; every other one was replaced."""
    stands = [0, *chain.from_iterable(match.span() for match in pattern.finditer(block)), len(block)]
    sizes = [after - before for before, after in pairwise(stands)]
    sizes[1::2] = map(len, made)
    return [0, *accumulate(sizes[:-1])], stands
