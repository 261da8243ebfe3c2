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


def account(project: Project) -> AccountView:
    """Return what is on disk of the account; asks nobody. Raises UsageError for the local authority."""
    client = _client(project)
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


async def roll_over(project: Project, *, lock_wait_seconds: float = 0.0) -> tuple[str, ...]:
    """Give the account a new key; one that is not there yet is made. Raises what the authority answers."""
    client = _client(project)
    async with apply_lock(project.paths.apply_lock, "certs account", wait_seconds=lock_wait_seconds):
        await client.roll_over()
    return (f"the account at {client.server.name} has a new key",)


async def deactivate(project: Project, confirmed_name: str, *, lock_wait_seconds: float = 0.0) -> tuple[str, ...]:
    """Close the account for good. `confirmed_name` must be the authority's name. Raises UsageError where it is not."""
    client = _client(project)
    name = client.server.name
    if confirmed_name != name:
        raise UsageError(
            f"nothing was closed: {confirmed_name or 'no name'} is not the name of this authority ({name})",
            hint=f"autogit certs account --deactivate --confirm {name}",
        )
    async with apply_lock(project.paths.apply_lock, "certs account", wait_seconds=lock_wait_seconds):
        await client.deactivate()
    return (
        f"the account at {name} is closed for good; its key is kept aside",
        "certificates that it was issued stay valid; the next order makes a new account",
    )


def _client(project: Project) -> AcmeClient:
    check_here(project, "certs account")
    if isinstance(project.certificates, AcmeIssuer):
        return project.certificates.client
    raise UsageError("the local authority has no accounts", hint="CERT_ISSUER names an authority that has them")
