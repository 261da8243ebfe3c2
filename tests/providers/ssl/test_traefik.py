"""Traefik's file of certificates: what is read from it, its mode, and what Traefik says when an order fails."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from autogit.model.plan import Action, Change
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource
from autogit.operations.certs_by_ingress import last_error
from autogit.providers.base import ProviderContext, Scope
from autogit.providers.ssl.store import CertificateStore, Pair
from autogit.providers.ssl.traefik import TraefikIssuer
from tests.integration.certs_lab import make_chain

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ADDRESS = Address("acme_storage", "letsencrypt")


@pytest.fixture
def issuer(tmp_path):
    context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"), clock=lambda: NOW)
    storage = context.paths.data / "traefik" / "letsencrypt" / "acme.json"
    return TraefikIssuer(context, storage, "example.org", "letsencrypt")


def keep(issuer, *chains):
    rows = [{"certificate": base64.b64encode(chain.encode()).decode(), "key": "eA==", "domain": {}} for chain in chains]
    issuer.storage.parent.mkdir(parents=True, exist_ok=True)
    issuer.storage.write_text(json.dumps({"letsencrypt": {"Account": {}, "Certificates": rows}}))
    issuer.storage.chmod(0o600)


def chain(domain="example.org", days_left=60):
    return make_chain(domain, NOW - timedelta(days=30), NOW + timedelta(days=days_left))


def test_what_traefik_has_is_told_with_who_signed_it(issuer):
    text, _, serial = chain()
    keep(issuer, chain("another.org")[0], text)
    found = issuer.facts(NOW)["example.org"]
    assert (found.serial, found.names, found.due) == (serial, ("*.example.org", "example.org"), "")
    assert issuer.serials(NOW) == {serial}
    (root,) = x509.load_pem_x509_certificates(issuer.root_path("example.org").read_bytes())
    assert "authority of example.org" in root.subject.rfc4514_string()
    assert "PRIVATE" not in issuer.root_path("example.org").read_text()


def test_until_traefik_has_one_the_former_one_is_what_must_be_served(issuer):
    text, key, _ = chain()
    store = CertificateStore(issuer.context.paths.certs)
    store.write("example.org", 4, Pair(text.encode(), key.encode()), NOW)
    keep(issuer)
    assert issuer.facts(NOW)["example.org"].version == 4
    assert issuer.root_path("example.org") == store.folder("example.org", 4) / "issuer.pem"
    assert issuer.facts(NOW + timedelta(days=61))["example.org"].version == 0, "an expired one is not served"
    keep(issuer, chain()[0])
    assert issuer.root_path("example.org") != store.folder("example.org", 4) / "issuer.pem"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"letsencrypt": null}', '{"letsencrypt": {"Certificates": [{}]}}'])
def test_a_file_that_is_just_being_written_or_none_of_traefiks_has_no_certificate(issuer, text):
    keep(issuer)
    issuer.storage.write_text(text)
    found = issuer.facts(NOW)["example.org"]
    assert (found.serial, found.due) == ("", "Traefik has no certificate yet")


def test_one_that_has_expired_is_none(issuer):
    keep(issuer, chain(days_left=-1)[0])
    assert issuer.facts(NOW)["example.org"].serial == ""


def test_the_file_is_made_and_its_mode_mended_and_it_is_never_deleted(issuer):
    wish = Resource(ADDRESS, {"mode": "0600"}, payload=str(issuer.storage))

    def apply(action, after):
        async def outcomes():
            return [one.ok async for one in issuer.apply([Change(ADDRESS, action, "x", (), None, after)])]

        return asyncio.run(outcomes()) == [True]

    def observed():
        return [dict(one.attributes) for one in asyncio.run(issuer.observe(Scope(desired={ADDRESS: wish})))]

    assert observed() == []
    assert apply(Action.CREATE, wish)
    assert observed() == [{"mode": "0600"}]
    assert issuer.context.paths.certs.is_dir(), "it is mounted into Traefik's container"
    issuer.storage.write_text("kept")
    issuer.storage.chmod(0o644)
    assert observed() == [{"mode": "0644"}]
    health = asyncio.run(issuer.health())
    assert not health.ok
    assert "has mode 0644" in health.detail
    assert apply(Action.UPDATE, wish)
    assert apply(Action.DELETE, None)
    assert (issuer.storage.read_text(), observed()) == ("kept", [{"mode": "0600"}])


FAILED = (
    '2026-11-27T17:47:00Z ERR Unable to obtain ACME certificate for domains error="unable to generate a certificate: '
    'one or more domains had a problem:\\n[a.test] \\"bad\\" authentication\\n" providerName=letsencrypt.acme'
)
SKIPPED = (
    '2026-11-27T17:47:00Z ERR The ACME resolve is skipped from the resolvers list error="unable to get ACME account: '
    'permissions 644 for /x/acme.json are too open, please use 600" resolver=letsencrypt'
)
START = "2026-11-27T17:46:59Z INF Traefik version 3.7.15 built on 2026-10-15T14:33:48Z version=3.7.15"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [START, FAILED],
            'unable to generate a certificate: one or more domains had a problem: [a.test] "bad" authentication',
        ),
        ([START, SKIPPED], "unable to get ACME account: permissions 644 for /x/acme.json are too open, please use 600"),
        ([START, FAILED, START, "2026-11-27T17:47:01Z INF Register... providerName=letsencrypt.acme"], ""),
        ([START, '2026-11-27T17:47:01Z ERR error="backend is down" serviceName=api@file'], ""),
        ([], ""),
    ],
    ids=["an order", "no resolver", "of a former start", "of something else", "nothing"],
)
def test_the_last_failed_order_is_told_in_traefiks_words(lines, said):
    assert last_error(lines) == said
