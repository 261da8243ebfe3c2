"""Mirrors in the one plan: what mirrors.yml declares is shown, recorded and forgotten, whoever edits it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autogit.core.lock import apply_lock
from autogit.errors import ApplyLockHeldError, AutogitError, SettingsError, UnsafePlanError, UsageError
from autogit.model.mirror import MirrorRecord
from autogit.model.resource import Address
from autogit.operations import mirror, mirror_declare, platform
from autogit.operations.mirror_wiring import has_mirrors, is_recorded
from autogit.operations.platform import UpRequest
from autogit.operations.project import open_project, project_paths

ONLY_MIRRORS = UpRequest(kinds=frozenset({"mirror"}), command="up")
YOURS = "mirrors:\n- {name: yours, kind: github, owner: you, credential: GITHUB_TOKEN}\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", str(tmp_path / "identity.txt"))
    root = tmp_path / "project"
    root.mkdir()
    (root / ".env").write_text("RUNTIME=embedded\nSERVICES_ENABLED=api\nSIZE=minimal\n")
    return root


def opened(root):
    project = open_project(project_paths(root))
    return replace(project, context=replace(project.context, clock=lambda: datetime(2026, 11, 28, 4, 0, tzinfo=UTC)))


def lines(root):
    """What `autogit plan` says of mirrors: action, reason and detail of each line."""
    view = asyncio.run(platform.plan(opened(root)))
    return {c.address: (c.action, c.reason, c.detail) for c in view.changes if c.address.startswith("mirror/")}


def apply(root, **more):
    return asyncio.run(platform.up(opened(root), replace(ONLY_MIRRORS, **more)))


def recorded(root):
    text = (root / "autogit.lock.json").read_text()
    found = json.loads(text)["resources"].items()
    return {name: entry["attributes"] for name, entry in found if name.startswith("mirror/")}


def declare(root, source, **options):
    return asyncio.run(mirror_declare.add(opened(root), source, mirror.MirrorOptions(**options)))


def test_a_declared_mirror_is_created_once_and_its_first_sync_is_named(root):
    (root / "mirrors.yml").write_text(YOURS)
    action, reason, detail = lines(root)["mirror/yours"]
    assert (action, reason) == ("create", "not there yet")
    assert detail == "github:you, every 1 h; next: autogit mirror sync yours"
    assert [one.ok for one in apply(root).applied] == [True]
    assert lines(root) == {}
    assert recorded(root)["mirror/yours"]["owner"] == "you"
    assert recorded(root)["mirror/yours"]["credential"] == "GITHUB_TOKEN", "a secret's name, never a value"
    assert is_recorded(root / "mirrors.yml", opened(root).store.load())


def test_an_edit_by_hand_names_the_field_and_putting_it_back_to_its_default_is_an_edit_too(root):
    (root / "mirrors.yml").write_text(YOURS.replace("owner: you", "owner: you, interval_seconds: 600"))
    apply(root)
    (root / "mirrors.yml").write_text(YOURS)
    action, reason, detail = lines(root)["mirror/yours"]
    assert (action, reason) == ("update", "changed: interval_seconds")
    assert "every 1 h" in detail
    assert not is_recorded(root / "mirrors.yml", opened(root).store.load())
    apply(root)
    assert lines(root) == {}


def test_a_rule_taken_out_is_forgotten_and_its_copies_stay(root):
    (root / "mirrors.yml").write_text(YOURS)
    apply(root)
    project = opened(root)
    record = MirrorRecord("github:1", "yours", "you/one", "https://github.com/you/one", "yours/you/one.git")
    mirror.open_records(project).save([record, replace(record, rule="other")])
    copy = project.paths.mirrors / record.folder
    copy.mkdir(parents=True)
    (root / "mirrors.yml").unlink()
    assert lines(root) == {"mirror/yours": ("delete", "no longer wanted", "forgotten, its copies stay")}
    apply(root)
    assert (lines(root), recorded(root)) == ({}, {})
    assert [one.rule for one in mirror.open_records(project).load()] == ["other"]
    assert copy.is_dir()


def test_a_lost_mirrors_yml_does_not_make_up_forget_everything_without_being_named(root):
    names = [f"m{number}" for number in range(5)]
    rows = "".join(f"- {{name: {name}, kind: github, owner: you}}\n" for name in names)
    (root / "mirrors.yml").write_text("mirrors:\n" + rows)
    apply(root)
    (root / "mirrors.yml").unlink()
    with pytest.raises(UnsafePlanError):
        apply(root)
    apply(root, allow_delete=frozenset(Address("mirror", name) for name in names))
    assert recorded(root) == {}


def test_what_the_commands_declare_and_remove_is_recorded_at_once(root, tmp_path):
    declare(root, str(tmp_path), name="here")
    assert lines(root) == {}
    assert recorded(root)["mirror/here"]["kind"] == "path"
    asyncio.run(mirror_declare.remove(opened(root), "here"))
    assert (lines(root), recorded(root)) == ({}, {})


def test_a_command_records_its_own_mirror_and_leaves_edits_by_hand_to_up(root, tmp_path):
    (root / "mirrors.yml").write_text(YOURS)
    declare(root, str(tmp_path), name="here")
    assert set(recorded(root)) == {"mirror/here"}
    assert set(lines(root)) == {"mirror/yours"}


def test_while_another_command_changes_the_project_nothing_is_declared(root, tmp_path):
    async def work():
        project = opened(root)
        async with apply_lock(project.paths.apply_lock, "up"):
            await mirror_declare.add(project, str(tmp_path), mirror.MirrorOptions(name="here"))

    with pytest.raises(ApplyLockHeldError):
        asyncio.run(work())
    assert not (root / "mirrors.yml").exists()


def test_a_damaged_lockfile_is_found_before_anything_is_declared(root, tmp_path):
    (root / "autogit.lock.json").write_text("{")
    with pytest.raises(AutogitError) as caught:
        declare(root, str(tmp_path), name="here")
    assert caught.value.code == "lockfile-corrupt"
    assert not (root / "mirrors.yml").exists()


@pytest.mark.parametrize("address", ["https://me:canary-4711@git.example.org/x.git", "http://canary-4711@host/x.git"])
def test_a_secret_in_an_address_reaches_neither_plan_nor_lockfile(root, address):
    with pytest.raises(UsageError) as told:
        declare(root, address)
    assert "canary" not in str(told.value)
    assert not (root / "mirrors.yml").exists()
    (root / "mirrors.yml").write_text(f"mirrors:\n- {{name: leaky, kind: git, owner: '{address}'}}\n")
    with pytest.raises(SettingsError) as caught:
        apply(root)
    (fault,) = caught.value.faults
    assert (fault.place, fault.subject) == ("mirrors.yml", "leaky")
    assert "canary" not in str(fault)
    assert not (root / "autogit.lock.json").exists()


@pytest.mark.parametrize("owner", ["git@git.example.org:x/y.git", "ssh://git@git.example.org/x/y.git"])
def test_the_user_of_ssh_is_no_secret(root, owner):
    (root / "mirrors.yml").write_text(f"mirrors:\n- {{name: plain, kind: git, owner: '{owner}'}}\n")
    assert set(lines(root)) == {"mirror/plain"}


def test_an_entry_of_an_earlier_version_has_what_new_fields_mean_by_default(root):
    (root / "mirrors.yml").write_text(YOURS)
    apply(root)
    project = opened(root)
    lockfile = project.store.load()
    (address,) = [one for one in lockfile.entries if one.kind == "mirror"]
    entry = lockfile.entries[address]
    old = {name: value for name, value in entry.attributes.items() if name != "min_free_mb"}
    project.store.save(replace(lockfile, entries={address: replace(entry, attributes=old)}))
    assert lines(root) == {}


def test_a_file_that_cannot_be_read_stops_the_plan_and_says_where(root):
    (root / "mirrors.yml").write_bytes(b"mirrors: \xff\n")
    with pytest.raises(SettingsError) as caught:
        lines(root)
    assert caught.value.faults[0].place == "mirrors.yml"
    assert has_mirrors(root / "mirrors.yml"), "what cannot be read may declare some"


def test_no_mirrors_leave_the_plan_as_it_was(root):
    project = opened(root)
    kinds = {kind for provider in project.engine.providers for kind in provider.kinds}
    assert "mirror" not in kinds
    assert not has_mirrors(root / "mirrors.yml")
