"""`autogit secrets list|reveal`: what the platform generated and keeps."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Secrets that the platform keeps.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="secrets")

    @command(group, "list")
    def list_all(context: Context) -> None:
        """List the names of all secrets."""
        names = context.open_project().secrets.list_names()
        context.output.data({"secrets": list(names)}, names)

    @command(group, "reveal")
    def reveal(context: Context, name: Annotated[str, typer.Argument(help="Secret.")]) -> None:
        """Write one secret to stdout."""
        value = context.open_project().secrets.reveal(name)
        context.output.data({"name": name, "value": value}, [value])
