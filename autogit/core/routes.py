"""The routes of a platform: which name and path leads to which service, each claimed by one only; pure.

Where the service prompt-filter runs behind Traefik, texts that come in by a route are judged first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from autogit.core.context import FILTER_SERVICE, PASSWORDS_DIR
from autogit.errors import DescriptorError, Fault, UnsupportedError
from autogit.model.plan import Note
from autogit.model.service import Exposure
from autogit.model.settings import Settings
from autogit.model.spec import Route, ServiceSpec

_LOOPBACK = "127.0.0.1"
_FILTERING = "traefik"
_MOST_NAMES = 6


def build_routes(services: Sequence[ServiceSpec], settings: Settings) -> tuple[Route, ...]:
    """Return the routes of all services that run, sorted by name.

    Raises UnsupportedError for a route without its password, DescriptorError where two claim one place: which of them
    answers would be chance.
    """
    return _distinct(sorted(_routes_of(services, settings), key=lambda r: r.name), services)


def _routes_of(services: Sequence[ServiceSpec], settings: Settings) -> Iterator[Route]:
    has_filter = settings.ingress == _FILTERING and _filter_runs(services)
    for service in services:
        filtered = has_filter and settings.filter_mode(service.name) != "off"
        password = next((s.file for s in service.secrets if s.htpasswd_user), "")
        for route in service.descriptor.routes:
            absent = route.when is not None and not service.settings[route.when]
            if service.unavailable or route.exposure is Exposure.INTERNAL or absent:
                continue
            if route.exposure is Exposure.AUTHENTICATED and not password:
                raise UnsupportedError(
                    f"{service.entry.origin}/service.yml: route {route.name} is authenticated, no setting has htpasswd",
                    hint="give the service a secret setting with generate and htpasswd",
                )
            subdomain = route.subdomain or service.descriptor.subdomain or service.name
            yield Route(
                name=service.name if route.name == "web" else f"{service.name}-{route.name}",
                service=service.name,
                host=f"{subdomain}.{settings.base_domain}",
                path_prefix=route.path_prefix,
                path_regexp=route.path_regexp,
                target=_target(service, route.port, settings),
                exposure=route.exposure,
                rate_limit=route.rate_limit,
                max_body_bytes=route.max_body_bytes,
                probe_path=route.probe_path,
                security_headers=route.security_headers,
                is_filtered=filtered and route.filtered,
                bypass=route.bypass if filtered and route.filtered else (),
                password_file=_password_file(password, settings) if route.exposure is Exposure.AUTHENTICATED else "",
            )


def filter_notes(services: Sequence[ServiceSpec], routes: Sequence[Route], settings: Settings) -> Iterator[Note]:
    """Tell what becomes of texts that look like prompt injection, and what becomes of those that nobody can judge."""
    if not _filter_runs(services):
        return
    if settings.ingress != _FILTERING:
        message = f"no request is judged: {settings.ingress} cannot ask the prompt filter, which only Traefik does"
        yield Note("warning", FILTER_SERVICE, message, "set INGRESS=traefik")
        return
    filtered = sorted({route.service for route in routes if route.is_filtered})
    modes = {mode: [s for s in filtered if settings.filter_mode(s) == mode] for mode in _MODES}
    for mode, names in modes.items():
        if names:
            yield Note("info", FILTER_SERVICE, f"texts for {_listed(names)}: {_MODES[mode]}")
    if modes["quarantine"] or modes["block"]:
        yield Note("info", FILTER_SERVICE, _FAILS[settings.prompt_filter_fail])
    off = sorted({route.service for route in routes} - set(filtered))
    if off:
        yield Note("info", FILTER_SERVICE, f"requests for {_listed(off)} are not judged")


_MODES = {
    "monitor": "watched only (monitor)",
    "quarantine": "held back where they look like prompt injection (quarantine)",
    "block": "held back where they look like prompt injection, the worst refused (block)",
}
_FAILS = {
    "open": "a text that cannot be judged passes (PROMPT_FILTER_FAIL=open)",
    "closed": "a text that cannot be judged is refused with 503 (PROMPT_FILTER_FAIL=closed)",
}


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _filter_runs(services: Sequence[ServiceSpec]) -> bool:
    return any(service.name == FILTER_SERVICE and not service.unavailable for service in services)


def _target(service: ServiceSpec, port: str, settings: Settings) -> str:
    if settings.runtime == "embedded":
        return f"http://{_LOOPBACK}:{service.ports[port]}"
    return f"http://{service.name}:{service.descriptor.ports[port].internal}"


def _password_file(file: str, settings: Settings) -> str:
    """Return a password file's path as the ingress sees it."""
    return file if settings.runtime == "embedded" else f"{PASSWORDS_DIR}/{PurePosixPath(file).name}"


def _distinct(routes: Sequence[Route], services: Sequence[ServiceSpec]) -> tuple[Route, ...]:
    """Return the routes. Raises DescriptorError where two claim one place: which of them answers would be chance."""
    origins = {s.name: f"{s.entry.origin}/service.yml" for s in services}
    owners: dict[tuple[str, str], Route] = {}
    faults = []
    for route in routes:
        first = owners.setdefault((route.host, route.path_regexp or route.path_prefix), route)
        if first is not route:
            claim = (
                f"https://{route.host}{route.path_regexp or route.path_prefix} is claimed by {first.service} already"
            )
            faults.append(Fault(origins[route.service], "routes", claim))
    if faults:
        raise DescriptorError("two services claim the same route", faults=faults, hint="give one another subdomain")
    return tuple(routes)
