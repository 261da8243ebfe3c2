"""`autogit scan`: prompt injection in files, archives, standard input and git history."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autogit.cli.context import Context, command
from autogit.model.security import Severity

if TYPE_CHECKING:
    from autogit.model.scan import ScanView

_FOUND = 1
_EVERY = 20
_MOST_WARNINGS = 20


class ScanFormat(StrEnum):
    """How findings are written to stdout."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "scan", formats=ScanFormat)
    def scan(
        context: Context,
        paths: Annotated[list[str] | None, typer.Argument(help="Files and folders; - is standard input.")] = None,
        git: Annotated[
            str, typer.Option("--git", metavar="REV_RANGE", help="Commits: messages, names, added lines.")
        ] = "",
        staged: Annotated[bool, typer.Option("--staged", help="The lines that the next commit would add.")] = False,
        fail_on: Annotated[
            Severity | None,
            typer.Option(metavar="SEVERITY", help="Exit 1 from this severity on (default: by the verdict of a text)."),
        ] = None,
        baseline: Annotated[Path | None, typer.Option(metavar="FILE", help="Accepted findings.")] = None,
        write_baseline: Annotated[Path | None, typer.Option(metavar="FILE", help="Accept what is found.")] = None,
        everything: Annotated[bool, typer.Option("--all", help="Also tell findings that call for nothing.")] = False,
        source: Annotated[str, typer.Option(help="Kind of all texts (issue, log, ...), for its thresholds.")] = "",
        archives: Annotated[bool, typer.Option("--archives", help="Look into zip and tar files.")] = False,
        ignoring: Annotated[bool, typer.Option("--ignore/--no-ignore", help="Heed .autogitignore.")] = True,
        max_mb: Annotated[float, typer.Option(help="Largest file that is scanned, in megabytes.")] = 10.0,
        jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes (0: one for each core).")] = 0,
    ) -> None:
        """Look for prompt injection (exit 1 where a text is suspicious); nothing is changed."""
        from autogit.operations.scan import ScanRequest
        from autogit.operations.scan import scan as look

        request = ScanRequest(
            paths=paths or (),
            git_range=git,
            staged=staged,
            source=source,
            fail_on=fail_on,
            everything=everything,
            baseline=None if write_baseline else baseline,
            archives=archives,
            ignoring=ignoring,
            most_megabytes=max_mb,
            jobs=jobs,
        )
        try:
            view = look(
                context.paths, request, stdin=getattr(sys.stdin, "buffer", None), on_progress=_progress(context)
            )
        finally:
            context.output.close()
        _show(context, view)
        _end(context, view, write_baseline)


def _progress(context: Context) -> Callable[[int, int], None]:
    """Return what tells how far a scan is: on a terminal only, for a log has no use for it."""
    output = context.output
    if output.quiet or not sys.stderr.isatty():
        return lambda _scanned, _failing: None

    def tell(scanned: int, failing: int) -> None:
        if scanned % _EVERY == 0:
            output.waiting("scan", f"{scanned} texts, {failing} suspicious")

    return tell


def _show(context: Context, view: ScanView) -> None:
    from autogit.cli.scan_text import scan_lines
    from autogit.operations.scan_sarif import sarif_log

    shown = sarif_log(view) if context.format == ScanFormat.SARIF else view
    context.output.data(shown, scan_lines(view, context.output))
    unread = [one for one in view.skipped if one.reason.startswith(("not readable", "vanished"))]
    for one in unread[:_MOST_WARNINGS]:
        context.output.warning(f"{one.path} was not scanned: {one.reason}")
    if len(unread) > _MOST_WARNINGS:
        context.output.warning(f"{len(unread) - _MOST_WARNINGS} more files were not scanned: --verbose names them")
    if not view.scanned:
        context.output.warning("nothing was scanned")


def _end(context: Context, view: ScanView, write_baseline: Path | None) -> None:
    from autogit.operations.scan_baseline import write_baseline as accept

    if write_baseline:
        context.output.progress(
            f"accepted in {write_baseline}: {accept(context.paths.root / write_baseline, view)} findings"
        )
    elif view.failed:
        raise typer.Exit(_FOUND)
