"""Changing `.env`: every change is shown before it happens, and only the reviewed one is applied."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.integration


def _lines(plan):
    return {c["address"]: c for c in plan["changes"]}


def test_each_change_shows_before_after_and_reason(installation, free_port):
    installation.run("up")
    port = free_port()
    installation.set(SIZE="homelab", PORT_API=port, SERVICES_ENABLED="api,loki")
    before = (installation.root / "autogit.lock.json").read_bytes()

    plan = installation.json("plan")
    text = installation.run("plan", "-v").stdout
    code = installation.run("plan", "--exit-code", expect=3)

    api, traefik = _lines(plan)["process/api"], _lines(plan)["process/traefik"]
    assert api["action"] == "replace"
    assert f"PORT_API (unset) -> {port}" in api["reason"]
    assert any(str(port) in f["after"] and str(port) not in f["before"] for f in api["fields"])
    assert "SIZE minimal -> homelab" in traefik["reason"]
    assert "PORT_API" not in traefik["reason"]
    assert any("GOMEMLIMIT" in f["before"] and "GOMEMLIMIT" in f["after"] for f in traefik["fields"])
    assert "SERVICES_ENABLED with loki" in " ".join(plan["changed_settings"])
    assert "SIZE minimal -> homelab" in text
    assert re.search(r"file/traefik/dynamic/routes.yml +update +PORT_API", text)
    assert f'+      url: "http://127.0.0.1:{port}"' in text.replace("'", '"') or str(port) in text
    assert code.stdout
    assert (installation.root / "autogit.lock.json").read_bytes() == before, "plan changes nothing"

    installation.run("up", "--yes")
    assert installation.probe("api.autogit.localhost", "/healthz").status == 200
    assert "Nothing to do" in installation.run("up").stdout


def test_a_reviewed_plan_is_applied_and_no_other(installation):
    installation.run("plan", "--out", "p.json")
    installation.run("up", "--plan", "p.json")
    installation.set(SIZE="homelab")
    installation.run("plan", "--out", "p.json")
    installation.set(SIZE="team")
    stale = installation.run("up", "--plan", "p.json", expect=1)
    assert "stale-plan" in stale.stderr
    assert installation.lockfile["settings"]["SIZE"] == "minimal"


def test_a_broken_plan_file_is_a_sentence(installation):
    (installation.root / "p.json").write_text("{")
    assert "p.json" in installation.run("up", "--plan", "p.json", expect=2).stderr


def test_switching_a_service_off_stops_it_and_keeps_its_secret(installation):
    installation.add_service("web", WEB, **{"server.py": SERVER})
    installation.set(SERVICES_ENABLED="api,web")
    installation.run("up")
    assert installation.probe("web.autogit.localhost").status == 401
    password = installation.run("secrets", "reveal", "WEB_PASSWORD").stdout.strip()

    installation.set(SERVICES_ENABLED="api")
    plan = installation.json("plan")
    assert _lines(plan)["process/web"]["action"] == "delete"
    assert _lines(plan)["process/web"]["reason"] == "SERVICES_ENABLED without web"
    assert "secret/WEB_PASSWORD" not in _lines(plan)
    installation.run("up", "--yes")
    assert installation.process_pid("web") == 0
    assert installation.run("secrets", "reveal", "WEB_PASSWORD").stdout.strip() == password


def test_a_generated_password_opens_its_route_and_nothing_else_does(installation):
    import base64
    import http.client
    import ssl

    installation.add_service("web", WEB, **{"server.py": SERVER})
    installation.set(SERVICES_ENABLED="api,web")
    installation.run("up")
    password = installation.run("secrets", "reveal", "WEB_PASSWORD").stdout.strip()

    def ask(word):
        context = ssl.create_default_context(cafile=str(installation.root_certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", installation.https_port, context=context)
        connection._context.check_hostname = False  # the name is in Host; loopback is the address
        token = base64.b64encode(f"admin:{word}".encode()).decode()
        connection.request("GET", "/", headers={"Host": "web.autogit.localhost", "Authorization": f"Basic {token}"})
        status = connection.getresponse().status
        connection.close()
        return status

    assert ask(password) == 200
    assert ask("wrong") == 401
    for path in installation.root.rglob("*"):
        if path.is_file() and path.suffix != ".age":
            assert password.encode() not in path.read_bytes(), path
    assert json.dumps(installation.lockfile).count(password) == 0


WEB = """
service: web
summary: A small page behind a password
subdomain: web
internal_port: 8000
health_endpoint: /
ready_endpoint: /
ports:
  http: {internal: 8000}
sizing: {minimal: 0.5C/64M, homelab: 0.5C/64M, team: 0.5C/64M, production: 0.5C/64M}
routes:
  - exposure: authenticated
config:
  - path: server.py
settings:
  - {name: WEB_PASSWORD, description: Password of the page, secret: true, generate: 32, htpasswd: admin}
runs:
  embedded:
    program: python
    arguments: ["{{ paths.rendered }}/web/server.py", "{{ ports.http }}"]
    ready_timeout_seconds: 10
"""
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
