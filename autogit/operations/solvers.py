"""How names are proven to an ACME authority: by a TXT record in DNS, or by a page on port 80."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from autogit.core.certificates import acme_server, http_challenges, is_proven_by_http
from autogit.core.store import lockfile_store
from autogit.core.succession import running_ingress
from autogit.errors import UnsupportedError
from autogit.model.acme import HttpChallenges, Solver
from autogit.model.dns import View
from autogit.model.resource import Address
from autogit.model.settings import Settings
from autogit.operations.dns_views import world_lookup
from autogit.providers.base import ProviderContext
from autogit.providers.dns.base import DNSProvider
from autogit.providers.dns.records import DNSRecords
from autogit.providers.dns.world.lookup import Lookup

if TYPE_CHECKING:
    from autogit.providers.ssl.acme_client import AcmeClient
    from autogit.providers.ssl.solvers.dns01 import Dns01Solver
    from autogit.providers.ssl.solvers.http_probe import Probe
    from autogit.providers.ssl.solvers.ingress_http01 import IngressHttp01Solver
    from autogit.providers.ssl.solvers.preflight import PreflightRequest

Say = Callable[[str], None]


@dataclass(frozen=True)
class Proofs:
    """Who shows challenges, what is looked at before an order, and what takes away the remains of killed runs."""

    solver: Solver
    look_first: Callable[[AcmeClient, tuple[str, ...]], Awaitable[None]]
    clean_up: Callable[[], Awaitable[object]]


def load_proofs(
    settings: Settings, context: ProviderContext, dns: DNSRecords | None, world: Lookup | None = None
) -> Proofs:
    """Return how `CERT_CHALLENGE` has names proven; `world` is who is asked about public names.

    Raises UnsupportedError where nothing could prove them.
    """
    world = world or world_lookup(settings)
    say = partial(context.progress, Address("certificate", settings.base_domain))
    if is_proven_by_http(settings):
        by_http = _http01(settings, context, world, say)
        return Proofs(by_http, partial(_look_by_http, settings, by_http, world, say), by_http.clean_leftovers)
    # The world is asked: its secondaries count, not the primary that was written to.
    by_dns = _dns01(_provider(settings, dns), context, world, say)
    return Proofs(by_dns, partial(_look_by_dns, world, say), by_dns.clean_leftovers)


def _dns01(provider: DNSProvider[Any], context: ProviderContext, world: Lookup, say: Say) -> Dns01Solver:
    from autogit.providers.ssl.solvers.dns01 import Dns01Solver  # noqa: PLC0415 - the local issuer needs none of it

    return Dns01Solver(provider, world, state_file=context.paths.certs / "challenges.json", progress=say)


def _provider(settings: Settings, dns: DNSRecords | None) -> DNSProvider[Any]:
    """Return who keeps the zone that everybody sees, else the only one there is."""
    views = dns.views if dns else {}
    provider = views.get(View.PUBLIC) or views.get(View.LAN)
    if provider is None:
        raise UnsupportedError(
            f"{settings.source_of('CERT_ISSUER')}: CERT_ISSUER={settings.cert_issuer} needs a DNS provider: "
            "a wildcard is proven by a TXT record (RFC 8555 section 8.4)",
            hint="set DNS_PROVIDER (docs/how-to/dns-records.md), CERT_CHALLENGE=http-01 where port 80 is open to the "
            "authority, or CERT_ISSUER=local",
        )
    return provider


def _http01(settings: Settings, context: ProviderContext, world: Lookup, say: Say) -> IngressHttp01Solver:
    from autogit.providers.ssl.solvers.ingress_http01 import IngressHttp01Solver  # noqa: PLC0415 - the same
    from autogit.providers.ssl.solvers.preflight import is_public_authority  # noqa: PLC0415 - the same

    server = acme_server(settings)

    def place() -> HttpChallenges:
        """Return where challenges go now: ports are in the lockfile before anything is applied."""
        lockfile = lockfile_store(context.paths).load()
        running = running_ingress(settings, lockfile)
        ingress = running if f"{running}/http" in lockfile.ports else settings.ingress
        found = http_challenges(settings.model_copy(update={"ingress": ingress}), lockfile.ports)
        if found is None or not found.port:
            raise UnsupportedError(
                f"{settings.source_of('INGRESS')}: INGRESS={settings.ingress} has no port of plain HTTP for http-01",
                hint="CERT_CHALLENGE=dns-01 needs none",
            )
        return found

    return IngressHttp01Solver(
        place,
        context.paths.acme_challenges,
        context.paths.certs / "challenges-http.json",
        world,
        public=server is not None and is_public_authority(server.directory_url),
        progress=say,
    )


async def _look_by_dns(world: Lookup, say: Say, client: AcmeClient, names: tuple[str, ...]) -> None:
    from autogit.providers.ssl.solvers.preflight import PreflightRequest  # noqa: PLC0415 - the same

    await _look(world, client, PreflightRequest(names, "dns-01"), None, say)


async def _look_by_http(  # noqa: PLR0913, PLR0917 - who is asked what, and who hears of it
    settings: Settings,
    solver: IngressHttp01Solver,
    world: Lookup,
    say: Say,
    client: AcmeClient,
    names: tuple[str, ...],
) -> None:
    from autogit.providers.ssl.solvers.http_probe import Probe  # noqa: PLC0415 - the same
    from autogit.providers.ssl.solvers.preflight import PreflightRequest  # noqa: PLC0415 - the same

    # Before the first `up` nobody answers on port 80; behind many routers nobody can ask it from inside.
    skip = frozenset[str]() if await solver.ingress_runs() else frozenset({"port-80"})
    asked = PreflightRequest(names, "http-01", own_addresses=_own_addresses(settings), skip=skip)
    await _look(world, client, asked, Probe(world, strict=False), say)


def _own_addresses(settings: Settings) -> tuple[str, ...]:
    """Return the public addresses that names have to lead to, where the settings say them."""
    given = (settings.ingress_ip or "", settings.ingress_ipv6)
    public = tuple(one for one in given if one not in ("", "auto", "none") and ipaddress.ip_address(one).is_global)
    return () if settings.dns_proxied else public


async def _look(
    world: Lookup, client: AcmeClient, asked: PreflightRequest, probe: Probe | None = None, say: Say | None = None
) -> None:
    """Look at what a public authority will look at. Raises RejectedError: a refusal here costs no try there."""
    from autogit.providers.ssl.solvers.preflight import (  # noqa: PLC0415 - the same
        is_public_authority,
        preflight,
        require,
    )

    if not is_public_authority(client.server.directory_url):
        return
    directory = await client.directory()
    checks = await preflight(world, replace(asked, ca_domains=directory.caa_identities), probe)
    if say is not None:
        for one in checks:
            if one.is_warning:
                say(f"{one.sentence}: {one.fix}")
    require(client.server.name, checks)
