"""The page "Add a service", followed to the letter: every file is written, every command typed, in their order."""

import json

import pytest
import yaml

from tests.pages import follow, with_programs

pytestmark = pytest.mark.integration


def test_add_a_service_works_as_its_page_says(installation):
    installation.run("up")
    environ = with_programs(installation.environ, installation.root.parent / "bin")
    printed = follow("add-a-service.md", installation.root, environ)
    assert "process/hello" in printed["autogit plan"]
    assert installation.probe("hello.autogit.localhost", "/greeting.json").status == 200
    rendered = installation.root / ".autogit" / "rendered" / "hello" / "greeting.json"
    assert json.loads(rendered.read_text())["greeting"] == "Good morning"
    assert "Nothing to do" in installation.run("up").stdout
    compose = yaml.safe_load((installation.root / "rendered-docker" / "docker-compose.yml").read_text())
    hello = compose["services"]["hello"]
    assert hello["networks"] == {"web": {}}
    assert hello["read_only"] is True
    assert hello["deploy"]["resources"]["limits"]["memory"] == str(64 * 1024**2)
    assert "does not say why" not in printed["autogit render --env-file docker.env --out rendered-docker"]
    installation.set(SERVICES_ENABLED="api", HELLO_GREETING=None)
    installation.run("up", "--yes")
    assert installation.probe("hello.autogit.localhost").status == 404
