"""Following what containers write, and what the engine tells of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from autogit.errors import AutogitError
from autogit.providers.compute.engine.body import MANAGED, PROJECT, SERVICE
from autogit.providers.compute.engine.client import Engine

_POLL_SECONDS = 1.0
EVENTS = (
    "create",
    "start",
    "die",
    "oom",
    "kill",
    "pause",
    "unpause",
    "destroy",
    "health_status",
    "disconnect",
    "update",
)


def follow_logs(engine: Engine, project: str, services: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (service, line) as containers write; a container that comes later is followed from its first line."""
    lines: queue.Queue[tuple[str, str]] = queue.Queue()
    followed: set[str] = set()
    first = True
    while True:
        for container_id, service in _running(engine, project, services):
            if container_id not in followed:
                followed.add(container_id)
                arguments = (engine, container_id, service, lines, 0 if first else "all")
                threading.Thread(target=_read, args=arguments, daemon=True).start()
        first = False
        try:
            yield lines.get(timeout=_POLL_SECONDS)
            while True:
                yield lines.get_nowait()
        except queue.Empty:
            continue


def _running(engine: Engine, project: str, services: Sequence[str]) -> list[tuple[str, str]]:
    filters = {"label": [f"{PROJECT}={project}", f"{MANAGED}=true"]}
    rows = engine.call_now(lambda api: api.containers(filters=filters))
    found = ((str(row["Id"]), str((row.get("Labels") or {}).get(SERVICE))) for row in rows)
    return [(container_id, service) for container_id, service in found if service in services]


def _read(engine: Engine, container_id: str, service: str, lines: queue.Queue[tuple[str, str]], tail: Any) -> None:
    def read(api: Any) -> None:
        rest = b""
        for chunk in api.logs(container_id, stream=True, follow=True, stdout=True, stderr=True, tail=tail):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                lines.put((service, line.decode("utf-8", "replace")))

    try:
        engine.call_now(read)
    except AutogitError:
        return  # it is gone: the next look finds its successor


def watch_events(engine: Engine, project: str) -> Iterator[str]:
    """Yield the service (or "" for a network or the engine) of each event of the project's objects; blocks.

    Ends where the engine's connection ends. Raises as `Engine.call`.
    """
    filters = {"label": [f"{PROJECT}={project}"], "event": list(EVENTS)}

    def read(api: Any) -> Iterator[Any]:
        return iter(api.events(decode=True, filters=filters))

    for event in engine.call_now(read):
        yield str(((event.get("Actor") or {}).get("Attributes") or {}).get(SERVICE) or "")
