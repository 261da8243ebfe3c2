"""The filter: views of a text, what is found in each, a score, and the text without what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from autogit.model.security import FilterResult, Finding, SecurityPolicy, Verdict
from autogit.security.classifier import Classifier
from autogit.security.cleaning import Cleaned, changed_parts, clean, clean_stretch
from autogit.security.hidden import find_hidden
from autogit.security.patterns import RuleSet, load_rules
from autogit.security.scoring import risk_score
from autogit.security.structure import find_structure
from autogit.security.views import build_views

_MOST_ROUNDS = 4
"""How often a cleaned text is looked at again: a cut may join what was apart, or leave more room to decode. What is
found the last time goes with all that is in between: such a text is made of nothing else."""


class Quarantine(Protocol):
    """Where suspicious texts are kept."""

    def add(self, fragment: str, metadata: Mapping[str, object]) -> str:
        """Keep a fragment and return its id (`q-YYYYMMDD-NNN`)."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is found in a text, in order, its score, and whether no bound kept anything of it from being looked at."""

    findings: list[Finding]
    score: float
    complete: bool


class PromptInjectionFilter:
    """Finds instructions to a language model where only data should be (specification, section 5).

    Thread-safe and without state between calls: the same text has the same result, in every process.
    """

    def __init__(
        self,
        policy: SecurityPolicy | None = None,
        *,
        rules: RuleSet | None = None,
        classifier: Classifier | None = None,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._policy = policy or SecurityPolicy()
        self._rules = rules or load_rules()
        self._classifier = classifier
        self._quarantine = quarantine

    def analyze(self, text: str, source: str = "default") -> FilterResult:
        """Return what is found in a text of any content and length; never raises.

        `source` says where the text comes from (`issue`, `commit`, `log`, ...) and chooses the thresholds.
        """
        thresholds = self._policy.for_source(source)
        judged = self._judge(text, self._classifier)
        findings, score = judged.findings, judged.score
        verdict = thresholds.verdict(score)
        cleaned = self._clean(text, judged) if verdict is not Verdict.PASS else None
        by_weight = sorted(findings, key=lambda one: -one.weight)
        return FilterResult(
            clean_text=cleaned.text if cleaned else text,
            quarantined=cleaned.fragments if cleaned else (),
            risk_score=score,
            detected_patterns=tuple(dict.fromkeys(one.rule for one in by_weight)),
            findings=tuple(findings),
            verdict=verdict,
        )

    def _judge(self, text: str, classifier: Classifier | None) -> _Judged:
        """Return what is found in a text."""
        views = build_views(text)
        findings = [*find_hidden(text, views)]
        for view in views:
            findings += self._rules.find(view)
            findings += find_structure(view)
        score = risk_score(text, findings)
        if classifier is not None and (added := classifier.find(views, score)):
            findings.append(added)
            score = round(min(1.0, score + added.weight), 4)
        findings.sort(key=lambda one: (one.start, one.end, one.rule, one.view))
        return _Judged(findings, score, all(view.complete for view in views))

    def _clean(self, text: str, judged: _Judged) -> Cleaned:
        """Return a text without what is found, nor what is found in the rest of it once that is gone."""
        cleaned = clean(text, judged.findings)
        for number in range(1, _MOST_ROUNDS + 1):
            judged = self._judge_again(cleaned, judged)
            more = judged.findings
            again = clean(cleaned.text, more) if number < _MOST_ROUNDS else clean_stretch(cleaned.text, more)
            if not again.fragments:
                break
            cleaned = replace(again, fragments=cleaned.fragments + again.fragments)
        return cleaned

    def _judge_again(self, cleaned: Cleaned, before: _Judged) -> _Judged:
        """Return what is found in a cleaned text, looking only at what has changed if all of it was seen before."""
        parts = changed_parts(cleaned) if before.complete else None
        judged = self._judge(parts.text if parts else cleaned.text, None)  # what a classifier says is never cut
        if parts is None:
            return judged
        spans = (parts.locate(one.start, one.end) for one in judged.findings)
        found = [replace(one, start=start, end=end) for one, (start, end) in zip(judged.findings, spans, strict=True)]
        return replace(judged, findings=found)

    def quarantine(self, fragment: str, metadata: Mapping[str, object]) -> str:
        """Keep a suspicious fragment for analysis and return its id. Raises what the store raises."""
        if self._quarantine is None:
            raise LookupError("this filter was made without a quarantine")
        return self._quarantine.add(fragment, metadata)
