"""Orders that are stopped, and solvers that fail: no proof is left behind, and the reason is not lost."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import RejectedError, UnavailableError
from autogit.model.acme import CertificateRequest
from tests.providers.ssl.acme_world import Client, Shown
from tests.providers.ssl.directory_shim import AUTHORIZATION, CHALLENGE, altered, directory_shim, problem
from tests.providers.ssl.pebble import pebble_server

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pebble(tmp_path_factory):
    with pebble_server(tmp_path_factory.mktemp("pebble"), always_valid=True) as server:
        yield server


@pytest.fixture
def shim(pebble):
    with directory_shim(pebble) as one:
        yield one


@pytest.fixture
def client(shim, tmp_path):
    return Client(shim.server(), tmp_path)


class Failing(Shown):
    """A solver that cannot, in one of two ways."""

    def __init__(self, *, present=None, clean=None):
        super().__init__()
        self.errors = present, clean

    async def present(self, challenges):
        await super().present(challenges)
        if self.errors[0]:
            raise self.errors[0]

    async def clean(self, challenges):
        await super().clean(challenges)
        if self.errors[1]:
            raise self.errors[1]


def test_what_a_solver_could_not_show_is_taken_away_too(client):
    solver = Failing(present=UnavailableError("memory: no"))
    with pytest.raises(UnavailableError, match="^memory: no"):
        client.run_issue(solver=solver)
    assert solver.cleaned == solver.presented
    broken = Failing(present=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        client.run_issue(solver=broken)
    assert broken.cleaned == broken.presented


def test_a_clean_up_that_fails_costs_no_certificate_and_hides_no_reason(client, shim):
    solver = Failing(clean=UnavailableError("memory: gone"))
    assert client.run_issue(solver=solver).serial
    assert client.notes == ["pebble: proofs could not be taken away: memory: gone"]
    shim.when(CHALLENGE, problem(400, "malformed", "odd"))
    with pytest.raises(RejectedError, match="odd"):
        client.run_issue(solver=solver)


def test_one_solver_that_fails_to_clean_does_not_keep_another_from_it(client):
    first, second = Failing(clean=UnavailableError("memory: gone")), Shown()
    solvers = {"home.test": first, "www.test": second}
    client.run_issue("home.test", "www.test", solver=solvers.__getitem__)
    assert len(first.cleaned) == len(second.cleaned) == 1


@pytest.mark.parametrize("cancels", [1, 3])
def test_an_order_that_is_stopped_takes_its_proofs_away(client, shim, cancels):
    shim.when(AUTHORIZATION, altered(status="pending"), times=10**6)

    class Slow(Shown):
        async def clean(self, challenges):
            await asyncio.sleep(0.05)
            await super().clean(challenges)

    solver = Slow()

    async def stopped():
        order = asyncio.create_task(client.issue(CertificateRequest(("home.test",)), {"dns-01": solver}))
        while len(client.sleeper.wished) < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        for _ in range(cancels):
            order.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await order

    asyncio.run(stopped())
    assert solver.cleaned == solver.presented != []


def test_an_order_that_is_stopped_while_a_solver_shows_takes_that_away(client):
    class Endless(Shown):
        async def present(self, challenges):
            await super().present(challenges)
            await asyncio.Event().wait()

    solver = Endless()

    async def stopped():
        order = asyncio.create_task(client.issue(CertificateRequest(("home.test",)), {"dns-01": solver}))
        while not solver.presented:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
        order.cancel()
        with pytest.raises(asyncio.CancelledError):
            await order

    asyncio.run(stopped())
    assert solver.cleaned == solver.presented
