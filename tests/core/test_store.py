"""The lockfile on disk: round trips, faults, and the way back from a damaged one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogit.core.store import LockfileStore, dump_lockfile, parse_lockfile
from autogit.errors import LockfileCorruptError, LockfileTooNewError
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.resource import Address, digest

SAMPLE = Lockfile(
    settings={"SIZE": "team"},
    ports={"traefik/https": 8443},
    entries={
        Address("certificate", "d.test"): LockEntry(
            Address("certificate", "d.test"), {"names": ("d.test", "*.d.test"), "version": 2}, "2026-01-01T00:00:00Z"
        ),
        Address("file", "a/b.yml"): LockEntry(
            Address("file", "a/b.yml"), {"sha256": "x"}, "", (Address("certificate", "d.test"),), "sha256:1"
        ),
    },
    last_apply={"command": "up"},
)


@pytest.fixture
def store(tmp_path):
    return LockfileStore(tmp_path / "autogit.lock.json", tmp_path / "previous.json")


def test_a_lockfile_comes_back_as_it_was_written(store):
    written = store.save(SAMPLE)
    assert store.load() == written
    assert written.serial == SAMPLE.serial + 1


def test_no_lockfile_is_an_empty_one(store):
    assert store.load() == Lockfile()


texts = st.text(max_size=8)


@given(settings=st.dictionaries(texts, texts), value=st.one_of(texts, st.integers(), st.booleans(), st.none()))
def test_any_text_survives(settings, value):
    entry = LockEntry(Address("file", "x"), {"v": value, "t": ("a", "b")})
    lockfile = Lockfile(settings=settings, entries={entry.address: entry})
    assert parse_lockfile(json.loads(dump_lockfile(lockfile))) == lockfile


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_truncated_lockfile_is_refused_and_kept(store, cut):
    store.save(SAMPLE)
    damaged = store.path.read_bytes()[:cut]
    store.path.write_bytes(damaged)
    with pytest.raises(LockfileCorruptError, match="truncated") as fault:
        store.load()
    assert "doctor --repair-lockfile" in fault.value.hint
    assert store.path.read_bytes() == damaged


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x00", b"[]", b"null", b'{"schema": "x"}', b"hello"])
def test_garbage_is_refused(store, garbage):
    store.path.write_bytes(garbage)
    with pytest.raises(LockfileCorruptError):
        store.load()


def test_a_hand_edit_is_noticed(store):
    store.save(SAMPLE)
    store.path.write_text(store.path.read_text().replace("8443", "443"))
    with pytest.raises(LockfileCorruptError, match="changed by something other than AutoGit"):
        store.load()


def test_a_well_sealed_lockfile_with_wrong_fields_is_refused(store):
    body = {"schema": 1, "resources": {"nonsense": {}}}
    store.path.write_text(json.dumps({**body, "digest": digest(body)}))
    with pytest.raises(LockfileCorruptError, match="a field is missing or wrong"):
        store.load()


def test_a_newer_schema_names_the_version_to_upgrade_to(store):
    body = {"schema": 2, "autogit": "9.1.0"}
    store.path.write_text(json.dumps({**body, "digest": digest(body)}))
    with pytest.raises(LockfileTooNewError, match="schema 2") as fault:
        store.load()
    assert "9.1.0" in fault.value.hint


def test_repair_keeps_the_damaged_file_and_goes_back_to_the_last_good_one(store):
    store.save(SAMPLE)
    store.keep_previous()
    store.path.write_text("garbage")
    aside, good = store.repair()
    assert aside.read_text() == "garbage"
    assert good.ports == SAMPLE.ports
    assert store.load() == good


def test_repair_without_a_good_one_starts_empty_and_loses_no_damaged_file(store):
    for text in ("one", "two"):
        store.path.write_text(text)
        _, lockfile = store.repair()
        assert not lockfile.entries
    assert sorted(p.read_text() for p in store.path.parent.glob("*.damaged-*")) == ["one", "two"]


def test_repair_of_a_sound_lockfile_changes_nothing(store):
    written = store.save(SAMPLE)
    assert store.repair() == (None, written)
