"""Judging one text that somebody asks about; nothing is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autogit.errors import UsageError
from autogit.model.analysis import LONGEST_SOURCE, AnalyzeRequest, AnalyzeResult, analysis_view
from autogit.model.security import DEFAULT_SOURCE
from autogit.operations.project import Project
from autogit.security.classifier import load_classifier
from autogit.security.prompt_filter import PromptInjectionFilter

_FIELDS = frozenset(AnalyzeRequest.model_fields)


def parse_request(body: object) -> AnalyzeRequest:
    """Return what a body asks for; a text may hold anything, lone surrogates too. Raises UsageError."""
    if not isinstance(body, Mapping) or not isinstance(body.get("text"), str):
        raise UsageError("the body must be a JSON object with a text", hint='{"source": "issue", "text": "..."}')
    unknown = sorted(str(name) for name in body.keys() - _FIELDS)
    if unknown:
        raise UsageError("the body has fields that nobody knows; it takes text and source")
    return AnalyzeRequest(text=body["text"], source=_source(body))


def analyze(project: Project, request: AnalyzeRequest) -> AnalyzeResult:
    """Return what the filter says of a text, by the project's thresholds; never raises for what the text holds."""
    found = project_filter(project).analyze(request.text, request.source)
    return analysis_view(found, request.source)


def project_filter(project: Project) -> PromptInjectionFilter:
    """Return the filter as `.env` wants it; rules and model are loaded once a process."""
    classifier = load_classifier() if project.settings.security_classifier else None
    return PromptInjectionFilter(project.settings.security_policy, classifier=classifier)


def _source(body: Mapping[str, Any]) -> str:
    source = body.get("source", DEFAULT_SOURCE)
    if not isinstance(source, str) or not 0 < len(source) <= LONGEST_SOURCE or not source.isprintable():
        raise UsageError(
            f"source must be a word of {LONGEST_SOURCE} characters at most", hint="issue, commit, log, ..."
        )
    return source
