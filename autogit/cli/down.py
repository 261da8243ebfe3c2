"""`autogit down`: stop everything; volumes, secrets and certificates stay unless they are named."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, asked, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "down")
    def down(
        context: Context,
        volumes: Annotated[bool, typer.Option("--volumes", help="Also remove the volumes, with their data.")] = False,
        purge: Annotated[
            bool, typer.Option("--purge", help="Also remove all state: volumes, secrets, certificates, data.")
        ] = False,
        confirm: Annotated[str, typer.Option(help="The project's name, instead of the question.")] = "",
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Stop the platform."""
        from autogit.operations import lifecycle

        if purge:
            project = context.open_project()
            name = project.settings.project_name
            _name_volumes(context)
            confirm = confirm or asked(f"This removes DNS records, secrets and data. Type {name} to go on")
            messages = context.perform(lifecycle.purge(project, confirm, lock_wait_seconds=lock_wait))
        elif volumes:
            names = _name_volumes(context)
            confirm = confirm or asked("This removes their data. Type the project's name to go on")
            work = lifecycle.remove_volumes(context.paths, names, confirm, lock_wait_seconds=lock_wait)
            messages = context.perform(work)
        else:
            messages = context.perform(lifecycle.down(context.paths, lock_wait_seconds=lock_wait))
        context.output.data({"messages": list(messages)}, messages)


def _name_volumes(context: Context) -> tuple[str, ...]:
    """Say which volumes would go, and return their names."""
    from autogit.operations import lifecycle

    names = tuple(context.perform(lifecycle.list_volumes(context.paths)))
    for name in names:
        context.output.progress(f"volume {name} would be removed with its data")
    return names
