"""Everything that is rendered, scanned: what may not be is not there, and each exception has its reason."""

from __future__ import annotations

import re

import pytest

from autogit.core.policy import breaches
from autogit.core.render import render
from autogit.model.service import Exposure, PolicyRule
from tests.catalogue.platforms import PLATFORMS

NEVER_OPEN = {
    "prometheus", "loki", "tempo", "meilisearch", "alloy", "promtail", "node-exporter", "cadvisor", "dcgm-exporter",
    "socket-proxy", "gitlab-runner",
}  # fmt: skip
MAY_HAVE_THE_SOCKET = {"socket-proxy", "gitlab-runner", "cadvisor", "node-exporter"}


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_breach_has_a_reason_and_every_reason_a_breach(platform, name):
    spec = platform(PLATFORMS[name])
    for service in spec.running:
        found = {rule for rule, _ in breaches(spec, service.container)}
        reasons = service.descriptor.runs.container.exceptions
        assert found == set(reasons), service.name
        assert all(len(reason) > 10 for reason in reasons.values()), service.name
    assert [note for note in spec.notes if "does not say why" in note.message] == []


def test_a_breach_without_a_reason_is_said_aloud(platform, workbench):
    text = (
        "service: web\nsummary: x\nimage: example/web:1.0\nsizing: {homelab: 1C/64M}\n"
        "runs:\n  container: {read_only: false, binds: [{source: /etc, target: /etc}]}\n"
    )
    workbench.add_service("web", text)
    said = {n.message for n in platform("RUNTIME=docker\nSERVICES_ENABLED=web\n").notes if n.subject == "web"}
    assert said == {
        f"{sentence}, and its descriptor does not say why ({rule})"
        for sentence, rule in (
            ("it runs as root", "root-user"),
            ("its root file system can be written to", "writable-root"),
            ("nothing asks whether it is well", "no-health-check"),
            ("it sees /etc of the host", "host-path"),
        )
    }


@pytest.mark.parametrize(
    ("run", "rules"),
    [
        ("binds: [{source: /var/run/, target: /x}]", {"host-path", "docker-socket"}),
        ("binds: [{source: ../../.., target: /x}]", {"host-path"}),
        ("binds: [{source: ../../../../../../../../../.., target: /x}]", {"host-path", "docker-socket"}),
        ("devices: [/dev/sda]", {"devices"}),
    ],
)
def test_a_breach_is_seen_in_every_spelling(platform, workbench, run, rules):
    text = (
        "service: web\nsummary: x\nimage: example/web:1.0\nsizing: {homelab: 1C/64M, minimal: 1C/64M, team: 1C/64M, "
        "production: 1C/64M}\nruns:\n  container:\n    user: '10002'\n    health: {test: [CMD, 'true']}\n    "
    )
    workbench.add_service("web", text + run + "\n")
    spec = platform("RUNTIME=docker\nSERVICES_ENABLED=web\n")
    assert {n.message.rpartition("(")[2].strip(")") for n in spec.notes if n.subject == "web"} == rules


@pytest.mark.parametrize("name", PLATFORMS)
def test_whoever_is_told_an_address_shares_a_network_with_it(platform, name):
    spec = platform(PLATFORMS[name])
    files = render(spec).files
    networks = {s.name: set(s.container.networks) for s in spec.running}
    known = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, networks))}):(\d+)(?!\d)")
    found = 0
    for service in spec.running:
        texts = [file.text for file in files.values() if file.service == service.name]
        texts += [*service.container.command, *service.container.environment.values()]
        for target, port in known.findall("\n".join(texts)):
            internal = {p.internal for p in next(s for s in spec.running if s.name == target).descriptor.ports.values()}
            if target != service.name and int(port) in internal:
                assert networks[service.name] & networks[target], f"{service.name} cannot reach {target}:{port}"
                found += 1
    assert found > 3


@pytest.mark.parametrize("name", PLATFORMS)
def test_images_are_pinned_and_limits_and_logs_are_bounded(platform, name):
    for service in platform(PLATFORMS[name]).running:
        container = service.container
        assert re.fullmatch(r"[a-z0-9./_-]+:v?[0-9a-z][\w.-]*", container.image), container.image
        assert not re.search(r"latest|edge|nightly|main$", container.image)
        assert container.cpus > 0
        assert container.memory_bytes >= 32 * 1024**2
        assert container.pids_limit > 0


@pytest.mark.parametrize("name", PLATFORMS)
def test_no_backend_without_a_login_is_open(platform, name):
    spec = platform(PLATFORMS[name])
    open_routes = {r.service for r in spec.routes if r.exposure is Exposure.PUBLIC}
    assert not open_routes & NEVER_OPEN
    assert all(r.password_file for r in spec.routes if r.exposure is Exposure.AUTHENTICATED)


def test_the_socket_is_given_to_few(platform):
    for env in PLATFORMS.values():
        spec = platform(env)
        found = {
            s.name for s in spec.running for rule, _ in breaches(spec, s.container) if rule is PolicyRule.DOCKER_SOCKET
        }
        assert found <= MAY_HAVE_THE_SOCKET


DEFAULT_PASSWORD = re.compile(
    r"(?i)(password|secret|token|master_key)[\w ]*['\"]?\s*[:=>]+\s*['\"]?(admin|changeme|password|gitlab|12345)"
)


@pytest.mark.parametrize("name", PLATFORMS)
def test_nothing_rendered_holds_latest_or_a_default_password(platform, name):
    for path, file in render(platform(PLATFORMS[name])).files.items():
        found = [x for x in file.text.splitlines() if re.search(r":latest\b", x) or DEFAULT_PASSWORD.search(x)]
        assert found == [], path
