"""`autogit up`: the main job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from autogit.cli.context import Context, command, interactive

if TYPE_CHECKING:
    from autogit.model.views import PlanView, UpView

_STARTED = perf_counter()
_CHANGES_PENDING, _PARTLY = 3, 4


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "up")
    def up(
        context: Context,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
        policy: Annotated[str, typer.Option(help="sync, upsert-only or create-only.")] = "sync",
        plan: Annotated[Path | None, typer.Option(help="Apply this saved plan and no other.")] = None,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
        allow_delete: Annotated[list[str] | None, typer.Option(help="Address that may be deleted.")] = None,
        adopt: Annotated[
            list[str] | None, typer.Option(help="Address that somebody else made and that becomes AutoGit's.")
        ] = None,
        here_only: Annotated[
            bool, typer.Option("--here-only", help="Leave out what is kept elsewhere: DNS and GitLab.")
        ] = False,
    ) -> None:
        """Bring the platform to what .env asks for."""
        from autogit.cli.parsing import parse_addresses, review_of
        from autogit.operations.platform import UpRequest
        from autogit.operations.platform import up as bring_up

        request = UpRequest(
            **review_of(plan, policy, adopt)._asdict(),
            lock_wait_seconds=lock_wait,
            allow_delete=frozenset(parse_addresses(allow_delete or ())),
            dry_run=dry_run,
            here_only=here_only,
        )
        ask = confirmer(context, asked=not (yes or plan))
        result = context.perform(bring_up(context.open_project(), request, confirm=ask, on_event=context.on_event))
        show_up(context, result, dry_run=dry_run)


def confirmer(context: Context, *, asked: bool) -> Callable[[PlanView], bool]:
    """Return the question before changes: asked of a person, and only where something existing is changed.

    Without a terminal (cron, CI) nobody is asked: the guard protects there.
    """

    def confirm(view: PlanView) -> bool:
        from autogit.cli.plan_text import plan_lines

        for line in plan_lines(view, verbose=context.output.verbose):
            context.output.progress(line)
        context.output.progress("")
        touched = view.counts["update"] + view.counts["replace"] + view.counts["delete"]
        return not (asked and touched and interactive()) or _ask()

    return confirm


def _ask() -> bool:
    """Ask, and let Ctrl-C end the question: the event loop's own handler would wait until it is answered."""
    import signal

    from autogit.errors import StoppedError

    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm("Apply?", err=True)
    except (KeyboardInterrupt, typer.Abort) as exc:
        raise StoppedError("stopped by Ctrl-C; nothing was changed", hint="autogit plan shows it again") from exc
    finally:
        signal.signal(signal.SIGINT, former)


def show_up(context: Context, result: UpView, *, dry_run: bool = False) -> None:
    """Write the result of `up`; exits 4 where something is not finished, 3 where differences were held."""
    from autogit.cli.plan_text import plan_lines, up_lines

    output = context.output
    if dry_run:
        output.data(result, plan_lines(result.plan, verbose=output.verbose))
    elif result.applied:
        output.data(result, up_lines(result))
    elif not result.plan.counts["hold"]:
        elapsed = round((perf_counter() - _STARTED) * 1000)
        output.data(result, [f"Nothing to do ({result.in_sync} resources in sync, {elapsed} ms)."])
        for note in (n for n in result.plan.notes if n.level == "warning"):
            output.warning(f"{note.subject}: {note.message}")
    else:
        output.data(result, plan_lines(result.plan, verbose=output.verbose))
    for sentence in (*result.warnings, *result.unfinished):
        output.warning(sentence)
    if result.unfinished:
        raise typer.Exit(_PARTLY)
    if result.plan.counts["hold"] and not dry_run:
        output.warning("some differences were left alone, see the lines with ! above: autogit drift")
        raise typer.Exit(_CHANGES_PENDING)
