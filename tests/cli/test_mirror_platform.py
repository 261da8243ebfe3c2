"""Mirrors as a part of the platform: in plan, status, doctor and schedule, and as a timer's job."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from autogit.cli.plan_text import mirror_lines
from autogit.model.mirror import MirrorRecord, Proof
from autogit.model.views import MirrorSummaryView, MirrorTroubleView
from autogit.operations.project import project_paths
from autogit.providers.host.mirror_records import MirrorRecords
from tests.providers.git.conftest import Upstream

NOW = datetime.now(UTC)


@pytest.fixture
def project(autogit, env):
    env("RUNTIME=embedded\nSERVICES_ENABLED=api\nSIZE=minimal\n")
    return autogit


@pytest.fixture
def forge(tmp_path):
    """A folder of two bare repositories."""
    for name in ("one", "two"):
        upstream = Upstream(tmp_path / "forge" / f"{name}.git")
        upstream.ref("refs/heads/main", upstream.commit(f"first of {name}"))
    return tmp_path / "forge"


def _findings(project, *checks):
    """What doctor finds: (level, message) of these checks, with the way out of what is not well."""
    found = project("doctor", "--format", "json").json()["findings"]
    return [(one["level"], one["message"], one["fix"]) for one in found if one["check"] in checks]


def _said(project, *checks):
    return " | ".join(f"{level}: {message}" for level, message, _ in _findings(project, *checks))


def _summary(project):
    return project("status", "--format", "json").json()["mirrors"]


def _records(project, *records):
    MirrorRecords(project_paths(project.root).mirrors / "records.sqlite").save(records)


def _record(number, age, **more):
    name = f"r{number}"
    proof = Proof(NOW - timedelta(seconds=age), 3, "d")
    return replace(
        MirrorRecord(
            f"github:{number}", "yours", f"you/{name}", "https://github.com/x", f"yours/{name}.git", proof=proof
        ),
        **more,
    )


def test_a_project_without_mirrors_hears_nothing_of_them(project):
    assert _summary(project) is None
    assert "MIRRORS" not in project("status").out
    assert _findings(project, "mirrors", "git", "git-lfs", "mirrors' disk") == []
    (project.root / "mirrors.yml").write_text("mirrors: []\n")
    assert _summary(project) is None
    assert _findings(project, "mirrors", "git", "git-lfs", "mirrors' disk") == []


def test_from_declared_to_proven(project, forge):
    assert project("mirror", "add", str(forge), "--name", "here", "--bare").code == 0
    assert "mirror/" not in project("plan").out, "what the command declared is in force"
    assert "MIRRORS     nothing known yet; never synced" in project("status").out
    assert "warning: no sync of all mirrors has come to its end yet" in _said(project, "mirrors")
    done = project("mirror", "sync", "--due")
    assert done.code == 0, done.err
    summary = _summary(project)
    assert (summary["declared"], summary["repositories"], summary["counts"]["ok"]) == (1, 2, 2)
    assert summary["troubles"] == summary["problems"] == []
    assert "MIRRORS     2 fresh; last sync" in project("status").out
    assert "ok: 2 repositories are proven fresh | ok: autogit mirror sync is at work" in _said(project, "mirrors")
    assert "ok: git " in _said(project, "git")


def test_a_copy_that_is_lost_at_its_source_is_named_by_doctor_and_status(project, forge):
    project("mirror", "add", str(forge), "--name", "here", "--bare")
    project("mirror", "sync")
    shutil.rmtree(forge / "two.git")
    project("mirror", "sync")
    (trouble,) = _summary(project)["troubles"]
    assert (trouble["mirror"], trouble["repository"], trouble["state"]) == ("here", "two", "gone")
    assert "1 fresh, 1 gone; last sync" in project("status").out
    assert ("warning", "1 gone: here/two", "autogit mirror status says why") in _findings(project, "mirrors")


def test_stale_ones_are_named_with_the_age_of_their_proof_and_the_reason(project):
    (project.root / "mirrors.yml").write_text("mirrors:\n- {name: yours, kind: github, owner: you}\n")
    stale = _record(2, 26 * 3600 + 5, error="upstream 429", error_code="rate-limited", failures=3)
    _records(project, _record(1, 60), stale, _record(3, 60, gone_since=NOW))
    said = project("status").out
    assert "MIRRORS     1 fresh, 1 stale (yours/you/r2, 26 h: upstream 429), 1 gone; never synced" in said
    assert "1 stale: yours/you/r2" in _said(project, "mirrors")


def test_a_source_that_cannot_be_asked_is_told_until_it_can(project, forge):
    project("mirror", "add", str(forge), "--name", "here", "--bare")
    project("mirror", "add", str(forge / "one.git"), "--name", "one", "--bare")
    forge.rename(forge.with_name("away"))
    assert project("mirror", "sync").code == 1
    problems = _summary(project)["problems"]
    assert {text.partition(":")[0] for text in problems} == {"here", "one"}
    assert "! mirrors: here: " in project("status").out
    assert "warning: here: " in _said(project, "mirrors")
    forge.with_name("away").rename(forge)
    project("mirror", "sync", "here")
    assert {text.partition(":")[0] for text in _summary(project)["problems"]} == {"one"}, "only here was asked"


def test_doctor_names_what_mirrors_lack(project, monkeypatch, tmp_path):
    rule = "{name: yours, kind: github, owner: you, credential: GITHUB_TOKEN, min_free_mb: 999999999}"
    (project.root / "mirrors.yml").write_text(f"mirrors:\n- {rule}\n")
    only_git = tmp_path / "bin"
    only_git.mkdir()
    (only_git / "git").symlink_to(shutil.which("git"))
    monkeypatch.setenv("PATH", str(only_git))
    found = _findings(project, "mirrors", "git-lfs", "mirrors' disk")
    assert ("error", "there is no secret GITHUB_TOKEN, which yours names", "autogit secrets set GITHUB_TOKEN") in found
    assert [level for level, message, _ in found if "min_free_mb" in message] == ["error"]
    assert [level for level, message, _ in found if "there is no git-lfs" in message] == ["warning"]
    assert [fix for _, message, fix in found if "not recorded" in message] == ["autogit plan shows it; autogit up"]
    assert project("doctor").code == 1


def test_doctor_says_that_git_is_too_old(project, monkeypatch, tmp_path):
    (project.root / "mirrors.yml").write_text("mirrors:\n- {name: yours, kind: github, owner: you}\n")
    (tmp_path / "bin").mkdir()
    git = tmp_path / "bin" / "git"
    git.write_text("#!/bin/sh\necho git version 2.25.1\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    ((level, message, fix),) = _findings(project, "git")
    assert (level, "2.25" in message, "update git" in fix) == ("error", True, True)


def test_a_file_with_faults_is_an_error_of_doctor_and_no_end_of_status(project):
    (project.root / "mirrors.yml").write_text("mirrors:\n- {name: yours, kind: nowhere, owner: you}\n")
    assert "error: mirrors.yml line 2: kind" in _said(project, "mirrors")
    assert "mirrors.yml line 2: kind" in _summary(project)["problems"][0]


def test_records_that_cannot_be_read_are_an_error_of_doctor_and_no_end_of_status(project):
    (project.root / "mirrors.yml").write_text("mirrors:\n- {name: yours, kind: github, owner: you}\n")
    _records(project, _record(1, 60))
    (project.root / ".autogit" / "mirrors" / "records.sqlite").write_bytes(b"not what it was" * 100)
    assert "records.sqlite cannot be used" in _summary(project)["problems"][0]
    assert "error: records.sqlite cannot be used" in _said(project, "mirrors")


def test_a_timer_that_meets_another_sync_leaves_it_to_that_one(project, forge):
    project("mirror", "add", str(forge), "--name", "here", "--bare")
    project("mirror", "sync")
    last = _summary(project)["synced_at"]
    beat = project.root / ".autogit" / "heartbeats" / "mirror-sync.json"
    with open(project.root / ".autogit" / "mirrors" / "sync.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert project("mirror", "sync").code == 5
        assert json.loads(beat.read_text())["result"] == "ok", "a person's try is no job that failed"
        assert project("mirror", "sync", "--due").code == 0
        assert "ok: a sync is at work (pid " in _said(project, "mirrors")
    assert json.loads(beat.read_text())["result"] == "another sync is at work"
    assert _summary(project)["synced_at"] == last
    assert "ok: autogit mirror sync is at work" in _said(project, "mirrors")


def test_a_sync_that_fails_is_told_by_doctor(project, forge):
    project("mirror", "add", str(forge), "--name", "here", "--bare")
    (project.root / "mirrors.yml").write_text("mirrors: {}\n")
    assert project("mirror", "sync", "--due").code == 2
    (project.root / "mirrors.yml").write_text(f"mirrors:\n- {{name: here, kind: path, owner: {forge}}}\n")
    assert "warning: autogit mirror sync failed when it ran last" in _said(project, "mirrors")


def test_one_line_names_three_and_no_more_and_nothing_steers_the_terminal():
    troubles = [
        MirrorTroubleView(mirror="m", repository=f"r{n}\x1b[2J", state="stale", lag_seconds=9e5) for n in range(5)
    ]
    counts = {"ok": 0, "stale": 5, "new": 2}
    view = MirrorSummaryView(declared=1, repositories=7, counts=counts, troubles=tuple(troubles), synced_seconds=90)
    (line,) = mirror_lines(view)
    assert "\x1b" not in line
    assert line.count("10 d") == 3
    assert line.endswith("; ...), 2 not proven yet; last sync 1 min ago")
