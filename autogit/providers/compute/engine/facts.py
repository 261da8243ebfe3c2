"""What an engine says of itself: its measures, who publishes which port, and what does not work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from autogit.model.host import EngineFacts
from autogit.providers.compute import api_image
from autogit.providers.compute.engine import images as engine_images
from autogit.providers.compute.engine.body import PROJECT
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.observe import ours

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
"""The kernel's words for a machine and those of image manifests (OCI image specification, platform)."""


async def engine_facts(engine: Engine, project: str, images: Collection[str], templates: Path) -> EngineFacts:
    """Return everything that a plan needs to know of an engine."""
    info, rows, known = await asyncio.gather(
        engine.call(lambda api: api.info()),
        engine.call(lambda api: api.containers()),
        engine_images.look_up(engine, images),
    )
    version = await engine.call(lambda api: str(api.api_version))
    own, other = _published(rows, project)
    machine = str(info.get("Architecture") or "")
    return EngineFacts(
        api_version=version,
        version=str(info.get("ServerVersion") or ""),
        architecture=ARCHITECTURES.get(machine, machine),
        cpus=int(info.get("NCPU") or 0),
        memory_bytes=int(info.get("MemTotal") or 0),
        gpus=has_gpus(info),
        root_dir=str(info.get("DockerRootDir") or ""),
        images=known,
        content=await asyncio.to_thread(api_image.content_digest, templates),
        own_ports=frozenset(own),
        other_ports=other,
        limits=tuple(_limits(engine, info)),
    )


def has_gpus(info: Mapping[str, Any]) -> bool:
    """Tell whether an engine can give GPUs: NVIDIA's runtime is registered, or it knows such devices by CDI."""
    devices = info.get("DiscoveredDevices") or ()
    return "nvidia" in (info.get("Runtimes") or {}) or any("nvidia" in str(device) for device in devices)


def _published(rows: Iterable[Mapping[str, Any]], project: str) -> tuple[set[int], dict[int, str]]:
    own: set[int] = set()
    other: dict[int, str] = {}
    for row in rows:
        labels = row.get("Labels") or {}
        numbers = {int(port["PublicPort"]) for port in row.get("Ports") or () if port.get("PublicPort")}
        if labels.get(PROJECT) == project and ours(labels):
            own |= numbers
        else:
            name = str((row.get("Names") or ["?"])[0]).lstrip("/")
            other |= dict.fromkeys(numbers, f"container {name}")
    return own, other


def _limits(engine: Engine, info: Mapping[str, Any]) -> Iterable[str]:
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    if any("rootless" in option for option in options):
        yield (
            "rootless engine: ports below 1024 need net.ipv4.ip_unprivileged_port_start, limits of CPU and memory need "
            "cgroup v2 with delegation; cAdvisor and the socket's path may differ"
        )
    if "podman" in str(info.get("ServerVersion", "")).lower() or "podman" in str(info.get("InitBinary", "")).lower():
        yield "Podman's socket: containers, networks and volumes work; restart after a reboot needs podman-restart"
    if engine.socket is None:
        yield (
            "the engine is reached over the network: the project's folder must lie at the same path on its machine, "
            "since configuration is mounted from there"
        )
    for warning in info.get("Warnings") or ():
        if "memory limit" in str(warning).lower() and "no memory limit" in str(warning).lower():
            yield "this engine cannot limit memory: a service that grows takes it from the others"
