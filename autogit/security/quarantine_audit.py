"""The audit log of whoever keeps texts and sees no more of a project than the quarantine: the verdict service."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

Audit = Callable[[datetime, str, Mapping[str, object]], None]
"""What writes one line of an audit log: the moment, the command, and what was done to which record."""


def audit_to(path: Path) -> Audit:
    """Return what appends to an audit log, one line at a time, in the form of `.autogit/audit.jsonl`.

    It raises OSError, and then has written nothing.
    """

    def write(now: datetime, command: str, row: Mapping[str, object]) -> None:
        line = {"at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "command": command, **row}
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        data = (json.dumps(line) + "\n").encode()
        try:  # in one call, so that lines of two processes do not mix
            written = os.write(descriptor, data)
            if written < len(data):
                # The next line must not follow half a one. Whoever writes holds the database, so this is the last.
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        finally:
            os.close(descriptor)

    return write
