"""The certificate that a platform wishes for: its names, its signer, and the version in force or the next; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autogit.core.certificates import is_proven_by_http, issuer_name
from autogit.core.fallback import signer_of
from autogit.core.traefik_resolver import is_traefiks
from autogit.model.host import CertificateFacts, HostFacts
from autogit.model.plan import Note
from autogit.model.project import ProjectPaths
from autogit.model.settings import LOCAL_DAYS, LOCAL_ISSUER, Settings
from autogit.model.spec import CertificateSpec


def build_certificate(
    settings: Settings, facts: HostFacts, paths: ProjectPaths, names: tuple[str, ...]
) -> CertificateSpec:
    """Return the certificate for these names: the version in the store, or the next one and why it is due."""
    domain = settings.base_domain
    known = facts.certificates.get(domain, CertificateFacts())
    if is_traefiks(settings):  # none is issued here: what is described is the former one
        known = replace(known, due="", names=names, key_type="")
    due = ("" if known.can_wait else known.due) or ("" if set(known.names) == set(names) else "its names differ")
    first = issuer_name(settings)
    signer = first if due else signer_of(settings, first, known)
    key_type = "P-256" if signer == LOCAL_ISSUER else settings.cert_key_type
    if not due and known.key_type and known.key_type != key_type:
        due, signer = f"key type {known.key_type} -> {key_type}", first
    version = known.version + 1 if due else known.version
    folder = paths.certs / domain / f"v{version}"
    return CertificateSpec(
        name=domain,
        issuer=signer,
        names=names,
        version=version,
        fullchain=str(folder / "fullchain.pem"),
        key=str(folder / "key.pem"),
        root=str(paths.local_root(domain)) if signer == LOCAL_ISSUER else "",
        due=due,
        key_type=key_type,
        lifetime_days=LOCAL_DAYS if first == LOCAL_ISSUER else 0,
        hooks=settings.cert_deploy_hooks,
    )


def certificate_notes(settings: Settings) -> Iterator[Note]:
    """Say so where a container of the user's own would be served without a certificate for its name."""
    if is_proven_by_http(settings) and settings.ingress == "traefik" and settings.runtime != "embedded":
        told = "by http-01 the certificate has the names of AutoGit's services, not those of containers of your own"
        yield Note("info", "certificate", told, "CERT_CHALLENGE=dns-01 has a wildcard for all")
