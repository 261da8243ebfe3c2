"""Folding: a text as a reader sees it, and that in one form for rules; with the way back to where each part stood."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from importlib.resources import files
from itertools import chain

import re2

INVISIBLE = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""What leaves no ink, as the inside of a character class: controls, zero-width, bidi, fillers, selectors, tags."""
_MARKS = ((0x300, 0x370), (0x1AB0, 0x1B00), (0x1DC0, 0x1E00), (0x20D0, 0x2100), (0xFE20, 0xFE30))
_LATIN = ((0xC0, 0x250), (0x1E00, 0x1F00))
_LIKE = {"'": "‘’‚‛ʼʹ′＇", '"': "“”„‟«»″＂", "-": "‐‑‒–—―−﹘", " ": "\x85\u2028\u2029\u2800\u3000"}  # noqa: RUF001 - the point
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|[@-Z\\^_])")
_BLANKS = re.compile("  +")
_MANY, _SHORT = 48, 512
_MOSTLY = 0.8
_STACKED = re2.compile(r"[\p{Mn}\p{Mc}]{16,}")
_LIGATURES = re.compile("[\ufdfa\ufdfb]")
FOREIGN = (
    "\u0370-\u03ff\u0400-\u052f\u0531-\u0556\u0561-\u0587\u10a0-\u10ff\u13a0-\u13ff\u1400-\u167f\u16a0-\u16ea"
    "\u1c80-\u1cbf\u1f00-\u1fff\u2c80-\u2cff\u2d30-\u2d7f\ua4d0-\ua4ff\ua640-\ua69f\uab70-\uabbf"
    "\U00010280-\U000104ff\U000118a0-\U000118ff"
)
_ODD_RUNS = re.compile("[^\x00-\x7f]+")
_FOREIGN_LETTER = re.compile(f"[{FOREIGN}]")
_FOREIGN_RUN = re.compile(f"[{FOREIGN}]+")
_TOUCHING = re.compile(f"[A-Za-z][{FOREIGN}]|[{FOREIGN}][A-Za-z]")
_TOUCHED = re.compile(f"(?<=[A-Za-z])[{FOREIGN}]++|(?<![{FOREIGN}])[{FOREIGN}]++(?=[A-Za-z])")
_NATIVE_WINDOW = 40


def lookalikes() -> dict[int, int]:
    """Return the letters of other scripts that pass for ASCII ones: code point to code point."""
    return _tables()[1]


def members(ranges: str) -> frozenset[str]:
    """Return the characters that the inside of a character class names."""
    found = re.findall("(.)-(.)|(.)", ranges, re.DOTALL)
    return frozenset(chr(code) for low, high, one in found for code in range(ord(low or one), ord(high or one) + 1))


def without_surrogates(text: str) -> str:
    """Return a text that can be encoded: a lone surrogate becomes the replacement character, lengths stay."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\ufffd", text)
    return text


def odd_characters(text: str) -> frozenset[str]:
    """Return which characters beyond ASCII a text has: few, whatever its length."""
    return frozenset() if text.isascii() else frozenset(one for one in set(text) if one > "\x7f")


def visible(text: str, odd: frozenset[str] | None = None) -> str:
    """Return what a reader sees of a text: NFKC, nothing invisible, Latin letters bare, look-alikes as ASCII.

    Case, blanks and line ends stay, for decoders need them. Terminal escape sequences go as a whole. `odd` are the
    text's odd characters, where they are known.
    """
    if (_CONTROLS if len(text) < _SHORT else _has_controls()).search(text):
        text = _without_controls(text)
    odd = odd_characters(text) if odd is None else odd
    if not odd:
        return text
    if any(map(_is_composable, odd)):
        text = _composed(text)
        odd = odd_characters(text)
    always = _tables()[0]
    mapped = [one for one in odd if ord(one) in always]
    if len(mapped) > _MANY:
        few = len(text.encode("ascii", "ignore")) > _MOSTLY * len(text)
        text = _ODD_RUNS.sub(lambda run: run.group().translate(always), text) if few else text.translate(always)
    else:
        # Each replacement is one search for one character, far cheaper than a look-up for each character there is.
        for one in mapped:
            text = text.replace(one, chr(plain) if (plain := always[ord(one)]) else "")
    return _latin_words(text, odd) if any(map(_FOREIGN_RUN.match, odd)) else text


@lru_cache(maxsize=4096)
def _is_composable(char: str) -> bool:
    """Say whether NFKC may change a character, or join it to the one before."""
    return unicodedata.normalize("NFKC", char) != char or unicodedata.category(char)[0] == "M"


def fold(text: str) -> str:
    """Return what rules look at: the visible text in lower case, with each run of blanks as one space."""
    return collapse(visible(text))


def collapse(seen: str) -> str:
    """Return a visible text in lower case, with each run of blanks as one space."""
    text = seen.lower()
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    for blank in "\t\r\x0b\x0c":
        if blank in text:
            text = text.replace(blank, " ")
    return _BLANKS.sub(" ", text) if "  " in text else text


@lru_cache(maxsize=1)
def _has_controls() -> re2._Regexp:
    return re2.compile(_CONTROLS.pattern)


def _without_controls(text: str) -> str:
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def _composed(text: str) -> str:
    # Ordering a long run of marks takes the square of its length, and two ligatures become a sentence each.
    text = _LIGATURES.sub("", text)
    if _STACKED.search(text):
        text = _STACKED.sub("", text)
    return unicodedata.normalize("NFKC", text)


def _latin_words(text: str, odd: frozenset[str]) -> str:
    """Return a text whose foreign letters are ASCII where they stand in Latin words; foreign words stay."""
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    if foreign * 2 > len(text) and not _TOUCHING.search(text):
        return text
    table = _tables()[1]
    alike = [one for one in odd if ord(one) in table]
    if _native().isdisjoint(odd):
        return _respelt(text, alike)
    text = _TOUCHED.sub(lambda run: run.group().translate(table), text)
    parts: list[str] = []
    at = 0
    for start, end in _far_from_native(text):
        parts += (text[at:start], _respelt(text[start:end], alike))
        at = end
    return "".join((*parts, text[at:]))


def _respelt(text: str, alike: Sequence[str]) -> str:
    """Return a text with the letters given as the ASCII ones that they look like."""
    table = _tables()[1]
    if text.isascii():
        return text
    if len(text) < _SHORT:
        return text.translate(table)
    for one in alike:
        text = text.replace(one, chr(table[ord(one)]))
    return text


def _far_from_native(text: str) -> Iterator[tuple[int, int]]:
    """Yield the stretches that are not near to a letter that looks like no Latin one; no run of letters is cut."""
    at = 0
    for run in chain(_native_stretches().finditer(text), (None,)):
        end = run.start() - _NATIVE_WINDOW if run else len(text)
        if at and _FOREIGN_LETTER.match(text, at - 1) and (cut := _FOREIGN_RUN.match(text, at)):
            at = cut.end()
        while at < end < len(text) and _FOREIGN_LETTER.match(text, end) and _FOREIGN_LETTER.match(text, end - 1):
            end -= 1
        if at < end:
            yield at, end
        at = max(at, run.end() + _NATIVE_WINDOW) if run else end


@lru_cache(maxsize=1)
def _native() -> frozenset[str]:
    """Return what tells that a stretch is written in another script: its letters that look like no Latin one.

    Those of the Basic Multilingual Plane: a class with others is searched for ten times as slowly.
    """
    table = _tables()[1]
    return frozenset(one for one in members(FOREIGN) if one.isalpha() and one <= "\uffff" and ord(one) not in table)


@lru_cache(maxsize=1)
def _native_stretches() -> re.Pattern[str]:
    """Return what matches from one such letter to the last of those that follow each other closely."""
    letters = "".join(sorted(_native()))
    return re.compile(f"[{letters}]++(?:[^{letters}]{{1,{2 * _NATIVE_WINDOW}}}+[{letters}]++)*+")


@lru_cache(maxsize=1)
def _tables() -> tuple[dict[int, int | None], dict[int, int]]:
    """Return what is translated everywhere, and what only in Latin words."""
    always: dict[int, int | None] = {}
    for first, last in _MARKS:
        always |= dict.fromkeys(range(first, last))
    for first, last in _LATIN:
        for code in range(first, last):
            if (base := unicodedata.normalize("NFD", chr(code))[0]).isascii():
                always[code] = ord(base)
    always |= {ord(char): ord(plain) for plain, chars in _LIKE.items() for char in chars}
    always |= dict.fromkeys(map(ord, members(INVISIBLE)))
    words: dict[int, int] = {}
    listed = files("autogit.security").joinpath("data", "confusables.txt").read_text(encoding="utf-8")
    for line in listed.splitlines():
        plain, chars = line.split(" ")
        for char in chars:
            if _FOREIGN_LETTER.match(char):
                words[ord(char)] = ord(plain)
            else:
                always[ord(char)] = ord(plain)
    return always, words


_BLANK_RUNS = re.compile(r"\r\n|(?:[ \t\x0b\x0c]|\r(?!\n)){2,}")
_CHUNKS, _SEGMENTS = (
    re.compile(rf".{{{least},{most}}}?(?=(?<=\s)[!-~])|.{{{least},{most}}}?(?=[0-9A-Za-z])|.{{{most}}}\s*+", re.DOTALL)
    for least, most in ((4000, 4400), (60, 180))
)
"""They end before a visible ASCII character, for nothing is composed with one or runs on into it."""


class FoldMap:
    """The way back from a folded text to the text it was made of, exact to the character; made when first asked."""

    def __init__(self, text: str, transform: Callable[[str], str]) -> None:
        self._text = text
        self._transform = transform
        self._sizes: dict[str, int] = {}
        self._segments: dict[int, tuple[list[int], list[int]]] = {}

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of the folded text comes from."""
        first = self._origin(start)
        return (first, max(first, self._after(end - 1)) if end > start else first)

    def _origin(self, offset: int) -> int:
        """Return where the character stands that a folded one comes from."""
        begin, number, _ = self._place(offset)
        return min(begin + max(0, number - 1), len(self._text))

    def _after(self, offset: int) -> int:
        """Return the offset after it, and after the marks that it was composed with."""
        begin, number, segment = self._place(offset)
        size = self._size(segment[:number])
        while number < len(segment) and unicodedata.category(segment[number])[0] == "M":
            if self._size(segment[: number + 1]) != size:
                break
            number += 1
        return min(begin + number, len(self._text))

    def _place(self, offset: int) -> tuple[int, int, str]:
        """Return a segment's begin, how many of its characters it takes to reach the offset, and the segment."""
        begins, folded = self._chunks
        number = max(0, bisect_right(folded, offset) - 1)
        begin, wanted = begins[number], offset - folded[number]
        if number not in self._segments:
            end = begins[number + 1] if number + 1 < len(begins) else len(self._text)
            self._segments[number] = self._cut(self._text[begin:end], _SEGMENTS)
        inner, folded = self._segments[number]
        last = len(begins) - 1
        end = begins[number + 1] if number < last else len(self._text)
        number = max(0, bisect_right(folded, wanted) - 1)
        segment = self._text[begin + inner[number] : begin + inner[number + 1] if number + 1 < len(inner) else end]
        wanted -= folded[number]
        sizes = range(len(segment) + 1)
        size = bisect_right(sizes, wanted, key=lambda size: self._size(segment[:size]))
        return begin + inner[number], size, segment

    def _size(self, piece: str) -> int:
        """Return how long a piece is when folded; a text that repeats has the same pieces again and again."""
        size = self._sizes.get(piece)
        if size is None:
            size = self._sizes[piece] = len(self._transform(piece))
        return size

    @cached_property
    def _chunks(self) -> tuple[list[int], list[int]]:
        return self._cut(self._text, _CHUNKS)

    def _cut(self, text: str, pattern: re.Pattern[str]) -> tuple[list[int], list[int]]:
        """Return where parts of a text begin, in it and folded: where one is cut, folding does not look across."""
        begins, folded, at = [0], [0], 0
        for match in pattern.finditer(text):
            folded.append(folded[-1] + self._size(text[at : match.end()]))
            at = match.end()
            begins.append(at)
        return begins, folded


class BlankMap:
    """The way back from a folded text that differs from what it was made of in case and runs of blanks only."""

    def __init__(self, text: str) -> None:
        self._text = text

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of the folded text comes from."""
        first, _ = self._origin(start)
        return (first, max(first, self._origin(end - 1)[1])) if end > start else (first, first)

    def _origin(self, offset: int) -> tuple[int, int]:
        """Return where the characters stand that a folded one comes from."""
        places, ends = self._runs
        number = bisect_right(places, offset) - 1
        if number >= 0 and places[number] == offset:
            gone = ends[number - 1] - places[number - 1] - 1 if number else 0
            return offset + gone, ends[number]
        start = offset + (ends[number] - places[number] - 1 if number >= 0 else 0)
        return min(start, len(self._text)), min(start + 1, len(self._text))

    @cached_property
    def _runs(self) -> tuple[list[int], list[int]]:
        """Return where runs of blanks stand in the folded text, and where they end in the text itself."""
        places: list[int] = []
        ends: list[int] = []
        gone = 0
        for run in _BLANK_RUNS.finditer(self._text):
            start, end = run.span()
            places.append(start - gone)
            ends.append(end)
            gone += end - start - 1
        return places, ends
