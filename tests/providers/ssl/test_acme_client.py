"""The ACME client against real Pebble: certificates ordered, proved, looked at, revoked; what the wire carries."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from autogit.errors import (
    CertificateError,
    ProviderAuthError,
    ProviderError,
    RejectedError,
    UnsupportedError,
)
from tests.providers.dns.bind import bind_server
from tests.providers.ssl.acme_world import NAMES, BindSolver, Client, HttpSolver, Shown
from tests.providers.ssl.directory_shim import CERTIFICATE, NEW_ORDER, Answer, directory_shim
from tests.providers.ssl.pebble import pebble_server

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pebble(tmp_path_factory):
    """A Pebble that believes every proof, validates each name anew and takes every nonce."""
    with pebble_server(tmp_path_factory.mktemp("pebble"), always_valid=True) as server:
        yield server


@pytest.fixture
def shim(pebble):
    with directory_shim(pebble) as one:
        yield one


@pytest.fixture
def client(pebble, tmp_path):
    return Client(pebble.server(), tmp_path / "accounts")


@pytest.fixture
def watched(shim, tmp_path):
    return Client(shim.server(), tmp_path / "accounts")


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """(Pebble, BIND): a Pebble that looks, and the resolver that it asks."""
    folder = tmp_path_factory.mktemp("validated")
    zones = {"home.test": ["@ IN A 127.0.0.1", "www IN A 127.0.0.1"]}
    options = ["allow-recursion { 127.0.0.1; };"]
    with (
        bind_server(folder / "bind", zones, recursion=True, options=options) as bind,
        pebble_server(folder / "pebble", dns=bind.server) as server,
    ):
        yield server, bind


def chain_of(issued):
    return x509.load_pem_x509_certificates(issued.fullchain)


def root_of(pebble, number=0):
    return x509.load_pem_x509_certificate(pebble.root(number))


# -- issuing ---------------------------------------------------------------------------------------------------------


def test_wildcard_and_apex_are_proved_together_by_dns_and_can_be_served(validated, tmp_path):
    pebble, bind = validated
    solver = BindSolver(bind)
    issued = Client(pebble.server(), tmp_path).run_issue(solver=solver)
    (shown,) = solver.presented
    assert {one.place for one in shown} == {"_acme-challenge.home.test"}
    assert {one.identifier for one in shown} == {"home.test"}
    assert len({one.value for one in shown}) == 2
    assert solver.cleaned == [shown]
    assert bind.values("_acme-challenge.home.test", "TXT") == []
    leaf, intermediate = chain_of(issued)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root_of(pebble))
    assert set(issued.names) == set(NAMES)
    assert issued.serial == f"{leaf.serial_number:x}"
    assert (issued.not_before, issued.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert issued.issuer.startswith("Pebble Intermediate")


def test_http_01_is_for_names_and_dns_01_for_wildcards_in_one_order(validated, tmp_path):
    pebble, bind = validated
    by_dns, by_http = BindSolver(bind), HttpSolver(pebble.http_port)
    solvers = {"http-01": by_http, "dns-01": by_dns}
    issued = Client(pebble.server(), tmp_path).run_issue("www.home.test", "*.home.test", solver=solvers)
    assert [one.identifier for one in by_http.presented[0]] == ["www.home.test"]
    assert by_http.presented[0][0].place.startswith("/.well-known/acme-challenge/")
    assert [one.identifier for one in by_dns.presented[0]] == ["home.test"]
    assert len(by_http.cleaned) == len(by_dns.cleaned) == 1
    assert set(issued.names) == {"www.home.test", "*.home.test"}


def test_a_solver_can_be_chosen_by_name(client):
    asked, solver = [], Shown()

    def solver_for(name):
        asked.append(name)
        return solver

    client.run_issue(solver=solver_for)
    assert sorted(asked) == sorted(NAMES)
    assert len(solver.presented) == 1


def test_the_reasons_of_the_authority_are_told_word_by_word_with_the_names(validated, tmp_path):
    pebble, bind = validated
    solver = BindSolver(bind, value_of=lambda challenge: "not-" + challenge.value)
    with pytest.raises(RejectedError, match="^pebble: could not validate ") as caught:
        Client(pebble.server(), tmp_path).run_issue("home.test", "www.home.test", solver=solver)
    said = caught.value.message
    assert "www.home.test: " in said
    assert "validate home.test: " in said or "; home.test: " in said
    assert said.count("Correct value not found for DNS challenge") == 2
    assert "old records" in caught.value.hint
    assert solver.cleaned == solver.presented
    assert bind.values("_acme-challenge.home.test", "TXT") == []


def test_a_resolver_that_stops_in_the_middle_of_an_order_is_told_and_all_is_cleaned(tmp_path):
    with bind_server(tmp_path / "bind", {"home.test": []}, recursion=True) as bind:

        class Stops(Shown):
            async def present(self, challenges):
                await super().present(challenges)
                await asyncio.to_thread(bind.stop)

        solver = Stops()
        with (
            pebble_server(tmp_path / "pebble", dns=bind.server) as pebble,
            pytest.raises(RejectedError, match="could not validate home.test: "),
        ):
            Client(pebble.server(), tmp_path).run_issue("home.test", solver=solver)
    assert solver.cleaned == solver.presented


@pytest.mark.parametrize(
    ("wished", "kind", "size"),
    [
        ("P-256", ec.EllipticCurvePrivateKey, 256),
        ("P-384", ec.EllipticCurvePrivateKey, 384),
        ("RSA-2048", rsa.RSAPrivateKey, 2048),
    ],
)
def test_each_certificate_has_a_fresh_key_of_the_wished_type(client, wished, kind, size):
    one, other = (client.run_issue("key.test", key_type=wished) for _ in range(2))
    key = load_pem_private_key(one.key, None)
    assert isinstance(key, kind)
    assert key.key_size == size
    assert one.key != other.key
    assert chain_of(one)[0].public_key() == key.public_key()
    assert "PRIVATE" not in repr(one)


def test_proved_names_are_not_proved_again(tmp_path):
    with pebble_server(tmp_path / "pebble", always_valid=True, authz_reuse=100) as pebble:
        client, again = Client(pebble.server(), tmp_path / "accounts"), Shown()
        client.run_issue()
        client.run_issue(solver=again)
        assert (again.presented, again.cleaned) == ([], [])
        client.run_issue(*NAMES, "new.test", solver=again)
        assert [one.identifier for one in again.presented[0]] == ["new.test"]


def test_names_are_proved_at_each_order_where_nothing_is_reused(client):
    solver = Shown()
    for _ in range(4):
        client.run_issue(solver=solver)
    first, *others = [len(shown) for shown in solver.presented]
    # Told to reuse 0 % of them, Pebble reuses 1 %: it asks `rand.Intn(100) > percent` before it makes a new one.
    assert (first, max(others), sum(others) >= 4) == (2, 2, True)


def test_half_of_all_nonces_may_be_refused(tmp_path):
    with pebble_server(tmp_path / "pebble", always_valid=True, nonce_reject=50) as pebble:
        client = Client(pebble.server(), tmp_path / "accounts")
        for _ in range(3):
            issued = client.run_issue()
        asyncio.run(client.roll_over())
        asyncio.run(client.revoke(issued.fullchain))
        assert pebble.status_of(issued.serial)["Status"] == "Revoked"


def test_the_preferred_chain_is_taken_where_there_is_one_and_else_the_usual_one(tmp_path):
    longer = {"PEBBLE_CHAIN_LENGTH": "2"}
    with pebble_server(tmp_path / "pebble", always_valid=True, alternates=2, env=longer) as pebble:
        tops = [root_of(pebble, number).subject.rfc4514_string().removeprefix("CN=") for number in range(3)]
        for number in (0, 1, 2):
            client = Client(pebble.server(preferred_chain=tops[number]), tmp_path / "accounts")
            chain_of(client.run_issue())[-1].verify_directly_issued_by(root_of(pebble, number))
            assert client.notes == []
        client = Client(pebble.server(preferred_chain="ISRG Root X9"), tmp_path / "accounts")
        chain_of(client.run_issue())[-1].verify_directly_issued_by(root_of(pebble))
        (note,) = client.notes
        assert "'ISRG Root X9'" in note
        assert all(top in note for top in tops)


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*.*.home.test",
        "a.*.home.test",
        "under_score.test",
        "-a.test",
        "b\u00fccher.test",
        "10.0.0.1",
        "a..test",
        "*",
    ],
)
def test_names_that_no_certificate_can_be_for_are_refused_before_anything_is_asked(tmp_path, name):
    client = Client(pebble_nowhere(), tmp_path)
    with pytest.raises(RejectedError, match="^pebble: ") as caught:
        client.run_issue("home.test", name)
    assert "xn--" in caught.value.hint


def test_names_are_asked_for_in_lower_case_and_once(client):
    assert client.run_issue("Home.Test", "home.test.", "*.HOME.test").names == NAMES


def test_a_blocked_name_is_refused_with_the_authoritys_words(tmp_path):
    with pebble_server(tmp_path / "pebble", always_valid=True, config={"domainBlocklist": ["blocked.test"]}) as pebble:
        client = Client(pebble.server(), tmp_path / "accounts")
        with pytest.raises(RejectedError, match=r"the order of a\.blocked\.test: .*blocked\.test") as caught:
            client.run_issue("a.blocked.test")
        assert "another issuer" in caught.value.hint


def test_a_wildcard_without_a_dns_solver_is_refused_with_the_way_out(client):
    solver = Shown("http-01")
    with pytest.raises(RejectedError, match=r"no challenge for \*\.home\.test") as caught:
        client.run_issue(solver={"http-01": solver})
    assert "dns-01" in caught.value.hint
    assert solver.presented == solver.cleaned == []


def test_a_profile_is_asked_for_and_one_that_is_not_offered_is_not(watched, shim):
    shim.profiles = {"tlsserver": "45 days", "shortlived": "6 days"}
    watched.run_issue(profile="shortlived")
    assert shim.sent(NEW_ORDER)[-1].payload["profile"] == "shortlived"
    watched.run_issue()
    assert "profile" not in shim.sent(NEW_ORDER)[-1].payload
    with pytest.raises(UnsupportedError, match="no profile 'classic'; it offers tlsserver, shortlived"):
        watched.run_issue(profile="classic")
    assert len(shim.sent(NEW_ORDER)) == 2


# -- what comes is looked at -----------------------------------------------------------------------------------------


def test_a_certificate_that_does_not_fit_is_not_handed_on(watched, shim):
    first = watched.run_issue()

    def other_key(_request, _forward):
        return Answer(200, first.fullchain)

    def reordered(_request, forward):
        leaf = x509.load_pem_x509_certificate(forward().body)
        return Answer(200, leaf.public_bytes(Encoding.PEM) + pem(chain_of(first)[0]))

    def nothing(_request, _forward):
        return Answer(200, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

    for answer, fault in ((other_key, "another key"), (reordered, "did not sign"), (nothing, "no certificate")):
        shim.when(CERTIFICATE, answer)
        with pytest.raises(CertificateError, match=f"^pebble: .*{fault}"):
            watched.run_issue()


@pytest.mark.parametrize(
    ("off", "fault"), [(timedelta(hours=-2), "it is valid from"), (timedelta(days=4000), "it expired at")]
)
def test_a_clock_that_is_wrong_is_told(pebble, tmp_path, off, fault):
    client = Client(pebble.server(), tmp_path, now=lambda: datetime.now(UTC) + off)
    with pytest.raises(CertificateError, match=fault) as caught:
        client.run_issue()
    assert "clock" in caught.value.hint


def test_four_minutes_between_two_clocks_are_no_fault(pebble, tmp_path):
    def slow():
        return datetime.now(UTC) - timedelta(minutes=4)

    issued = Client(pebble.server(), tmp_path, now=slow).run_issue()
    assert slow() < issued.not_before < slow() + timedelta(minutes=5)


# -- revoking --------------------------------------------------------------------------------------------------------


def test_a_certificate_is_revoked_by_its_account_and_twice_is_as_good(client, pebble):
    issued = client.run_issue()
    asyncio.run(client.revoke(issued.fullchain, 4))
    assert pebble.status_of(issued.serial)["Reason"] == 4
    asyncio.run(client.revoke(issued.fullchain, 4))
    asyncio.run(client.revoke(issued.fullchain, 1, issued.key))


@pytest.mark.parametrize("key_type", ["P-256", "P-384", "RSA-2048"])
def test_a_certificate_is_revoked_by_its_own_key_where_there_is_no_account(client, pebble, tmp_path, key_type):
    issued = client.run_issue("own.test", key_type=key_type)
    elsewhere = Client(pebble.server(), tmp_path / "elsewhere")
    with pytest.raises(ProviderAuthError, match="no account here") as caught:
        asyncio.run(elsewhere.revoke(issued.fullchain, 1))
    assert caught.value.hint == "give the certificate's own key"
    asyncio.run(elsewhere.revoke(issued.fullchain, 1, issued.key))
    assert pebble.status_of(issued.serial)["Status"] == "Revoked"
    assert not (tmp_path / "elsewhere").exists() or not list((tmp_path / "elsewhere").rglob("*.pem"))


def test_what_cannot_be_revoked_is_said(client, pebble, tmp_path):
    issued = client.run_issue()
    with pytest.raises(RejectedError, match="7 is no reason"):
        asyncio.run(client.revoke(issued.fullchain, 7))
    with pytest.raises(CertificateError, match="cannot be read"):
        asyncio.run(client.revoke(b"nonsense"))
    with pytest.raises(ProviderAuthError, match="key cannot be read"):
        asyncio.run(client.revoke(issued.fullchain, 0, b"nonsense"))
    other = Client(pebble.server(), tmp_path / "other")
    other.run_issue("other.test")
    with pytest.raises(ProviderError, match=f"^pebble: revoking {issued.serial}: "):
        asyncio.run(other.revoke(issued.fullchain))
    assert pebble.status_of(issued.serial)["Status"] == "Valid"


# -- about the server ------------------------------------------------------------------------------------------------


def test_the_server_is_described(client):
    assert "no account here yet" in asyncio.run(client.health())
    client.run_issue()
    assert "/my-account/" in asyncio.run(client.health())
    assert asyncio.run(client.terms_url()).startswith("data:text/plain,")


def pebble_nowhere():
    from autogit.model.acme import AcmeServer

    return AcmeServer("pebble", "https://127.0.0.1:1/dir")


def pem(certificate):
    return certificate.public_bytes(Encoding.PEM)
