"""`autogit mirror`: repositories from elsewhere, copied whole and proven equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from autogit.cli.context import Context, command

if TYPE_CHECKING:
    from autogit.model.mirror import MirrorStatusView
    from autogit.operations.mirror_sync import SyncRequest

_NOT_FRESH = 1
_Names = Annotated[list[str] | None, typer.Argument(help="Mirrors (all where none is named).")]
_LockWait = Annotated[float, typer.Option(help="Seconds to wait for another command.")]
_Globs = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Repositories from elsewhere, copied whole and proven equal.", no_args_is_help=True, rich_markup_mode=None
    )
    app.add_typer(group, name="mirror")
    _register_add(group)
    _register_rules(group)
    _register_sync(group)
    _register_restore(group)


def _register_add(group: typer.Typer) -> None:
    @command(group, "add")
    def add(
        context: Context,
        source: Annotated[str, typer.Argument(help="github:NAME, gitlab:GROUP, gitea:NAME, a git URL or a path.")],
        name: Annotated[str, typer.Option(help="What the mirror is called (default: by its source).")] = "",
        credential: Annotated[str, typer.Option(help="Name of a stored secret: the source's token.")] = "",
        server: Annotated[str, typer.Option(help="Address of a forge that is not the public one.")] = "",
        include: Annotated[_Globs, typer.Option(help="Only repositories of such names (glob).")] = None,
        exclude: Annotated[_Globs, typer.Option(help="No repositories of such names (glob).")] = None,
        forks: Annotated[bool, typer.Option("--forks/--no-forks", help="Forks, too.")] = False,
        archived: Annotated[bool, typer.Option("--archived/--no-archived", help="Archived ones, too.")] = True,
        private: Annotated[bool, typer.Option("--private/--no-private", help="Private ones, too.")] = True,
        releases: Annotated[bool, typer.Option("--releases", help="Releases and their files as data, too.")] = False,
        issues: Annotated[bool, typer.Option("--issues", help="Issues and merge requests as data, too.")] = False,
        group: Annotated[str, typer.Option(help="GitLab group that gets the projects (default: mirrors).")] = "",
        bare: Annotated[bool, typer.Option("--bare", help="Bare copies only, no projects in GitLab.")] = False,
        lock_wait: _LockWait = 0.0,
    ) -> None:
        """Declare a mirror in mirrors.yml; autogit mirror sync fetches it, and pushes it to the platform's GitLab."""
        from autogit.cli.mirror_text import rule_lines
        from autogit.operations import mirror, mirror_declare

        options = mirror.MirrorOptions(
            name=name,
            server=server,
            credential=credential,
            include=tuple(include or ("*",)),
            exclude=tuple(exclude or ()),
            forks=forks,
            archived=archived,
            private=private,
            releases=releases,
            issues=issues,
            group=group,
            bare=bare,
        )
        work = mirror_declare.add(context.open_project(), source, options, lock_wait_seconds=lock_wait)
        view = context.perform(work)
        context.output.data(view, rule_lines(view))


def _register_rules(group: typer.Typer) -> None:
    @command(group, "list")
    def list_all(context: Context) -> None:
        """List what is declared."""
        from autogit.cli.mirror_text import rule_lines
        from autogit.operations import mirror

        view = mirror.list_rules(context.open_project())
        context.output.data(view, rule_lines(view))

    @command(group, "remove")
    def remove(
        context: Context, name: Annotated[str, typer.Argument(help="Mirror.")], lock_wait: _LockWait = 0.0
    ) -> None:
        """Take a declaration away; the copies stay, and it says where."""
        from autogit.cli.mirror_text import rule_lines
        from autogit.operations import mirror_declare

        project = context.open_project()
        view = context.perform(mirror_declare.remove(project, name, lock_wait_seconds=lock_wait))
        context.output.progress(
            f"{name} is not mirrored any more; its copies stay in {project.paths.mirrors / name}, and "
            "projects in GitLab where they are"
        )
        context.output.data(view, rule_lines(view))


def _register_sync(group: typer.Typer) -> None:
    @command(group, "sync")
    def sync(
        context: Context,
        names: _Names = None,
        due: Annotated[bool, typer.Option("--due", help="Only what is due (for timers).")] = False,
        allow_empty: Annotated[
            bool, typer.Option("--allow-empty", help="A source without any refs may empty its copy (backups stay).")
        ] = False,
        budget: Annotated[str, typer.Option(help="Begin no repository after this time: 30m, 2h, 90s.")] = "",
    ) -> None:
        """Fetch what is new, and prove each copy equal to its source (exit 1 where one is not)."""
        from autogit.operations.mirror_sync import SyncRequest

        _sync(context, SyncRequest(tuple(names or ()), due=due, allow_empty=allow_empty, budget=budget))

    @command(group, "verify")
    def verify(context: Context, names: _Names = None) -> None:
        """Compare every ref anew and check every object (git fsck)."""
        from autogit.operations.mirror_sync import SyncRequest

        _sync(context, SyncRequest(tuple(names or ()), verify=True))

    @command(group, "status")
    def status(context: Context, names: _Names = None) -> None:
        """Show each copy by its last proof (exit 1 where one is not proven within its limit)."""
        from autogit.operations import mirror

        _show(context, mirror.status(context.open_project(), names or ()))


def _sync(context: Context, request: SyncRequest) -> None:
    from autogit.operations.mirror_job import run

    def tell(name: str, text: str, done: int, total: int) -> None:
        context.output.progress(f"[{done}/{total}] {name}  {text}")

    _show(context, context.perform(run(context.open_project(), request, tell)))


def _show(context: Context, view: MirrorStatusView) -> None:
    from autogit.cli.mirror_text import is_fresh, status_lines

    context.output.data(view, status_lines(view, verbose=context.output.verbose))
    if not is_fresh(view):
        raise typer.Exit(_NOT_FRESH)


def _register_restore(group: typer.Typer) -> None:
    @command(group, "restore")
    def restore(
        context: Context,
        name: Annotated[str, typer.Argument(help="Mirror.")],
        repository: Annotated[str, typer.Argument(help="Repository, as mirror status shows it.")],
        ref: Annotated[str, typer.Argument(help="Ref that was replaced or deleted: refs/heads/main.")],
        date: Annotated[str, typer.Option(help="The last backup of this day (YYYY-MM-DD); else the newest.")] = "",
    ) -> None:
        """Bring back what a ref was before the source replaced or deleted it."""
        from autogit.cli.mirror_text import restore_lines
        from autogit.operations import mirror

        view = context.perform(mirror.restore(context.open_project(), name, repository, ref, date))
        context.output.data(view, restore_lines(view))
