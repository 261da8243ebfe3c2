"""What stands in the way of changes on an engine: found before the first of them is begun, all of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autogit.errors import Fault, NotReadyError
from autogit.model.container import ImageSpec
from autogit.model.plan import Action, Change
from autogit.model.spec import ContainerPayload
from autogit.providers.compute import api_image
from autogit.providers.compute.engine import registry
from autogit.providers.compute.engine.body import WORKING_DIR
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.facts import ARCHITECTURES, has_gpus
from autogit.providers.compute.engine.observe import image_facts, ours, same_place

READY_SECONDS = 300.0
LOG_LINES = 20
_GIB = 1024**3


def not_ready(service: str, why: str, lines: Sequence[str]) -> NotReadyError:
    """Return the error of a service that did not come up, with its last lines."""
    return NotReadyError(f"{service} {why}", hint=f"autogit logs {service}", context=lines)


async def find_obstacles(engine: Engine, changes: Sequence[Change]) -> Sequence[Fault]:
    """Return a fault for each change that cannot go well."""
    makes = [change for change in changes if change.after is not None]
    if not makes:
        return ()
    info = await engine.call(lambda api: api.info())
    checks = {"image": _image, "network": _network, "volume": _volume, "container": _container}
    found = await asyncio.gather(
        *(checks[change.address.kind](engine, change, info) for change in makes if change.address.kind in checks)
    )
    return [fault for faults in found for fault in faults]


async def _image(engine: Engine, change: Change, info: Any) -> list[Fault]:
    image = change.after.payload if change.after else None
    if image is None:
        return []
    place, reference = str(change.address), image.reference
    if await engine.find(lambda api: api.inspect_image(image.id or reference)) is not None:
        return []
    if image.local:
        why = api_image.can_build()
        return [Fault(place, reference, f"cannot be built: {why}")] if why else []
    why = await registry.why_not_pulled(engine, image, _machine(info))
    if not why:
        return []
    held = f" (the lockfile holds {image.id[:19]})" if image.id else ""
    return [Fault(place, reference, f"is not here{held} and cannot be pulled: {why}")]


async def _network(engine: Engine, change: Change, _info: Any) -> list[Fault]:
    if change.action is not Action.CREATE or change.after is None:
        return []
    name = str(change.after.attributes["name"])
    rows = await engine.call(lambda api: api.networks(names=[name]))
    foreign = [row for row in rows if row.get("Name") == name and not ours(row.get("Labels"))]
    return [_taken(change, "network", name)] if foreign else []


async def _volume(engine: Engine, change: Change, _info: Any) -> list[Fault]:
    if change.action is not Action.CREATE or change.after is None:
        return []
    name = str(change.after.attributes["name"])
    raw = await engine.find(lambda api: api.inspect_volume(name))
    return [_taken(change, "volume", name)] if raw is not None and not ours(raw.get("Labels")) else []


async def _container(engine: Engine, change: Change, info: Any) -> list[Fault]:
    if change.after is None:
        return []
    payload: ContainerPayload = change.after.payload
    return [
        *_hardware(change, payload, info),
        *await _architecture(engine, change, payload.image, info),
        *await _name(engine, change, payload),
    ]


async def _architecture(engine: Engine, change: Change, image: ImageSpec, info: Any) -> list[Fault]:
    """Judge an image that is here; its own address says nothing of it where it is in sync."""
    known = await engine.find(lambda api: api.inspect_image(image.id or image.reference))
    made_for = image_facts(known).architecture if known is not None else ""
    if not made_for or registry.can_run(made_for, _machine(info)):
        return []
    return [Fault(str(change.address), image.reference, f"is made for {made_for}, this engine is {_machine(info)}")]


def _machine(info: Any) -> str:
    machine = str(info.get("Architecture") or "")
    return ARCHITECTURES.get(machine, machine)


async def _name(engine: Engine, change: Change, payload: ContainerPayload) -> list[Fault]:
    name = str(change.after.attributes["name"]) if change.after else ""
    raw = await engine.find(lambda api: api.inspect_container(name))
    if raw is None:
        return []
    labels = raw["Config"].get("Labels") or {}
    if not ours(labels):
        return [_taken(change, "container", name)]
    place = str(labels.get(WORKING_DIR) or payload.rendered)
    if same_place(place, payload.rendered) or not Path(place).exists():
        return []  # a folder that is gone has been moved here
    words = f"belongs to the platform in {place}: end that one, or choose another PROJECT_NAME"
    return [Fault(str(change.address), f"container {name}", words)]


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
