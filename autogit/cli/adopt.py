"""`autogit adopt`: take over a platform that was started by hand from the rendered Compose file."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "adopt")
    def adopt(
        context: Context,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Take over what runs and is as .env asks for; nothing is created, changed or restarted."""
        from autogit.operations.adopt import adopt as take_over

        view = context.perform(take_over(context.open_project(), lock_wait_seconds=lock_wait))
        lines = [f"adopted {address}" for address in view.adopted]
        lines += [f"{len(view.adopted)} adopted, {view.known} known already, {len(view.different)} differ"]
        lines += [f"  {row}" for row in view.different]
        context.output.data(view, lines)
