"""Which authority signs: what `.env` says of it, as one value; pure."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from autogit.model.acme import AcmeServer
from autogit.model.settings import LOCAL_ISSUER, Settings

DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""Authorities that are known by name."""


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


def issuer_name(settings: Settings) -> str:
    """Return what the authority is called in plans: its name, or the host of its directory."""
    return urlsplit(settings.cert_issuer).netloc or settings.cert_issuer
