"""A provider's own setting as `.env` has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProviderSetting:
    """`key` is `<PROVIDER>_<FIELD>`; `type_text` and `default` are in words."""

    key: str
    provider: str
    field: str
    type_text: str
    default: str
    description: str
    secret: bool
