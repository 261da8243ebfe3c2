"""`autogit render`: every file that `up` would write, written somewhere else; applies nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "render")
    def render(context: Context, out: Annotated[Path, typer.Option(help="Folder to write to: new or empty.")]) -> None:
        """Write every file of the platform without applying anything."""
        from autogit.operations.render import render_platform

        view = render_platform(context.paths, out)
        context.output.data(view, [*view.files, *(f"! {n.subject}: {n.message}" for n in view.warnings)])
