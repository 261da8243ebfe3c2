"""Rows of the quarantine's database: from what a caller tells to a row, and from a row to a record."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from autogit.model.analysis import FindingView
from autogit.model.quarantine import (
    MOST_FINDINGS,
    RECORD_ID,
    QuarantineQuery,
    QuarantineRecord,
    QuarantineStatus,
)
from autogit.model.security import DEFAULT_SOURCE

_LONGEST_WORD = 200
_MOST_PATTERNS = 200


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is told of a text when it is added."""

    source: str
    service: str
    request_id: str
    risk_score: float
    verdict: str
    patterns: str
    findings: str
    sanitized_text: str


class Fresh(NamedTuple):
    """A text that is not there yet: its size, its digests with and without its source, and its sealed form."""

    size_bytes: int
    digest: bytes
    text_digest: bytes
    sealed: bytes


class Gone(NamedTuple):
    """A record that was dropped, what was decided on it, and why it had to go."""

    id: str
    status: str
    why: str


def evidence_of(metadata: Mapping[str, Any]) -> Evidence:
    """Return what metadata says, whatever is missing in it; words from outside are cut, and can't break the database.

    Raises ValueError where a finding is none.
    """
    findings = [FindingView.model_validate(one) for one in metadata.get("findings") or ()]
    patterns = [_word(one) for one in metadata.get("detected_patterns") or ()]
    return Evidence(
        source=_word(metadata.get("source")) or DEFAULT_SOURCE,
        service=_word(metadata.get("service")),
        request_id=_word(metadata.get("request_id")),
        risk_score=float(metadata.get("risk_score") or 0.0),
        verdict=_word(metadata.get("verdict")),
        patterns=json.dumps(patterns[:_MOST_PATTERNS]),
        findings=json.dumps([one.model_dump(mode="json") for one in findings[:MOST_FINDINGS]]),
        sanitized_text=str(metadata.get("sanitized_text") or ""),
    )


def stamp(moment: datetime) -> str:
    """Return a moment (UTC) as the database and the records have it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(record_id: str) -> tuple[str, int] | None:
    """Return day and number of a record's id, nothing where it is none."""
    match = RECORD_ID.fullmatch(record_id)
    return (match[1], int(match[2])) if match else None


def id_of(day: str, number: int) -> str:
    """Return the id of a record: `q-YYYYMMDD-NNN`."""
    return f"q-{day}-{number:03d}"


def where(query: QuarantineQuery) -> tuple[str, Sequence[str]]:
    """Return the condition of a query and its values."""
    asked = (
        ("status = ?", str(query.status or "")),
        ("source = ?", query.source),
        ("last_seen >= ?", query.since),
        ("last_seen < ?", query.before),
    )
    given = [(condition, value) for condition, value in asked if value]
    return (f"WHERE {' AND '.join(c for c, _ in given)}" if given else ""), [value for _, value in given]


def records_in(cursor: sqlite3.Cursor) -> Iterator[QuarantineRecord]:
    """Yield the records of a `SELECT *`."""
    names = [column[0] for column in cursor.description]
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        yield QuarantineRecord(
            id=id_of(row["day"], row["number"]),
            detected_patterns=tuple(json.loads(row["patterns"])),
            findings=tuple(json.loads(row["findings"])),
            analysis_status=QuarantineStatus(row["status"]),
            **{name: row[name] for name in _SAME_NAMES},
        )


_SAME_NAMES = (
    "timestamp", "last_seen", "count", "source", "service", "request_id", "risk_score", "verdict", "size_bytes",
    "decided_at", "reason",
)  # fmt: skip


def count_again(connection: sqlite3.Connection, digest: bytes, evidence: Evidence, now: str) -> str:
    """Count a text that is there already, and return its id; "" where it is not."""
    row = connection.execute(
        "UPDATE records SET count = count + 1, last_seen = max(last_seen, ?), request_id = ?"
        " WHERE digest = ? RETURNING day, number",
        (now, evidence.request_id, digest),
    ).fetchall()
    return id_of(*row[0]) if row else ""


def insert(connection: sqlite3.Connection, evidence: Evidence, fresh: Fresh, now: datetime) -> str:
    """Write a new record under the next number of the day, and return its id."""
    day = now.strftime("%Y%m%d")
    (number,) = connection.execute(
        "INSERT INTO days VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last", (day,)
    ).fetchall()[0]
    row = {
        "day": day, "number": number, "timestamp": stamp(now), "last_seen": stamp(now), "source": evidence.source,
        "service": evidence.service, "request_id": evidence.request_id, "risk_score": evidence.risk_score,
        "verdict": evidence.verdict, "patterns": evidence.patterns, "findings": evidence.findings, **fresh._asdict(),
    }  # fmt: skip
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO records ({', '.join(row)}) VALUES ({marks})", row)  # noqa: S608 - names from above
    return id_of(day, number)


def drop_expired(connection: sqlite3.Connection, before: str) -> Sequence[Gone]:
    """Delete what was last seen before a moment."""
    rows = connection.execute(
        "DELETE FROM records WHERE last_seen < ? RETURNING day, number, status", (before,)
    ).fetchall()
    return [Gone(id_of(day, number), status, "age") for day, number, status in rows]


def drop_oldest_decided(connection: sqlite3.Connection) -> Gone | None:
    """Delete what can be missed most easily: the oldest rejected text, else the oldest released one."""
    for status in (QuarantineStatus.REJECTED, QuarantineStatus.RELEASED):
        rows = connection.execute(
            "DELETE FROM records WHERE rowid ="
            " (SELECT rowid FROM records WHERE status = ? ORDER BY last_seen, day, number LIMIT 1)"
            " RETURNING day, number",
            (status,),
        ).fetchall()
        if rows:
            return Gone(id_of(*rows[0]), status, "room")
    return None


def _word(value: object) -> str:
    text = "" if value is None else str(value)
    return text[:_LONGEST_WORD].encode("utf-8", "replace").decode()
