"""`autogit dns`: the plan seen from DNS, the records, and what the world's servers say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autogit.cli.context import Context, command

_CHANGES_PENDING = 3
_NOT_THERE = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="DNS records.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="dns")
    _register_plan(group)
    _register_apply(group)
    _register_records(group)
    _register_upkeep(group)


def _register_plan(group: typer.Typer) -> None:
    @command(group, "plan")
    def plan(
        context: Context,
        out: Annotated[Path | None, typer.Option(help="Save the plan, for dns apply --plan.")] = None,
        policy: Annotated[str, typer.Option(help="sync, upsert-only or create-only.")] = "sync",
        exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 where something would change.")] = False,
        adopt: Annotated[
            list[str] | None, typer.Option(help="Address that somebody else made and that would become AutoGit's.")
        ] = None,
    ) -> None:
        """Show what up would do to DNS records, and to nothing else."""
        from autogit.cli.parsing import plan_document, review_of
        from autogit.cli.plan_text import plan_lines
        from autogit.operations import dns, platform

        project, review = context.open_project(), review_of(None, policy, adopt)
        dns.kept(project)
        view = context.perform(platform.plan(project, dns.request_of(policy=review.policy, adopt=review.adopt)))
        if out:
            platform.save(out, plan_document(view, review.adopt))
        context.output.data(view, plan_lines(view, verbose=context.output.verbose, title="dns plan"))
        if exit_code and view.pending:
            raise typer.Exit(_CHANGES_PENDING)


def _register_apply(group: typer.Typer) -> None:
    @command(group, "apply")
    def apply(
        context: Context,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        policy: Annotated[str, typer.Option(help="sync, upsert-only or create-only.")] = "sync",
        plan: Annotated[Path | None, typer.Option(help="Apply this saved plan and no other.")] = None,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
        allow_delete: Annotated[list[str] | None, typer.Option(help="Address that may be deleted.")] = None,
        adopt: Annotated[
            list[str] | None, typer.Option(help="Address that somebody else made and that becomes AutoGit's.")
        ] = None,
    ) -> None:
        """Bring DNS records to what is wished for, and touch nothing else."""
        from autogit.cli.parsing import parse_addresses, review_of
        from autogit.cli.up import confirmer, show_up
        from autogit.operations.dns import kept, request_of
        from autogit.operations.platform import up

        request = request_of(
            **review_of(plan, policy, adopt)._asdict(),
            lock_wait_seconds=lock_wait,
            allow_delete=frozenset(parse_addresses(allow_delete or ())),
            command="dns apply",
        )
        ask = confirmer(context, asked=not (yes or plan))
        project = context.open_project()
        kept(project)
        show_up(context, context.perform(up(project, request, confirm=ask, on_event=context.on_event)))


def _register_records(group: typer.Typer) -> None:
    @command(group, "records")
    def records(
        context: Context,
        everything: Annotated[bool, typer.Option("--all", help="Everything that the zones show.")] = False,
    ) -> None:
        """List the records and whose they are."""
        from autogit.cli.dns_text import record_lines
        from autogit.operations.dns import records as list_records

        view = context.perform(list_records(context.open_project(), everything=everything))
        context.output.data(view, record_lines(view))

    @command(group, "export-zone")
    def export_zone(
        context: Context,
        wished: Annotated[bool, typer.Option("--wished", help="Only what AutoGit wishes for.")] = False,
    ) -> None:
        """Write the zones as the lines of a zone file."""
        from autogit.cli.dns_text import zone_file_lines
        from autogit.operations.dns import export_zones

        zones = context.perform(export_zones(context.open_project(), wished=wished))
        context.output.data({"zones": [zone.model_dump(mode="json") for zone in zones]}, zone_file_lines(zones))

    @command(group, "verify")
    def verify(
        context: Context,
        names: Annotated[list[str] | None, typer.Argument(help="Names to look at (all that are wished for).")] = None,
    ) -> None:
        """Ask the zones' own servers whether the world sees what is wished for (exit 1 where not)."""
        from autogit.cli.dns_text import verify_lines
        from autogit.operations.dns_verify import verify_dns

        view = context.perform(verify_dns(context.open_project(), names or ()))
        context.output.data(view, verify_lines(view, verbose=context.output.verbose))
        if not view.ok:
            raise typer.Exit(_NOT_THERE)


def _register_upkeep(group: typer.Typer) -> None:
    @command(group, "forget")
    def forget(
        context: Context,
        addresses: Annotated[list[str] | None, typer.Argument(help="Addresses, as dns records shows them.")] = None,
        everything: Annotated[bool, typer.Option("--all", help="All that AutoGit holds.")] = False,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 0.0,
    ) -> None:
        """Let go of records: they stay as they are, and AutoGit leaves them alone from now on."""
        from autogit.cli.parsing import parse_addresses
        from autogit.errors import UsageError
        from autogit.operations.dns import forget as let_go

        if not addresses and not everything:
            raise UsageError("which records? name addresses, or --all", hint="autogit dns records lists them")
        chosen = parse_addresses(addresses or ())
        work = let_go(context.open_project(), chosen, everything=everything, lock_wait_seconds=lock_wait)
        messages = context.perform(work)
        context.output.data({"forgotten": list(messages)}, messages or ["AutoGit holds no records"])

    @command(group, "sync")
    def sync(
        context: Context,
        lock_wait: Annotated[float, typer.Option(help="Seconds to wait for another command.")] = 60.0,
    ) -> None:
        """Follow this network's public address: for cron. Nothing is deleted."""
        from autogit.cli.dns_text import sync_lines
        from autogit.operations.dns_sync import sync as follow

        project = context.open_project()
        view = context.perform(follow(project, lock_wait_seconds=lock_wait, on_event=context.on_event))
        context.output.data(view, sync_lines(view))
