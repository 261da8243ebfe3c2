"""The spec: what comes along, what cannot run here and why, which routes there are, what this version refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.core.spec import check_supported
from autogit.errors import DescriptorError, RenderError, UnsupportedError, UsageError
from autogit.model.host import CertificateFacts
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.resource import Address
from autogit.model.service import Exposure

GOOD = CertificateFacts(version=3, due="", names=("*.autogit.localhost", "autogit.localhost"), serial="ab")


def test_the_ingress_and_dependencies_come_along_and_it_is_said(workbench):
    workbench.add_service("db")
    workbench.add_service("wiki", "service: wiki\nsummary: x\ndependencies: [db]\n")
    spec = workbench.spec("SERVICES_ENABLED=wiki\n")
    assert [s.name for s in spec.services] == ["db", "traefik", "wiki"]
    assert next(s for s in spec.services if s.name == "db").needed_by == ("wiki",)
    assert ("db", "comes along for wiki") in {(n.subject, n.message) for n in spec.notes}


def test_what_cannot_run_here_is_listed_with_the_reason(workbench):
    workbench.facts = replace(
        workbench.facts, executables={k: v for k, v in workbench.facts.executables.items() if k != "prometheus"}
    )
    spec = workbench.spec()
    reasons = {s.name: s.unavailable for s in spec.services}
    assert "Docker Engine" in reasons["gitlab"]
    assert reasons["prometheus"] == "prometheus is not on PATH (Debian: apt-get install prometheus)"
    assert [s.name for s in spec.running] == ["api", "traefik"]
    notes = {n.subject: n.message for n in spec.notes}
    assert "unavailable here" in notes["gitlab, grafana, loki, meilisearch, tempo"]


def test_a_program_that_is_not_there_is_named_even_if_the_descriptor_says_nothing(workbench):
    text = "service: web\nsummary: x\nports: {http: {internal: 80}}\nruns: {embedded: {program: nginx}}\n"
    workbench.add_service("web", text)
    spec = workbench.spec("SERVICES_ENABLED=web\n")
    assert next(s for s in spec.services if s.name == "web").unavailable == "the program nginx is not on PATH"


def test_a_service_without_any_form_for_this_runtime_is_unavailable(workbench):
    workbench.add_service("web", "service: web\nsummary: x\n")
    spec = workbench.spec("SERVICES_ENABLED=web\n")
    assert spec.services[-1].unavailable == "it cannot run in the embedded runtime"


def test_what_this_version_cannot_do_is_refused_and_never_dropped(workbench):
    with pytest.raises(UnsupportedError) as refused:
        check_supported(workbench.settings("\nRUNTIME=swarm\n"))
    assert refused.value.hint == "set RUNTIME=embedded"
    assert ".env line 2" in refused.value.message
    assert refused.value.exit_code == 2


def test_routes_follow_the_domain_and_internal_ones_stay_inside(workbench):
    text = (
        "service: web\nsummary: x\nsubdomain: www\nports: {http: {internal: 80}, admin: {internal: 81}}\n"
        "routes:\n  - {}\n  - {name: admin, subdomain: boss, path_prefix: /a, port: admin, rate_limit: 0}\n"
        "  - {name: inner, exposure: internal}\nruns: {embedded: {program: python}}\n"
    )
    workbench.add_service("web", text)
    spec = workbench.spec("SERVICES_ENABLED=web\nBASE_DOMAIN=example.org\n")
    routes = {r.name: r for r in spec.routes}
    assert list(routes) == ["web", "web-admin"]
    assert (routes["web"].host, routes["web-admin"].host) == ("www.example.org", "boss.example.org")
    assert routes["web-admin"].target == f"http://127.0.0.1:{spec.ports['web/admin']}"
    assert routes["web-admin"].rate_limit == 0


def test_an_authenticated_route_needs_a_password_setting(workbench):
    text = (
        "service: web\nsummary: x\nports: {http: {internal: 80}}\nroutes: [{exposure: authenticated}]\n"
        "runs: {embedded: {program: python}}\n"
    )
    workbench.add_service("web", text)
    with pytest.raises(UnsupportedError, match=r"overrides/services/web/service.yml: route web is authenticated"):
        workbench.spec("SERVICES_ENABLED=web\n")


def test_prometheus_is_never_public_without_a_password(workbench):
    spec = workbench.spec("SERVICES_ENABLED=prometheus\n")
    (route,) = [r for r in spec.routes if r.service == "prometheus"]
    assert route.exposure is Exposure.AUTHENTICATED
    assert route.password_file.endswith(".autogit/secrets/htpasswd/PROMETHEUS_PASSWORD.v1.htpasswd")


def test_a_new_value_of_a_secret_is_a_new_version_and_a_new_file(workbench):
    address = Address("secret", "PROMETHEUS_PASSWORD")
    workbench.lockfile = Lockfile(entries={address: LockEntry(address, {"version": 2, "fingerprint": "aa"})})

    def wish(fingerprint):
        workbench.facts = replace(workbench.facts, secret_fingerprints={address.name: fingerprint})
        spec = workbench.spec("SERVICES_ENABLED=prometheus\n")
        (secret,) = next(s.secrets for s in spec.services if s.name == "prometheus")
        assert next(r.password_file for r in spec.routes) == secret.file
        return secret.version, secret.file.rpartition("/")[2]

    assert wish("aa") == (2, "PROMETHEUS_PASSWORD.v2.htpasswd")
    assert wish("bb") == (3, "PROMETHEUS_PASSWORD.v3.htpasswd")
    assert wish("") == (2, "PROMETHEUS_PASSWORD.v2.htpasswd")


def test_a_given_secret_never_shows_in_the_spec(workbench):
    spec = workbench.spec("SERVICES_ENABLED=prometheus\nPROMETHEUS_PASSWORD=canary-4711\nCLOUDFLARE_API_TOKEN=canary\n")
    assert "canary" not in repr(spec)
    assert spec.settings["PROMETHEUS_PASSWORD"] == "(secret)"


def test_the_certificate_moves_to_the_next_version_only_when_due(workbench):
    def wish(facts):
        workbench.facts = replace(workbench.facts, certificates={"autogit.localhost": facts})
        return workbench.spec("SERVICES_ENABLED=api\n").certificate

    assert workbench.spec("SERVICES_ENABLED=api\n").certificate.version == 1
    assert (wish(GOOD).version, wish(GOOD).due) == (3, "")
    assert wish(GOOD).names == ("autogit.localhost", "*.autogit.localhost")
    assert wish(GOOD).fullchain.endswith(".autogit/certs/autogit.localhost/v3/fullchain.pem")
    due = wish(replace(GOOD, due="20 of 90 days left"))
    assert (due.version, due.due) == (4, "20 of 90 days left")
    other = wish(replace(GOOD, names=("autogit.localhost",)))
    assert (other.version, other.due) == (4, "its names differ")


def test_a_broken_argument_template_is_named(workbench):
    workbench.add_service(
        "web",
        "service: web\nsummary: x\nports: {http: {internal: 80}}\n"
        "runs: {embedded: {program: python, arguments: ['{{ ports.htpp }}']}}\n",
    )
    with pytest.raises(RenderError, match=r"overrides/services/web/service.yml: runs.embedded arguments .*htpp"):
        workbench.spec("SERVICES_ENABLED=web\n")


def test_a_service_that_vanished_is_a_usage_error(workbench):
    settings = workbench.settings("SERVICES_ENABLED=api\n")
    from autogit.core.spec import build_spec

    with pytest.raises(UsageError, match="no service called gone"):
        build_spec(
            settings.model_copy(update={"services_enabled": ("gone",)}),
            workbench.catalogue(),
            workbench.facts,
            workbench.lockfile,
            workbench.paths,
        )


def test_two_services_may_not_claim_one_route(workbench):
    for name in ("one", "two"):
        workbench.add_service(
            name,
            "service: NAME\nsummary: x\nsubdomain: same\nports: {http: {internal: 80}}\nroutes: [{}]\n"
            "runs: {embedded: {program: python}}\n",
        )
    with pytest.raises(DescriptorError) as refused:
        workbench.spec("SERVICES_ENABLED=one,two\n")
    (fault,) = refused.value.faults
    assert fault.place == "overrides/services/two/service.yml"
    assert fault.message == "https://same.autogit.localhost/ is claimed by one already"


@pytest.mark.parametrize("runtime", ["docker", "embedded"])
def test_what_is_at_its_end_of_life_is_said_aloud_in_every_runtime(workbench, runtime):
    env = f"RUNTIME={runtime}\nSERVICES_ENABLED=loki,api\nLOG_COLLECTOR="
    said = {n.subject: n.message for n in workbench.spec(env + "promtail\n").notes if n.level == "warning"}
    assert "LOG_COLLECTOR=alloy" in said["promtail"]
    assert "promtail" not in {n.subject for n in workbench.spec(env + "alloy\n").notes}


def test_a_host_that_nobody_knows_is_not_too_small(workbench):
    workbench.facts = replace(workbench.facts, cpus=0, memory_bytes=0)
    (note,) = [n for n in workbench.spec("SERVICES_ENABLED=api\nSIZE=production\n").notes if n.subject == "size"]
    assert note.message == "needs 8 cores, 3.0 GB (tier production)"


def test_a_service_that_another_needs_comes_along_in_containers_too(workbench):
    spec = workbench.spec("RUNTIME=docker\nSERVICES_ENABLED=gitlab-runner,loki\n")
    needed = {s.name: s.needed_by for s in spec.services}
    assert needed["gitlab"] == ("gitlab-runner",)
    assert needed["alloy"] == ("loki",)
    assert "traefik" in needed["socket-proxy"]


@pytest.mark.parametrize(
    ("host", "socket"),
    [
        ("", "/var/run/docker.sock"),
        ("unix:///run/user/1000/docker.sock", "/run/user/1000/docker.sock"),
        ("ssh://me@desktop", "/var/run/docker.sock"),
    ],
)
def test_the_socket_proxy_is_given_the_socket_that_docker_host_names(workbench, host, socket):
    spec = workbench.spec(f"RUNTIME=docker\nSERVICES_ENABLED=api\nDOCKER_HOST={host}\n")
    (proxy,) = [s.container for s in spec.running if s.name == "socket-proxy"]
    assert [m.source for m in proxy.mounts if m.target == "/var/run/docker.sock"] == [socket]


def test_a_certificate_that_is_due_and_can_wait_is_not_asked_for_by_up(workbench):
    """An authority that does not answer must not keep everything else from being applied."""
    good = CertificateFacts(2, due="a third of its life is left", names=("autogit.localhost", "*.autogit.localhost"))
    for can_wait, version in ((True, 2), (False, 3)):
        facts = {"autogit.localhost": replace(good, can_wait=can_wait)}
        workbench.facts = replace(workbench.facts, certificates=facts)
        assert workbench.spec("SERVICES_ENABLED=api\n").certificate.version == version
