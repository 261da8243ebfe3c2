"""What the issuer counts of what it asks of an authority: orders, certificates, failures, and accounts once each."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from autogit.core import renewal
from autogit.model.plan import Action, Change
from autogit.model.resource import Address, Resource
from autogit.model.spec import CertificateSpec
from autogit.providers.ssl.acme import AcmeIssuer, AcmeSettings
from tests.providers.dns.installation import context_of
from tests.providers.ssl.acme_world import NAMES, Shown
from tests.providers.ssl.directory_shim import AUTHORIZATION, NEW_ACCOUNT, altered, directory_shim, problem
from tests.providers.ssl.pebble import pebble_server

pytestmark = pytest.mark.integration


class Counted:
    """A budget without limits, which remembers what it was asked and told."""

    def __init__(self):
        self.asked, self.told = [], []

    def check_budget(self, _budget, request, _now):
        self.asked.append(request.new_account)

    def spent(self, budget, _request, what, _now):
        self.told.append(what)
        return budget

    def since(self):
        """What it was asked and told since this was called last."""
        found = (self.asked, self.told)
        self.asked, self.told = [], []
        return found


async def nothing(*_told):
    """Do nothing."""


@pytest.fixture(scope="module")
def pebble(tmp_path_factory):
    with pebble_server(tmp_path_factory.mktemp("pebble"), always_valid=True) as server:
        yield server


@pytest.fixture
def order(pebble, tmp_path):
    """An issuer's budget and shim, and a function that orders version after version and returns the error."""
    budget, solver = Counted(), Shown()
    with directory_shim(pebble) as shim:
        told = {"renewal": renewal, "look_first": nothing, "clean_up": nothing, "domain": NAMES[0]}
        settings = AcmeSettings(server=shim.server(), solvers=lambda _name: solver, budget=budget, **told)
        issuer = AcmeIssuer(context_of(tmp_path), settings)
        issuer.at_once = True

        async def version(number):
            address, folder = Address("certificate", NAMES[0]), tmp_path / f"v{number}"
            wish = CertificateSpec(
                name=NAMES[0],
                issuer="pebble",
                names=NAMES,
                version=number,
                fullchain=str(folder / "fullchain.pem"),
                key=str(folder / "key.pem"),
            )
            change = Change(
                address, Action.CREATE, "not there yet", after=Resource(address, {"version": number}, payload=wish)
            )
            return [outcome.error async for outcome in issuer.apply([change])]

        yield SimpleNamespace(budget=budget, shim=shim, version=lambda number: asyncio.run(version(number)))


def test_an_account_is_counted_by_the_order_that_makes_it_and_by_no_other(order):
    assert order.version(1) == [None]
    assert order.budget.since() == ([True], ["order", "certificate", "account"])
    assert order.version(2) == [None]
    assert order.budget.since() == ([False], ["order", "certificate"])


def test_an_account_that_was_refused_is_not_counted_and_one_that_served_for_nothing_is(order):
    order.shim.when(NEW_ACCOUNT, problem(400, "invalidContact", "no such domain"))
    (error,) = order.version(1)
    assert "no such domain" in error.message
    assert order.budget.since() == ([True], ["order", "certificate"])
    # Both names are read, then the first one is asked about.
    order.shim.when(AUTHORIZATION, altered(status="pending"), times=2)
    order.shim.when(AUTHORIZATION, altered(status="invalid"))
    (error,) = order.version(1)
    assert "could not validate" in error.message
    assert order.budget.since() == ([True], ["order", "certificate", "failure", "account"])
