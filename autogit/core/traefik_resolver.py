"""Traefik as the one who orders certificates (CERT_MANAGER=traefik): its resolver, and what lego reads for it; pure.

Traefik asks DNS providers through lego, whose names and variables differ from AutoGit's. `_CLIENTS` maps them: a
further provider is one function and one line there. Secrets go into files that lego finds by `<NAME>_FILE`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from autogit.core.certificates import acme_server, is_proven_by_http, issuer_name
from autogit.core.provider_settings import provider_values
from autogit.errors import UnsupportedError
from autogit.model.host import CertificateFacts
from autogit.model.plan import Action, Change, Note, Plan
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address
from autogit.model.settings import LOCAL_ISSUER, Settings
from autogit.model.spec import PlatformSpec, ResolverSpec, SecretSpec
from autogit.providers.registry import provider_config

TRAEFIK = "traefik"
STORAGE = "acme_storage"
"""The kind of resource that Traefik's file of certificates is."""
CONTAINER_DATA = "/data"
"""Where Traefik's container has its data, and so that file."""
_KEY_TYPES = {"P-256": "EC256", "P-384": "EC384", "RSA-2048": "RSA2048"}
_SHORT_HOURS = 168
"""Told of certificates that live for six days: Traefik renews those a day before their end, all others a month."""
_BACK = "set CERT_MANAGER=autogit"


@dataclass(frozen=True, slots=True)
class _Client:
    """A DNS provider as lego knows it: `environment` is open, each of `secrets` goes into a file of its own."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict)
    server: str = ""


def _cloudflare(config: Any) -> _Client:
    elsewhere = config.base_url != type(config).model_fields["base_url"].default
    environment = {"CLOUDFLARE_BASE_URL": str(config.base_url)} if elsewhere else {}
    return _Client("cloudflare", environment, {"CF_DNS_API_TOKEN": config.api_token.get_secret_value()})


def _google(config: Any) -> _Client:
    if config.credentials_file is None:
        raise UnsupportedError(
            "google: Traefik does not find the application default credentials of this user",
            hint=f"set GOOGLE_CREDENTIALS_FILE, or {_BACK}",
        )
    private = {"GCE_ALLOW_PRIVATE_ZONE": "true"} if config.private else {}
    environment = {"GCE_PROJECT": config.project, **({"GCE_ZONE_ID": config.zone} if config.zone else {}), **private}
    return _Client("gcloud", environment, files={"GCE_SERVICE_ACCOUNT_FILE": str(config.credentials_file)})


def _rfc2136(config: Any) -> _Client:
    environment = {
        "RFC2136_NAMESERVER": config.server,
        "RFC2136_TSIG_KEY": config.key_name,
        "RFC2136_TSIG_ALGORITHM": config.key_algorithm,
        "RFC2136_DNS_TIMEOUT": str(config.timeout_seconds),
        # lego would wait a minute between apex and wildcard, and two seconds before each look.
        "RFC2136_SEQUENCE_INTERVAL": "1",
        "RFC2136_POLLING_INTERVAL": "1",
    }
    secrets = {"RFC2136_TSIG_SECRET": config.key_secret.get_secret_value()}
    return _Client("rfc2136", environment, secrets, server=config.server)


def _route53(config: Any) -> _Client:
    environment = {"AWS_REGION": config.region}
    environment |= {"AWS_HOSTED_ZONE_ID": config.zone_id} if config.zone_id else {}
    environment |= {"AWS_ENDPOINT_URL_ROUTE_53": config.endpoint_url} if config.endpoint_url else {}
    environment |= {"AWS_PRIVATE_ZONE": "true"} if config.private else {}
    if config.access_key_id is None or config.secret_access_key is None:
        return _Client("route53", environment)
    # AWS's own library has no AWS_SECRET_ACCESS_KEY_FILE: it reads a file of credentials (lego's page on route53).
    lines = (
        "[default]",
        f"aws_access_key_id = {config.access_key_id.get_secret_value()}",
        f"aws_secret_access_key = {config.secret_access_key.get_secret_value()}",
    )
    return _Client("route53", environment, {"AWS_SHARED_CREDENTIALS": "\n".join(lines)})


_CLIENTS: Mapping[str, Callable[[Any], _Client]] = {
    "cloudflare": _cloudflare,
    "google": _google,
    "rfc2136": _rfc2136,
    "route53": _route53,
}
"""AutoGit's DNS providers that Traefik can use, too."""


def is_traefiks(settings: Settings) -> bool:
    """Tell whether Traefik orders the certificates."""
    return settings.cert_manager == TRAEFIK


def check_manager(settings: Settings) -> None:
    """Raise UnsupportedError, with all that Traefik cannot do of what is wished for."""
    wrong = [(key, why) for key, wish, why in _impossible(settings) if wish]
    if wrong:
        place = settings.source_of("CERT_MANAGER")
        told = "; and it ".join(why for _, why in wrong)
        raise UnsupportedError(
            f"{place}: CERT_MANAGER=traefik {told}", hint=f"set {', '.join(key for key, _ in wrong)}; or {_BACK}"
        )
    if not is_proven_by_http(settings):
        _client(settings)


def _impossible(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    """Yield what would make it possible, whether it is impossible, and why."""
    ingress, issuer = settings.ingress, settings.cert_issuer
    yield "INGRESS=traefik", ingress != TRAEFIK, f"needs Traefik as ingress, and INGRESS is {ingress}"
    needs = "needs an authority that speaks ACME, and CERT_ISSUER is local"
    yield "CERT_ISSUER=letsencrypt", issuer == LOCAL_ISSUER, needs
    is_bound = bool(settings.acme_eab_key_id or settings.acme_eab_hmac_key)
    # Static configuration comes from one place (Traefik, "Configuration discovery"): beside a file no variable counts.
    only = "cannot bind the account: Traefik takes that key from its configuration file only, where no secret may stand"
    yield "no ACME_EAB_KEY_ID and no ACME_EAB_HMAC_KEY", is_bound, only
    fallback = bool(settings.cert_fallback_issuer)
    yield "no CERT_FALLBACK_ISSUER", fallback, "knows no fallback: Traefik asks one authority"
    hooks = bool(settings.cert_deploy_hooks)
    yield "no CERT_DEPLOY_HOOKS", hooks, "runs no CERT_DEPLOY_HOOKS: Traefik keeps its certificates to itself"


def resolver_secrets(settings: Settings) -> Mapping[str, SecretStr]:
    """Return what lego must know and nobody else may, by the variable (without `_FILE`) that names its file."""
    if not is_traefiks(settings) or is_proven_by_http(settings):
        return {}
    return {name: SecretStr(text) for name, text in _client(settings).secrets.items()}


def build_resolver(
    settings: Settings,
    known: CertificateFacts,
    paths: ProjectPaths,
    names: tuple[str, ...],
    secrets: Collection[SecretSpec],
) -> ResolverSpec | None:
    """Return how Traefik orders certificates, None where AutoGit does; `check_manager` has let the settings pass.

    `known` is what Traefik has of its own (`names`, `serial`), and AutoGit's former version. `secrets` are the files
    that lego's secrets are written to.
    """
    if not is_traefiks(settings):
        return None
    server = acme_server(settings)
    if server is None:  # pragma: no cover - `check_manager` has refused it
        return None
    inside = settings.runtime != "embedded"
    place = f"{issuer_name(settings)}/acme.json"  # an authority each: Traefik keeps on what another one signed
    spec = ResolverSpec(
        storage=str(storage_file(settings, paths)),
        storage_path=f"{CONTAINER_DATA}/{place}" if inside else str(storage_file(settings, paths)),
        server=server.directory_url,
        key_type=_KEY_TYPES[settings.cert_key_type],
        names=names,
        email=server.email,
        preferred_chain=server.preferred_chain,
        profile=settings.acme_profile,
        duration_hours=_SHORT_HOURS if settings.acme_profile == "shortlived" else 0,
        is_awaited=not covers(known.names, names),
        former=bool(known.version) and not known.serial,
    )
    if server.ca_file:
        spec = _with_file(spec, str(paths.root / server.ca_file), "acme-ca.pem", inside=inside)
    return spec if is_proven_by_http(settings) else _with_client(spec, settings, paths, secrets)


def storage_file(settings: Settings, paths: ProjectPaths) -> Path:
    """Return the file on the host in which Traefik keeps its account with the authority, and the certificates."""
    return paths.data / TRAEFIK / issuer_name(settings) / "acme.json"


def storage_address(resolver: ResolverSpec) -> Address:
    """Return the address of that file: each authority has its own."""
    return Address(STORAGE, Path(resolver.storage).parent.name)


def _with_file(spec: ResolverSpec, host_path: str, name: str, *, inside: bool) -> ResolverSpec:
    if not inside:
        return replace(spec, ca_file=host_path)
    target = f"/run/autogit/{name}"
    return replace(spec, ca_file=target, binds=(*spec.binds, (host_path, target)))


def _with_client(
    spec: ResolverSpec, settings: Settings, paths: ProjectPaths, secrets: Collection[SecretSpec]
) -> ResolverSpec:
    client, inside = _client(settings), settings.runtime != "embedded"
    environment, binds = dict(client.environment), list(spec.binds)
    for secret in secrets:
        environment[f"{secret.name}_FILE"] = f"/run/secrets/{secret.name}" if inside else secret.file
    for variable, file in client.files.items():
        host_path, target = str(paths.root / file), f"/run/autogit/{variable.lower()}"
        environment[variable] = target if inside else host_path
        binds += [(host_path, target)] if inside else []
    is_private = _is_private(settings)
    plain = tuple(_with_port(one) for one in settings.dns_resolvers if not one.startswith("https://"))
    servers = (_with_port(client.server),) if is_private and client.server else plain
    return replace(
        spec,
        provider=client.name,
        environment=environment,
        binds=tuple(binds),
        servers=servers,
        is_private=is_private,
    )


def _provider(settings: Settings) -> str:
    return settings.dns_provider if settings.dns_provider != "none" else settings.dns_lan_provider


def _is_private(settings: Settings) -> bool:
    name = _provider(settings)
    is_lan = name != settings.dns_provider
    return is_lan or bool(getattr(provider_config("dns", name, provider_values(settings)), "private", False))


def _client(settings: Settings) -> _Client:
    """Return the chosen DNS provider as lego knows it. Raises UnsupportedError for one that it does not know."""
    name, can = _provider(settings), ", ".join(sorted(_CLIENTS))
    if name not in _CLIENTS:
        key = "DNS_LAN_PROVIDER" if name != "none" and name == settings.dns_lan_provider else "DNS_PROVIDER"
        place = settings.source_of("CERT_MANAGER" if name == "none" else key)
        raise UnsupportedError(
            f"{place}: CERT_MANAGER=traefik cannot prove names with {key}={name}: Traefik can use {can}",
            hint=f"choose one of them, set CERT_CHALLENGE=http-01, or {_BACK}",
        )
    changed = {} if name in {settings.dns_provider, "cloudflare"} else {"private": True}
    return _CLIENTS[name](provider_config("dns", name, provider_values(settings), **changed))


def _with_port(server: str) -> str:
    host, colon, port = server.rpartition(":")
    if colon and port.isdigit() and (host.startswith("[") or ":" not in host):
        return server
    return f"[{server}]:53" if ":" in server else f"{server}:53"


def covers(held: Collection[str], wanted: Collection[str]) -> bool:
    """Tell whether certificates with the names `held` serve for all that are wanted, wildcards by their one label."""
    return all(name in held or f"*.{name.partition('.')[2]}" in held for name in wanted)


def resolver_notes(settings: Settings, resolver: ResolverSpec | None) -> list[Note]:
    """Say who orders, and what is served until there is something."""
    if resolver is None or not resolver.is_awaited:
        return []
    served = "until then the former one is served" if resolver.former else "until then it serves one of its own making"
    names = ", ".join(resolver.names)
    return [Note("info", "certificate", f"Traefik orders it from {issuer_name(settings)} for {names}; {served}")]


def order_anew(spec: PlatformSpec, plan: Plan) -> Plan:
    """Return the plan with Traefik started anew where it would order nothing by itself.

    It tries once after its start or a change of its routes, and it starts without its resolver where others may read
    its file.
    """
    plan, resolver = with_storage_read(spec, plan), spec.resolver
    is_told = any(c.address.kind == "file" and c.address.name.startswith(f"{spec.ingress}/") for c in plan.pending)
    if resolver is None or is_told or not resolver.is_awaited:
        return plan
    return started_anew(spec, plan, "it has no certificate yet and orders again")


def with_storage_read(spec: PlatformSpec, plan: Plan) -> Plan:
    """Return the plan with Traefik started anew where its file is mended: it has started without its resolver."""
    if not any(c.address.kind == STORAGE and c.action is Action.UPDATE for c in plan.pending):
        return plan
    return started_anew(spec, plan, "its file of certificates is its own again")


def started_anew(spec: PlatformSpec, plan: Plan, reason: str) -> Plan:
    """Return the plan with the ingress started anew for this reason, where nothing else changes it."""
    unit = Address(spec.unit_kind, spec.ingress)
    return replace(plan, changes=tuple(_anew(c, reason) if c.address == unit else c for c in plan.changes))


def _anew(change: Change, reason: str) -> Change:
    if change.action is not Action.NOOP:
        return change
    return replace(change, action=Action.REPLACE, reason=reason)
