"""Secrets of a service: which there are, in which version, and the files that they are read from; pure."""

from __future__ import annotations

from collections.abc import Iterator

from autogit.core.traefik_resolver import TRAEFIK, resolver_secrets
from autogit.model.host import HostFacts
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address
from autogit.model.service import ServiceDescriptor
from autogit.model.settings import Settings
from autogit.model.spec import SecretSpec


def service_secrets(
    descriptor: ServiceDescriptor, settings: Settings, facts: HostFacts, lockfile: Lockfile, paths: ProjectPaths
) -> tuple[SecretSpec, ...]:
    """Return the secrets of a service: those of its descriptor, and what Traefik needs to prove names."""
    found = tuple(_own(descriptor, settings, facts, lockfile, paths))
    return (*found, *_of_resolver(settings, facts, lockfile, paths)) if descriptor.service == TRAEFIK else found


def _own(
    descriptor: ServiceDescriptor, settings: Settings, facts: HostFacts, lockfile: Lockfile, paths: ProjectPaths
) -> Iterator[SecretSpec]:
    for setting in descriptor.settings:
        given = settings.service_secrets.get(setting.name)
        fingerprint = facts.secret_fingerprints.get(setting.name, "")
        is_stored = setting.kept and bool(fingerprint)
        if not setting.secret or (given is None and setting.generate is None and not is_stored):
            continue
        version = _secret_version(lockfile.find(Address("secret", setting.name)), fingerprint)
        # A new value is a new file: programs that keep the file they read learn of it by its name (decision 0005).
        file = ""
        if setting.htpasswd:
            file = str(paths.passwords / f"{setting.name}.v{version}.htpasswd")
        elif setting.file:
            file = str(paths.secrets / descriptor.service / f"{setting.name}.v{version}")
        yield SecretSpec(
            name=setting.name,
            description=setting.description,
            length=setting.generate or 0,
            given=given.get_secret_value() if given else None,
            htpasswd_user=setting.htpasswd or "",
            version=version,
            fingerprint=fingerprint,
            file=file,
            mode=0o600 if settings.runtime == "embedded" else 0o444,
        )


def _secret_version(entry: LockEntry | None, fingerprint: str) -> int:
    """Return the recorded version, or the one after it where the value wanted now is another one."""
    known = int(str(entry.attributes.get("version") or 0)) if entry else 0
    changed = known and fingerprint and entry and entry.attributes.get("fingerprint") != fingerprint
    return known + 1 if changed else max(known, 1)


def _of_resolver(settings: Settings, facts: HostFacts, lockfile: Lockfile, paths: ProjectPaths) -> Iterator[SecretSpec]:
    for name, value in resolver_secrets(settings).items():
        fingerprint = facts.secret_fingerprints.get(name, "")
        version = _secret_version(lockfile.find(Address("secret", name)), fingerprint)
        yield SecretSpec(
            name=name,
            description="what Traefik changes DNS with, to prove names",
            length=0,
            given=value.get_secret_value(),
            version=version,
            fingerprint=fingerprint,
            file=str(paths.secrets / TRAEFIK / f"{name}.v{version}"),
            mode=0o600 if settings.runtime == "embedded" else 0o444,
        )
