"""Prometheus as a supervised process, with every secret planted: it scrapes, it is guarded, and nothing leaks."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.integration.conftest import end_installation, make_installation

pytestmark = pytest.mark.integration

CANARIES = {"PROMETHEUS_PASSWORD": "canary-prometheus-4711", "CLOUDFLARE_API_TOKEN": "canary-cloudflare-4712"}


@pytest.fixture(scope="module")
def monitored():
    """An installation with Prometheus and given secrets, up."""
    if not shutil.which("prometheus"):
        pytest.skip("server missing: prometheus (tests/servers/install fetches it)")
    folder = Path(tempfile.mkdtemp(prefix="autogit-"))
    one = make_installation(folder, SERVICES_ENABLED="api,prometheus", **CANARIES)
    one.first_up = one.run("up", "-v")
    yield one
    end_installation(one)
    shutil.rmtree(folder, ignore_errors=True)


def _ask(installation, path, password=None, host="prometheus"):
    """GET a path of a public route, Prometheus' unless told; returns (status, parsed body or None)."""
    context = ssl.create_default_context(cafile=installation.root_certificate)
    context.check_hostname = False  # the name is checked by the probe's own tests; here it need not resolve
    request = urllib.request.Request(f"https://127.0.0.1:{installation.https_port}{path}")
    request.add_header("Host", f"{host}.autogit.localhost")
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def test_promtool_accepts_what_is_rendered(monitored, promtool):
    rendered = monitored.root / ".autogit" / "rendered" / "prometheus"
    done = subprocess.run([promtool, "check", "config", rendered / "prometheus.yml"], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_route_asks_for_the_password_and_takes_it(monitored):
    assert _ask(monitored, "/api/v1/status/buildinfo")[0] == 401
    assert _ask(monitored, "/api/v1/status/buildinfo", "wrong")[0] == 401
    status, body = _ask(monitored, "/api/v1/status/buildinfo", CANARIES["PROMETHEUS_PASSWORD"])
    assert status == 200
    assert body["status"] == "success"


def test_every_scrape_target_is_up(monitored):
    deadline = time.monotonic() + 60
    query = "/api/v1/query?" + urllib.parse.urlencode({"query": "up"})
    while True:
        _, body = _ask(monitored, query, CANARIES["PROMETHEUS_PASSWORD"])
        seen = {row["metric"]["job"]: row["value"][1] for row in body["data"]["result"]}
        if seen == {"api": "1", "prometheus": "1", "traefik": "1"}:
            break
        assert time.monotonic() < deadline, seen
        time.sleep(1)


def test_nobody_sees_the_metrics_of_the_api_through_the_ingress(monitored):
    assert _ask(monitored, "/healthz", host="api") == (200, {"status": "ok"})
    assert _ask(monitored, "/metrics", host="api") == (404, None)


def test_traefik_says_nothing_of_a_warning(monitored):
    text = (monitored.root / ".autogit" / "logs" / "traefik.log").read_text()
    assert [line for line in text.splitlines() if " WRN " in line or " ERR " in line] == []


def test_a_changed_scrape_configuration_is_reloaded_without_another_process(monitored):
    pid = monitored.process_pid("prometheus")
    port = monitored.lockfile["ports"]["prometheus/http"]
    path = monitored.root / ".autogit" / "rendered" / "prometheus" / "prometheus.yml"
    folder = monitored.root / "overrides" / "files" / "prometheus"
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(path.read_text().replace("scrape_interval: 15s", "scrape_interval: 7s"))
    plan = {c["address"]: c for c in monitored.json("plan")["changes"]}
    assert plan["process/prometheus"]["action"] == "update"
    assert plan["file/prometheus/prometheus.yml"]["detail"] == "-> reload prometheus"
    monitored.run("up", "--yes")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/status/config") as answer:
        assert "scrape_interval: 7s" in answer.read().decode()
    assert monitored.process_pid("prometheus") == pid
    shutil.rmtree(folder)
    monitored.run("up", "--yes")
    assert monitored.process_pid("prometheus") == pid


def test_a_changed_password_shows_as_changed_and_never_as_itself(monitored):
    monitored.set(PROMETHEUS_PASSWORD="canary-prometheus-4713")
    plan = monitored.json("plan")
    assert {c["reason"] for c in plan["changes"]} == {"PROMETHEUS_PASSWORD has a new value"}
    line = next(c for c in plan["changes"] if c["address"] == "secret/PROMETHEUS_PASSWORD")
    assert {f["name"]: f["after"] for f in line["fields"]}["fingerprint"] == "(secret, changed)"
    monitored.run("up", "--yes")
    status, _ = _ask(monitored, "/api/v1/status/buildinfo", "canary-prometheus-4713")
    assert status == 200
    assert _ask(monitored, "/api/v1/status/buildinfo", CANARIES["PROMETHEUS_PASSWORD"])[0] == 401
    monitored.set(PROMETHEUS_PASSWORD=CANARIES["PROMETHEUS_PASSWORD"])
    monitored.run("up", "--yes")


def test_no_planted_secret_reaches_any_output_file_argument_or_environment(monitored):
    said = [monitored.first_up.stdout, monitored.first_up.stderr]
    for words in (
        ["plan", "-v"], ["plan", "--format", "json"], ["up", "--policy", "sync"], ["drift", "-v"], ["status"],
        ["services", "list"], ["services", "show", "prometheus"], ["config", "show"], ["config", "validate"],
        ["doctor"], ["secrets", "list"], ["logs", "-n", "1000"], ["certs", "trust"],
    ):  # fmt: skip
        done = monitored.run(*words, expect=None)
        said += [done.stdout, done.stderr]
    for path in monitored.root.rglob("*"):
        if path.is_file() and path.name != ".env":
            said.append(path.read_bytes().decode("utf-8", "replace"))
    for process in monitored.processes():
        said += [" ".join(process.cmdline()), str(process.environ())]
    assert len(said) > 50
    assert [text[:200] for text in said if "canary-" in text] == []
