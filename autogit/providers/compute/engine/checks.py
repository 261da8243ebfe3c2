"""What stands in the way of changes on an engine: found before the first of them is begun, all of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from autogit.errors import Fault, NotReadyError
from autogit.model.container import ImageSpec, NetworkSpec
from autogit.model.host import ImageFacts
from autogit.model.plan import Action, Change
from autogit.model.spec import ContainerPayload
from autogit.providers.compute import api_image
from autogit.providers.compute.engine import images, registry
from autogit.providers.compute.engine.body import WORKING_DIR
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.facts import ARCHITECTURES, has_gpus
from autogit.providers.compute.engine.observe import ours, same_place

READY_SECONDS = 300.0
LOG_LINES = 20
_GIB = 1024**3
_WITH_IMAGE = frozenset({"image", "container"})


def not_ready(service: str, why: str, lines: Sequence[str]) -> NotReadyError:
    """Return the error of a service that did not come up, with its last lines."""
    return NotReadyError(f"{service} {why}", hint=f"autogit logs {service}", context=lines)


@dataclass(frozen=True, slots=True)
class _Present:
    """What is on the engine already, each kind asked for once: others' names, containers' labels, images at hand.

    `subnets` are those of each network.
    """

    info: Mapping[str, Any]
    foreign: frozenset[tuple[str, str]]
    subnets: Mapping[str, Sequence[IPv4Network]]
    containers: Mapping[str, Mapping[str, str]]
    images: Mapping[str, ImageFacts]

    @property
    def machine(self) -> str:
        """The engine's architecture in the words of image manifests."""
        machine = str(self.info.get("Architecture") or "")
        return ARCHITECTURES.get(machine, machine)


async def find_obstacles(engine: Engine, changes: Sequence[Change]) -> Sequence[Fault]:
    """Return a fault for each change that cannot go well."""
    makes = [change for change in changes if change.after is not None]
    if not makes:
        return ()
    present = await _look(engine, makes)
    checks = {"image": _image, "network": _network, "volume": _named, "container": _container}
    found = await asyncio.gather(
        *(checks[change.address.kind](engine, change, present) for change in makes if change.address.kind in checks)
    )
    return [fault for faults in found for fault in faults]


async def _look(engine: Engine, makes: Sequence[Change]) -> _Present:
    kinds = {change.address.kind for change in makes}
    payloads = [(change.address.kind, change.after.payload) for change in makes if change.after]
    specs = [payload.image if kind == "container" else payload for kind, payload in payloads if kind in _WITH_IMAGE]

    async def rows(kind: str, ask: Callable[[Any], Any]) -> Sequence[Mapping[str, Any]]:
        return await engine.call(ask) or () if kind in kinds else ()

    info, networks, volumes, containers, known = await asyncio.gather(
        engine.call(lambda api: api.info()),
        rows("network", lambda api: api.networks()),
        rows("volume", lambda api: api.volumes()["Volumes"]),
        rows("container", lambda api: api.containers(all=True)),
        images.look_up(engine, (spec.id or spec.reference for spec in specs)),
    )
    named = (*(("network", row) for row in networks), *(("volume", row) for row in volumes))
    return _Present(
        info,
        frozenset((kind, str(row["Name"])) for kind, row in named if not ours(row.get("Labels"))),
        {str(row["Name"]): subnets_of(row) for row in networks},
        {str(name).lstrip("/"): row.get("Labels") or {} for row in containers for name in row.get("Names") or ()},
        known,
    )


async def _image(engine: Engine, change: Change, present: _Present) -> list[Fault]:
    image = change.after.payload if change.after else None
    if image is None or (image.id or image.reference) in present.images:
        return []
    place, reference = str(change.address), image.reference
    if image.local:
        why = api_image.can_build()
        return [Fault(place, reference, f"cannot be built: {why}")] if why else []
    why = await registry.why_not_pulled(engine, image, present.machine)
    if not why:
        return []
    held = f" (the lockfile holds {image.id[:19]})" if image.id else ""
    way_out = ""
    if image.id and await engine.find(lambda api: api.inspect_image(reference)) is not None:
        way_out = ". Another image of this name is here: autogit upgrade takes it"
    return [Fault(place, reference, f"is not here{held} and cannot be pulled: {why}{way_out}")]


async def _network(engine: Engine, change: Change, present: _Present) -> list[Fault]:
    return [*await _named(engine, change, present), *overlaps(change, present.subnets)]


def overlaps(change: Change, subnets: Mapping[str, Sequence[IPv4Network]]) -> Iterator[Fault]:
    """Yield a fault for each other network whose addresses are among those that a network is to have; pure.

    An engine refuses them ("Pool overlaps"), and by then the containers were taken off the former network.
    """
    if change.action is Action.NOOP or change.after is None or not change.after.attributes["subnet"]:
        return
    wish: NetworkSpec = change.after.payload
    own = {str(one.attributes["name"]) for one in (change.before, change.after) if one}
    for name, held in sorted(subnets.items()):
        if name not in own and any(IPv4Network(wish.subnet).overlaps(one) for one in held):
            words = f"overlaps with the network {name} ({', '.join(map(str, held))}): set {wish.setting} to a free one"
            yield Fault(str(change.address), wish.subnet, words)


def subnets_of(row: Mapping[str, Any]) -> Sequence[IPv4Network]:
    """Return the IPv4 subnets of a network as an engine tells of it."""
    given = [str(pool.get("Subnet") or "") for pool in (row.get("IPAM") or {}).get("Config") or ()]
    return [IPv4Network(text, strict=False) for text in given if text and ":" not in text]


async def _named(_engine: Engine, change: Change, present: _Present) -> list[Fault]:
    kind, name = change.address.kind, str(change.after.attributes["name"]) if change.after else ""
    taken = change.action is Action.CREATE and (kind, name) in present.foreign
    return [_taken(change, kind, name)] if taken else []


async def _container(_engine: Engine, change: Change, present: _Present) -> list[Fault]:
    if change.after is None:
        return []
    payload: ContainerPayload = change.after.payload
    return [
        *_hardware(change, payload, present.info),
        *_architecture(change, payload.image, present),
        *_name(change, payload, present),
    ]


def _architecture(change: Change, image: ImageSpec, present: _Present) -> Iterator[Fault]:
    """Judge an image that is here; its own address says nothing of it where it is in sync."""
    known = present.images.get(image.id or image.reference)
    if known is not None and known.architecture and not registry.can_run(known.architecture, present.machine):
        words = f"is made for {known.architecture}, this engine is {present.machine}"
        yield Fault(str(change.address), image.reference, words)


def _name(change: Change, payload: ContainerPayload, present: _Present) -> Iterator[Fault]:
    name = str(change.after.attributes["name"]) if change.after else ""
    labels = present.containers.get(name)
    if labels is None:
        return
    if not ours(labels):
        yield _taken(change, "container", name)
        return
    place = str(labels.get(WORKING_DIR) or payload.rendered)
    if same_place(place, payload.rendered) or not Path(place).exists():
        return  # a folder that is gone has been moved here
    words = f"belongs to the platform in {place}: end that one, or choose another PROJECT_NAME"
    yield Fault(str(change.address), f"container {name}", words)


def _hardware(change: Change, payload: ContainerPayload, info: Any) -> Iterable[Fault]:
    spec, memory = payload.container, int(info.get("MemTotal") or 0)
    if spec.gpus and not has_gpus(info):
        yield Fault(
            str(change.address), "GPU", "is asked for and this engine has none: install the NVIDIA toolkit there"
        )
    if memory and spec.memory_bytes > memory:
        words = f"of {spec.memory_bytes / _GIB:.1f} GB is more than the engine's {memory / _GIB:.1f} GB"
        yield Fault(str(change.address), "its memory limit", words)


def _taken(change: Change, kind: str, name: str) -> Fault:
    words = (
        f"exists and is not AutoGit's: remove or rename it (docker {kind} rm {name}), or choose another PROJECT_NAME"
    )
    return Fault(str(change.address), f"{kind} {name}", words)
