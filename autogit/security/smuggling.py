"""Decoders of what is in a text but can't be seen: tag characters, variation selectors, zero-width bits, bidi order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from autogit.security.encodings import is_text, text_of
from autogit.security.folding import members
from autogit.security.regions import Part, backwards

_TAG, _SELECTOR, _ZERO_WIDTH = (
    "\U000e0000-\U000e007f",
    "\ufe00-\ufe0f\U000e0100-\U000e01ef",
    ("\u200b-\u200f\u2060-\u2064\ufeff\u00ad\u061c\u180e"),
)
TAGS = re.compile(f"(?<![\U0001f3f4{_TAG}])[{_TAG}]+")
"""Runs of tag characters; those behind a black flag are how the flags of regions are written."""
SELECTORS = re.compile(f"[{_SELECTOR}]{{4,}}")
BITS = re.compile(f"[{_ZERO_WIDTH}]{{16,}}")
OVERRIDE = re.compile("\u202e([^\u202c\u2069\n]{2,10000})")
TAG_SIGNS, SELECTOR_SIGNS, ZERO_WIDTH_SIGNS, OVERRIDE_SIGNS = map(members, (_TAG, _SELECTOR, _ZERO_WIDTH, "\u202e"))
"""One of which a text must have before it is searched for the others."""
_TAG_SHIFT = 0xE0000
_SHORT_SELECTORS, _LONG_SELECTORS = 0xFE00, 0xE0100
_PRINTABLE_TAG = re.compile("[\U000e0020-\U000e007e]")
_LEAST_SHOWN = 4
_MOST_LINES = 200
"""How many lines of one kind are told one by one; where there are more, the last one reaches to the end."""
_MOST_OVERRIDES = 5000


def tag_texts(text: str) -> Iterator[Part]:
    """Yield what the tag characters of each line spell, those of flags apart."""
    for start, end in line_spans(text, TAGS):
        runs = "".join(TAGS.findall(text, start, end))
        if spelt := "".join(chr(ord(one) - _TAG_SHIFT) for one in _PRINTABLE_TAG.findall(runs)):
            yield Part(start, end, spelt)


def line_spans(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield from the first match in a line to the last, for each line that has one; the last reaches to the end."""
    to_last, to_end = _stretches(pattern.pattern)
    at = 0
    for number in range(_MOST_LINES):
        match = (to_last if number < _MOST_LINES - 1 else to_end).search(text, at)
        if match is None:
            return
        yield match.span()
        at = text.find("\n", match.end())
        if at < 0:
            return


@lru_cache(maxsize=16)
def _stretches(pattern: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what matches from one match of a pattern to the last of its line, and to the last of the text."""
    return re.compile(f"(?:{pattern})(?:.*(?:{pattern}))?"), re.compile(f"(?:{pattern})(?s:.*(?:{pattern}))?")


def selector_texts(text: str) -> Iterator[Part]:
    """Yield what runs of variation selectors say, a byte each."""
    for match in SELECTORS.finditer(text):
        data = bytes(
            ord(one) - _SHORT_SELECTORS if one <= "\ufe0f" else ord(one) - _LONG_SELECTORS + 16 for one in match.group()
        )
        if found := text_of(data):
            yield Part(*match.span(), found)


def bit_texts(text: str) -> Iterator[Part]:
    """Yield what runs of two zero-width characters say as bits."""
    for match in BITS.finditer(text):
        run = match.group()
        signs = sorted(set(run))[:3]
        pairs = [(zero, one) for zero in signs for one in signs if zero != one]
        found = (_bits(run, zero, one, size) for zero, one in pairs for size in (8, 7, 16))
        if best := next((one for one in found if one), None):
            yield Part(*match.span(), best)


def _bits(run: str, zero: str, one: str, size: int) -> str | None:
    bits = "".join("0" if sign == zero else "1" for sign in run if sign in {zero, one})
    groups = [bits[at : at + size] for at in range(0, len(bits) - size + 1, size)]
    text = "".join(chr(int(group, 2)) for group in groups)
    return text if len(text) >= _LEAST_SHOWN and text.isascii() and is_text(text) else None


def override_texts(text: str) -> Iterator[Part]:
    """Yield what a reader sees of text behind a right-to-left override: its letters back to front."""
    for match in islice(OVERRIDE.finditer(text), _MOST_OVERRIDES):
        shown = match.group(1)[::-1]
        yield Part(match.start(1), match.end(1), shown, backwards(len(shown)))
