"""Everyday English words and those that instructions to a model use: what tells that a guess at a cipher was right."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files

import re2

_MEMORY_BYTES = 128 << 20
_TELLING = (
    "about after agent agents anteriores anweisungen approve assistant assistent befehle before bisherigen bitte "
    "command config consignes contrasena credentials delete developer dimentica disregard environment everything "
    "execute follow following forget guidelines ignora ignore ignorez ignoriere informationen instrucciones "
    "instruction instructions instrukcije istruzioni keine merge message nicht olvida organisation output override "
    "password passwort please precedentes pretend previous print private prompt reading repository respond "
    "restrictions reveal safety secret secrets security should system there these token tokens toutes vergiss "
    "vorherigen votre wachtwoord werden without"
)
_LEAST_SPLIT, _LEAST_RUN = 3, 16
_ENDINGS = frozenset(("s", "d", "r", "y", "ed", "er", "es", "ly", "al", "ing", "ion", "ions", "ers", "ment", "'s"))
_LEFT_OVER, _SHORT = 1.2, 2.0
_LONGEST_SPLIT = 16 << 10
"""Letters without blanks beyond this many are not split into words."""


@lru_cache(maxsize=1)
def words() -> frozenset[str]:
    """Return all words."""
    listed = files("autogit.security").joinpath("data", "words.txt").read_text(encoding="utf-8")
    return frozenset(listed.split()) | telling()


@lru_cache(maxsize=1)
def telling() -> frozenset[str]:
    """Return words that hardly an instruction does without, long enough to stand in no text by chance."""
    return frozenset(_TELLING.split())


def compiled(pattern: str) -> re2._Regexp:
    """Return an RE2 expression with memory enough for thousands of words."""
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    return re2.compile(pattern, options)


def split(letters: str) -> str:
    """Return letters that were written without blanks with blanks between the words that are known."""
    if not _LEAST_RUN <= len(letters) <= _LONGEST_SPLIT:
        return letters
    found: list[str] = []
    for piece, known in _pieces(letters):
        if found and not known and piece.lower() in _ENDINGS:
            found[-1] += piece
        else:
            found.append(piece)
    return " ".join(found)


def _pieces(letters: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of which letters are made, so that the least is left over, and what is left over."""
    sizes, end, at = _best_sizes(letters.lower()), len(letters), 0
    rest = 0
    while at < end:
        if sizes[at]:
            if rest < at:
                yield letters[rest:at], False
            yield letters[at : at + sizes[at]], True
            rest = at + sizes[at]
        at += sizes[at] or 1
    if rest < end:
        yield letters[rest:], False


def _best_sizes(lower: str) -> list[int]:
    """Return for each place how long the word is that best begins there; 0 where a letter is better left over."""
    known, lengths, count = words(), _lengths(), len(lower)
    costs, sizes = [0.0] * (count + 1), [0] * count
    for at in range(count - 1, -1, -1):
        costs[at] = costs[at + 1] + _LEFT_OVER
        for size in lengths.get(lower[at : at + 2], ()):
            if at + size <= count and lower[at : at + size] in known:
                cost = costs[at + size] + (1.0 if size >= _LEAST_SPLIT else _SHORT)
                if cost < costs[at]:
                    costs[at], sizes[at] = cost, size
    return sizes


@lru_cache(maxsize=1)
def _lengths() -> dict[str, tuple[int, ...]]:
    """Return how long the words are that begin with two letters."""
    found: dict[str, set[int]] = {}
    for word in words():
        if len(word) > 1:
            found.setdefault(word[:2], set()).add(len(word))
    return {start: tuple(sorted(sizes)) for start, sizes in found.items()}
