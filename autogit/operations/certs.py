"""Certificates as a user asks for them: renewing and revoking them, and trusting the platform's root."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import SystemRandom

from cryptography.hazmat.primitives.serialization import Encoding

from autogit.core import renewal
from autogit.core.compose import COMPOSE_FILE
from autogit.core.lock import apply_lock
from autogit.core.reconcile import Engine, Prepared, prepare
from autogit.core.schedule import RENEWAL
from autogit.core.traefik_resolver import is_traefiks
from autogit.errors import (
    AutogitError,
    BlockedError,
    CertificateError,
    ProviderAuthError,
    RateLimitedError,
    UnsupportedError,
    UsageError,
)
from autogit.model.acme import DIRECTORIES
from autogit.model.cert_hooks import CERT_HOOK
from autogit.model.certificate_views import CertsRenewView
from autogit.model.host import HostFacts
from autogit.model.plan import Action, Change, Plan
from autogit.model.renewal import ASKED_FOR
from autogit.model.resource import Address, Resource
from autogit.model.settings import LOCAL_ISSUER
from autogit.model.text import moment_words
from autogit.operations import certs_by_ingress
from autogit.operations.certs_served import put_right, what_is_served
from autogit.operations.certs_view import in_force
from autogit.operations.platform import Caller, OnEvent, always, apply_part, ignore
from autogit.operations.project import Project, as_it_runs
from autogit.operations.reconcile import leave_heartbeat
from autogit.providers.ssl.acme import AcmeIssuer, life_of
from autogit.providers.ssl.acme_certificate import serial_of
from autogit.providers.ssl.store import Stored
from autogit.providers.ssl.trust import install_root, trust_instructions

_RENEW = "certs renew"
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
    project = as_it_runs(project)
    domain, issuer = project.settings.base_domain, project.certificates
    local, signer = project.paths.local_root(domain), _signer(project)
    if signer != LOCAL_ISSUER and (signer or LOCAL_ISSUER not in issuer.issuers):
        raise UsageError(
            f"{signer or issuer.issuer} signs the certificate of {domain}, and not AutoGit's own authority",
            hint="systems trust a public authority already; docs/how-to/certificates-own-ca.md is about another one",
        )
    if not local.is_file():
        raise CertificateError(f"there is no root certificate for {domain} yet", hint="autogit up makes it")
    return local, install_root(local, domain) if install else trust_instructions(local, domain)


def _signer(project: Project) -> str:
    """Return who signed the certificate that is in force, "" where there is none or it cannot be read."""
    if is_traefiks(project.settings):
        return project.certificates.issuer
    try:
        return in_force(project, project.settings.base_domain).issuer
    except UsageError:
        return ""


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
    command = "certs issue" if moving_on else _RENEW
    if moving_on:
        certs_by_ingress.check_here(project, command)
    try:
        async with apply_lock(project.paths.apply_lock, command, wait_seconds=lock_wait_seconds):
            view = await _renewed(as_it_runs(project), command, on_event, force=force)
    except AutogitError:
        if not moving_on:
            leave_heartbeat(project, "failed", RENEWAL)
        raise
    if not moving_on:
        leave_heartbeat(project, "ok", RENEWAL)
    return view


async def _renewed(project: Project, command: str, on_event: OnEvent, *, force: bool) -> CertsRenewView:
    """Do that with the project as it runs; the caller holds the lock."""
    moving_on = command != _RENEW
    if is_traefiks(project.settings):
        if moving_on:
            raise UnsupportedError(
                "Traefik orders certificates still: CERT_MANAGER=autogit waits for autogit up",
                hint="autogit up has AutoGit order, and moves on to that",
            )
        return CertsRenewView(messages=certs_by_ingress.renewed(project))
    messages = await _ask_authority(project)
    project.certificates.at_once = moving_on
    prepared = await prepare(_renewing(project.engine_here, force=force))
    if moving_on:
        _check_up(prepared)
    plan = _certificates_only(prepared, moving_on=moving_on)
    if not moving_on and (moved := _moved(project, prepared, plan)):
        plan, told = _before_up(project, prepared, plan, moved)
        messages.append(told)
    messages += _waiting_hooks(prepared, plan)
    _check_unheld(prepared, plan)
    caller = Caller(command, always, on_event, project.engine_here)
    if not plan.pending:
        done = await put_right(project, prepared, caller)
        return CertsRenewView(messages=(*messages, *(done.messages or _idle(project))), applied=done.applied)
    applied = (await apply_part(project, prepared, plan, caller)).applied
    return CertsRenewView(messages=tuple(messages), applied=applied)


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
    """Return the changes of hooks; these look at what is served where the ingress listens now, for what runs now."""
    spec, lockfile = prepared.spec, prepared.lockfile
    port = lockfile.ports.get(f"{spec.ingress}/https", 0)
    hosts = {r.host for r in spec.routes if lockfile.find(Address(spec.unit_kind, r.service))} or {spec.base_domain}

    def here(change: Change, wish: Resource) -> Change:
        payload = replace(wish.payload, port=port, hosts=tuple(sorted(hosts)))
        return replace(change, after=replace(wish, payload=payload))

    return [here(c, c.after) for c in prepared.plan.pending if c.address.kind == CERT_HOOK and c.after]


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


def _check_up(prepared: Prepared) -> None:
    """Refuse to order for a platform of which nothing was brought up: what names certificates is not there yet."""
    spec = prepared.spec
    if prepared.lockfile.find(Address(spec.unit_kind, spec.ingress)) is None:
        raise UsageError(
            f"no certificate was ordered: {spec.ingress} does not run, so nothing would serve it",
            hint="autogit up brings the platform up first, and has the certificate issued with it",
        )


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


def _before_up(project: Project, prepared: Prepared, plan: Plan, moved: Change) -> tuple[Plan, str]:
    """Return what is done before `up` where something else is wished for than was applied, and what is not.

    What is due by its age is renewed as it was applied. Raises CertificateError where nobody asks that authority now.
    """
    told = f"{moved.address} waits for autogit up: its wish has changed since the last one"
    known = prepared.facts.certificates.get(moved.address.name)
    if known and known.renew_at and datetime.fromisoformat(known.renew_at) > project.context.clock():
        return replace(plan, changes=()), told
    entry, wish = prepared.lockfile.entries[moved.address].attributes, moved.after
    if wish is None or entry.get("issuer") not in project.certificates.issuers:
        raise CertificateError(
            f"{moved.address} is due and was not renewed: CERT_ISSUER has changed since the last up, and who signed it "
            "is not asked any more",
            hint="autogit up moves on to the other authority",
        )
    names, key_type = entry["names"], entry["key_type"]
    kept = {name: entry.get(name, value) for name, value in wish.attributes.items() if name != "version"}
    payload = replace(wish.payload, names=names, key_type=key_type)
    again = replace(moved, after=replace(wish, attributes={**wish.attributes, **kept}, payload=payload))
    changes = tuple(again if change is moved else change for change in plan.changes)
    return replace(plan, changes=changes), f"{told}; it is due, and renewed as it was"


def _moved(project: Project, prepared: Prepared, plan: Plan) -> Change | None:
    """Return a certificate of which something else is wished for than was applied, None for none.

    Raises CertificateError where none was applied yet: there is nothing to renew.
    """
    for change in plan.pending:
        entry = prepared.lockfile.find(change.address)
        if change.address.kind != "certificate" or change.after is None:
            continue
        if entry is None or not entry.attributes:
            raise _nothing_yet(project, change.address.name)
        signer = entry.attributes.get("issuer")
        # To go back from the fallback issuer to the first is no new wish.
        goes_back = signer in project.certificates.issuers - {project.certificates.issuer}
        free = {"version", "issuer", "key_type"} if goes_back else {"version"}
        wish = {name: value for name, value in change.after.attributes.items() if name not in free}
        if any(entry.attributes.get(name) != value for name, value in wish.items()):
            return change
    return None


def _nothing_yet(project: Project, name: str) -> CertificateError:
    """Return what to say where a renewal finds nothing in force to renew, and why the first order failed."""
    issuer = project.certificates
    failure = issuer.state(name).failure if isinstance(issuer, AcmeIssuer) else ""
    told = f"; the last try failed: {failure}" if failure else ""
    return CertificateError(
        f"no certificate of {name} is in force, so there is none to renew yet{told}",
        hint="autogit up has it issued and puts it in force",
    )


async def _ask_authority(project: Project) -> list[str]:
    """Ask the authority when it wants its certificate renewed (ARI, RFC 9773); its silence changes nothing.

    Of a former base domain's nothing is asked: nobody renews that.
    """
    issuer, messages = project.certificates, list[str]()
    if not isinstance(issuer, AcmeIssuer):
        return messages
    now = project.context.clock()
    try:
        await issuer.settings.clean_up()
    except AutogitError as exc:  # the next run tries again; what is due is more urgent
        messages.append(exc.message)
    name = project.settings.base_domain
    stored = issuer.store.newest(name)
    signer = issuer.signer(stored) if stored else None
    if stored is None or stored.leaf is None or signer is None:
        return messages
    state = signer.state(name)
    if not renewal.may_ask(life_of(stored.leaf), state, now):
        return messages
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
    name = project.settings.base_domain
    facts = project.certificates.facts(project.context.clock()).get(name)
    if facts is None or facts.due:
        return []
    return [f"{name}: nothing to do, renews from {moment_words(facts.renew_at)}"]


async def revoke(
    project: Project, name: str, reason: int, confirmed_name: str, *, lock_wait_seconds: float = 0.0
) -> tuple[str, ...]:
    """Have the authority revoke the certificate of a name that is in force; it is served until another one is issued.

    Raises UsageError where `confirmed_name` is not its name and where no authority can be asked, and what it answers.
    """
    certs_by_ingress.check_here(project, "certs revoke")
    stored = in_force(project, name)
    signer = _revoking(project, name, stored)
    if confirmed_name != name:
        told = f"{confirmed_name} is not its name" if confirmed_name else "that was not confirmed with its name"
        raise UsageError(
            f"the certificate of {name} was not revoked: {told}", hint=f"autogit certs revoke {name} --confirm {name}"
        )
    leaf = stored.chain[0]
    pem, serial = leaf.public_bytes(Encoding.PEM), serial_of(leaf)
    async with apply_lock(project.paths.apply_lock, "certs revoke", wait_seconds=lock_wait_seconds):
        try:
            await signer.client.revoke(pem, reason)
        except ProviderAuthError:  # closed, lost or another one: the certificate's own key has the same right
            key = (signer.store.folder(name, stored.version) / "key.pem").read_bytes()
            await signer.client.revoke(pem, reason, key)
        signer.keep(name, renewal.after_revocation(signer.state(name), serial))
    is_served = any(one.serial == serial for one in await what_is_served(project, None))
    now = "it is still served" if is_served else "it is not served now"
    another = "; autogit certs renew puts another one in its place" if name == project.settings.base_domain else ""
    return (f"{signer.issuer} has revoked {serial} of {name}", f"{now}{another}")


def _revoking(project: Project, name: str, stored: Stored) -> AcmeIssuer:
    """Return who asks the authority that signed a version. Raises UsageError where nobody does."""
    issuer = project.certificates
    signer = issuer.signer(stored) if isinstance(issuer, AcmeIssuer) else None
    if signer is not None:
        return signer
    is_wished = stored.issuer in issuer.issuers
    another = "autogit certs renew --force" if is_wished else "autogit up"
    if stored.issuer == LOCAL_ISSUER:
        raise UsageError(
            f"AutoGit's own authority signed that of {name}, and it keeps no list of what it revoked",
            hint=f"{another} puts one with a new key in its place; whoever has the old key can use it until "
            f"{stored.chain[0].not_valid_after_utc:%Y-%m-%d} all the same",
        )
    known = stored.issuer if stored.issuer in DIRECTORIES else stored.meta.get("directory_url") or stored.issuer
    raise UsageError(
        f"that of {name} is one of {stored.issuer}, which is not asked any more",
        hint=f"set CERT_ISSUER to {known} again to have it revoked; {another} puts another one in its place",
    )
