"""`autogit plan`: everything that would change, and why; changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autogit.cli.context import Context, command

_CHANGES_PENDING = 3


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "plan")
    def plan(
        context: Context,
        out: Annotated[Path | None, typer.Option(help="Save the plan, for up --plan.")] = None,
        policy: Annotated[str, typer.Option(help="sync, upsert-only or create-only.")] = "sync",
        adopt: Annotated[
            list[str] | None, typer.Option(help="Address that somebody else made and that would become AutoGit's.")
        ] = None,
        here_only: Annotated[
            bool, typer.Option("--here-only", help="Leave out what is kept elsewhere: DNS and GitLab.")
        ] = False,
        exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 where something would change.")] = False,
    ) -> None:
        """Show what up would do, line by line, with reasons."""
        from autogit.cli.parsing import plan_document, review_of
        from autogit.cli.plan_text import plan_lines
        from autogit.operations.platform import UpRequest, save
        from autogit.operations.platform import plan as make_plan

        review = review_of(None, policy, adopt)
        request = UpRequest(policy=review.policy, adopt=review.adopt, here_only=here_only)
        view = context.perform(make_plan(context.open_project(), request))
        if out:
            save(out, plan_document(view, review.adopt))
        context.output.data(view, plan_lines(view, verbose=context.output.verbose))
        if out:
            context.output.progress(f"Saved. Apply exactly this one: autogit up --plan {out}")
        elif view.pending and not context.output.json:
            context.output.progress(
                "Apply with: autogit up        exactly this one: autogit plan --out p.json && autogit up --plan p.json"
            )
        if exit_code and view.pending:
            raise typer.Exit(_CHANGES_PENDING)
