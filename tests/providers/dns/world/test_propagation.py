"""Waiting for the TXT values of a challenge, against real BIND servers; the clock is a number."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import RejectedError, UsageError
from autogit.model.dns_checks import PropagationState, Via
from autogit.providers.dns.world.propagation import Waiting, await_txt
from tests.providers.dns.dnsmasq_server import dnsmasq_server
from tests.providers.dns.world.doh_server import doh_server
from tests.providers.dns.world.named_world import (  # noqa: F401 - a fixture by its name
    NOBODY,
    ONE,
    RESOLVER,
    TWO,
    _sockets_stay_on_loopback,
    dns_world,
    zone_text,
)

pytestmark = pytest.mark.integration

NS = {"ns1.example.test": ONE, "ns2.example.test": TWO}
DELEGATIONS = [
    *("example NS ns1.example", f"ns1.example A {ONE}", "example NS ns2.example", f"ns2.example A {TWO}"),
    *("acme NS ns1.example", "half NS ns1.example", "half NS ns.half", f"ns.half A {NOBODY}"),
    *("lame NS ns1.example", "lame NS ns2.example"),
]
NAME = "_acme-challenge.example.test"


class Clock:
    """Time that passes only in sleep, where something may happen at a given second."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []
        self.events = {}

    def waiting(self, deadline_seconds=120.0):
        return Waiting(deadline_seconds, self.sleep, lambda: self.now)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        for at in [at for at in self.events if at <= self.now - 1000.0]:
            await asyncio.to_thread(self.events.pop(at))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with dns_world(tmp_path_factory.mktemp("world")) as made:
        made.run_root(DELEGATIONS)
        made.run_resolver()
        yield made


@pytest.fixture
def publish(world):
    """A function that has a server serve these challenges."""

    def published(address, *values):
        lines = [f'_acme-challenge TXT "{value}"' for value in values]
        zones = {"example.test": zone_text("example.test", NS, *lines, "_acme-challenge.git CNAME one.acme.test.")}
        if address == ONE:
            ns1 = {"ns1.example.test": ""}
            acme = [f'one TXT "{value}"' for value in values]
            zones["acme.test"] = zone_text("acme.test", ns1, *acme)
            zones["half.test"] = zone_text("half.test", ns1 | {"ns.half.test": NOBODY}, *lines)
            zones["lame.test"] = zone_text("lame.test", ns1 | {"ns2.example.test": ""}, *lines)
        world.run(address, zones)

    return published


@pytest.fixture
def wait(world, clock):
    """A function that waits for values in a lookup of its own."""

    def waited(*values, name=NAME, deadline=120.0, **config):
        return asyncio.run(await_txt(world.lookup(**config), name, values, clock.waiting(deadline)))

    return waited


def test_what_is_there_is_not_waited_for(publish, wait, clock):
    for address in (ONE, TWO):
        publish(address, "one", "two", "of-another-client")
    found = wait("one", "two")
    assert (found.state, found.polls, found.waited_seconds) == (PropagationState.DONE, 1, 0.0)
    assert found.sentence == f"{NAME}/TXT is at all 2 servers that answer"
    assert (found.warnings, clock.slept) == ((), [])


def test_the_slowest_server_is_waited_for(publish, wait, clock):
    publish(ONE, "one", "two")
    publish(TWO, "one")
    clock.events[7.0] = lambda: publish(TWO, "one", "two")
    found = wait("one", "two")
    assert (found.state, found.polls, clock.slept) == (PropagationState.DONE, 4, [2.0, 4.0, 8.0])
    assert found.waited_seconds == 14.0


def test_no_resolver_is_asked_for_the_challenge(world, publish, wait, clock):
    """It would remember that there was nothing, and a CA may ask the same one."""
    publish(ONE)
    publish(TWO)
    world.relays.asked.clear()
    wait("one", deadline=20.0)
    asked = {name for address, name, _ in world.relays.asked if address == RESOLVER}
    assert asked
    assert NAME not in asked


def test_a_delegated_challenge_is_looked_for_where_it_leads(publish, wait):
    publish(ONE, "one")
    publish(TWO)
    found = wait("one", name="_acme-challenge.git.example.test")
    assert found.state is PropagationState.DONE
    assert [row.server.address for row in found.rows] == [ONE]


def test_what_does_not_come_is_told_server_by_server(publish, wait, clock):
    publish(ONE, "one")
    publish(TWO, "old")
    found = wait("one", deadline=30.0)
    assert (found.state, found.waited_seconds) == (PropagationState.LATE, 30.0)
    assert clock.slept == [2.0, 4.0, 8.0, 10.0, 6.0]
    assert found.sentence == (f"{NAME}/TXT is not at 1 of 2 servers after 30 s: ns2.example.test ({TWO}) has old")
    assert [row.values for row in found.rows] == [("one",), ("old",)]


def test_a_deadline_of_nothing_is_one_look(publish, wait, clock):
    publish(ONE)
    publish(TWO)
    found = wait("one", deadline=0.0)
    assert (found.state, found.polls, clock.slept) == (PropagationState.LATE, 1, [])


def test_a_server_that_is_down_is_not_waited_for(publish, wait):
    publish(ONE, "one")
    found = wait("one", name="_acme-challenge.half.test", timeout_seconds=1.0)
    assert found.state is PropagationState.DONE
    assert found.warnings == (f"ns.half.test ({NOBODY}) does not answer",)


def test_a_server_that_does_not_serve_the_zone_is_not_waited_for(publish, wait):
    publish(ONE, "one")
    publish(TWO)
    found = wait("one", name="_acme-challenge.lame.test")
    assert found.state is PropagationState.DONE
    assert found.warnings == (f"ns2.example.test ({TWO}) answers REFUSED: it does not serve the zone lame.test",)


def test_a_server_that_goes_away_meanwhile_is_told_with_what_it_had(world, publish, wait, clock):
    publish(ONE, "old")
    publish(TWO, "old")
    clock.events[1.0] = lambda: (world.stop(ONE), world.stop(TWO))
    found = wait("one", deadline=10.0, timeout_seconds=0.5)
    assert found.state is PropagationState.LATE
    assert "has old" in found.sentence


@pytest.fixture
def doh(world, publish, tmp_path):
    publish(ONE, "one")
    publish(TWO, "one")
    with doh_server(tmp_path, world.servers[RESOLVER].own_port) as running:
        yield running


def test_where_no_server_can_be_asked_https_is_after_a_pause(world, wait, clock, doh):
    found = wait(
        "one",
        reach=lambda _: (NOBODY, world.port),
        doh_urls=(doh.url,),
        ca_file=str(doh.ca_file),
        timeout_seconds=1.0,
    )
    assert (found.state, found.via, clock.slept) == (PropagationState.DONE, Via.DOH, [10.0])
    assert found.sentence == f"{NAME}/TXT is at all 1 public resolvers over HTTPS that answer"
    assert f"ns1.example.test ({ONE}) does not answer" in found.warnings[0]


def test_behind_a_redirected_port_https_is_asked(world, wait, doh):
    found = wait("one", reach=lambda _: (RESOLVER, world.port), doh_urls=(doh.url,), ca_file=str(doh.ca_file))
    assert (found.state, found.via) == (PropagationState.DONE, Via.DOH)
    assert "port 53 is redirected" in found.warnings[0]


def test_where_nobody_can_be_asked_the_caller_is_told_so_soon(world, wait, clock, doh):
    """No server, and HTTPS is shut too."""
    doh.fault = "status"
    found = wait(
        "one",
        reach=lambda _: (NOBODY, world.port),
        doh_urls=(doh.url,),
        ca_file=str(doh.ca_file),
        timeout_seconds=0.5,
    )
    assert (found.state, found.polls, found.via) == (PropagationState.UNCHECKED, 2, Via.NOBODY)
    assert found.waited_seconds == 12.0
    assert "cannot be checked" in found.sentence
    assert f"{doh.url} answers with HTTP status 503" in found.sentence


def test_a_name_of_no_public_zone_cannot_be_checked(wait):
    """An own CA in a network of its own: the caller has to name other resolvers, or wait."""
    found = wait("one", name="_acme-challenge.git.home.lan")
    assert (found.state, found.sentence) == (
        PropagationState.UNCHECKED,
        "_acme-challenge.git.home.lan/TXT cannot be checked: no public zone holds home.lan",
    )


def test_in_a_private_zone_its_named_servers_are_asked(wait, clock, tmp_path):
    """For a CA of one's own; nobody outside is asked."""
    with dnsmasq_server(tmp_path / "dnsmasq", "txt-record=_acme-challenge.git.home.lan,one") as server:
        found = wait("one", name="_acme-challenge.git.home.lan", resolvers=(), servers=(server.server,))
        assert (found.state, found.via) == (PropagationState.DONE, Via.AUTHORITY)
    gone = wait("one", name="_acme-challenge.git.home.lan", resolvers=(), servers=(server.server,), timeout_seconds=0.5)
    assert (gone.state, clock.slept) == (PropagationState.UNCHECKED, [2.0])
    assert gone.sentence.endswith(f"cannot be checked: {server.server} does not answer")


def test_a_wait_for_nothing_is_refused(wait):
    with pytest.raises(UsageError, match=r"no value to wait for at _acme-challenge\.example\.test"):
        wait()
    with pytest.raises(RejectedError):
        wait("one", name="_acme challenge.example.test")
