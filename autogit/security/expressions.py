"""The syntax tree of a rule's expression, as far as it tells which words a matching text has.

It reads RE2's syntax (https://github.com/google/re2/wiki/Syntax) with what rules add to it: a blank for a gap between
words, `%{name}` for an entry of the vocabulary. What it does not know is an error, never a guess: such a rule is tried
on every text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import TypeAlias

BREAK = " "
"""Stands for whatever ends a word: ASCII that is no letter or digit, an edge of a line, a word boundary."""
WILD = "*"
"""Stands for any text at all, also for none."""
_FEW = 6
"""A class of more characters than these is any text."""
_ENDLESS = 1 << 30
_TOKEN = re.compile(
    r"(?P<word>[0-9a-z]+(?![*+?{]))"
    r"|(?P<entry>%\{[a-z0-9_]+\})"
    r"|(?P<flags>\(\?[ms]+\))"
    r"|(?P<open>\((?:\?[ms]*:)?)(?!\?)"
    r"|(?P<close>\))"
    r"|(?P<bar>\|)"
    r"|(?P<repeat>(?:[*+?]|\{\d+(?:,\d*)?\})\??)"
    r"|(?P<group>\[\^?\]?(?:\\[pPx]\{\^?\w+\}|\[:\w+:\]|\\.|[^\]\\])*\])"
    r"|(?P<edge>[\^$]|\\[bAz])"
    r"|(?P<one>\\[pPx]\{\^?\w+\}|\\.|[^\\\[{*+?])",
    re.DOTALL,
)
_MEMBER = re.compile(r"\\[pPx]\{\^?\w+\}|\[:\w+:\]|\\.|.", re.DOTALL)


class ExpressionError(ValueError):
    """An expression with a construct that this reader does not know."""


@dataclass(frozen=True)
class Text:
    """What may stand there: characters, BREAK and WILD, or a row of them."""

    options: frozenset[str]


@dataclass(frozen=True)
class Row:
    """Parts that follow each other; of none, the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """Branches of which one matches."""

    branches: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """A part that stands there `least` to `most` times."""

    part: Node
    least: int
    most: int


Node: TypeAlias = Text | Row | Choice | Repeat


@dataclass
class Reader:
    """Reads expressions that share a vocabulary, each entry of which it reads once."""

    vocabulary: Mapping[str, str]
    _entries: dict[str, Node] = field(default_factory=dict)

    def read(self, source: str) -> Node:
        """Return an expression's syntax tree. Raises ExpressionError for a construct that is not known."""
        tokens = [*_tokens(source), ("close", "")][::-1]
        tree = self._choice(tokens)
        if tokens:
            raise ExpressionError("a bracket too many")
        return tree

    def _choice(self, tokens: list[tuple[str, str]]) -> Node:
        """Read up to the bracket that closes this group; the next token is the last of the list."""
        branches: list[Node] = []
        parts: list[Node] = []
        while tokens:
            kind, text = tokens.pop()
            if kind in ("close", "bar"):
                branches.append(_row(parts))
                if kind == "close":
                    return branches[0] if len(branches) == 1 else Choice(tuple(branches))
                parts = []
            elif kind == "repeat":
                parts[-1:] = [_repeat(part, text.rstrip("?") or "?") for part in parts[-1:]]
            elif kind != "flags":
                parts.append(self._choice(tokens) if kind == "open" else self._place(kind, text))
        raise ExpressionError("a bracket too few")

    def _place(self, kind: str, text: str) -> Node:
        if kind != "entry":
            return _text(kind, text)
        name = text[2:-1]
        if name not in self._entries:
            if name not in self.vocabulary:
                raise ExpressionError(f"not in the vocabulary: {name}")
            self._entries[name] = self.read(self.vocabulary[name])
        return self._entries[name]


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None or match.lastgroup is None:
            raise ExpressionError(f"not known: {source[at : at + 20]!r}")
        yield match.lastgroup, match[0]
        at = match.end()


def _row(parts: list[Node]) -> Node:
    """Return parts in a row, a word's letters as one part."""
    found: list[Node] = []
    for fixed, group in groupby(parts, key=lambda part: isinstance(part, Text) and len(part.options) == 1):
        if fixed:
            texts = [min(part.options) for part in group if isinstance(part, Text)]
            found.append(Text(frozenset([reduce(join, texts)])))
        else:
            found += group
    return found[0] if len(found) == 1 else Row(tuple(found))


def join(first: str, second: str) -> str:
    """Return two texts in a row: two BREAKs are one, and two WILDs."""
    edge = second[:1]
    return first + second[1:] if edge in (BREAK, WILD) and first.endswith(edge) else first + second


def _repeat(part: Node, sign: str) -> Node:
    if sign in "*+?":
        return Repeat(part, int(sign == "+"), 1 if sign == "?" else _ENDLESS)
    least, comma, most = sign[1:-1].partition(",")
    return Repeat(part, int(least), int(most or (_ENDLESS if comma else least)))


def _text(kind: str, text: str) -> Text:
    if kind == "edge":
        return Text(frozenset(BREAK))
    if kind == "word":
        return Text(frozenset([text]))
    if kind == "one":
        return Text(frozenset(WILD if text == "." else _member(text)))
    members = _MEMBER.findall(text[1:-1].removeprefix("^"))
    found = {WILD} if text.startswith("[^") or "-" in members[1:-1] else {_member(one) for one in members}
    return Text(frozenset(WILD if WILD in found or len(found) > _FEW else found))


def _member(text: str) -> str:
    """Return what one character, escaped or not, stands for."""
    if text.startswith("\\x{"):
        text = chr(int(text[3:-1], 16))
    if len(text) == 1:
        return text if text.isalnum() or not text.isascii() else BREAK
    name = text[1]
    if text[0] == "[" or name in "pPwWdDSxC":
        return WILD
    if name in "sntrf":
        return BREAK
    if name.isalnum():
        raise ExpressionError(f"not known: {text!r}")
    return BREAK
