"""`autogit gitlab`: the platform's own GitLab, made ready to use and kept so."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command

_NOT_WELL, _PARTLY = 1, 4
_LockWait = Annotated[float, typer.Option(help="Seconds to wait for another command.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="The platform's own GitLab: first token, settings, groups and users.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    app.add_typer(group, name="gitlab")
    _register_bootstrap(group)
    _register_views(group)
    token = typer.Typer(help="AutoGit's own token in GitLab.", no_args_is_help=True, rich_markup_mode=None)
    group.add_typer(token, name="token")
    _register_token(token)


def _register_bootstrap(group: typer.Typer) -> None:
    @command(group, "bootstrap")
    def bootstrap(
        context: Context,
        adopt: Annotated[
            list[str] | None,
            typer.Option(help="Take over what somebody made in GitLab: gitlab_setting/group/ops (repeatable)."),
        ] = None,
        allow_delete: Annotated[
            list[str] | None, typer.Option(help="Address that may go, where many would (repeatable).")
        ] = None,
        lock_wait: _LockWait = 0.0,
    ) -> None:
        """Make GitLab ready to use: token, settings, gitlab.yml, captured keys. Again it changes nothing."""
        from autogit.cli.gitlab_text import bootstrap_lines
        from autogit.cli.parsing import parse_addresses
        from autogit.operations import gitlab

        request = gitlab.BootstrapRequest(
            frozenset(parse_addresses(adopt or [])), frozenset(parse_addresses(allow_delete or [])), lock_wait
        )
        view = context.perform(gitlab.bootstrap(context.open_project(), request, on_event=context.on_event))
        context.output.data(view, bootstrap_lines(view))
        if view.held:
            raise typer.Exit(_PARTLY)


def _register_views(group: typer.Typer) -> None:
    @command(group, "status")
    def status(context: Context) -> None:
        """Show how far GitLab has started, its token and its settings (exit 1 unless all is as wished)."""
        from autogit.cli.gitlab_text import status_lines
        from autogit.operations import gitlab

        view = context.perform(gitlab.status(context.open_project()))
        context.output.data(view, status_lines(view))
        if not view.ok:
            raise typer.Exit(_NOT_WELL)

    @command(group, "password")
    def password(context: Context) -> None:
        """Say which secret is the first administrator's password, and how to see it."""
        from autogit.cli.gitlab_text import password_lines
        from autogit.operations import gitlab

        view = gitlab.password(context.open_project())
        context.output.data(view, password_lines(view))


def _register_token(group: typer.Typer) -> None:
    @command(group, "rotate")
    def rotate(context: Context, lock_wait: _LockWait = 0.0) -> None:
        """Exchange AutoGit's token for a new one, due or not; bootstrap does it 30 days before it expires."""
        from autogit.cli.gitlab_text import token_line
        from autogit.operations import gitlab

        project = context.open_project()
        view = context.perform(gitlab.rotate(project, lock_wait_seconds=lock_wait, on_event=context.on_event))
        context.output.data(view, [token_line(view)])
