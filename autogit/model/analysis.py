"""What the filter says of one text, as the API and the quarantine show it."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from autogit.model.security import DEFAULT_SOURCE, FilterResult, Finding, Severity, Stage, Verdict
from autogit.model.views import View

LONGEST_SOURCE = 64


class FindingView(View):
    """One finding, in the words that `autogit scan` has for it, without any of the text.

    `offset` and `length` are code points of the original text; `decoded` names the decoders it was found behind, empty
    is the text itself.
    """

    rule: str
    stage: Stage
    severity: Severity
    explanation: str
    offset: int
    length: int
    decoded: str = ""
    weight: float


class AnalyzeRequest(View):
    """The specification's `AnalyzeRequest`: a text, and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str = Field(description="The text itself")
    source: str = Field(
        DEFAULT_SOURCE,
        min_length=1,
        max_length=LONGEST_SOURCE,
        description="Where it comes from: issue, commit, log, ...; chooses the thresholds (SECURITY_THRESHOLDS)",
    )


class AnalyzeResult(View):
    """The specification's `AnalyzeResult`.

    `clean_text` is the text without what was found, `quarantined` are the fragments that were taken out.
    """

    clean_text: str
    quarantined: tuple[str, ...]
    risk_score: float = Field(ge=0, le=1)
    detected_patterns: tuple[str, ...]
    verdict: Verdict
    source: str
    findings: tuple[FindingView, ...]


def finding_view(finding: Finding) -> FindingView:
    """Return how a finding is shown."""
    return FindingView(
        rule=finding.rule,
        stage=finding.stage,
        severity=finding.severity,
        explanation=finding.explanation,
        offset=finding.start,
        length=finding.end - finding.start,
        decoded=finding.view,
        weight=finding.weight,
    )


def analysis_view(result: FilterResult, source: str) -> AnalyzeResult:
    """Return how the result for a text is shown."""
    return AnalyzeResult(
        clean_text=result.clean_text,
        quarantined=result.quarantined,
        risk_score=result.risk_score,
        detected_patterns=result.detected_patterns,
        verdict=result.verdict,
        source=source,
        findings=tuple(finding_view(one) for one in result.findings),
    )
