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
        """Show the last log lines of services; followed as JSON, each line is a document of its own."""
        from autogit.operations.logs import LogEntry, follow_logs, read_logs

        project = context.open_project()
        entries = context.perform(read_logs(project, services or (), lines))
        alone = len({e.service for e in entries}) < 2 and len(services or ()) == 1  # noqa: PLR2004

        def show(entry: LogEntry) -> None:
            text = entry.text if alone else f"{entry.service}  {entry.text}"
            context.output.record({"service": entry.service, "line": entry.text}, text)

        if context.output.json and not follow:
            context.output.data({"lines": [{"service": e.service, "line": e.text} for e in entries]}, ())
        else:
            for entry in entries:
                show(entry)
        for entry in follow_logs(project, services or ()) if follow else ():
            show(entry)
