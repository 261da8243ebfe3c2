"""`autogit quarantine`: texts that the prompt-injection filter held back, and what is decided on them."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command

_Id = Annotated[str, typer.Argument(help="The text's id, as quarantine list shows it.")]
_Reason = Annotated[str, typer.Option(help="Why, in a few words: kept with the text and in the audit log.")]
_Status = Annotated[str, typer.Option(help="Only these: pending, released or rejected.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Texts that the prompt-injection filter held back.", no_args_is_help=True, rich_markup_mode=None
    )
    app.add_typer(group, name="quarantine")
    _register_views(group)
    _register_decisions(group)
    _register_purge(group)


def _register_views(group: typer.Typer) -> None:
    @command(group, "list")
    def list_all(
        context: Context,
        status: _Status = "",
        source: Annotated[str, typer.Option(help="Only texts of this source: issue, commit, log, ...")] = "",
        since: Annotated[str, typer.Option(help="Only what was seen since this day or moment (ISO 8601, UTC).")] = "",
        limit: Annotated[int, typer.Option(min=0, help="Show that many at most; 0 shows all.")] = 50,
    ) -> None:
        """List texts, the one that was seen last first, without their words."""
        from autogit.cli.quarantine_text import list_lines, parse_status
        from autogit.model.quarantine import QuarantineQuery
        from autogit.operations import quarantine

        seen_since = quarantine.parse_since(since) if since else ""
        query = QuarantineQuery(parse_status(status), source, since=seen_since, limit=limit)
        view = quarantine.list_records(context.open_project(), query)
        context.output.data(view, list_lines(view))

    @command(group, "show")
    def show(
        context: Context,
        record_id: _Id,
        original: Annotated[bool, typer.Option("--original", help="Show the text as it came, too.")] = False,
    ) -> None:
        """Show what was found in a text and the text without it; signs that steer a terminal are escaped."""
        from autogit.cli.quarantine_text import record_lines
        from autogit.operations import quarantine

        view = quarantine.show(context.open_project(), record_id, original=original)
        context.output.data(view, record_lines(view))


def _register_decisions(group: typer.Typer) -> None:
    @command(group, "release")
    def release(context: Context, record_id: _Id, reason: _Reason) -> None:
        """Find a text harmless: the ingress lets the identical text pass from now on."""
        _decide(context, record_id, "released", reason)

    @command(group, "reject")
    def reject(context: Context, record_id: _Id, reason: _Reason) -> None:
        """Find a text harmful: it stays held back, and goes first where room is needed; also takes a release back."""
        _decide(context, record_id, "rejected", reason)


def _register_purge(group: typer.Typer) -> None:
    @command(group, "purge")
    def purge(
        context: Context,
        older_than: Annotated[
            int | None, typer.Option(min=0, max=36500, help="Days since the text was last seen (QUARANTINE_DAYS).")
        ] = None,
        status: _Status = "",
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and stop.")] = False,
    ) -> None:
        """Delete texts for good: what QUARANTINE_DAYS has ended, or what is named by age, status or both."""
        from autogit.cli.quarantine_text import confirmer, parse_status, purge_lines
        from autogit.operations import quarantine

        ask = confirmer(context, yes=yes)
        project, chosen = context.open_project(), parse_status(status)
        view = quarantine.purge(project, older_than, chosen, confirm=ask, dry_run=dry_run)
        context.output.data(view, purge_lines(view))


def _decide(context: Context, record_id: str, status: str, reason: str) -> None:
    from autogit.model.quarantine import QuarantineStatus
    from autogit.operations import quarantine

    view = quarantine.decide(context.open_project(), record_id, QuarantineStatus(status), reason)
    context.output.data(view, [f"{view.id} is {view.analysis_status}"])
