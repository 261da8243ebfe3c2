"""The provider of DNS that is kept by hand: lines to enter, and asking a real dnsmasq whether they were entered."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading

import dns.message
import dns.rcode
import dns.zone
import pytest
from pydantic import ValidationError

from autogit.errors import MissingError, StalePlanError, UnavailableError, UnsupportedError
from autogit.model.dns import RecordKey, RecordSet, Zone, record_set
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.asking import endpoint
from autogit.providers.dns.manual import ManualConfig, ManualDNS
from autogit.providers.dns.presentation import value_of, zone_lines
from autogit.testing.dns import SETS
from tests.providers.dns.dnsmasq_server import dnsmasq_server, free_port

HOME = Zone("home.test", "home.test")
ANSWERS = (
    "local=/home.test/",
    "local-ttl=77",
    "host-record=git.home.test,192.0.2.1",
    "host-record=git.home.test,192.0.2.2",
    "host-record=git.home.test,2001:db8::1",
    "address=/*.apps.home.test/192.0.2.7",
    "host-record=own.apps.home.test,192.0.2.8",
    "cname=docs.home.test,git.home.test",
    "mx-host=home.test,Mail.home.test,10",
    "srv-host=_git._tcp.home.test,git.home.test,22,1,2",
    "dns-rr=home.test,257,0005697373756578",
    'txt-record=note.home.test,"say \\"hi\\"; ","a\\\\b"',
    *(f'txt-record=big.home.test,"{number}{"x" * 200}"' for number in range(5)),
)
HELD = {
    "addresses": record_set("git.home.test", "A", 300, ["192.0.2.1", "192.0.2.2"]),
    "IPv6": record_set("git.home.test", "AAAA", 300, ["2001:db8::1"]),
    "an alias": record_set("docs.home.test", "CNAME", 300, ["git.home.test"]),
    "mail": record_set("home.test", "MX", 300, ["10 mail.home.test"]),
    "a service": record_set("_git._tcp.home.test", "SRV", 300, ["1 2 22 git.home.test"]),
    "an authority": record_set("home.test", "CAA", 300, ['0 issue "x"']),
    "a text of two strings": record_set("note.home.test", "TXT", 300, ['say "hi"; a\\b']),
    "more than a datagram": record_set("big.home.test", "TXT", 300, [f"{n}{'x' * 200}" for n in range(5)]),
    "a wildcard": record_set("*.apps.home.test", "A", 300, ["192.0.2.7"]),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with dnsmasq_server(tmp_path_factory.mktemp("manual") / "dnsmasq", *ANSWERS) as running:
        yield running


@pytest.fixture
def make(tmp_path):
    """A function that makes a provider."""

    def make(*resolvers, **settings):
        context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"))
        usual = {"zones": "home.test, sub.home.test", "resolvers": resolvers}
        return ManualDNS(context, ManualConfig(**usual | settings))

    return make


@pytest.fixture
def provider(server, make):
    return make(server.server)


def run(work):
    return asyncio.run(work)


def a(name, *values):
    return record_set(f"{name}.home.test", "A", 300, values)


# Lines of a zone file


def parsed(lines):
    """What a reader of zone files makes of lines: name, type, TTL and values in normal form."""
    zone = dns.zone.from_text("\n".join(lines) + "\n", "home.test.", relativize=False, check_origin=False)
    return [
        RecordSet(
            RecordKey(name.to_text(omit_final_dot=True), dns.rdatatype.to_text(found.rdtype)),
            found.ttl,
            tuple(sorted(value_of(rdata, dns.rdatatype.to_text(found.rdtype)) for rdata in found)),
        )
        for name, found in zone.iterate_rdatasets()
    ]


MORE = {
    "mail": ("", "MX", ["10 mail.home.test", "20 mail.example.net"]),
    "no mail": ("nomail", "MX", ["0 ."]),
    "a service": ("_git._tcp", "SRV", ["1 2 22 git.home.test"]),
    "a server of names": ("sub", "NS", ["ns1.example.net"]),
    "a web service": ("www", "HTTPS", ['1 . alpn="h2"', "2 git.home.test"]),
    "a fingerprint": ("git", "SSHFP", ["4 2 " + "ab" * 32]),
    "an empty text": ("empty", "TXT", [""]),
    "text beyond ASCII, cut within a letter": ("wide", "TXT", ["x" + "ü" * 300]),
    "text with control characters": ("control", "TXT", ["a\tb\nc\x7f"]),
}


@pytest.mark.parametrize("case", [*SETS, *MORE])
def test_a_reader_of_zone_files_reads_what_was_meant(case):
    name, kind, values = (SETS | MORE)[case]
    wanted = record_set(f"{name}.home.test".lstrip("."), kind, 1234, values)
    lines = zone_lines(wanted)
    assert parsed(lines) == [wanted]
    assert len(lines) == len(wanted.values)
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_names_are_absolute_and_texts_are_quoted_and_cut():
    assert zone_lines(a("*", "192.0.2.1")) == ["*.home.test. 300 IN A 192.0.2.1"]
    alias = record_set("docs.home.test", "CNAME", 60, ["pages.example.net"])
    assert zone_lines(alias) == ["docs.home.test. 60 IN CNAME pages.example.net."]
    text = record_set("t.home.test", "TXT", 60, ['"\\' + "x" * 260])
    assert zone_lines(text) == [f't.home.test. 60 IN TXT "\\"\\\\{"x" * 253}" "{"x" * 7}"']


# Asking


@pytest.mark.integration
@pytest.mark.parametrize("case", HELD)
def test_what_dns_answers_is_there_in_normal_form(provider, case):
    """Whatever is left of its TTL."""
    wanted = HELD[case]
    assert run(provider.list_records(HOME, [wanted.key])) == [wanted]
    run(provider.create_record(HOME, wanted))


@pytest.mark.integration
def test_what_an_alias_leads_to_is_not_at_the_alias(provider):
    assert run(provider.find_record(HOME, a("docs").key)) is None


@pytest.mark.integration
def test_only_what_is_asked_for_in_this_zone_is_listed(provider):
    assert run(provider.list_records(HOME)) == []
    assert run(provider.list_records(HOME, [a("git").key, a("none").key, a("git.sub").key])) == [HELD["addresses"]]


def test_a_zone_that_is_not_configured_is_missing(make):
    with pytest.raises(MissingError, match="MANUAL_ZONES"):
        run(make().list_records(Zone("other.test", "other.test"), []))


@pytest.mark.integration
def test_the_next_server_is_asked_where_one_does_not_answer(server, make):
    """One that is not there takes three seconds."""
    provider = make(f"127.0.0.1:{free_port()}", server.server)
    assert run(provider.find_record(HOME, a("git").key)) == HELD["addresses"]


@contextlib.contextmanager
def answering(rcode):
    """A server that has one answer for everything."""
    with socket.socket(type=socket.SOCK_DGRAM) as place:
        place.bind(("127.0.0.1", 0))
        place.settimeout(0.1)
        ended = threading.Event()

        def answer():
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    data, asker = place.recvfrom(4096)
                    response = dns.message.make_response(dns.message.from_wire(data))
                    response.set_rcode(rcode)
                    place.sendto(response.to_wire(), asker)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"127.0.0.1:{place.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_server_that_knows_nothing_is_not_taken_for_an_empty_zone(make, rcode):
    with answering(rcode) as failing:
        provider = make(failing)
        with pytest.raises(UnavailableError, match=f"^manual: nobody answers .* {dns.rcode.to_text(rcode)}") as caught:
            run(provider.delete_record(HOME, a("git", "192.0.2.1")))
        assert "MANUAL_RESOLVERS" in caught.value.hint
        health = run(provider.health())
        assert (health.ok, health.fix) == (False, caught.value.hint)


@pytest.mark.integration
def test_it_is_well_where_somebody_answers(provider):
    assert run(provider.health()).ok


# What is to be done by hand


def told(work):
    """What a write asks for: the lines of the message."""
    with pytest.raises(UnsupportedError, match=r"^manual: ") as caught:
        run(work)
    assert "run the command again" in caught.value.hint
    return caught.value.message.removeprefix("manual: ").split("\n")


@pytest.mark.integration
def test_a_set_that_is_not_there_is_to_be_entered(provider):
    lines = told(provider.create_record(HOME, a("new", "192.0.2.1", "192.0.2.2")))
    assert lines == [
        "enter in the zone home.test:",
        "new.home.test. 300 IN A 192.0.2.1",
        "new.home.test. 300 IN A 192.0.2.2",
    ]


@pytest.mark.integration
def test_a_set_that_is_as_it_was_is_to_be_replaced(provider):
    lines = told(provider.update_record(HOME, HELD["IPv6"], record_set("git.home.test", "AAAA", 300, ["2001:db8::9"])))
    assert lines == [
        "remove from the zone home.test:",
        "git.home.test. 300 IN AAAA 2001:db8::1",
        "enter in the zone home.test:",
        "git.home.test. 300 IN AAAA 2001:db8::9",
    ]


@pytest.mark.integration
def test_a_set_that_is_there_is_to_be_removed(provider):
    lines = told(provider.delete_record(HOME, HELD["an alias"]))
    assert lines == ["remove from the zone home.test:", "docs.home.test. 300 IN CNAME git.home.test."]


@pytest.mark.integration
def test_what_was_done_is_done(provider):
    """Whatever it was before: nothing is asked of anybody, which would be raised."""
    asked = (
        provider.update_record(HOME, a("git", "192.0.2.99"), HELD["addresses"]),
        provider.update_record(HOME, HELD["addresses"], HELD["addresses"]),
        provider.delete_record(HOME, a("none", "192.0.2.99")),
    )
    assert [run(work) for work in asked] == [None, None, None]


@pytest.mark.integration
def test_what_others_changed_is_stale(provider):
    other = a("git", "192.0.2.99")
    for work in (
        provider.create_record(HOME, other),
        provider.update_record(HOME, a("git", "192.0.2.98"), other),
        provider.delete_record(HOME, other),
    ):
        with pytest.raises(StalePlanError, match=r"192\.0\.2\.1, 192\.0\.2\.2"):
            run(work)
    with pytest.raises(StalePlanError, match="gone"):
        run(provider.update_record(HOME, a("none", "192.0.2.1"), a("none", "192.0.2.2")))


@pytest.mark.integration
def test_a_name_that_a_wildcard_answers_for_counts_as_deleted(provider):
    """Asking cannot tell it from one that is there with the same values; the wildcard itself is not gone."""
    run(provider.delete_record(HOME, a("gone.apps", "192.0.2.8")))
    run(provider.delete_record(HOME, a("deep.gone.apps", "192.0.2.7")))
    assert told(provider.delete_record(HOME, a("own.apps", "192.0.2.8")))[0].startswith("remove")
    assert told(provider.delete_record(HOME, HELD["a wildcard"]))[1:] == ["*.apps.home.test. 300 IN A 192.0.2.7"]


@pytest.mark.integration
def test_wildcards_and_challenges_are_told_too(provider):
    lines = told(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    assert lines[1:] == ["*.home.test. 300 IN A 192.0.2.1"]
    run(provider.ensure_wildcard("apps.home.test", "192.0.2.7", 300))
    lines = told(provider.add_txt(HOME, "_acme-challenge.home.test", "x-_9", 60))
    assert lines[1:] == ['_acme-challenge.home.test. 60 IN TXT "x-_9"']


def test_nothing_by_hand_makes_a_name_proxied(make):
    with pytest.raises(UnsupportedError, match="proxied"):
        run(make().create_record(HOME, record_set("git.home.test", "A", 300, ["192.0.2.1"], proxied=True)))


# Settings


def test_hosts_are_told_with_or_without_a_port():
    expected = {
        "192.0.2.1": ("192.0.2.1", 53),
        "192.0.2.1:5353": ("192.0.2.1", 5353),
        "ns1.example.net:54": ("ns1.example.net", 54),
        "2001:db8::1": ("2001:db8::1", 53),
        "[2001:db8::1]": ("2001:db8::1", 53),
        "[2001:db8::1]:54": ("2001:db8::1", 54),
    }
    assert {text: endpoint(text) for text in expected} == expected


def test_settings_are_text_and_wrong_ones_are_refused(make):
    provider = make(zones=" Home.test., home.test ,", resolvers="192.0.2.1, ns1.example.net:54", ttl="60")
    assert [zone.name for zone in run(provider.list_zones())] == ["home.test"]
    assert provider.config.resolvers == ("192.0.2.1", "ns1.example.net:54")
    assert (provider.capabilities.least_ttl, provider.capabilities.most_ttl) == (60, 60)
    for wrong in ({"resolvers": ":53"}, {"resolvers": "192.0.2.1:dns"}, {"ttl": 0}, {"zone": "home.test"}):
        with pytest.raises(ValidationError, match=re.escape(next(iter(wrong)))):
            make(**wrong)
