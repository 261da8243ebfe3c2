"""`autogit mirror sync` as a job: what it leaves for those who watch over it, and what became of the last one."""

from __future__ import annotations

from collections.abc import Iterable

from autogit.core.schedule import MIRROR_SYNC
from autogit.errors import ApplyLockHeldError, AutogitError
from autogit.model.mirror import MirrorStatusView
from autogit.operations import mirror
from autogit.operations.mirror_last_sync import LastSync, keep_last_sync, read_last_sync
from autogit.operations.mirror_sync import OnRepository, SyncRequest, sync
from autogit.operations.project import Project
from autogit.operations.reconcile import leave_heartbeat

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


async def run(project: Project, request: SyncRequest, on_repository: OnRepository) -> MirrorStatusView:
    """Do what `sync` does, and leave a sign of life and what became of it.

    A timer's run (`due`) that meets another sync at work leaves everything to that one. Raises what `sync` raises.
    """
    try:
        view = await sync(project, request, on_repository)
    except ApplyLockHeldError as exc:
        if not request.due:
            raise
        _beat(project, request, "another sync is at work")
        return mirror.status(project, request.names).model_copy(update={"notes": (exc.message,)})
    except AutogitError:
        _beat(project, request, "failed")
        raise
    _keep(project, request, view)
    _beat(project, request, "ok")
    return view


def _beat(project: Project, request: SyncRequest, result: str) -> None:
    if not request.names:  # one mirror's sync says nothing about the others
        leave_heartbeat(project, result, MIRROR_SYNC)


def _keep(project: Project, request: SyncRequest, view: MirrorStatusView) -> None:
    """Write down what became of a sync; of one that was not of all mirrors, only which sources could be asked."""
    last = read_last_sync(project.paths) or LastSync()
    if request.names:
        kept = LastSync(last.at, last.seconds, last.changed, last.requests, _merged(last.problems, request, view))
    else:
        at = project.context.clock().strftime(_MOMENT)
        kept = LastSync(at, view.seconds, view.changed, view.requests, view.problems)
    keep_last_sync(project.paths, kept)


def _merged(former: Iterable[str], request: SyncRequest, view: MirrorStatusView) -> tuple[str, ...]:
    """Return the problems of mirrors that were not asked this time, and those of now."""
    asked = tuple(f"{name}: " for name in request.names)
    return (*(text for text in former if not text.startswith(asked)), *view.problems)
