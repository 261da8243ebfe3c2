"""Certificates as a user asks for them: how they are, renewing and revoking them, and trusting the platform's root."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePath
from random import SystemRandom

from cryptography.hazmat.primitives.serialization import Encoding

from autogit.core import renewal
from autogit.core.lock import apply_lock
from autogit.core.reconcile import Engine, Prepared, prepare
from autogit.core.verify import reachable
from autogit.errors import AutogitError, BlockedError, CertificateError, RateLimitedError, UsageError
from autogit.model.certificate_views import CertificateStatusView, CertsRenewView, CertsView, ServedView
from autogit.model.host import CertificateFacts, HostFacts
from autogit.model.plan import Action, Change, Plan
from autogit.model.renewal import ASKED_FOR
from autogit.operations.platform import Caller, OnEvent, always, apply_part, ignore
from autogit.operations.project import Project
from autogit.operations.reconcile import leave_heartbeat
from autogit.providers.ssl.acme import AcmeIssuer, life_of
from autogit.providers.ssl.served import served_certificate
from autogit.providers.ssl.trust import install_root, trust_instructions

_HEARTBEAT = "certs-renew"


def trust(project: Project, *, install: bool) -> tuple[Path, tuple[str, ...]]:
    """Return the root's file and what to do with it, or what was done. Raises CertificateError."""
    domain = project.settings.base_domain
    root = project.certificates.root_path(domain)
    if not root.is_file():
        raise CertificateError(f"there is no root certificate for {domain} yet", hint="autogit up makes it")
    return root, install_root(root, domain) if install else trust_instructions(root, domain)


async def renew(
    project: Project,
    *,
    force: bool = False,
    moving_on: bool = False,
    lock_wait_seconds: float = 0.0,
    on_event: OnEvent = ignore,
) -> CertsRenewView:
    """Renew what is due, put it in force, and prove that it is served; for cron, and harmless to repeat.

    Only certificates change, and what names them: a wish that has changed since the last `up` waits for that, unless
    `moving_on`. `force` renews what is not due. Raises what `up` raises; the former certificate stays in force then.
    """
    command = "certs issue" if moving_on else "certs renew"
    try:
        async with apply_lock(project.paths.apply_lock, command, wait_seconds=lock_wait_seconds):
            messages = await _ask_authority(project)
            project.certificates.at_once = moving_on
            engine = _renewing(project.engine_here, force=force)
            prepared = await prepare(engine)
            plan = _certificates_only(prepared)
            if not moving_on and (waiting := _moved(prepared, plan)):
                messages.append(f"{waiting} waits for autogit up: its wish has changed since the last one")
                plan = replace(plan, changes=())
            _check_unheld(prepared, plan)
            if not plan.pending:
                view = CertsRenewView(messages=(*messages, *_idle(project)))
            else:
                caller = Caller(command, always, on_event, project.engine_here)
                done = await apply_part(project, prepared, plan, caller)
                view = CertsRenewView(messages=tuple(messages), applied=done.applied)
    except AutogitError:
        leave_heartbeat(project, "failed", _HEARTBEAT)
        raise
    leave_heartbeat(project, "ok", _HEARTBEAT)
    return view


def _renewing(engine: Engine, *, force: bool) -> Engine:
    """Return the engine for which what is due is due now, and with `force` what is not due, too."""

    async def facts() -> HostFacts:
        found = await engine.gather_facts()
        asked = ASKED_FOR if force else ""
        due = {n: replace(one, due=asked or one.due, can_wait=False) for n, one in found.certificates.items()}
        return replace(found, certificates=due)

    return replace(engine, gather_facts=facts)


def _certificates_only(prepared: Prepared) -> Plan:
    """Return the part of a plan that issues certificates and puts them in force."""
    fullchain = prepared.spec.certificate.fullchain
    chosen = {c.address for c in prepared.plan.pending if c.address.kind == "certificate"}
    chosen |= {c.address for c in prepared.plan.pending if c.address.kind == "file" and _names(c, fullchain)}
    if chosen:
        chosen |= {c.address for c in prepared.plan.pending if _only_reloads(c)}
    return replace(prepared.plan, changes=tuple(c for c in prepared.plan.changes if c.address in chosen), notes=())


def _check_unheld(prepared: Prepared, plan: Plan) -> None:
    """Refuse to order what could not be put in force: what names certificates was edited by hand."""
    if not any(change.address.kind == "certificate" for change in plan.pending):
        return
    folder = str(PurePath(prepared.spec.certificate.fullchain).parent.parent)
    held = [c for c in prepared.plan.held if c.address.kind == "file" and c.after and folder in str(c.after.payload)]
    if held:
        raise BlockedError(
            f"no certificate was ordered: {held[0].address} was edited by hand, so it could not be put in force",
            hint=f"autogit drift --revert {held[0].address} puts it back, then autogit certs renew",
        )


def _names(change: Change, fullchain: str) -> bool:
    return change.after is not None and change.before is not None and fullchain in str(change.after.payload)


def _only_reloads(change: Change) -> bool:
    return change.action is Action.UPDATE and {field.name for field in change.fields} == {"reload"}


def _moved(prepared: Prepared, plan: Plan) -> str:
    """Return a certificate of which something else is wished for than was applied, "" where there is none."""
    for change in plan.pending:
        entry = prepared.lockfile.find(change.address)
        if change.address.kind != "certificate" or change.after is None:
            continue
        wish = {name: value for name, value in change.after.attributes.items() if name != "version"}
        if entry is None or any(entry.attributes.get(name) != value for name, value in wish.items()):
            return str(change.address)
    return ""


async def _ask_authority(project: Project) -> list[str]:
    """Ask the authority when it wants its certificates renewed (ARI, RFC 9773); its silence changes nothing."""
    issuer, messages = project.certificates, list[str]()
    if not isinstance(issuer, AcmeIssuer):
        return messages
    now = project.context.clock()
    try:
        await issuer.settings.clean_up()
    except AutogitError as exc:  # the next run tries again; what is due is more urgent
        messages.append(exc.message)
    for name in issuer.store.names():
        stored = issuer.store.newest(name)
        if stored is None or stored.leaf is None or stored.meta.get("issuer") != issuer.issuer:
            continue
        state = issuer.state(name)
        if not renewal.may_ask(life_of(stored.leaf), state, now):
            continue
        try:
            info = await issuer.client.renewal_info(stored.leaf.public_bytes(Encoding.PEM))
        except AutogitError as exc:
            wait = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
            issuer.keep(name, renewal.without_answer(state, now, wait))
            messages.append(f"{exc.message}; it is renewed by its age")
        else:
            issuer.keep(name, renewal.with_renewal_info(state, info, now, SystemRandom().random))
    return messages


def _idle(project: Project) -> list[str]:
    facts = project.certificates.facts(project.context.clock())
    return [f"{name}: nothing to do, renews from {one.renew_at[:16]}" for name, one in sorted(facts.items())]


async def status(project: Project) -> CertsView:
    """Return how each certificate is on disk, and what the ingress serves for each name of the platform."""
    now, spec = project.context.clock(), project.outline()
    port = project.store.load().ports.get(f"{spec.ingress}/https", 0)
    hosts = sorted({route.host for route in spec.routes})
    address = project.ingress_address or reachable(spec.bind_address)
    facts = project.certificates.facts(now)
    served = await asyncio.gather(*(_served(host, address, port, facts.get(spec.base_domain)) for host in hosts))
    return CertsView(
        certificates=tuple(
            _status(project, name, one, now, tuple(served) if name == spec.base_domain else ())
            for name, one in sorted(facts.items())
        )
    )


async def _served(host: str, address: str, port: int, facts: CertificateFacts | None) -> ServedView:
    if not port:
        return ServedView(host=host, error="nothing was applied yet")
    found = await asyncio.to_thread(served_certificate, address, port, host)
    same = bool(facts and facts.serial and facts.serial == found.serial)
    return ServedView(host=host, serial=found.serial, not_after=found.not_after, matches=same, error=found.error)


def _status(
    project: Project, name: str, facts: CertificateFacts, now: datetime, served: tuple[ServedView, ...]
) -> CertificateStatusView:
    left = (datetime.fromisoformat(facts.not_after) - now).total_seconds() if facts.not_after else 0.0
    level, sentence, asks_at, failure = "ok", "", "", ""
    issuer = project.certificates
    stored = issuer.store.newest(name) if isinstance(issuer, AcmeIssuer) else None
    if isinstance(issuer, AcmeIssuer) and stored is not None and stored.leaf is not None:
        state = issuer.state(name)
        level, sentence = issuer.overdue(name, life_of(stored.leaf), now)
        asks_at = state.ask_at.isoformat() if state.ask_at else ""
        failure = state.failure
    elif left <= 0:
        level, sentence = "error", facts.due or "expired"
    if level == "ok" and any(not one.matches for one in served):
        level, sentence = "error", "what is served is not what is on disk"
    return CertificateStatusView(
        name=name,
        issuer=issuer.issuer,
        version=facts.version,
        names=facts.names,
        serial=facts.serial,
        not_after=facts.not_after,
        days_left=max(int(left // 86400), 0),
        renew_at=facts.renew_at,
        due=facts.due,
        asks_at=asks_at,
        failure=failure,
        level=level,
        sentence=sentence,
        served=served,
    )


async def revoke(project: Project, name: str, reason: int) -> tuple[str, ...]:
    """Have the authority revoke the newest certificate of a name; what is served stays until another is issued.

    Raises UsageError where the authority is the local one, and what the authority answers.
    """
    issuer = project.certificates
    if not isinstance(issuer, AcmeIssuer):
        raise UsageError(
            "the local authority keeps no list of what it revoked", hint="autogit certs renew --force makes another"
        )
    stored = issuer.store.newest(name)
    if stored is None or stored.leaf is None:
        raise UsageError(f"there is no certificate of {name}", hint="autogit certs status lists them")
    await issuer.client.revoke(stored.leaf.public_bytes(Encoding.PEM), reason)
    return (
        f"{issuer.issuer} has revoked {stored.leaf.serial_number:x} of {name}",
        "it is still served: autogit certs renew --force has another one issued",
    )
