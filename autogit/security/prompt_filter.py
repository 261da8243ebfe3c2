"""The filter: views of a text, what is found in each, a score, and the text without what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from autogit.model.security import FilterResult, Finding, SecurityPolicy, Verdict
from autogit.security.classifier import Classifier
from autogit.security.cleaning import Cleaned, clean, clean_stretch
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
        findings, score = self._judge(text, self._classifier)
        verdict = thresholds.verdict(score)
        cleaned = self._clean(text, findings) if verdict is not Verdict.PASS else None
        by_weight = sorted(findings, key=lambda one: -one.weight)
        return FilterResult(
            clean_text=cleaned.text if cleaned else text,
            quarantined=cleaned.fragments if cleaned else (),
            risk_score=score,
            detected_patterns=tuple(dict.fromkeys(one.rule for one in by_weight)),
            findings=tuple(findings),
            verdict=verdict,
        )

    def _judge(self, text: str, classifier: Classifier | None) -> tuple[list[Finding], float]:
        """Return what is found in a text, in order, and its score."""
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
        return findings, score

    def _clean(self, text: str, findings: Sequence[Finding]) -> Cleaned:
        """Return a text without what is found, nor what is found in the rest of it once that is gone."""
        cleaned = clean(text, findings)
        for number in range(1, _MOST_ROUNDS + 1):
            more, _ = self._judge(cleaned.text, None)  # what the classifier says is never cut
            again = clean(cleaned.text, more) if number < _MOST_ROUNDS else clean_stretch(cleaned.text, more)
            if not again.fragments:
                break
            cleaned = Cleaned(again.text, cleaned.fragments + again.fragments)
        return cleaned

    def quarantine(self, fragment: str, metadata: Mapping[str, object]) -> str:
        """Keep a suspicious fragment for analysis and return its id. Raises what the store raises."""
        if self._quarantine is None:
            raise LookupError("this filter was made without a quarantine")
        return self._quarantine.add(fragment, metadata)
