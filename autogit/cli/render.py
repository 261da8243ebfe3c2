"""`autogit render`: every file that `up` would write, written somewhere else; starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "render")
    def render(
        context: Context,
        out: Annotated[Path, typer.Option(help="Folder to write to: new or empty.")],
        with_secrets: Annotated[
            bool, typer.Option("--with-secrets", help="Also make the secrets and the certificate that the files name.")
        ] = False,
    ) -> None:
        """Write every file of the platform without starting anything."""
        from autogit.operations.render import render_platform

        view = context.perform(render_platform(context.paths, out, with_secrets=with_secrets))
        context.output.data(view, [*view.files, *(f"! {n.subject}: {n.message}" for n in view.warnings)])
