"""`autogit config show|validate`: the settings in force."""

from __future__ import annotations

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The settings in force.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="config")

    @command(group, "show")
    def show(context: Context) -> None:
        """Show every setting, where it comes from, secrets masked."""
        from autogit.cli.output import columns
        from autogit.operations.config import show_settings

        rows = show_settings(context.paths)
        document = {r.key: {"value": r.value, "source": r.source} for r in rows}
        context.output.data(document, columns([(r.key, r.value, r.source) for r in rows], ("KEY", "VALUE", "SOURCE")))

    @command(group, "validate")
    def validate(context: Context) -> None:
        """Check .env and the service folders; exits 2 with every fault."""
        from autogit.operations.config import show_settings

        count = sum(1 for row in show_settings(context.paths) if not row.source.endswith("(default)"))
        context.output.data(
            {"valid": True, "set": count}, [f"{context.paths.env_file.name} is valid: {count} settings are set."]
        )
