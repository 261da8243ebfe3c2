"""Taking back what a run put in force and what does not work: the files, and whoever was told to read them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from autogit.core.observe import providers_by_kind
from autogit.core.store import Recorder
from autogit.model.plan import Action, ApplyResult, Change, FieldChange, Plan
from autogit.model.resource import Address
from autogit.model.spec import CertificateSpec
from autogit.operations.project import Project
from autogit.providers.base import Reconciler
from autogit.providers.host.files import restore_previous

_RELOAD = "reload"


@dataclass(frozen=True)
class Run:
    """What was applied, what came of it, and who carries out what is to be undone."""

    project: Project
    plan: Plan
    result: ApplyResult
    recorder: Recorder
    providers: Sequence[Reconciler]


async def take_certificate_back(run: Run, certificate: CertificateSpec) -> None:
    """Name the former certificate again where the new one, put in force by this run, is not served."""
    naming = [c.address for c in _changed_files(run) if c.after and certificate.place in str(c.after.payload)]
    await _take_back(run, naming)


async def take_refused_back(run: Run) -> None:
    """Put back the files that a program refused to read: started with them, it would not come up."""
    failed = {outcome.address for outcome in run.result.failed}
    refused = [c for c in run.plan.pending if c.address in failed and _is_told(c) and c.action is Action.UPDATE]
    needed = {address for change in refused for address in _signalled(change)}
    await _take_back(run, [c.address for c in _changed_files(run) if c.address in needed])


def _changed_files(run: Run) -> list[Change]:
    landed = {outcome.address for outcome in run.result.outcomes if outcome.ok}
    return [c for c in run.plan.pending if c.address.kind == "file" and c.before and c.after and c.address in landed]


def _is_told(change: Change) -> bool:
    return any(field.name == _RELOAD for field in change.fields)


def _signalled(change: Change) -> Collection[Address]:
    """Return the files that a service learns of by a signal, or by itself."""
    at_start = getattr(change.after.payload, "config_files", ()) if change.after else ()
    return {address for address in change.depends_on if address.kind == "file"} - set(at_start)


async def _take_back(run: Run, files: Sequence[Address]) -> None:
    restored = {address for address in files if restore_previous(run.project.paths, address)}
    run.recorder.put_back(restored)
    tried = {outcome.address for outcome in run.result.outcomes}
    providers = providers_by_kind(run.providers)
    for change in run.plan.pending:
        if change.address in tried and _is_told(change) and restored & set(_signalled(change)):
            again = _with_former_files(change)
            async for outcome in providers[change.address.kind].apply([again]):
                run.recorder.note(again, outcome)
    run.recorder.flush()


def _with_former_files(change: Change) -> Change:
    """Return the change that has a service read its former files: it was told of the new ones."""
    former = change.before.attributes.get(_RELOAD) if change.before else None
    if change.after is None:  # pragma: no cover - what is deleted is told nothing
        raise ValueError(change.address)
    return replace(
        change,
        action=Action.UPDATE,
        reason="its former files are in force again",
        fields=(FieldChange(_RELOAD, change.after.attributes.get(_RELOAD), former),),
        before=change.after,
        after=replace(change.after, attributes={**change.after.attributes, _RELOAD: former}),
    )
