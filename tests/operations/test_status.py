"""`autogit status`: what it calls the certificate, when that is renewed, and why nothing could be asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from autogit.model.host import CertificateFacts
from autogit.model.views import MirrorSummaryView
from autogit.operations import status

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DOMAIN = "home.test"


def _project(root="/nowhere/issuer.pem", manager="autogit"):
    return SimpleNamespace(
        settings=SimpleNamespace(cert_manager=manager),
        context=SimpleNamespace(clock=lambda: NOW),
        certificates=SimpleNamespace(root_path=lambda _domain: root),
    )


def _shown(names, not_after, manager="autogit"):
    facts = CertificateFacts(1, "", names, "2026-12-01T00:00:00+00:00", not_after, "1f")
    spec = SimpleNamespace(base_domain=DOMAIN, certificate=SimpleNamespace(issuer="letsencrypt"))
    prepared = SimpleNamespace(spec=spec, facts=SimpleNamespace(certificates={DOMAIN: facts}))
    return status._certificate(_project(manager=manager), prepared, {})


@pytest.mark.parametrize(
    ("names", "name"), [((DOMAIN, f"*.{DOMAIN}"), f"*.{DOMAIN}"), ((f"api.{DOMAIN}", f"wiki.{DOMAIN}"), DOMAIN)]
)
def test_a_certificate_is_called_a_wildcard_only_where_it_is_one(names, name):
    assert _shown(names, "2026-12-24T12:00:00+00:00").name == name


def test_one_that_has_expired_has_no_days_left_and_not_fewer():
    assert _shown((DOMAIN,), "2026-11-22T12:00:00+00:00").days_left == 0


def test_the_end_of_what_traefik_renews_is_not_told_as_the_day_of_its_renewal():
    assert _shown((DOMAIN,), "2026-12-24T12:00:00+00:00").renew_at.startswith("2026-12-01")
    assert _shown((DOMAIN,), "2026-12-24T12:00:00+00:00", "traefik").renew_at == ""


def test_an_ingress_that_runs_without_a_certificate_is_not_said_to_be_down(tmp_path):
    def why(*, running):
        project = _project(tmp_path / "issuer.pem")
        return asyncio.run(status._checks(project, SimpleNamespace(base_domain=DOMAIN), running=running))

    assert why(running=False) == ({}, "not reachable: the ingress is down")
    checks, said = why(running=True)
    assert checks == {}
    assert "no certificate yet" in said
    service, unit = SimpleNamespace(unavailable=""), SimpleNamespace(state="running")
    assert status._verdict(service, unit, None, said) == ("degraded", said)


def test_a_stale_mirror_makes_the_platform_degraded_and_one_that_is_gone_does_not():
    def overall(**counts):
        mirrors = MirrorSummaryView(declared=1, repositories=3, counts={"ok": 1, "stale": 0, "gone": 0, **counts})
        return status._overall((SimpleNamespace(status="healthy"),), None, mirrors)

    assert overall() == "healthy"
    assert overall(gone=2) == "healthy"
    assert overall(stale=1) == "degraded"
