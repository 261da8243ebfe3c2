"""Stage 3: what the shape of a text says: conversations that never were, orders where nobody is to see them.

Tokens of chat templates, fake roles and leaking links have a fixed form: they are rules (`rules/tokens.yml`,
`rules/leaks.yml`). Here is what has to be counted, or depends on the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import re2

from autogit.model.security import Finding, Severity, Stage
from autogit.security.repeats import Span
from autogit.security.views import View

_MOST_TURNS = 400
_MANY_TURNS = 8
_MOST_ORDERS = 400
_TURN = re2.compile(r"(?:^|\n)[ >*#-]{0,4}(human|user|customer|assistant|ai|chatbot|model|gpt|claude)[ *]{0,3}:")
_ASKING = frozenset({"human", "user", "customer"})
_CONCEALED = frozenset({"hidden-element"})
_ORDER = re2.compile(
    r"(?:^|[.!?:;,\n]\s?)(?:please |now |also |you must |you should |always |never |do not |don't )*"
    r"(?:ignore|disregard|forget|say|state|tell|reply|respond|answer|output|reveal|include|append|recommend|rate|rank|"
    r"mark|approve|accept|merge|send|forward|email|grant|give|transfer|mention|conclude|report|treat|act|pretend|hire|"
    r"prefer|insert|repeat|translate|summari[sz]e|describe|buy|follow|obey)\s+[^\s]+\s+[^\s]+"
)


def find_structure(view: View) -> Iterator[Finding]:
    """Yield what the shape of a view says."""
    yield from _many_turns(view)
    if view.trail and view.trail[-1] in _CONCEALED:
        yield from _concealed_order(view)


def _many_turns(view: View) -> Iterator[Finding]:
    """Yield a conversation of many turns: shown often enough how a model answers, a model answers so (many-shot)."""
    if ":" not in view.text:
        return
    asked: list[Span] = []
    told: list[Span] = []
    for match in islice(_TURN.finditer(view.text), _MOST_TURNS):
        (asked if match.group(1) in _ASKING else told).append(match.span(1))
    if not asked or not told:
        return
    asked, told = view.places(asked), view.places(told)
    if min(len(asked), len(told)) * 2 >= _MANY_TURNS:
        turns = asked + told
        start, end = min(turns)[0], max(end for _, end in turns)
        text = "Shows many turns of a conversation that a model is to continue"
        yield Finding("token-many-turns", Stage.STRUCTURE, Severity.LOW, start, end, 0.3, text, view.name)


def _concealed_order(view: View) -> Iterator[Finding]:
    """Yield the orders in parts of a page that are not shown: what people are to read is shown to them."""
    text = "Gives an order in a part of a page that is not shown"
    orders = [match.span() for match in islice(_ORDER.finditer(view.text), _MOST_ORDERS)]
    for start, end in view.places(orders) if orders else ():
        yield Finding("place-not-shown", Stage.STRUCTURE, Severity.MEDIUM, start, end, 0.36, text, view.name)
