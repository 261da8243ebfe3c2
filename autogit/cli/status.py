"""`autogit status`: how the platform is, asked from inside and from outside."""

from __future__ import annotations

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "status")
    def status(context: Context) -> None:
        """Show each service's health; exits 1 unless everything is healthy."""
        from autogit.cli.plan_text import status_lines
        from autogit.operations.status import status as ask

        view = context.perform(ask(context.open_project()))
        context.output.data(view, status_lines(view))
        if view.status != "healthy":
            raise typer.Exit(1)
