"""`autogit certs`: certificates, from the first order to the last."""

from __future__ import annotations

from typing import Annotated

import typer

from autogit.cli.context import Context, command

_NOT_WELL = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Certificates.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="certs")
    _register_upkeep(group)
    _register_orders(group)
    _register_details(group)
    _register_trust(group)


def _register_upkeep(group: typer.Typer) -> None:
    @command(group, "status")
    def status(context: Context) -> None:
        """Show each certificate on disk and as it is served (exit 1 where one is expired, overdue or not served)."""
        from autogit.cli.certs_text import status_lines
        from autogit.operations.certs_view import status as look

        view = context.perform(look(context.open_project()))
        context.output.data(view, status_lines(view))
        if not view.ok:
            raise typer.Exit(_NOT_WELL)

    @command(group, "renew")
    def renew(
        context: Context,
        force: Annotated[bool, typer.Option("--force", help="Renew what is not due, too.")] = False,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 60.0,
    ) -> None:
        """Renew what is due and put it in force: for cron. Nothing else changes."""
        from autogit.cli.certs_text import renew_lines
        from autogit.operations.certs import renew as carry_out

        project = context.open_project()
        work = carry_out(project, force=force, lock_wait_seconds=lock_wait, on_event=context.on_event)
        view = context.perform(work)
        context.output.data(view, renew_lines(view))


def _register_orders(group: typer.Typer) -> None:
    @command(group, "issue")
    def issue(
        context: Context,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Have the certificate issued that .env asks for, and put it in force; nothing else changes."""
        from autogit.cli.certs_text import renew_lines
        from autogit.operations.certs import renew as carry_out

        project = context.open_project()
        work = carry_out(project, moving_on=True, lock_wait_seconds=lock_wait, on_event=context.on_event)
        view = context.perform(work)
        context.output.data(view, renew_lines(view))

    @command(group, "revoke")
    def revoke(
        context: Context,
        name: Annotated[str, typer.Argument(help="The certificate's name, as certs status shows it.")],
        reason: Annotated[int, typer.Option(help="Reason code of RFC 5280: 1 key compromise, 4 superseded, ...")] = 0,
        confirm: Annotated[str, typer.Option(help="The certificate's name again, instead of the question.")] = "",
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Have the authority revoke the certificate that is in force, for good."""
        from autogit.cli.context import asked
        from autogit.operations.certs import revoke as carry_out

        project = context.open_project()
        confirm = confirm or asked(f"This cannot be taken back. Type {name} to go on")
        messages = context.perform(carry_out(project, name, reason, confirm, lock_wait_seconds=lock_wait))
        context.output.data({"messages": list(messages)}, messages)


def _register_details(group: typer.Typer) -> None:
    @command(group, "show")
    def show(
        context: Context,
        name: Annotated[str, typer.Argument(help="The certificate's name (default: the base domain).")] = "",
        pem: Annotated[bool, typer.Option("--pem", help="Write the chain itself, leaf first.")] = False,
    ) -> None:
        """Show the certificate that is in force: names, serial, issuers, dates, fingerprint; never its key."""
        from autogit.cli.certs_text import certificate_lines
        from autogit.operations.certs_view import show as look

        view = look(context.open_project(), name)
        context.output.data(view, view.pem.splitlines() if pem else certificate_lines(view))

    @command(group, "account")
    def account(
        context: Context,
        roll_over: Annotated[bool, typer.Option("--roll-over", help="Give the account a new key.")] = False,
        deactivate: Annotated[bool, typer.Option("--deactivate", help="Close the account for good.")] = False,
        fallback: Annotated[bool, typer.Option("--fallback", help="The account at CERT_FALLBACK_ISSUER.")] = False,
        confirm: Annotated[str, typer.Option(help="The authority's name, instead of the question.")] = "",
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Show the account at the authority of CERT_ISSUER, give it a new key, or close it."""
        from autogit.cli.certs_text import account_lines
        from autogit.cli.context import asked
        from autogit.errors import UsageError
        from autogit.operations import certs_account as operation

        if roll_over and deactivate:
            raise UsageError("--roll-over and --deactivate exclude each other", hint="give one of them")
        project = context.open_project()
        if not roll_over and not deactivate:
            view = operation.account(project, fallback=fallback)
            context.output.data(view, account_lines(view))
            return
        if deactivate:
            question = "This closes the account for good. Type the authority's name to go on"
            confirm = confirm or asked(question)
            work = operation.deactivate(project, confirm, fallback=fallback, lock_wait_seconds=lock_wait)
        else:
            work = operation.roll_over(project, fallback=fallback, lock_wait_seconds=lock_wait)
        messages = context.perform(work)
        context.output.data({"messages": list(messages)}, messages)


def _register_trust(group: typer.Typer) -> None:
    @command(group, "root")
    def root(context: Context) -> None:
        """Write the path of the certificate that signed what is served, for curl --cacert."""
        from autogit.operations.certs import root as find

        path = find(context.open_project())
        context.output.data({"root": str(path)}, [str(path)])

    @command(group, "trust")
    def trust(
        context: Context,
        install: Annotated[bool, typer.Option("--install", help="Put the root into this system's store.")] = False,
    ) -> None:
        """Show how to trust the platform's root certificate, or install it."""
        from autogit.operations.certs import trust as explain

        path, lines = explain(context.open_project(), install=install)
        context.output.data({"root": str(path), "messages": list(lines)}, lines)
