"""The words that an expression needs: none is asked for that a match could do without."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from autogit.security.anchors import Anchors, needs_of
from autogit.security.expressions import ExpressionError, Reader
from autogit.security.patterns import expand, read_rules

_VOCABULARY = {"beast": "wolf|bears?", "two": "%{beast} and %{beast}"}


def _needs(source: str) -> list[list[list[str]]]:
    """Return the needs of each branch, as words: `*` where a word may go on."""
    return [
        [
            sorted(f"{'*' * one.opened}{one.text}{'*' * one.open_ended}" for one in need)
            for need in sorted(branch, key=sorted)
        ]
        for branch in needs_of(Reader(_VOCABULARY).read(source))
    ]


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        (r"\bgrey wolf\b", [[["grey"], ["wolf"]]]),
        ("wolf", [[["*wolf*"]]]),
        (r"\b(?:grey|white) %{beast}\b", [[["bear", "bears", "wolf"], ["grey", "white"]]]),
        (r"\bgrey (?:and white )?wolf\b", [[["grey"], ["wolf"]]]),
        (r"\bwol(?:f|ves)\b", [[["wolf", "wolves"]]]),
        (r"\bwol\w+ howl", [[["howl*"], ["wol*"]]]),
        (r"\bwolf\b|\bbear\b", [[["bear"]], [["wolf"]]]),
        (r"\b(?:wolf )*bear\b", [[["bear"]]]),
        (r"\b(?:wolf )+bear\b", [[["bear"], ["wolf"]]]),
        (r"\bwolf(?:_| )den\b", [[["den"], ["wolf"]]]),
        (r"\bwolf.{0,20}den\b", [[["wolf*", "wolfden"]]]),
        (r"\bw[o0]lf\b", [[["w0lf", "wolf"]]]),
        (r"\bwo[a-z]ves\b", [[["*ves"], ["wo*"]]]),
        (r"\w+", [[]]),
        (r"(?:wolf)?", [[]]),
        ("волч[пх]?", [[["*волч*", "*волчп*", "*волчх*"]]]),
    ],
)
def test_what_an_expression_needs(source: str, needs: list[list[list[str]]]) -> None:
    assert _needs(source) == needs


@pytest.mark.parametrize("source", ["(wolf", "wolf)", r"\Qwolf\E", "(?P<name>wolf)", "%{cat}"])
def test_what_is_not_known_is_told(source: str) -> None:
    with pytest.raises(ExpressionError):
        Reader(_VOCABULARY).read(source)


def test_each_shipped_expression_needs_words() -> None:
    rules, vocabulary = read_rules()
    reader = Reader(vocabulary)
    assert [rule.id for rule in rules for source in rule.pattern if frozenset() in needs_of(reader.read(source))] == []


_WORDS = st.sampled_from(["wolf", "bear", "wolves", "den", "the", "x", "wolfжди", "жди"])
_TEXTS = st.lists(st.tuples(_WORDS, st.sampled_from([" ", "", "_", "-", "\n", ". "])), max_size=8).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)
_EXPRESSIONS = st.recursive(
    st.sampled_from(["wolf", "bear", r"\bden\b", r"\w+", " ", "жди", "[bw]", ".", r"\b", "x?", "%{beast}"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: f"(?:{'|'.join(some)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{0,2}", "{2}", "{1,3}?"])).map(
            lambda one: f"(?:{one[0]}){one[1]}"
        ),
    ),
    max_leaves=8,
)


@given(_EXPRESSIONS, st.lists(_TEXTS, max_size=6))
def test_no_text_is_left_out_that_an_expression_matches(source: str, texts: list[str]) -> None:
    anchors = Anchors([needs_of(Reader(_VOCABULARY).read(source))], memory=1 << 22)
    expression = re2.compile(expand(source, _VOCABULARY).encode())
    assert [text for text in texts if expression.search(text.encode()) and not anchors.places(text.encode())] == []
