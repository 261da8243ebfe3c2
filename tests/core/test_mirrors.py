"""Mirrors decided without looking at anything: names, places, when one is due, and how it stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from autogit.core.mirrors import (
    copy_folder,
    fit_path,
    next_check,
    parse_source,
    read_rules,
    rule_name,
    standing,
    target_paths,
    write_rules,
)
from autogit.errors import SettingsError, UsageError
from autogit.model.mirror import (
    MirrorRecord,
    MirrorRule,
    MirrorState,
    Proof,
    SourceKind,
    SourceRepository,
    TargetRecord,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
RULE = MirrorRule(name="github-you", kind=SourceKind.GITHUB, owner="you")
RECORD = MirrorRecord("github:1", "github-you", "app", "https://github.com/you/app.git", "github-you/app.git")


def _proven(hours: float) -> MirrorRecord:
    return replace(RECORD, proof=Proof(NOW - timedelta(hours=hours), 3, "d"))


@pytest.mark.parametrize(
    ("text", "kind", "owner", "name"),
    [
        ("github:you", SourceKind.GITHUB, "you", "github-you"),
        ("gitlab:group/sub.team", SourceKind.GITLAB, "group/sub.team", "gitlab-group-sub-team"),
        ("forgejo:me", SourceKind.GITEA, "me", "gitea-me"),
        ("bitbucket:My_Space/", SourceKind.BITBUCKET, "My_Space", "bitbucket-my-space"),
        ("https://example.org/x/App.git", SourceKind.GIT, "https://example.org/x/App.git", "git-app"),
        ("git@example.org:x/app.git", SourceKind.GIT, "git@example.org:x/app.git", "git-app"),
        ("/srv/git/app.git", SourceKind.PATH, "/srv/git/app.git", "path-app"),
    ],
)
def test_a_source_is_known_by_how_it_is_written(text, kind, owner, name):
    assert parse_source(text) == (kind, owner)
    assert rule_name(kind, owner) == name
    MirrorRule(name=name, kind=kind, owner=owner)


@pytest.mark.parametrize(
    "text",
    ["", "app", "ext::sh -c id", "--upload-pack=id", "github:", "github:a/../b", "github:a\nb", "file:///x", "svn:x"],
)
def test_what_is_no_source_is_refused(text):
    with pytest.raises(UsageError):
        parse_source(text)


def test_rules_are_written_and_read_back():
    rules = (
        RULE,
        MirrorRule(name="own", kind=SourceKind.GIT, owner="https://x.org/a.git", exclude=("*-old",), lfs=False),
    )
    assert read_rules(write_rules(rules)) == rules
    assert read_rules("") == ()


@pytest.mark.parametrize(
    ("text", "place", "subject"),
    [
        ("mirrors: }", "mirrors.yml line 1", ""),
        ("other: []\nmirrors: []\n", "mirrors.yml line 1", "mirrors"),
        ("mirrors:\n- name: a\n  kind: svn\n  owner: x\n", "mirrors.yml line 3", "kind"),
        ("mirrors:\n- name: a\n  kind: git\n  owner: x\n  token: s3cret\n", "mirrors.yml line 5", "token"),
        ("mirrors:\n- {name: a, kind: git, owner: x}\n- {name: a, kind: git, owner: y}\n", "mirrors.yml", "a"),
    ],
)
def test_a_fault_is_told_with_its_line_and_without_its_value(text, place, subject):
    with pytest.raises(SettingsError) as raised:
        read_rules(text)
    (fault,) = raised.value.faults
    assert (fault.place, fault.subject) == (place, subject)
    assert "s3cret" not in fault.message


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("app", "github-you/app.git"),
        ("group/app", "github-you/group/app.git"),
        ("../../etc", "github-you/_/_/etc.git"),
        ("-x/.git", "github-you/x/git.git"),
        ("naïve app", "github-you/na_ve_app.git"),
    ],
)
def test_a_copy_lies_below_its_rule_whatever_the_repository_is_called(path, folder):
    assert copy_folder(RULE, SourceRepository("github:1", path, "u"), ()) == folder


def test_two_that_differ_by_case_have_two_folders():
    first = copy_folder(RULE, SourceRepository("github:1", "App", "u"), ())
    second = copy_folder(RULE, SourceRepository("github:2", "app", "u"), [first])
    assert second.casefold() != first.casefold()
    assert second.startswith("github-you/app-")


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (RECORD, MirrorState.NEW),
        (replace(RECORD, error="no"), MirrorState.FAILING),
        (_proven(1), MirrorState.OK),
        (_proven(25), MirrorState.STALE),
        (replace(_proven(1), error="no"), MirrorState.FAILING),
        (replace(_proven(25), error="no"), MirrorState.STALE),
        (replace(_proven(1), gone_since=NOW), MirrorState.GONE),
        (replace(_proven(1), moved="you/other"), MirrorState.MOVED),
    ],
)
def test_only_a_proof_within_its_limit_is_ok(record, state):
    assert standing(record, RULE, NOW) is state


@pytest.mark.parametrize(
    ("target", "state"),
    [
        (None, MirrorState.NEW),
        (TargetRecord(error="no"), MirrorState.FAILING),
        (TargetRecord(proof=Proof(NOW - timedelta(hours=1), 3, "d")), MirrorState.OK),
        (TargetRecord(proof=Proof(NOW - timedelta(hours=1), 3, "d"), error="no"), MirrorState.FAILING),
        (TargetRecord(proof=Proof(NOW - timedelta(hours=25), 3, "d")), MirrorState.STALE),
    ],
)
def test_with_a_group_its_project_must_be_proven_too(target, state):
    record = replace(_proven(1), target=target)
    assert standing(record, RULE.model_copy(update={"group": "mirrors"}), NOW) is state
    assert standing(record, RULE, NOW) is MirrorState.OK


@pytest.mark.parametrize(
    ("path", "fit"),
    [
        ("app", "app"),
        ("group/sub/app", "group/sub/app"),
        (".github", "github"),
        ("a--b/_x_", "a-b/x"),
        ("x/y", "x-mirror/y"),
        ("tree", "tree-mirror"),
        ("app.git", "app.git-mirror"),
        ("naïve app", "na-ve-app"),
        ("-/..", "x-mirror/x-mirror"),
    ],
)
def test_a_path_is_made_fit_for_gitlab(path, fit):
    assert fit_path(path) == fit


def test_paths_that_clash_are_told_apart_and_who_has_a_project_keeps_its_path():
    records = [
        replace(RECORD, identity="github:1", path="App", target=TargetRecord(7, "mirrors/kept")),
        replace(RECORD, identity="github:2", path="kept"),
        replace(RECORD, identity="github:3", path="Site"),
        replace(RECORD, identity="github:4", path="site"),
        replace(RECORD, identity="github:5", path="folder"),
        replace(RECORD, identity="github:6", path="folder/in"),
        replace(RECORD, identity="github:7", path="taken"),
    ]
    paths = target_paths("mirrors", records, ["Mirrors/Taken"])
    assert paths == target_paths("mirrors", records[::-1], ["Mirrors/Taken"])
    assert paths["github:1"] == "mirrors/kept"
    assert paths["github:3"] == "mirrors/Site"
    assert paths["github:6"] == "mirrors/folder/in"
    endings = {"github:2": "kept", "github:4": "site", "github:5": "folder", "github:7": "taken"}
    for identity, name in endings.items():
        assert paths[identity].startswith(f"mirrors/{name}-")


def test_checks_are_spread_and_failures_wait_longer_but_not_past_the_limit():
    first = next_check(RECORD, RULE, NOW)
    assert NOW + timedelta(seconds=3240) <= first <= NOW + timedelta(seconds=3600)
    assert next_check(replace(RECORD, identity="github:2"), RULE, NOW) != first
    failed = [next_check(replace(RECORD, failures=count), RULE, NOW) - NOW for count in range(9)]
    assert failed == sorted(failed)
    assert failed[-1] <= timedelta(seconds=RULE.stale_after_seconds)
