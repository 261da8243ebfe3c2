"""What the ingress serves for each name of the platform, as it comes over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime

from autogit.core.succession import running_ingress
from autogit.core.verify import reachable
from autogit.model.certificate_views import ServedView
from autogit.operations.project import Project
from autogit.providers.ssl.served import Served, served_certificate

NOT_APPLIED = "nothing was applied yet"


async def ask_ingress(project: Project) -> dict[str, Served]:
    """Return what the ingress that is in force serves for each host of the platform's routes, by host."""
    spec, lockfile = project.outline(), project.store.load()
    port = lockfile.ports.get(f"{running_ingress(project.settings, lockfile)}/https", 0)
    address = project.ingress_address or reachable(spec.bind_address)
    hosts = sorted({route.host for route in spec.routes})
    if not port:
        return dict.fromkeys(hosts, Served(error=NOT_APPLIED))
    found = await asyncio.gather(*(asyncio.to_thread(served_certificate, address, port, host) for host in hosts))
    return dict(zip(hosts, found, strict=True))


def served_view(host: str, served: Served, serials: Collection[str], now: datetime) -> ServedView:
    """Return how it is shown; `serials` are those (hex) that may be served."""
    return ServedView(
        host=host,
        serial=served.serial,
        not_after=served.not_after,
        matches=served.serial in serials,
        error=served.error,
        issuer=served.issuer,
        days_left=days_left(served.not_after, now),
    )


def days_left(not_after: str, now: datetime) -> int:
    """Return the whole days until a moment (RFC 3339), 0 where it is over or there is none."""
    return max((datetime.fromisoformat(not_after) - now).days, 0) if not_after else 0
