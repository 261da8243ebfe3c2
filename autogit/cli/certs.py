"""`autogit certs`: certificates; here, how to trust the local authority."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Certificates.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="certs")

    @command(group, "trust")
    def trust(
        context: Context,
        install: Annotated[bool, typer.Option("--install", help="Put the root into this system's store.")] = False,  # noqa: FBT002
    ) -> None:
        """Show how to trust the platform's root certificate, or install it."""
        from autogit.operations.certs import trust as explain  # noqa: PLC0415 - start-up cost

        root, lines = explain(context.open_project(), install=install)
        context.output.data({"root": str(root), "messages": list(lines)}, lines)
