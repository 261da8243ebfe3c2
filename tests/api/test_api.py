"""The HTTP API in this process: the same core as the command line, errors as problem details."""

from __future__ import annotations

import json
import os

import pytest
from fastapi.testclient import TestClient

from autogit.api.app import create_app


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGIT_PROJECT_DIR", str(tmp_path))
    monkeypatch.delenv("AUTOGIT_ENV_FILE", raising=False)
    (tmp_path / ".env").write_text("SERVICES_ENABLED=api,gitlab\nSIZE=minimal\nPORT_API=20080\nHTTPS_PORT=8443\n")
    with TestClient(create_app()) as client:
        yield client


def test_alive_needs_nothing_and_ready_needs_a_project(client, tmp_path):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    os.remove(tmp_path / ".env")
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 400


def test_the_service_list_has_the_shape_of_the_specification(client):
    answer = client.get("/api/v1/services")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == [
        {"name": "api", "subdomain": "api", "status": "unknown", "ports": {"internal": 8000, "external": 20080}},
        {"name": "gitlab", "subdomain": "gitlab", "status": "unknown", "ports": {"internal": 80, "external": 8080}},
        {"name": "traefik", "subdomain": None, "status": "unknown", "ports": {"internal": None, "external": 8443}},
    ]


def test_an_error_is_a_problem_with_the_code_of_the_command_line(client, tmp_path):
    (tmp_path / ".env").write_text("SIZE=huge\nCLOUDFLARE_API_TOKEN=canary-4711\nNOPE=1\n")
    answer = client.get("/api/v1/services")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["title"], body["type"], body["status"]) == ("settings", "urn:autogit:error:settings", 422)
    assert body["detail"] == "2 faults in .env"
    assert "canary" not in answer.text
    assert "NOPE" not in answer.text, "nobody has shown a credential: which lines are wrong is not for everybody"


def test_a_damaged_lockfile_makes_it_not_ready(client, tmp_path):
    (tmp_path / "autogit.lock.json").write_text("{")
    answer = client.get("/readyz")
    assert answer.status_code == 500
    assert answer.json()["title"] == "lockfile-corrupt"


def test_the_description_names_every_route_and_no_page_loads_scripts_from_elsewhere(client):
    description = client.get("/openapi.json").json()
    copies = {f"/git/{{rule}}/{{path}}.git/{what}" for what in ("info/refs", "git-upload-pack", "git-receive-pack")}
    assert set(description["paths"]) == {
        "/healthz", "/readyz", "/api/v1/services", "/api/v1/security/analyze", *copies,
    }  # fmt: skip
    statuses = description["components"]["schemas"]["Service"]["properties"]["status"]["enum"]
    assert statuses == ["healthy", "degraded", "unhealthy", "unknown"]
    assert client.get("/docs").status_code == 404


def test_the_body_equals_what_the_command_prints(client, tmp_path, monkeypatch, capsys):
    from autogit.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["autogit", "services", "list", "--format", "json"])
    assert main() == 0
    assert json.loads(capsys.readouterr().out) == client.get("/api/v1/services").json()
