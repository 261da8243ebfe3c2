"""`autogit services list|show`: the services of the platform."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The services of the platform.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="services")

    @command(group, "list")
    def list_all(context: Context) -> None:
        """List services with status and ports."""
        from autogit.cli.output import columns
        from autogit.operations.status import list_services

        services = context.perform(list_services(context.open_project()))
        rows = [
            (s.name, s.subdomain or "-", s.status, str(s.ports.internal or "-"), str(s.ports.external or "-"))
            for s in services
        ]
        context.output.data(services, columns(rows, ("SERVICE", "SUBDOMAIN", "STATUS", "INTERNAL", "EXTERNAL")))

    @command(group, "show")
    def show(context: Context, name: Annotated[str, typer.Argument(help="Service.")]) -> None:
        """Show one service: its discovery document, size and settings."""
        from autogit.operations.services import describe, discovery

        context.output.data(discovery(context.paths, name), describe(context.paths, name))
