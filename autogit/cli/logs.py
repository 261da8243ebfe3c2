"""`autogit logs`: what services wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "logs")
    def logs(
        context: Context,
        services: Annotated[list[str] | None, typer.Argument(help="Services (default: all).")] = None,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
        lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Last lines of each service.")] = 50,
    ) -> None:
        """Show the last log lines of services."""
        from autogit.operations.logs import follow_logs, read_logs

        project = context.open_project()
        entries = context.perform(read_logs(project, services or (), lines))
        alone = len({e.service for e in entries}) < 2 and len(services or ()) == 1  # noqa: PLR2004
        context.output.data(
            {"lines": [{"service": e.service, "line": e.text} for e in entries]},
            (e.text if alone else f"{e.service}  {e.text}" for e in entries),
        )
        if follow:
            for entry in follow_logs(project, services or ()):
                context.output.line(entry.text if alone else f"{entry.service}  {entry.text}")
