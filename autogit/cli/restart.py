"""`autogit restart`: stop and start services, and wait until they are ready."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "restart")
    def restart(
        context: Context,
        services: Annotated[list[str] | None, typer.Argument(help="Services (default: all).")] = None,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Restart services."""
        from autogit.operations import lifecycle

        work = lifecycle.restart(
            context.open_project(), services or (), lock_wait_seconds=lock_wait, on_event=context.on_event
        )
        messages = context.perform(work)
        context.output.data({"messages": list(messages)}, messages)
