"""Split horizon and withheld private answers against BIND and dnsmasq; DNSSEC against signed and broken zones."""

from __future__ import annotations

import asyncio

import dns.dnssec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from autogit.model.dns_checks import DnssecState
from autogit.providers.dns.world.dnssec import check_dnssec
from autogit.providers.dns.world.zone_health import is_private_address, rebind_protection, split_horizon
from tests.providers.dns.dnsmasq_server import dnsmasq_server
from tests.providers.dns.world.named_world import (  # noqa: F401 - a fixture by its name
    LOCAL,
    NOBODY,
    ONE,
    RESOLVER,
    TWO,
    _sockets_stay_on_loopback,
    dns_world,
    zone_text,
)

NS = {"ns1.example.test": ONE}


@pytest.mark.parametrize(
    ("address", "is_private"),
    [
        ("10.1.2.3", True),
        ("172.31.255.255", True),
        ("172.32.0.1", False),
        ("192.168.1.2", True),
        ("127.0.0.1", True),
        ("169.254.1.1", True),
        ("100.64.0.1", True),
        ("100.128.0.1", False),
        ("192.0.2.1", False),
        ("8.8.8.8", False),
        ("fd00::1", True),
        ("fe80::1", True),
        ("::1", True),
        ("::ffff:192.168.1.2", True),
        ("2001:db8::1", False),
        ("git.example.test", False),
    ],
)
def test_addresses_of_local_networks_are_known(address, is_private):
    assert is_private_address(address) is is_private


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with dns_world(tmp_path_factory.mktemp("world")) as made:
        made.run_root(
            [
                *("example NS ns1.example", f"ns1.example A {ONE}", "same NS ns.same", f"ns.same A {ONE}"),
                "outside NS ns1.example",
            ]
        )
        outside = ["git A 192.0.2.1", "nas A 192.168.1.9", "nas AAAA fd00::9", "carrier A 100.64.1.1"]
        made.run(
            ONE,
            {
                "example.test": zone_text("example.test", NS, *outside),
                "same.test": zone_text("same.test", {"ns.same.test": ONE}),
                "outside.test": zone_text("outside.test", {"ns1.example.test": ""}),
            },
        )
        made.run_resolver()
        made.run_resolver(
            LOCAL,
            zones={
                "example.test": zone_text("example.test", {"ns.example.test": "192.168.1.1"}, "git A 192.168.1.2"),
                "home.test": zone_text("home.test", {"ns.home.test": "192.168.1.1"}),
                "outside.test": zone_text("outside.test", {"ns1.example.test": ""}).replace(
                    "ns1.example.test. hostmaster", "router.home. root"
                ),
            },
        )
        yield made


@pytest.fixture
def split(world):
    """A function that compares a zone from inside and outside."""

    def compared(zone, *names, **config):
        return asyncio.run(split_horizon(world.lookup(**config), zone, names))

    return compared


@pytest.mark.integration
def test_another_zone_inside_is_noticed(world, split):
    found = split("example.test")
    assert found.split is True
    assert found.sentence.startswith(
        "example.test is another zone here than outside: here of ns.example.test, outside of ns1.example.test"
    )
    assert (found.system.nameservers, found.public.nameservers) == (("ns.example.test",), ("ns1.example.test",))
    assert (found.system.asked, found.public.asked) == (f"{LOCAL}:{world.port}", f"{RESOLVER}:{world.port}")


@pytest.mark.integration
def test_another_first_server_alone_is_another_zone(split):
    """Some routers copy the NS records and answer as a server of their own."""
    assert split("outside.test").split is True


@pytest.mark.integration
def test_the_same_zone_is_no_split(split):
    found = split("same.test")
    assert (found.split, found.sentence.partition(";")[0]) == (False, "same.test is the same here and outside")


@pytest.mark.integration
def test_a_zone_of_this_network_only_is_a_split(split):
    found = split("home.test")
    assert found.split is True
    assert found.sentence.startswith("home.test is there for this network only: outside, ")


@pytest.mark.integration
def test_a_zone_of_nowhere_is_said(split):
    assert split("nowhere.test").sentence == "nowhere.test is no zone, neither here nor outside"


@pytest.mark.integration
def test_without_an_answer_nothing_is_claimed(world, split):
    found = split("example.test", system=(f"{NOBODY}:{world.port}",), timeout_seconds=1.0)
    assert found.split is None
    assert f"here: {NOBODY}:{world.port} does not answer" in found.sentence
    found = split("example.test", resolvers=())
    assert found.split is None
    assert "outside: there is nobody to ask" in found.sentence


@pytest.mark.integration
def test_private_addresses_in_public_are_listed(split):
    found = split("example.test", "git.example.test", "nas.example.test", "carrier.example.test")
    assert found.private == (
        f"ns1.example.test {ONE}",  # loopback: this world's servers are there
        "nas.example.test 192.168.1.9",
        "nas.example.test fd00::9",
        "carrier.example.test 100.64.1.1",
    )
    assert "public DNS shows private addresses: " in found.sentence


@pytest.mark.integration
def test_withheld_private_addresses_are_noticed_and_the_cure_is_told(world, tmp_path):
    """A real dnsmasq with rebind protection as OpenWrt has it."""
    upstream = f"server=127.0.0.1#{world.servers[RESOLVER].own_port}"
    with dnsmasq_server(tmp_path / "strict", "stop-dns-rebind", upstream) as strict:
        lookup = world.lookup(system=(strict.server,))
        found = asyncio.run(rebind_protection(lookup, "nas.example.test"))
        assert found.blocked is True
        assert found.sentence.startswith("nas.example.test has 192.168.1.9, fd00::9, but ")
        assert found.sentence.endswith("that is rebind protection")
        cure = "rebind-domain-ok=/example.test/"
        assert cure in found.hint
        assert 'private-domain: "example.test"' in found.hint
        assert asyncio.run(rebind_protection(lookup, "git.example.test")).blocked is False
    with dnsmasq_server(tmp_path / "cured", "stop-dns-rebind", upstream, cure) as cured:
        found = asyncio.run(rebind_protection(world.lookup(system=(cured.server,)), "nas.example.test"))
        assert (found.blocked, found.hint) == (False, "")
        assert found.sentence.endswith("and the resolver of this host says so too")


@pytest.mark.integration
def test_without_a_resolver_rebind_protection_is_not_known(world):
    found = asyncio.run(rebind_protection(world.lookup(system=()), "nas.example.test"))
    assert found.blocked is None
    assert "there is nobody to ask" in found.sentence


@pytest.fixture(scope="module")
def signed_world(tmp_path_factory):
    """Zones under a signed `test`; the resolver has its key."""
    with dns_world(tmp_path_factory.mktemp("signed")) as made:
        ns1 = {"ns1.plain.test": ""}
        both = ns1 | {"ns2.plain.test": ""}
        policy = "dnssec-policy default; inline-signing yes;"
        names = ("signed", "broken", "stray", "half", "island")
        one = {f"{name}.test": (zone_text(f"{name}.test", ns1, "git A 192.0.2.1"), policy) for name in names}
        one["half.test"] = (zone_text("half.test", both), policy)
        key = dns.dnssec.make_dnskey(ec.generate_private_key(ec.SECP256R1()).public_key(), "ECDSAP256SHA256", flags=257)
        one["forged.test"] = zone_text("forged.test", ns1, f"@ DNSKEY {key}")
        one["bare.test"] = zone_text("bare.test", ns1)
        one["plain.test"] = zone_text("plain.test", {"ns1.plain.test": ONE}, f"ns2 A {TWO}")
        server = made.run(ONE, one)
        made.run(TWO, {"half.test": zone_text("half.test", both)})
        ds = {name: server.ds(f"{name}.test")[0] for name in names}
        wrong = ds["signed"].rpartition(" ")[2]
        lines = [
            *(f"{name} NS ns1.plain" for name in (*names, "bare", "forged", "plain")),
            *("half NS ns2.plain", f"ns1.plain A {ONE}", f"ns2.plain A {TWO}"),
            *(ds["signed"], ds["half"], ds["stray"]),
            ds["broken"].rpartition(" ")[0] + " " + wrong,
            f"stray.test. DS 1 13 2 {wrong}",
            f"forged.test. DS {dns.dnssec.make_ds('forged.test.', key, 'SHA256')}",
            f"bare.test. DS 1 13 2 {wrong}",
        ]
        root = made.run_root(lines, test_more=policy)
        anchor = root.ds("test")[0].replace("test. DS ", "").split(" ", 3)
        made.run_resolver(
            validation="yes", anchors=f'trust-anchors {{ "test." static-ds {" ".join(anchor[:3])} "{anchor[3]}"; }};\n'
        )
        made.run_resolver(LOCAL)
        yield made


@pytest.fixture
def dnssec(signed_world):
    """A function that checks a zone's DNSSEC."""

    def checked(zone, **config):
        return asyncio.run(check_dnssec(signed_world.lookup(**config), zone))

    return checked


@pytest.mark.integration
def test_a_signed_zone_is_well(dnssec):
    found = dnssec("signed.test")
    assert (found.state, found.validated, found.warnings) == (DnssecState.SIGNED, True, ())
    assert found.sentence == "signed.test is signed, the parent's DS fits, and a resolver validates it"
    assert found.ds == found.matching == found.keys


@pytest.mark.integration
def test_a_ds_of_another_key_is_broken(dnssec):
    found = dnssec("broken.test")
    assert (found.state, found.validated, found.matching) == (DnssecState.BROKEN, False, ())
    assert f"the parent's DS ({found.ds[0]}) fits no key of the zone ({found.keys[0]})" in found.sentence
    assert "SERVFAIL" in found.sentence


@pytest.mark.integration
def test_a_zone_that_fits_but_does_not_validate_is_broken(dnssec):
    """Its records have no signatures: only a resolver that validates notices."""
    found = dnssec("forged.test")
    assert (found.state, found.validated, len(found.matching)) == (DnssecState.BROKEN, False, 1)
    assert found.sentence.endswith("; without validation there is an answer")


@pytest.mark.integration
def test_a_broken_zone_is_still_looked_into(signed_world):
    """Finding its servers does not take validation: else nobody could say what is wrong."""
    found = asyncio.run(signed_world.lookup().authority_over("git.broken.test"))
    assert (found.zone, [server.address for server in found.servers]) == ("broken.test", [ONE])


@pytest.mark.integration
def test_a_ds_without_any_key_is_broken(dnssec):
    found = dnssec("bare.test")
    assert found.state is DnssecState.BROKEN
    assert "the parent has a DS, the zone has no key" in found.sentence


@pytest.mark.integration
def test_a_left_over_ds_is_a_warning(dnssec):
    found = dnssec("stray.test")
    assert (found.state, len(found.ds), len(found.matching)) == (DnssecState.SIGNED, 2, 1)
    assert found.warnings == ("the parent of stray.test has a DS without a key in the zone: 1",)


@pytest.mark.integration
def test_a_server_without_the_keys_is_a_warning(dnssec):
    found = dnssec("half.test")
    assert found.warnings == (f"ns2.plain.test ({TWO}) has the zone without its keys",)


@pytest.mark.integration
def test_keys_without_a_ds_protect_nothing(dnssec):
    found = dnssec("island.test")
    assert (found.state, found.validated) == (DnssecState.UNSIGNED, False)
    assert found.sentence == "island.test has keys, but the parent has no DS: nobody validates it"


@pytest.mark.integration
def test_an_unsigned_zone_is_said(dnssec):
    assert dnssec("plain.test").sentence == "plain.test is not signed"


@pytest.mark.integration
def test_a_resolver_that_does_not_validate_is_said(signed_world, dnssec):
    found = dnssec("signed.test", resolvers=(f"{LOCAL}:{signed_world.port}",))
    assert (found.state, found.validated) == (DnssecState.SIGNED, False)
    assert found.sentence.endswith("no resolver that was asked validates")


@pytest.mark.integration
def test_without_a_resolver_dnssec_is_not_known(dnssec):
    found = dnssec("signed.test", resolvers=())
    assert (found.state, found.validated) == (DnssecState.UNKNOWN, None)
