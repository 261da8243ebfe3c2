"""What the filter says of one text, as findings at their places; what was accepted before does not count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from autogit.model.scan import ScanFinding, ScannedText
from autogit.model.security import Finding, SecurityPolicy, Severity, Stage, Verdict
from autogit.model.text import one_line
from autogit.security.classifier import Classifier
from autogit.security.prompt_filter import PromptInjectionFilter
from autogit.security.scanning.texts import ScanText, uri_of
from autogit.security.scoring import risk_score

_PIECE = 1_000_000
_OVERLAP = 8_000
"""Longer texts are judged in pieces, so that memory stays bounded; what lies across a cut is in both."""
_EXCERPT = 80


@dataclass(frozen=True)
class Judgement:
    """How texts are judged: the same in every process. `everything` also tells findings that call for nothing."""

    policy: SecurityPolicy = field(default_factory=SecurityPolicy)
    fail_on: Severity | None = None
    everything: bool = False
    accepted: frozenset[str] = frozenset()
    source: str = ""
    classifier: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What one text came to: its length, what is to be told, how many findings were accepted, whether it fails."""

    characters: int
    told: ScannedText | None = None
    accepted: int = 0
    fails: bool = False


class Judge:
    """Judges texts, one after the other."""

    def __init__(self, judgement: Judgement, classifier: Classifier | None = None) -> None:
        self._how = judgement
        self._filter = PromptInjectionFilter(judgement.policy, classifier=classifier)

    def judge(self, text: ScanText) -> Judged:
        """Return what a text comes to. Never raises."""
        source = self._how.source or text.source
        kept: dict[tuple[str, int, int, str], tuple[Finding, str]] = {}
        score, accepted = 0.0, set()
        for start, piece in _pieces(text.text):
            result = self._filter.analyze(piece, source=source)
            prints = [(one, fingerprint(one.rule, text.path, piece[one.start : one.end])) for one in result.findings]
            new = [(one, mark) for one, mark in prints if mark not in self._how.accepted]
            accepted |= {(mark, start + one.start) for one, mark in prints if mark in self._how.accepted}
            all_new = len(new) == len(prints)
            score = max(score, result.risk_score if all_new else _score(piece, [one for one, _ in new]))
            for one, mark in new:
                moved = replace(one, start=one.start + start, end=one.end + start)
                kept[moved.rule, moved.start, moved.end, moved.view] = moved, mark
        verdict = self._how.policy.for_source(source).verdict(score)
        fails = self._fails(verdict, (one for one, _ in kept.values()))
        told = self._told(text, list(kept.values()), verdict)
        view = _view(text, source, score, verdict, told) if told else None
        return Judged(len(text.text), view, len(accepted), fails)

    def _fails(self, verdict: Verdict, findings: Iterable[Finding]) -> bool:
        if self._how.fail_on is None:
            return verdict is not Verdict.PASS
        return any(one.severity.rank >= self._how.fail_on.rank for one in findings)

    def _told(self, text: ScanText, kept: list[tuple[Finding, str]], verdict: Verdict) -> list[ScanFinding]:
        least = self._how.fail_on.rank if self._how.fail_on else len(Severity)
        all_of_it = self._how.everything or verdict is not Verdict.PASS
        chosen = [pair for pair in kept if all_of_it or pair[0].severity.rank >= least]
        chosen.sort(key=lambda pair: (pair[0].start, pair[0].end, pair[0].rule, pair[0].view))
        return [_finding(text, one, mark) for one, mark in chosen]


def fingerprint(rule: str, path: str, matched: str) -> str:
    """Return what a finding is known by when its text has moved, or its blanks have changed."""
    words = "\0".join((rule, path, " ".join(matched.split())))
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    if len(text) <= _PIECE:
        yield 0, text
        return
    start = 0
    while True:
        yield start, text[start : start + _PIECE]
        if start + _PIECE >= len(text):
            return
        # At the start of a line where there is one nearby: rules may ask for it.
        start += _PIECE - _OVERLAP
        start = max(start, text.rfind("\n", start, start + _OVERLAP // 2) + 1)


def _score(text: str, findings: list[Finding]) -> float:
    ruled = [one for one in findings if one.stage is not Stage.CLASSIFIER]
    return min(1.0, risk_score(text, ruled) + sum(one.weight for one in findings if one.stage is Stage.CLASSIFIER))


def _finding(text: ScanText, one: Finding, mark: str) -> ScanFinding:
    (line, column), (end_line, end_column) = text.place(one.start), text.place(one.end)
    matched = one_line(text.text[one.start : min(one.end, one.start + _EXCERPT)])
    return ScanFinding(
        rule=one.rule,
        stage=one.stage,
        severity=one.severity,
        explanation=one_line(one.explanation),
        line=line,
        column=column,
        end_line=end_line,
        end_column=end_column,
        offset=None if text.lines else one.start,
        length=one.end - one.start,
        decoded=one.view,
        excerpt=matched[:_EXCERPT],
        fingerprint=mark,
        weight=one.weight,
    )


def _view(text: ScanText, source: str, score: float, verdict: Verdict, findings: list[ScanFinding]) -> ScannedText:
    return ScannedText(
        path=one_line(text.path),
        uri=uri_of(text.path),
        source=source,
        commit=text.commit,
        risk_score=score,
        verdict=verdict,
        findings=tuple(findings),
    )
