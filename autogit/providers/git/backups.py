"""Names of backups: where the id of a replaced or deleted ref is kept, and under which name it comes back.

refs/heads/main replaced on 2026-11-27 at 08:15:00 UTC is kept as refs/autogit/backup/2026-11-27/081500/heads/main,
restored as refs/autogit/restored/2026-11-27-081500/heads/main, and pushed to a target as the branch
refs/heads/autogit-restored/2026-11-27-081500/main.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BACKUP = "refs/autogit/backup/"
RESTORED = "refs/autogit/restored/"
_BACKUP = re.compile(r"refs/autogit/backup/(\d{4}-\d\d-\d\d)/(\d{6})/(.+)", re.DOTALL)
_RESTORED = re.compile(r"refs/autogit/restored/([0-9-]+)/(?:(heads|tags|notes)/)?(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Backup:
    """One kept id: the backup ref, the ref that it had been, and when it was replaced or deleted."""

    ref: str
    name: str
    object_id: str
    at: datetime

    @property
    def restored(self) -> str:
        """Return the ref under which it comes back in the copy."""
        return f"{RESTORED}{self.at:%Y-%m-%d-%H%M%S}/{self.name.removeprefix('refs/')}"


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that came back: its ref in the copy, and the one that a push gives it at the target."""

    ref: str
    target: str
    object_id: str


def backups_of(refs: Mapping[str, str]) -> tuple[Backup, ...]:
    """Return the backups among a copy's refs, oldest first."""
    found = []
    for ref, object_id in refs.items():
        if (match := _BACKUP.fullmatch(ref)) is not None and (at := _moment(match[1] + match[2])) is not None:
            found.append(Backup(ref, f"refs/{match[3]}", object_id, at))
    return tuple(sorted(found, key=lambda backup: (backup.at, backup.name)))


def free_prefix(refs: Mapping[str, str], now: datetime) -> str:
    """Return the folder for this moment's backups; a later second where one is taken, so that none is replaced."""
    taken = {backup.at for backup in backups_of(refs)}
    at = now.astimezone(UTC).replace(microsecond=0)
    while at in taken:
        at += timedelta(seconds=1)
    return f"{BACKUP}{at:%Y-%m-%d/%H%M%S}/"


def pushed_name(ref: str) -> str:
    """Return the name of a restored ref at a target: a branch, unless it had been a tag or a note."""
    match = _RESTORED.fullmatch(ref)
    if match is None:
        return ref
    return f"refs/{match[2] or 'heads'}/autogit-restored/{match[1]}/{match[3]}"


def _moment(digits: str) -> datetime | None:
    try:
        return datetime.strptime(digits, "%Y-%m-%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
