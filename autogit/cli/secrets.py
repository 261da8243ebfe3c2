"""`autogit secrets list|reveal|set`: what the platform generated and keeps, and what a user gave it."""

from __future__ import annotations

import getpass
import sys
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

    @command(group, "set")
    def set_value(context: Context, name: Annotated[str, typer.Argument(help="Secret.")]) -> None:
        """Keep a value that is read from standard input, for what names this secret (a mirror's credential)."""
        from autogit.operations.secrets import set_secret

        project = context.open_project()
        value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read()
        context.perform(set_secret(project, name, value))
        context.output.data({"name": name}, [f"{name} is kept"])
