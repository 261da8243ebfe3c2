"""Succession: what a service takes over from the one whose place it takes, as nginx from Traefik; pure.

Two services of one role that publish ports want the same ones, so the one that leaves must end before the other starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from autogit.core.catalogue import Catalogue
from autogit.core.traefik_resolver import STORAGE, TRAEFIK
from autogit.errors import UnsupportedError
from autogit.model.lockfile import Lockfile
from autogit.model.plan import Note
from autogit.model.service import ServiceDescriptor
from autogit.model.settings import Settings

UNITS = frozenset({"process", "container"})
"""The kinds of resources that services run as."""
_OF_MANAGER = ("CERT_ISSUER", "CERT_CHALLENGE", "CERT_FALLBACK_ISSUER", "CERT_DEPLOY_HOOKS")


def rivals_of(descriptor: ServiceDescriptor, catalogue: Catalogue, chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the services, not chosen now, that would publish the ports that this one publishes."""
    if descriptor.role is None or not any(port.published for port in descriptor.ports.values()):
        return ()
    same = (d.service for d in catalogue.descriptors if d.role == descriptor.role)
    return tuple(sorted(name for name in same if name not in chosen))


def handed_over(lockfile: Lockfile, rivals: Mapping[str, Sequence[str]]) -> Lockfile:
    """Return the lockfile as if each service had had the ports of the one whose place it takes: names lead there."""
    ports = dict(lockfile.ports)
    for service, others in rivals.items():
        for address, number in lockfile.ports.items():
            owner, _, name = address.partition("/")
            if owner in others:
                ports.setdefault(f"{service}/{name}", number)
    return replace(lockfile, ports=ports)


def succession_notes(lockfile: Lockfile, rivals: Mapping[str, Sequence[str]]) -> Iterator[Note]:
    """Say what happens where one service takes the place of another that runs."""
    for service, former in _successions(lockfile, rivals):
        words = (
            f"takes the place of {former}, and its ports: {former} ends first, requests fail until {service} is ready; "
            f"where it does not become ready, {former} is started again"
        )
        yield Note("info", service, words)


def check_successions(
    lockfile: Lockfile, rivals: Mapping[str, Sequence[str]], missing: Mapping[str, str], settings: Settings
) -> None:
    """Raise UnsupportedError where what runs would go and what is to take its place cannot run here."""
    for service, former in _successions(lockfile, rivals):
        if missing[service]:
            raise UnsupportedError(
                f"{settings.source_of('INGRESS')}: {service} cannot take the place of {former}: {missing[service]}",
                hint=f"make it available, or set INGRESS={former}",
            )


def running_ingress(settings: Settings, lockfile: Lockfile) -> str:
    """Return the ingress that is in force: what INGRESS said at the last `up`, where that has not moved on yet."""
    running, former = _running(lockfile), lockfile.settings.get("INGRESS", "")
    return former if settings.ingress not in running and former in running else settings.ingress


def running_manager(settings: Settings, lockfile: Lockfile) -> str:
    """Return who orders the certificates in force: whoever the ingress that runs was started for, until it moves on."""
    ingress = running_ingress(settings, lockfile)
    units = (e for a, e in lockfile.entries.items() if a.kind in UNITS and a.name == ingress and e.attributes)
    needs = {address.kind for entry in units for address in entry.depends_on}
    if STORAGE in needs:
        return TRAEFIK
    return "autogit" if "certificate" in needs else settings.cert_manager


def put_back(settings: Settings, lockfile: Lockfile) -> Mapping[str, str]:
    """Return which settings must have their former values for what is in force: none where `up` has moved on.

    Who orders certificates is put back with what goes with it: not every authority goes with each.
    """
    ingress, manager = running_ingress(settings, lockfile), running_manager(settings, lockfile)
    former = {} if ingress == settings.ingress else {"INGRESS": ingress}
    if manager == settings.cert_manager:
        return former
    recorded = {key: lockfile.settings[key] for key in _OF_MANAGER if key in lockfile.settings}
    return {**former, "CERT_MANAGER": manager, **recorded}


def _running(lockfile: Lockfile) -> set[str]:
    return {a.name for a, entry in lockfile.entries.items() if a.kind in UNITS and entry.attributes}


def _successions(lockfile: Lockfile, rivals: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    running = _running(lockfile)
    for service, others in rivals.items():
        yield from ((service, other) for other in others if other in running)
