"""Decoders of texts whose letters were moved, swapped or drawn apart: what children and attackers do to a sentence."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import re2

from autogit.security.regions import Part, backwards, blocks, same, substituted
from autogit.security.vocabulary import compiled, telling, words

_LOWER = string.ascii_lowercase
_ROT13 = 13
_ATBASH = 26
_MOST_HITS = 400
_WINDOW, _MARGIN = 4096, 512
_SHORT_ROT13 = ("gur", "naq", "lbh", "lbhe", "guvf", "gung", "abg", "jvgu", "nyy")
_TURNED = ("ruoy", "siht", "taht", "htiw", "morf", "lliw", "llet", "resu", "tsum", "esaelp")
_SHORT_TURNED = ("eht", "dna", "uoy", "lla")
_MOST_SHIFTS = 2
_LEAST_HITS = 2
_MOST_BARE = 12
"""So many lines in a row that tell nothing are not passed over."""
_LETTER_RUNS = re.compile("[a-z]{2,24}")
_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\S+")


@lru_cache(maxsize=1)
def _shifts() -> dict[str, int]:
    """Return telling words under each shift of the alphabet, and which one it was."""
    found: dict[str, int] = {}
    for shift in range(1, 27):
        table = _alphabet(shift)
        for word in telling():
            found[word.translate(table)] = shift
    for word in words():
        found.pop(word, None)
    return found | dict.fromkeys(_SHORT_ROT13, _ROT13)


@lru_cache(maxsize=32)
def _alphabet(shift: int) -> dict[int, int]:
    """Return what enciphers with a shift (26 is the alphabet backwards)."""
    other = _LOWER[::-1] if shift == _ATBASH else _LOWER[shift:] + _LOWER[:shift]
    return str.maketrans(_LOWER + _LOWER.upper(), other + other.upper())


@lru_cache(maxsize=1)
def shifted_words() -> str:
    """Return the expression for words under a shift of the alphabet."""
    return rf"(?i)\b(?:{'|'.join(sorted(_shifts()))})\b"


@lru_cache(maxsize=1)
def _shifted() -> re2._Regexp:
    return compiled(shifted_words())


def shifted(text: str) -> Iterator[Part]:
    """Yield a text back under each shift of the alphabet under which it holds English words (rot13, atbash, ...).

    A long text is looked at in windows: neither does a word by chance turn all of it, nor do words in front hide one.
    """
    spans: dict[int, list[tuple[int, int]]] = {}
    for at in range(0, len(text), _WINDOW):
        start, end = max(0, at - _MARGIN), min(len(text), at + _WINDOW + _MARGIN)
        for shift in sorted(_likely_shifts(text[start:end])):
            so_far = spans.setdefault(shift, [])
            if so_far and so_far[-1][1] >= start:
                so_far[-1] = (so_far[-1][0], end)
            else:
                so_far.append((start, end))
    for shift, found in spans.items():
        for start, end in found:
            yield Part(start, end, text[start:end].translate(_back(shift)), same)


def _likely_shifts(window: str) -> set[int]:
    """Return the shifts that most words were found under; rot13, which everybody uses, if only one was."""
    known = _shifts()
    counts = Counter(known[match.group().lower()] for match in islice(_shifted().finditer(window), _MOST_HITS))
    likely = {shift for shift, count in counts.most_common(_MOST_SHIFTS) if count >= _LEAST_HITS}
    return likely | {_ROT13} if _ROT13 in counts else likely


def shifted_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the lines around a part of a text that are under the same shift of the alphabet.

    A line is where more of its words are known once it is turned back. One that tells nothing stands or falls with the
    next that does.
    """
    low, high = max(0, start - _WINDOW), min(len(text), end + _WINDOW)
    shifts = _likely_shifts(text[start:end]) or _likely_shifts(text[low:high]) or {_ROT13}
    begin, stop = _line(text, start)[0], _line(text, end)[1]
    for shift in shifts:
        begin, stop = _followed(text, begin, -1, low, shift), _followed(text, stop, 1, high, shift)
    return begin, stop


def _followed(text: str, edge: int, step: int, limit: int, shift: int) -> int:
    """Return how far lines go on under a shift from the edge of one, up (-1) or down (1)."""
    at, bare = edge, 0
    while bare < _MOST_BARE and (limit - at) * step > 0:
        line = _line(text, at + step)
        told = _tells(text[slice(*line)], shift)
        if told < 0:
            break
        at, bare = line[step > 0], 0 if told else bare + 1
        edge = at if told else edge
    return edge


def _line(text: str, at: int) -> tuple[int, int]:
    """Return where the line begins and ends that holds an offset."""
    end = text.find("\n", at)
    return text.rfind("\n", 0, at) + 1, len(text) if end < 0 else end


def _tells(line: str, shift: int) -> int:
    """Return how many more words of a line are known once it is turned back: below 0 where fewer are."""
    known = words()
    back = line.translate(_back(shift))
    return sum(word in known for word in _LETTER_RUNS.findall(back.lower())) - sum(
        word in known for word in _LETTER_RUNS.findall(line.lower())
    )


def _back(shift: int) -> dict[int, int]:
    """Return what turns a shift of the alphabet back."""
    return _alphabet(shift if shift == _ATBASH else len(_LOWER) - shift)


@lru_cache(maxsize=1)
def backward_words() -> str:
    """Return the expression for words that were turned around."""
    turned = ({one[::-1] for one in telling()} - words()) | {*_TURNED}
    short = rf"\b(?:{'|'.join(_SHORT_TURNED)})\b"
    return rf"(?i)\b(?:{'|'.join(sorted(turned))})\b|{short}[^\n]{{1,60}}{short}"


def reversed_lines(text: str) -> Iterator[Part]:
    """Yield the lines that hold words turned around, back to front; neighbouring lines as one, the last one first."""
    for start, end in blocks(text, backward_words()):
        block = text[start:end]
        yield Part(start, end, block[::-1], backwards(len(block)))


def reversed_words(text: str) -> Iterator[Part]:
    """Yield the lines that hold words turned around, each word for itself."""
    return substituted(text, _TOKEN, _turned, backward_words())


def _turned(token: str) -> str:
    """Return a word turned around; marks at its end stay there, unless they were turned around with it."""
    if token[-1].isalnum() or not token[0].isalnum():
        return token[::-1]
    return _WORD.sub(lambda word: word.group()[::-1], token)
