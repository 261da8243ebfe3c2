"""Stage 4, optional: a model that adds to the score of the rules, and never takes away.

The one that comes with AutoGit is a logistic regression over hashed words, pairs and triples of words, and pieces of
words, in windows of about 400 characters of every view. `scripts/train_classifier.py` makes its file,
docs/explanation/prompt-classifier.md describes it. Whoever has a better one passes it to `PromptInjectionFilter`.
"""

from __future__ import annotations

import json
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import accumulate
from math import inf, log, sqrt
from pathlib import Path
from typing import Protocol
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autogit.errors import SettingsError
from autogit.model.security import Finding, Severity, Stage, Thresholds
from autogit.security.views import View

RULE = "model"
"""The rule id of what the model says."""
MOST = 0.3
"""What the model adds at most."""
WINDOW = 64
STRIDE = 16
"""A window is so many words (about 400 characters), and begins so many words after the one before it."""
MOST_WINDOWS = 32
"""So many windows of a long view are looked at: those that have most of the words in `_SIGNS`."""
_MOST_CHARACTERS = 16_000
"""So much of all views together is looked at, the text itself first."""
_HALF = WINDOW * 7 // 2
_CHUNK = 2 * _HALF
LENGTH = 0.2
"""Of many windows one always looks bad: so much times the logarithm of their number is taken off."""
_PIECES = (3, 4, 5)
PIECE_SHARE = 0.3
_NUMBER = "0"
_KNOWN_WORDS = 1 << 14
_MAGIC = "autogit-prompt-classifier"
_WORTH = 0.01
"""Less is not worth a finding, nor the work to say where it stands in the original."""
_LEAST = 0.2
"""So much the rules must see in a text that the model may lift over the threshold."""
_MARGIN = 0.001
_WEIGHT_BYTES = 4
"""Of both tables together."""

TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]{1,24}|\d{1,24}")
"""A letter of a script that is written without blanks, the word of any other, or a number."""
_SIGNS = ("you", "ignor", "instruct", "prompt", "previous", "assistant", "pretend", "respon", "answer", "system")


class Classifier(Protocol):
    """A model that judges views of a text; a user may bring another."""

    def find(self, views: Sequence[View], score: float) -> Finding | None:
        """Return one finding with what the model adds to a score, or nothing.

        `views` are all forms of the text, that of the text itself first; `score` is what the rules say. The finding's
        stage is CLASSIFIER, its `weight` is added to the score. It must not raise, whatever the text holds.
        """


class Header(BaseModel):
    """The first line of a model's file; two tables of 2**bits weights follow: words, and pieces of words.

    A weight is a signed number of two bytes, the lower one first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(pattern=f"^{_MAGIC}$")
    format: int = Field(ge=1, le=1)
    bits: int = Field(ge=8, le=20)
    bias: float
    scale: float = Field(gt=0)
    nothing: float
    """Up to here a window is like those of half of all benign texts: nothing is added."""
    sure: float
    """From here on it is unlike any benign text that training saw: all of `MOST` is added."""
    corpus: str = ""
    """SHA-256 of what it was trained on."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The window that looks most like an attack, and how much so (log odds)."""

    logit: float
    view: View
    start: int
    end: int


def words_of(text: str) -> list[str]:
    """Cut a folded text into its tokens; every number is the same one."""
    return [word if not word[0].isdigit() else _NUMBER for word in TOKEN.findall(text)]


def word_grams(words: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return for each word the CRC-32 of it, of it and the one before, and of it and the two before, blanks between."""
    found: list[tuple[int, int, int]] = []
    for word in words:
        data = word.encode("utf-8", "replace")
        one = crc32(data)
        if found:
            before, two, _ = found[-1]
            spaced = b" " + data
            found.append((one, crc32(spaced, before), crc32(spaced, two)))
        else:
            found.append((one, one, one))
    return found


def piece_grams(word: str) -> list[int]:
    """Return the hashes of the pieces of a word, its ends marked."""
    marked = f"<{word}>".encode("utf-8", "replace")
    return [crc32(marked[at : at + size]) for size in _PIECES for at in range(len(marked) - size + 1)]


def spans_of(count: int) -> list[tuple[int, int]]:
    """Return the windows of so many words: (first, one after the last)."""
    if count <= WINDOW:
        return [(0, count)] if count else []
    return [(at, min(at + WINDOW, count)) for at in range(0, count - WINDOW + STRIDE, STRIDE)]


def chunks_of(text: str) -> list[tuple[int, str]]:
    """Return a text in whole, or the parts of a long one that speak most to somebody, each with its place."""
    if len(text) <= _CHUNK * MOST_WINDOWS // 2:
        return [(0, text)]
    counts = _sign_counts(text)
    ranked = sorted(range(len(counts)), key=lambda number: (-counts[number], number))
    places = (number * _HALF for number in sorted(ranked[:MOST_WINDOWS]))
    return [(at, text[at : at + _CHUNK]) for at in places]


def _sign_counts(text: str) -> list[int]:
    """Return how many words of `_SIGNS` each part of a text has; each part overlaps the next by half."""
    counts = [0] * -(-len(text) // _HALF)
    for sign in _SIGNS:
        size = len(sign)
        at = text.find(sign)
        while at >= 0:
            number, within = divmod(at, _HALF)
            counts[number] += 1
            if number and within + size <= _HALF:
                counts[number - 1] += 1
            at = text.find(sign, at + size)
    return counts


class LinearModel:
    """The model that comes with AutoGit. Thread-safe; the same text has the same result, in every process."""

    def __init__(self, header: Header, tables: bytes) -> None:
        size = 1 << header.bits
        weights = array("h", tables)
        if sys.byteorder == "big":
            weights.byteswap()
        self.header = header
        self._mask = size - 1
        self._words, self._pieces = weights[:size], weights[size:]
        self._known: dict[str, tuple[bytes, int, int, float]] = {}

    def find(self, views: Sequence[View], score: float) -> Finding | None:
        """Return what the window that looks most like an attack adds to a score: less than a verdict by itself.

        A text that is blocked anyway is not looked at.
        """
        if score >= Thresholds().block:
            return None
        peak = self.peak(views)
        if peak is None or (weight := self.weight(peak.logit, score)) < _WORTH:
            return None
        start, end = peak.view.locate(peak.start, peak.end)
        told = "reads like the attacks that the statistical model was trained on"
        return Finding(RULE, Stage.CLASSIFIER, Severity.LOW, start, end, weight, told, peak.view.name)

    def peak(self, views: Sequence[View]) -> Peak | None:
        """Return the window of all views that looks most like an attack."""
        best: tuple[float, View, int, str, int, int] | None = None
        count, left = 0, _MOST_CHARACTERS
        for view in views:
            for place, text in chunks_of(view.text):
                windows = self._windows(words_of(text))
                count, left = count + len(windows), left - len(text)
                logit, first, end = max(windows, default=(-inf, 0, 0))
                if best is None or logit > best[0]:
                    best = logit, view, place, text, first, end
                if left <= 0:
                    break
            if left <= 0:
                break
        if best is None or not count:
            return None
        logit, view, place, text, first, end = best
        words = list(TOKEN.finditer(text))
        return Peak(logit - LENGTH * log(count), view, place + words[first].start(), place + words[end - 1].end())

    def weight(self, logit: float, score: float) -> float:
        """Return what log odds add to a score: nothing that would make a verdict stricter, unless rules saw much, too.

        Only a text that the rules nearly flag is flagged where the model is sure.
        """
        header = self.header
        share = (logit - header.nothing) / (header.sure - header.nothing)
        added = MOST * min(max(share, 0.0), 1.0)
        usual = Thresholds()
        limit = next((step for step in (usual.flag, usual.quarantine, usual.block) if score < step), 1.0)
        if score < usual.flag and share >= 1 and score >= _LEAST:
            limit = usual.quarantine
        return round(min(added, max(limit - score - _MARGIN, 0.0)), 4)

    def _windows(self, words: Sequence[str]) -> list[tuple[float, int, int]]:
        """Return the log odds of each window, the number of its first word, and of the one after its last."""
        bias, scale = self.header.bias, self.header.scale
        sums = [0.0, *accumulate(self._values(words))]
        return [
            (bias + scale * (sums[end] - sums[first]) / sqrt(end - first), first, end)
            for first, end in spans_of(len(words))
        ]

    def _values(self, words: Sequence[str]) -> list[float]:
        """Return what each word adds: the weights of its n-grams (`word_grams`, which is slower) and of its pieces."""
        weights, mask, known = self._words, self._mask, self._known
        found: list[float] = []
        before = pair = 0
        for word in words:
            spaced, one, weight, pieces = known.get(word) or self._look(word)
            if found:
                two, three = crc32(spaced, before), crc32(spaced, pair)
            else:
                two = three = one
            found.append(weight + weights[two & mask] + weights[three & mask] + pieces)
            before, pair = one, two
        return found

    def _look(self, word: str) -> tuple[bytes, int, int, float]:
        """Return a word with a blank before it, its hash, its weight, and what its pieces weigh."""
        data = word.encode("utf-8", "replace")
        one = crc32(data)
        pieces = sum(self._pieces[piece & self._mask] for piece in piece_grams(word))
        value = b" " + data, one, self._words[one & self._mask], PIECE_SHARE * pieces
        if len(self._known) >= _KNOWN_WORDS:  # most of them no words at all: those that are used come back at once
            self._known.clear()
        self._known[word] = value
        return value


def load_classifier(path: Path | None = None) -> LinearModel:
    """Return the model of a file that `scripts/train_classifier.py` wrote, or the one that comes with AutoGit."""
    if path is None:
        return _shipped()
    try:
        return read_model(path.read_bytes(), str(path))
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read: {exc.strerror}", hint="name a file made by training") from exc


@lru_cache(maxsize=1)
def _shipped() -> LinearModel:
    file = files("autogit.security").joinpath("data", "classifier.bin")
    return read_model(file.read_bytes(), "autogit/security/data/classifier.bin")


def read_model(data: bytes, place: str) -> LinearModel:
    """Make a model of the bytes of its file; `place` is named where they are none."""
    line, _, tables = data.partition(b"\n")
    try:
        header = Header.model_validate(json.loads(line))
    except (ValueError, ValidationError, RecursionError) as exc:
        raise SettingsError(f"{place}: not a model for the prompt-injection filter") from exc
    if len(tables) != _WEIGHT_BYTES << header.bits:
        wrong = f"{len(tables)} bytes of weights, {_WEIGHT_BYTES << header.bits} are wanted"
        raise SettingsError(f"{place}: damaged: {wrong}")
    return LinearModel(header, tables)
