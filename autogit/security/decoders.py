"""Which decoders there are, and which of them a text is worth trying with: one pass of RE2 asks for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import re2

from autogit.security import ciphers, disguises, elements, encodings, escapes, hints, markup, smuggling
from autogit.security.regions import Part

_MEMORY_BYTES = 128 << 20
PACKED = frozenset(
    ("base64", "hex", "base32", "base85", "binary", "codes", "morse", "tags", "selectors", "zero-width-bits")
)
"""Decoders whose views are shorter than what they were made of: five deep, they hold twice the text."""


class Group(Enum):
    """Which hints are looked for together: those whose automaton stays small when they are."""

    MARKUP = 1
    LETTERS = 2
    RUNS = 3
    BASE64 = 4
    TOKENS = 5


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way in which a text may be written otherwise: what it is called, what hints at it, and the way back.

    `signs` are characters of which a text must have one, where all that it needs are beyond ASCII.
    """

    name: str
    hint: str
    decode: Callable[[str], Iterator[Part]]
    group: Group = Group.MARKUP
    signs: frozenset[str] = frozenset()


@lru_cache(maxsize=1)
def decoders() -> tuple[Decoder, ...]:
    """Return the decoders of what can be seen in a text; first what ordinary texts have not, for there is a bound."""
    return (
        Decoder("html-comment", hints.COMMENT, markup.comments),
        Decoder("base64", hints.BASE64, encodings.base64_runs, Group.BASE64),
        Decoder("hex", hints.HEX, encodings.hex_runs, Group.RUNS),
        Decoder("base32", hints.BASE32, encodings.base32_runs, Group.BASE64),
        Decoder("base85", hints.BASE85, encodings.base85_runs, Group.TOKENS),
        Decoder("binary", hints.BINARY, encodings.binary_runs, Group.RUNS),
        Decoder("codes", hints.CODES, encodings.code_runs, Group.RUNS),
        Decoder("morse", hints.MORSE, disguises.morse_runs, Group.RUNS),
        Decoder("hidden-element", hints.ELEMENT, elements.hidden_elements),
        Decoder("link-title", hints.LINK_TITLE, markup.link_titles),
        Decoder("reference", hints.REFERENCE, markup.references),
        Decoder("alt-text", hints.ALTERNATIVE, markup.alternatives),
        Decoder("shift", ciphers.shifted_words(), ciphers.shifted, Group.LETTERS),
        Decoder("reversed", ciphers.backward_words(), ciphers.reversed_lines, Group.LETTERS),
        Decoder("reversed-words", ciphers.backward_words(), ciphers.reversed_words, Group.LETTERS),
        Decoder("spaced", hints.SPACED, disguises.spaced_letters, Group.RUNS),
        Decoder("leet", hints.leet(), disguises.leet_lines, Group.LETTERS),
        Decoder("percent", hints.PERCENT, escapes.percent_tokens),
        Decoder("entities", hints.ENTITIES, escapes.entity_lines),
        Decoder("escapes", hints.ESCAPES, escapes.escape_lines),
        Decoder("joined", hints.JOINED, escapes.joined_strings),
        Decoder("rendered", hints.RENDERED, markup.rendered_lines),
        Decoder("quoted-printable", hints.QUOTED, escapes.quoted_lines),
        Decoder("pig-latin", hints.PIG_LATIN, disguises.pig_latin, Group.LETTERS),
    )


@lru_cache(maxsize=1)
def raw_decoders() -> tuple[Decoder, ...]:
    """Return the decoders of what folding takes away."""
    return (
        Decoder("tags", smuggling.TAGS.pattern, smuggling.tag_texts, signs=smuggling.TAG_SIGNS),
        Decoder("selectors", smuggling.SELECTORS.pattern, smuggling.selector_texts, signs=smuggling.SELECTOR_SIGNS),
        Decoder("zero-width-bits", smuggling.BITS.pattern, smuggling.bit_texts, signs=smuggling.ZERO_WIDTH_SIGNS),
        Decoder("bidi-override", smuggling.OVERRIDE.pattern, smuggling.override_texts, signs=smuggling.OVERRIDE_SIGNS),
        Decoder("upside-down", disguises.TURNED_HINT, disguises.turned_lines, signs=disguises.TURNED_SIGNS),
    )


def find_decoders(text: str, *, packed_only: bool = False) -> Iterator[Decoder]:
    """Yield the decoders that a text hints at; on demand those only that make less of it."""
    known = decoders()
    found: list[int] = []
    data = text.encode()
    for numbers, together in _hints():
        if not packed_only or any(known[one].name in PACKED for one in numbers):
            found += (numbers[one] for one in together.Match(data) or ())
    for number in sorted(found):
        if not packed_only or known[number].name in PACKED:
            yield known[number]


def find_raw_decoders(text: str, odd: frozenset[str]) -> Iterator[Decoder]:
    """Yield the decoders of what can't be seen that a text hints at; `odd` are its characters beyond ASCII."""
    if odd:
        for decoder in raw_decoders():
            if not decoder.signs.isdisjoint(odd) and re.search(decoder.hint, text):
                yield decoder


@lru_cache(maxsize=1)
def _hints() -> tuple[tuple[tuple[int, ...], re2.Set], ...]:
    """Return the groups of hints, each as one automaton and the numbers of its decoders."""
    made = []
    for group in Group:
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        together = re2.Set.SearchSet(options)
        numbers = tuple(number for number, one in enumerate(decoders()) if one.group is group)
        for number in numbers:
            together.Add(decoders()[number].hint)
        together.Compile()
        made.append((numbers, together))
    return tuple(made)
