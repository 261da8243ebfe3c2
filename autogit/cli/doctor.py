"""`autogit doctor`: what is wrong or will be, one fix per finding."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "doctor")
    def doctor(
        context: Context,
        repair_lockfile: Annotated[
            bool, typer.Option("--repair-lockfile", help="Go back to the last good lockfile.")
        ] = False,  # noqa: FBT002
    ) -> None:
        """Check host, settings, lockfile, certificates and processes; exits 1 where something is an error."""
        from autogit.operations.doctor import diagnose, repair_lockfile as repair  # noqa: PLC0415 - start-up cost

        if repair_lockfile:
            messages = context.perform(repair(context.paths))
            context.output.data({"messages": list(messages)}, messages)
            return
        view = context.perform(diagnose(context.paths))
        context.output.data(view, _lines(context, view))
        if not view.healthy:
            raise typer.Exit(1)


def _lines(context: Context, view):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - DoctorView loads pydantic
    for finding in view.findings:
        yield f"{context.output.paint_state(finding.level):8} {finding.check}: {finding.message}"
        if finding.fix:
            yield f"         fix: {finding.fix}"
