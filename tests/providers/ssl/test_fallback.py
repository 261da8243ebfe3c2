"""An issuer with another one behind it: who is asked when, what is told, and what counts as good afterwards."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from autogit.core import acme_budget, fallback, renewal
from autogit.errors import (
    CertificateError,
    NotValidatedError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    StorageFullError,
    UnavailableError,
)
from autogit.model.acme import AcmeServer, Issued
from autogit.model.renewal import ASKED_FOR
from autogit.model.resource import Address, Resource
from autogit.model.spec import CertificateSpec
from autogit.providers.ssl.acme import AcmeIssuer, AcmeSettings
from autogit.providers.ssl.fallback import Fallback, FallbackIssuer
from autogit.providers.ssl.local import LocalIssuer
from autogit.providers.ssl.store import dns_names

DOMAIN = "home.test"
NAMES = (DOMAIN, f"*.{DOMAIN}")
DOWN = UnavailableError("first.test: does not answer")


class Authority:
    """A client of an authority that issues at once, or fails as it is told to."""

    def __init__(self, server, clock, days=90):
        self.server, self.clock, self.days = server, clock, days
        self.orders, self.error = [], None

    def stored_account(self):
        return "an account", None

    async def issue(self, request, _solvers):
        self.orders.append(request)
        if self.error:
            raise self.error
        return issued(self.clock(), self.days, request.names)


def issued(now, days, names):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    leaf = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(leaf.public_bytes(Encoding.PEM), private, names, f"{leaf.serial_number:x}")


class Asking(AcmeIssuer):
    """Asks an authority of the test, always the same."""

    def _client_of(self, server):
        known = self.__dict__.setdefault("known", {})
        return known.setdefault(server.name, Authority(server, self.context.clock))


class AskingBoth(Asking, FallbackIssuer):
    """The same, with another one behind it."""


async def nothing(*_):
    pass


def acme(name, **told):
    server = AcmeServer(name, f"https://{name}/dir")
    return AcmeSettings(server, lambda _name: None, renewal, acme_budget, nothing, nothing, DOMAIN, **told)


class World:
    """Two authorities and one certificate."""

    def __init__(self, context, clock, carry_out, other=None):
        self.context, self.clock, self._carry_out = context, clock, carry_out
        self.second = other or Asking(context, acme("second.test", state_file="renewal-fallback.json"))
        self.issuer = AskingBoth(context, acme("first.test"), Fallback(self.second, fallback, 90))
        self.first = self.issuer.client
        self.clients = {one.issuer: one.client for one in (self.issuer, self.second) if isinstance(one, AcmeIssuer)}

    def facts(self):
        return self.issuer.facts(self.clock()).get(DOMAIN)

    def order(self, due="due"):
        """Have the next version issued."""
        versions = self.issuer.store.versions(DOMAIN)
        version = versions[-1] + 1 if versions else 1
        folder = self.context.paths.certs / DOMAIN / f"v{version}"
        paths = str(folder / "fullchain.pem"), str(folder / "key.pem")
        spec = CertificateSpec(DOMAIN, "first.test", NAMES, version, *paths, due=due, lifetime_days=0)
        attributes = {"issuer": "first.test", "names": NAMES, "key_type": "P-256", "version": version}
        return self._carry_out(self.issuer, Resource(Address("certificate", DOMAIN), attributes, payload=spec))

    def asked(self):
        return {name: len(one.orders) for name, one in self.clients.items()}


@pytest.fixture
def world(context, clock, carry_out):
    return World(context, clock, carry_out)


@pytest.fixture
def local_behind(context, clock, carry_out):
    return World(context, clock, carry_out, LocalIssuer(context))


def test_the_first_authority_is_asked_alone_where_it_answers(world):
    outcome = world.order()
    assert (outcome.ok, outcome.detail, outcome.attributes["issuer"]) == (True, "", "first.test")
    assert world.asked() == {"first.test": 1, "second.test": 0}
    assert (world.facts().issuer, world.facts().due) == ("first.test", "")


@pytest.mark.parametrize(
    "error", [DOWN, RateLimitedError("first.test: too many", retry_after_seconds=60), RejectedError("first.test: no")]
)
def test_a_missing_certificate_comes_from_the_fallback_in_the_same_run_and_both_are_told(world, error):
    world.first.error = error
    outcome = world.order()
    assert outcome.ok
    assert outcome.detail == f"issued by second.test: {error.message}"
    assert outcome.attributes["issuer"] == "second.test"
    assert world.issuer.state(DOMAIN).failure == error.message
    assert (world.facts().issuer, world.facts().due) == ("second.test", "")


@pytest.mark.parametrize(
    "error", [NotValidatedError("first.test: no TXT"), ProviderAuthError("first.test: no account")]
)
def test_what_would_fail_elsewhere_too_or_is_a_wrong_setting_is_told_as_it_is(world, error):
    world.first.error = error
    outcome = world.order()
    assert outcome.error is error
    assert world.asked()["second.test"] == 0


def test_where_both_fail_both_are_told(world):
    world.first.error = DOWN
    world.clients["second.test"].error = RejectedError("second.test: refused", hint="ask its operator")
    outcome = world.order()
    assert isinstance(outcome.error, CertificateError)
    assert outcome.error.message == "first.test: does not answer; second.test: refused"
    assert "ask its operator" in outcome.error.hint
    assert world.issuer.store.versions(DOMAIN) == []


def test_a_certificate_that_is_good_for_a_while_waits_for_the_first_authority(world, clock):
    world.order()
    clock.forward(61)
    world.first.error = DOWN
    assert world.order().error is DOWN
    assert world.asked()["second.test"] == 0
    assert world.facts().can_wait
    clock.forward(15)
    assert not world.facts().can_wait
    assert world.order().attributes["issuer"] == "second.test"


def test_a_pause_of_the_first_is_a_failure_of_the_kind_that_it_is_for(world, clock):
    world.order()
    clock.forward(85)
    world.first.error = NotValidatedError("first.test: no TXT")
    world.order()
    assert "the next is at" in world.order().error.message
    assert world.asked()["second.test"] == 0
    clock.forward(1)
    world.first.error = DOWN
    world.clients["second.test"].error = UnavailableError("second.test: does not answer")
    world.order()
    tries = world.asked()["first.test"]
    world.clients["second.test"].error = None
    world.issuer.at_once = False
    world.second.keep(DOMAIN, renewal.asked_of(world.second.state(DOMAIN), "https://elsewhere.test/dir", ""))
    assert world.order().attributes["issuer"] == "second.test"
    assert world.asked()["first.test"] == tries, "it was in its pause"


def test_it_goes_back_after_half_of_the_life_and_at_once_where_that_is_asked_for(world, clock):
    world.first.error = DOWN
    world.order()
    world.first.error = None
    clock.forward(44)
    assert world.facts().due == ""
    clock.forward(2)
    facts = world.facts()
    assert "fallback" in facts.due
    assert facts.can_wait, "certs renew sees to it, no up waits for it"
    assert world.order().attributes["issuer"] == "first.test"
    assert world.facts().issuer == "first.test"


def test_a_person_has_the_first_asked_before_that(world):
    world.first.error = DOWN
    world.order()
    world.first.error = None
    assert world.order(due=ASKED_FOR).attributes["issuer"] == "first.test"


def test_each_authority_has_a_memory_of_its_own(world):
    world.first.error = DOWN
    world.order()
    folder = world.context.paths.certs / DOMAIN
    first = json.loads((folder / "renewal.json").read_text())
    second = json.loads((folder / "renewal-fallback.json").read_text())
    assert (first["directory_url"], first["failures"]) == ("https://first.test/dir", 1)
    assert (second["directory_url"], second["failures"]) == ("https://second.test/dir", 0)
    assert second["last_success_at"]
    assert world.issuer.signer(world.issuer.store.newest(DOMAIN)) is world.second


def test_the_local_authority_may_stand_in(local_behind, clock):
    world = local_behind
    world.first.error = DOWN
    outcome = world.order()
    assert (outcome.ok, outcome.attributes["issuer"]) == (True, "local")
    facts = world.facts()
    assert (facts.issuer, facts.due, facts.names) == ("local", "", NAMES)
    assert facts.can_wait
    stored = world.issuer.store.newest(DOMAIN)
    assert stored.leaf.not_valid_after_utc - stored.leaf.not_valid_before_utc > timedelta(days=80)
    assert world.issuer.signer(stored) is None, "nobody can be asked about it"
    clock.forward(1)
    assert "local authority" in world.facts().due, "browsers do not trust it: the first is asked again soon"
    world.first.error = None
    assert world.order().attributes["issuer"] == "first.test"


def test_a_damaged_certificate_of_the_fallback_is_due_as_any_is(world):
    world.first.error = DOWN
    world.order()
    (world.context.paths.certs / DOMAIN / "v1" / "key.pem").unlink()
    assert world.facts().due.startswith("damaged")


def test_a_repeated_change_asks_nobody_again(world):
    world.first.error = DOWN
    world.order()
    asked = world.asked()
    change = Resource(
        Address("certificate", DOMAIN),
        {"issuer": "first.test", "names": NAMES, "key_type": "P-256", "version": 1},
        payload=CertificateSpec(DOMAIN, "first.test", NAMES, 1, "/c/f.pem", "/c/k.pem"),
    )
    assert world._carry_out(world.issuer, change).attributes["issuer"] == "second.test"
    assert world.asked() == asked
    assert asyncio.run(world.issuer.check([])) == []


# What was revoked


def revoked(issuer):
    """Remember that the authority of the newest certificate has revoked it, as `certs revoke` does."""
    stored = issuer.store.newest(DOMAIN)
    signer = issuer.signer(stored)
    signer.keep(DOMAIN, renewal.after_revocation(signer.state(DOMAIN), f"{stored.chain[0].serial_number:x}"))


def test_what_was_revoked_is_replaced_and_nothing_waits_for_that(world):
    world.order()
    assert world.facts().due == ""
    revoked(world.issuer)
    assert (world.facts().due, world.facts().can_wait) == ("it was revoked", False)
    assert world.order().attributes["issuer"] == "first.test"
    assert world.facts().due == ""


@pytest.mark.parametrize("of_the_other", [False, True])
def test_for_what_was_revoked_the_other_authority_is_asked_at_once(world, of_the_other):
    world.first.error = DOWN if of_the_other else None
    world.order()
    revoked(world.issuer)
    assert (world.facts().due, world.facts().can_wait) == ("it was revoked", False)
    world.first.error = DOWN
    assert world.order().attributes["issuer"] == "second.test"
    assert world.facts().due == ""


def test_that_another_version_was_revoked_says_nothing_about_the_newest(world):
    world.order()
    world.issuer.keep(DOMAIN, renewal.after_revocation(world.issuer.state(DOMAIN), "2a"))
    assert world.facts().due == ""


def test_what_is_worth_a_line_is_shown_under_the_certificate(context):
    shown = []
    context = replace(context, progress=lambda address, text: shown.append((str(address), text)))
    issuer = AcmeIssuer(context, acme("first.test"))
    issuer.client._note("the account is made anew")
    assert shown == [(f"certificate/{DOMAIN}", "the account is made anew")]


# What is asked for how often, with one authority as with two


@pytest.fixture
def alone(world):
    """Whatever the second could do, it does not."""
    world.clients["second.test"].error = RejectedError("second.test: no")
    return world


def test_a_limit_holds_for_a_first_certificate_too(alone):
    alone.first.error = RateLimitedError("first.test: too many", retry_after_seconds=3600)
    for _ in range(3):
        assert not alone.order().ok
    assert alone.asked()["first.test"] == 1


def test_who_waits_for_a_first_certificate_tries_again_at_once_and_healing_does_not(alone):
    alone.first.error = DOWN
    for _ in range(2):
        assert not alone.order().ok
    assert alone.asked()["first.test"] == 2
    alone.issuer.patient = True
    assert "the next is at" in alone.order().error.message
    assert alone.asked()["first.test"] == 2


def test_nothing_is_asked_for_where_it_could_not_be_kept(world):
    world.context.paths.certs.mkdir(parents=True)
    (world.context.paths.certs / DOMAIN).write_text("in the way")
    outcome = world.order()
    assert isinstance(outcome.error, StorageFullError)
    assert world.asked() == {"first.test": 0, "second.test": 0}


def test_in_its_last_days_a_refused_renewal_keeps_nobodys_up_from_going_on(alone, clock):
    alone.order()
    clock.forward(80)
    assert not alone.facts().can_wait
    alone.first.error = DOWN
    assert not alone.order().ok
    assert alone.facts().can_wait
    clock.forward(11)
    assert not alone.facts().can_wait, "it has expired: that cannot wait"


def test_a_certificate_without_names_in_the_store_is_good_for_none(world):
    world.order()
    folder = world.issuer.store.folder(DOMAIN, 1)
    (folder / "fullchain.pem").write_bytes(issued(world.clock(), 90, ()).fullchain)
    assert dns_names(world.issuer.store.read(DOMAIN, 1).chain[0]) == ()
