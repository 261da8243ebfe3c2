"""Declared parameters, as Grape has them: what an endpoint takes, of what type, and what it says of the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

_TRUE = frozenset({"true", "t", "1", "yes", "on"})
_FALSE = frozenset({"false", "f", "0", "no", "off"})
EVERYWHERE = frozenset({"private_token", "access_token", "sudo", "with_custom_attributes"})
PAGINATION = "page:i per_page:i pagination:legacy,keyset cursor id_after:i id_before:i"


class NotOfTypeError(ValueError):
    """The value cannot be read as what the parameter is; says what Grape says."""


def _boolean(value):
    text = str(value).lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise NotOfTypeError("is invalid")


def _integer(value):
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", str(value)):
        raise NotOfTypeError("is invalid")
    return int(value)


def _strings(value):
    if isinstance(value, list):
        return [str(one) for one in value]
    return [one.strip() for one in str(value).split(",") if one.strip()]


def _hash(value):
    if not isinstance(value, dict):
        raise NotOfTypeError("is invalid")
    return value


def _array(value):
    if not isinstance(value, list):
        raise NotOfTypeError("is invalid")
    return value


def _date(value):
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        raise NotOfTypeError("is invalid") from None


def _moment(value):
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        raise NotOfTypeError("is invalid") from None
    return str(value)


def _string(value):
    if isinstance(value, (dict, list)):
        raise NotOfTypeError("is invalid")
    return value if value is None else ("true" if value is True else "false" if value is False else str(value))


_TYPES = {
    "s": _string,
    "b": _boolean,
    "i": _integer,
    "l": _strings,
    "h": _hash,
    "a": _array,
    "d": _date,
    "t": _moment,
    "any": lambda value: value,
}


@dataclass(frozen=True)
class _Choice:
    allowed: tuple[str, ...]

    def __call__(self, value):
        if str(value) not in self.allowed:
            raise NotOfTypeError("does not have a valid value")
        return str(value)


def _declare(text):
    """`name lfs_enabled:b parent_id:i visibility:private,public`: names with types, a string where none is said."""
    declared = {}
    for word in text.split():
        name, _, kind = word.partition(":")
        declared[name] = _Choice(tuple(kind.split(","))) if "," in kind else _TYPES[kind or "s"]
    return declared


class Parameters:
    """What an endpoint declares: names, types, which must be there, and of which one must."""

    def __init__(self, declared="", *, required="", one_of="", needs=None):
        self._types = _declare(f"{required} {declared}")
        self.required = tuple(word.partition(":")[0] for word in required.split())
        self.one_of = tuple(one_of.split())
        self._needs = needs or {}
        """A switch that, when on, cannot be sent without these."""

    @property
    def names(self):
        return frozenset(self._types)

    def unknown(self, given):
        """Names that GitLab drops without a word."""
        return sorted(set(given) - self.names - EVERYWHERE)

    def read(self, given):
        """Values of the declared parameters that were sent, and the sentence GitLab refuses them with, or ''."""
        faults = [f"{name} is missing" for name in self.required if name not in given]
        values = {}
        for name in [one for one in given if one in self._types]:
            try:
                values[name] = self._types[name](given[name]) if given[name] is not None else self._nothing(name)
            except NotOfTypeError as wrong:
                faults.append(f"{name} {wrong}")
        faults += [f"{name} is missing" for name in self._missing(values)]
        if self.one_of and not set(self.one_of) & set(given):
            faults.append(f"{', '.join(self.one_of)} are missing, at least one parameter must be provided")
        return values, ", ".join(faults)

    def _nothing(self, name):
        """null: leaves alone what is optional, and is blank where there must be something."""
        return "" if name in self.required else None

    def _missing(self, values):
        return [
            name for switch, names in self._needs.items() if values.get(switch) for name in names if name not in values
        ]


NONE = Parameters()
