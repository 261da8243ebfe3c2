"""`autogit schedule show|install|remove`: what brings the platform back after a reboot, and keeps it healed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from autogit.cli.context import Context, command, interactive
from autogit.cli.output import columns

if TYPE_CHECKING:
    from autogit.model.schedule import JobView, ScheduleView

_HEADER = ("JOB", "INSTALLED", "ACTIVE", "ENABLED", "LAST RESULT", "WHERE")
_NOTHING_INSTALLED = "Nothing is installed: autogit schedule install"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Jobs that bring the platform back after a reboot and keep it healed.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.add_typer(group, name="schedule")

    @command(group, "show")
    def show(context: Context) -> None:
        """Show each job: whether it is installed, where, and how it goes."""
        from autogit.operations import schedule

        view = schedule.show(context.open_project())
        context.output.data(view, _show_lines(view))
        _advise(context, view)

    @command(group, "install")
    def install(
        context: Context,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files only.")] = False,
    ) -> None:
        """Install the jobs: systemd units, or lines in the crontab where there is no systemd."""
        from autogit.operations import schedule

        project = context.open_project()
        if dry_run:
            preview = schedule.preview(project)
            context.output.data(preview, _file_lines(preview))
            return
        view = schedule.install(project, confirm=_confirmer(context, asked=not yes))
        context.output.data(view, _done_lines(view, "Nothing to do: every job is installed."))
        _advise(context, view)

    @command(group, "remove")
    def remove(context: Context, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
        """Stop the jobs and remove them; the platform itself goes on."""
        from autogit.operations import schedule

        view = schedule.remove(context.open_project(), confirm=_confirmer(context, asked=not yes))
        context.output.data(view, _done_lines(view, "Nothing to do: no job is installed."))


def _confirmer(context: Context, *, asked: bool) -> Callable[[ScheduleView], bool]:
    """Return the question before files are written: what will be is shown, and a person is asked."""

    def confirm(view: ScheduleView) -> bool:
        for line in _file_lines(view):
            context.output.progress(line)
        return not (asked and interactive()) or typer.confirm("Apply?", err=True)

    return confirm


def _file_lines(view: ScheduleView) -> Iterator[str]:
    """Yield each file that changes: its place in a comment, as `systemctl cat` writes it, and its text."""
    for file in view.pending:
        yield f"# {file.path}" + ("" if file.action == "create" else f" ({file.action})")
        yield from () if file.action == "delete" else file.text.splitlines()
        yield ""


def _done_lines(view: ScheduleView, nothing: str) -> Iterator[str]:
    words = {"create": "Wrote", "update": "Wrote", "delete": "Removed"}
    for file in view.pending:
        yield f"{words[file.action]} {file.path}"
    if not view.pending:
        yield nothing
    elif view.jobs:
        yield "Look at it with: autogit schedule show"


def _show_lines(view: ScheduleView) -> Iterator[str]:
    rows = [
        (j.name, _installed(j), j.active or "-", j.enabled or "-", j.last_result or "-", ", ".join(j.where))
        for j in view.jobs
    ]
    yield from columns(rows, _HEADER)
    if not any(job.installed for job in view.jobs):
        yield _NOTHING_INSTALLED
    elif view.pending:
        yield "Some files are not as this version writes them: autogit schedule install"


def _installed(job: JobView) -> str:
    if not job.installed:
        return "no"
    return "yes" if job.current else "outdated"


def _advise(context: Context, view: ScheduleView) -> None:
    for message in view.messages:
        context.output.warning(message)
