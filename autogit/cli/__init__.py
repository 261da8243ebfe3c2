"""The command line: the ordered list of commands, and nothing else that decides anything."""

from __future__ import annotations

import sys

import typer
from typer.core import TyperGroup

from autogit.cli import (
    adopt,
    certs,
    config,
    deploy,
    dns,
    doctor,
    down,
    drift,
    gitlab,
    images,
    init,
    logs,
    mirror,
    plan,
    quarantine,
    reconcile,
    render,
    restart,
    scan,
    schedule,
    secrets,
    services,
    status,
    up,
    upgrade,
    version,
)

# The order of --help: what one does first comes first. A module is called like its command.
_MODULES = (
    init,
    up,
    plan,
    render,
    drift,
    status,
    deploy,
    upgrade,
    down,
    restart,
    reconcile,
    schedule,
    logs,
    services,
    images,
    adopt,
    config,
    dns,
    certs,
    gitlab,
    mirror,
    secrets,
    scan,
    quarantine,
    doctor,
    version,
)


class _InOrder(TyperGroup):
    """Lists commands and groups of commands in one order; by itself Typer puts groups last."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # Typer's own Context
        """Return the names as they stand in the list of modules."""
        del ctx
        order = [module.__name__.rpartition(".")[2] for module in _MODULES]
        return sorted(self.commands, key=order.index)


app = typer.Typer(
    name="autogit",
    cls=_InOrder,
    help="One .env file becomes a running, self-healing, self-hosted GitOps platform, and stays one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in _MODULES:
    module.register(app)


def run() -> int:
    """Run the command line and return its exit code; errors have become sentences before they come here."""
    try:
        app(prog_name="autogit")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left: nothing more to say, and no complaint at exit
        return 0
    return 0
