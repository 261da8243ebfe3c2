"""What the quarantine keeps of a suspicious text, and how that is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from autogit.model.analysis import FindingView, finding_view
from autogit.model.security import DEFAULT_SOURCE, FilterResult
from autogit.model.views import View

RECORD_ID = re.compile(r"q-([0-9]{8})-([0-9]{3}|[1-9][0-9]{3,8})")
"""`q-YYYYMMDD-NNN`: the UTC day, and the number on that day; more than 999 make it longer. A record has one id only."""

MOST_FINDINGS = 50
"""Findings that are kept of one text, the heaviest."""


class QuarantineStatus(StrEnum):
    """What was decided on a text.

    Whatever comes in is `pending`. `released` lets the identical text pass from then on, `rejected` does not.
    """

    PENDING = "pending"
    RELEASED = "released"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class QuarantineLimits:
    """How long texts are kept, counted from when they were last seen, and how many bytes the quarantine may take up."""

    days: int = 90
    max_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class QuarantineQuery:
    """Which records are meant; what is not given does not narrow."""

    status: QuarantineStatus | None = None
    source: str = ""
    since: str = ""
    before: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class QuarantineSize:
    """How full the quarantine is."""

    counts: Mapping[QuarantineStatus, int]
    used_bytes: int
    max_bytes: int


class QuarantineRecord(View):
    """The specification's quarantine record without its texts.

    `timestamp` is when the text first came, `last_seen` when it last did, `count` how often. `decided_at` and `reason`
    are empty while it is pending.
    """

    id: str
    timestamp: str
    source: str
    detected_patterns: tuple[str, ...]
    risk_score: float
    analysis_status: QuarantineStatus
    verdict: str
    findings: tuple[FindingView, ...]
    service: str = ""
    request_id: str = ""
    size_bytes: int
    count: int
    last_seen: str
    decided_at: str = ""
    reason: str = ""


class QuarantineText(QuarantineRecord):
    r"""The whole record; `original_text` is null where it was not asked for. A lone surrogate reads `\ud800`."""

    sanitized_text: str
    original_text: str | None = None


class QuarantineList(View):
    """Records, the newest first, and how full the quarantine is. `total` counts all that were asked for."""

    records: tuple[QuarantineRecord, ...]
    total: int
    counts: Mapping[QuarantineStatus, int]
    used_bytes: int
    max_bytes: int


class QuarantinePurge(View):
    """What a purge deleted, or would delete with `dry_run`."""

    ids: tuple[str, ...] = Field(description="Ids of the records, the oldest first")
    counts: Mapping[QuarantineStatus, int]
    dry_run: bool


def quarantine_metadata(
    result: FilterResult, source: str = DEFAULT_SOURCE, *, service: str = "", request_id: str = ""
) -> dict[str, object]:
    """Return what the quarantine is told with a text that the filter has judged; the heaviest findings only."""
    heaviest = sorted(result.findings, key=lambda one: -one.weight)[:MOST_FINDINGS]
    return {
        "source": source,
        "service": service,
        "request_id": request_id,
        "risk_score": result.risk_score,
        "verdict": str(result.verdict),
        "detected_patterns": result.detected_patterns,
        "findings": [finding_view(one) for one in heaviest],
        "sanitized_text": result.clean_text,
    }
