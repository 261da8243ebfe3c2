"""`autogit reconcile`: heal what fell, once or for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from autogit.cli.context import Context, command

if TYPE_CHECKING:
    from autogit.model.views import TurnView


def register(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "reconcile")
    def reconcile(
        context: Context,
        watch: Annotated[bool, typer.Option("--watch", help="Go on until stopped.")] = False,
        interval: Annotated[float, typer.Option(min=1.0, help="With --watch: seconds between looks.")] = 60.0,
    ) -> None:
        """Repair what fell since the last up; what .env asks for anew waits for up."""
        from autogit.operations.reconcile import reconcile as heal
        from autogit.operations.reconcile import sentences, verdict

        if watch:
            context.perform(_watch(context, interval))
            return
        view = context.perform(heal(context.open_project()))
        context.output.data(view, [*sentences(view), verdict(view)])
        if not view.healthy:
            raise typer.Exit(1)


async def _watch(context: Context, interval: float) -> None:
    """Heal until a signal; what is under way is brought to its end, a second signal does not wait for that."""
    import asyncio
    import signal

    from autogit.operations.reconcile import sentences, verdict
    from autogit.operations.watch import watch

    stop = asyncio.Event()
    last: list[str] | None = None

    def end() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    def show(view: TurnView) -> None:
        nonlocal last
        lines = list(sentences(view))
        if view.repairs or lines != last:
            context.output.record(view.model_dump(mode="json"), "\n".join(lines) or verdict(view))
        last = lines

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    await watch(context.open_project, interval, show, stop)
