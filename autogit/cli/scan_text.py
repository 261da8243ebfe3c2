"""A scan in lines for a person: each text with what was found in it, and one line that sums it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from autogit.cli.output import Output, columns
from autogit.model.scan import ScanFinding, ScannedText, ScanView
from autogit.model.text import counted

_RED, _YELLOW = "\x1b[31m", "\x1b[33m"


def scan_lines(view: ScanView, output: Output) -> Iterator[str]:
    """Yield the lines of a scan; everything in them is fit for a terminal."""
    for text in view.texts:
        commit = f"  commit {text.commit}" if text.commit else ""
        yield f"{text.path}{commit}  risk {text.risk_score:.2f}  {text.verdict}"
        yield from columns([_row(text, one, words=output.verbose) for one in text.findings])
        yield ""
    if output.verbose:
        yield from (f"not scanned: {one.path} ({one.reason})" for one in view.skipped)
    yield summary(view)


def summary(view: ScanView) -> str:
    """Return a scan in one line."""
    parts = [f"{counted(view.findings, 'finding')} in {len(view.texts)} of {counted(view.scanned, 'text')}"]
    if view.accepted:
        parts.append(f"{view.accepted} accepted by the baseline")
    if view.skipped:
        # A fault of the system has a reason of its own after the colon.
        kinds = Counter(one.reason.partition(":")[0] for one in view.skipped)
        parts.append("not scanned: " + ", ".join(f"{number} {reason}" for reason, number in kinds.most_common()))
    if view.ignored:
        parts.append(f"{view.ignored} ignored by .autogitignore")
    return "; ".join(parts)


def _row(text: ScannedText, one: ScanFinding, *, words: bool) -> tuple[str, ...]:
    within = f" (within {one.decoded})" if one.decoded else ""
    matched = f": {one.excerpt}" if words else ""
    return f"  {text.path}:{one.line}:{one.column}", str(one.severity), one.rule, f"{one.explanation}{within}{matched}"
