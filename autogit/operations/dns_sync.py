"""The dynamic address: what this network's public address is, remembered, believed with care, and put into DNS."""

from __future__ import annotations

from dataclasses import replace

from autogit.core.addresses import load_book, save_book
from autogit.errors import UsageError
from autogit.model.addresses import AddressBook, AddressField, BookEntry
from autogit.model.dns import DNS_RECORD
from autogit.model.dns_views import AddressView, DnsSyncView
from autogit.model.plan import Policy
from autogit.operations.dns_views import look_anew, wanted_fields
from autogit.operations.platform import OnEvent, UpRequest, ignore, up
from autogit.operations.project import Project
from autogit.operations.reconcile import leave_heartbeat

COMMAND = "dns sync"
_HEARTBEAT = "dns-sync"


async def sync(project: Project, *, lock_wait_seconds: float = 0.0, on_event: OnEvent = ignore) -> DnsSyncView:
    """Look for the public addresses, believe a new one when it was seen often enough, and bring DNS up to it.

    Deletes nothing. A look that finds nothing keeps the last good value. Raises UsageError where no DNS is kept, and
    what `up` raises; the heartbeat tells how it ended either way.
    """
    if project.dns is None:
        raise UsageError("no DNS is kept here: DNS_PROVIDER is none", hint="docs/how-to/dns-records.md")
    public = sorted(
        {
            name
            for view, provider in project.dns.views.items()
            for name in wanted_fields(view, provider, project.settings)
            if name.startswith("public")
        }
    )
    before = load_book(project.paths.addresses)
    book = await look_anew(before, public, project.settings, project.context.clock()) if public else before
    if book != before:
        save_book(project.paths.addresses, replace(book, problem=""))
    request = UpRequest(
        policy=Policy.UPSERT_ONLY,
        kinds=frozenset({DNS_RECORD}),
        command=COMMAND,
        lock_wait_seconds=lock_wait_seconds,
    )
    try:
        result = await up(project, request, on_event=on_event)
    except BaseException:
        leave_heartbeat(project, "failed", _HEARTBEAT)
        raise
    views = tuple(_view(name, before, book) for name in public)
    ok = not any(view.problem for view in views)
    leave_heartbeat(project, "ok" if ok else "the address is not known anew", _HEARTBEAT)
    return DnsSyncView(addresses=views, applied=result.applied, problem=before.problem)


def _view(name: AddressField, before: AddressBook, book: AddressBook) -> AddressView:
    entry = book.entries.get(name, BookEntry())
    return AddressView(
        name=name,
        value=entry.value,
        before=before.value(name),
        since=entry.since,
        candidate=entry.candidate,
        problem=entry.problem,
    )
