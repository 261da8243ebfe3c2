"""`autogit init`: write a first `.env`, asking little."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command, interactive


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "init")
    def init(
        context: Context,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, take the defaults.")] = False,
    ) -> None:
        """Write .env for this host; keys that are there already are kept."""
        from autogit.operations.initialise import initialise

        answers: dict[str, str] = {}
        if not yes and interactive() and not context.paths.env_file.exists():
            answers["BASE_DOMAIN"] = typer.prompt("Domain of the platform", default="autogit.localhost", err=True)
            email = typer.prompt("Your e-mail address, for a public authority (empty: none)", default="", err=True)
            answers |= {"ACME_EMAIL": email} if email else {}
        view = initialise(context.paths, answers)
        context.output.data(view, view.lines())
