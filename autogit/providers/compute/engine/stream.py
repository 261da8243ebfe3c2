"""Following what containers write, and what the engine tells of them."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from autogit.errors import AutogitError
from autogit.providers.compute.engine.body import MANAGED, PROJECT, SERVICE, object_name
from autogit.providers.compute.engine.client import Engine

_POLL_SECONDS = 1.0
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 600.0
"""Over a network a connection can be lost without a word: after so long a silence whoever listens begins anew."""

EVENTS = {
    "container": (
        "create",
        "start",
        "die",
        "oom",
        "kill",
        "pause",
        "unpause",
        "destroy",
        "rename",
        "update",
        "health_status",
    ),
    "network": ("connect", "disconnect", "destroy"),
    "volume": ("destroy",),
}
"""What may have to be repaired, by the kind of object that it happens to."""


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


def watch_events(engine: Engine, project: str, *, silence_seconds: float = _SILENCE_SECONDS) -> Iterator[str]:
    """Yield "" once the engine is heard, then the service (or "" for something else) of each event of the project.

    Blocks. Ends where the engine ends the connection. Raises as `Engine.call`, UnavailableError after a long silence.
    """
    words = sorted({word for kind in EVENTS.values() for word in kind})
    # Networks and volumes tell of their events without their labels: what concerns this project is found out here.
    filters = json.dumps({"type": sorted(EVENTS), "event": words})

    def listen(api: Any) -> Any:
        # The SDK's own way waits for ever, for one that is gone too (Engine API, SystemEvents).
        url, limits = api._url("/events"), (_CONNECT_SECONDS, silence_seconds)  # noqa: SLF001
        answer = api._get(url, params={"filters": filters}, stream=True, timeout=limits)  # noqa: SLF001
        api._raise_for_status(answer)  # noqa: SLF001
        return answer

    with closing(engine.call_now(listen)) as answer:
        yield ""
        lines = answer.iter_lines()
        while (line := engine.call_now(lambda _api: next(lines, None))) is not None:
            if (service := _concerned(line, project)) is not None:
                yield service


def _concerned(line: bytes, project: str) -> str | None:
    """Return the service that an event is of, "" for another object of the project, None for a stranger's."""
    try:
        event = json.loads(line)
        kind, actor = event["Type"], event["Actor"]
        attributes = actor.get("Attributes") or {}
        if kind == "container":
            return str(attributes.get(SERVICE) or "") if attributes.get(PROJECT) == project else None
        name = str(attributes.get("name") if kind == "network" else actor.get("ID"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return "" if name.startswith(object_name(project, "")) else None
