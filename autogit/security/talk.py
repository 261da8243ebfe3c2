"""Tells whether a passage talks about attacks, and whether a part of it is quoted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import re2
import yaml

_RADIUS = 700
_MOST = 6 * _RADIUS
_QUOTES = frozenset("\"'`\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u300c\u300d\u300e\u300f\uff02")
_BEFORE, _AFTER = 160, 300


@dataclass(frozen=True, slots=True)
class Talk:
    """How many kinds of words (attacker, example, mitigation, ...) a passage has, and whether one names the topic."""

    kinds: int
    on_topic: bool


def talk_of(text: str, start: int, end: int) -> Talk:
    """Return what a passage and the text around it say about attacks."""
    around = text[max(0, start - _RADIUS) : end + _RADIUS][:_MOST].encode("utf-8", "replace")
    found = [topic for topic, words in _words() if words.search(around)]
    return Talk(len(found), any(found))


def is_quoted(text: str, start: int, end: int) -> bool:
    """Tell whether a part of a text stands within quotation marks, a code span or a quoted line."""
    line = text.rfind("\n", 0, start) + 1
    before = text[max(line, start - _BEFORE) : start]
    after = text[end : end + _AFTER].partition("\n")[0]
    if before.lstrip()[:1] == ">" or text[start : start + 1] in _QUOTES:
        return True
    return not _QUOTES.isdisjoint(before) and not _QUOTES.isdisjoint(after)


@lru_cache(maxsize=1)
def _words() -> tuple[tuple[bool, re2._Regexp], ...]:
    """Return the kinds of words: whether they name the topic, and an expression for them."""
    options = re2.Options()
    options.case_sensitive = False
    options.never_capture = True
    listed = files("autogit.security").joinpath("rules", "talk.yml").read_text(encoding="utf-8")
    kinds = yaml.safe_load(listed)["talk"]
    return tuple((kind["topic"], re2.compile("|".join(kind["words"]).encode(), options)) for kind in kinds)
