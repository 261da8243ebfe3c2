"""The quarantine: suspicious texts, sealed, each once, until somebody decides on them or their time is over."""

from __future__ import annotations

import contextlib
import hmac
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from autogit.errors import AutogitError, QuarantineDamagedError, QuarantineError, QuarantineFullError, UsageError
from autogit.model.quarantine import (
    QuarantineLimits,
    QuarantineQuery,
    QuarantineRecord,
    QuarantineSize,
    QuarantineStatus,
)
from autogit.security.quarantine_audit import Audit, audit_to
from autogit.security.quarantine_database import DAMAGED_HINT, QuarantineDatabase, used_bytes
from autogit.security.quarantine_rows import (
    Evidence,
    Fresh,
    Gone,
    count_again,
    drop_expired,
    drop_oldest_decided,
    evidence_of,
    insert,
    key_of,
    records_in,
    stamp,
    where,
)
from autogit.security.quarantine_sealing import Opener, Texts, encoded, load_recipient, seal, unseal

DATABASE_FILE = "quarantine.db"
AUDIT_FILE = "audit.jsonl"
COMMAND = "quarantine"

_DEFAULT_LIMITS, _ALL = QuarantineLimits(), QuarantineQuery()
_OVERHEAD_BYTES = 16 << 10
"""Room for what a record needs besides its sealed text: its row, three indexes, pages that are not full."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class QuarantineStore:
    """Keeps suspicious texts in a folder: `quarantine.db`, and the public key `recipient`.

    Whoever adds needs no secret; `opener` is needed by `texts` only. Threads may share a store, processes make one
    each. A text that comes again from the same source is counted, not kept twice. What was not seen for `limits.days`
    is dropped when the next text comes. Where room is needed, what was decided on goes, rejected before released and
    the oldest first; pending texts never do. What goes is audited, where nothing else is said in `audit.jsonl` beside
    the database. Methods raise QuarantineError and StorageFullError.
    """

    def __init__(
        self,
        folder: Path,
        limits: QuarantineLimits = _DEFAULT_LIMITS,
        *,
        audit: Audit | None = None,
        opener: Opener | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self._audit = audit or audit_to(folder / AUDIT_FILE)
        self._opener = opener
        self._clock = clock
        self._database = QuarantineDatabase(folder / DATABASE_FILE)
        self._key = b""

    @property
    def exists(self) -> bool:
        """Whether anything was ever kept. Raises StorageFullError where that may not be known."""
        return self._database.exists

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        self._database.close()

    def add(self, fragment: str, metadata: Mapping[str, object]) -> str:
        """Keep a text and return its id; when this returns, the text is on the disk.

        `metadata` is what `quarantine_metadata` returns. Raises QuarantineFullError where only pending texts could make
        room: the caller decides what becomes of the text.
        """
        evidence, text, now = evidence_of(metadata), encoded(fragment), self._clock()
        digest = self._digest(f"{len(evidence.source)}:{evidence.source}".encode() + text)
        sealed = b"" if self._knows(digest) else self._seal(fragment, evidence)  # takes long: not while others wait
        with self._database.transaction() as connection:
            if found := count_again(connection, digest, evidence, stamp(now)):
                return found
            fresh = Fresh(len(text), digest, self._digest(text), sealed or self._seal(fragment, evidence))
            gone = [*drop_expired(connection, stamp(now - timedelta(days=self.limits.days)))]
            gone += self._make_room(connection, len(fresh.sealed) + _OVERHEAD_BYTES)
            added = insert(connection, evidence, fresh, now)
            self._audit_gone(now, gone)
            return added

    def is_released(self, text: str) -> bool:
        """Tell whether the last decision on this very text was to release it, whatever source it came from."""
        if not self.exists:
            return False
        digest = self._digest(encoded(text))
        with self._database.reading() as connection:
            decided = connection.execute(
                "SELECT status, last_seen FROM records WHERE text_digest = ? AND status != 'pending'"
                " ORDER BY decided_at DESC, status LIMIT 1",
                (digest,),
            ).fetchone()
        if decided is None or decided[0] != QuarantineStatus.RELEASED:
            return False
        if decided[1][:10] < stamp(self._clock())[:10]:
            self._keep_alive(digest)
        return True

    def find(self, record_id: str) -> QuarantineRecord | None:
        """Return a record, or nothing."""
        key = key_of(record_id)
        if key is None or not self.exists:
            return None
        with self._database.reading() as connection:
            found = connection.execute("SELECT * FROM records WHERE day = ? AND number = ?", key)
            return next(records_in(found), None)

    def records(self, query: QuarantineQuery = _ALL) -> Sequence[QuarantineRecord]:
        """Return records, those that were seen last first."""
        if not self.exists:
            return ()
        condition, values = where(query)
        order = f"ORDER BY last_seen DESC, day DESC, number DESC {f'LIMIT {query.limit:d}' if query.limit else ''}"
        with self._database.reading() as connection:
            found = connection.execute(f"SELECT * FROM records {condition} {order}", values)  # noqa: S608 - fixed words
            return tuple(records_in(found))

    def count(self, query: QuarantineQuery = _ALL) -> int:
        """Return how many records are meant, whatever the limit."""
        if not self.exists:
            return 0
        condition, values = where(query)
        with self._database.reading() as connection:
            counted = connection.execute(f"SELECT count(*) FROM records {condition}", values)  # noqa: S608 - fixed words
            return int(counted.fetchone()[0])

    def size(self) -> QuarantineSize:
        """Return how full the quarantine is."""
        counts = dict.fromkeys(QuarantineStatus, 0)
        if not self.exists:
            return QuarantineSize(counts, 0, self.limits.max_bytes)
        with self._database.reading() as connection:
            rows = connection.execute("SELECT status, count(*) FROM records GROUP BY status").fetchall()
            used = used_bytes(connection)
        return QuarantineSize(counts | {QuarantineStatus(s): n for s, n in rows}, used, self.limits.max_bytes)

    def texts(self, record_id: str) -> Texts:
        """Return the texts of a record. Raises UsageError where there is none, and what the opener raises."""
        if self._opener is None:
            raise QuarantineError("quarantined texts are sealed, and there is no identity here to open them with")
        row, key = None, key_of(record_id)
        if key and self.exists:
            with self._database.reading() as connection:
                row = connection.execute("SELECT sealed FROM records WHERE day = ? AND number = ?", key).fetchone()
        if row is None:
            raise _missing(record_id)
        return unseal(row[0], self._opener)

    def decide(self, record_id: str, status: QuarantineStatus, reason: str, by: str = "") -> QuarantineRecord:
        """Set what was decided on a text, audit it, and return the record. Raises UsageError where there is none."""
        if not self.exists:
            raise _missing(record_id)
        now = self._clock()
        with self._database.transaction() as connection:
            record = self.find(record_id)
            if record is None:
                raise _missing(record_id)
            connection.execute(
                "UPDATE records SET status = ?, reason = ?, decided_at = ? WHERE day = ? AND number = ?",
                (status, reason, stamp(now), *(key_of(record_id) or ())),
            )
            was = str(record.analysis_status)
            self._audit(now, COMMAND, {"id": record_id, "action": str(status), "was": was, "reason": reason, "by": by})
        return record.model_copy(update={"analysis_status": status, "reason": reason, "decided_at": stamp(now)})

    def delete(self, ids: Iterable[str], by: str = "") -> Sequence[str]:
        """Delete these records, audit each, and return the ids of those that were there."""
        if not self.exists:
            return ()
        gone = []
        with self._database.transaction() as connection:
            for record_id in ids:
                statement = "DELETE FROM records WHERE day = ? AND number = ? RETURNING status"
                rows = connection.execute(statement, key_of(record_id) or ("", 0)).fetchall()
                gone += [Gone(record_id, status, "purge") for (status,) in rows]
            self._audit_gone(self._clock(), gone, by)
        self._database.shrink()
        return tuple(one.id for one in gone)

    def _digest(self, data: bytes) -> bytes:
        if not self._key:
            with self._database.reading() as connection:
                row = connection.execute("SELECT value FROM meta WHERE name = 'digest_key'").fetchone()
            self._key = bytes(row[0]) if row else b""
            if not self._key:
                raise QuarantineDamagedError(f"{self._database.path} lacks its key", hint=DAMAGED_HINT)
        return hmac.digest(self._key, data, "sha256")

    def _knows(self, digest: bytes) -> bool:
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM records WHERE digest = ?", (digest,)).fetchone() is not None

    def _seal(self, fragment: str, evidence: Evidence) -> bytes:
        return seal(Texts(fragment, evidence.sanitized_text), load_recipient(self.folder))

    def _make_room(self, connection: sqlite3.Connection, needed: int) -> Iterable[Gone]:
        """Drop what was decided on until there is room. Raises QuarantineFullError; the transaction brings all back."""
        gone = []
        while used_bytes(connection) + needed > self.limits.max_bytes:
            dropped = drop_oldest_decided(connection)
            if dropped is None:
                raise QuarantineFullError(
                    f"the quarantine has no room for {needed >> 10} KB more: {self.limits.max_bytes >> 20} MB are "
                    "taken, and nothing in it was decided on",
                    hint="autogit quarantine list --status pending shows what waits; or raise QUARANTINE_MAX_MB",
                )
            gone.append(dropped)
        return gone

    def _audit_gone(self, now: datetime, gone: Iterable[Gone], by: str = "") -> None:
        # Before the commit: an audit log that cannot be written stops the deletion.
        for one in gone:
            row = {"id": one.id, "action": "deleted", "was": one.status, "reason": one.why}
            self._audit(now, COMMAND, row | ({"by": by} if by else {}))

    def _keep_alive(self, digest: bytes) -> None:
        """Note once a day that a released text still comes, so that its release does not end while it is needed."""
        with contextlib.suppress(AutogitError), self._database.transaction() as connection:
            connection.execute(
                "UPDATE records SET last_seen = ? WHERE text_digest = ? AND status = 'released'",
                (stamp(self._clock()), digest),
            )


def _missing(record_id: str) -> UsageError:
    return UsageError(f"the quarantine holds no {record_id}", hint="autogit quarantine list")
