"""Which authority signs: what `.env` says of it, as one value; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from urllib.parse import urlsplit

from autogit.core.verify import reachable
from autogit.errors import UnsupportedError
from autogit.model.acme import DIRECTORIES, AcmeServer, HttpChallenges
from autogit.model.settings import LOCAL_ISSUER, Settings

MOST_NAMES = 100
"""What Let's Encrypt puts into one certificate (its page on rate limits)."""
_LOOPBACK = "127.0.0.1"


def acme_server(settings: Settings) -> AcmeServer | None:
    """Return the ACME server that `CERT_ISSUER` names, None for the local authority."""
    issuer = settings.cert_issuer
    if issuer == LOCAL_ISSUER:
        return None
    hmac_key = settings.acme_eab_hmac_key
    return AcmeServer(
        name=issuer_name(settings),
        directory_url=DIRECTORIES.get(issuer, issuer),
        email=settings.acme_email or "",
        eab_key_id=settings.acme_eab_key_id,
        eab_hmac_key=hmac_key.get_secret_value() if hmac_key else "",
        ca_file=settings.acme_ca_file or "",
        preferred_chain=settings.cert_preferred_chain,
    )


def staging_of(server: AcmeServer) -> AcmeServer | None:
    """Return an authority's twin for rehearsals, None where none is known."""
    if server.name != "letsencrypt":
        return None
    staging = "letsencrypt-staging"
    return replace(server, name=staging, directory_url=DIRECTORIES[staging], preferred_chain="")


def is_proven_by_http(settings: Settings) -> bool:
    """Tell whether names are proven by http-01; the local authority asks for no proof."""
    return settings.cert_challenge == "http-01" and settings.cert_issuer != LOCAL_ISSUER


def answers_challenges(settings: Settings) -> bool:
    """Tell whether AutoGit shows the pages of http-01 itself: Traefik does where it orders certificates."""
    return is_proven_by_http(settings) and settings.cert_manager == "autogit"


def certificate_names(settings: Settings, hosts: Collection[str]) -> tuple[str, ...]:
    """Return the names that the certificate is for: the apex and its wildcard, or by http-01 the hosts of the routes.

    Authorities prove a wildcard by dns-01 only (Let's Encrypt, challenge types). Raises UnsupportedError where there
    are more hosts than authorities put into one certificate.
    """
    domain = settings.base_domain
    if not is_proven_by_http(settings):
        return (domain, f"*.{domain}")
    names = tuple(sorted(set(hosts))) or (domain,)
    if len(names) > MOST_NAMES:
        raise UnsupportedError(
            f"{settings.source_of('CERT_CHALLENGE')}: CERT_CHALLENGE=http-01 needs every service's name in the "
            f"certificate: {len(names)} are wished for, and {MOST_NAMES} are the most that authorities take",
            hint="CERT_CHALLENGE=dns-01 has one wildcard for all; or take services out of SERVICES_ENABLED",
        )
    return names


def http_challenges(settings: Settings, ports: Mapping[str, int]) -> HttpChallenges | None:
    """Return where http-01 challenges are asked and shown with these ports, None where names are proven otherwise.

    In Docker, Traefik reaches this host at the first address of its outer network, which is the host's own there.
    Raises UnsupportedError where the engine is on another machine: AutoGit listens on this one.
    """
    if not answers_challenges(settings):
        return None
    listen = ports.get(f"{settings.ingress}/acme", 0)
    if listen and settings.runtime != "embedded" and (settings.docker_host or "unix:").partition(":")[0] != "unix":
        raise UnsupportedError(
            f"{settings.source_of('CERT_CHALLENGE')}: CERT_CHALLENGE=http-01 needs the Docker Engine on this machine: "
            "the ingress passes challenges to AutoGit, which listens here",
            hint="CERT_CHALLENGE=dns-01, INGRESS=nginx, or run AutoGit where the engine is",
        )
    host = _LOOPBACK if settings.runtime == "embedded" else str(IPv4Network(settings.acme_subnet)[1])
    return HttpChallenges(
        address=settings.bind_address,
        asked_at=reachable(settings.bind_address),
        port=ports.get(f"{settings.ingress}/http", 0),
        listen_address=host,
        listen_port=listen,
    )


def issuer_name(settings: Settings) -> str:
    """Return what the authority is called in plans: its name, or the host of its directory."""
    return urlsplit(settings.cert_issuer).netloc or settings.cert_issuer
