"""What is known of mirrors: kept through another process's eyes, refused where it is not ours to read."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autogit.errors import MirrorRecordsError
from autogit.model.mirror import MirrorRecord, Proof, TargetRecord
from autogit.providers.host.mirror_records import MirrorRecords

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ONE = MirrorRecord("github:1", "you", "app", "https://x.org/app.git", "you/app.git")
WHOLE = replace(
    ONE,
    identity="github:2",
    path="zoo",
    proof=Proof(NOW, 3, "digest", 2),
    checked_at=NOW,
    error="it is gone",
    differences=("refs/heads/main: missing",),
    gone_since=NOW,
    target=TargetRecord(7, "mirrors/zoo", Proof(NOW, 3, "digest", 2), "meta", differences=("refs/x is missing",)),
)


@pytest.fixture
def records(tmp_path):
    return MirrorRecords(tmp_path / "mirrors" / "records.sqlite")


def test_what_was_saved_is_read_back_by_another(records):
    records.save([WHOLE, ONE])
    assert MirrorRecords(records.path).load() == [ONE, WHOLE]
    records.save([replace(ONE, failures=2)])
    assert [one.failures for one in records.load()] == [2, 0]
    assert stat.S_IMODE(records.path.stat().st_mode) == 0o600


def test_a_row_of_an_earlier_autogit_has_no_target_and_its_proof_is_a_list(records):
    records.save([WHOLE])
    with contextlib.closing(sqlite3.connect(records.path)) as database, database:
        (text,) = database.execute("SELECT body FROM records").fetchone()
        row = json.loads(text)
        del row["target"]
        row["proof"] = list(row["proof"].values())
        database.execute("UPDATE records SET body = ?", (json.dumps(row),))
    assert MirrorRecords(records.path).load() == [replace(WHOLE, target=None)]


def test_a_rule_is_forgotten_with_what_its_source_gave(records):
    records.save([ONE, replace(WHOLE, rule="other")])
    records.save_etags("you", {"page": "W/1"})
    records.save_etags("other", {"page": "W/2"})
    records.forget("you")
    assert [one.rule for one in records.load()] == ["other"]
    assert (records.etags("you"), records.etags("other")) == ({}, {"page": "W/2"})


def test_nothing_is_known_where_nothing_was_saved(records):
    assert (records.load(), records.etags("you")) == ([], {})
    assert not records.path.exists()


def test_a_file_of_a_newer_autogit_or_of_something_else_is_left_alone(records):
    records.save([ONE])
    with sqlite3.connect(records.path) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(MirrorRecordsError, match="newer AutoGit"):
        records.load()
    records.path.write_text("no database at all, and long enough to be looked at by its first page\n" * 40)
    with pytest.raises(MirrorRecordsError, match="cannot be used"):
        records.save([ONE])
