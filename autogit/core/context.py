"""What a template sees: one set of names for config files, arguments and variables, the same for every service; pure.

A program sees the platform from where it runs: as a process of the host, others are ports on loopback; in a container,
they are names on networks, and files lie where they are mounted. Templates ask by name (`endpoints.loki.http`,
`config_dir`), so one template serves every runtime. docs/reference/templates.md lists the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autogit.core.sizing import go_memory_limit, whole_cpus
from autogit.model.spec import PlatformSpec, Route, ServiceSpec

_HTTPS = 443
_LOOPBACK = "127.0.0.1"
_SECRETS = "/run/secrets"
_CERTIFICATE_FILES = ("fullchain", "key", "root")
FILTER_SERVICE = "prompt-filter"
"""The service that judges texts for the ingress."""
FILTER_MIDDLEWARE = "prompt-injection-filter"
_UPWARDS = r"(/|\\|;|%2[fF]|%5[cC])(\.|%2[eE]){2}"
PASSWORDS_DIR = "/run/autogit/htpasswd"
"""Where the ingress' container finds the password files of routes."""
TEMPLATE_NAMES: Mapping[str, str] = {
    "service": "the service's own name",
    "project": "PROJECT_NAME",
    "base_domain": "BASE_DOMAIN",
    "runtime": "RUNTIME",
    "ingress": "INGRESS",
    "tier": "SIZE",
    "tier_values": "what the descriptor's `tier_values` say for this tier",
    "size": "`cpus`, `memory_bytes`, `whole_cpus`, `go_memory_limit` of the service in this tier",
    "settings": "the service's own settings that are no secrets, in their type",
    "secret_files": "secret's name -> file that holds it, as the service sees it",
    "ports": "port's name -> number that the service listens on",
    "outer_address": "address that published ports listen on (in a container: all, written as nothing)",
    "inner_address": "address that all other ports listen on",
    "config_dir": "folder that holds the service's rendered files, as the service sees it",
    "data_dir": "folder for the service's data (in a container: its first volume)",
    "certificate": "`fullchain`, `key`, `root`: files of the certificate and its root, as the service sees them; "
    "`root` is empty unless AutoGit's own authority signs",
    "resolver": "how Traefik orders certificates itself, with its paths as it sees them (nothing: AutoGit orders them)",
    "owner": "`uid:gid` of who runs AutoGit, to whom its files belong",
    "docker_root": "folder in which the Docker Engine keeps its data, on the host",
    "docker_socket": "path of the Docker Engine's socket on the host",
    "paths": "`root`, `env_file`, `rendered`, `data`, `logs`, `secrets`, `certs`, `quarantine` of the project, on the "
    "host",
    "https_port": "port of HTTPS as the outside sees it",
    "challenge_target": "URL at which AutoGit shows ACME challenges, as the ingress reaches it (empty: nowhere)",
    "challenge_dir": "folder that AutoGit writes ACME challenges to, as an ingress that serves files sees it",
    "url": "the service's own public address, with a slash at its end",
    "urls": "service -> public address, for every routed service that runs",
    "hosts": "every public host name, sorted",
    "services": "names of the services that run here",
    "endpoints": 'service -> port\'s name -> `host:port` as others reach it; ask with `"loki" in endpoints`',
    "routes": "every HTTP route of the platform (for the ingress)",
    "prompt_filter": "what `.env` says of the prompt filter: `modes` and `mode` (filtered service -> mode, and that of "
    "all others), `services` (host -> service, of filtered routes), `fail_open`, `max_body_bytes`, `timeout_ms`, "
    "`thresholds`, `classifier`, `quarantine_days`, `quarantine_max_mb`",
    "tcp_routes": "every port that the ingress passes on: `name`, `port`, `target`",
    "metrics_targets": "everything that shows metrics: `service`, `job`, `address`, `path`",
    "subnets": "network -> subnet, for networks that have a setting for it",
    "address": "`address(HOST, PORT)`: joins them, IPv6 in brackets",
    "rule": "`rule(ROUTE)`: a Traefik rule",
    "bypass_rule": "`bypass_rule(ROUTE, BYPASS)`: a Traefik rule for what of a route is not judged",
    "middlewares": "`middlewares(ROUTE)`: names of the Traefik middlewares of a route, in order; "
    "`middlewares(ROUTE, false)` without the prompt filter",
}
"""Every name of `template_context` with its meaning; the reference page is written from it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a program runs, as far as addresses and paths depend on it."""

    ports: Mapping[str, int]
    outer_address: str
    inner_address: str
    config_dir: str
    data_dir: str
    secret_files: Mapping[str, str]
    certificate: Mapping[str, str]
    challenge_dir: str


def template_context(spec: PlatformSpec, service: ServiceSpec) -> dict[str, Any]:
    """Return the names a service's templates may use. No secret is among them."""
    place = _in_container(spec, service) if spec.in_containers else _on_host(spec, service)
    return {
        "service": service.name,
        "project": spec.project,
        "base_domain": spec.base_domain,
        "runtime": spec.runtime,
        "ingress": spec.ingress,
        "tier": spec.tier,
        "tier_values": dict(service.descriptor.tier_values.get(spec.tier, {})),
        "size": _size(service),
        "settings": dict(service.settings),
        "secret_files": dict(place.secret_files),
        "ports": dict(place.ports),
        "outer_address": place.outer_address,
        "inner_address": place.inner_address,
        "config_dir": place.config_dir,
        "data_dir": place.data_dir,
        "certificate": dict(place.certificate),
        "resolver": asdict(spec.resolver) if spec.resolver else None,
        "owner": spec.owner,
        "docker_root": spec.docker_root,
        "docker_socket": spec.docker_socket,
        "paths": _paths(spec),
        "https_port": spec.ports.get(f"{spec.ingress}/https", _HTTPS),
        "challenge_target": spec.challenges.target if spec.challenges else "",
        "challenge_dir": place.challenge_dir,
        "url": service_url(spec, service),
        "urls": {s.name: service_url(spec, s) for s in spec.running if s.descriptor.routes},
        "hosts": sorted({route.host for route in spec.routes}),
        "services": [s.name for s in spec.running],
        "endpoints": _endpoints(spec),
        "routes": [_route(route) for route in spec.routes],
        "prompt_filter": _prompt_filter(spec),
        "tcp_routes": [_tcp_route(spec, s, name) for s in spec.running for name in tcp_ports(s)],
        "metrics_targets": list(_metrics_targets(spec)),
        "subnets": _subnets(spec),
        "address": _address,
        "rule": lambda route: traefik_rule(route["host"], route["path_prefix"], route["path_regexp"]),
        "bypass_rule": bypass_rule,
        "middlewares": _middlewares,
    }


def resolver_environment(spec: PlatformSpec, service: ServiceSpec) -> Mapping[str, str]:
    """Return what the ingress needs in its environment to order certificates itself; no secret is among it."""
    return spec.resolver.environment if spec.resolver and service.name == spec.ingress else {}


def traefik_rule(host: str, path_prefix: str, path_regexp: str | None = None) -> str:
    """Return a Traefik router rule; values stand between backticks, which neither may hold.

    Source: Traefik, routing reference, rules: Host(`…`) && PathPrefix(`…`), PathRegexp(`…`).
    """
    if "`" in host + path_prefix + (path_regexp or ""):
        raise ValueError("a route's host or path may not hold a backtick")
    rule = f"Host(`{host}`)"
    if path_regexp:
        return f"{rule} && PathRegexp(`{path_regexp}`)"
    return rule if path_prefix == "/" else f"{rule} && PathPrefix(`{path_prefix}`)"


def bypass_rule(route: Mapping[str, Any], bypass: Mapping[str, Any]) -> str:
    """Return the rule for what of a route no prompt filter looks at: the route's own and more, so that it wins.

    The ingress has resolved `..` before; one that is left is encoded, for a service that resolves it to another path.
    """
    rule = traefik_rule(route["host"], route["path_prefix"], route["path_regexp"])
    if "`" in bypass["path_regexp"]:
        raise ValueError("a path may not hold a backtick")
    methods = " || ".join(f"Method(`{method}`)" for method in bypass["methods"])
    return f"{rule} && PathRegexp(`{bypass['path_regexp']}`) && !PathRegexp(`{_UPWARDS}`)" + (
        f" && ({methods})" if methods else ""
    )


def endpoint(spec: PlatformSpec, service: ServiceSpec, port: str) -> str:
    """Return where a service's port is reached by the others: a name on a network, or a port on loopback."""
    if spec.in_containers:
        return _address(service.name, service.descriptor.ports[port].internal)
    return _address(_LOOPBACK, service.ports[port])


def service_url(spec: PlatformSpec, service: ServiceSpec) -> str:
    """Return a service's public URL with a slash at its end."""
    port = spec.ports.get(f"{spec.ingress}/https", _HTTPS)
    host = f"{service.descriptor.subdomain or service.name}.{spec.base_domain}"
    return f"https://{host}/" if port == _HTTPS else f"https://{host}:{port}/"


def own_ports(service: ServiceSpec) -> Sequence[str]:
    """Return the names of the ports that a service listens on itself."""
    return [name for name, port in service.descriptor.ports.items() if not port.on_host]


def tcp_ports(service: ServiceSpec) -> Sequence[str]:
    """Return the names of the ports that the ingress publishes for a service and passes on as they are."""
    return [name for name, port in service.descriptor.ports.items() if port.via_ingress]


def _on_host(spec: PlatformSpec, service: ServiceSpec) -> _Place:
    return _Place(
        ports=service.ports,
        outer_address=spec.bind_address,
        inner_address=_LOOPBACK,
        config_dir=str(spec.paths.rendered / service.name),
        data_dir=str(spec.paths.data / service.name),
        secret_files={s.name: s.file for s in service.secrets if s.file},
        certificate={name: getattr(spec.certificate, name) for name in _CERTIFICATE_FILES},
        challenge_dir=str(spec.paths.acme_challenges),
    )


def _in_container(spec: PlatformSpec, service: ServiceSpec) -> _Place:
    run = service.descriptor.runs.container
    if run is None:
        raise ValueError(f"{service.name} has no container form")
    certs = str(spec.paths.certs)
    inside = run.certificates or certs
    return _Place(
        ports={name: container_port(spec, service, name) for name in own_ports(service)},
        outer_address="",
        inner_address="",
        config_dir=container_config_dir(service),
        data_dir=next(iter(run.volumes.values()), "/data"),
        secret_files={s.name: f"{_SECRETS}/{s.name}" for s in service.secrets if s.plain_file},
        certificate={
            name: str(getattr(spec.certificate, name)).replace(certs, inside, 1) for name in _CERTIFICATE_FILES
        },
        challenge_dir=run.challenges,
    )


def container_port(spec: PlatformSpec, service: ServiceSpec, name: str) -> int:
    """Return the port that a service listens on in its container.

    A published one is the host's own number: so a public address, port and all, leads to the ingress from inside too.
    """
    port = service.descriptor.ports[name]
    return spec.ports[f"{service.name}/{name}"] if port.published else port.internal


def container_config_dir(service: ServiceSpec) -> str:
    """Return where a service's rendered folder is mounted in its container."""
    run = service.descriptor.runs.container
    return (run.config_dir if run else None) or f"/etc/autogit/{service.name}"


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
    names = ("root", "env_file", "rendered", "data", "logs", "secrets", "certs", "quarantine")
    return {name: str(getattr(spec.paths, name)) for name in names}


def _endpoints(spec: PlatformSpec) -> Mapping[str, Mapping[str, str]]:
    return {s.name: {name: endpoint(spec, s, name) for name in own_ports(s)} for s in spec.running}


def _subnets(spec: PlatformSpec) -> Mapping[str, str]:
    return {
        network: str(service.settings[setting])
        for service in spec.running
        if service.descriptor.runs.container
        for network, setting in service.descriptor.runs.container.subnets.items()
    }


def _route(route: Route) -> Mapping[str, Any]:
    return {
        "name": route.name,
        "service": route.service,
        "host": route.host,
        "path_prefix": route.path_prefix,
        "path_regexp": route.path_regexp,
        "target": route.target,
        "rate_limit": route.rate_limit,
        "max_body_bytes": route.max_body_bytes,
        "security_headers": route.security_headers,
        "password_file": route.password_file,
        "filtered": route.is_filtered,
        "bypass": [one.model_dump() for one in route.bypass],
    }


def _prompt_filter(spec: PlatformSpec) -> Mapping[str, Any]:
    """Return what ingress and filter are told, from the settings as they hold."""
    wish = spec.settings
    own = dict(pair.split(":", 1) for pair in wish["PROMPT_FILTER_SERVICES"].split(",") if pair)
    services = {route.host: route.service for route in spec.routes if route.is_filtered}
    return {
        "mode": wish["PROMPT_FILTER"],
        "modes": {name: own.get(name, wish["PROMPT_FILTER"]) for name in sorted(services.values())},
        "services": services,
        "fail_open": wish["PROMPT_FILTER_FAIL"] == "open",
        "max_body_bytes": int(wish["PROMPT_FILTER_MAX_BODY_BYTES"]),
        "timeout_ms": int(wish["PROMPT_FILTER_TIMEOUT_MS"]),
        "thresholds": wish["SECURITY_THRESHOLDS"],
        "classifier": wish["SECURITY_CLASSIFIER"] == "true",
        "quarantine_days": int(wish["QUARANTINE_DAYS"]),
        "quarantine_max_mb": int(wish["QUARANTINE_MAX_MB"]),
    }


def _tcp_route(spec: PlatformSpec, service: ServiceSpec, port: str) -> Mapping[str, Any]:
    number = spec.ports[f"{service.name}/{port}"]
    return {"name": f"{service.name}-{port}", "port": number, "target": endpoint(spec, service, port)}


def _middlewares(route: Mapping[str, Any], filtered: bool = True) -> list[str]:  # noqa: FBT001, FBT002 - for templates
    """Return a route's middlewares in the order they act: limits before passwords, so that guessing is slow.

    The prompt filter is last: it works for nobody who may not come in.

    A service that sets headers of its own still gets the one that is the ingress' business: come back by HTTPS.
    """
    names = [f"{route['name']}-identity"]
    names += ["security-headers" if route["security_headers"] else "strict-transport-security"]
    names += [f"{route['name']}-rate-limit"] if route["rate_limit"] else []
    names += [f"{route['name']}-body-limit"] if route["max_body_bytes"] else []
    names += [f"{route['name']}-password"] if route["password_file"] else []
    names += [FILTER_MIDDLEWARE] if route["filtered"] and filtered else []
    return names


def _metrics_targets(spec: PlatformSpec) -> Sequence[Mapping[str, str]]:
    return [
        {
            "service": service.name,
            "job": service.name if metrics.name == "" else f"{service.name}-{metrics.name}",
            "address": endpoint(spec, service, metrics.port),
            "path": metrics.path,
        }
        for service in sorted(spec.running, key=lambda s: s.name)
        for metrics in service.descriptor.metrics
        if metrics.when is None or _holds(spec, service, metrics.when)
    ]


def _holds(spec: PlatformSpec, service: ServiceSpec, name: str) -> bool:
    """Tell whether a flag among the settings or a value of the tier is true."""
    return bool(service.settings.get(name, service.descriptor.tier_values.get(spec.tier, {}).get(name)))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
