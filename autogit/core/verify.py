"""Proof from outside: ask every route through the ingress, by its name, over TLS, with the platform's own root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from autogit.model.service import Exposure
from autogit.model.spec import PlatformSpec, Route
from autogit.providers.probe import TlsProbe, https_probe

_POLL_SECONDS = 0.1
_LEAST_SERVER_ERROR = 500
_NOT_FOUND = 404
_UNAUTHORIZED = 401
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


@dataclass(frozen=True, slots=True)
class RouteCheck:
    """What a request through the ingress showed. `problem` is empty where the route does what it should."""

    route: Route
    probe: TlsProbe
    problem: str


async def check_routes(
    spec: PlatformSpec, root: Path, *, address: str = "", timeout_seconds: float = 3.0
) -> tuple[RouteCheck, ...]:
    """Ask each route of a running service once; `root` is the CA certificate that must sign what is served.

    `address` is where the ingress is reached ("": at its published address).
    """
    address = address or reachable(spec.bind_address)
    port = spec.ports.get(f"{spec.ingress}/https")
    if port is None:
        return ()

    async def one(route: Route) -> RouteCheck:
        path = _path(spec, route)
        probe = await asyncio.to_thread(https_probe, address, port, route.host, root, path, timeout_seconds)
        return RouteCheck(route, probe, _problem(route, probe))

    return tuple(await asyncio.gather(*(one(route) for route in spec.routes if route.probe_path != "")))


def reachable(bind_address: str) -> str:
    """Return where something that listens on an address is reached from this host: any address means loopback too."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind_address, bind_address)  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with the routes, in sentences; `certificate` are those that another certificate would mend."""

    problems: tuple[str, ...] = ()
    certificate: tuple[str, ...] = ()


async def await_routes(spec: PlatformSpec, root: Path, serial: str, *, budget_seconds: float = 15.0) -> Verdict:
    """Wait until every route answers with the certificate of that serial; return what is still wrong at the end."""
    deadline = monotonic() + budget_seconds
    while True:
        checks = await check_routes(spec, root)
        certificate = tuple(p for c in checks if (p := _certificate_problem(c, serial)))
        problems = (*(c.problem for c in checks if c.problem), *certificate)
        if not problems or monotonic() >= deadline:
            return Verdict(tuple(dict.fromkeys(problems)), certificate)
        await asyncio.sleep(_POLL_SECONDS)


def _certificate_problem(check: RouteCheck, serial: str) -> str:
    served = check.probe.serial_hex
    if served and serial and served != serial:
        return f"https://{check.route.host} is served with certificate {served}, on disk is {serial}"
    return check.problem if _UNTRUSTED in check.probe.error else ""


def _path(spec: PlatformSpec, route: Route) -> str:
    service = next(s for s in spec.services if s.name == route.service)
    return route.probe_path or service.descriptor.health_endpoint or route.path_prefix


def _problem(route: Route, probe: TlsProbe) -> str:
    place = f"https://{route.host}"
    if not probe.status:
        return f"{place} does not answer: {probe.error}"
    if route.exposure is Exposure.AUTHENTICATED and probe.status != _UNAUTHORIZED:
        return f"{place} must ask for a password and answered {probe.status} without one"
    if probe.status >= _LEAST_SERVER_ERROR or probe.status == _NOT_FOUND:
        return f"{place} answers {probe.status}"
    if probe.service != route.service:
        return f"{place} is answered by {probe.service or 'something else'}, not by {route.service}"
    return ""
