"""`autogit version`: what runs here."""

from __future__ import annotations

import platform

import typer

from autogit import __version__
from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "version")
    def version(context: Context) -> None:
        """Show the version."""
        facts = {"autogit": __version__, "python": platform.python_version(), "system": platform.platform(terse=True)}
        context.output.data(facts, [f"autogit {__version__} (Python {facts['python']}, {facts['system']})"])
