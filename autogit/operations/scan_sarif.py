"""A scan as SARIF 2.1.0, which GitLab, GitHub and editors show at the lines it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autogit import __version__
from autogit.model.scan import ScanFinding, ScannedText, ScanView
from autogit.model.security import Severity, Stage

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
# GitHub's scale of security severities: from 9.0 on critical, 7.0 high, 4.0 medium.
_SCORES = {
    Severity.INFO: "0.0",
    Severity.LOW: "2.0",
    Severity.MEDIUM: "5.0",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
_HELP = {
    Stage.HIDDEN: "Something here is not seen by a reader but read by a language model. Remove it, or write it openly.",
    Stage.PATTERN: "These words are phrased as orders to a language model. Where they are none, reword them, or accept "
    "the finding with a baseline.",
    Stage.STRUCTURE: "The shape of this text is that of a prompt, a tool's result or a leaking link where only data "
    "belongs. Remove it, or accept the finding with a baseline.",
    Stage.CLASSIFIER: "A statistical model finds that this text resembles known attacks. Read it with care.",
}


def sarif_log(view: ScanView) -> dict[str, Any]:
    """Return a scan as a SARIF log with one run."""
    rules = _rules(view)
    order = {rule["id"]: number for number, rule in enumerate(rules)}
    results = [_result(text, one, order) for text in view.texts for one in text.findings]
    driver = {"name": "AutoGit", "version": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": list(_notifications(view))}],
        "results": results,
        "properties": {"scanned": view.scanned, "accepted": view.accepted, "ignored": view.ignored},
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rules(view: ScanView) -> list[dict[str, Any]]:
    """Return every rule that found something, by id, each with the worst it found."""
    worst: dict[str, ScanFinding] = {}
    for one in (one for text in view.texts for one in text.findings):
        known = worst.get(one.rule)
        if known is None or one.severity.rank > known.severity.rank:
            worst[one.rule] = one
    return [_rule(worst[name]) for name in sorted(worst)]


def _rule(one: ScanFinding) -> dict[str, Any]:
    advice = _HELP[one.stage]
    return {
        "id": one.rule,
        "name": "".join(word.capitalize() for word in one.rule.split("-")),
        "shortDescription": {"text": one.explanation},
        "fullDescription": {"text": f"{one.explanation} ({one.stage} stage of AutoGit's prompt-injection filter)"},
        "help": {"text": f"{one.explanation}\n\n{advice}", "markdown": f"**{one.rule}**: {advice}"},
        "defaultConfiguration": {"level": _LEVELS[one.severity]},
        "properties": {
            "tags": ["security", "prompt-injection", str(one.stage)],
            "precision": "medium" if one.stage is Stage.CLASSIFIER else "high",
            "security-severity": _SCORES[one.severity],
        },
    }


def _result(text: ScannedText, one: ScanFinding, order: dict[str, int]) -> dict[str, Any]:
    within = f" (within {one.decoded})" if one.decoded else ""
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": _artifact(text.uri), "region": _region(one)},
    }
    if text.commit:
        location["message"] = {"text": f"commit {text.commit}"}
    return {
        "ruleId": one.rule,
        "ruleIndex": order[one.rule],
        "level": _LEVELS[one.severity],
        "rank": round(one.weight * 100, 1),
        "message": {"text": f"{one.explanation}{within}"},
        "locations": [location],
        "partialFingerprints": {"autogitFinding/v1": one.fingerprint},
        "properties": {
            "severity": str(one.severity),
            "stage": str(one.stage),
            "source": text.source,
            "riskScore": text.risk_score,
            "verdict": str(text.verdict),
        },
    }


def _artifact(uri: str) -> dict[str, str]:
    return {"uri": uri} if uri.startswith("file:") else {"uri": uri, "uriBaseId": "%SRCROOT%"}


def _region(one: ScanFinding) -> dict[str, int]:
    region = {
        "startLine": one.line,
        "startColumn": one.column,
        "endLine": one.end_line,
        "endColumn": one.end_column,
    }
    return region if one.offset is None else {**region, "charOffset": one.offset, "charLength": one.length}


def _notifications(view: ScanView) -> Iterator[dict[str, Any]]:
    for one in view.skipped:
        yield {"level": "note", "message": {"text": f"not scanned: {one.path} ({one.reason})"}}
