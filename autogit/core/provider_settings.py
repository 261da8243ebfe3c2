"""Checking the settings of chosen providers: each is what its provider's `Config` takes, told with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr, ValidationError

from autogit.errors import Fault
from autogit.model.settings import Settings
from autogit.providers.registry import provider_class, provider_config, provider_names

_LOGIN = re.compile(r"://[^/]*@")
_CHOOSING = ("dns_provider", "dns_lan_provider")


def provider_values(settings: Settings) -> Mapping[str, str | SecretStr]:
    """Return the given settings of providers by key, secrets as such."""
    return {**settings.provider_settings, **settings.provider_secrets}


def provider_faults(settings: Settings, file: str) -> Iterator[Fault]:
    """Yield what is wrong with the choice of providers and with the settings of the chosen ones."""
    values = provider_values(settings)
    seen: set[str] = set()
    for key, value in settings.provider_settings.items():
        if _LOGIN.search(value):
            yield Fault(settings.sources.get(key, file), key, "must hold no login: settings are shown in plans")
    for field in _CHOOSING:
        name, key = getattr(settings, field), field.upper()
        place = settings.sources.get(key, file)
        if name == "none":
            continue
        if name not in provider_names("dns"):
            known = ", ".join(("none", *provider_names("dns")))
            yield Fault(place, f"{key}={name}", f"must be one of {known}")
        elif name not in seen:
            seen.add(name)
            yield from _config_faults(name, values, settings, Fault(place, f"{key}={name}", ""))
    lan = settings.dns_lan_provider
    if lan != "none" and lan == settings.dns_provider and not _keeps_both(lan):
        place = settings.sources.get("DNS_LAN_PROVIDER", file)
        yield Fault(
            place, f"DNS_LAN_PROVIDER={lan}", "is DNS_PROVIDER too: both would write the same names of one zone"
        )
    if lan in provider_names("dns") and not provider_class("dns", lan).may_be_private():
        place = settings.sources.get("DNS_LAN_PROVIDER", file)
        yield Fault(place, f"DNS_LAN_PROVIDER={lan}", "keeps zones that everybody sees, no others")


def _keeps_both(name: str) -> bool:
    """Tell whether a provider keeps a public and a private zone of one name apart (Route 53, Google Cloud DNS)."""
    return bool(provider_class("dns", name).twins_hint)


def _config_faults(
    name: str, values: Mapping[str, str | SecretStr], settings: Settings, chosen: Fault
) -> Iterator[Fault]:
    try:
        provider_config("dns", name, values)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            field = str(error["loc"][0]) if error["loc"] else ""
            key = f"{name}_{field}".upper() if field else chosen.subject
            if error["type"] == "missing":
                yield Fault(chosen.place, key, f"is needed with {chosen.subject}")
                continue
            given = values.get(key)
            place = settings.sources.get(key) or settings.sources.get(f"{key}_FILE") or chosen.place
            yield Fault(place, f"{key}={given}" if isinstance(given, str) else key, _sentence(name, field, error))


def _sentence(provider: str, field: str, error: Any) -> str:
    """Say what is wrong; of a secret never what pydantic says, which may quote it."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "bool_parsing":
        return "must be true or false"
    if field and "SecretStr" in str(provider_class("dns", provider).Config.model_fields[field].annotation):
        return "has a value that does not fit"
    return str(error["msg"]).replace("Input should", "must").replace("String should", "must")
