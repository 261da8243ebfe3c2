"""`autogit upgrade`: the only command that moves versions."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "upgrade")
    def upgrade(
        context: Context,
        services: Annotated[list[str] | None, typer.Argument(help="Services (default: all).")] = None,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would move; pulls nothing.")] = False,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Move services to the versions that .env and the catalogue name now."""
        from autogit.cli.plan_text import upgrade_lines
        from autogit.cli.up import confirmer, show_up
        from autogit.operations import images
        from autogit.operations.platform import UpRequest

        project = context.open_project()
        if dry_run:
            view = context.perform(images.check_upgrade(project, services or ()))
            context.output.data(view, upgrade_lines(view, verbose=context.output.verbose))
            return
        ask = confirmer(context, asked=not yes)
        request = UpRequest(lock_wait_seconds=lock_wait)
        work = images.upgrade(project, services or (), request, confirm=ask, on_event=context.on_event)
        show_up(context, context.perform(work))
