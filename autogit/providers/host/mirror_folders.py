"""Where the copies of mirrored repositories lie, for whoever may only read: nothing is written, not even beside."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from autogit.errors import MirrorRecordsError

_BUSY_SECONDS = 5
_QUERY = (
    "SELECT json_extract(body, '$.path'), json_extract(body, '$.folder') FROM records WHERE rule = ? ORDER BY identity"
)


class Place(NamedTuple):
    """A repository's path at its source, and its folder below the mirrors' folder."""

    path: str
    folder: str


def places_of(records: Path, rule: str) -> tuple[Place, ...]:
    """Return the places of one rule's copies, none where nothing was mirrored yet. Raises MirrorRecordsError.

    The file may lie on a mount that nothing can be written to: SQLite then opens it only while somebody else has it
    open, or as one that nobody changes. The latter is true where no log of changes lies beside it.
    """
    if not records.exists():
        return ()
    try:
        return _read(records, rule, "mode=ro")
    except sqlite3.OperationalError as exc:
        if records.with_name(f"{records.name}-wal").exists():
            raise _fault(records, exc) from exc
    except sqlite3.Error as exc:
        raise _fault(records, exc) from exc
    try:
        return _read(records, rule, "mode=ro&immutable=1")
    except sqlite3.Error as exc:
        raise _fault(records, exc) from exc


def _read(records: Path, rule: str, how: str) -> tuple[Place, ...]:
    with _opened(records, how) as database:
        return tuple(Place(*row) for row in database.execute(_QUERY, (rule,)))


@contextlib.contextmanager
def _opened(records: Path, how: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(
        sqlite3.connect(f"file:{quote(str(records))}?{how}", timeout=_BUSY_SECONDS, uri=True)
    ) as db:
        yield db


def _fault(records: Path, exc: Exception) -> MirrorRecordsError:
    return MirrorRecordsError(f"{records.name} cannot be read: {exc}", hint="autogit mirror status")
