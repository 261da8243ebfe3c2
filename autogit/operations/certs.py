"""Certificates as a user asks for them: renewing and revoking them, and trusting the platform's root."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from random import SystemRandom

from cryptography.hazmat.primitives.serialization import Encoding

from autogit.core import renewal
from autogit.core.compose import COMPOSE_FILE
from autogit.core.lock import apply_lock
from autogit.core.reconcile import Engine, Prepared, as_it_runs, prepare
from autogit.core.traefik_resolver import is_traefiks
from autogit.errors import AutogitError, BlockedError, CertificateError, RateLimitedError, UsageError
from autogit.model.cert_hooks import CERT_HOOK
from autogit.model.certificate_views import CertsRenewView
from autogit.model.host import HostFacts
from autogit.model.plan import Action, Change, Plan
from autogit.model.renewal import ASKED_FOR
from autogit.model.resource import Address
from autogit.model.settings import LOCAL_ISSUER
from autogit.operations import certs_by_ingress
from autogit.operations.certs_served import put_right
from autogit.operations.platform import Caller, OnEvent, always, apply_part, ignore
from autogit.operations.project import Project
from autogit.operations.reconcile import leave_heartbeat
from autogit.providers.ssl.acme import AcmeIssuer, life_of
from autogit.providers.ssl.trust import install_root, trust_instructions

_HEARTBEAT = "certs-renew"
_RELOAD = "reload"


def root(project: Project) -> Path:
    """Return the file of the certificate that signed what is served, whoever did. Raises CertificateError."""
    domain = project.settings.base_domain
    found = project.certificates.root_path(domain)
    if not found.is_file():
        raise CertificateError(f"there is no root certificate for {domain} yet", hint="autogit up makes it")
    return found


def trust(project: Project, *, install: bool) -> tuple[Path, tuple[str, ...]]:
    """Return the local authority's root and what to do with it, or what was done.

    Raises CertificateError where there is none yet, UsageError where another authority signs: its root is not AutoGit's
    to hand out.
    """
    domain = project.settings.base_domain
    local = project.paths.local_root(domain)
    if not local.is_file() and LOCAL_ISSUER not in project.certificates.issuers:
        raise UsageError(
            f"{project.certificates.issuer} signs the certificate of {domain}, and not AutoGit's own authority",
            hint="systems trust a public authority already; docs/how-to/certificates-own-ca.md is about another one",
        )
    if not local.is_file():
        raise CertificateError(f"there is no root certificate for {domain} yet", hint="autogit up makes it")
    return local, install_root(local, domain) if install else trust_instructions(local, domain)


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
    if is_traefiks(project.settings):
        if moving_on:
            certs_by_ingress.check_here(project, command)
        leave_heartbeat(project, "ok", _HEARTBEAT)
        return CertsRenewView(messages=certs_by_ingress.renewed(project))
    try:
        async with apply_lock(project.paths.apply_lock, command, wait_seconds=lock_wait_seconds):
            messages = await _ask_authority(project)
            project.certificates.at_once = moving_on
            engine = _renewing(as_it_runs(project.engine_here), force=force)
            prepared = await prepare(engine)
            plan = _certificates_only(prepared, moving_on=moving_on)
            if not moving_on and (waiting := _moved(project, prepared, plan)):
                messages.append(f"{waiting} waits for autogit up: its wish has changed since the last one")
                plan = replace(plan, changes=())
            messages += _waiting_hooks(prepared, plan)
            _check_unheld(prepared, plan)
            caller = Caller(command, always, on_event, project.engine_here)
            if not plan.pending:
                done = await put_right(project, prepared, caller)
                view = CertsRenewView(messages=(*messages, *(done.messages or _idle(project))), applied=done.applied)
            else:
                applied = (await apply_part(project, prepared, plan, caller)).applied
                view = CertsRenewView(messages=tuple(messages), applied=applied)
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


def _certificates_only(prepared: Prepared, *, moving_on: bool) -> Plan:
    """Return the part of a plan that issues certificates, puts them in force, and takes them to others."""
    place = prepared.spec.certificate.place
    chosen = {c.address: c for c in prepared.plan.pending if c.address.kind == "certificate"}
    before = {address for c in chosen.values() for address in c.depends_on}  # the way of challenges
    chosen |= {c.address: c for c in prepared.plan.pending if c.address in before}
    chosen |= {c.address: c for c in prepared.plan.pending if c.address.kind == "file" and _names(c, place)}
    files = {address for address in chosen if address.kind == "file"}
    for change in prepared.plan.pending:
        is_told = change.before and any(field.name == _RELOAD for field in change.fields)
        if is_told and files & set(change.depends_on):
            chosen[change.address] = _told(prepared, change, files)
    chosen |= {c.address: c for c in _hooks(prepared) if moving_on or prepared.lockfile.find(c.address)}
    left = [c for c in prepared.plan.pending if c.address not in chosen]
    if files and [c.address for c in left] == [Address("file", COMPOSE_FILE)]:
        chosen[left[0].address] = left[0]  # it bears the digest of what was read last, and nothing else moved it
    changes = (chosen[c.address] for c in prepared.plan.changes if c.address in chosen)
    return replace(prepared.plan, changes=tuple(changes), notes=())


def _hooks(prepared: Prepared) -> list[Change]:
    return [c for c in prepared.plan.pending if c.address.kind == CERT_HOOK and c.after is not None]


def _waiting_hooks(prepared: Prepared, plan: Plan) -> list[str]:
    """Return what to say of hooks that stand in `.env` since the last `up`."""
    new = [c.address for c in _hooks(prepared) if prepared.lockfile.find(c.address) is None]
    return [f"{one} waits for autogit up: it is new" for one in new if one not in {c.address for c in plan.changes}]


def _told(prepared: Prepared, change: Change, chosen: Collection[Address]) -> Change:
    """Return the change that tells a service of its new certificate, and of nothing else that waits for `up`."""
    waiting = {c.address for c in prepared.plan.pending if c.address.kind == "file"} - set(chosen)
    entry = prepared.lockfile.find(change.address)
    others = {field.name for field in change.fields} - {_RELOAD}
    if entry is None or change.after is None or not (others or waiting & set(change.depends_on)):
        return change
    known = {name: entry.attributes[name] for name in change.after.attributes if name in entry.attributes}
    fields = tuple(field for field in change.fields if field.name == _RELOAD)
    return replace(change, action=Action.UPDATE, fields=fields, after=replace(change.after, attributes=known))


def _check_unheld(prepared: Prepared, plan: Plan) -> None:
    """Refuse to order what could not be put in force: what names certificates was edited by hand."""
    if not any(change.address.kind == "certificate" for change in plan.pending):
        return
    folder = f"/{prepared.spec.certificate.name}/v"
    held = [c for c in prepared.plan.held if c.address.kind == "file" and c.after and folder in str(c.after.payload)]
    if held:
        raise BlockedError(
            f"no certificate was ordered: {held[0].address} was edited by hand, so it could not be put in force",
            hint=f"autogit drift --revert {held[0].address} puts it back, then autogit certs renew",
        )


def _names(change: Change, place: str) -> bool:
    return change.after is not None and change.before is not None and place in str(change.after.payload)


def _moved(project: Project, prepared: Prepared, plan: Plan) -> str:
    """Return a certificate of which something else is wished for than was applied, "" where there is none."""
    for change in plan.pending:
        entry = prepared.lockfile.find(change.address)
        if change.address.kind != "certificate" or change.after is None:
            continue
        signer = entry.attributes.get("issuer") if entry else None
        # To go back from the fallback issuer to the first is no new wish.
        goes_back = signer in project.certificates.issuers - {project.certificates.issuer}
        free = {"version", "issuer", "key_type"} if goes_back else {"version"}
        wish = {name: value for name, value in change.after.attributes.items() if name not in free}
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
        signer = issuer.signer(stored) if stored else None
        if stored is None or stored.leaf is None or signer is None:
            continue
        state = signer.state(name)
        if not renewal.may_ask(life_of(stored.leaf), state, now):
            continue
        try:
            info = await signer.client.renewal_info(stored.leaf.public_bytes(Encoding.PEM))
        except AutogitError as exc:
            wait = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
            signer.keep(name, renewal.without_answer(state, now, wait))
            messages.append(f"{exc.message}; it is renewed by its age")
        else:
            signer.keep(name, renewal.with_renewal_info(state, info, now, SystemRandom().random))
    return messages


def _idle(project: Project) -> list[str]:
    facts = project.certificates.facts(project.context.clock())
    return [f"{name}: nothing to do, renews from {one.renew_at[:16]}" for name, one in sorted(facts.items())]


async def revoke(project: Project, name: str, reason: int) -> tuple[str, ...]:
    """Have the authority revoke the newest certificate of a name; what is served stays until another is issued.

    Raises UsageError where the authority is the local one, and what the authority answers.
    """
    certs_by_ingress.check_here(project, "certs revoke")
    issuer = project.certificates
    if not isinstance(issuer, AcmeIssuer):
        raise UsageError(
            "the local authority keeps no list of what it revoked", hint="autogit certs renew --force makes another"
        )
    stored = issuer.store.newest(name)
    if stored is None or stored.leaf is None:
        raise UsageError(f"there is no certificate of {name}", hint="autogit certs status lists them")
    signer = issuer.signer(stored)
    if signer is None:
        raise UsageError(
            f"that of {name} is one of {stored.issuer}, which cannot be asked",
            hint=f"set CERT_ISSUER to {stored.issuer} again; autogit certs renew --force has another one issued",
        )
    await signer.client.revoke(stored.leaf.public_bytes(Encoding.PEM), reason)
    return (
        f"{signer.issuer} has revoked {stored.leaf.serial_number:x} of {name}",
        "it is still served: autogit certs renew --force has another one issued",
    )
