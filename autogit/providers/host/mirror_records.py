"""What is known of each mirrored repository: one SQLite file (WAL), readable by its owner only."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from autogit.errors import MirrorRecordsError, StorageFullError
from autogit.model.mirror import MirrorRecord, Proof, TargetRecord

_SCHEMA = 1
_BUSY_SECONDS = 15
_CREATE = """
CREATE TABLE IF NOT EXISTS records (
    identity TEXT NOT NULL, rule TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (rule, identity)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS etags (rule TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (rule, name))
WITHOUT ROWID;
"""


class MirrorRecords:
    """Records by rule and identity. A write is on the disk when its call returns; readers never wait for writers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep one connection for all calls within: opening the file costs more than most of them."""
        self._kept = database = self._connect()
        try:
            yield
        finally:
            self._kept = None
            database.close()

    def load(self) -> list[MirrorRecord]:
        """Return all records, by rule and path. Raises MirrorRecordsError."""
        if not self.path.exists():
            return []
        with self._open() as database:
            rows = database.execute("SELECT body FROM records").fetchall()
        return sorted(
            (_record(body) for (body,) in rows), key=lambda record: (record.rule, record.path, record.identity)
        )

    def save(self, records: Iterable[MirrorRecord]) -> None:
        """Write some records over what they were. Raises MirrorRecordsError and StorageFullError."""
        rows = [(record.identity, record.rule, _body(record)) for record in records]
        if not rows:
            return
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", rows)

    def drop(self, record: MirrorRecord) -> None:
        """Take one record away; its copy stays, where there is one."""
        with self._open() as database:
            database.execute("DELETE FROM records WHERE rule = ? AND identity = ?", (record.rule, record.identity))

    def forget(self, rule: str) -> None:
        """Take a rule's records away; the copies stay."""
        with self._open() as database:
            database.execute("DELETE FROM records WHERE rule = ?", (rule,))
            database.execute("DELETE FROM etags WHERE rule = ?", (rule,))

    def etags(self, rule: str) -> Mapping[str, str]:
        """Return what a source gave for asking again."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            return dict(database.execute("SELECT name, value FROM etags WHERE rule = ?", (rule,)).fetchall())

    def save_etags(self, rule: str, etags: Mapping[str, str]) -> None:
        """Keep what a source gave for asking again, instead of what was kept."""
        if etags == self.etags(rule):
            return
        with self._open() as database:
            database.execute("DELETE FROM etags WHERE rule = ?", (rule,))
            database.executemany("INSERT INTO etags VALUES (?, ?, ?)", [(rule, *pair) for pair in etags.items()])

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction."""
        database = self._kept or self._connect()
        try:
            with database:
                yield database
        except (sqlite3.Error, OSError) as exc:
            raise self._fault(exc) from exc
        finally:
            if database is not self._kept:
                database.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            with contextlib.ExitStack() as undo:
                database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
                undo.callback(database.close)
                self._prepare(database)
                undo.pop_all()
        except (sqlite3.Error, OSError) as exc:
            raise self._fault(exc) from exc
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        (schema,) = database.execute("PRAGMA user_version").fetchone()
        if schema > _SCHEMA:
            raise MirrorRecordsError(
                f"{self.path.name} was written by a newer AutoGit (schema {schema}, this one knows {_SCHEMA})",
                hint="upgrade AutoGit",
            )
        if schema < _SCHEMA:
            database.executescript(_CREATE)
            database.execute(f"PRAGMA user_version = {_SCHEMA}")

    def _fault(self, exc: Exception) -> MirrorRecordsError | StorageFullError:
        said = str(exc).lower()
        if "disk is full" in said or "no space left" in said:
            return StorageFullError(f"{self.path.name} cannot be written: the disk is full", hint="make room")
        return MirrorRecordsError(
            f"{self.path.name} cannot be used: {exc}", hint="move the file away: the next sync proves every copy anew"
        )


def _body(record: MirrorRecord) -> str:
    return json.dumps(_plain(record), default=_plain)


def _plain(value: Any) -> Any:
    """Return a moment as text, and a record's or a proof's fields by name."""
    if isinstance(value, datetime):
        return value.isoformat()
    return {one.name: getattr(value, one.name) for one in fields(value)}


def _record(body: str) -> MirrorRecord:
    """Read a row; one of an earlier AutoGit has no target, and its proof is a list."""
    values: dict[str, Any] = json.loads(body)
    for name in ("checked_at", "gone_since", "not_before"):
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    if target := values.get("target"):
        known = {**target, "proof": _proof(target["proof"]), "differences": tuple(target["differences"])}
        values["target"] = TargetRecord(**known)
    return MirrorRecord(**{**values, "proof": _proof(values["proof"]), "differences": tuple(values["differences"])})


def _proof(kept: Mapping[str, Any] | list[Any] | None) -> Proof | None:
    if not kept:
        return None
    at, *rest = kept.values() if isinstance(kept, Mapping) else kept
    return Proof(datetime.fromisoformat(at), *rest)
