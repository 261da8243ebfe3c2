"""What a template sees: one context for config files, arguments and environment, the same for every service; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autogit.core.sizing import go_memory_limit, whole_cpus
from autogit.model.spec import PlatformSpec, Route, ServiceSpec

_HTTPS = 443
_LOOPBACK = "127.0.0.1"


def template_context(spec: PlatformSpec, service: ServiceSpec) -> dict[str, Any]:
    """Return the names a service's templates may use (docs/how-to/add-a-service.md lists them). No secret is in it."""
    return {
        "service": service.name,
        "project": spec.project,
        "base_domain": spec.base_domain,
        "tier": spec.tier,
        "bind_address": spec.bind_address,
        "loopback": _LOOPBACK,
        "ports": dict(service.ports),
        "settings": dict(service.settings),
        "secret_files": {s.name: s.file for s in service.secrets if s.file},
        "size": _size(service),
        "paths": _paths(spec),
        "url": _url(spec, service),
        "certificate": {"fullchain": spec.certificate.fullchain, "key": spec.certificate.key},
        "routes": [_route(route) for route in spec.routes],
        "metrics_targets": _metrics_targets(spec),
        "address": _address,
        "rule": lambda route: traefik_rule(route["host"], route["path_prefix"]),
        "middlewares": _middlewares,
    }


def traefik_rule(host: str, path_prefix: str) -> str:
    """Return a Traefik router rule; values stand between backticks, which neither may hold.

    Source: Traefik, routing reference, rules: Host(`…`) && PathPrefix(`…`).
    """
    if "`" in host + path_prefix:
        raise ValueError("a route's host or path may not hold a backtick")
    rule = f"Host(`{host}`)"
    return rule if path_prefix == "/" else f"{rule} && PathPrefix(`{path_prefix}`)"


def _size(service: ServiceSpec) -> Mapping[str, Any]:
    if service.size is None:
        return {}
    return {
        "cpus": service.size.cpus,
        "memory_bytes": service.size.memory_bytes,
        "whole_cpus": whole_cpus(service.size),
        "go_memory_limit": go_memory_limit(service.size),
    }


def _paths(spec: PlatformSpec) -> Mapping[str, str]:
    names = ("root", "env_file", "rendered", "data", "logs", "secrets", "certs")
    return {name: str(getattr(spec.paths, name)) for name in names}


def _url(spec: PlatformSpec, service: ServiceSpec) -> str:
    port = spec.ports.get("traefik/https", _HTTPS)
    host = f"{service.descriptor.subdomain or service.name}.{spec.base_domain}"
    return f"https://{host}/" if port == _HTTPS else f"https://{host}:{port}/"


def _route(route: Route) -> Mapping[str, Any]:
    return {
        "name": route.name,
        "service": route.service,
        "host": route.host,
        "path_prefix": route.path_prefix,
        "target": route.target,
        "rate_limit": route.rate_limit,
        "security_headers": route.security_headers,
        "password_file": route.password_file,
    }


def _middlewares(route: Mapping[str, Any]) -> list[str]:
    """Return a route's middlewares in the order they act: limits before passwords, so that guessing is slow."""
    names = ["security-headers"] if route["security_headers"] else []
    names += [f"{route['name']}-rate-limit"] if route["rate_limit"] else []
    names += [f"{route['name']}-password"] if route["password_file"] else []
    return names


def _metrics_targets(spec: PlatformSpec) -> list[Mapping[str, str]]:
    return [
        {
            "service": service.name,
            "address": _address(_LOOPBACK, service.ports[service.descriptor.metrics.port]),
            "path": service.descriptor.metrics.path,
        }
        for service in sorted(spec.running, key=lambda s: s.name)
        if service.descriptor.metrics
    ]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
