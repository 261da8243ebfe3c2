"""Finding a zone's servers from outside and asking each of them, against real BIND servers."""

from __future__ import annotations

import asyncio

import dns.message
import dns.rcode
import pytest

from autogit.errors import UsageError
from autogit.model.dns import RecordKey
from autogit.model.dns_checks import Nameserver, Via
from autogit.providers.dns.world.exchange import Question
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
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
from tests.providers.dns.world.odd_server import OddServer

pytestmark = pytest.mark.integration

NS = {"ns1.example.test": ONE, "ns2.example.test": TWO}
LONG = " ".join(f'"{letter * 250}"' for letter in "abcdefgh")
DELEGATIONS = [
    *("example NS ns1.example", f"ns1.example A {ONE}", "example NS ns2.example", f"ns2.example A {TWO}"),
    *("other NS ns1.example", "half NS ns1.example", "half NS ns.half", f"ns.half A {NOBODY}"),
    *("lame NS ns1.example", "lame NS ns2.example", "lame NS ns.lame", f"ns.lame A {RESOLVER}"),
    *("six NS ns1.example", "six NS ns.six", f"ns.six A {ONE}", "ns.six AAAA 2001:db8::53"),
    *("down NS ns.half", "fresh NS ns2.example", "fresh NS ns.fresh", f"ns.fresh A {TWO}", "nameless NS ns.nowhere"),
]
SHARED = [
    *("git A 192.0.2.1", "apps A 192.0.2.9", "far CNAME git.other.test.", "deep NS ns1", "away NS ns2"),
    *("round CNAME circle.other.test.", "ring1 CNAME ring2", "ring2 CNAME ring1", f"big TXT {LONG}"),
    *("*.wild CNAME git.other.test.", "sub.old DNAME other.test."),
    *(f"c{number} CNAME c{number + 1}" for number in range(12)),
]


def small(zone, *lines, servers=("ns1.example.test",)):
    return zone_text(zone, dict.fromkeys(servers, ""), *lines)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with dns_world(tmp_path_factory.mktemp("world")) as made:
        made.run_root(DELEGATIONS)
        made.run(
            ONE,
            {
                "example.test": zone_text("example.test", NS, *SHARED, "differ A 192.0.2.1", "half CNAME git"),
                "other.test": small("other.test", "git A 192.0.2.7", "circle CNAME round.example.test."),
                "half.test": zone_text(
                    "half.test", {"ns1.example.test": "", "ns.half.test": NOBODY}, "git A 192.0.2.3"
                ),
                "lame.test": small("lame.test", "ns A 127.0.0.14", "git A 192.0.2.4", servers=[*NS, "ns.lame.test"]),
                "six.test": small("six.test", f"ns A {ONE}", "ns AAAA 2001:db8::53", servers=["ns.six.test"]),
                "deep.example.test": small("deep.example.test", "git A 192.0.2.5"),
            },
        )
        made.run(
            TWO,
            {
                "example.test": zone_text("example.test", NS, *SHARED, "differ A 192.0.2.2", "half A 192.0.2.2"),
                "away.example.test": small("away.example.test", "git A 192.0.2.6", servers=["ns2.example.test"]),
            },
        )
        made.run_resolver()
        yield made


@pytest.fixture
def ask(world):
    """A function that asks all servers of a name, in a lookup of its own."""

    def asked(name, kind="A", **config):
        return asyncio.run(world.lookup(**config).ask_all(RecordKey(name, kind)))

    return asked


def said(seen):
    return {str(one.server): one.sentence.removeprefix(f"{one.server} ") for one in seen.answers}


def test_the_zone_is_found_and_every_address_of_its_servers(world):
    found = asyncio.run(world.lookup().authoritative("deeper.git.example.test"))
    assert (found.zone, found.via) == ("example.test", Via.RESOLVER)
    assert found.servers == (Nameserver("ns1.example.test", ONE), Nameserver("ns2.example.test", TWO))


def test_each_server_is_asked_by_itself(ask):
    seen = ask("differ.example.test")
    assert [(one.server.address, one.values, one.ttl, one.authoritative) for one in seen.answers] == [
        (ONE, ("192.0.2.1",), 300, True),
        (TWO, ("192.0.2.2",), 300, True),
    ]


def test_no_resolver_is_asked_for_the_name_itself(world, ask):
    """It would remember for the zone's minimum that there is nothing (RFC 2308)."""
    world.relays.asked.clear()
    assert not ask("_acme-challenge.new.example.test", "TXT").answers[0].values
    at_resolver = {name for address, name, _ in world.relays.asked if address == RESOLVER}
    assert "example.test" in at_resolver
    assert not [name for name in at_resolver if name.endswith("new.example.test")]


def test_an_alias_is_followed_into_another_zone(ask):
    seen = ask("far.example.test")
    assert (seen.chain, seen.authority.zone) == (("far.example.test", "git.other.test"), "other.test")
    assert [one.values for one in seen.answers] == [("192.0.2.7",)]


@pytest.mark.parametrize("name", ["x.wild.example.test", "git.sub.old.example.test"])
def test_an_alias_of_a_wildcard_or_a_whole_branch_is_followed(ask, name):
    seen = ask(name)
    assert (seen.chain[-1], seen.answers[0].values) == ("git.other.test", ("192.0.2.7",))


def test_an_alias_itself_can_be_asked_for(ask):
    seen = ask("far.example.test", "CNAME")
    assert {one.values for one in seen.answers} == {("git.other.test",)}


def test_a_circle_of_aliases_ends_and_is_said(ask):
    across = ask("round.example.test")
    assert across.sentence.endswith("round.example.test -> circle.other.test -> round.example.test")
    within = ask("ring1.example.test")
    assert "circle: ring1.example.test -> ring2.example.test -> ring1.example.test" in within.sentence


def test_too_many_aliases_end_and_are_said(ask):
    assert ask("c0.example.test").sentence == "c0.example.test leads through more than 8 aliases"
    assert ask("c5.example.test").chain[-1] == "c12.example.test"


def test_servers_that_differ_in_an_alias_are_said(ask):
    seen = ask("half.example.test")
    assert seen.sentence == "the servers differ in the alias at half.example.test: git.example.test, none"


def test_a_long_answer_comes_over_tcp(world, ask):
    seen = ask("big.example.test", "TXT")
    assert [len(one.values[0]) for one in seen.answers] == [2000, 2000]


def test_a_server_without_udp_is_asked_over_tcp(world, ask):
    world.relays.silent_udp.add(TWO)
    try:
        assert said(ask("git.example.test", timeout_seconds=1.0))[f"ns2.example.test ({TWO})"] == "has 192.0.2.1"
    finally:
        world.relays.silent_udp.discard(TWO)


def test_a_server_that_is_down_is_named(ask):
    seen = ask("git.half.test", timeout_seconds=1.0)
    assert said(seen) == {f"ns1.example.test ({ONE})": "has 192.0.2.3", f"ns.half.test ({NOBODY})": "does not answer"}
    assert [one.server.address for one in seen.silent] == [NOBODY]


def test_an_address_of_ipv6_is_asked_too(world, ask):
    """Here nobody is there."""
    seen = ask("git.six.test", timeout_seconds=1.0, reach=lambda at: ("::1" if ":" in at else at, world.port))
    assert list(said(seen)) == [f"ns.six.test ({ONE})", "ns.six.test (2001:db8::53)"]
    assert [one.server.address for one in seen.speaking] == [ONE]


def test_servers_that_do_not_serve_the_zone_are_named(ask):
    seen = ask("git.lame.test")
    assert said(seen) == {
        f"ns1.example.test ({ONE})": "has 192.0.2.4",
        f"ns2.example.test ({TWO})": "answers REFUSED: it does not serve the zone lame.test",
        f"ns.lame.test ({RESOLVER})": "answers as a resolver does, not as a server of the zone lame.test",
    }
    assert len(seen.lame) == 2
    assert not seen.intercepted


def test_a_redirected_port_is_noticed(world, ask):
    """All servers seem to be resolvers: a router answers in their place."""
    assert ask("git.example.test", reach=lambda _: (RESOLVER, world.port)).intercepted


@pytest.mark.parametrize(
    ("name", "zone", "value"),
    [
        ("git.deep.example.test", "deep.example.test", "192.0.2.5"),  # served by a server of the zone above too
        ("git.away.example.test", "away.example.test", "192.0.2.6"),  # by that and another
    ],
)
def test_a_zone_below_is_found_by_its_delegation(ask, name, zone, value):
    seen = ask(name)
    assert (seen.authority.zone, seen.answers[0].values) == (zone, (value,))


def test_a_name_that_no_public_zone_holds_is_said(ask):
    seen = ask("git.home.lan")
    assert (seen.sentence, seen.answers) == ("no public zone holds home.lan", ())
    assert seen.authority.via is Via.RESOLVER


def test_a_zone_that_its_servers_do_not_have_yet_is_said(ask):
    """The registrar has the servers, the zone was not made there: resolvers fail without naming anybody."""
    seen = ask("git.fresh.test")
    assert seen.authority.zone == "fresh.test"
    assert said(seen) == {
        f"ns.fresh.test ({TWO})": "answers REFUSED: it does not serve the zone fresh.test",
        f"ns2.example.test ({TWO})": "answers REFUSED: it does not serve the zone fresh.test",
    }


def test_a_zone_whose_servers_are_all_down_is_said(ask):
    seen = ask("git.down.test", timeout_seconds=1.0)
    assert said(seen) == {f"ns.half.test ({NOBODY})": "does not answer"}


def test_a_zone_whose_servers_have_no_addresses_is_said(ask):
    seen = ask("git.nameless.test")
    assert (seen.answers, seen.sentence) == ((), "the servers of nameless.test have no addresses: ns.nowhere.test")


def test_where_nobody_answers_everybody_is_named(world, ask):
    seen = ask("git.example.test", resolvers=(f"{NOBODY}:{world.port}", "nowhere.invalid"), timeout_seconds=0.3)
    assert seen.authority.via is Via.NOBODY
    assert seen.sentence.startswith("nobody tells the zone of example.test: ")
    assert f"{NOBODY}:{world.port} does not answer" in seen.sentence
    assert "nowhere.invalid has no address" in seen.sentence


def ask_odd(world, code):
    """Find a zone through a resolver that answers so to everything, without a word more."""

    def say(query):
        made = dns.message.make_response(query, recursion_available=True)
        made.set_rcode(code)
        return made.to_wire()

    async def asked():
        async with OddServer(udp=say) as server:
            return await world.lookup(resolvers=(f"127.0.0.1:{server.port}",)).authoritative("git.example.test")

    return asyncio.run(asked())


def test_a_resolver_that_always_fails_is_named(world):
    found = ask_odd(world, dns.rcode.SERVFAIL)
    assert "answers SERVFAIL" in found.sentence
    assert found.via is Via.NOBODY


def test_a_resolver_that_knows_no_zone_at_all_shows_none(world):
    """Some forwarders leave the SOA out."""
    found = ask_odd(world, dns.rcode.NOERROR)
    assert (found.sentence, found.via) == ("no public zone holds git.example.test", Via.RESOLVER)


def test_nobody_to_ask_is_said(ask):
    assert "there is nobody to ask" in ask("git.example.test", resolvers=()).sentence


@pytest.fixture
def doh(world, tmp_path):
    with doh_server(tmp_path, world.servers[RESOLVER].own_port) as running:
        yield running


def test_without_port_53_the_zone_is_found_over_https(world, ask, doh):
    """And the silent resolver is not waited for again."""
    config = {"resolvers": (f"{NOBODY}:{world.port}",), "doh_urls": (doh.url,), "ca_file": str(doh.ca_file)}
    lookup = world.lookup(**config, timeout_seconds=1.0)
    seen = asyncio.run(lookup.ask_all(RecordKey("git.example.test", "A")))
    assert (seen.authority.via, seen.authority.zone) == (Via.DOH, "example.test")
    assert [one.values for one in seen.answers] == [("192.0.2.1",), ("192.0.2.1",)]
    assert ("example.test", "SOA") in doh.asked
    assert [row.server.name for row in asyncio.run(lookup.public_answers(RecordKey("git.example.test", "A")))] == [
        doh.url
    ]


def test_a_refusing_resolver_is_as_good_as_none(world, doh):
    """Some networks answer REFUSED to whatever leaves them."""
    lookup = world.lookup(resolvers=(f"{ONE}:{world.port}",), doh_urls=(doh.url,), ca_file=str(doh.ca_file))
    heard = asyncio.run(lookup.ask_public(Question(RecordKey("git.lame2.test", "A"))))
    assert heard.via is Via.DOH
    assert heard.said == (f"{ONE}:{world.port} answers REFUSED",)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("status", "answers with HTTP status 503"),
        ("redirect", "answers with HTTP status 307"),
        ("type", "answers with text/html instead of application/dns-message"),
        ("garbage", "answers with something that is not DNS"),
        ("other", "answers another question than the one that was asked"),
    ],
)
def test_a_faulty_https_server_is_named_with_its_fault(world, ask, doh, fault, words):
    doh.fault = fault
    seen = ask("git.example.test", resolvers=(), doh_urls=(doh.url,), ca_file=str(doh.ca_file))
    assert seen.sentence == f"nobody tells the zone of example.test: {doh.url} {words}"


def test_an_https_server_of_an_unknown_ca_is_not_believed(world, ask, doh):
    seen = ask("git.example.test", resolvers=(), doh_urls=(doh.url,))
    assert "CERTIFICATE_VERIFY_FAILED" in seen.sentence
    assert not doh.asked


@pytest.mark.parametrize(
    "settings",
    [
        {"resolvers": ("1.1.1.1:dns",)},
        {"system": ("",)},
        {"doh_urls": ("http://dns.example/dns-query",)},
        {"doh_urls": ("file:///etc/passwd",)},
        {"timeout_seconds": 0},
    ],
)
def test_a_configuration_that_cannot_be_is_refused(settings):
    with pytest.raises(UsageError, match="dns: "):
        LookupConfig(**settings)


def test_the_usual_configuration_asks_public_resolvers_on_port_53():
    config = Lookup().config
    assert "1.1.1.1" in config.resolvers
    assert config.reach("192.0.2.1") == ("192.0.2.1", 53)
