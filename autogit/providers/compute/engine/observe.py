"""Reading an engine's answers: a container, network, volume or image as the attributes that a wish is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import realpath
from typing import Any

from autogit.model.container import ImageSpec
from autogit.model.host import ImageFacts
from autogit.model.lockfile import LockEntry
from autogit.model.resource import Address, Resource, Value
from autogit.providers.compute.engine.body import (
    MANAGED,
    SERVICE,
    WORKING_DIR,
    container_name,
    endpoint_aliases,
    object_name,
)

_NANOS = 10**9
_SHORT_ID = 12
_STOP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Found:
    """One container of the project, as inspected."""

    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The container's id."""
        return str(self.raw["Id"])

    @property
    def name(self) -> str:
        """Its name, without the slash that the engine puts before it."""
        return str(self.raw["Name"]).lstrip("/")

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels, those of its image among them."""
        return self.raw["Config"].get("Labels") or {}

    @property
    def service(self) -> str:
        """The service that it runs."""
        return self.labels.get(SERVICE, "")

    @property
    def status(self) -> str:
        """The engine's word: created, running, paused, restarting, removing, exited, dead."""
        return str(self.raw["State"]["Status"])

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.status in ("running", "paused", "restarting")

    @property
    def health(self) -> str:
        """The engine's verdict: starting, healthy, unhealthy; "" where there is no check."""
        word = str((self.raw["State"].get("Health") or {}).get("Status") or "")
        return "" if word == "none" else word

    @property
    def state(self) -> str:
        """Its state as a plan shows it. What still starts is running: it has its time."""
        if self.status == "running":
            return "unhealthy" if self.health == "unhealthy" else "running"
        return {"created": "stopped", "exited": "stopped", "dead": "stopped", "removing": "stopped"}.get(
            self.status, self.status
        )

    @property
    def stop_seconds(self) -> int:
        """How long it may take to end by itself."""
        return int(self.raw["Config"].get("StopTimeout") or _STOP_SECONDS)

    @property
    def started_at(self) -> str:
        """When its process started (RFC 3339), "" where it does not run."""
        moment = str(self.raw["State"].get("StartedAt") or "") if self.runs else ""
        return f"{moment.partition('.')[0]}Z" if "." in moment else moment


def ours(labels: Mapping[str, str] | None) -> bool:
    """Tell whether something carries AutoGit's label."""
    return bool(labels) and (labels or {}).get(MANAGED) == "true"


def by_service(found: Iterable[Found], project: str) -> dict[str, list[Found]]:
    """Return the containers of each service, the one in force first: that of the right name, if it runs."""
    groups: dict[str, list[Found]] = {}
    for container in found:
        groups.setdefault(container.service, []).append(container)
    for service, group in groups.items():
        name = container_name(project, service)
        group.sort(key=lambda c: (c.runs, c.name == name, str(c.raw["Created"])), reverse=True)
    return groups


def container_resource(
    group: Sequence[Found], wish: Resource | None, entry: LockEntry | None, project: str
) -> Resource:
    """Return a service's container as observed.

    What it was told last (`config`, `reload`) is in the lockfile, for the very container that was told; else what it
    was born with. Networks that are not of this project are left out: they are somebody's wish.
    """
    container = group[0]
    raw, labels = container.raw, container.labels
    recorded = dict(entry.attributes) if entry and entry.attributes.get("id") == container.id else {}
    attributes: dict[str, Value] = {
        "name": container.name,
        "hash": labels.get("autogit.hash", "") if _is_made_here(labels, wish) else "",
        "image": _reference(raw, wish, entry),
        "image_id": str(raw["Image"]),
        "content": labels.get("autogit.content", ""),
        "command": _command(raw, wish),
        "environment": _environment(raw, wish, entry),
        "ports": tuple(sorted(_ports(raw["HostConfig"].get("PortBindings") or {}))),
        "networks": _networks(container, project),
        "memory_bytes": int(raw["HostConfig"].get("Memory") or 0),
        "cpus": (raw["HostConfig"].get("NanoCpus") or 0) / _NANOS,
        "config": recorded.get("config", labels.get("autogit.config", "")),
        "reload": recorded.get("reload", labels.get("autogit.reload", "")),
        "state": container.state,
        "copies": len(group),
        "id": container.id,
        "since": container.started_at,
        "health": container.health,
    }
    return Resource(Address("container", container.service), attributes)


def _is_made_here(labels: Mapping[str, str], wish: Resource | None) -> bool:
    """Tell whether a container has its files from this project's folder, not from a copy or a place of former times."""
    place = labels.get(WORKING_DIR, "")
    return not (place and wish and wish.payload) or same_place(place, wish.payload.rendered)


def same_place(one: str, other: str) -> bool:
    """Tell whether two paths lead to one folder."""
    return one == other or realpath(one) == realpath(other)


def _command(raw: Mapping[str, Any], wish: Resource | None) -> tuple[str, ...]:
    """Return the words that we gave; where none are wished, the image's own are its business."""
    spec = wish.payload.container if wish and wish.payload else None
    entrypoint = raw["Config"].get("Entrypoint") if spec is None or spec.entrypoint else ()
    command = raw["Config"].get("Cmd") if spec is None or spec.command else ()
    return (*(entrypoint or ()), *(command or ()))


def _reference(raw: Mapping[str, Any], wish: Resource | None, entry: LockEntry | None) -> str:
    """Return the image's name; a container of the wished or the recorded image may have been started from its id."""
    name = str(raw["Config"]["Image"])
    for attributes in (wish.attributes if wish else {}, entry.attributes if entry else {}):
        if name == raw["Image"] == attributes.get("image_id"):
            return str(attributes["image"])
    return name


def _environment(raw: Mapping[str, Any], wish: Resource | None, entry: LockEntry | None) -> tuple[str, ...]:
    """Return the variables that we gave or wish for; the image's own are its business."""
    known: set[str] = set()
    for attributes in (wish.attributes if wish else {}, entry.attributes if entry else {}):
        rows = attributes.get("environment")
        known |= {row.partition("=")[0] for row in rows} if isinstance(rows, tuple) else set()
    return tuple(sorted(row for row in raw["Config"].get("Env") or () if row.partition("=")[0] in known))


def _ports(bindings: Mapping[str, Any]) -> Iterable[str]:
    for inside, hosts in bindings.items():
        for host in hosts or ():
            yield f"{host.get('HostIp') or '0.0.0.0'}:{host.get('HostPort')}->{inside.removesuffix('/tcp')}"  # noqa: S104 - shown


def _networks(container: Found, project: str) -> tuple[str, ...]:
    prefix = object_name(project, "")
    endpoints = container.raw["NetworkSettings"].get("Networks") or {}
    rows = []
    for full, endpoint in endpoints.items():
        if full.startswith(prefix):
            own = {container.id[:_SHORT_ID], container.name, container.service}
            aliases = endpoint.get("Aliases") or ()
            known = container.service in aliases
            names = [a for a in dict.fromkeys(aliases) if a not in own]
            rows.append(
                " ".join((full.removeprefix(prefix), *(sorted(names) if known else ["(not known by its name)"])))
            )
    return tuple(sorted(rows))


def wished_networks(wish: Resource) -> dict[str, list[str]]:
    """Return each network that a container is wished on, with the names it is known by there."""
    spec = wish.payload.container
    return {network: endpoint_aliases(spec, network) for network in spec.networks}


def network_resource(raw: Mapping[str, Any], name: str) -> Resource:
    """Return a network as observed."""
    configs = (raw.get("IPAM") or {}).get("Config") or []
    attributes: dict[str, Value] = {
        "name": str(raw["Name"]),
        "internal": bool(raw.get("Internal")),
        "subnet": str(configs[0].get("Subnet", "")) if configs else "",
        "id": str(raw["Id"]),
    }
    return Resource(Address("network", name), attributes)


def fit_subnet(seen: Resource, wish: Resource | None) -> Resource:
    """Show an automatic subnet as none where none was asked for."""
    if wish is None or wish.attributes.get("subnet"):
        return seen
    return Resource(seen.address, {**seen.attributes, "subnet": ""})


def image_facts(raw: Mapping[str, Any]) -> ImageFacts:
    """Return what matters of an inspected image."""
    labels = (raw.get("Config") or {}).get("Labels") or {}
    return ImageFacts(
        id=str(raw["Id"]),
        digests=tuple(map(str, raw.get("RepoDigests") or ())),
        architecture=str(raw.get("Architecture") or ""),
        content=str(labels.get("autogit.content", "")),
    )


def image_resource(service: str, spec: ImageSpec, facts: ImageFacts) -> Resource:
    """Return a service's image as observed: what is there of what is wished."""
    attributes: dict[str, Value] = {
        "reference": spec.reference,
        "origin": spec.origin,
        "id": facts.id,
        # One that came from a file is known by no registry here: the digest it is held to stays.
        "digest": facts.digest_of(spec.reference) or (spec.digest if spec.id == facts.id else ""),
        "content": facts.content,
    }
    return Resource(Address("image", service), attributes)
