"""The quarantine as a person reads and answers it; nothing in a held text may pose as AutoGit's own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import typer

from autogit.cli.context import Context, interactive
from autogit.cli.output import columns
from autogit.errors import UsageError
from autogit.model.quarantine import (
    QuarantineList,
    QuarantinePurge,
    QuarantineRecord,
    QuarantineStatus,
    QuarantineText,
)
from autogit.model.text import counted, moment_words, one_line, printable

_SHOWN_PATTERNS = 2


def parse_status(word: str) -> QuarantineStatus | None:
    """Return a status, nothing where none is given. Raises UsageError."""
    if not word:
        return None
    try:
        return QuarantineStatus(word)
    except ValueError as exc:
        raise UsageError(f"{word} is no status: one of {', '.join(QuarantineStatus)}") from exc


def list_lines(view: QuarantineList) -> Iterator[str]:
    """Yield one line a record, and how full the quarantine is."""
    rows = [
        (
            one.id,
            str(one.analysis_status),
            moment_words(one.last_seen),
            one_line(one.source if one.service in {"", one.source} else f"{one.service}/{one.source}"),
            f"{one.risk_score:.2f}",
            str(one.count),
            one_line(_patterns(one)),
        )
        for one in view.records
    ]
    if rows:
        yield from columns(rows, ("ID", "STATUS", "LAST SEEN", "SOURCE", "RISK", "COUNT", "PATTERNS"))
        yield ""
    if len(rows) < view.total:
        yield f"{len(rows)} of {view.total} shown; --limit 0 shows all"
    yield f"{_counts(view.counts) or 'nothing held'}; {view.used_bytes >> 10} KB of {view.max_bytes >> 20} MB"


def record_lines(view: QuarantineText) -> Iterator[str]:
    """Yield what is known of a text, what was found in it, and its words behind a bar."""
    yield from columns([*_facts(view)])
    yield ""
    for one in view.findings:
        decoded = f", decoded from {one.decoded}" if one.decoded else ""
        place = f"at {one.offset}, {counted(one.length, 'character')}{decoded}"
        yield f"{one.severity:8} {one_line(f'{one.rule} {place}')}"
        yield f"         {one_line(one.explanation)}"
    yield from ("", "sanitized text:", *_behind_bar(view.sanitized_text))
    if view.original_text is not None:
        yield from ("", "original text:", *_behind_bar(view.original_text))


def purge_lines(view: QuarantinePurge) -> Iterator[str]:
    """Yield what was deleted, or would be."""
    if not view.ids:
        yield "nothing to delete"
    elif view.dry_run:
        yield from (f"would delete {one}" for one in view.ids)
    else:
        yield f"deleted {counted(len(view.ids), 'text')} ({_counts(view.counts)})"


def confirmer(context: Context, *, yes: bool) -> Callable[[QuarantinePurge], bool]:
    """Return the question before texts are deleted; where nobody can be asked, only `yes` lets it go on."""

    def confirm(view: QuarantinePurge) -> bool:
        context.output.progress(f"this deletes {counted(len(view.ids), 'text')} for good: {_counts(view.counts)}")
        return yes or (interactive() and typer.confirm("Delete?", err=True))

    return confirm


def _facts(view: QuarantineText) -> Iterator[tuple[str, str]]:
    yield "id", view.id
    yield "status", f"{view.analysis_status}{f' on {moment_words(view.decided_at)}' if view.decided_at else ''}"
    if view.reason:
        yield "reason", one_line(view.reason)
    yield "source", one_line(view.source)
    for name, value in (("service", view.service), ("request", view.request_id)):
        if value:
            yield name, one_line(value)
    yield "first seen", moment_words(view.timestamp)
    yield "last seen", f"{moment_words(view.last_seen)}, {counted(view.count, 'time')} in all"
    yield "risk", f"{view.risk_score:.2f}{f' ({one_line(view.verdict)})' if view.verdict else ''}"
    yield "size", f"{view.size_bytes} bytes"
    yield "patterns", one_line(", ".join(view.detected_patterns))


def _patterns(record: QuarantineRecord) -> str:
    more = len(record.detected_patterns) - _SHOWN_PATTERNS
    return ", ".join(record.detected_patterns[:_SHOWN_PATTERNS]) + (f" and {more} more" if more > 0 else "")


def _counts(counts: Mapping[QuarantineStatus, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in QuarantineStatus if counts.get(status))


def _behind_bar(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"| {printable(line)}"
