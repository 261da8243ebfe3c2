"""Mirrors' part in the one plan: what mirrors.yml declares, and what was declared before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autogit.core.reconcile import Engine
from autogit.errors import Fault, SettingsError
from autogit.model.lockfile import Lockfile
from autogit.model.mirror_plan import MIRROR
from autogit.model.resource import Resource, Value
from autogit.model.spec import PlatformSpec

if TYPE_CHECKING:
    from autogit.model.mirror import MirrorRule
    from autogit.operations.project import Project
    from autogit.providers.host.mirror_rules import MirrorRules


def with_mirrors(project: Project, engine: Engine) -> Engine:
    """Return the engine with `mirror/...` in its plans, the same one where nothing is or was mirrored."""
    rules = project.paths.mirror_rules
    if not rules.exists() and not project.paths.mirrors.exists():
        return engine
    before = engine.declared

    def declared(spec: PlatformSpec) -> Sequence[Resource]:
        return [*before(spec), *wished(rules)]

    return replace(engine, providers=(*engine.providers, mirror_provider(project)), declared=declared)


def mirror_provider(project: Project) -> MirrorRules:
    """Return the reconciler of `mirror/...`."""
    from autogit.providers.host.mirror_rules import MirrorRules  # noqa: PLC0415 - for those who mirror something

    return MirrorRules(project.context, _defaults())


def wished(file: Path) -> list[Resource]:
    """Return what a file declares as resources; nothing where it is not there. Raises SettingsError."""
    from autogit.core.mirror_resources import mirror_resources  # noqa: PLC0415 - as above

    return mirror_resources(read_declared(file))


def read_declared(file: Path) -> tuple[MirrorRule, ...]:
    """Return the rules of a file, none where it is not there. Raises SettingsError."""
    from autogit.core.mirrors import read_rules  # noqa: PLC0415 - as above

    try:
        return read_rules(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as exc:
        fault = Fault(file.name, "", f"cannot be read as UTF-8 text: {type(exc).__name__}")
        raise SettingsError(f"a fault in {file.name}", faults=[fault]) from exc


def has_mirrors(file: Path) -> bool:
    """Tell whether a file declares any; one that cannot be read may."""
    try:
        return bool(wished(file))
    except SettingsError:
        return True


def is_recorded(file: Path, lockfile: Lockfile) -> bool:
    """Tell whether a lockfile has exactly what a file declares, so that `up` has nothing to do for it."""
    known = {address: entry for address, entry in lockfile.entries.items() if address.kind == MIRROR}
    if not known and not file.exists():
        return True
    defaults = _defaults()
    try:
        wishes = {resource.address: dict(resource.attributes) for resource in wished(file)}
    except SettingsError:
        return False
    return wishes == {address: {**defaults, **entry.attributes} for address, entry in known.items()}


def _defaults() -> Mapping[str, Value]:
    from autogit.model.mirror import MirrorRule  # noqa: PLC0415 - as above

    fields = MirrorRule.model_fields.items()
    return {name: field.default for name, field in fields if not field.is_required()}
