"""The client and the dns-01 solver together, against real BIND and Pebble: one order from the key to the chain."""

from __future__ import annotations

import time

import dns.query
import dns.tsigkeyring
import dns.update
import pytest

from autogit.errors import RejectedError, UnavailableError
from autogit.providers.dns.rfc2136 import Rfc2136Config, Rfc2136DNS
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.propagation import Waiting
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.dns01 import Dns01Solver
from tests.providers.dns.bind import bind_server
from tests.providers.dns.installation import context_of
from tests.providers.ssl.acme_world import NAMES, Client, Sleeper
from tests.providers.ssl.directory_shim import CHALLENGE, directory_shim
from tests.providers.ssl.pebble import pebble_server

pytestmark = pytest.mark.integration
PLACE = "_acme-challenge.home.test"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(Pebble, BIND), where `git.home.test` is delegated to another zone."""
    folder = tmp_path_factory.mktemp("world")
    zones = {"home.test": ["_acme-challenge.git CNAME git.acme.test."], "acme.test": []}
    options = ["allow-recursion { 127.0.0.1; };"]
    with (
        bind_server(folder / "bind", zones, recursion=True, options=options) as bind,
        pebble_server(folder / "pebble", dns=bind.server, nonce_reject=20) as pebble,
    ):
        yield pebble, bind


@pytest.fixture
def solver(world, tmp_path):
    _, bind = world
    told = {"server": bind.server, "zones": "home.test,acme.test", "key_name": bind.key.name}
    provider = Rfc2136DNS(context_of(tmp_path), Rfc2136Config(key_secret=bind.key.secret, **told))
    lookup = Lookup(LookupConfig(servers=(bind.server,), timeout_seconds=2.0))
    return Dns01Solver(provider, lookup, state_file=tmp_path / "state" / "challenges.json")


def test_wildcard_apex_and_a_delegated_name_in_one_order(world, solver, tmp_path):
    pebble, bind = world
    began = time.monotonic()
    issued = Client(pebble.server(), tmp_path / "accounts").run_issue(*NAMES, "git.home.test", solver=solver)
    print(f"three names issued in {time.monotonic() - began:.2f} s")
    assert pebble.status_of(issued.serial)["Status"] == "Valid"
    assert bind.values(PLACE, "TXT") == bind.values("git.acme.test", "TXT") == []


class Twins:
    """Two servers of one zone, of which AutoGit writes to the first; `copy` is what should have been there as well."""

    def __init__(self, first, second):
        self.first, self.second = first, second

    def values(self):
        return self.first.values(PLACE, "TXT"), self.second.values(PLACE, "TXT")

    def copy(self):
        ring = dns.tsigkeyring.from_text({self.second.key.name: self.second.key.secret})
        update = dns.update.UpdateMessage("home.test", keyring=ring, keyalgorithm=self.second.key.algorithm)
        update.delete(f"{PLACE}.", "TXT")
        for value in self.first.values(PLACE, "TXT"):
            update.add(f"{PLACE}.", 60, "TXT", value)
        assert dns.query.tcp(update, "127.0.0.1", 5, self.second.port).rcode() == 0


@pytest.fixture
def twins(world, tmp_path):
    _, first = world
    with bind_server(tmp_path / "second", {"home.test": []}) as second:
        yield Twins(first, second)


def of_both(twins, folder, waiting):
    """A solver that asks both servers, and waits as it is told."""
    first = twins.first
    told = {"server": first.server, "zones": "home.test", "key_name": first.key.name}
    provider = Rfc2136DNS(context_of(folder), Rfc2136Config(key_secret=first.key.secret, **told))
    lookup = Lookup(LookupConfig(servers=(first.server, twins.second.server), timeout_seconds=2.0))
    return Dns01Solver(provider, lookup, state_file=folder / "state" / "challenges.json", waiting=waiting)


def test_a_server_that_never_gets_the_record_ends_an_order_in_words_and_the_next_one_converges(world, twins, tmp_path):
    pebble, first = world
    sleeper = Sleeper()
    with directory_shim(pebble) as shim:
        client = Client(shim.server(), tmp_path / "accounts")
        with pytest.raises(UnavailableError) as caught:
            client.run_issue(*NAMES, solver=of_both(twins, tmp_path, Waiting(20.0, sleeper, sleeper.clock)))
        assert f"{PLACE}/TXT is not at 1 of 2 servers after 20 s" in caught.value.message
        assert f"{twins.second.server} has nothing" in caught.value.message
        assert "mend it, or wait longer" in caught.value.hint
        assert sleeper.wished[:3] == [2.0, 4.0, 8.0]
        assert shim.sent(CHALLENGE) == [], "the authority is not told to look, for it may ask the other one"
        assert twins.values() == ([], [])

        async def gets_it_late(_seconds):
            twins.copy()

        issued = client.run_issue(*NAMES, solver=of_both(twins, tmp_path, Waiting(20.0, gets_it_late)))
        assert len({one.path for one in shim.sent(CHALLENGE)}) == 2
    assert pebble.status_of(issued.serial)["Status"] == "Valid"
    assert first.values(PLACE, "TXT") == []


def test_no_txt_stays_where_the_authority_refuses_or_is_gone(world, solver, tmp_path):
    pebble, bind = world
    client = Client(pebble.server(), tmp_path / "accounts")
    with pytest.raises(RejectedError, match=r"could not validate|no zone|nobody\.test"):
        client.run_issue("home.test", "a.nobody.test", solver=solver)
    assert bind.values(PLACE, "TXT") == []
    present = solver.present

    async def present_and_lose(challenges):
        await present(challenges)
        assert len(bind.values(PLACE, "TXT")) == 2
        pebble.stop()

    solver.present = present_and_lose
    try:
        with pytest.raises(UnavailableError):
            client.run_issue(solver=solver)
    finally:
        pebble.start()
    assert bind.values(PLACE, "TXT") == []
