"""What every command shares: the common options, the opened project, one event loop, and the error boundary."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, get_type_hints

import typer

from autogit.cli.output import Output
from autogit.errors import AutogitError, StoppedError

if TYPE_CHECKING:
    from autogit.model.project import ProjectPaths
    from autogit.operations.platform import Event
    from autogit.operations.project import Project

T = TypeVar("T")


class Format(StrEnum):
    """How data is written to stdout."""

    TABLE = "table"
    JSON = "json"


class Context(NamedTuple):
    """The common options of one command, and what follows from them."""

    output: Output
    env_file: Path | None
    project_dir: Path | None
    debug: bool
    format: str = "table"

    @property
    def paths(self) -> ProjectPaths:
        """The project's paths."""
        from autogit.operations.project import project_paths

        return project_paths(self.project_dir, self.env_file)

    def open_project(self) -> Project:
        """Load settings, catalogue and providers; providers report progress to stderr."""
        from autogit.operations.project import open_project

        return open_project(self.paths, lambda address, text: self.output.waiting(str(address), text))

    def on_event(self, event: Event) -> None:
        """Show what a long command does."""
        self.output.event(event)

    def perform(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one operation to its end. Raises StoppedError on Ctrl-C."""
        import asyncio  # a third of what --help costs

        try:
            return asyncio.run(work)
        except KeyboardInterrupt as exc:
            raise StoppedError(
                "stopped by Ctrl-C", hint="autogit up goes on from there; autogit status shows how it is"
            ) from exc
        finally:
            self.output.close()


def _common(
    format: Annotated[Format, typer.Option(help="How data is written to stdout.")] = Format.TABLE,  # noqa: A002
    env_file: Annotated[Path | None, typer.Option(help="Settings file (default: .env in the project).")] = None,
    project_dir: Annotated[Path | None, typer.Option(help="Project folder (default: here).")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour (also: NO_COLOR).")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> Context:
    """Build the context of the common options."""
    plain = no_color or bool(os.environ.get("NO_COLOR"))
    output = Output(json=str(format) != "table", verbose=verbose, quiet=quiet, color=not plain)
    return Context(output, env_file, project_dir, debug, str(format))


@functools.lru_cache(maxsize=1)
def _common_parameters() -> tuple[inspect.Parameter, ...]:
    """Return the common options as every command gets them; resolving their types is not free."""
    hints = get_type_hints(_common, include_extras=True)
    return tuple(
        p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(_common).parameters.values()
    )


def _shared_parameters(formats: type[StrEnum]) -> tuple[inspect.Parameter, ...]:
    """Return the common options, `--format` with a choice of its own where a command has one; table comes first."""
    if formats is Format:
        return _common_parameters()
    choice: Any = Annotated[formats, typer.Option(help="How data is written to stdout.")]
    return tuple(
        p.replace(annotation=choice, default=next(iter(formats))) if p.name == "format" else p
        for p in _common_parameters()
    )


def command(
    app: typer.Typer, name: str, *, formats: type[StrEnum] = Format
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function whose first parameter is a Context; the common options are added to its own."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        own = [p.replace(annotation=hints[p.name]) for p in list(inspect.signature(function).parameters.values())[1:]]
        shared = _shared_parameters(formats)
        keyword = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *shared]

        @functools.wraps(function)
        def wrapper(**values: Any) -> None:
            context = _common(**{p.name: values.pop(p.name) for p in shared})
            _guarded(context, functools.partial(function, context, **values))

        wrapper.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in keyword}
        del wrapper.__wrapped__  # Typer would read the inner signature
        app.command(name)(wrapper)
        return function

    return register


def _guarded(context: Context, work: Callable[[], None]) -> None:
    """Turn every error into output and an exit code; tracebacks only with --debug."""
    try:
        work()
    except AutogitError as error:
        if context.debug:
            raise
        context.output.error(error)
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError:
        raise
    except Exception as exc:
        if (
            context.debug
            or isinstance(exc, typer.Exit | typer.Abort)
            or type(exc).__module__.startswith(("typer", "click"))
        ):
            raise
        told = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        fault = AutogitError(f"unexpected: {told}", hint="the same command with --debug shows where")
        context.output.error(fault)
        raise typer.Exit(1) from exc


def interactive() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def asked(question: str) -> str:
    """Return what a person answers, "" where nobody can be asked."""
    return str(typer.prompt(question, err=True)) if interactive() else ""
