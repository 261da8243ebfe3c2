"""The account at the authority: what is known of it, a new key, and closing it for good."""

from __future__ import annotations

import stat

from autogit.core.lock import apply_lock
from autogit.errors import UsageError
from autogit.model.certificate_views import AccountView
from autogit.operations.certs_by_ingress import check_here
from autogit.operations.project import Project
from autogit.providers.ssl.acme import AcmeIssuer
from autogit.providers.ssl.acme_client import AcmeClient
from autogit.providers.ssl.fallback import FallbackIssuer


def account(project: Project, *, fallback: bool = False) -> AccountView:
    """Return what is on disk of the account, with `fallback` of that at CERT_FALLBACK_ISSUER; asks nobody.

    Raises UsageError where there is no such authority, and for the local one.
    """
    client = _client(project, fallback=fallback)
    known, key_file = client.stored_account()
    mode = f"{stat.S_IMODE(key_file.stat().st_mode):04o}" if key_file.is_file() else ""
    return AccountView(
        authority=client.server.name,
        directory_url=client.server.directory_url,
        uri=known.uri if known else "",
        contact=known.email if known else "",
        terms_url=known.terms_url if known else "",
        key_file=str(key_file),
        key_mode=mode,
    )


async def roll_over(project: Project, *, fallback: bool = False, lock_wait_seconds: float = 0.0) -> tuple[str, ...]:
    """Give the account a new key; one that is not there yet is made. Raises what the authority answers."""
    client = _client(project, fallback=fallback)
    async with apply_lock(project.paths.apply_lock, "certs account", wait_seconds=lock_wait_seconds):
        await client.roll_over()
    return (f"the account at {client.server.name} has a new key",)


async def deactivate(
    project: Project, confirmed_name: str, *, fallback: bool = False, lock_wait_seconds: float = 0.0
) -> tuple[str, ...]:
    """Close the account for good. `confirmed_name` must be the authority's name. Raises UsageError where it is not."""
    client = _client(project, fallback=fallback)
    name = client.server.name
    if confirmed_name != name:
        told = f"{confirmed_name} is not its name" if confirmed_name else "that was not confirmed with its name"
        raise UsageError(
            f"the account at {name} was not closed: {told}",
            hint=f"autogit certs account --deactivate{' --fallback' if fallback else ''} --confirm {name}",
        )
    async with apply_lock(project.paths.apply_lock, "certs account", wait_seconds=lock_wait_seconds):
        await client.deactivate()
    return (
        f"the account at {name} is closed for good; its key is kept aside",
        "certificates that it was issued stay valid; the next order makes a new account",
    )


def _client(project: Project, *, fallback: bool) -> AcmeClient:
    check_here(project, "certs account")
    setting, issuer = "CERT_ISSUER", project.certificates
    if fallback:
        setting = "CERT_FALLBACK_ISSUER"
        if not isinstance(issuer, FallbackIssuer):
            raise UsageError(
                "there is no authority behind the first: CERT_FALLBACK_ISSUER names none that would be asked",
                hint="autogit certs account, without --fallback, is about the one of CERT_ISSUER",
            )
        issuer = issuer.other
    if isinstance(issuer, AcmeIssuer):
        return issuer.client
    raise UsageError(
        f"{setting} is local, and AutoGit's own authority has no accounts",
        hint=f"{setting} may name an authority that has them",
    )
