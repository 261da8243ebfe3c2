"""What the ingress serves, compared with what is on disk; putting it right where it is another certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autogit.core.reconcile import Prepared
from autogit.core.store import Recorder
from autogit.errors import CertificateError, Fault, NotReadyError
from autogit.model.cert_hooks import CERT_HOOK
from autogit.model.certificate_views import CertsRenewView, ServedView
from autogit.model.host import CertificateFacts
from autogit.model.plan import Action, Change, FieldChange, Plan
from autogit.model.resource import Address
from autogit.operations.platform import Caller, apply_part
from autogit.operations.project import Project
from autogit.operations.wire import ask_ingress, served_view

_RELOAD = "reload"
_OTHER = "another certificate is served than is in force"


async def what_is_served(project: Project, facts: CertificateFacts | None) -> tuple[ServedView, ...]:
    """Return what the ingress serves for each name of the platform; `facts` are those of what it should be."""
    now, serials = project.context.clock(), {facts.serial} if facts and facts.serial else frozenset[str]()
    return tuple(served_view(host, found, serials, now) for host, found in (await ask_ingress(project)).items())


async def put_right(project: Project, prepared: Prepared, caller: Caller) -> CertsRenewView:
    """Look at what is served where nothing has to be renewed, and have the ingress read its certificate again.

    Nothing is asked where the platform is down on purpose. Raises CertificateError where it is not served afterwards.
    """
    wanted, spec = prepared.facts.certificates.get(prepared.spec.certificate.name), prepared.spec
    if wanted is None or not wanted.serial or prepared.lockfile.find(Address(spec.unit_kind, spec.ingress)) is None:
        return CertsRenewView()
    if not (wrong := _wrong(await what_is_served(project, wanted))):
        _record_in_sync(project, prepared)
        return CertsRenewView()
    plan = _read_again(prepared)
    if not plan.pending or all(one.error for one in wrong):
        raise _not_served(wrong)
    try:
        done = await apply_part(project, prepared, plan, caller)
    except NotReadyError as exc:
        if left := _wrong(await what_is_served(project, wanted)):
            raise _not_served(left) from exc
        raise
    if left := _wrong(await what_is_served(project, wanted)):
        raise _not_served(left)
    told = tuple(f"{one.host}: {one.serial or one.error} was served: put right" for one in wrong)
    return CertsRenewView(messages=told, applied=done.applied)


def _wrong(served: Sequence[ServedView]) -> list[ServedView]:
    return [one for one in served if not one.matches]


def _not_served(wrong: Sequence[ServedView]) -> CertificateError:
    told = [Fault("served", one.host, one.error or f"{one.serial} is served") for one in wrong]
    return CertificateError(
        "the certificate on disk is not what is served, and that could not be put right",
        hint="autogit plan shows what waits; autogit restart traefik, or nginx, has the ingress read everything anew",
        faults=told,
    )


def _read_again(prepared: Prepared) -> Plan:
    """Return the plan that writes once more what names the certificate, and tells the ingress of it."""
    spec = prepared.spec
    unit = Address(spec.unit_kind, spec.ingress)
    changes = []
    for change in prepared.plan.changes:
        if change.action is not Action.NOOP or change.after is None:
            continue
        if change.address.kind == "file" and spec.certificate.is_named_in(str(change.after.payload)):
            changes.append(replace(change, action=Action.UPDATE, reason=_OTHER))
        elif change.address == unit and (told := change.after.attributes.get(_RELOAD)):
            fields = (FieldChange(_RELOAD, told, told),)
            changes.append(replace(change, action=Action.UPDATE, reason=_OTHER, fields=fields))
    return replace(prepared.plan, changes=tuple(changes), notes=())


def _record_in_sync(project: Project, prepared: Prepared) -> None:
    """Record what is as wished, as `up` does, but only of what a renewal is about."""
    recorder = Recorder(project.store, prepared.lockfile, project.context.clock)
    recorder.adopt([change for change in prepared.plan.changes if _is_of_certificates(change, prepared)])


def _is_of_certificates(change: Change, prepared: Prepared) -> bool:
    if change.address.kind == "file":
        return change.after is not None and prepared.spec.certificate.is_named_in(str(change.after.payload))
    return change.address.kind in ("certificate", CERT_HOOK)
