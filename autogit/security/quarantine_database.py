"""The quarantine's SQLite file: opening it safely, its schema, transactions, and errors as sentences."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from autogit.errors import (
    AutogitError,
    QuarantineBusyError,
    QuarantineDamagedError,
    QuarantineError,
    QuarantineTooNewError,
    StorageFullError,
)

_APPLICATION_ID = 0x61675131  # "agQ1": tells this database from any other
_SCHEMA = 1
_BUSY_SECONDS = 15
_LOCK_STEP_SECONDS = 0.02
DAMAGED_HINT = "move the file away, with its -wal and -shm; a new one is made with the next text"
_WAL_BYTES = 4 << 20

# `days` outlives the records: a number is never given twice, whatever was purged. Digests are keyed: equal texts can be
# found, and nobody without this file can try texts against them.
_CREATE = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE days (day TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
    day TEXT NOT NULL,
    number INTEGER NOT NULL,
    timestamp TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 1,
    source TEXT NOT NULL,
    service TEXT NOT NULL,
    request_id TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'released', 'rejected')),
    decided_at TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    risk_score REAL NOT NULL,
    verdict TEXT NOT NULL,
    patterns TEXT NOT NULL,
    findings TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    text_digest BLOB NOT NULL,
    sealed BLOB NOT NULL,
    UNIQUE (day, number)
);
CREATE INDEX by_text ON records (text_digest, status);
CREATE INDEX by_age ON records (status, last_seen);
CREATE INDEX by_last_seen ON records (last_seen);
"""


class QuarantineDatabase:
    """One SQLite file in WAL mode, every commit synced to the disk before it counts.

    Safe for threads (they take turns) and for processes (SQLite's locks, waited for). It is opened on first use: a
    child that is forked after that must make its own.
    """

    def __init__(self, path: Path, busy_seconds: float = _BUSY_SECONDS) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @property
    def exists(self) -> bool:
        """Whether the file is there. Raises StorageFullError where that may not be known."""
        with self._told():
            return self.path.exists()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for reading. Raises QuarantineError and StorageFullError."""
        with self._turn, self._told():
            yield self._opened()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for writing: all of it is on the disk when this ends, or nothing is.

        Raises QuarantineError and StorageFullError.
        """
        with self._turn, self._told():
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself after a full disk
                    connection.execute("ROLLBACK")
                raise

    def shrink(self) -> None:
        """Give the room of deleted records back to the file system, as far as nobody else is using the file."""
        with self._turn, contextlib.suppress(sqlite3.Error, AutogitError):
            connection = self._opened()
            connection.executescript("PRAGMA incremental_vacuum")  # execute() would free a single page
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file; it is opened again when used."""
        with self._turn:
            if self._connection is not None:
                self._check_process()
                self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            self._check_process()
            return self._connection
        with _exclusive(self.path.parent, self._busy_seconds):
            _ensure_file(self.path)
            connection = sqlite3.connect(
                self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection, self.path)
            except BaseException:
                connection.close()
                raise
        self._connection, self._process = connection, os.getpid()
        return connection

    def _check_process(self) -> None:
        # SQLite keeps locks as the process has them: in a forked child it would believe in those of its parent.
        if self._process != os.getpid():
            raise QuarantineError(
                f"{self.path} was opened before this process was forked", hint="make a store in each process"
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what SQLite and the system say into sentences."""
        try:
            yield
        except sqlite3.Error as exc:
            raise _told(exc, self.path) from exc
        except ValueError as exc:  # a row that somebody else wrote
            raise _damaged(self.path, "holds a record that cannot be read") from exc
        except OSError as exc:
            path = Path(str(exc.filename)) if exc.filename else self.path
            raise _not_writable(path, exc.strerror or "it cannot be used") from exc


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes that records take up, as the transaction sees it: what is free in the file does not count."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


@contextlib.contextmanager
def _exclusive(folder: Path, busy_seconds: float) -> Iterator[None]:
    """Hold others off while the database is made: SQLite does not wait for a lock when it switches to WAL.

    Raises QuarantineBusyError.
    """
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder, busy_seconds)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, busy_seconds: float) -> None:
    last = time.monotonic() + busy_seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:  # a stopped process may hold it for ever
            if time.monotonic() >= last:
                raise _busy(folder) from exc
            time.sleep(_LOCK_STEP_SECONDS)


def _ensure_file(path: Path) -> None:
    """Make the file with mode 0600; SQLite gives its neighbours (-wal, -shm) the mode of the file.

    One that is there must not be opened and closed here: that would drop the locks that this process has on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    application, schema = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    is_new = not application and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not is_new and application != _APPLICATION_ID:
        raise _damaged(path, "holds something else than a quarantine")
    if schema > _SCHEMA:
        raise QuarantineTooNewError(
            f"{path} was written by a newer AutoGit", hint="upgrade AutoGit; nothing was changed"
        )
    if is_new:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = FAST")  # where it costs no writing: a full disk must take a purge
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}").fetchall()
    if is_new:
        _create(connection)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _CREATE.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('digest_key', ?)", (secrets.token_bytes(32),))
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    connection.execute("COMMIT")


def _told(exc: sqlite3.Error, path: Path) -> AutogitError:
    """Return the error of AutoGit for one of SQLite's, by its primary code."""
    code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return _busy(path)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damaged(path, "is damaged")
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
        return _not_writable(path, str(exc))
    if code == sqlite3.SQLITE_ERROR and str(exc).startswith("no such"):
        return _damaged(path, "lacks a part")
    return QuarantineError(f"{path} cannot be used: {exc}", hint="autogit doctor")


def _busy(path: Path) -> QuarantineBusyError:
    return QuarantineBusyError(f"{path} was locked by other processes for too long", hint="run the command again")


def _damaged(path: Path, what: str) -> QuarantineDamagedError:
    return QuarantineDamagedError(f"{path} {what}", hint=DAMAGED_HINT)


def _not_writable(path: Path, why: str) -> StorageFullError:
    return StorageFullError(
        f"cannot write {path}: {why}", hint="free space or mend the permissions, then run the command again"
    )
