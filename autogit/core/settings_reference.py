"""The settings as documented: `.env.example` and the reference page, written from the settings classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from autogit.model.service import ServiceDescriptor, SettingDescriptor
from autogit.model.setting_values import env_text
from autogit.model.settings import Settings
from autogit.providers.registry import provider_names, provider_settings


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """A setting as documented: `type_text` and `default` in words, `service` the one it belongs to ("" for all)."""

    key: str
    group: str
    type_text: str
    default: str
    description: str
    secret: bool = False
    service: str = ""
    example: str = ""


def known_settings(descriptors: Sequence[ServiceDescriptor]) -> tuple[SettingInfo, ...]:
    """Return every setting as documented, in the order it is declared; families of keys stand once."""
    own = [_info(name, info) for name, info in Settings.model_fields.items() if info.json_schema_extra]
    families = [
        SettingInfo(
            "PORT_<SERVICE>",
            "Ports",
            "port, 1 to 65535",
            "",
            "Host port of a service (PORT_API), or of one of its ports (PORT_TRAEFIK_PING)",
        ),
        SettingInfo(
            "IMAGE_<SERVICE>", "Services", "image reference", "", "Container image instead of the catalogue's own"
        ),
    ]
    ports = [
        SettingInfo(
            port.setting,
            "Ports",
            "port, 1 to 65535",
            str(port.preferred or ""),
            f"Host port {name} of {d.service}",
            service=d.service,
        )
        for d in descriptors
        for name, port in d.ports.items()
        if port.setting and port.setting.lower() not in Settings.model_fields
    ]
    services = [
        SettingInfo(
            s.name,
            "Settings of services",
            _service_type(s),
            _default(s),
            s.description,
            s.secret,
            d.service,
        )
        for d in descriptors
        for s in d.settings
    ]
    providers = [
        SettingInfo(s.key, f"DNS: {name}", s.type_text, s.default, s.description, s.secret)
        for name in provider_names("dns")
        for s in provider_settings("dns", name)
    ]
    return (*own, *families, *ports, *providers, *services)


def env_example(descriptors: Sequence[ServiceDescriptor]) -> str:
    """Return the text of `.env.example`: every setting, described, commented out with its default or an example."""
    lines = [
        "# Every setting of AutoGit. Copy what you change into .env; all of it is optional.",
        "# Written by `make docs`.",
    ]
    group = ""
    for info in sorted(known_settings(descriptors), key=lambda i: _groups().index(i.group)):
        if info.group != group:
            group = info.group
            lines += ["", f"## {group}"]
        lines += ["", f"# {info.description} ({info.type_text})."]
        if info.secret:
            lines += [f"# {info.key}=", f"# {info.key}_FILE=path/to/a/file"]
        else:
            lines.append(f"# {info.key}={info.default or info.example}")
    return "\n".join(lines) + "\n"


def settings_reference(descriptors: Sequence[ServiceDescriptor]) -> str:
    """Return the reference page of all settings as Markdown."""
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from the settings classes and the service descriptors. One `KEY=value` a line in",
        "`.env`; environment variables do not count. A secret `KEY` can be given as `KEY_FILE=path` instead (relative",
        "to `.env`).",
    ]
    for group in _groups():
        lines += ["", f"## {group}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        for info in known_settings(descriptors):
            if info.group == group:
                default = f"`{info.default}`" if info.default else ""
                owner = f" (service `{info.service}`)" if info.service else ""
                lines.append(
                    f"| `{info.key}` | {info.type_text.replace('|', 'or')} | {default} | {info.description}{owner} |"
                )
    return "\n".join(lines) + "\n"


def _groups() -> tuple[str, ...]:
    providers = (f"DNS: {name}" for name in provider_names("dns"))
    return ("Platform", "Services", "Ports", "TLS", "DNS", *providers, "Security", "Settings of services")


def _info(name: str, info: FieldInfo) -> SettingInfo:
    extra: Any = info.json_schema_extra
    default = env_text(info.get_default(call_default_factory=True))
    secret = "SecretStr" in str(info.annotation)
    return SettingInfo(
        name.upper(),
        extra["group"],
        _type_text(name, info),
        default,
        info.description or "",
        secret,
        "",
        extra["example"],
    )


def _type_text(name: str, info: FieldInfo) -> str:
    choices = _choices(info.annotation)
    if choices:
        return "one of " + ", ".join(choices)
    if info.annotation is bool:
        return "true or false"
    known = {
        "base_domain": "domain name",
        "services_enabled": "names",
        "port_pool": "port range",
        "acme_email": "e-mail address",
        "cert_issuer": "name or URL",
        "cert_fallback_issuer": "name or URL",
        "cert_deploy_hooks": "JSON list of lists",
        "acme_ca_file": "path",
        "acme_eab_hmac_key": "secret",
        "acme_fallback_eab_hmac_key": "secret",
        "http_port": "port, 1 to 65535",
        "https_port": "port, 1 to 65535",
        "bind_address": "IP address",
        "ingress_ip": "IP address",
        "dns_ttl": "seconds, 1 to 86400",
        "dns_provider": "name of a provider",
        "dns_lan_provider": "name of a provider",
        "dns_caa": "names",
        "dns_address_sources": "URLs",
        "dns_resolvers": "addresses and URLs",
        "security_thresholds": "list of scores",
        "quarantine_days": "days, 1 to 3650",
        "quarantine_max_mb": "megabytes",
        "prompt_filter_services": "list of modes",
        "prompt_filter_max_body_bytes": "bytes, 1024 to 67108864",
        "prompt_filter_timeout_ms": "milliseconds, 50 to 60000",
        "ingress_ipv6": "IPv6 address, auto or none",
        "ingress_lan_ip": "IP address",
        "ingress_lan_ipv6": "IPv6 address, auto or none",
    }
    return known.get(name, "text")


def _choices(annotation: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _service_type(setting: SettingDescriptor) -> str:
    if setting.secret:
        return "secret"
    if setting.choices:
        return "one of " + ", ".join(setting.choices)
    words = {"flag": "true or false", "number": f"whole number from {setting.minimum} on", "subnet": "subnet (CIDR)"}
    return words.get(setting.type, "text")


def _default(setting: SettingDescriptor) -> str:
    return setting.default or ("generated" if setting.generate else "")
