"""The quarantine, as an admin uses it: list, show, decide, purge. Every decision is in the audit log, no text is."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from autogit.errors import NotConfirmedError, UsageError
from autogit.model.quarantine import (
    RECORD_ID,
    QuarantineLimits,
    QuarantineList,
    QuarantinePurge,
    QuarantineQuery,
    QuarantineRecord,
    QuarantineStatus,
    QuarantineText,
)
from autogit.operations.audit import write_audit
from autogit.operations.project import Project
from autogit.operations.quarantine_keys import ensure_recipient, project_identity
from autogit.security.quarantine import QuarantineStore

__all__ = ["decide", "ensure_recipient", "list_records", "open_store", "parse_since", "purge", "show"]

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_LONGEST_REASON = 500


def open_store(project: Project) -> QuarantineStore:
    """Return the project's quarantine: its limits from `.env`, its decisions in the audit log."""
    settings, paths = project.settings, project.paths
    return QuarantineStore(
        paths.quarantine,
        QuarantineLimits(settings.quarantine_days, settings.quarantine_max_mb << 20),
        audit=partial(write_audit, paths),
        opener=project_identity(paths).decrypt,
        clock=project.context.clock,
    )


def list_records(project: Project, query: QuarantineQuery) -> QuarantineList:
    """Return records without their texts, those that were seen last first. Raises QuarantineError."""
    store = open_store(project)
    size = store.size()
    return QuarantineList(
        records=tuple(store.records(query)),
        total=store.count(query),
        counts=size.counts,
        used_bytes=size.used_bytes,
        max_bytes=size.max_bytes,
    )


def show(project: Project, record_id: str, *, original: bool = False) -> QuarantineText:
    """Return one record with its cleaned text, and with the original where that is asked for.

    Raises UsageError, QuarantineError and SecretStoreError.
    """
    store = open_store(project)
    record = _found(store, record_id)
    texts = store.texts(record_id)
    return QuarantineText(
        **record.model_dump(),
        sanitized_text=_sendable(texts.sanitized),
        original_text=_sendable(texts.original) if original else None,
    )


def decide(project: Project, record_id: str, status: QuarantineStatus, reason: str) -> QuarantineRecord:
    """Release a text (the identical one passes from then on) or reject it. Raises UsageError and QuarantineError."""
    reason = " ".join(reason.split())
    if not reason:
        raise UsageError("a decision needs a reason", hint="--reason says it in a few words")
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason is plain text of {_LONGEST_REASON} characters at most")
    store = open_store(project)
    record = _found(store, record_id)
    if record.analysis_status is status:
        raise UsageError(f"{record_id} is {status} already", hint=f"autogit quarantine show {record_id}")
    return store.decide(record_id, status, reason, _user())


def purge(
    project: Project,
    older_than_days: int | None,
    status: QuarantineStatus | None,
    *,
    confirm: Callable[[QuarantinePurge], bool],
    dry_run: bool = False,
) -> QuarantinePurge:
    """Delete records for good: those not seen for a number of days, of one status, or both.

    Without either, what QUARANTINE_DAYS has ended. Raises NotConfirmedError and QuarantineError.
    """
    store = open_store(project)
    days = older_than_days if older_than_days is not None or status else project.settings.quarantine_days
    before = (project.context.clock() - timedelta(days=days)).strftime(_MOMENT) if days else ""
    records = store.records(QuarantineQuery(status=status, before=before))
    counts = Counter(record.analysis_status for record in records)
    planned = QuarantinePurge(ids=tuple(r.id for r in reversed(records)), counts=counts, dry_run=dry_run)
    if dry_run or not records:
        return planned
    if not confirm(planned):
        raise NotConfirmedError("not confirmed: nothing was deleted", hint="--yes goes on without asking")
    return planned.model_copy(update={"ids": tuple(store.delete(planned.ids, _user()))})


def parse_since(text: str) -> str:
    """Return a day or a moment (ISO 8601; UTC unless it says otherwise) as records have it. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{text} is no date", hint="2026-11-27, or 2026-11-27T15:00:00Z") from exc
    return moment.strftime(_MOMENT)


def _found(store: QuarantineStore, record_id: str) -> QuarantineRecord:
    if not RECORD_ID.fullmatch(record_id):
        raise UsageError(f"{record_id} is no id of the quarantine", hint="ids look like q-20261127-001")
    record = store.find(record_id)
    if record is None:
        raise UsageError(f"the quarantine holds no {record_id}", hint="autogit quarantine list")
    return record


def _sendable(text: str) -> str:
    r"""Return a text that can be written out: lone surrogates, which no encoding has, as `\ud800`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""
