"""CERT_CHALLENGE=http-01 in the spec: which names, which way the challenge takes, and what has to stand before what."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from autogit.core.certificates import MOST_NAMES, certificate_names
from autogit.core.desired import desired_resources
from autogit.core.render import render
from autogit.errors import DescriptorError, SettingsError, UnsupportedError
from autogit.model.host import CertificateFacts
from autogit.model.lockfile import Lockfile

HTTP01 = "BASE_DOMAIN=example.org\nCERT_CHALLENGE=http-01\nCERT_ISSUER=letsencrypt\nSERVICES_ENABLED=api,prometheus\n"
DOCKER = HTTP01 + "RUNTIME=docker\n"
ACME = "traefik/dynamic/acme.yml"


def resources(spec):
    return {str(one.address): one for one in desired_resources(spec, render(spec))}


def needs(spec, address):
    return {str(one) for one in resources(spec)[address].depends_on}


def test_the_names_are_those_of_the_routes_and_no_wildcard(workbench):
    assert workbench.spec(HTTP01).certificate.names == ("api.example.org", "prometheus.example.org")


def test_a_name_with_two_routes_is_in_it_once(workbench):
    settings = workbench.settings(HTTP01)
    assert certificate_names(settings, ["b.example.org", "a.example.org", "b.example.org"]) == (
        "a.example.org",
        "b.example.org",
    )


def test_without_a_route_it_is_for_the_domain(workbench):
    assert certificate_names(workbench.settings(HTTP01), []) == ("example.org",)


def test_a_service_more_is_a_certificate_more(workbench):
    known = CertificateFacts(version=4, due="", names=("api.example.org", "prometheus.example.org"), key_type="P-256")
    workbench.facts = replace(workbench.facts, certificates={"example.org": known})
    assert workbench.spec(HTTP01).certificate.due == ""
    workbench.add_service("wiki")
    workbench.add_service(
        "wiki", (workbench.paths.overrides / "services/wiki/service.yml").read_text() + "routes: [{}]\n"
    )
    grown = workbench.spec(HTTP01.replace("api,", "api,wiki,")).certificate
    assert (grown.due, grown.version) == ("its names differ", 5)
    assert "wiki.example.org" in grown.names


def test_what_authorities_do_not_take_is_refused_with_the_line(workbench):
    settings = workbench.settings(HTTP01)
    hosts = [f"s{number}.example.org" for number in range(MOST_NAMES + 1)]
    assert len(certificate_names(settings, hosts[1:])) == MOST_NAMES
    with pytest.raises(UnsupportedError, match=r"\.env line 2: .*101 are wished for, and 100") as refused:
        certificate_names(settings, hosts)
    assert "dns-01" in refused.value.hint


def test_the_local_authority_asks_for_no_proof(workbench):
    spec = workbench.spec(HTTP01.replace("CERT_ISSUER=letsencrypt", "CERT_ISSUER=local"))
    assert spec.certificate.names == ("example.org", "*.example.org")
    assert ACME not in render(spec).files
    assert "traefik/acme" not in spec.ports


def test_the_way_exists_only_while_it_is_chosen_and_its_port_stays(workbench):
    assert ACME not in render(workbench.spec(HTTP01.replace("http-01", "dns-01"))).files
    workbench.lockfile = Lockfile(ports={"traefik/acme": 20777})
    spec = workbench.spec(HTTP01)
    assert spec.ports["traefik/acme"] == 20777
    told = yaml.safe_load(render(spec).files[ACME].text)["http"]
    assert told["services"]["acme"]["loadBalancer"]["servers"] == [{"url": "http://127.0.0.1:20777"}]
    assert workbench.spec(HTTP01 + "PORT_TRAEFIK_ACME=9099\n").challenges.listen_port == 9099


def test_it_goes_before_the_redirect_on_the_plain_port_and_nowhere_else(workbench):
    tree = render(workbench.spec(HTTP01)).files
    (router,) = yaml.safe_load(tree[ACME].text)["http"]["routers"].values()
    redirect = yaml.safe_load(tree["traefik/traefik.yml"].text)["entryPoints"]["web"]["http"]["redirections"]
    assert router["priority"] > redirect["entryPoint"]["priority"]
    assert (router["entryPoints"], router["rule"]) == (["web"], "PathPrefix(`/.well-known/acme-challenge/`)")


def test_the_way_stands_before_the_order_and_every_other_file_waits_for_it(workbench):
    spec = workbench.spec(HTTP01)
    assert needs(spec, "certificate/example.org") == {f"file/{ACME}"}
    assert needs(spec, f"file/{ACME}") == set()
    assert needs(spec, "file/traefik/dynamic/routes.yml") == {"certificate/example.org"}
    assert needs(spec, "file/traefik/dynamic/tls.yml") == {"certificate/example.org"}
    assert "certificate/example.org" in needs(spec, "process/traefik")


def test_what_trusts_the_local_root_waits_for_it(workbench):
    template = {"a.conf.j2": "trust {{ certificate.root }}\n"}
    workbench.add_service(
        "web",
        "service: web\nsummary: x\nports: {http: {internal: 80}}\nconfig: [{path: a.conf}]\n"
        "runs: {embedded: {program: python}}\n",
        **template,
    )
    spec = workbench.spec("BASE_DOMAIN=example.org\nSERVICES_ENABLED=web\n")
    assert needs(spec, "file/web/a.conf") == {"certificate/example.org"}


def test_in_docker_traefik_reaches_this_host_at_the_first_address_of_its_own_network(workbench):
    spec = workbench.spec(DOCKER + "ACME_SUBNET=10.9.8.0/28\n")
    assert {n.name: n.subnet for n in spec.networks}["edge"] == "10.9.8.0/28"
    port = spec.ports["traefik/acme"]
    (server,) = yaml.safe_load(render(spec).files[ACME].text)["http"]["services"]["acme"]["loadBalancer"]["servers"]
    assert server == {"url": f"http://10.9.8.1:{port}"}
    assert (spec.challenges.listen_address, spec.challenges.listen_port) == ("10.9.8.1", port)
    assert needs(spec, "certificate/example.org") == {f"file/{ACME}", "network/edge"}
    assert needs(spec, "file/traefik/dynamic/tls.yml") == {"certificate/example.org"}
    assert not any(p.container_port == port for s in spec.running if s.container for p in s.container.ports)


def test_in_docker_nothing_changes_for_others(workbench):
    spec = workbench.spec(DOCKER.replace("http-01", "dns-01"))
    assert {n.name: n.subnet for n in spec.networks}["edge"] == ""
    assert "traefik/acme" not in spec.ports


def test_names_of_own_containers_are_not_in_it_which_the_plan_says(workbench):
    told = [n.message for n in workbench.spec(DOCKER).notes if n.subject == "certificate"]
    assert told == [
        "by http-01 the certificate has the names of AutoGit's services, not those of containers of your own"
    ]
    assert [n for n in workbench.spec(HTTP01).notes if n.subject == "certificate"] == []


def test_an_engine_elsewhere_cannot_lead_challenges_here(workbench):
    with pytest.raises(UnsupportedError, match=r"needs the Docker Engine on this machine") as refused:
        workbench.spec(DOCKER + "DOCKER_HOST=tcp://10.0.0.7:2376\n")
    assert "dns-01" in refused.value.hint
    assert workbench.spec(DOCKER + "DOCKER_HOST=unix:///run/other.sock\n").challenges.listen_port


def test_nginx_serves_the_folder_itself(workbench):
    spec = workbench.spec(DOCKER + "INGRESS=nginx\n")
    assert (spec.challenges.target, ACME in render(spec).files) == ("", False)
    (nginx,) = (s for s in spec.running if s.name == "nginx")
    mounts = {m.source: (m.target, m.read_only) for m in nginx.container.mounts}
    assert mounts[str(spec.paths.acme_challenges)] == ("/run/autogit/acme-challenges", True)
    text = render(spec).files["nginx/nginx.conf"].text
    assert 'alias "/run/autogit/acme-challenges/";' in text
    assert {n.name: n.subnet for n in spec.networks}["edge"] == "", "nginx needs no way to this host"


@pytest.mark.parametrize("subnet", ["10.9.8.0/30", "10.9.8.1/28", "fd00::/64", "lan"])
def test_a_subnet_that_cannot_be_is_a_fault_of_its_line(workbench, subnet):
    with pytest.raises(SettingsError) as refused:
        workbench.settings(HTTP01 + f"ACME_SUBNET={subnet}\n")
    assert [(f.place, f.subject) for f in refused.value.faults] == [(".env line 5", f"ACME_SUBNET={subnet}")]


def test_a_file_that_goes_with_a_port_of_this_host_names_one(workbench):
    text = (
        "service: web\nsummary: x\nports: {http: {internal: 80}}\nconfig: [{path: a.conf, with_port: http}]\n"
        "runs: {embedded: {program: python}}\n"
    )
    workbench.add_service("web", text, **{"a.conf.j2": "x\n"})
    with pytest.raises(DescriptorError) as refused:
        workbench.catalogue()
    assert [fault.message for fault in refused.value.faults] == ["a.conf: http is not among the ports that are on_host"]
