"""`autogit down`: stop everything; data, secrets and certificates stay unless purged by name."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command, interactive


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "down")
    def down(
        context: Context,
        purge: Annotated[
            bool, typer.Option("--purge", help="Also remove all state: secrets, certificates, data.")
        ] = False,
        confirm: Annotated[str, typer.Option(help="With --purge: the project's name, instead of the question.")] = "",
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Stop the lifecycle."""
        from autogit.operations import lifecycle

        if purge:
            project = context.open_project()
            name = project.settings.project_name
            if not confirm and interactive():
                confirm = typer.prompt(f"This removes secrets, certificates and data. Type {name} to go on", err=True)
            messages = context.perform(lifecycle.purge(project, confirm, lock_wait_seconds=lock_wait))
        else:
            messages = context.perform(lifecycle.down(context.paths, lock_wait_seconds=lock_wait))
        context.output.data({"messages": list(messages)}, messages)
