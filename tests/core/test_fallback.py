"""The fallback issuer: whom it stands in for, when it is asked, and how long what it signed is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from autogit.core.certificates import acme_server
from autogit.core.fallback import (
    fallback_fault,
    fallback_notes,
    fallback_server,
    is_urgent,
    may_fall_back,
    returns,
    signer_of,
)
from autogit.core.settings import build_settings
from autogit.errors import SettingsError
from autogit.model.host import CertificateFacts, HostFacts
from autogit.model.renewal import Due, Life, RenewalState
from autogit.model.spec import CertificateSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = Life(START, START + timedelta(days=90))
OWN = Due(START + timedelta(days=60), "a third of its life is left")


def day(number):
    return START + timedelta(days=number)


@pytest.mark.parametrize(("now", "urgent"), [(0, False), (74, False), (75, True), (89, True), (91, True)])
def test_a_certificate_cannot_wait_in_the_last_sixth_of_its_life_and_after_it(now, urgent):
    assert is_urgent(LIFE, day(now)) is urgent


def test_a_certificate_that_is_missing_cannot_wait():
    assert is_urgent(None, day(0))


@pytest.mark.parametrize(
    ("kind", "asked"),
    [("unavailable", True), ("rate-limited", True), ("rejected", True), ("validation", False), ("other", False)],
)
def test_the_fallback_is_asked_for_failures_that_it_need_not_have(kind, asked):
    assert may_fall_back(kind, None, day(0)) is asked
    assert not may_fall_back(kind, LIFE, day(10)), "the present certificate is good for long"


def test_a_fallbacks_certificate_is_kept_for_half_of_its_life():
    due = returns(LIFE, OWN, RenewalState(), day(1), trusted=True)
    assert due.moment == day(45)
    assert "fallback" in due.reason


def test_a_limit_of_the_first_authority_keeps_it_longer_and_never_past_its_own_renewal():
    limited = RenewalState(failures=1, failed_at=day(44), failure_kind="rate-limited", limited_until=day(50))
    assert returns(LIFE, OWN, limited, day(46), trusted=True).moment == day(50)
    for_ever = RenewalState(failures=1, failed_at=day(44), failure_kind="rate-limited", limited_until=day(80))
    assert returns(LIFE, OWN, for_ever, day(46), trusted=True) == OWN


def test_an_early_wish_of_the_fallback_itself_counts():
    revoked = Due(day(2), "its authority wishes for it (ARI)")
    assert returns(LIFE, revoked, RenewalState(), day(3), trusted=True) == revoked


def test_what_browsers_do_not_trust_gives_way_as_soon_as_the_first_may_be_asked():
    assert returns(LIFE, OWN, RenewalState(), day(1), trusted=False).moment == day(1)
    paused = RenewalState(failures=1, failed_at=day(1), failure_kind="rate-limited", limited_until=day(3))
    due = returns(LIFE, OWN, paused, day(2), trusted=False)
    assert (due.moment, "local" in due.reason) == (day(3), True)


@pytest.mark.parametrize(
    ("issuer", "fallback", "words"),
    [
        ("letsencrypt", "letsencrypt", "another authority"),
        ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory", "another authority"),
        ("https://ca.test/one", "https://ca.test/two", "another authority"),
        ("letsencrypt", "letsencrypt-staging", "letsencrypt-staging"),
        ("https://ca.test/dir", "https://acme-staging-v02.api.letsencrypt.org/directory", "letsencrypt-staging"),
        ("letsencrypt-staging", "letsencrypt", "letsencrypt-staging"),
        ("letsencrypt-staging", "local", "letsencrypt-staging"),
    ],
)
def test_what_cannot_stand_in_is_a_fault_of_its_line(tmp_path, issuer, fallback, words):
    given = {"CERT_ISSUER": issuer, "CERT_FALLBACK_ISSUER": fallback}
    with pytest.raises(SettingsError) as refused:
        build_settings(given, [], env_dir=tmp_path)
    (fault,) = refused.value.faults
    assert fault.subject == f"CERT_FALLBACK_ISSUER={fallback}"
    assert words in fault.message


@pytest.mark.parametrize(
    ("issuer", "fallback"),
    [("letsencrypt", ""), ("letsencrypt", "local"), ("letsencrypt", "https://ca.test/dir"), ("local", "letsencrypt")],
)
def test_what_can_stand_in_is_none(issuer, fallback):
    assert fallback_fault(issuer, fallback) == ""


def settings(tmp_path, **given):
    return build_settings({"BASE_DOMAIN": "home.test", **given}, [], env_dir=tmp_path)


def test_the_fallback_has_its_own_account_binding_and_nothing_of_the_firsts(tmp_path):
    known = settings(
        tmp_path,
        CERT_ISSUER="letsencrypt",
        CERT_FALLBACK_ISSUER="https://ca.test/dir",
        ACME_EAB_KEY_ID="one",
        ACME_EAB_HMAC_KEY="first-secret",
        ACME_FALLBACK_EAB_KEY_ID="two",
        ACME_FALLBACK_EAB_HMAC_KEY="second-secret",
        CERT_PREFERRED_CHAIN="ISRG Root X1",
        ACME_EMAIL="me@home.test",
    )
    server = fallback_server(known, acme_server(known))
    assert (server.name, server.directory_url, server.email) == ("ca.test", "https://ca.test/dir", "me@home.test")
    assert (server.eab_key_id, server.eab_hmac_key, server.preferred_chain) == ("two", "second-secret", "")


def test_what_the_fallback_signed_is_what_is_wished_for_and_what_another_signed_is_not(tmp_path):
    known = settings(tmp_path, CERT_ISSUER="letsencrypt", CERT_FALLBACK_ISSUER="local")
    assert signer_of(known, "letsencrypt", CertificateFacts(1, "", issuer="local")) == "local"
    assert signer_of(known, "letsencrypt", CertificateFacts(1, "", issuer="ca.test")) == "letsencrypt"
    assert signer_of(known, "letsencrypt", CertificateFacts()) == "letsencrypt"


def wanted(issuer, due=""):
    return CertificateSpec("home.test", issuer, ("home.test",), 1, "/c/home.test/v1/fullchain.pem", "/c/k", due=due)


def test_the_plan_says_that_browsers_may_warn_where_the_local_authority_stands_in(tmp_path):
    known = settings(tmp_path, CERT_ISSUER="letsencrypt", CERT_FALLBACK_ISSUER="local")
    facts = HostFacts(
        certificates={"home.test": CertificateFacts(1, "", renew_at="2026-02-15T00:00:00", issuer="local")}
    )
    (before,) = fallback_notes(known, HostFacts(), wanted("letsencrypt", due="not there yet"))
    assert (before.level, before.message) == (
        "info",
        "where letsencrypt fails, local is asked; browsers warn of it where nobody trusts AutoGit's own authority",
    )
    (after,) = fallback_notes(known, facts, wanted("local"))
    assert after.level == "warning"
    assert "browsers warn" in after.message
    assert "letsencrypt is asked from 2026-02-15 on" in after.message
    assert list(fallback_notes(known, HostFacts(), wanted("letsencrypt"))) == []
