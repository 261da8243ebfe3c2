"""Verdicts on wanted record sets, against real BIND servers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from autogit.model.dns import record_set
from autogit.model.dns_checks import CheckState, Via
from autogit.providers.dns.world.verifying import normal_values, random_label, verify
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
    *("half NS ns1.example", "half NS ns.half", f"ns.half A {NOBODY}"),
    *("lame NS ns1.example", "lame NS ns2.example", "fresh NS ns2.example"),
]
SHARED = [
    *("git A 192.0.2.1", "both A 192.0.2.1", "both A 192.0.2.2", "docs CNAME git", "six AAAA 2001:db8::1"),
    *("note TXT heritage=autogit", 'caa CAA 0 issue "letsencrypt.org"', "mail MX 10 git", "old 60 A 192.0.2.1"),
    *("* A 192.0.2.1", "*.apps A 192.0.2.1", "taken.apps A 192.0.2.9", "ring CNAME ring2", "ring2 CNAME ring"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with dns_world(tmp_path_factory.mktemp("world")) as made:
        made.run_root(DELEGATIONS)
        ns1 = {"ns1.example.test": ""}
        made.run(
            ONE,
            {
                "example.test": zone_text("example.test", NS, *SHARED, "late A 192.0.2.1", "*.half A 192.0.2.8"),
                "half.test": zone_text("half.test", ns1 | {"ns.half.test": NOBODY}, "git A 192.0.2.3"),
                "lame.test": zone_text("lame.test", ns1 | {"ns2.example.test": ""}, "git A 192.0.2.4"),
            },
        )
        made.run(TWO, {"example.test": zone_text("example.test", NS, *SHARED, "late A 192.0.2.2")})
        made.run_resolver()
        yield made


@pytest.fixture
def check(world):
    """A function that verifies one set."""

    def checked(name, kind, *values, ttl=300, proxied=False, **config):
        wanted = record_set(name, kind, ttl, values, proxied=proxied)
        return asyncio.run(verify(world.lookup(**config), [wanted], label=lambda: "some-label"))[0]

    return checked


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("git", "A", ["192.0.2.1"]),
        ("both", "A", ["192.0.2.2", "192.0.2.1"]),
        ("docs", "CNAME", ["git.example.test"]),
        ("six", "AAAA", ["2001:DB8:0::1"]),
        ("note", "TXT", ["heritage=autogit"]),
        ("caa", "CAA", ["0 issue letsencrypt.org"]),
        ("mail", "MX", ["10 git.example.test"]),
    ],
)
def test_what_is_as_wanted_is_ok(check, name, kind, values):
    found = check(f"{name}.example.test", kind, *values)
    assert (found.state, found.ok, found.warnings, found.via) == (CheckState.OK, True, (), Via.AUTHORITY)
    assert len(found.rows) == 2
    assert f"at each of 2: ns1.example.test ({ONE}), ns2.example.test ({TWO})" in found.sentence


def test_all_sets_are_judged_in_their_order(world):
    wanted = [record_set(f"{name}.example.test", "A", 300, ["192.0.2.1"]) for name in ("git", "both", "late")]
    found = asyncio.run(verify(world.lookup(), wanted))
    assert [(one.wanted, one.state) for one in found] == list(
        zip(wanted, [CheckState.OK, CheckState.DIFFERS, CheckState.DIFFERS], strict=True)
    )
    assert asyncio.run(verify(world.lookup(), [])) == ()


def test_another_value_everywhere_is_told_with_the_wanted_one(check):
    found = check("git.example.test", "A", "192.0.2.77")
    assert found.state is CheckState.DIFFERS
    assert found.sentence.startswith("git.example.test/A is 192.0.2.1 at each of 2: ")
    assert found.sentence.endswith(" instead of 192.0.2.77")


def test_a_value_too_few_or_too_many_differs(check):
    assert check("both.example.test", "A", "192.0.2.1").state is CheckState.DIFFERS
    assert check("git.example.test", "A", "192.0.2.1", "192.0.2.2").state is CheckState.DIFFERS


def test_servers_that_differ_are_told_apart(check):
    found = check("late.example.test", "A", "192.0.2.1")
    assert found.sentence == (
        f"late.example.test/A is as wanted at ns1.example.test ({ONE}), but 192.0.2.2 at ns2.example.test ({TWO})"
    )


def test_what_no_server_has_is_missing(check):
    found = check("note.example.test", "AAAA", "2001:db8::1")
    assert found.state is CheckState.MISSING
    assert found.sentence.startswith("note.example.test/AAAA is not there: each of 2: ")


def test_an_address_through_an_alias_counts_and_is_told(check):
    found = check("docs.example.test", "A", "192.0.2.1")
    assert found.ok
    assert found.sentence.endswith("(through docs.example.test -> git.example.test)")


def test_aliases_in_a_circle_differ(check):
    found = check("ring.example.test", "A", "192.0.2.1")
    assert found.state is CheckState.DIFFERS
    assert "go round in a circle" in found.sentence


def test_another_ttl_is_a_warning(check):
    found = check("old.example.test", "A", "192.0.2.1", ttl=3600)
    assert found.ok
    assert found.warnings[0] == f"old.example.test/A has a TTL of 60 s at ns1.example.test ({ONE}), 3600 s is wanted"


def test_a_server_that_is_down_is_a_warning_while_another_answers(check):
    found = check("git.half.test", "A", "192.0.2.3", timeout_seconds=1.0)
    assert found.ok
    assert found.warnings == (f"ns.half.test ({NOBODY}) does not answer",)


def test_a_lame_server_is_a_warning_while_another_answers(check):
    found = check("git.lame.test", "A", "192.0.2.4")
    assert found.ok
    assert found.warnings == (f"lame: ns2.example.test ({TWO}) answers REFUSED: it does not serve the zone lame.test",)


def test_of_a_proxied_set_only_some_address_is_expected(check):
    found = check("git.example.test", "A", "203.0.113.5", proxied=True)
    assert found.ok
    assert "the proxy's addresses, 192.0.2.1" in found.sentence
    assert check("docs.example.test", "CNAME", "far.elsewhere.test", proxied=True).ok
    assert check("six.example.test", "CNAME", "far.elsewhere.test", proxied=True).ok
    assert check("note.example.test", "CNAME", "far.elsewhere.test", proxied=True).state is CheckState.MISSING


def test_a_wildcard_is_asked_literally_and_by_a_name_below_it(check):
    found = check("*.apps.example.test", "A", "192.0.2.1")
    assert found.ok
    assert found.asked == ("*.apps.example.test", "some-label.apps.example.test")
    assert found.sentence.endswith(", and so is some-label.apps.example.test below it")
    assert len(found.rows) == 4


def test_a_wildcard_that_one_server_lacks_differs(check):
    """There the wildcard further up answers in its place."""
    found = check("*.half.example.test", "A", "192.0.2.8")
    assert found.state is CheckState.DIFFERS
    assert f"but 192.0.2.1 at ns2.example.test ({TWO})" in found.sentence


def test_a_name_below_a_wildcard_that_answers_otherwise_is_told(world):
    wanted = record_set("*.apps.example.test", "A", 300, ["192.0.2.1"])
    found = asyncio.run(verify(world.lookup(), [wanted], label=lambda: "taken"))[0]
    assert found.state is CheckState.DIFFERS
    assert "; but a name below it: taken.apps.example.test/A is 192.0.2.9 at each of 2" in found.sentence


def test_a_wildcard_that_is_not_there_is_missing(check):
    found = check("*.git.example.test", "A", "192.0.2.1")
    assert found.state is CheckState.MISSING


def test_a_name_that_no_public_zone_holds_is_missing(check):
    found = check("git.home.lan", "A", "192.168.1.2")
    assert (found.state, found.sentence) == (CheckState.MISSING, "git.home.lan/A: no public zone holds home.lan")


def test_where_nobody_can_be_asked_it_is_unreachable(world, check):
    found = check("git.example.test", "A", "192.0.2.1", resolvers=(f"{NOBODY}:{world.port}",), timeout_seconds=0.3)
    assert (found.state, found.via) == (CheckState.UNREACHABLE, Via.NOBODY)
    assert "no public resolver says what it is" in found.sentence


def test_where_no_server_can_be_asked_public_resolvers_are(world, check):
    dead = {"reach": lambda _: (NOBODY, world.port), "timeout_seconds": 1.0}
    found = check("docs.example.test", "A", "192.0.2.1", **dead)
    assert (found.state, found.via) == (CheckState.OK, Via.RESOLVER)
    assert found.sentence.endswith("(asked public resolvers: no server of example.test answers)")
    wrong = check("docs.example.test", "A", "192.0.2.77", **dead)
    assert wrong.state is CheckState.DIFFERS


def test_servers_that_are_down_are_waited_for_once(world):
    """Not for each set: with a hundred of them that would be minutes."""
    wanted = [record_set(f"n{number}.example.test", "A", 300, ["192.0.2.1"]) for number in range(24)]
    asyncio.run(verify(world.lookup(), wanted))  # the resolver knows where the zone is now
    world.relays.asked.clear()
    world.relays.silent.update({ONE, TWO})
    try:
        found = asyncio.run(verify(world.lookup(timeout_seconds=0.5), wanted))
    finally:
        world.relays.silent.clear()
    assert {one.state for one in found} == {CheckState.UNREACHABLE}
    mine = [name for address, name, kind in world.relays.asked if address == ONE and kind == "SOA"]
    assert len(set(mine)) < len(wanted)


def test_a_redirected_port_is_told_and_https_is_asked(world, check, tmp_path):
    with doh_server(tmp_path, world.servers[RESOLVER].own_port) as doh:
        found = check(
            "git.example.test",
            "A",
            "192.0.2.1",
            reach=lambda _: (RESOLVER, world.port),
            doh_urls=(doh.url,),
            ca_file=str(doh.ca_file),
        )
    assert (found.state, found.via) == (CheckState.OK, Via.DOH)
    assert "port 53 is redirected" in found.sentence
    assert found.warnings == (
        "something on the way answers in the servers' place: port 53 is redirected, by a router or a firewall",
    )


def test_a_zone_whose_servers_do_not_have_it_is_unknown(check):
    found = check("git.fresh.test", "A", "192.0.2.1")
    assert found.state is CheckState.UNKNOWN
    assert "no server of fresh.test answers with authority" in found.sentence
    assert found.warnings == (f"lame: ns2.example.test ({TWO}) answers REFUSED: it does not serve the zone fresh.test",)


def test_the_servers_of_a_private_zone_can_be_named(check, tmp_path):
    """A dnsmasq is no authority, and no public zone leads to it."""
    lines = ["address=/home.lan/192.168.1.2", "local=/home.lan/"]
    with dnsmasq_server(tmp_path / "dnsmasq", *lines) as server:
        found = check("git.home.lan", "A", "192.168.1.2", ttl=0, resolvers=(), servers=(server.server,))
        assert (found.state, found.via, found.warnings) == (CheckState.OK, Via.AUTHORITY, ())
        missing = check("git.elsewhere.lan", "A", "192.168.1.2", resolvers=(), servers=(server.server,))
        gone = check("other.home.lan", "TXT", "x", resolvers=(), servers=(server.server,))
        assert gone.state is CheckState.MISSING
        assert missing.state is CheckState.UNKNOWN
        assert missing.sentence.startswith(f"git.elsewhere.lan/A cannot be checked: {server.server} answers REFUSED")


def test_a_long_value_does_not_hide_the_sentence(check):
    found = check("note.example.test", "TXT", "x" * 600)
    assert len(found.sentence) < 400


def test_labels_below_a_wildcard_are_never_the_same():
    assert random_label() != random_label()


def test_a_value_that_cannot_be_read_is_compared_as_it_stands():
    odd = replace(record_set("git.example.test", "A", 300, ["192.0.2.1"]), values=("not an address",))
    assert normal_values(odd) == ("not an address",)
