"""From findings to one risk score, 0.0 to 1.0: what stands together counts together, talk about attacks counts less."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from autogit.model.security import Finding
from autogit.security.talk import is_quoted, talk_of

_BUCKET = 300
"""Characters of the original; what stands within three buckets is read as one passage."""
_SPAN = 3
_ORDINARY = frozenset({"rendered", "joined", "entities", "percent", "escapes", "quoted-printable", "codes"})
"""Views that honest texts have all the time: what is found there counts as in the open."""
_UNSEEN = frozenset({"html-comment", "hidden-element", "alt-text", "link-title", "reference"})
"""Views of what a page does not show; any other view is of something that was encoded."""
_UNSEEN_POWER, _ENCODED_POWER = 1.5, 2.2
"""How many times over an instruction counts that was put where no reader looks."""
_AGAIN = 0.5
"""What a further rule of one family counts, in proportion."""
_MOST_AGAIN = 4
_WIDE = ("-in-other-words", "-loosely")
"""Rules that say what a closer one of their family says, too: beside it, they are no further witness."""
_CLEAR = 0.2
"""From which weight on a family counts fully in a pair."""
_PAIRS: Mapping[tuple[str, str], float] = {
    (pair.split("+")[0], pair.split("+")[1]): extra
    for pair, extra in {
        "address+demand": 0.4,
        "address+secrecy": 0.35,
        "address+override": 0.3,
        "address+extract": 0.35,
        "override+demand": 0.3,
        "override+persona": 0.3,
        "override+extract": 0.3,
        "authority+demand": 0.3,
        "authority+override": 0.25,
        "role+persona": 0.1,
        "role+harm": 0.1,
        "persona+harm": 0.2,
        "refusal+persona": 0.2,
        "refusal+role": 0.1,
        "refusal+harm": 0.15,
        "refusal+override": 0.2,
        "refusal+fiction": 0.1,
        "dual+role": 0.15,
        "dual+persona": 0.2,
        "fiction+harm": 0.1,
        "authority+persona": 0.15,
        "override+role": 0.1,
        "secrecy+demand": 0.35,
        "token+demand": 0.35,
        "token+override": 0.25,
        "token+extract": 0.3,
        "token+persona": 0.3,
        "token+authority": 0.2,
        "persona+extract": 0.2,
        "hidden+demand": 0.3,
        "hidden+override": 0.3,
        "hidden+address": 0.3,
        "place+override": 0.2,
        "leak+demand": 0.2,
        "dictate+demand": 0.05,
        "dictate+override": 0.2,
    }.items()
}
"""Families that say more together than each by itself: who is spoken to and what is asked, above all."""
_TALK_WORDS = 3
"""How many kinds of words (attacker, example, mitigation, ...) make a passage talk about attacks."""
_MOST_QUOTES = 50
_NO_EXAMPLE = 0.93
"""Several strong witnesses together are flagged even in quotes, or a page of talk around them were a free pass."""
_TALK_SCORE, _QUOTED_SCORE = 0.55, 0.42
"""The most that a passage gets which talks about attacks, and one that quotes them besides."""


@dataclass(slots=True)
class _Passage:
    """What was found in one stretch of the original: the heaviest weight of each rule, and whether it was put away."""

    start: int = 1 << 62
    end: int = 0
    weights: dict[str, float] = field(default_factory=dict)
    concealed: bool = False

    def add(self, finding: Finding) -> None:
        power = _power(finding.view)
        weight = 1.0 - (1.0 - finding.weight) ** power
        self.start, self.end = min(self.start, finding.start), max(self.end, finding.end)
        self.weights[finding.rule] = max(weight, self.weights.get(finding.rule, 0.0))
        self.concealed = self.concealed or power > 1.0

    def join(self, other: _Passage) -> None:
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        for rule, weight in other.weights.items():
            self.weights[rule] = max(weight, self.weights.get(rule, 0.0))
        self.concealed = self.concealed or other.concealed

    def score(self) -> float:
        """Return the weights together: all families as independent witnesses, and what their pairs say besides."""
        families: dict[str, list[tuple[float, bool]]] = defaultdict(list)
        for rule, weight in self.weights.items():
            families[family(rule)].append((weight, not rule.endswith(_WIDE)))
        left = 1.0
        for weights in families.values():
            weights.sort(reverse=True)
            left *= 1.0 - weights[0][0]
            for weight in [weight for weight, further in weights[1:] if further][: _MOST_AGAIN - 1]:
                left *= 1.0 - weight * _AGAIN
        for (one, other), extra in _PAIRS.items():
            if one in families and other in families:
                left *= 1.0 - extra * min(1.0, families[one][0][0] / _CLEAR) * min(1.0, families[other][0][0] / _CLEAR)
        return 1.0 - left


def family(rule: str) -> str:
    """Return a rule's family, the first word of its id."""
    return rule.partition("-")[0]


def risk_score(text: str, findings: Sequence[Finding]) -> float:
    """Return the risk of a text: that of its worst passage, less where it only talks about attacks."""
    buckets: dict[int, _Passage] = defaultdict(_Passage)
    for one in findings:
        buckets[one.start // _BUCKET].add(one)
    worst = 0.0
    for number in sorted(buckets):
        passage = _Passage()
        for near in range(number, number + _SPAN):
            if near in buckets:
                passage.join(buckets[near])
        score = passage.score()
        if score > max(worst, _QUOTED_SCORE) and not passage.concealed:
            score = min(score, _most_for_talk(text, passage, score, findings))
        worst = max(worst, score)
    return round(worst, 4)


@lru_cache(maxsize=1024)
def _power(view: str) -> float:
    trail = set(view.split(">")) - {""}
    if not trail - _ORDINARY:
        return 1.0
    return _ENCODED_POWER if trail - _ORDINARY - _UNSEEN else _UNSEEN_POWER


def _most_for_talk(text: str, passage: _Passage, score: float, findings: Sequence[Finding]) -> float:
    talk = talk_of(text, passage.start, passage.end)
    if talk.kinds < _TALK_WORDS or not talk.on_topic:
        return 1.0
    if score >= _NO_EXAMPLE:
        return _TALK_SCORE
    inside = [one for one in findings if passage.start <= one.start and one.end <= passage.end]
    heavy = [one for one in inside if one.weight >= _QUOTED_SCORE] or inside
    quoted = all(is_quoted(text, one.start, one.end) for one in heavy[:_MOST_QUOTES])
    return _QUOTED_SCORE if quoted else _TALK_SCORE
