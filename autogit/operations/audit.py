"""The audit log: one JSON line for everything that AutoGit changed, and for what healing decided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from autogit.model.project import ProjectPaths


def write_audit(paths: ProjectPaths, now: datetime, command: str, row: Mapping[str, Any]) -> None:
    """Append one line."""
    line = {"at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "command": command, **row}
    paths.audit_log.parent.mkdir(mode=0o700, exist_ok=True)
    with paths.audit_log.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
