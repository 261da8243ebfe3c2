"""What became of the last sync of mirrors: written by the sync, read by all who watch over them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from autogit.core.lock import LockHolder, find_holder
from autogit.model.project import ProjectPaths
from autogit.providers.host.atomic import write_atomic

_FILE = "last-sync.json"


@dataclass(frozen=True, slots=True)
class LastSync:
    """What became of the last sync that came to its end. `problems` are of sources that could not be asked."""

    at: str = ""
    seconds: float = 0.0
    changed: int = 0
    requests: int = 0
    problems: tuple[str, ...] = ()


def read_last_sync(paths: ProjectPaths) -> LastSync | None:
    """Return what became of the last sync, None where there was none or its note cannot be read."""
    try:
        row: dict[str, Any] = json.loads((paths.mirrors / _FILE).read_text(encoding="utf-8"))
        return LastSync(**{**row, "problems": tuple(row["problems"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_last_sync(paths: ProjectPaths, last: LastSync) -> None:
    """Write down what became of a sync. Raises StorageFullError."""
    write_atomic(paths.mirrors / _FILE, json.dumps(asdict(last)).encode(), 0o600)


def running_sync(paths: ProjectPaths) -> LockHolder | None:
    """Return who syncs right now, None where nobody does."""
    return find_holder(paths.mirrors / "sync.lock")
