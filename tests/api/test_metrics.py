"""What the API tells Prometheus of the mirrors, and whom it tells nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from autogit.api.app import create_app
from autogit.model.mirror import MirrorRecord, Proof, TargetRecord
from autogit.operations.mirror_metrics import metrics_text
from autogit.operations.project import project_paths
from autogit.providers.host.mirror_records import MirrorRecords

NOW = datetime(2026, 11, 28, 4, 0, tzinfo=UTC)
RULES = """\
mirrors:
- {name: yours, kind: github, owner: you, stale_after_seconds: 7200}
- {name: idle, kind: github, owner: me}
"""


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "mirrors.yml").write_text(RULES)
    return project_paths(tmp_path)


def _record(number, *, age=None, **more):
    proof = None if age is None else Proof(NOW - timedelta(seconds=age), 3, "d")
    url = f"https://github.com/you/r{number}"
    plain = MirrorRecord(f"github:{number}", "yours", f"you/r{number}", url, f"yours/you/r{number}.git", proof=proof)
    return replace(plain, **more)


def _samples(paths):
    """Every sample by name and labels, as Prometheus reads it; one name with one set of labels comes once."""
    found = {}
    for family in text_string_to_metric_families(metrics_text(paths, NOW).decode()):
        for sample in family.samples:
            key = (sample.name.removeprefix("autogit_mirror_"), *sorted(sample.labels.values()))
            assert key not in found
            found[key] = sample.value
    return found


def test_states_proofs_and_failures_are_those_of_mirror_status(paths):
    records = [
        _record(1, age=60),
        _record(2, age=9000, error="429", error_code="rate-limited", failures=4),
        _record(3, age=60, gone_since=NOW),
        _record(4),
        _record(5, age=30, target=TargetRecord(1, "mirrors/r5", Proof(NOW - timedelta(seconds=20), 3, "d"))),
        replace(_record(6, age=1), rule="forgotten"),
    ]
    MirrorRecords(paths.mirrors / "records.sqlite").save(records)
    seen = _samples(paths)
    assert seen[("rules",)] == 2
    states = {state: seen[("state", *sorted(("yours", state)))] for state in ("ok", "stale", "gone", "new", "failing")}
    assert states == {"ok": 2, "stale": 1, "gone": 1, "new": 1, "failing": 0}
    assert seen[("state", "idle", "ok")] == 0
    assert seen[("stale_after_seconds", "yours")] == 7200
    assert seen[("lag_seconds", "you/r2", "yours")] == 9000
    assert seen[("last_proof_timestamp_seconds", "you/r1", "yours")] == NOW.timestamp() - 60
    assert seen[("target_last_proof_timestamp_seconds", "you/r5", "yours")] == NOW.timestamp() - 20
    assert seen[("failures", "you/r2", "yours")] == 4
    assert ("last_proof_timestamp_seconds", "you/r4", "yours") not in seen, "what was never proven has no moment"
    assert not [key for key in seen if "forgotten" in key]


def test_a_repository_of_the_name_of_one_that_is_gone_is_told_once(paths):
    gone = _record(1, age=9000, gone_since=NOW)
    MirrorRecords(paths.mirrors / "records.sqlite").save([gone, _record(1, age=5, identity="github:77")])
    assert _samples(paths)[("lag_seconds", "you/r1", "yours")] == 5


def test_the_last_sync_is_told(paths):
    paths.mirrors.mkdir(parents=True)
    row = {"at": "2026-11-28T03:50:00Z", "seconds": 1.5, "changed": 3, "requests": 7, "problems": ["yours: 401"]}
    (paths.mirrors / "last-sync.json").write_text(json.dumps(row))
    seen = _samples(paths)
    assert seen[("last_sync_timestamp_seconds",)] == NOW.timestamp() - 600
    values = [seen[(f"sync_{name}",)] for name in ("seconds", "changed", "requests", "problems")]
    assert values == [1.5, 3, 7, 1]


@pytest.mark.parametrize(
    "broken", ["mirrors.yml", ".autogit/mirrors/records.sqlite", ".autogit/mirrors/last-sync.json"]
)
def test_what_cannot_be_read_is_left_out_and_the_rest_is_told(paths, broken):
    MirrorRecords(paths.mirrors / "records.sqlite").save([_record(1, age=60)])
    (paths.mirrors / "last-sync.json").write_text('{"at": "2026-11-28T03:50:00Z", "problems": []}')
    (paths.root / broken).write_bytes(b"\xff not what it was")
    seen = _samples(paths)
    assert (("lag_seconds", "you/r1", "yours") in seen) == (broken.endswith("last-sync.json"))
    assert (("last_sync_timestamp_seconds",) in seen) == (not broken.endswith("last-sync.json"))


@pytest.fixture
def client(paths, monkeypatch):
    monkeypatch.setenv("AUTOGIT_PROJECT_DIR", str(paths.root))
    monkeypatch.delenv("AUTOGIT_ENV_FILE", raising=False)
    with TestClient(create_app()) as client:
        yield client


def test_prometheus_gets_its_text_form_without_a_sound_env(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "autogit_mirror_rules 2.0" in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP"])
def test_who_comes_through_an_ingress_learns_no_names_of_repositories(client, header):
    answer = client.get("/metrics", headers={header: "192.0.2.1"})
    assert (answer.status_code, answer.text) == (404, "")


def test_metrics_are_not_part_of_the_described_api(client):
    assert "/metrics" not in client.get("/openapi.json").json()["paths"]
