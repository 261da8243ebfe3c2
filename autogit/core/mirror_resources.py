"""What is declared in mirrors.yml as resources of the one plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from autogit.core.mirrors import RULES_FILE
from autogit.errors import Fault, SettingsError
from autogit.model.mirror import MirrorRule
from autogit.model.mirror_plan import MIRROR
from autogit.model.resource import Address, Resource, Value


def mirror_resources(rules: Iterable[MirrorRule]) -> list[Resource]:
    """Return one resource a rule. Raises SettingsError where a rule has a user or a password in an address."""
    rules = tuple(rules)
    if faults := [fault for rule in rules for fault in _secrets(rule)]:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise SettingsError(
            f"{count} in {RULES_FILE}", faults=faults, hint="autogit secrets set NAME, and --credential NAME"
        )
    return [Resource(Address(MIRROR, rule.name), attributes_of(rule)) for rule in rules]


def attributes_of(rule: MirrorRule) -> Mapping[str, Value]:
    """Return everything that a rule says but its name, which the address has. A credential is a secret's name."""
    return rule.model_dump(mode="python", exclude={"name", "kind"}) | {"kind": rule.kind.value}


def _secrets(rule: MirrorRule) -> Iterator[Fault]:
    """Refuse secrets: plans and the lockfile are for everybody's eyes."""
    for field, text in (("owner", rule.owner), ("server", rule.server)):
        if has_login(text):
            sentence = f"{field} has a user or a password in it: name a credential instead"
            yield Fault(RULES_FILE, rule.name, sentence)


def has_login(address: str) -> bool:
    """Tell whether a web address has a user or a password in it; git@host:path and ssh://git@host/path have none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "@" in address
    return parts.password is not None or (bool(parts.username) and parts.scheme.lower() != "ssh")
