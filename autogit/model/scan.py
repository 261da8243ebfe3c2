"""What `autogit scan` says: texts with findings, where they stand, what was left out and why."""

from __future__ import annotations

from pydantic import Field

from autogit.model.security import Severity, Stage, Verdict
from autogit.model.views import View


class ScanFinding(View):
    """One finding at its place.

    Lines and columns count from 1, columns in code points, `end_column` is the one after the last. `offset` is null
    where only parts of a file were seen (diffs). `decoded` names the decoders it was found behind, empty is the text
    itself. `fingerprint` stays the same when lines move: rule, path and the words that were matched.
    """

    rule: str
    stage: Stage
    severity: Severity
    explanation: str
    line: int
    column: int
    end_line: int
    end_column: int
    offset: int | None
    length: int
    decoded: str
    excerpt: str
    fingerprint: str
    weight: float


class ScannedText(View):
    """One text with findings. `uri` is its path percent-encoded; `commit` is set for a part of the history."""

    path: str
    uri: str
    source: str
    commit: str = ""
    risk_score: float
    verdict: Verdict
    findings: tuple[ScanFinding, ...]


class SkippedText(View):
    """One thing that was not scanned, and why."""

    path: str
    reason: str


class ScanView(View):
    """The result of a scan: `failed` tells whether it ends with exit code 1."""

    schema_version: int = 1
    failed: bool
    fail_on: Severity | None = Field(description="null: any text whose verdict is flag or worse")
    scanned: int
    characters: int
    findings: int
    accepted: int
    ignored: int
    texts: tuple[ScannedText, ...]
    skipped: tuple[SkippedText, ...]
