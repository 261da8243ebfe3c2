"""Bad input and faults: a clear sentence, the documented exit code, nothing changed or lost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

pytestmark = pytest.mark.integration

NEVER_READY = """
service: stuck
summary: Starts and never answers
subdomain: stuck
internal_port: 8000
health_endpoint: /
ready_endpoint: /
ports:
  http: {internal: 8000}
sizing: {minimal: 0.1C/32M, homelab: 0.1C/32M, team: 0.1C/32M, production: 0.1C/32M}
routes:
  - {}
runs:
  embedded:
    program: python
    arguments: ["-c", "import time; print('stuck: waiting for a database', flush=True); time.sleep(600)"]
    ready_timeout_seconds: 3
"""

ANSWERS = NEVER_READY.replace("stuck", "web").replace(
    """"import time; print('web: waiting for a database', flush=True); time.sleep(600)\"""",
    """"import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port={{ ports.http }}, """
    """bind='127.0.0.1')\"""",
)
WITH_PASSWORD = ANSWERS.replace("  - {}", "  - {exposure: authenticated}") + (
    "settings:\n  - {name: WEB_PASSWORD, description: Password, secret: true, generate: 32, htpasswd: admin}\n"
)


def _wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_taken_port_is_named_with_its_process_and_its_line(installation):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        installation.set(HTTPS_PORT=port)
        done = installation.run("up", expect=2)
    assert "error[port-taken]" in done.stderr
    assert f"HTTPS_PORT={port}" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr
    assert re.search(r"\.env line \d+", done.stderr)
    assert "hint:" in done.stderr
    assert not (installation.root / "autogit.lock.json").exists()
    assert not installation.processes()


def test_all_faults_of_the_settings_come_at_once(installation):
    installation.set(
        SIZE="huge", BASE_DOMIAN="x.test", ACME_EMAIL="nobody", PORT_API=99999, SERVICES_ENABLED="api,grafanna"
    )
    done = installation.run("up", expect=2)
    for word in ("SIZE", "BASE_DOMIAN", "Did you mean BASE_DOMAIN", "ACME_EMAIL", "PORT_API", "grafanna", "line 8"):
        assert word in done.stderr, done.stderr
    assert not (installation.root / ".autogit").exists()


def test_a_rejected_secret_is_never_shown(installation):
    installation.set(CLOUDFLARE_API_TOKEN="canary-4711", CLOUDFLARE_API_TOKEN_FILE="no/such/file", SIZE="x")
    for words in (["up"], ["plan", "--format", "json"], ["config", "validate"], ["doctor"]):
        done = installation.run(*words, expect=None)
        assert done.returncode != 0
        assert "canary-4711" not in done.stdout + done.stderr


def test_a_hand_edited_file_is_held_shown_and_adopted_or_reverted(installation):
    installation.run("up")
    path = installation.root / ".autogit" / "rendered" / "traefik" / "dynamic" / "middlewares.yml"
    wished = path.read_text()
    edited = wished + "# by hand\n"
    path.write_text(edited)

    done = installation.run("up", expect=3)
    assert path.read_text() == edited, "an edited file was overwritten"
    assert "file/traefik/dynamic/middlewares.yml" in done.stdout + done.stderr
    shown = installation.run("drift", "-v", expect=3).stdout
    assert "edited by hand" in shown
    assert "# by hand" in shown

    installation.run("drift", "--revert", "file/traefik/dynamic/middlewares.yml", "--yes")
    assert path.read_text() == wished
    installation.run("drift")

    path.write_text(edited)
    installation.run("drift", "--adopt", "file/traefik/dynamic/middlewares.yml")
    assert "Nothing to do" in installation.run("up").stdout
    assert path.read_text() == edited
    assert (installation.root / "overrides" / "files" / "traefik" / "dynamic" / "middlewares.yml").read_text() == edited


def test_the_second_up_is_told_who_holds_the_lock_or_waits(installation):
    installation.add_service("stuck", NEVER_READY)
    installation.set(SERVICES_ENABLED="api,stuck")
    first = installation.start("up")
    _wait_until(lambda: installation.process_pid("stuck") or first.poll() is not None)
    second = installation.run("up", expect=5)
    waited = installation.run("up", "--lock-wait", "60", expect=None)
    first.communicate(timeout=60)
    assert f"pid {first.pid}" in second.stderr
    assert "error[lock-held]" in second.stderr
    assert first.returncode == 4
    assert waited.returncode == 4, waited.stderr


def test_a_service_that_never_becomes_ready_leaves_the_others_up(installation):
    installation.add_service("stuck", NEVER_READY)
    installation.set(SERVICES_ENABLED="api,stuck")
    done = installation.run("up", expect=4)
    assert "error[not-ready]" in done.stderr
    assert "stuck: waiting for a database" in done.stderr
    assert "3 s" in done.stderr or "3s" in done.stderr
    assert installation.probe("api.autogit.localhost", "/healthz").status == 200
    status = installation.json("status", expect=1)
    assert {s["name"]: s["status"] for s in status["services"]}["api"] == "healthy"


def test_a_broken_release_leaves_the_former_one_serving(installation):
    good = ANSWERS
    installation.add_service("web", good)
    installation.set(SERVICES_ENABLED="api,web")
    installation.run("up")
    assert installation.probe("web.autogit.localhost").status == 200

    installation.add_service(
        "web", good.replace("import http.server, sys;", "import sys; sys.exit('migration 614 failed');")
    )
    done = installation.run("up", "--yes", expect=4)
    assert "migration 614 failed" in done.stderr
    assert "former one is serving again" in done.stderr
    assert installation.probe("web.autogit.localhost").status == 200


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 1}', "\x00garbage"])
def test_a_damaged_lockfile_is_refused_and_can_be_repaired(installation, damage):
    installation.run("up")
    lock = installation.root / "autogit.lock.json"
    lock.write_text(damage)
    for words in (["up"], ["plan"], ["status"]):
        assert "error[lockfile-corrupt]" in installation.run(*words, expect=1).stderr
    assert lock.read_text() == damage
    assert "lockfile" in installation.run("doctor", expect=1).stdout
    installation.run("doctor", "--repair-lockfile")
    assert installation.run("up").returncode == 0
    assert "Nothing to do" in installation.run("up").stdout
    assert installation.probe("api.autogit.localhost", "/healthz").status == 200


def test_a_lockfile_edited_by_hand_or_newer_is_refused(installation):
    installation.run("up")
    lock = installation.root / "autogit.lock.json"
    good = lock.read_text()
    lock.write_text(good.replace('"serial"', '"Serial"'))
    assert "changed by something other than AutoGit" in installation.run("up", expect=1).stderr
    lock.write_text(json.dumps({**json.loads(good), "schema": 99}))
    assert "error[lockfile-too-new]" in installation.run("up", expect=1).stderr


def test_a_missing_or_wrong_identity_loses_no_secret(installation):
    installation.add_service("web", WITH_PASSWORD)
    installation.set(SERVICES_ENABLED="api,web")
    installation.run("up")
    store = installation.root / ".autogit" / "secrets.age"
    identity = installation.root.parent / "home" / ".config" / "autogit" / "identity.txt"
    kept, sealed = identity.read_text(), store.read_bytes()
    identity.unlink()
    assert "error[secret-store]" in installation.run("up", expect=1).stderr
    import pyrage

    identity.write_text(str(pyrage.x25519.Identity.generate()) + "\n")
    identity.chmod(0o600)
    assert "error[secret-store]" in installation.run("up", expect=1).stderr
    assert store.read_bytes() == sealed
    identity.write_text(kept)
    assert "Nothing to do" in installation.run("up").stdout


def test_a_lost_ca_key_is_no_fault_until_a_certificate_is_needed(installation):
    installation.run("up")
    key = next((installation.root / ".autogit" / "certs" / "local-ca").rglob("key.pem"))
    key.unlink()
    assert "Nothing to do" in installation.run("up", "--policy", "sync").stdout
    assert "key" in installation.run("doctor", expect=None).stdout
    leaf = installation.root / ".autogit" / "certs" / "autogit.localhost"
    for path in leaf.glob("v*/key.pem"):
        path.unlink()
    before = sorted(p.name for p in leaf.iterdir())
    done = installation.run("up", expect=None)
    assert done.returncode in (1, 4)
    assert "restore" in done.stderr
    assert sorted(p.name for p in leaf.iterdir()) == before
    assert installation.probe("api.autogit.localhost", "/healthz").status == 200, "what was served is served on"


def test_doctor_names_each_published_port_with_its_holder(installation):
    installation.run("up")
    port = installation.https_port
    assert re.search(
        rf"ok +ports: {port} \(traefik https\) is held by our traefik \(pid \d+\)", installation.run("doctor").stdout
    )
    installation.run("down")
    assert f"ports: {port} (traefik https) is free" in installation.run("doctor", expect=None).stdout


def test_a_killed_process_comes_back_and_a_killed_supervisor_is_replaced(installation):
    installation.run("up")
    for service in ("api", "traefik"):
        pid = installation.process_pid(service)
        os.kill(pid, signal.SIGKILL)
        _wait_until(lambda service=service, pid=pid: installation.process_pid(service) not in (0, pid))
        _wait_until(lambda: installation.probe("api.autogit.localhost", "/healthz").status == 200)
    supervisor = int((installation.root / ".autogit" / "supervisor" / "supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    _wait_until(lambda: not installation.processes())
    assert installation.json("status", expect=1)["status"] != "healthy"
    installation.run("up")
    assert installation.json("status")["status"] == "healthy"


def test_a_full_disk_is_a_sentence_and_what_was_there_is_intact(installation):
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    installation.run("up")
    installation.run("down")
    state, kept = installation.root / ".autogit", installation.root / "kept"
    state.rename(kept)
    state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(state)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount")
    try:
        before = (installation.root / "autogit.lock.json").read_bytes()
        done = installation.run("up", expect=None)
        assert done.returncode in (1, 4), done.stderr
        assert re.search(r"No space left|disk is full|full", done.stderr)
        json.loads(before)
        json.loads((installation.root / "autogit.lock.json").read_text())
    finally:
        installation.run("down", expect=None)
        subprocess.run(["umount", "-l", str(state)], check=True)
    state.rmdir()
    kept.rename(state)
    installation.run("up")
    assert installation.json("status")["status"] == "healthy"


def test_down_keeps_certificates_and_secrets_and_purge_asks_by_name(installation):
    installation.run("up")
    serial = installation.json("status")["certificate"]["serial"]
    installation.run("down")
    assert not installation.processes()
    installation.run("up")
    assert installation.json("status")["certificate"]["serial"] == serial
    installation.run("down", "--purge", expect=2)
    assert (installation.root / ".autogit").exists()
    installation.run("down", "--purge", "--confirm", "wrong", expect=2)
    installation.run("down", "--purge", "--confirm", "autogit")
    assert not (installation.root / ".autogit").exists()
    assert (installation.root / ".env").exists()
    assert not installation.processes()


def test_a_vanished_working_directory_or_unreadable_env_is_a_sentence(installation):
    env = installation.root / ".env"
    env.write_bytes(b"SIZE=minimal\nACME_EMAIL=\xff\xfe\n")
    assert "line 2" in installation.run("up", expect=2).stderr
    env.unlink()
    done = installation.run("up", expect=2)
    assert "autogit init" in done.stderr
    env.mkdir()
    assert installation.run("up", expect=2).stderr.startswith("error[")


def test_a_renewed_certificate_stays_where_a_route_fails_for_another_reason(installation):
    installation.add_service("web", ANSWERS.replace("  - {}", "  - {port: other}").replace(
        "ports:", "ports:\n  other: {internal: 8001}"))  # fmt: skip
    installation.run("up")
    _age_certificate(installation, days=61)
    installation.set(SERVICES_ENABLED="api,web")
    done = installation.run("up", "--yes", expect=4)
    assert "https://web.autogit.localhost answers 502" in done.stderr
    status = installation.json("status", expect=1)
    assert status["certificate"]["matches"] is True
    assert status["certificate"]["days_left"] > 80
    installation.set(SERVICES_ENABLED="api")
    installation.run("up", "--yes")
    assert installation.json("drift")["changes"] == []
    assert installation.json("status")["status"] == "healthy"


def test_a_certificate_that_is_not_served_is_taken_back_and_tried_again(installation):
    installation.run("up")
    old = installation.json("status")["certificate"]["serial"]
    _age_certificate(installation, days=61)
    watched = installation.root / ".autogit" / "rendered" / "traefik" / "dynamic"
    pid = installation.process_pid("traefik")
    os.kill(pid, signal.SIGSTOP)  # it notices nothing, so it serves nothing new
    first = installation.start("up", "--yes")
    try:
        _wait_until(lambda: "/v2/" in (watched / "tls.yml").read_text())
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
        os.kill(pid, signal.SIGCONT)
    installation.run("up", "--yes")
    certificate = installation.json("status")["certificate"]
    assert certificate["matches"] is True
    assert certificate["serial"] != old


def test_nothing_to_change_is_no_success_while_a_route_fails(installation):
    installation.add_service("web", ANSWERS.replace("  - {}", "  - {port: other}").replace(
        "ports:", "ports:\n  other: {internal: 8001}"))  # fmt: skip
    installation.set(SERVICES_ENABLED="api,web")
    for _ in range(2):
        done = installation.run("up", "--yes", expect=4)
        assert "https://web.autogit.localhost answers 502" in done.stderr
    assert installation.lockfile["last_apply"]["result"] == "failed"
    assert not (installation.root / ".autogit" / "in-sync.json").exists()


def test_down_stops_a_platform_whose_settings_and_lockfile_are_broken(installation):
    installation.run("up")
    (installation.root / ".env").write_text("SIZE=huge\n")
    (installation.root / "autogit.lock.json").write_text("{")
    assert "doctor --repair-lockfile" in installation.run("down").stdout
    assert not installation.processes()


def test_a_supervisor_that_hangs_is_not_reported_as_stopped(installation):
    installation.run("up")
    pid = int((installation.root / ".autogit" / "supervisor" / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        done = installation.run("down", expect=1)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert f"supervisord (pid {pid}) runs but does not answer" in done.stderr
    installation.run("down")
    assert not installation.processes()


def test_a_value_that_looks_like_a_template_reaches_no_template_engine(installation):
    folder = installation.root.parent / "br{{x}}"
    installation.root.rename(folder)
    installation.root = folder
    installation.run("up")
    assert installation.probe("api.autogit.localhost", "/healthz").status == 200


def test_a_folder_that_programs_would_misread_is_refused(installation):
    folder = installation.root.parent / "dol$x"
    installation.root.rename(folder)
    installation.root = folder
    assert "dollar sign" in installation.run("up", expect=2).stderr
    assert not (folder / ".autogit").exists()


def test_a_restart_is_no_drift(installation, free_port):
    installation.run("up")
    installation.run("restart", "api")
    installation.run("up", "--policy", "sync")
    installation.set(PORT_API=free_port())
    assert installation.json("drift")["changes"] == []


def test_followed_logs_as_json_are_one_document_a_line(installation):
    installation.run("up")
    follower = installation.start("logs", "api", "-f", "-n", "2", "--format", "json")
    rows = [json.loads(follower.stdout.readline()) for _ in range(2)]
    follower.kill()
    follower.communicate()
    assert [row["service"] for row in rows] == ["api", "api"]


def _age_certificate(installation, days):
    """Issue the present certificate again as if it had been issued that many days ago."""
    from autogit.providers.ssl.authority import Authority, private_pem

    certs = installation.root / ".autogit" / "certs"
    authority = Authority(certs / "local-ca" / "autogit.localhost", "autogit.localhost")
    then = datetime.now(UTC) - timedelta(days=days)
    names = ("autogit.localhost", "*.autogit.localhost")
    leaf, root, key = authority.issue(names, 90, then)
    folder = certs / "autogit.localhost" / "v1"
    (folder / "key.pem").write_bytes(private_pem(key))
    (folder / "fullchain.pem").write_bytes(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
