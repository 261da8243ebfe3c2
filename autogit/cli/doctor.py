"""`autogit doctor`: what is wrong or will be, one fix per finding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from autogit.cli.context import Context, command

if TYPE_CHECKING:
    from autogit.model.views import DoctorView


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "doctor")
    def doctor(
        context: Context,
        repair_lockfile: Annotated[
            bool, typer.Option("--repair-lockfile", help="Go back to the last good lockfile.")
        ] = False,
    ) -> None:
        """Check host, settings, lockfile, certificates and processes; exits 1 where something is an error."""
        from autogit.operations.doctor import diagnose
        from autogit.operations.doctor import repair_lockfile as repair

        if repair_lockfile:
            messages = context.perform(repair(context.paths))
            context.output.data({"messages": list(messages)}, messages)
            return
        view = context.perform(diagnose(context.paths))
        context.output.data(view, _lines(context, view))
        if not view.healthy:
            raise typer.Exit(1)


def _lines(context: Context, view: DoctorView) -> Iterator[str]:
    for finding in view.findings:
        yield f"{context.output.paint_state(finding.level):8} {finding.check}: {finding.message}"
        if finding.fix:
            yield f"         fix: {finding.fix}"
