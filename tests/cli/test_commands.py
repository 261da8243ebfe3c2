"""Commands as a user types them: data on stdout, everything else on stderr, documented exit codes."""

from __future__ import annotations

import json
import random
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from autogit import __version__
from autogit.operations.project import open_project, project_paths
from autogit.operations.quarantine import ensure_recipient, open_store

COMMANDS = (
    "init", "up", "plan", "render", "drift", "status", "deploy", "upgrade", "down", "restart", "reconcile", "schedule",
    "logs", "services", "images", "adopt", "config", "certs", "secrets", "scan", "quarantine", "doctor", "version",
)  # fmt: skip


def test_help_lists_the_commands_in_the_order_one_needs_them(autogit):
    done = autogit("--help")
    places = [re.search(rf"^\W*{name}\s", done.out, re.MULTILINE) for name in COMMANDS]
    assert all(places), done.out
    assert [p.start() for p in places] == sorted(p.start() for p in places)


def test_version_says_what_runs(autogit):
    assert autogit("version").out.startswith(f"autogit {__version__} (Python 3.")
    assert autogit("version", "--format", "json").json()["autogit"] == __version__


@pytest.mark.parametrize("words", [["upp"], ["up", "--nope"], ["services", "show"], ["plan", "--policy"]])
def test_a_word_that_nobody_knows_is_a_usage_error(autogit, words):
    done = autogit(*words)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [["up"], ["plan"], ["status"], ["config", "show"], ["down"], ["logs"], ["drift"]])
def test_without_env_every_command_says_how_to_begin(autogit, words):
    done = autogit(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error[not-initialised]: there is no .env in ")
    assert "\n\nhint: autogit init\n" in done.err
    assert list(autogit.root.iterdir()) == []


def test_an_error_as_json_is_on_stderr_and_stdout_stays_empty(autogit):
    done = autogit("up", "--format", "json")
    assert (done.code, done.out) == (2, "")
    assert json.loads(done.err)["code"] == "not-initialised"


class TestInit:
    def test_yes_asks_nothing_and_writes_every_key_with_its_reason(self, autogit):
        done = autogit("init", "--yes")
        assert done.code == 0
        text = (autogit.root / ".env").read_text()
        for key in ("BASE_DOMAIN=autogit.localhost", "RUNTIME=embedded", "CERT_ISSUER=local", "SIZE="):
            assert key in text
        assert "Docker" in text, "why this runtime is written beside it"
        assert stat.S_IMODE((autogit.root / ".env").stat().st_mode) == 0o600
        identity = autogit.root.parent / "home" / ".config" / "autogit" / "identity.txt"
        assert stat.S_IMODE(identity.stat().st_mode) == 0o600
        assert "keep a copy of" in done.out
        assert autogit("config", "validate").code == 0

    def test_a_key_that_is_there_is_never_overwritten(self, autogit, env):
        env("# mine\nBASE_DOMAIN=example.org\nSIZE=minimal")
        view = autogit("init", "--yes", "--format", "json").json()
        text = (autogit.root / ".env").read_text()
        assert text.startswith("# mine\nBASE_DOMAIN=example.org\nSIZE=minimal\n")
        assert text.count("SIZE=") == 1
        assert set(view["kept"]) == {"BASE_DOMAIN", "SIZE"}
        before = (autogit.root / ".env").read_bytes()
        again = autogit("init", "--yes")
        assert "nothing was written" in again.out
        assert (autogit.root / ".env").read_bytes() == before

    def test_a_broken_file_is_refused_before_anything_is_written(self, autogit, env):
        env("BASE_DOMAIN=a.test\nBASE_DOMAIN=b.test\n")
        done = autogit("init", "--yes")
        assert done.code == 2
        assert "is set twice" in done.err
        assert [p.name for p in autogit.root.iterdir()] == [".env"]

    def test_it_asks_a_person_and_keeps_the_answers(self, autogit, monkeypatch):
        answers = iter(["home.example.org", "me@example.org"])
        monkeypatch.setattr("autogit.cli.init.interactive", lambda: True)
        monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
        autogit("init")
        text = (autogit.root / ".env").read_text()
        assert "BASE_DOMAIN=home.example.org" in text
        assert "ACME_EMAIL=me@example.org" in text


class TestConfig:
    def test_show_names_value_and_source_and_masks_secrets(self, autogit, env):
        env("SIZE=team\nCLOUDFLARE_API_TOKEN=canary-4711\n")
        done = autogit("config", "show")
        assert re.search(r"^SIZE +team +\.env line 1$", done.out, re.MULTILINE)
        assert re.search(r"^CLOUDFLARE_API_TOKEN +\(secret\) +\.env line 2$", done.out, re.MULTILINE)
        assert re.search(r"^RUNTIME +embedded +\.env \(default\)$", done.out, re.MULTILINE)
        assert "canary" not in done.out
        assert autogit("config", "show", "--format", "json").json()["SIZE"] == {
            "value": "team",
            "source": ".env line 1",
        }

    def test_validate_lists_all_faults_or_says_that_it_is_valid(self, autogit, env):
        env("SIZE=team\n")
        assert autogit("config", "validate").out == ".env is valid: 1 settings are set.\n"
        env("SIZE=x\nNOPE=1\n")
        done = autogit("config", "validate")
        assert done.code == 2
        assert done.err.startswith("error[settings]: 2 faults in .env\n  .env line 1  SIZE=x  must be one of")

    def test_another_settings_file_can_be_named(self, autogit, tmp_path):
        (tmp_path / "other.env").write_text("SIZE=production\n")
        done = autogit("config", "show", "--env-file", str(tmp_path / "other.env"))
        assert re.search(r"^SIZE +production +other\.env line 1$", done.out, re.MULTILINE)


class TestServices:
    def test_show_prints_the_discovery_document_of_the_specification(self, autogit):
        assert autogit("services", "show", "gitlab", "--format", "json").json() == {
            "service": "gitlab",
            "subdomain": "gitlab",
            "internal_port": 80,
            "external_port": 8080,
            "health_endpoint": "/-/health",
            "ready_endpoint": "/-/readiness",
            "labels": ["git", "ci", "registry"],
        }
        text = autogit("services", "show", "prometheus").out
        assert "size minimal: 1C/512M" in text
        assert "PROMETHEUS_PASSWORD" in text

    def test_an_unknown_service_is_answered_with_the_nearest(self, autogit):
        done = autogit("services", "show", "grafanna")
        assert done.code == 2
        assert "Did you mean grafana?" in done.err

    def test_list_is_the_service_list_of_the_specification(self, autogit, env):
        env("SERVICES_ENABLED=api,gitlab\n")
        rows = autogit("services", "list", "--format", "json").json()
        assert [r["name"] for r in rows] == ["api", "gitlab", "traefik"]
        assert all(set(r) == {"name", "subdomain", "status", "ports"} for r in rows)
        assert {r["status"] for r in rows} <= {"healthy", "degraded", "unhealthy", "unknown"}
        assert "SUBDOMAIN" in autogit("services", "list").out


class TestPlan:
    def test_a_first_plan_creates_everything_and_touches_nothing(self, autogit, env):
        env("SERVICES_ENABLED=api,gitlab\nSIZE=minimal\n")
        before = sorted(p.name for p in autogit.root.iterdir())
        done = autogit("plan")
        assert done.code == 0
        first = done.out.splitlines()[0]
        assert re.match(r"\d+ to create, 0 to update, 0 to replace, 0 to delete, 0 unchanged +plan [0-9a-f]{12}", first)
        assert re.search(r"^\+ +process/api +create +not there yet$", done.out, re.MULTILINE)
        assert "gitlab: unavailable here: it is a container image and needs a Docker Engine" in done.out
        assert "needs 1 of" in done.out
        assert "Published ports: " in done.out
        assert "Apply with: autogit up" in done.err
        assert sorted(p.name for p in autogit.root.iterdir()) == before
        assert autogit("plan", "--exit-code").code == 3

    def test_the_json_holds_every_change_with_its_reason(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        view = autogit("plan", "--format", "json").json()
        assert view["schema_version"] == 1
        assert all(c["reason"] for c in view["changes"])
        assert view["counts"]["create"] == len(view["changes"])
        assert {c["address"].partition("/")[0] for c in view["changes"]} == {"certificate", "file", "process", "secret"}

    def test_a_saved_plan_is_its_owners_and_names_its_fingerprint(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        view = autogit("plan", "--out", "p.json", "--format", "json").json()
        saved = json.loads((autogit.root / "p.json").read_text())
        assert saved["fingerprint"] == view["fingerprint"]
        assert stat.S_IMODE((autogit.root / "p.json").stat().st_mode) == 0o600

    def test_a_dry_run_shows_the_plan_and_changes_nothing(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        done = autogit("up", "--dry-run")
        assert done.code == 0
        assert "to create" in done.out
        assert not (autogit.root / ".autogit").exists()

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["plan", "--policy", "all"], "all is no policy: one of sync, upsert-only, create-only"),
            (["up", "--allow-delete", "gitlab"], "is not an address"),
            (["up", "--plan", "none.json"], "none.json cannot be read: No such file"),
            (["logs", "nosuch"], "no service called nosuch"),
            (["logs"], "no service has written a log yet"),
            (["restart", "api"], "not running here: api"),
            (["drift", "--revert", "file/x"], "not drifted: file/x"),
            (["drift", "--adopt", "file/x"], "not drifted: file/x"),
            (["down", "--purge"], "nothing was removed"),
            (["secrets", "reveal", "X"], "no secret called X"),
            (["certs", "root"], "no root certificate for autogit.localhost yet"),
        ],
    )
    def test_what_cannot_be_is_a_sentence(self, autogit, env, words, sentence):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        done = autogit(*words)
        assert done.code in (1, 2)
        assert done.err.startswith("error[")
        assert sentence in done.err


class TestWithoutAPlatform:
    def test_status_says_that_nothing_runs(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        done = autogit("status")
        assert done.code == 1
        assert "nothing applied yet" in done.out
        assert "not running: autogit up starts it" in done.out
        assert not (autogit.root / ".autogit").exists(), "looking makes nothing"

    def test_down_has_nothing_to_stop(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        assert autogit("down").out == "nothing was running\n"

    def test_drift_finds_none(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        assert autogit("drift").code == 0

    def test_no_secret_is_listed(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        assert autogit("secrets", "list", "--format", "json").json() == {"secrets": []}


class TestDoctor:
    def test_each_finding_has_a_verdict_and_at_most_one_fix(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\n")
        view = autogit("doctor", "--format", "json").json()
        checks = {f["check"]: f for f in view["findings"]}
        for check in ("disk", "clock", "lockfile", "apply lock", "identity", "settings", "size", "names", "runtime"):
            assert check in checks
        assert all(f["fix"] for f in view["findings"] if f["level"] != "ok")
        text = autogit("doctor").out
        assert re.search(r"^ok +lockfile: 0 resources", text, re.MULTILINE)

    def test_every_warning_of_the_plan_has_its_fix_here(self, autogit, env):
        env("SERVICES_ENABLED=api\nLOG_COLLECTOR=promtail\n")
        findings = json.loads(autogit("doctor", "--format", "json").out)["findings"]
        warned = {f["check"]: f["fix"] for f in findings if f["level"] == "warning"}
        assert warned["promtail"] == "change the setting in .env that chose it"
        assert all(warned.values())

    def test_a_quarantine_that_is_nearly_full_or_damaged_is_told(self, autogit, env):
        env("SERVICES_ENABLED=api\nQUARANTINE_MAX_MB=1\n")
        project = open_project(project_paths(autogit.root))
        ensure_recipient(project.paths)
        assert "quarantine:" not in autogit("doctor").out
        store = open_store(project)
        store.add("x" * 400_000, {"source": "issue"})
        assert re.search(r"^ok +quarantine: 1 texts, 1 to be decided on", autogit("doctor").out, re.MULTILINE)
        dice = random.Random(7)
        while store.size().used_bytes < 0.92 * store.size().max_bytes:
            store.add(dice.randbytes(20_000).hex(), {"source": "issue"})
        store.close()
        told = autogit("doctor").out
        assert re.search(r"^warning +quarantine: .* 9\d% of QUARANTINE_MAX_MB is used", told, re.MULTILINE)
        (project.paths.quarantine / "quarantine.db").write_bytes(b"no database at all" * 100)
        done = autogit("doctor")
        assert done.code == 1
        assert re.search(r"^error +quarantine: ", done.out, re.MULTILINE)

    def test_a_broken_env_stops_none_of_the_other_checks(self, autogit, env):
        env("SIZE=x\nNOPE=1\n")
        done = autogit("doctor")
        assert done.code == 1
        assert done.out.count("error") >= 2
        assert "disk:" in done.out
        assert ".env line 2: NOPE unknown setting" in done.out

    def test_a_sound_lockfile_needs_no_repair(self, autogit, env):
        env("SERVICES_ENABLED=api\n")
        assert "nothing to repair" in autogit("doctor", "--repair-lockfile").out

    def test_a_name_that_does_not_resolve_gets_a_line_for_the_hosts_file(self, autogit, env):
        env("SERVICES_ENABLED=api\nSIZE=minimal\nBASE_DOMAIN=nowhere.invalid\n")
        done = autogit("doctor")
        assert "api.nowhere.invalid does not resolve here" in done.out
        assert "fix: add a DNS record, or a line in /etc/hosts: 127.0.0.1 api.nowhere.invalid" in done.out


def test_an_unforeseen_error_is_one_line_without_a_traceback(autogit, env, monkeypatch):
    env("SERVICES_ENABLED=api\n")
    monkeypatch.setattr("autogit.operations.config.load_settings", lambda *_: 1 / 0)
    done = autogit("config", "show")
    assert done.code == 1
    assert done.err.startswith("error[failed]: unexpected: ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        autogit("config", "show", "--debug")


def test_an_output_that_takes_no_more_is_told(tmp_path):
    (tmp_path / "note.md").write_text("A note.\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "autogit", "scan", "note.md"],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error[failed]: unexpected: No space left on device")


def test_quiet_says_nothing_that_is_not_data(autogit, env):
    env("SERVICES_ENABLED=api\nSIZE=minimal\n")
    assert autogit("plan", "--quiet").err == ""


class TestRender:
    def test_every_file_of_another_runtime_is_written_and_nothing_is_applied(self, autogit, env):
        env("RUNTIME=docker\nSERVICES_ENABLED=gitlab,prometheus,api\nSIZE=production\n")
        view = autogit("render", "--out", "out", "--format", "json").json()
        assert "docker-compose.yml" in view["files"]
        assert {"GITLAB_ROOT_PASSWORD", "PROMETHEUS_PASSWORD"} <= set(view["secrets"])
        assert sorted(view["files"]) == sorted(
            p.relative_to(autogit.root / "out").as_posix() for p in (autogit.root / "out").rglob("*") if p.is_file()
        )
        assert not (autogit.root / ".autogit").exists()
        assert not (autogit.root / "autogit.lock.json").exists()

    def test_what_the_files_name_is_made_on_request_and_only_once(self, autogit, env):
        env("RUNTIME=docker\nSERVICES_ENABLED=prometheus,meilisearch,api\n")
        assert autogit("render", "--out", "out", "--with-secrets").code == 0
        document = yaml.safe_load((autogit.root / "out" / "docker-compose.yml").read_text())
        key = Path(document["secrets"]["MEILI_MASTER_KEY"]["file"])
        assert len(key.read_text()) == 32
        assert stat.S_IMODE(key.stat().st_mode) == 0o444
        assert stat.S_IMODE(key.parents[1].stat().st_mode) == 0o700, "the folder around keeps others out"
        mounts = [m["source"] for s in document["services"].values() for m in s.get("volumes", ())]
        named = [Path(source) for source in mounts if source.startswith(str(autogit.root / ".autogit"))]
        assert len(named) >= 2
        assert all(path.exists() for path in named)
        kept = [key, autogit.root / "out" / "docker-compose.yml", autogit.root / "autogit.lock.json"]
        before = [path.read_text() for path in kept]
        assert autogit("render", "--out", "out", "--with-secrets").code == 0
        assert [path.read_text() for path in kept] == before
        assert before[0] not in before[1] + before[2]

    def test_it_repeats_itself_and_leaves_what_is_not_its_own(self, autogit, env):
        env("SERVICES_ENABLED=api\n")
        assert autogit("render", "--out", "out").code == 0
        before = {p: p.read_bytes() for p in (autogit.root / "out").rglob("*") if p.is_file()}
        assert autogit("render", "--out", "out").code == 0
        assert before == {p: p.read_bytes() for p in (autogit.root / "out").rglob("*") if p.is_file()}
        (autogit.root / "out" / "mine.txt").write_text("x")
        done = autogit("render", "--out", "out")
        assert done.code == 2
        assert "out holds mine.txt, which is not part of what is rendered" in done.err
        assert autogit("render", "--out", ".env").code == 2

    def test_what_this_host_has_is_nothing_to_files_that_may_be_for_another(self, autogit, env):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            env(f"RUNTIME=docker\nSIZE=production\nSERVICES_ENABLED=gitlab\nHTTPS_PORT={taken.getsockname()[1]}\n")
            assert autogit("render", "--out", "out").code == 0

    def test_what_is_at_its_end_of_life_is_said(self, autogit, env):
        env("RUNTIME=docker\nSERVICES_ENABLED=loki\nLOG_COLLECTOR=promtail\n")
        assert "! promtail:" in autogit("render", "--out", "out").out
