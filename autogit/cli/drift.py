"""`autogit drift`: what changed behind AutoGit's back, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command

_CHANGES_PENDING = 3


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "drift")
    def drift(
        context: Context,
        adopt: Annotated[
            list[str] | None, typer.Option(help="Edited file to keep: its content becomes the wish.")
        ] = None,
        revert: Annotated[list[str] | None, typer.Option(help="Address to put back.")] = None,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Show what differs from the last apply (exit 3 where something does); adopt or revert it."""
        from autogit.cli.parsing import parse_addresses
        from autogit.cli.plan_text import plan_lines
        from autogit.cli.up import confirmer, show_up
        from autogit.operations import drift as operation

        project = context.open_project()
        if adopt:
            messages = context.perform(operation.adopt(project, parse_addresses(adopt), lock_wait_seconds=lock_wait))
            context.output.data({"adopted": list(messages)}, messages)
        if revert:
            work = operation.revert(
                project,
                parse_addresses(revert),
                confirm=confirmer(context, asked=not yes),
                on_event=context.on_event,
                lock_wait_seconds=lock_wait,
            )
            show_up(context, context.perform(work))
        if not adopt and not revert:
            view = context.perform(operation.drift(project))
            context.output.data(view, plan_lines(view, verbose=context.output.verbose, title="drift"))
            if view.pending:
                raise typer.Exit(_CHANGES_PENDING)
