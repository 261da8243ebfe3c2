"""The main job: from `.env` to a healthy platform over HTTPS, again and again."""

from __future__ import annotations

import json
import re
import ssl
import urllib.request

import pytest

pytestmark = pytest.mark.integration


def test_the_first_up_ends_with_a_table_of_urls(running):
    assert re.search(rf"https://api\.autogit\.localhost:{running.https_port}", running.first_up.stdout)
    assert "Next:" in running.first_up.stdout


def test_the_service_list_answers_over_https_with_the_local_root(running):
    probe = running.probe("api.autogit.localhost", "/api/v1/services")
    assert probe.status == 200
    assert running.probe("nobody.autogit.localhost").status == 404


def test_a_client_that_does_not_know_the_root_refuses(running, tmp_path):
    context = ssl.create_default_context()
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://127.0.0.1:{running.https_port}/", context=context)


def test_the_cli_and_the_api_return_the_same_service_list(running):
    port = running.lockfile["ports"]["api/http"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/services") as answer:
        body = json.load(answer)
    assert body == running.json("services", "list")
    row = next(s for s in body if s["name"] == "api")
    assert set(row) == {"name", "subdomain", "status", "ports"}
    assert row["status"] == "healthy"
    assert set(row["ports"]) == {"internal", "external"}


def test_a_second_up_says_nothing_to_do_on_both_paths(running):
    before = (running.root / "autogit.lock.json").read_bytes()
    assert "Nothing to do" in running.run("up").stdout
    assert "Nothing to do" in running.run("up", "--policy", "sync").stdout  # never taken by the fast path
    assert (running.root / "autogit.lock.json").read_bytes() == before


def test_status_is_healthy_and_says_what_was_probed(running):
    status = running.json("status")
    assert status["status"] == "healthy"
    assert status["routes_probed"] == 1
    assert status["certificate"]["matches"] is True
    assert status["drift"] == 0


def test_http_is_sent_to_https(running):
    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    port = running.lockfile["ports"]["traefik/http"]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/x", headers={"Host": "api.autogit.localhost"})
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.build_opener(NoRedirect).open(request)
    with answer.value:
        assert answer.value.code in (301, 308)
        assert answer.value.headers["Location"] == f"https://api.autogit.localhost:{running.https_port}/x"


def test_traefik_logs_no_warning_and_no_error(running):
    text = (running.root / ".autogit" / "logs" / "traefik.log").read_text()
    assert "Configuration loaded" in text or "Traefik version" in text
    assert not re.search(r"\b(WRN|ERR|WARN|ERROR)\b|\"level\":\"(warn|error)\"", text), text


def test_only_the_ingress_answers_on_published_ports_and_all_on_loopback(running):
    import psutil

    listening = {
        (c.laddr.ip, c.laddr.port)
        for p in running.processes()
        for c in p.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    }
    assert {ip for ip, _ in listening} == {"127.0.0.1"}
    assert {port for _, port in listening} == set(running.lockfile["ports"].values())
