"""Certificates as they are: on disk, served, taken to others, and in every detail."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from autogit.core import renewal
from autogit.core.schedule import RENEWAL
from autogit.core.traefik_resolver import is_traefiks
from autogit.errors import UsageError
from autogit.model.cert_hooks import hook_address
from autogit.model.certificate_views import (
    CertificateStatusView,
    CertificateView,
    CertsView,
    HookView,
    ServedView,
)
from autogit.model.host import CertificateFacts
from autogit.model.renewal import RenewalState, Verdict
from autogit.operations import certs_by_ingress
from autogit.operations.certs_served import what_is_served
from autogit.operations.project import Project, as_it_runs
from autogit.operations.reconcile import last_heartbeat
from autogit.operations.wire import NOT_APPLIED, days_left
from autogit.providers.ssl.acme import AcmeIssuer, life_of
from autogit.providers.ssl.acme_certificate import key_type_of
from autogit.providers.ssl.store import CertificateStore, Stored, dns_names, named_versions


async def status(project: Project) -> CertsView:
    """Return how each certificate is on disk, what the ingress serves for each name, and what hooks have delivered.

    That of the base domain is always among them, be it there or not; those of former ones are only mentioned.
    """
    project = as_it_runs(project)
    if is_traefiks(project.settings):
        return await certs_by_ingress.status(project)
    now, domain = project.context.clock(), project.settings.base_domain
    facts = {domain: CertificateFacts(), **project.certificates.facts(now)}
    served = await what_is_served(project, facts[domain])
    renewed_at, renewed = last_heartbeat(project, RENEWAL)
    return CertsView(
        certificates=(
            _status(project, facts.pop(domain), now, served),
            *(_former(project, name, one, now) for name, one in sorted(facts.items())),
        ),
        renewed_at=renewed_at,
        renewed=renewed,
    )


def _status(
    project: Project, facts: CertificateFacts, now: datetime, served: tuple[ServedView, ...]
) -> CertificateStatusView:
    """Return how the certificate of the base domain is."""
    name, issuer = project.settings.base_domain, project.certificates
    stored = CertificateStore(project.paths.certs).newest(name)
    leaf = stored.leaf if stored else None
    signer = issuer.signer(stored) if isinstance(issuer, AcmeIssuer) and stored and leaf else None
    asks_at = signer.state(name).ask_at if signer else None
    failure, next_try_at = _last_try(name, [one for one in (signer, issuer) if isinstance(one, AcmeIssuer)], leaf, now)
    level, sentence = _verdict(name, facts, signer, leaf, now)
    hooks = _hooks(project, facts.version) if facts.version else ()
    late = [one.sentence for one in hooks if one.sentence]
    if level != "error" and facts.not_after:
        late.insert(0, _unserved(served))
    if any(late):
        level, sentence = "error", "; ".join(filter(None, (sentence, *late)))
    return _view(name, facts, now, issuer.issuer).model_copy(
        update={
            "asks_at": asks_at.isoformat() if asks_at else "",
            "failure": failure,
            "next_try_at": next_try_at,
            "level": level,
            "sentence": sentence,
            "served": served,
            "hooks": hooks,
        }
    )


def _former(project: Project, name: str, facts: CertificateFacts, now: datetime) -> CertificateStatusView:
    """Return what there is to say of the certificate of another base domain than the present one."""
    named = named_versions(project.paths, name)
    sentence = "former, served until the next autogit up" if named else "former, not served"
    told = {"former": True, "sentence": sentence, "due": "", "renew_at": ""}
    return _view(name, facts, now, project.certificates.issuer).model_copy(update=told)


def _view(name: str, facts: CertificateFacts, now: datetime, issuer: str) -> CertificateStatusView:
    return CertificateStatusView(
        name=name,
        issuer=facts.issuer or issuer,
        version=facts.version,
        names=facts.names,
        serial=facts.serial,
        not_after=facts.not_after,
        days_left=days_left(facts.not_after, now),
        renew_at=facts.renew_at,
        due=facts.due,
    )


def _last_try(name: str, asked: Sequence[AcmeIssuer], leaf: x509.Certificate | None, now: datetime) -> tuple[str, str]:
    """Return why the last try failed at the first of those that remember one, and until when there is no other."""
    for one in asked:
        if (state := one.state(name)).failure:
            until = one.settings.renewal.paused_until(life_of(leaf), state, now) if leaf else None
            return state.failure, until.isoformat() if until else ""
    return "", ""


def _verdict(
    name: str, facts: CertificateFacts, signer: AcmeIssuer | None, leaf: x509.Certificate | None, now: datetime
) -> Verdict:
    """Return how a certificate stands by itself, be it served or not."""
    if not facts.version:
        return Verdict("error", "there is none yet: autogit up")
    if leaf is None or not facts.not_after:
        return Verdict("error", facts.due)
    if signer is not None:
        return signer.overdue(name, life_of(leaf), now)
    planned = RenewalState(pick_at=datetime.fromisoformat(facts.renew_at))
    return renewal.overdue(life_of(leaf), planned, name, now)


def _unserved(served: Sequence[ServedView]) -> str:
    """Return why a certificate that is on disk is not served, "" where it is."""
    wrong = [one for one in served if not one.matches]
    if any(not one.error for one in wrong):
        return "what is served is not what is on disk"
    if not wrong:
        return ""
    if wrong[0].error == NOT_APPLIED:
        return "it is not served yet: autogit up"
    who = "the ingress" if len(wrong) == len(served) else ", ".join(one.host for one in wrong)
    return f"{who} does not answer: {wrong[0].error}"


def _hooks(project: Project, version: int) -> tuple[HookView, ...]:
    """Return what each command of `CERT_DEPLOY_HOOKS` has delivered, and what is wrong with that."""
    known, found = project.hooks.deliveries(), []
    for words in project.settings.cert_deploy_hooks:
        name, sentence = hook_address(words).name, ""
        delivery = known.get(name)
        if delivery is None or delivery.version != version:
            why = delivery.failure if delivery and delivery.failed_version == version else "it was not run yet"
            sentence = f"the hook {shlex.join(words)} has not delivered v{version}: {why}"
        delivered = delivery.version if delivery else 0
        at = delivery.delivered_at if delivery else ""
        found.append(HookView(name=name, command=words, version=delivered, delivered_at=at, sentence=sentence))
    return tuple(found)


def show(project: Project, name: str) -> CertificateView:
    """Return everything of a certificate ("": the platform's) that is in force, but its key. Raises UsageError."""
    certs_by_ingress.check_here(project, "certs show")
    name = name or project.settings.base_domain
    stored = in_force(project, name)
    leaf = stored.chain[0]
    folder = CertificateStore(project.paths.certs).folder(name, stored.version)
    return CertificateView(
        name=name,
        issuer=stored.issuer,
        directory_url=str(stored.meta.get("directory_url") or ""),
        profile=str(stored.meta.get("profile") or ""),
        version=stored.version,
        names=dns_names(leaf),
        serial=f"{leaf.serial_number:x}",
        chain=tuple(one.issuer.rfc4514_string() for one in stored.chain),
        key_type=key_type_of(leaf),
        not_before=leaf.not_valid_before_utc.isoformat(),
        not_after=leaf.not_valid_after_utc.isoformat(),
        sha256=_fingerprint(leaf),
        folder=str(folder),
        pem="".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in stored.chain),
    )


def in_force(project: Project, name: str) -> Stored:
    """Return the version that the ingress is told to serve, the newest where it is told of none. Raises UsageError."""
    store = CertificateStore(project.paths.certs)
    versions = set(store.versions(name)) if name in store.names() else set()
    if not versions:
        known = ", ".join(store.names())
        raise UsageError(
            f"there is no certificate of {name}", hint=f"there is one of {known}" if known else "autogit up makes one"
        )
    stored = store.read(name, max(named_versions(project.paths, name) & versions or versions))
    if stored.leaf is None:
        raise UsageError(
            f"v{stored.version} of {name} cannot be read: {stored.damage}", hint="autogit certs renew makes another"
        )
    return stored


def _fingerprint(leaf: x509.Certificate) -> str:
    return leaf.fingerprint(hashes.SHA256()).hex(":").upper()
