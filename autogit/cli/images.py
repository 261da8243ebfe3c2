"""`autogit images list|save|load`: which images run, and how they reach a machine without internet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Images of containers.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="images")

    @command(group, "list")
    def list_all(context: Context) -> None:
        """List the image of each service."""
        from autogit.cli.output import columns
        from autogit.operations import images

        views = context.perform(images.list_images(context.open_project()))
        rows = [(v.service, v.reference, v.id[7:19] or "-", v.origin, "here" if v.present else "absent") for v in views]
        context.output.data(views, columns(rows, ("SERVICE", "IMAGE", "ID", "FROM", "ENGINE")))

    @command(group, "save")
    def save(context: Context, file: Annotated[Path, typer.Argument(help="Tar file to write.")]) -> None:
        """Write the images of all services to a file."""
        from autogit.operations import images

        messages = context.perform(images.save(context.open_project(), file, on_event=context.on_event))
        context.output.data({"messages": list(messages)}, messages)

    @command(group, "load")
    def load(context: Context, file: Annotated[Path, typer.Argument(help="Tar file to read.")]) -> None:
        """Load images from a file into the engine."""
        from autogit.operations import images

        messages = context.perform(images.load(context.open_project(), file, on_event=context.on_event))
        context.output.data({"messages": list(messages)}, messages)
