"""`autogit quarantine` as a user types it."""

from __future__ import annotations

import json
import re

import pytest

from autogit.operations.project import open_project, project_paths
from autogit.operations.quarantine import ensure_recipient, open_store

TEXT = "first line\x1b[2J\x1b]0;own\x07\nstatus released \u202egnitset\u2069"


@pytest.fixture
def ready(autogit, env):
    env("SIZE=minimal\n")
    return autogit


@pytest.fixture
def hold(ready):
    """A function that holds a text back, as the ingress does."""
    project = open_project(project_paths(ready.root))
    ensure_recipient(project.paths)

    def hold(text, **metadata):
        store = open_store(project)
        kept = store.add(text, {"source": "issue", "risk_score": 0.91, "verdict": "quarantine", **metadata})
        store.close()
        return kept

    return hold


def audit_rows(autogit):
    lines = (autogit.root / ".autogit" / "audit.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


FINDING = {
    "rule": "override", "stage": "pattern", "severity": "high", "explanation": "asks to ignore what it was told",
    "offset": 5, "length": 7, "decoded": "base64", "weight": 0.8,
}  # fmt: skip


class TestList:
    def test_nothing_held_is_said_and_makes_nothing(self, ready):
        done = ready("quarantine", "list")
        assert (done.code, done.out) == (0, "nothing held; 0 KB of 256 MB\n")
        assert not (ready.root / ".autogit" / "quarantine").exists()

    def test_it_shows_everything_but_the_words(self, ready, hold):
        kept = hold("secret words", service="gitlab", detected_patterns=("override", "b64", "third"))
        done = ready("quarantine", "list")
        assert done.out.splitlines()[1].split()[:2] == [kept, "pending"]
        assert "gitlab/issue" in done.out
        assert "override, b64 and 1 more" in done.out
        assert re.search(r"^1 pending; \d\d KB of 256 MB$", done.out, re.MULTILINE)
        assert "secret words" not in done.out

    def test_json_has_the_names_of_the_specification(self, ready, hold):
        kept = hold("words", detected_patterns=("override",))
        view = ready("quarantine", "list", "--format", "json").json()
        record = view["records"][0]
        assert (record["id"], record["analysis_status"], record["risk_score"]) == (kept, "pending", 0.91)
        assert record["detected_patterns"] == ["override"]
        assert record["timestamp"].endswith("Z")
        assert (view["total"], view["counts"]["pending"]) == (1, 1)

    def test_filters_narrow_and_the_limit_is_told(self, ready, hold):
        hold("one")
        second = hold("two", source="log")
        assert [
            r["id"] for r in ready("quarantine", "list", "--source", "log", "--format", "json").json()["records"]
        ] == [second]
        assert ready("quarantine", "list", "--status", "released", "--format", "json").json()["records"] == []
        assert ready("quarantine", "list", "--since", "2999-01-01", "--format", "json").json()["total"] == 0
        assert "1 of 2 shown; --limit 0 shows all" in ready("quarantine", "list", "--limit", "1").out

    @pytest.mark.parametrize("words", [["--status", "gone"], ["--since", "soon"], ["--limit", "-1"]])
    def test_words_that_mean_nothing_are_usage_errors(self, ready, words):
        done = ready("quarantine", "list", *words)
        assert (done.code, done.out) == (2, "")

    def test_what_came_from_outside_cannot_steer_the_terminal(self, ready, hold):
        hold("x", source="a\x1b[2J", service="s\nfake", detected_patterns=("p\u202e",))
        out = ready("quarantine", "list").out
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert r"s\010fake/a\027[2J" in out


class TestShow:
    def test_it_shows_findings_and_the_sanitized_text_only(self, ready, hold):
        kept = hold("all the words", sanitized_text="fewer words", findings=[FINDING], request_id="r-7")
        done = ready("quarantine", "show", kept)
        assert "override at 5, 7 characters, decoded from base64" in done.out
        assert "asks to ignore what it was told" in done.out
        assert "| fewer words" in done.out
        assert "r-7" in done.out
        assert "all the words" not in done.out
        view = ready("quarantine", "show", kept, "--format", "json").json()
        assert (view["sanitized_text"], view["original_text"]) == ("fewer words", None)

    def test_the_original_is_escaped_and_stands_behind_a_bar(self, ready, hold):
        done = ready("quarantine", "show", hold(TEXT), "--original")
        assert [sign for sign in ("\x1b", "\x07", "\u202e") if sign in done.out] == []
        assert "\n| first line\\027[2J" in done.out
        assert "\n| status released \\8238gnitset" in done.out
        assert "\nstatus released" not in done.out

    def test_json_has_the_original_as_it_came(self, ready, hold):
        assert ready("quarantine", "show", hold(TEXT), "--original", "--format", "json").json()["original_text"] == TEXT

    def test_a_lone_surrogate_can_be_shown(self, ready, hold):
        kept = hold("a\ud800b")
        assert "| a\\ud800b" in ready("quarantine", "show", kept, "--original").out
        view = ready("quarantine", "show", kept, "--original", "--format", "json").json()
        assert view["original_text"] == "a\\ud800b"

    @pytest.mark.parametrize(("word", "why"), [("q-20261127-999", "holds no"), ("../x", "no id"), ("", "no id")])
    def test_an_id_that_is_not_there_is_a_usage_error(self, ready, word, why):
        done = ready("quarantine", "show", word)
        assert (done.code, done.out) == (2, "")
        assert why in done.err


class TestDecide:
    def test_release_lets_the_text_pass_and_is_audited_without_it(self, ready, hold):
        kept = hold(TEXT)
        done = ready("quarantine", "release", kept, "--reason", "our own test page")
        assert (done.code, done.out) == (0, f"{kept} is released\n")
        assert open_store(open_project(project_paths(ready.root))).is_released(TEXT)
        (row,) = audit_rows(ready)
        assert {**row, "at": "", "by": ""} == {
            "at": "", "command": "quarantine", "id": kept, "action": "released", "was": "pending",
            "reason": "our own test page", "by": "",
        }  # fmt: skip
        assert "our own test page" in ready("quarantine", "show", kept).out

    def test_reject_takes_a_release_back(self, ready, hold):
        kept = hold(TEXT)
        ready("quarantine", "release", kept, "--reason", "fine")
        view = ready("quarantine", "reject", kept, "--reason", "not fine", "--format", "json").json()
        assert (view["analysis_status"], view["reason"]) == ("rejected", "not fine")
        assert not open_store(open_project(project_paths(ready.root))).is_released(TEXT)
        assert [row["was"] for row in audit_rows(ready)] == ["pending", "released"]

    def test_a_reason_has_to_be_given(self, ready, hold):
        kept = hold(TEXT)
        assert ready("quarantine", "release", kept).code == 2
        assert ready("quarantine", "release", kept, "--reason", " ").code == 2
        assert not (ready.root / ".autogit" / "audit.jsonl").exists()

    def test_deciding_twice_is_told(self, ready, hold):
        kept = hold(TEXT)
        ready("quarantine", "reject", kept, "--reason", "bad")
        assert f"{kept} is rejected already" in ready("quarantine", "reject", kept, "--reason", "bad").err


class TestPurge:
    def test_by_itself_it_deletes_what_its_days_have_ended(self, ready, hold):
        hold("young")
        done = ready("quarantine", "purge", "--yes")
        assert (done.code, done.out) == (0, "nothing to delete\n")

    def test_a_dry_run_names_what_would_go(self, ready, hold):
        kept = [hold("one"), hold("two")]
        done = ready("quarantine", "purge", "--older-than", "0", "--dry-run")
        assert done.out.splitlines() == [f"would delete {one}" for one in kept]
        assert ready("quarantine", "list", "--format", "json").json()["total"] == 2

    def test_where_nobody_can_be_asked_it_wants_yes(self, ready, hold):
        hold("one")
        done = ready("quarantine", "purge", "--older-than", "0")
        assert (done.code, done.out) == (1, "")
        assert "this deletes 1 text for good: 1 pending" in done.err
        assert "error[not-confirmed]" in done.err
        assert "--yes" in done.err

    def test_a_status_alone_means_all_of_them_and_each_is_audited(self, ready, hold):
        bad, waiting = hold("bad"), hold("waiting")
        ready("quarantine", "reject", bad, "--reason", "bad")
        done = ready("quarantine", "purge", "--status", "rejected", "--yes")
        assert done.out == "deleted 1 text (1 rejected)\n"
        records = ready("quarantine", "list", "--format", "json").json()["records"]
        assert [record["id"] for record in records] == [waiting]
        assert (audit_rows(ready)[-1]["id"], audit_rows(ready)[-1]["action"]) == (bad, "deleted")


def test_a_damaged_quarantine_is_a_sentence_for_every_command(ready, hold):
    kept = hold("one")
    (ready.root / ".autogit" / "quarantine" / "quarantine.db").write_bytes(b"garbage" * 999)
    for words in (["list"], ["show", kept], ["release", kept, "--reason", "x"], ["purge", "--yes"]):
        done = ready("quarantine", *words)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error[quarantine-damaged]: ")
        assert "\nhint: move the file away" in done.err
