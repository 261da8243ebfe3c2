"""The issuer of a project's certificates: the local authority, or one that speaks ACME."""

from __future__ import annotations

import platform
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from autogit.core import acme_budget, renewal
from autogit.core.certificates import acme_server, staging_of
from autogit.errors import UnsupportedError
from autogit.model.dns import View
from autogit.model.resource import Address
from autogit.model.settings import Settings
from autogit.operations.dns_views import lookup_of
from autogit.providers.base import ProviderContext
from autogit.providers.dns.base import DNSProvider
from autogit.providers.dns.records import DNSRecords
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.registry import load_provider
from autogit.providers.ssl.base import CertificateProvider

if TYPE_CHECKING:
    from autogit.providers.ssl.acme_client import AcmeClient
    from autogit.providers.ssl.solvers.dns01 import Dns01Solver


def load_issuer(settings: Settings, context: ProviderContext, dns: DNSRecords | None) -> CertificateProvider:
    """Return the issuer that `CERT_ISSUER` names. Raises UnsupportedError where nothing could prove the names."""
    server = acme_server(settings)
    if server is None:
        return cast("CertificateProvider", load_provider("ssl", settings.cert_issuer, context))
    from autogit.providers.ssl.acme import AcmeIssuer, AcmeSettings  # noqa: PLC0415 - the local issuer needs none of it

    solver = _solver(settings, context, dns)
    return AcmeIssuer(
        context,
        AcmeSettings(
            server=server,
            solvers=lambda _name: solver,
            renewal=renewal,
            budget=acme_budget,
            look_first=partial(_look_first, settings, dns),
            clean_up=solver.clean_leftovers,
            staging=staging_of(server),
            key_type=settings.cert_key_type,
            profile=settings.acme_profile,
            seed=f"{platform.node()} {context.paths.root}",
        ),
    )


def _provider(settings: Settings, dns: DNSRecords | None) -> DNSProvider[Any]:
    """Return who keeps the zone that everybody sees, else the only one there is."""
    views = dns.views if dns else {}
    provider = views.get(View.PUBLIC) or views.get(View.LAN)
    if provider is None:
        raise UnsupportedError(
            f"{settings.source_of('CERT_ISSUER')}: CERT_ISSUER={settings.cert_issuer} needs a DNS provider: "
            "a wildcard is proven by a TXT record (RFC 8555 section 8.4)",
            hint="set DNS_PROVIDER (docs/how-to/dns-records.md), or CERT_ISSUER=local",
        )
    return provider


def _solver(settings: Settings, context: ProviderContext, dns: DNSRecords | None) -> Dns01Solver:
    from autogit.providers.ssl.solvers.dns01 import Dns01Solver  # noqa: PLC0415 - the local issuer needs none of it

    provider = _provider(settings, dns)
    return Dns01Solver(
        provider,
        _world(provider, settings),
        state_file=context.paths.certs / "challenges.json",
        progress=partial(context.progress, Address("certificate", settings.base_domain)),
    )


def _world(provider: DNSProvider[Any], settings: Settings) -> Lookup:
    """Return what asks the world: its secondaries count, not the primary that was written to."""
    return Lookup(replace(lookup_of(provider, settings).config, servers=()))


async def _look_first(settings: Settings, dns: DNSRecords | None, client: AcmeClient, names: tuple[str, ...]) -> None:
    """Look at what a public authority will look at. Raises RejectedError: a refusal here costs no try there."""
    from autogit.providers.ssl.solvers.preflight import (  # noqa: PLC0415 - the same
        PreflightRequest,
        is_public_authority,
        preflight,
        require,
    )

    if not is_public_authority(client.server.directory_url):
        return
    directory = await client.directory()
    asked = PreflightRequest(names, "dns-01", ca_domains=directory.caa_identities)
    require(client.server.name, await preflight(_world(_provider(settings, dns), settings), asked))
