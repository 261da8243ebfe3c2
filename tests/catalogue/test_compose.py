"""The Compose file of every tier, ingress and example: taken by the specification's schema and by the real tool."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from autogit.core.compose import COMPOSE_FILE, compose_document, dump_yaml
from autogit.core.render import render
from autogit.core.spec import build_spec
from autogit.model.service import TIERS
from tests.catalogue.platforms import EXAMPLES, PLATFORMS

SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())  # compose-spec, Apache-2.0


def _text(spec):
    return render(spec).files[COMPOSE_FILE].text


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", PLATFORMS)
def test_schema_and_docker_compose_take_the_file_without_a_word(platform, compose, tmp_path, name, tier):
    text = _text(platform(PLATFORMS[name], tier))
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(text))
    (tmp_path / COMPOSE_FILE).write_text(text)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_")}
    done = subprocess.run(
        [compose, "-f", tmp_path / COMPOSE_FILE, "config", "-q"], capture_output=True, text=True, env=clean, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_docker_compose_reads_what_was_meant(platform, compose, tmp_path):
    spec = platform(PLATFORMS["traefik-alloy"], "homelab")
    (tmp_path / COMPOSE_FILE).write_text(_text(spec))
    done = subprocess.run(
        [compose, "-f", tmp_path / COMPOSE_FILE, "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    read = json.loads(done.stdout)
    assert read["name"] == spec.project
    assert set(read["services"]) == {s.name for s in spec.running}
    for service in spec.running:
        found, meant = read["services"][service.name], service.container
        assert found["image"] == meant.image
        # `config` prints what Compose would read again: a literal dollar sign is doubled there too.
        single = {k: v.replace("$$", "$") for k, v in (found.get("environment") or {}).items()}
        assert single == dict(meant.environment)
        assert tuple(word.replace("$$", "$") for word in found.get("command") or ()) == meant.command
        assert int(found["deploy"]["resources"]["limits"]["memory"]) == meant.memory_bytes
        assert float(found["deploy"]["resources"]["limits"]["cpus"]) == meant.cpus
        assert set(found["networks"]) == set(meant.networks)


HOSTILE = [
    "${HOME}",
    "$$x",
    "a'b\"c",
    "line\nbreak",
    "{{ x }}",
    "1e3",
    "yes",
    "0o17",
    "#{1+1}",
    "ü 漢字 \u2028",
    "%(here)s",
    "~",
    "",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_reaches_the_container_as_itself(platform, workbench, compose, tmp_path, value):
    text = (
        "service: web\nsummary: x\nimage: example/web:1.0\nsizing: {homelab: 1C/64M, minimal: 1C/64M, team: 1C/64M, "
        "production: 1C/64M}\nsettings:\n  - {name: WEB_TEXT, description: x}\n"
        "runs:\n  container:\n    environment: {TEXT: '{{ settings.WEB_TEXT }}'}\n"
        "    command: ['{{ settings.WEB_TEXT }}']\n"
    )
    workbench.add_service("web", text)
    settings_ = workbench.settings("RUNTIME=docker\nSERVICES_ENABLED=web\n")
    chosen = settings_.model_copy(update={"service_settings": {**settings_.service_settings, "WEB_TEXT": value}})
    spec = build_spec(chosen, workbench.catalogue(), workbench.facts, workbench.lockfile, workbench.paths)
    (tmp_path / COMPOSE_FILE).write_text(_text(spec))
    done = subprocess.run(
        [compose, "-f", tmp_path / COMPOSE_FILE, "config", "--format", "json", "--no-interpolate"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    escaped = json.loads(done.stdout)["services"]["web"]
    assert escaped["environment"]["TEXT"].replace("$$", "$") == value
    read = subprocess.run(
        [compose, "-f", tmp_path / COMPOSE_FILE, "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(read.stdout)["services"]["web"]["command"][0].replace("$$", "$") == value


@given(
    st.recursive(
        st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers(-(2**53), 2**53),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("abc$'\"\n#:1e", max_size=6), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_document_reads_back_equal_under_yaml_1_1_and_1_2(document):
    text = dump_yaml({"x": document})
    assert yaml.safe_load(text) == {"x": document}
    assert YAML(typ="safe", pure=True).load(text) == {"x": document}


def test_the_same_platform_gives_the_same_bytes(platform):
    env = PLATFORMS["nginx-promtail"]
    assert _text(platform(env, "team")) == _text(platform(env, "team"))


def test_only_the_ingress_publishes_and_sees_both_sides(platform):
    for env in PLATFORMS.values():
        spec = platform(env)
        document = compose_document(spec, {})
        assert [name for name, body in document["services"].items() if "ports" in body] == [spec.ingress]
        assert [name for name, body in document["services"].items() if "edge" in body["networks"]] == [spec.ingress]
        internal = {name for name, body in document["networks"].items() if body["internal"]}
        assert set(document["networks"]) - internal <= {"edge", "egress"}


def test_ssh_is_published_by_the_ingress_and_passed_on(platform):
    spec = platform(EXAMPLES["team"])
    ports = compose_document(spec, {})["services"]["traefik"]["ports"]
    assert {p["published"] for p in ports} == {"80", "443", "22222"}
    assert "22222" in render(spec).files["traefik/traefik.yml"].text
    assert "gitlab:22" in render(spec).files["traefik/dynamic/routes.yml"].text


def test_no_planted_secret_is_in_any_file(platform):
    canaries = "".join(
        f"{name}=canary-{name.lower()}-4711\n"
        for name in ("PROMETHEUS_PASSWORD", "GITLAB_ROOT_PASSWORD", "GRAFANA_ADMIN_PASSWORD", "MEILI_MASTER_KEY")
    )
    spec = platform(PLATFORMS["traefik-alloy"].replace("glrt-canary", "glrt-canary-4711") + canaries)
    assert [path for path, file in render(spec).files.items() if "canary" in file.text] == []


def test_a_secret_is_a_file_and_the_file_carries_its_version(platform):
    document = compose_document(platform(EXAMPLES["homelab"]), {})
    place = document["secrets"]["GRAFANA_ADMIN_PASSWORD"]["file"]
    assert place.endswith(".autogit/secrets/grafana/GRAFANA_ADMIN_PASSWORD.v1")
    assert {"source": "GRAFANA_ADMIN_PASSWORD", "target": "GRAFANA_ADMIN_PASSWORD"} in document["services"]["grafana"][
        "secrets"
    ]
    assert "canary" not in json.dumps(document)


def test_with_a_public_authority_nobody_is_given_a_root_that_there_is_none_of(platform):
    sign_in = "GRAFANA_GITLAB_SIGN_IN=true\nGRAFANA_GITLAB_CLIENT_ID=x\nGRAFANA_GITLAB_CLIENT_SECRET=y\n"
    issuer = "CERT_ISSUER=letsencrypt\nCERT_CHALLENGE=http-01\nACME_EMAIL=a@example.org\nBASE_DOMAIN=example.org\n"
    spec = platform(PLATFORMS["traefik-alloy"] + issuer + sign_in, "homelab")
    assert not [m for s in spec.running for m in s.container.mounts if m.kind == "bind" and not m.source]
    assert "tls-ca-file" not in render(spec).files["gitlab-runner/config.toml"].text
