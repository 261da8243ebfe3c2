"""Addresses that DNS names should lead to: what kind one is, which one is chosen, and when a new one is believed."""

from __future__ import annotations

import ipaddress
import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogit.core.addresses import (
    AddressClass,
    address_class,
    dump_book,
    load_book,
    parse_book,
    save_book,
    unfit_for_public,
    updated,
)
from autogit.errors import RejectedError, StorageFullError
from autogit.model.addresses import (
    AddressBook,
    AddressSource,
    BookEntry,
    Finding,
    HostAddresses,
    InterfaceAddress,
    SourceAnswer,
    agreed,
    host_addresses,
    lan_address,
    publishable_v6,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ONE, TWO, THREE = "8.8.8.8", "9.9.9.9", "1.1.1.1"
CLASSES = {
    AddressClass.GLOBAL: "8.8.8.8 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.1.1 198.17.0.1"
    " 198.20.0.1 203.0.112.1 223.255.255.255 2001:4860:4860::8888 2400::1 2001:200::1 2001:db7::1 2001:db9::1 2003::1"
    " 3ffe::1 3fff:1000::1 ::ffff:8.8.8.8",
    AddressClass.PRIVATE: "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 fc00::1 fd12:3456::1"
    " ::ffff:192.168.1.1 ::ffff:c0a8:101",
    AddressClass.CGNAT: "100.64.0.0 100.64.0.1 100.100.1.1 100.127.255.255 ::ffff:100.64.0.1",
    AddressClass.DOCUMENTATION: "192.0.2.1 198.51.100.1 203.0.113.255 2001:db8::1 3fff::1 3fff:fff:ffff::1",
    AddressClass.LOOPBACK: "127.0.0.1 127.255.0.1 ::1 ::ffff:127.0.0.1",
    AddressClass.LINK_LOCAL: "169.254.1.1 fe80::1 febf::1 fe80::1%eth0",
    AddressClass.MULTICAST: "224.0.0.1 239.255.255.255 ff02::1",
    AddressClass.UNSPECIFIED: "0.0.0.0 :: ::ffff:0.0.0.0",
    AddressClass.BENCHMARK: "198.18.0.1 198.19.255.255 2001:2::1",
    AddressClass.TUNNEL: "192.88.99.1 2002:808:808::1 2001:0:4136:e378::1",
    AddressClass.RESERVED: "0.1.2.3 192.0.0.2 240.0.0.1 255.255.255.255 64:ff9b::808:808 64:ff9b:1::1 100::1 fec0::1"
    " ::8.8.8.8 2001:20::1 2001:1ff::1 4000::1 5f00::1",
}
PAIRS = [(text, kind) for kind, texts in CLASSES.items() for text in texts.split()]


@pytest.mark.parametrize(("text", "kind"), PAIRS)
def test_each_address_has_its_class_and_only_global_ones_are_fit(text, kind):
    assert address_class(text) is kind
    unfit = unfit_for_public(text)
    assert (unfit == "") == (kind is AddressClass.GLOBAL)
    assert kind is AddressClass.GLOBAL or unfit.startswith(f"{text} cannot be published: ")


def test_shared_addresses_of_a_provider_are_neither_private_nor_global_to_python_and_yet_unfit():
    shared = ipaddress.ip_address("100.64.7.7")
    assert not shared.is_private
    assert not shared.is_global
    assert unfit_for_public("100.64.7.7") == (
        "100.64.7.7 cannot be published: your provider shares one address among many (CGNAT, RFC 6598): use a tunnel"
    )


@given(st.ip_addresses())
def test_what_python_calls_private_or_reserved_is_never_fit(address):
    if address.is_private or address.is_loopback or address.is_multicast or address.is_link_local:
        assert unfit_for_public(str(address))
    assert address_class(f"  {address} ") is address_class(str(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_mapped_address_is_what_its_ipv4_address_is(address):
    assert address_class(f"::ffff:{address}") is address_class(str(address))


@pytest.mark.parametrize(
    "text", ["", "git.example.org", "8.8.8", "8.8.8.8/24", "010.0.0.1", "1.2.3.4%eth0", "::g", "\uff18.8.8.8"]
)
def test_what_is_no_address_is_said(text):
    with pytest.raises(RejectedError, match="no IP address"):
        address_class(text)
    assert "no IP address" in unfit_for_public(text)


ETH4, ETH6 = InterfaceAddress("eth0", "192.168.1.5"), InterfaceAddress("eth0", "2400:1::5")
DOCKER, BRIDGE = InterfaceAddress("docker0", "172.17.0.1"), InterfaceAddress("br-0123456789ab", "172.18.0.1")
VPN = InterfaceAddress("wg0", "10.8.0.2")
ULA = InterfaceAddress("eth0", "fd00::5")
TEMPORARY = InterfaceAddress("eth0", "2400:1::aaaa", temporary=True)


@pytest.mark.parametrize(
    ("source", "addresses", "expected"),
    [
        ("192.168.1.5", [DOCKER, ETH4], "192.168.1.5"),
        ("192.168.1.6", [ETH4, InterfaceAddress("eth0", "192.168.1.6")], "192.168.1.6"),
        ("10.8.0.2", [VPN, DOCKER, BRIDGE, ETH4], "192.168.1.5"),  # all goes through a tunnel
        ("", [InterfaceAddress("lo", "127.0.0.1"), DOCKER, ETH4], "192.168.1.5"),
        ("", [InterfaceAddress("eth1", "8.8.8.8"), ETH4], "192.168.1.5"),
        ("8.8.8.8", [ETH4, InterfaceAddress("eth1", "8.8.8.8")], "8.8.8.8"),
        ("192.168.1.5", [], "192.168.1.5"),  # a sandbox shows no interfaces
        ("", [InterfaceAddress("br-lan", "192.168.7.1"), BRIDGE], "192.168.7.1"),
        ("", [InterfaceAddress("br0", "192.168.7.1")], "192.168.7.1"),
        ("192.0.2.2", [InterfaceAddress("eth0", "192.0.2.2"), InterfaceAddress("eth1", "10.1.1.1")], "192.0.2.2"),
        ("172.17.0.1", [DOCKER, BRIDGE, VPN], ""),
        ("127.0.0.1", [], ""),
        ("", [], ""),
        ("169.254.3.3", [InterfaceAddress("eth0", "169.254.3.3")], ""),
        ("", [ETH6, ULA], ""),
    ],
)
def test_the_ipv4_address_of_the_own_network(source, addresses, expected):
    found = lan_address("v4", source, addresses)
    assert found.value == expected
    assert bool(found.problem) == (not expected)


@pytest.mark.parametrize(
    "name", ["lo", "docker0", "docker_gwbridge", "veth12ab", "tun0", "wg0", "virbr0", "br-0123456789ab", "tailscale0"]
)
def test_tunnels_and_containers_are_no_network_of_this_host(name):
    assert lan_address("v4", "", [InterfaceAddress(name, "10.0.0.1")]).problem


@pytest.mark.parametrize(
    "name", ["eth0", "enp3s0", "wlan0", "br0", "br-lan", "bond0", "eno1.20", "vmbr0", "end0", "lo0x"]
)
def test_others_are(name):
    assert lan_address("v4", "", [InterfaceAddress(name, "10.0.0.1")]) == Finding("10.0.0.1", interface=name)


@pytest.mark.parametrize(
    ("source", "addresses", "expected"),
    [
        ("2400:1::aaaa", [TEMPORARY, ULA, ETH6], "2400:1::5"),
        ("2400:1::aaaa", [TEMPORARY, ULA], "fd00::5"),
        ("2400:1::aaaa", [TEMPORARY], ""),
        ("", [InterfaceAddress("eth0", "2400:1::6", usable=False), InterfaceAddress("eth0", "fe80::1")], ""),
        ("", [InterfaceAddress("eth1", "2400:2::5"), ETH6], "2400:2::5"),
        ("2400:1::aaaa", [InterfaceAddress("eth1", "2400:2::5"), TEMPORARY, ETH6], "2400:1::5"),
        ("", [ETH6, InterfaceAddress("eth0", "2400:1::99", fixed=True)], "2400:1::99"),
        ("", [InterfaceAddress("tailscale0", "fd7a:115c:a1e0::1")], ""),
        ("", [ETH4], ""),
    ],
)
def test_the_ipv6_address_of_the_own_network(source, addresses, expected):
    assert lan_address("v6", source, addresses).value == expected


@pytest.mark.parametrize(
    ("seen", "addresses", "expected"),
    [
        ("2400:1::5", [ETH6], "2400:1::5"),
        ("2400:1::aaaa", [TEMPORARY, ETH6], "2400:1::5"),  # asked from a temporary address
        ("2400:1::5", [ETH6, InterfaceAddress("eth0", "2400:1::99", fixed=True)], "2400:1::99"),
        ("2400:1::7", [ETH6, InterfaceAddress("eth0", "2400:1::7")], "2400:1::7"),
        ("2400:1::aaaa", [TEMPORARY, InterfaceAddress("eth0", "2400:1::5", usable=False)], ""),
        ("2400:9::1", [ETH6, ETH4, ULA], "2400:9::1"),  # translated on the way
        ("2400:9::1", [], "2400:9::1"),
    ],
)
def test_the_ipv6_address_to_publish_lasts(seen, addresses, expected):
    found = publishable_v6(seen, addresses)
    assert found.value == expected
    assert expected or seen in found.problem


def answers(*said):
    """Sources a, b, c ...: an address, or "" for one that is silent."""
    silent = {"problem": "does not answer within 5 s"}
    return [SourceAnswer("abcdef"[n], **({"value": one} if one else silent)) for n, one in enumerate(said)]


@pytest.mark.parametrize(
    ("said", "value", "problem"),
    [
        ((ONE, ONE, ONE), ONE, ""),
        ((ONE, ONE, TWO), ONE, ""),
        ((TWO, ONE, ONE, ""), ONE, ""),
        ((ONE, ONE, ""), ONE, ""),
        ((ONE,), ONE, ""),
        ((ONE, TWO, THREE), "", "disagree on the public IPv4 address: a says 8.8.8.8; b says 9.9.9.9; c says 1.1.1.1"),
        ((ONE, TWO, ""), "", "disagree"),
        ((ONE, ONE, TWO, TWO), "", "disagree"),
        ((ONE, "", ""), "", "only one source tells the public IPv4 address, 2 must agree: a says 8.8.8.8; b does not"),
        (("", ""), "", "no source tells the public IPv4 address: a does not answer within 5 s; b does not answer"),
        ((), "", "no source is set"),
        (
            ("100.64.1.2", "100.64.1.2"),
            "",
            "the sources agree, but 100.64.1.2 cannot be published: your provider shares",
        ),
        (("10.0.0.1", "10.0.0.1", ONE), "", "private"),
        (("10.0.0.1", ONE, ONE), ONE, ""),
        (("192.0.2.1", "192.0.2.1"), "", "examples"),
    ],
)
def test_sources_must_agree(said, value, problem):
    found = agreed("v4", answers(*said))
    assert found.value == value
    assert problem in found.problem
    assert bool(found.problem) == (not value)


def test_a_source_that_is_set_twice_has_one_voice():
    twice = [SourceAnswer("a", ONE), SourceAnswer("a", ONE), SourceAnswer("b", TWO)]
    assert "disagree" in agreed("v4", twice).problem
    assert "only one" in agreed("v4", [*twice[:2], SourceAnswer("b", problem="is down")]).problem


def test_sources_are_called_by_host_and_by_unusual_port():
    assert AddressSource("https", "api.ipify.org", 443, "/").label == "api.ipify.org"
    assert AddressSource("https", "2400::1", 8443, "/").label == "[2400::1]:8443"


def reading(said):
    """A look at the public IPv4 address that found one ("" for a failure), or was not at it (None)."""
    if said is None:
        return HostAddresses(lan_v4="192.168.1.5")
    return host_addresses({"public_v4": Finding(said) if said else Finding(problem="the sources disagree")})


def after(*said):
    """The book's entry after looks, one a minute."""
    book = AddressBook()
    for minute, one in enumerate(said):
        book = updated(book, reading(one), NOW + timedelta(minutes=minute))
    return book.entries.get("public_v4", BookEntry())


@pytest.mark.parametrize(
    ("said", "value", "since_minute", "candidate"),
    [
        ((ONE,), ONE, 0, ("", 0)),
        ((ONE, ONE), ONE, 0, ("", 0)),
        ((ONE, TWO), ONE, 0, (TWO, 1)),
        ((ONE, TWO, TWO), TWO, 2, ("", 0)),
        ((ONE, TWO, ONE, TWO, ONE, TWO), ONE, 0, (TWO, 1)),
        ((ONE, TWO, THREE, TWO, THREE), ONE, 0, (THREE, 1)),
        ((ONE, TWO, THREE, THREE), THREE, 3, ("", 0)),
        ((ONE, ""), ONE, 0, ("", 0)),
        ((ONE, TWO, "", TWO), ONE, 0, (TWO, 1)),
        ((ONE, TWO, None, TWO), TWO, 3, ("", 0)),  # a look at other fields says nothing
        ((ONE, "", "", "", TWO, TWO), TWO, 5, ("", 0)),
        (("", ONE), ONE, 1, ("", 0)),
        (("", ""), "", None, ("", 0)),
        ((None,), "", None, ("", 0)),
    ],
)
def test_a_new_address_is_believed_when_it_was_found_twice_in_a_row(said, value, since_minute, candidate):
    entry = after(*said)
    assert entry.value == value
    assert entry.since == ("" if since_minute is None else f"2026-11-24T12:{since_minute:02}:00Z")
    assert (entry.candidate, entry.candidate_seen) == candidate


def test_a_failed_look_keeps_the_last_good_address_and_says_why_until_one_succeeds():
    failed = after(ONE, "")
    assert (failed.value, failed.problem) == (ONE, "the sources disagree")
    assert failed.checked_at == "2026-11-24T12:01:00Z"
    assert after(ONE, "", TWO).problem == ""


@given(st.lists(st.sampled_from([ONE, TWO, THREE, ""]), max_size=40))
def test_what_is_in_force_was_first_or_was_found_twice_in_a_row_and_nothing_since(said):
    entry = after(*said)
    believed = ""
    for number, one in enumerate(said):
        steady = number > 0 and said[number - 1] == one
        if one and (not believed or (steady)):
            believed = one
    assert entry.value == believed


def test_fields_do_not_disturb_each_other():
    book = updated(AddressBook(), HostAddresses(lan_v4="10.0.0.1", public_v4=ONE), NOW)
    book = updated(book, HostAddresses(public_v4=TWO, problems={"lan_v4": "no network"}), NOW)
    assert (book.value("lan_v4"), book.value("public_v4"), book.value("lan_v6")) == ("10.0.0.1", ONE, "")
    assert book.entries["lan_v4"].problem == "no network"
    assert "lan_v6" not in book.entries


def full_book():
    """A book with all there can be."""
    book = updated(AddressBook(), HostAddresses("10.0.0.1", "fd00::1", ONE, "2400::1"), NOW)
    return updated(book, HostAddresses("10.0.0.2", public_v4=TWO, problems={"public_v6": "none agree"}), NOW)


def test_a_book_is_kept_for_its_owner_only_and_goes_on_where_it_was(tmp_path):
    path = tmp_path / "state" / "addresses.json"
    assert load_book(path) == AddressBook()
    save_book(path, full_book())
    assert load_book(path) == full_book()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert updated(load_book(path), reading(TWO), NOW).value("public_v4") == TWO


def changed(place, value):
    """The full book's file with one thing of its entry of the public IPv4 address changed, or a key of its own."""
    raw = json.loads(dump_book(full_book()))
    (raw["addresses"]["public_v4"] if place in raw["addresses"]["public_v4"] else raw)[place] = value
    return json.dumps(raw).encode()


DAMAGED = {
    "empty": b"",
    "cut": dump_book(full_book()).encode()[:-40],
    "not text": b"\xff\xfe\x00",
    "something else": b"[1, 2]",
    "a number": b"7",
    "deep": b"[" * 50000,
    "long": b" " * 70000 + b"{}",
    "no entries": b'{"schema": 1, "addresses": []}',
    "an entry that is none": b'{"schema": 1, "addresses": {"public_v4": "8.8.8.8"}}',
    "half an entry": b'{"schema": 1, "addresses": {"public_v4": {"value": "8.8.8.8"}}}',
    "a newer schema": changed("schema", 2),
    "an unknown field": changed("addresses", {"wan_v4": {}}),
    "no address": changed("value", "git.example.org"),
    "a number as address": changed("value", 134744072),
    "a private address": changed("value", "192.168.1.1"),
    "a private candidate": changed("candidate", "100.64.0.1"),
    "another family": changed("value", "2400::1"),
    "no moment": changed("since", "yesterday"),
    "a moment without zone": changed("checked_at", "2026-11-24T12:00:00"),
    "an address of no moment": changed("since", ""),
    "a count of many": changed("candidate_seen", 99),
    "a count below none": changed("candidate_seen", -1),
    "a count that is true": changed("candidate_seen", True),
    "a count of nothing": changed("candidate", ""),
    "no problem": changed("problem", None),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_book_is_as_good_as_none_and_says_so(data, tmp_path):
    path = tmp_path / "addresses.json"
    path.write_bytes(data)
    book = load_book(path)
    assert not book.entries
    assert book.problem == "addresses.json is damaged: it counts as none, and addresses are looked for anew"
    again = updated(book, reading(ONE), NOW)
    assert (again.value("public_v4"), again.problem) == (ONE, book.problem), "still told after the look"
    save_book(path, again)
    assert load_book(path).problem == ""


@given(st.binary(max_size=200))
def test_no_file_makes_it_stumble(data):
    assert parse_book(data, "addresses.json").problem


def test_a_book_that_cannot_be_read_or_written_is_told(tmp_path):
    assert "cannot be read" in load_book(tmp_path).problem
    with pytest.raises(StorageFullError, match="cannot write"):
        save_book(tmp_path, full_book())


def test_moments_are_utc_whatever_the_clocks_zone():
    madrid = datetime.fromisoformat("2026-11-24T13:00:00+01:00")
    assert updated(AddressBook(), reading(ONE), madrid).entries["public_v4"].since == "2026-11-24T12:00:00Z"
