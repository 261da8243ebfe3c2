"""A long text in blocks, and which of them have what an expression needs: only there it is searched.

A word is a run of ASCII letters and digits, or a run of characters beyond ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import reduce
from operator import or_
from string import ascii_letters, digits
from typing import TypeAlias

Bounds: TypeAlias = tuple[int, int] | tuple[()]
"""Where to search in a text: from, to; or in all of it, which is quicker without bounds."""

_BLOCK, _LEAST, _REACH = 256, 64, 3
"""How many bytes a block has at least (twice that beyond ASCII), and how many of them are in words, so that no run of
blanks comes between two words. What an expression needs stands in one block and the `_REACH` before it: gaps between
words are bounded, the widest expression has 480 characters."""
_MOST = 1 << 14
"""More blocks there are not: those of a longer text are larger."""
_LATIN_ONLY = bytes(code if code in ascii_letters.encode() + digits.encode() else 0x20 for code in range(256))
_BEYOND_ASCII_ONLY = bytes(0x20 if chr(code).isascii() else code for code in range(256))
"""These make a blank of every byte that is in no word, or in one of the other kind."""
_NO_WORDS = bytes(code for code in range(128) if not chr(code).isalnum())
_ONES = re.compile("1+")


def words_of(data: bytes) -> set[bytes]:
    """Return the different words of a text, given in UTF-8."""
    words = set(data.translate(_LATIN_ONLY).split())
    if not data.isascii():
        words.update(data.translate(_BEYOND_ASCII_ONLY).split())
    return words


class Blocks:
    """The blocks of a text, as sets of bits: the first block is the lowest. `held` are the needs that words meet."""

    def __init__(self, data: bytes, held: Mapping[bytes, AbstractSet[int]]) -> None:
        self._held = held
        self._begins = [0]
        self._having: dict[bytes, int] = dict.fromkeys(held, 0)
        bit = 1
        for words, end in _blocks(data):
            for word in filter(held.__contains__, words):
                self._having[word] |= bit
            self._begins.append(end)
            bit <<= 1
        self.every = bit - 1

    def meeting(self, needs: AbstractSet[int]) -> dict[int, int]:
        """Return the blocks in which each need is met, or in one of the `_REACH` before them."""
        found = dict.fromkeys(needs, 0)
        for word, blocks in self._having.items():
            for need in self._held[word] & needs:
                found[need] |= blocks
        return {need: _spread(blocks, 0, _REACH) for need, blocks in found.items()}

    def spans(self, blocks: int) -> list[Bounds]:
        """Return the parts of the text that are these blocks, the `_REACH` before them, and one more on either side."""
        wide = _spread(blocks, _REACH + 1, 1) & self.every
        begins = self._begins
        return [(begins[run.start()], begins[run.end()]) for run in _ONES.finditer(f"{wide:b}"[::-1])]


def _blocks(data: bytes) -> Iterator[tuple[list[bytes], int]]:
    """Yield the words of each block and its end, which stands before a blank."""
    latin, beyond, size = data.translate(_LATIN_ONLY), b"", max(_BLOCK, len(data) // _MOST)
    if not data.isascii():
        beyond, size = data.translate(_BEYOND_ASCII_ONLY), 2 * size
    start = end = inside = 0
    while end < len(data):
        at = end
        line = data.find(b"\n", at + size)
        blank = data.find(b" ", at + size, line if line >= 0 else len(data))
        end = next((place for place in (blank, line) if place >= 0), len(data))
        inside += len(data[at:end].translate(None, _NO_WORDS))
        if inside >= _LEAST or end == len(data):
            words = latin[start:end].split()
            yield (words + beyond[start:end].split() if beyond else words), end
            start, inside = end, 0


def _spread(bits: int, down: int, up: int) -> int:
    """Return bits and so many neighbours of each."""
    return reduce(or_, [bits >> by for by in range(1, down + 1)] + [bits << by for by in range(1, up + 1)], bits)
