"""Rendering: pure, deterministic, sandboxed; no value can break out of its place and no secret comes in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autogit.core.context import TEMPLATE_NAMES, template_context, traefik_rule
from autogit.core.render import load_literals, render
from autogit.core.templating import serialise
from autogit.errors import RenderError

WITH_TEMPLATE = """\
service: web
summary: x
ports: {http: {internal: 80}}
config: [{path: conf.yml}]
settings: [{name: WEB_TITLE, description: A title, default: hello}]
runs: {embedded: {program: python, arguments: ["--title={{ settings.WEB_TITLE }}"]}}
"""
HOSTILE = [
    "${HOME} $$ $(id) `id`",
    "quote \" and ' and \\ end",
    "{{ 7 * 7 }} {% raw %}",
    "a: b # c\n- d\n---\n...",
    "!!python/object/apply:os.system [id]",
    "*alias &anchor <<: |",
    "null",
    "1e3",
    "\x85 \u2028 \u2029 \ufeff \x7f \x1b[31m",
    "",
]
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def _web(workbench, template, **more):
    workbench.add_service("web", WITH_TEMPLATE, **{"conf.yml.j2": template, **more})


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_arrives_as_itself_and_nothing_else(workbench, value):
    _web(workbench, "title: {{ settings.WEB_TITLE }}\nlist: [{{ settings.WEB_TITLE }}, 2]\nafter: true\n")
    quoted = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    spec = workbench.spec(f"SERVICES_ENABLED=web\nWEB_TITLE={quoted}\n")
    web = next(s for s in spec.services if s.name == "web")
    wished = value or "hello"  # an empty value is an unset one
    assert web.program.arguments == (f"--title={wished}",)
    text = render(spec).files["web/conf.yml"].text
    assert yaml.safe_load(text) == {"title": wished, "list": [wished, 2], "after": True}


@given(ANY)
def test_any_text_survives_the_serializer_in_yaml_and_json(value):
    assert yaml.safe_load(f"a: {serialise(value)}\nb: [{serialise(value)}]") == {"a": value, "b": [value]}
    assert json.loads(serialise(value)) == value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(ANY)
def test_any_setting_renders_to_a_file_that_reads_back(workbench, value):
    _web(workbench, "title: {{ settings.WEB_TITLE }}\n")
    spec = workbench.spec("SERVICES_ENABLED=web\n")
    from dataclasses import replace

    services = tuple(replace(s, settings={"WEB_TITLE": value}) if s.name == "web" else s for s in spec.services)
    text = render(replace(spec, services=services)).files["web/conf.yml"].text
    assert yaml.safe_load(text) == {"title": value}


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("a: 1\nb: {{ nothing_of_that_name }}\n", 2),
        ("a: 1\n\nb: {{ ports.nope }}\n", 3),
        ("a: {{ 1 / 0 }}\n", 1),
        ("a: 1\nb: {{ settings.WEB_TITLE.__class__.__mro__ }}\n", 2),
        ("a: {{ ''.__class__.__base__.__subclasses__() }}\n", 1),
        ("{% include '/etc/passwd' %}\n", 1),
    ],
)
def test_a_template_that_cannot_be_rendered_is_named_with_its_line(workbench, template, line):
    _web(workbench, template)
    with pytest.raises(RenderError) as refused:
        render(workbench.spec("SERVICES_ENABLED=web\n"))
    assert f"overrides/services/web/config/conf.yml.j2 line {line}:" in refused.value.message
    assert refused.value.exit_code == 2


def test_a_template_cannot_change_what_others_see(workbench):
    _web(workbench, "a: {{ settings.update({'WEB_TITLE': 'x'}) }}\n")
    with pytest.raises(RenderError, match="conf.yml.j2 line 1"):
        render(workbench.spec("SERVICES_ENABLED=web\n"))


def test_a_template_that_renders_to_no_yaml_is_named(workbench):
    _web(workbench, "a: prefix-{{ settings.WEB_TITLE }}: [\n")
    with pytest.raises(RenderError, match=r"conf.yml.j2 renders to something that is not YAML \(rendered line \d+\)"):
        render(workbench.spec("SERVICES_ENABLED=web\n"))


def test_a_file_of_the_users_own_wins_over_the_template(workbench):
    _web(workbench, "a: 1\n")
    literals = workbench.paths.overrides / "files"
    (literals / "web").mkdir(parents=True)
    (literals / "web" / "conf.yml").write_text("{{ mine }}: as it is")
    (literals / "web" / "extra.txt").write_text("more")
    (literals / "grafana").mkdir()
    (literals / "grafana" / "x.ini").write_text("of a service that does not run here")
    files = render(workbench.spec("SERVICES_ENABLED=web\n"), load_literals(literals)).files
    assert files["web/conf.yml"].text == "{{ mine }}: as it is"
    assert files["web/extra.txt"].text == "more"
    assert "grafana/x.ini" not in files


def test_a_users_own_file_that_is_not_text_is_a_sentence(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff\x00")
    with pytest.raises(RenderError, match="overrides/files/a.bin cannot be read as UTF-8 text"):
        load_literals(tmp_path)


RENDER = """
import sys
from pathlib import Path
from autogit.core.render import render
from tests_workbench import Workbench
bench = Workbench(Path(sys.argv[1]))
env = "SERVICES_ENABLED=api,prometheus\\nSIZE=team\\nBASE_DOMAIN=example.org\\n"
for path, file in render(bench.spec(env)).files.items():
    print(path, file.text, sep="\\n")
"""


def test_rendering_is_byte_identical_under_two_hash_seeds(tmp_path):
    (tmp_path / "p").mkdir()
    root = Path(__file__).parents[2]
    (tmp_path / "tests_workbench.py").write_text((root / "tests" / "conftest.py").read_text())
    outputs = set()
    for seed in ("1", "4711"):
        environ = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"}
        done = subprocess.run(
            [sys.executable, "-c", RENDER, str(tmp_path / "p")], env=environ, capture_output=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop()) > 2000


def test_nothing_rendered_holds_a_secret_a_default_password_or_latest(workbench):
    given_secret = "PROMETHEUS_PASSWORD=canary-4711\nCLOUDFLARE_API_TOKEN=canary-4712\n"
    spec = workbench.spec("SERVICES_ENABLED=api,prometheus\n" + given_secret)
    texts = {path: file.text for path, file in render(spec).files.items()}
    words = [a for s in spec.running for a in (*s.program.arguments, *s.program.environment.values())]
    texts["arguments"] = "\n".join(words)
    for path, text in texts.items():
        assert "canary" not in text, path
        assert not re.search(r"\blatest\b", text), path
        assert not re.search(r"(?i)(password|passwd|secret|token)\s*[:=]\s*\S+", text), path
        assert not re.search(r"(?i)\b(changeme|admin:admin|hunter2|letmein)\b", text), path
    images = [d.image for d in workbench.catalogue().descriptors if d.image]
    assert all(re.search(r":[a-z-]*v?\d+(\.\d+)+", image) for image in images), "an image without a version"


def test_a_rule_takes_no_backtick():
    assert traefik_rule("a.test", "/") == "Host(`a.test`)"
    assert traefik_rule("a.test", "/x") == "Host(`a.test`) && PathPrefix(`/x`)"
    with pytest.raises(ValueError, match="backtick"):
        traefik_rule("a.test", "/`) || Host(`b.test")


def test_without_routes_the_file_is_still_a_file_that_traefik_takes(workbench):
    spec = workbench.spec("SERVICES_ENABLED=gitlab\n")
    assert yaml.safe_load(render(spec).files["traefik/dynamic/routes.yml"].text) == {"http": {}}


def test_an_ipv6_address_stands_in_brackets(workbench):
    spec = workbench.spec("SERVICES_ENABLED=api\nBIND_ADDRESS=::1\n")
    static = yaml.safe_load(render(spec).files["traefik/traefik.yml"].text)
    assert static["entryPoints"]["websecure"]["address"] == "[::1]:8443"


@pytest.mark.parametrize("runtime", ["embedded", "docker"])
def test_every_name_that_a_template_may_use_is_described(workbench, runtime):
    spec = workbench.spec(f"RUNTIME={runtime}\nSERVICES_ENABLED=api,prometheus\n")
    for service in spec.running:
        assert set(template_context(spec, service)) == set(TEMPLATE_NAMES)
