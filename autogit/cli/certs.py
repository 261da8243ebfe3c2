"""`autogit certs`: certificates; here, how to trust the local authority."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Certificates.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="certs")

    @command(group, "root")
    def root(context: Context) -> None:
        """Write the path of the platform's root certificate, for curl --cacert."""
        from autogit.operations.certs import trust as explain

        path, _ = explain(context.open_project(), install=False)
        context.output.data({"root": str(path)}, [str(path)])

    @command(group, "trust")
    def trust(
        context: Context,
        install: Annotated[bool, typer.Option("--install", help="Put the root into this system's store.")] = False,
    ) -> None:
        """Show how to trust the platform's root certificate, or install it."""
        from autogit.operations.certs import trust as explain

        path, lines = explain(context.open_project(), install=install)
        context.output.data({"root": str(path), "messages": list(lines)}, lines)
