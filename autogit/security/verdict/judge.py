"""What becomes of one request: its texts are judged together, and what is held back is kept for an admin."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from autogit.errors import AutogitError
from autogit.model.quarantine import quarantine_metadata
from autogit.model.security import FilterResult, Finding, Verdict
from autogit.security.prompt_filter import PromptInjectionFilter
from autogit.security.verdict.encodings import TooLargeError, UnreadableError, decoded
from autogit.security.verdict.texts import joined, texts_of

_LOG = logging.getLogger(__name__)
_MONITOR = "monitor"
_UNKNOWN = "unknown"


class Action(StrEnum):
    """What the ingress is to do with a request."""

    PASS = "pass"  # noqa: S105 - what becomes of it
    HOLD = "hold"
    REFUSE = "refuse"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    UNKEPT = "unkept"


class Quarantine(Protocol):
    """Where texts are kept."""

    def add(self, fragment: str, metadata: Mapping[str, object]) -> str:
        """Keep a text and return its id. Raises AutogitError."""

    def is_released(self, text: str) -> bool:
        """Tell whether an admin lets this very text pass."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request as the ingress hands it over; `mode` is monitor, quarantine or block."""

    body: bytes
    content_type: str
    content_encoding: str
    service: str
    mode: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request. `risk` is the score as text, `unknown` where there is none."""

    action: Action
    risk: str = _UNKNOWN
    verdict: str = _UNKNOWN
    quarantine_id: str = ""


class Judge:
    """Judges requests; threads may share one."""

    def __init__(self, prompt_filter: PromptInjectionFilter, quarantine: Quarantine, max_body_bytes: int) -> None:
        self._filter = prompt_filter
        self._quarantine = quarantine
        self._max_body_bytes = max_body_bytes

    def decide(self, question: Question) -> Decision:
        """Return what becomes of a request. What only is watched always passes."""
        try:
            body = decoded(question.body, question.content_encoding, self._max_body_bytes)
        except TooLargeError:
            return self._unread(question, Action.TOO_LARGE)
        except UnreadableError:
            return self._unread(question, Action.UNREADABLE)
        texts = texts_of(body, question.content_type)
        text, starts = joined(texts)
        result = self._filter.analyze(text, question.service)
        risk = f"{result.risk_score:.2f}"
        wanted = _action(question.mode, result.verdict)
        if wanted is Action.PASS:
            return Decision(wanted, risk, str(result.verdict))
        return self._held(question, wanted, risk, _offending(texts, starts, result.findings) or text, result)

    def _unread(self, question: Question, action: Action) -> Decision:
        return Decision(Action.PASS if question.mode == _MONITOR else action, verdict=str(action))

    def _held(self, question: Question, wanted: Action, risk: str, text: str, result: FilterResult) -> Decision:
        """Keep what was found, unless an admin lets it pass. What cannot be kept does not pass for that."""
        try:
            if self._quarantine.is_released(text):
                return Decision(Action.PASS, risk, "released")
            own = self._filter.analyze(text, question.service)
            metadata = quarantine_metadata(
                own, question.service, service=question.service, request_id=question.request_id
            ) | {"verdict": str(result.verdict), "risk_score": result.risk_score}
            kept = self._quarantine.add(text, metadata)
        except AutogitError as exc:
            _LOG.warning("a text could not be kept (request %s): %s", question.request_id, exc.message)
            return Decision(Action.UNKEPT, risk, "unkept")
        return Decision(wanted, risk, str(result.verdict), kept)


def _action(mode: str, verdict: Verdict) -> Action:
    if mode == _MONITOR or verdict.rank < Verdict.QUARANTINE.rank:
        return Action.PASS
    return Action.REFUSE if mode == "block" and verdict is Verdict.BLOCK else Action.HOLD


def _offending(texts: Sequence[str], starts: Sequence[int], findings: Sequence[Finding]) -> str:
    """Return the texts that something was found in, joined: what changes around them (a token, a time) is not kept."""
    touched: set[int] = set()
    for one in findings:
        first = bisect_right(starts, one.start) - 1
        touched.update(range(max(first, 0), max(bisect_left(starts, one.end), first + 1)))
    return "\n".join(texts[place] for place in sorted(touched))
