"""What the prompt-injection filter says of a text: findings, a score, a verdict, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Stage(StrEnum):
    """Which of the filter's stages found something (specification, section 5)."""

    HIDDEN = "hidden"
    PATTERN = "pattern"
    STRUCTURE = "structure"
    CLASSIFIER = "classifier"


class Severity(StrEnum):
    """How bad a finding is by itself; `rank` orders them."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 4 for critical."""
        return list(Severity).index(self)


class Verdict(StrEnum):
    """What is to become of a text; each is stricter than the one before."""

    PASS = "pass"  # noqa: S105 - a verdict
    FLAG = "flag"
    QUARANTINE = "quarantine"
    BLOCK = "block"

    @property
    def rank(self) -> int:
        """0 for pass, 3 for block."""
        return list(Verdict).index(self)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Risk scores from which on a text is flagged, quarantined or blocked: 0 < flag <= quarantine <= block <= 1."""

    flag: float = 0.5
    quarantine: float = 0.7
    block: float = 0.9

    def __post_init__(self) -> None:
        """Raise ValueError where they are out of order."""
        if not 0 < self.flag <= self.quarantine <= self.block <= 1:
            raise ValueError("thresholds must be in order: 0 < flag <= quarantine <= block <= 1")

    def __str__(self) -> str:
        """Return them as `.env` has them: `0.5/0.7/0.9`."""
        return f"{self.flag:g}/{self.quarantine:g}/{self.block:g}"

    def verdict(self, score: float) -> Verdict:
        """Return the verdict for a risk score."""
        steps = ((self.block, Verdict.BLOCK), (self.quarantine, Verdict.QUARANTINE), (self.flag, Verdict.FLAG))
        return next((verdict for least, verdict in steps if score >= least), Verdict.PASS)


DEFAULT_SOURCE = "default"
"""The source whose thresholds hold for all that have none of their own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    `start` and `end` are offsets (code points, end excluded) in the ORIGINAL text, whatever view it was found in.
    `view` names the decoders that led to that view, outermost first, joined by `>`; empty is the text itself.
    `weight` (0.0 to 1.0) is what it adds to the risk score by itself.
    """

    rule: str
    stage: Stage
    severity: Severity
    start: int
    end: int
    weight: float
    explanation: str
    view: str = ""


@dataclass(frozen=True, slots=True)
class FilterResult:
    """What `PromptInjectionFilter.analyze` returns (specification, section 5).

    `clean_text` is the text without what was found, all else unchanged; the very text where the verdict is `pass`.
    `quarantined` are the fragments that were taken out, in order. `detected_patterns` are rule ids, each once, the
    heaviest first.
    """

    clean_text: str
    quarantined: tuple[str, ...]
    risk_score: float
    detected_patterns: tuple[str, ...]
    findings: tuple[Finding, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class SecurityPolicy:
    """Which thresholds hold for which source of texts."""

    thresholds: Mapping[str, Thresholds] = field(default_factory=lambda: {DEFAULT_SOURCE: Thresholds()})

    def for_source(self, source: str) -> Thresholds:
        """Return a source's thresholds, or those of all that have none of their own."""
        return self.thresholds.get(source) or self.thresholds.get(DEFAULT_SOURCE) or Thresholds()


FilterMode = Literal["off", "monitor", "quarantine", "block"]
"""How far the ingress goes: not at all; it watches; it holds a text back for an admin; it refuses it outright."""
