"""Providers by type and name: found by file name, imported on use."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from autogit.errors import UnsupportedError
from autogit.providers.base import Provider, ProviderContext


def load_provider(provider_type: str, name: str, context: ProviderContext) -> Provider:
    """Return the provider of `autogit/providers/<type>/<name>.py`. Raises UnsupportedError where there is none."""
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
            return candidate(context)
    raise UnsupportedError(f"{module_name} defines no provider of that name")
