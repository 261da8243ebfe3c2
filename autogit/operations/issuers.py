"""The issuer of a project's certificates: the local authority, or one that speaks ACME."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from autogit.core import acme_budget, fallback, renewal
from autogit.core.certificates import acme_server, issuer_name, staging_of
from autogit.core.traefik_resolver import is_traefiks, storage_file
from autogit.model.settings import LOCAL_DAYS, Settings
from autogit.operations.solvers import load_proofs
from autogit.providers.base import ProviderContext
from autogit.providers.dns.records import DNSRecords
from autogit.providers.registry import load_provider
from autogit.providers.ssl.base import CertificateProvider

if TYPE_CHECKING:
    from autogit.providers.ssl.acme import AcmeSettings


def load_issuer(settings: Settings, context: ProviderContext, dns: DNSRecords | None) -> CertificateProvider:
    """Return the issuer that `CERT_ISSUER` names. Raises UnsupportedError where nothing could prove the names."""
    server = acme_server(settings)
    if is_traefiks(settings):
        return _traefik(settings, context)
    if server is None:
        return cast("CertificateProvider", load_provider("ssl", settings.cert_issuer, context))
    from autogit.providers.ssl.acme import AcmeSettings  # noqa: PLC0415 - the local issuer needs none of it

    proofs = load_proofs(settings, context, dns)
    asked = AcmeSettings(
        server=server,
        solvers=lambda _name: proofs.solver,
        renewal=renewal,
        budget=acme_budget,
        look_first=proofs.look_first,
        clean_up=proofs.clean_up,
        domain=settings.base_domain,
        staging=staging_of(server),
        key_type=settings.cert_key_type,
        profile=settings.acme_profile,
        seed=f"{platform.node()} {context.paths.root}",
    )
    return _acme_issuer(settings, context, asked)


def _traefik(settings: Settings, context: ProviderContext) -> CertificateProvider:
    from autogit.providers.ssl.traefik import TraefikIssuer  # noqa: PLC0415 - the other issuers need none of it

    storage = storage_file(settings, context.paths)
    return TraefikIssuer(context, storage, settings.base_domain, issuer_name(settings))


def _acme_issuer(settings: Settings, context: ProviderContext, asked: AcmeSettings) -> CertificateProvider:
    """Return who asks that authority, with the one of `CERT_FALLBACK_ISSUER` behind it."""
    from autogit.providers.ssl.acme import AcmeIssuer  # noqa: PLC0415 - the local issuer needs none of it
    from autogit.providers.ssl.fallback import Fallback, FallbackIssuer  # noqa: PLC0415 - the same
    from autogit.providers.ssl.local import LocalIssuer  # noqa: PLC0415 - the same

    if not fallback.fallback_name(settings):
        return AcmeIssuer(context, asked)
    server = fallback.fallback_server(settings, asked.server)
    if server is None:
        return FallbackIssuer(context, asked, Fallback(LocalIssuer(context), fallback, LOCAL_DAYS))
    staging = staging_of(server)
    theirs = replace(asked, server=server, staging=staging, profile="", state_file="renewal-fallback.json")
    return FallbackIssuer(context, asked, Fallback(AcmeIssuer(context, theirs), fallback, LOCAL_DAYS))
