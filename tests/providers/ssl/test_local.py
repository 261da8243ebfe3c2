"""The local issuer: versioned folders, renewal when a third is left, damage seen, the working pair never touched."""

from __future__ import annotations

import asyncio
import json
import os
import stat

import pytest

from autogit.errors import CertificateError
from autogit.model.plan import Action
from autogit.model.resource import Address, Resource
from autogit.model.spec import CertificateSpec
from autogit.providers.base import Scope
from autogit.providers.ssl.local import LocalIssuer
from autogit.testing.contracts import ReconcilerContract

DOMAIN = "home.example.org"


def wish_for(context, version=1, names=(DOMAIN, f"*.{DOMAIN}"), domain=DOMAIN):
    folder = context.paths.certs / domain / f"v{version}"
    spec = CertificateSpec(domain, "local", names, version, str(folder / "fullchain.pem"), str(folder / "key.pem"))
    attributes = {
        "issuer": "local",
        "names": names,
        "key_type": "P-256",
        "lifetime_days": 90,
        "version": version,
    }
    return Resource(Address("certificate", domain), attributes, payload=spec)


class TestLocalIssuerContract(ReconcilerContract):
    @pytest.fixture
    def provider(self, context):
        return LocalIssuer(context)

    @pytest.fixture
    def wishes(self, context):
        other = "other.example.org"
        return [wish_for(context), wish_for(context, domain=other, names=(other, f"*.{other}"))]

    @pytest.fixture
    def other_wishes(self, context):
        other = "other.example.org"
        names = (other, f"*.{other}")
        return [wish_for(context, version=2), wish_for(context, version=2, domain=other, names=names)]


@pytest.fixture
def issuer(context):
    return LocalIssuer(context)


@pytest.fixture
def folder(context):
    return context.paths.certs / DOMAIN


def _facts(issuer, clock):
    return issuer.facts(clock())[DOMAIN]


def test_an_issued_pair_lies_in_its_version_with_the_key_for_its_owner_only(issuer, context, folder, carry_out):
    assert carry_out(issuer, wish_for(context)).ok
    assert sorted(os.listdir(folder / "v1")) == ["fullchain.pem", "issuer.pem", "key.pem", "meta.json"]
    assert stat.S_IMODE((folder / "v1" / "key.pem").stat().st_mode) == 0o600
    assert os.readlink(folder / "live") == "v1"
    meta = json.loads((folder / "v1" / "meta.json").read_text())
    assert meta["names"] == [DOMAIN, f"*.{DOMAIN}"]


@pytest.mark.parametrize(("days", "due"), [(0, ""), (59, ""), (61, "29 of 90 days left"), (200, "0 of 90 days left")])
def test_it_is_due_when_a_third_of_its_life_is_left(issuer, context, clock, carry_out, days, due):
    carry_out(issuer, wish_for(context))
    clock.forward(days)
    facts = _facts(issuer, clock)
    assert facts.due == due
    assert (facts.version, facts.names) == (1, (DOMAIN, f"*.{DOMAIN}"))


def test_a_renewal_keeps_the_former_pair_and_goes_live(issuer, context, folder, clock, carry_out):
    carry_out(issuer, wish_for(context))
    before = (folder / "v1" / "key.pem").read_bytes()
    clock.forward(61)
    assert carry_out(issuer, wish_for(context, version=2), Action.UPDATE).ok
    assert (folder / "v1" / "key.pem").read_bytes() == before
    assert os.readlink(folder / "live") == "v2"
    assert _facts(issuer, clock).due == ""


def test_only_the_newest_three_versions_stay(issuer, context, folder, carry_out):
    for version in range(1, 6):
        carry_out(issuer, wish_for(context, version=version))
    assert sorted(p.name for p in folder.iterdir() if p.name != "live") == ["v3", "v4", "v5"]


def _damages():
    yield "key.pem is missing", lambda v: (v / "key.pem").unlink()
    yield "fullchain.pem is missing", lambda v: (v / "fullchain.pem").unlink()
    yield "the certificate cannot be read", lambda v: (v / "fullchain.pem").write_bytes(b"garbage")
    yield "key and certificate do not belong together", lambda v: (v / "key.pem").write_bytes(b"garbage")
    yield "others can read its private key", lambda v: (v / "key.pem").chmod(0o644)


@pytest.mark.parametrize(("what", "damage"), list(_damages()), ids=lambda x: x if isinstance(x, str) else "")
def test_a_damaged_pair_is_due_and_observed_as_no_certificate(issuer, context, folder, clock, carry_out, what, damage):
    wish = wish_for(context)
    carry_out(issuer, wish)
    damage(folder / "v1")
    assert _facts(issuer, clock).due == f"damaged: {what}"
    (seen,) = asyncio.run(issuer.observe(Scope(desired={wish.address: wish})))
    assert "names" not in seen.attributes


def test_a_pair_of_a_former_root_is_due(issuer, context, clock, carry_out):
    carry_out(issuer, wish_for(context))
    authority = issuer.authority(DOMAIN).folder
    authority.rename(authority.with_name("aside"))
    assert _facts(issuer, clock).due == "damaged: it is not signed by the present root"
    assert carry_out(issuer, wish_for(context, version=2), Action.UPDATE).ok
    assert _facts(issuer, clock).due == ""


def test_without_the_authoritys_key_nothing_is_issued_and_nothing_lost(issuer, context, folder, carry_out):
    carry_out(issuer, wish_for(context))
    issuer.authority(DOMAIN).key_file.unlink()
    health = asyncio.run(issuer.health())
    assert not health.ok
    outcome = carry_out(issuer, wish_for(context, version=2), Action.UPDATE)
    assert isinstance(outcome.error, CertificateError)
    assert os.readlink(folder / "live") == "v1"
    assert sorted(p.name for p in folder.iterdir()) == ["live", "v1"]


def test_a_killed_issue_leaves_nothing_that_is_taken_for_a_version(issuer, context, folder, clock, carry_out):
    carry_out(issuer, wish_for(context))
    half = folder / ".v2.new"
    half.mkdir()
    (half / "key.pem").write_text("half")
    assert _facts(issuer, clock).version == 1
    assert carry_out(issuer, wish_for(context, version=2), Action.UPDATE).ok
    assert not half.exists()


def test_a_damaged_folder_of_the_wanted_number_is_kept_aside(issuer, context, folder, carry_out):
    (folder / "v1").mkdir(parents=True)
    (folder / "v1" / "key.pem").write_text("somebody's")
    assert carry_out(issuer, wish_for(context)).ok
    (aside,) = [p for p in folder.iterdir() if "damaged" in p.name]
    assert (aside / "key.pem").read_text() == "somebody's"


def test_a_delete_leaves_the_files(issuer, context, folder, carry_out):
    carry_out(issuer, wish_for(context))
    assert carry_out(issuer, wish_for(context), Action.DELETE).ok
    assert (folder / "v1" / "key.pem").exists()


def test_a_place_that_cannot_be_used_is_a_sentence(issuer, context, carry_out):
    context.paths.state.mkdir()
    context.paths.certs.write_text("in the way")
    outcome = carry_out(issuer, wish_for(context))
    assert "root.pem cannot be read: Not a directory" in outcome.error.message
