"""Stage 1: what a reader does not see: invisible characters, reordered text, look-alikes, hidden markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from autogit.model.security import Finding, Severity, Stage
from autogit.security.elements import find_hidden_elements
from autogit.security.folding import FOREIGN, lookalikes, odd_characters
from autogit.security.smuggling import BITS, SELECTORS, TAGS, line_spans
from autogit.security.views import View
from autogit.security.vocabulary import words

_ZERO_WIDTH = "\u00ad\u034f\u180e\u200b-\u200f\u2060-\u2064\ufeff"
STRAY = re.compile(f"(?<=[\x20-\x7e])[{_ZERO_WIDTH}]+(?![^\x00-\x7f])|^(?!\ufeff)[{_ZERO_WIDTH}]+(?=[!-~])")
"""Zero-width characters among ASCII ones; beside letters that need them, or emoji, they are none of our business."""
_IN_WORD = re.compile(f"(?<=[A-Za-z])[{_ZERO_WIDTH.replace(chr(0xAD), '')}]+(?=[A-Za-z])")
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_OVERRIDES = re.compile("[\u202d\u202e]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
MIXED = re.compile(f"(?<![A-Za-z{FOREIGN}])(?:[A-Za-z]+[{FOREIGN}]|[{FOREIGN}]+[A-Za-z])[A-Za-z{FOREIGN}]*")
_LEAST_MIXED = 4
_LEAST_SPELT = 4
_LEAST_TEXT = 15
_LEAST_BYTES = 8
_SEVERAL, _MANY = 3, 5
_TAG = re.compile(r"<[^<>]{0,4000}>")


@dataclass(frozen=True, slots=True)
class _Kind:
    """One way of hiding: the rule's id, how bad, what it weighs, and what is said about it."""

    rule: str
    severity: Severity
    weight: float
    explanation: str

    def at(self, start: int, end: int) -> Finding:
        return Finding(self.rule, Stage.HIDDEN, self.severity, start, end, self.weight, self.explanation)


_TAGS_SPELL = _Kind(
    "hidden-tags", Severity.CRITICAL, 0.75, "Invisible tag characters spell a text that only a model reads."
)
_TAGS_FEW = _Kind("hidden-tags", Severity.MEDIUM, 0.35, "Invisible tag characters outside a flag.")
_SELECTORS_LONG = _Kind(
    "hidden-selectors", Severity.HIGH, 0.7, "A long run of variation selectors can carry hidden bytes."
)
_SELECTORS_FEW = _Kind("hidden-selectors", Severity.MEDIUM, 0.3, "Variation selectors that vary nothing.")
_BITS = _Kind("hidden-bits", Severity.HIGH, 0.65, "A long run of zero-width characters can carry hidden bits.")
_ZERO_MANY = _Kind("hidden-characters", Severity.MEDIUM, 0.45, "Words are split by many invisible characters.")
_ZERO_SOME = _Kind("hidden-characters", Severity.LOW, 0.25, "Words are split by invisible characters.")
_ZERO_ONE = _Kind("hidden-characters", Severity.INFO, 0.12, "A word is split by an invisible character.")
_BIDI_OVERRIDE = _Kind(
    "hidden-bidi", Severity.MEDIUM, 0.45, "A bidi override shows left-to-right text in another order."
)
_BIDI_MARKS = _Kind("hidden-bidi", Severity.LOW, 0.15, "Bidi controls in a line without any right-to-left letter.")
_ALIKE_MANY = _Kind(
    "hidden-lookalikes", Severity.MEDIUM, 0.45, "English words are spelt with letters of another script."
)
_ALIKE_SOME = _Kind("hidden-lookalikes", Severity.LOW, 0.3, "An English word is spelt with letters of another script.")
_ALIKE_BESIDE = _Kind(
    "hidden-lookalikes", Severity.LOW, 0.2, "A word mixes letters of two scripts, beside English words spelt so."
)
_ALIKE_ODD = _Kind("hidden-lookalikes", Severity.INFO, 0.12, "A word mixes letters of two scripts.")
_ELEMENT_FAINT = _Kind(
    "hidden-element", Severity.LOW, 0.3, "Markup makes a text too small, faint or far off to be seen."
)
_ELEMENT_GONE = _Kind("hidden-element", Severity.INFO, 0.12, "Markup keeps a text from being shown.")


def find_hidden(text: str, views: Sequence[View]) -> Iterator[Finding]:
    """Yield what is hidden in a text; what honest writing needs (emoji, Arabic, Persian, Indic scripts) is not.

    By itself hiding hardly weighs; it does where it can only be smuggling.
    """
    if any(view.trail[:1] == ("hidden-element",) for view in views):
        yield from _elements(text)
    if odd := odd_characters(text):
        for trigger, find in _FINDERS:
            if any(map(trigger.match, odd)):
                yield from find(text)


def _elements(text: str) -> Iterator[Finding]:
    for start, end, faint in find_hidden_elements(text):
        if len(_TAG.sub("", text[start:end]).strip()) >= _LEAST_TEXT:
            yield (_ELEMENT_FAINT if faint else _ELEMENT_GONE).at(start, end)


def _tags(text: str) -> Iterator[Finding]:
    for start, end in line_spans(text, TAGS):
        count = sum(map(len, TAGS.findall(text, start, end)))
        yield (_TAGS_SPELL if count >= _LEAST_SPELT else _TAGS_FEW).at(start, end)


def _selectors(text: str) -> Iterator[Finding]:
    for match in SELECTORS.finditer(text):
        yield (_SELECTORS_LONG if len(match.group()) >= _LEAST_BYTES else _SELECTORS_FEW).at(*match.span())


def _bits(text: str) -> Iterator[Finding]:
    for match in BITS.finditer(text):
        yield _BITS.at(*match.span())


def _zero_width(text: str) -> Iterator[Finding]:
    for start, end in line_spans(text, STRAY):
        if count := len(_IN_WORD.findall(text, start, end + 1)):
            kind = _ZERO_MANY if count >= _MANY else _ZERO_SOME if count > 1 else _ZERO_ONE
            yield kind.at(start, end)


def _bidi(text: str) -> Iterator[Finding]:
    for start, end in line_spans(text, BIDI):
        line = text.rfind("\n", 0, start) + 1
        stop = text.find("\n", end)
        if not _RIGHT_TO_LEFT.search(text, line, len(text) if stop < 0 else stop):
            yield (_BIDI_OVERRIDE if _OVERRIDES.search(text, start, end) else _BIDI_MARKS).at(start, end)


def _mixed(text: str) -> Iterator[Finding]:
    table, known = lookalikes(), words()
    lines: list[tuple[int, int, int, list[str]]] = []
    for start, end in line_spans(text, MIXED):
        spelt = [word for match in MIXED.findall(text, start, end) if (word := match.translate(table)).isascii()]
        english = sum(word.lower() in known for word in spelt if len(word) >= _LEAST_MIXED)
        lines.append((start, end, english, spelt))
    disguised = any(english >= _SEVERAL for *_, english, _ in lines)
    for start, end, english, spelt in lines:
        if english:
            yield (_ALIKE_MANY if english >= _SEVERAL else _ALIKE_SOME).at(start, end)
        elif disguised and spelt:
            yield _ALIKE_BESIDE.at(start, end)
        elif sum(len(word) >= _LEAST_MIXED for word in spelt) > 1:
            yield _ALIKE_ODD.at(start, end)


_FINDERS: tuple[tuple[re.Pattern[str], Callable[[str], Iterator[Finding]]], ...] = (
    (re.compile("[\U000e0000-\U000e007f]"), _tags),
    (re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]"), _selectors),
    (re.compile(f"[{_ZERO_WIDTH}\u061c]"), _bits),
    (re.compile(f"[{_ZERO_WIDTH}]"), _zero_width),
    (BIDI, _bidi),
    (re.compile(f"[{FOREIGN}]"), _mixed),
)
