"""Providers by type and name: found by file name, imported on use; their own settings from their `Config`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from autogit.errors import UnsupportedError
from autogit.model.provider_setting import ProviderSetting
from autogit.providers.base import Provider, ProviderContext

_NAME = re.compile(r'^    provider_name: ClassVar\[str\] = "([a-z0-9_]+)"$', re.MULTILINE)


def load_provider(provider_type: str, name: str, context: ProviderContext) -> Provider:
    """Return the provider of `autogit/providers/<type>/<name>.py`. Raises UnsupportedError where there is none."""
    found: Provider = provider_class(provider_type, name)(context)
    return found


def provider_class(provider_type: str, name: str) -> type[Any]:
    """Return the class of a provider, a subclass of Provider. Raises UnsupportedError where there is none."""
    module_name = f"autogit.providers.{provider_type}.{name}"
    if not name.isidentifier() or find_spec(module_name) is None:
        raise UnsupportedError(f"there is no {provider_type} provider called {name}")
    module = import_module(module_name)
    for candidate in vars(module).values():
        if (
            isinstance(candidate, type)
            and issubclass(candidate, Provider)
            and candidate.__module__ == module_name
            and getattr(candidate, "provider_name", "") == name
        ):
            return candidate
    raise UnsupportedError(f"{module_name} defines no provider of that name")


@cache
def provider_names(provider_type: str) -> tuple[str, ...]:
    """Return the names of all providers of a type, sorted, without importing any: each is called like its file."""
    folder = Path(__file__).parent / provider_type
    return tuple(sorted(p.stem for p in folder.glob("*.py") if p.stem in _NAME.findall(p.read_text(encoding="utf-8"))))


def provider_settings(provider_type: str, name: str) -> tuple[ProviderSetting, ...]:
    """Return the settings that a provider's `Config` has, in the order they are declared."""
    config: type[BaseModel] = provider_class(provider_type, name).Config
    return tuple(_setting(name, field, info) for field, info in config.model_fields.items())


def find_provider_setting(provider_type: str, key: str) -> ProviderSetting | None:
    """Return the setting of a key, or None; imports only the provider whose name the key begins with."""
    for name in provider_names(provider_type):
        if key.startswith(f"{name.upper()}_"):
            return next((s for s in provider_settings(provider_type, name) if s.key == key), None)
    return None


def provider_config(provider_type: str, name: str, values: Mapping[str, str | SecretStr], **changed: Any) -> BaseModel:
    """Return a provider's configuration of values by key; `changed` are fields that they do not decide.

    Raises pydantic's ValidationError, whose places are fields.
    """
    config: type[BaseModel] = provider_class(provider_type, name).Config
    given = {field: values[key] for field in config.model_fields if (key := f"{name}_{field}".upper()) in values}
    return config.model_validate({**given, **changed})


def _setting(provider: str, field: str, info: FieldInfo) -> ProviderSetting:
    secret = "SecretStr" in str(info.annotation)
    default = "" if info.is_required() or info.default in (None, (), "") else str(info.default)
    return ProviderSetting(
        key=f"{provider}_{field}".upper(),
        provider=provider,
        field=field,
        type_text="secret" if secret else _type_text(info),
        default=default.lower() if isinstance(info.default, bool) else default,
        description=(info.description or "") + (" (required)" if info.is_required() else ""),
        secret=secret,
    )


def _type_text(info: FieldInfo) -> str:
    kind = info.annotation
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind is bool:
        return "true or false"
    if kind is int:
        least = next((m.ge for m in info.metadata if hasattr(m, "ge")), None)
        most = next((m.le for m in info.metadata if hasattr(m, "le")), None)
        return "whole number" if least is None or most is None else f"whole number, {least} to {most}"
    if get_origin(kind) is tuple:
        return "names, separated by commas"
    return "path" if "Path" in str(kind) else "text"
