"""Succession: the ingress that is chosen takes over ports from the one before, and says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.core.succession import put_back, running_ingress, running_manager
from autogit.errors import UnsupportedError
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.resource import Address

POOL_PORT = 20017


def _recorded(*names, applied=True, **more):
    entries = {
        Address("process", n): LockEntry(Address("process", n), {"state": "running"} if applied else {}) for n in names
    }
    return Lockfile(entries=entries, **more)


@pytest.fixture
def bench(workbench):
    workbench.facts = replace(workbench.facts, executables={**workbench.facts.executables, "nginx": "/opt/bin/nginx"})
    return workbench


def _notes(spec):
    return {note.subject: note.message for note in spec.notes}


def test_names_lead_to_the_same_ports_after_a_change_of_the_ingress(bench):
    bench.lockfile = _recorded("traefik", ports={"traefik/https": POOL_PORT})
    spec = bench.spec("INGRESS=nginx\n")
    assert spec.ports["nginx/https"] == POOL_PORT
    assert next(s for s in spec.services if s.name == "nginx").instead_of == ("traefik",)
    assert "takes the place of traefik" in _notes(spec)["nginx"]


def test_a_first_up_and_one_that_was_never_finished_take_nobody_s_place(bench):
    for lockfile in (Lockfile(), _recorded("traefik", applied=False)):
        bench.lockfile = lockfile
        assert "nginx" not in _notes(bench.spec("INGRESS=nginx\n"))


def test_an_ingress_that_cannot_run_here_does_not_take_the_place_of_one_that_does(workbench):
    workbench.lockfile = _recorded("traefik")
    with pytest.raises(UnsupportedError) as refused:
        workbench.spec("\nINGRESS=nginx\n")
    assert ".env line 2: nginx cannot take the place of traefik: nginx is not on PATH" in refused.value.message
    assert refused.value.hint == "make it available, or set INGRESS=traefik"


def test_both_may_be_wanted_and_then_neither_takes_the_other_s_place(bench):
    bench.lockfile = _recorded("traefik")
    spec = bench.spec("INGRESS=traefik\nSERVICES_ENABLED=nginx\n")
    assert {s.name: s.instead_of for s in spec.services} == {"nginx": (), "traefik": ()}


def test_the_ingress_in_force_is_the_former_one_until_up_moves_on(bench):
    settings = bench.settings("INGRESS=nginx\n")
    before = {"INGRESS": "traefik"}
    assert running_ingress(settings, _recorded("traefik", settings=before)) == "traefik"
    assert running_ingress(settings, _recorded("traefik", "nginx", settings=before)) == "nginx"
    assert running_ingress(settings, Lockfile()) == "nginx"


def _started_for(need, ingress="traefik", **settings):
    address = Address("process", ingress)
    entry = LockEntry(address, {"state": "running"}, depends_on=(Address.parse(need),))
    return Lockfile(entries={address: entry}, settings={"INGRESS": ingress, **settings})


TRAEFIKS = "CERT_MANAGER=traefik\nCERT_ISSUER=letsencrypt\nCERT_CHALLENGE=http-01\nBASE_DOMAIN=example.org\n"


def test_who_orders_certificates_is_whoever_the_ingress_was_started_for(bench):
    own, traefiks = _started_for("certificate/example.org"), _started_for("acme_storage/letsencrypt")
    for settings in (bench.settings(TRAEFIKS), bench.settings("BASE_DOMAIN=example.org\n")):
        assert running_manager(settings, own) == "autogit"
        assert running_manager(settings, traefiks) == "traefik"
        assert running_manager(settings, Lockfile()) == settings.cert_manager


def test_ingress_and_manager_are_put_back_together_with_what_goes_with_them(bench):
    """nginx and AutoGit are in force, and `.env` wishes for Traefik twice: neither pair of one of each is possible."""
    before = _started_for("certificate/example.org", "nginx", CERT_ISSUER="local", CERT_CHALLENGE="dns-01", SIZE="team")
    back = put_back(bench.settings(TRAEFIKS + "INGRESS=traefik\n"), before)
    assert back == {"INGRESS": "nginx", "CERT_MANAGER": "autogit", "CERT_ISSUER": "local", "CERT_CHALLENGE": "dns-01"}
    after = _started_for("acme_storage/letsencrypt", CERT_ISSUER="letsencrypt", CERT_CHALLENGE="http-01")
    assert put_back(bench.settings(TRAEFIKS), after) == {}
    assert put_back(bench.settings("BASE_DOMAIN=example.org\n"), after)["CERT_ISSUER"] == "letsencrypt"


def test_what_does_not_work_with_nginx_in_containers_is_said_in_the_plan(bench):
    assert "traefik.enable=true get no route" in _notes(bench.spec("RUNTIME=docker\nINGRESS=nginx\n"))["nginx"]
    assert "nginx" not in _notes(bench.spec("INGRESS=nginx\n"))
