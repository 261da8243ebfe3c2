"""Certificates as they are: on disk, served, taken to others, and in every detail."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

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
from autogit.operations import certs_by_ingress
from autogit.operations.certs_served import what_is_served
from autogit.operations.project import Project
from autogit.providers.ssl.acme import AcmeIssuer, key_type_of, life_of
from autogit.providers.ssl.store import CertificateStore, Stored, dns_names, named_versions


async def status(project: Project) -> CertsView:
    """Return how each certificate is on disk, what the ingress serves for each name, and what hooks have delivered."""
    if is_traefiks(project.settings):
        return await certs_by_ingress.status(project)
    now, domain = project.context.clock(), project.settings.base_domain
    facts = project.certificates.facts(now)
    served = await what_is_served(project, facts.get(domain))
    return CertsView(
        certificates=tuple(
            _status(project, name, one, now, served if name == domain else ()) for name, one in sorted(facts.items())
        )
    )


def _status(
    project: Project, name: str, facts: CertificateFacts, now: datetime, served: tuple[ServedView, ...]
) -> CertificateStatusView:
    left = (datetime.fromisoformat(facts.not_after) - now).total_seconds() if facts.not_after else 0.0
    level, sentence, asks_at, failure = "ok", "", "", ""
    issuer = project.certificates
    stored = CertificateStore(project.paths.certs).newest(name)
    if isinstance(issuer, AcmeIssuer) and stored is not None and stored.leaf is not None:
        failure = issuer.state(name).failure
    signer = issuer.signer(stored) if isinstance(issuer, AcmeIssuer) and stored and stored.leaf else None
    if signer is not None and stored is not None and stored.leaf is not None:
        state = signer.state(name)
        level, sentence = signer.overdue(name, life_of(stored.leaf), now)
        asks_at = state.ask_at.isoformat() if state.ask_at else ""
        failure = state.failure or failure
    elif left <= 0:
        level, sentence = "error", facts.due or "expired"
    hooks = _hooks(project, facts.version) if name == project.settings.base_domain else ()
    if level == "ok" and any(not one.matches for one in served):
        level, sentence = "error", "what is served is not what is on disk"
    if late := [one.sentence for one in hooks if one.sentence]:
        level, sentence = "error", "; ".join(filter(None, (sentence, *late)))
    return CertificateStatusView(
        name=name,
        issuer=facts.issuer or issuer.issuer,
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
        hooks=hooks,
    )


def _hooks(project: Project, version: int) -> tuple[HookView, ...]:
    """Return what each command of `CERT_DEPLOY_HOOKS` has delivered, and what is wrong with that."""
    known, found = project.hooks.deliveries(), []
    for words in project.settings.cert_deploy_hooks:
        name, sentence = hook_address(words).name, ""
        delivery = known.get(name)
        if delivery is None or delivery.version != version:
            why = delivery.failure if delivery and delivery.failed_version == version else "it was not run yet"
            sentence = f"the hook {name} has not delivered v{version}: {why}"
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
