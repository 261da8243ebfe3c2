"""`autogit deploy SERVICE`: one service, and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "deploy")
    def deploy(
        context: Context,
        service: Annotated[str, typer.Argument(help="Service.")],
        image: Annotated[str, typer.Option(help="Image to run from now on, until .env or upgrade says another.")] = "",
        force_recreate: Annotated[bool, typer.Option("--force-recreate", help="Make its container anew.")] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Bring one service to what .env asks for, or to another image; the former one serves until it is proven."""
        from autogit.cli.up import confirmer, show_up
        from autogit.operations.deploy import deploy as bring_up
        from autogit.operations.platform import UpRequest

        request = UpRequest(lock_wait_seconds=lock_wait, dry_run=dry_run, anew=force_recreate)
        ask = confirmer(context, asked=not yes)
        project = context.open_project()
        work = bring_up(project, service, request, image=image, confirm=ask, on_event=context.on_event)
        show_up(context, context.perform(work), dry_run=dry_run)
