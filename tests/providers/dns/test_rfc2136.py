"""The provider of zones that are changed by dynamic updates (RFC 2136), against a real BIND 9."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
import traceback
import types
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest
from pydantic import ValidationError

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderAuthError,
    RejectedError,
    StalePlanError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import RecordKey, Zone, record_set
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.patience import PatientDNS
from autogit.providers.dns.rfc2136 import Rfc2136Config, Rfc2136DNS
from autogit.providers.registry import provider_class, provider_settings
from autogit.testing.dns import SETS, DNSProviderContract
from tests.providers.dns.bind import TsigKey, bind_server
from tests.providers.dns.dnsmasq_server import free_port

pytestmark = pytest.mark.integration

POOL = [f"z{number}.test" for number in range(180)]
STRANGER = TsigKey("stranger")
LONG = ("k=" + "0123456789abcdef" * 40, "m=" + "fedcba9876543210" * 40)


@pytest.fixture(scope="module")
def bind(tmp_path_factory):
    with bind_server(tmp_path_factory.mktemp("bind"), dict.fromkeys(POOL, ()), others=[STRANGER]) as running:
        yield running


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    with bind_server(tmp_path_factory.mktemp("closed"), dict.fromkeys(POOL, ()), transfers=False) as running:
        yield running


@pytest.fixture(scope="module")
def pool():
    return iter(POOL)


@pytest.fixture
def zone(pool):
    """One that no other test has."""
    name = next(pool)
    return Zone(name, name)


@pytest.fixture
def provider(bind, tmp_path):
    return make(bind, tmp_path)


@pytest.fixture
def between(bind):
    """A wire to that server that a test can tamper with."""
    with Between(bind.port) as running:
        yield running


class TestRfc2136(DNSProviderContract):
    pass


class TestNameByName(DNSProviderContract):
    """The same where the zone is not transferred, for whoever asks by name."""

    @pytest.fixture
    def provider(self, closed, tmp_path):
        return make(closed, tmp_path)

    def listed(self, provider, zone):
        held = [*SETS.values(), *((name, "A", ()) for name in ("rest", *(f"n{n:03}" for n in range(self.many))))]
        keys = [self.made(zone, name, kind, []).key for name, kind, _ in held]
        assert self.run(provider.list_records(zone)) == []
        assert not provider.capabilities.lists
        return self.run(provider.list_records(zone, keys))


class TestKeys:
    """What is said of a key that is not taken, and that nothing is written with it."""

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"key_secret": TsigKey().secret}, "has another secret for the key autogit"),
            ({"key_name": "nobody"}, "knows no key nobody of the algorithm hmac-sha256"),
            ({"key_algorithm": "hmac-sha512"}, "knows no key autogit of the algorithm hmac-sha512"),
        ],
        ids=["another secret", "an unknown key", "another algorithm"],
    )
    def test_a_key_that_does_not_fit_is_refused_in_words(self, bind, tmp_path, zone, settings, said):
        provider = make(bind, tmp_path, **settings)
        before = bind.serial(zone.name)
        with pytest.raises(ProviderAuthError, match=f"^rfc2136: {re.escape(bind.server)} {said}") as caught:
            run(provider.create_record(zone, address(zone)))
        assert "RFC2136_KEY_NAME" in caught.value.hint
        for work in (provider.list_records(zone), provider.list_records(zone, [address(zone).key])):
            with pytest.raises(ProviderAuthError, match=said):
                run(work)
        health = run(provider.health())
        assert (health.ok, said in health.detail, health.fix) == (False, True, caught.value.hint)
        assert bind.serial(zone.name) == before

    @pytest.mark.parametrize(
        ("seconds", "side"), [(-3600, "behind"), (7200, "ahead of")], ids=["an hour late", "two hours early"]
    )
    def test_a_wrong_clock_is_said_with_its_seconds(self, provider, zone, monkeypatch, seconds, side):
        monkeypatch.setattr("dns.message.time", types.SimpleNamespace(time=lambda: time.time() + seconds))
        for work in (provider.create_record(zone, address(zone)), provider.list_records(zone)):
            with pytest.raises(ProviderAuthError, match=f"clock is [0-9]+ s {side} the server's") as caught:
                run(work)
            told = int(re.search(r"([0-9]+) s", caught.value.message)[1])
            assert abs(told - abs(seconds)) < 60
            assert "NTP" in caught.value.hint

    def test_a_key_without_rights_sees_by_name_and_changes_nothing(self, bind, provider, tmp_path, zone):
        run(provider.create_record(zone, address(zone)))
        stranger = make(bind, tmp_path, key_name="stranger", key_secret=STRANGER.secret)
        assert run(stranger.find_record(zone, address(zone).key)).same_data(address(zone))
        before = bind.serial(zone.name)
        for work in (
            stranger.create_record(zone, address(zone, "new")),
            stranger.update_record(zone, address(zone), replace(address(zone), ttl=600)),
            stranger.delete_record(zone, address(zone)),
        ):
            with pytest.raises(ProviderAuthError, match=r"refuses a change of .* to the key stranger") as caught:
                run(work)
            assert "update-policy" in caught.value.hint
        assert bind.serial(zone.name) == before

    def test_the_least_right_suffices_for_a_challenge(self, tmp_path):
        policy = 'grant "autogit" name _acme-challenge.home.test TXT;'
        with bind_server(tmp_path / "bind", {"home.test": []}, policies={"home.test": policy}) as bind:
            provider, zone = make(bind, tmp_path), Zone("home.test", "home.test")
            for value in ("one", "two"):
                run(provider.add_txt(zone, "_acme-challenge.home.test", value, 60))
            assert bind.values("_acme-challenge.home.test", "TXT") == ['"one"', '"two"']
            run(provider.remove_txt(zone, "_acme-challenge.home.test", "one"))
            assert bind.values("_acme-challenge.home.test", "TXT") == ['"two"']
            with pytest.raises(ProviderAuthError, match=r"refuses a change of git\.home\.test/A"):
                run(provider.create_record(zone, address(zone)))

    def test_the_rights_that_the_page_gives_suffice(self, tmp_path):
        page = (Path(__file__).resolve().parents[3] / "docs/how-to/dns-rfc2136.md").read_text()
        policy = re.search(r"update-policy \{ (.*) \};", page)[1]
        with bind_server(tmp_path / "bind", {"home.test": []}, policies={"home.test": policy}) as bind:
            provider, zone = make(bind, tmp_path), Zone("home.test", "home.test")
            for name, kind, values in SETS.values():
                one = record_set(f"{name}.home.test" if name else "home.test", kind, 300, values)
                run(provider.create_record(zone, one))
                run(provider.update_record(zone, one, replace(one, ttl=60)))
                run(provider.delete_record(zone, replace(one, ttl=60)))
            with pytest.raises(ProviderAuthError, match=r"refuses a change of home\.test/MX"):
                run(provider.create_record(zone, record_set("home.test", "MX", 300, ["10 mail.home.test"])))

    def test_the_secret_is_in_no_text(self, bind, tmp_path, zone, between):
        """Of errors, their causes, the configuration and the provider."""
        secret = bind.key.secret
        texts = []
        for settings in ({"key_name": "nobody"}, {"server": "127.0.0.1:1"}, {"key_algorithm": "hmac-sha384"}):
            provider = make(bind, tmp_path, **settings)
            texts += [repr(provider), repr(provider.config), repr(vars(provider)), repr(provider._server())]
            with pytest.raises(AutogitError) as caught:
                run(provider.create_record(zone, address(zone)))
            texts += ["".join(traceback.format_exception(caught.value)), caught.value.hint, repr(caught.value)]
        assert secret not in "".join(texts)


class TestAnswers:
    """Only what the server signed counts."""

    def test_an_answer_that_was_changed_is_not_believed(self, between, bind, tmp_path, provider, zone):
        run(provider.create_record(zone, address(zone)))
        between.answer = lambda wire: wire.replace(bytes([192, 0, 2, 1]), bytes([192, 0, 2, 66]))
        through = make(bind, tmp_path, server=between.server)
        for work in (through.list_records(zone), through.list_records(zone, [address(zone).key])):
            with pytest.raises(ProviderAuthError, match=r"is not signed with the key autogit"):
                run(work)

    def test_an_answer_without_a_signature_is_not_believed(self, between, bind, tmp_path, zone):
        between.answer = unsigned
        through = make(bind, tmp_path, server=between.server)
        for work in (
            through.list_records(zone),
            through.create_record(zone, address(zone)),
            through.delete_record(zone, address(zone)),
        ):
            with pytest.raises(ProviderAuthError, match=r"is not signed with the key autogit"):
                run(work)

    @pytest.mark.parametrize(
        ("code", "error", "said"),
        [
            (dns.rcode.FORMERR, RejectedError, "does not understand"),
            (dns.rcode.NOTIMP, UnsupportedError, "takes no updates"),
            (dns.rcode.REFUSED, ProviderAuthError, "refuses"),
            (dns.rcode.SERVFAIL, UnavailableError, "fails with .* .SERVFAIL"),
        ],
        ids=["FORMERR", "NOTIMP", "REFUSED", "SERVFAIL"],
    )
    def test_a_refusal_without_a_signature_is_one(self, between, bind, tmp_path, zone, code, error, said):
        """A server that does not understand signatures, or not the message, cannot sign."""
        between.answer = lambda wire: unsigned(wire, code)
        through = make(bind, tmp_path, server=between.server)
        for work in (
            through.list_records(zone),
            through.find_record(zone, address(zone).key),
            through.create_record(zone, address(zone)),
        ):
            with pytest.raises(error, match=f"^rfc2136: {re.escape(between.server)} {said}"):
                run(work)

    def test_a_query_that_is_refused_where_updates_are_not_is_said(self, between, bind, tmp_path, zone):
        between.answer = lambda wire: wire if is_update(wire) else unsigned(wire, dns.rcode.REFUSED)
        with pytest.raises(ProviderAuthError, match=r"refuses a query of git\..*/A to the key") as caught:
            run(make(bind, tmp_path, server=between.server).find_record(zone, address(zone).key))
        assert "allow-query" in caught.value.hint

    def test_a_transfer_without_its_last_signature_is_not_believed(self, between, tmp_path):
        lines = [f'n{number} IN TXT "{number:0100}"' for number in range(3000)]
        with bind_server(tmp_path / "bind", {"home.test": lines}) as bind:
            between.port, between.answers = bind.port, 0

            def later_ones(wire):
                between.answers += 1
                return unsigned(wire) if between.answers > 1 else wire

            between.answer = later_ones
            with pytest.raises(ProviderAuthError, match=r"is not signed with the key autogit"):
                run(make(bind, tmp_path, server=between.server).list_records(Zone("home.test", "home.test")))

    def test_an_answer_to_something_else_is_not_taken(self, between, bind, tmp_path, zone):
        between.answer = lambda wire: bytes([wire[0] ^ 1]) + wire[1:]
        with pytest.raises(UnavailableError, match="answers something else"):
            run(make(bind, tmp_path, server=between.server).list_records(zone))

    @pytest.mark.parametrize("wire", [b"", b"\0", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3], ids=["no", "one", "HTTP"])
    def test_what_is_no_message_is_said(self, between, bind, tmp_path, zone, wire):
        between.answer = lambda _: wire
        with pytest.raises(UnavailableError, match=r"^rfc2136: .* sends what cannot be read"):
            run(make(bind, tmp_path, server=between.server).list_records(zone))


class TestReach:
    """A server that is not there, or not any more."""

    def test_nobody_listens(self, bind, tmp_path, zone):
        provider = make(bind, tmp_path, server=f"127.0.0.1:{free_port()}")
        with pytest.raises(UnavailableError, match=r"does not answer: Connection refused") as caught:
            run(provider.list_records(zone))
        assert "RFC2136_SERVER" in caught.value.hint
        assert not run(provider.health()).ok

    def test_somebody_listens_and_says_nothing(self, bind, tmp_path, zone):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            provider = make(bind, tmp_path, server=f"127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=1)
            with pytest.raises(UnavailableError, match="does not answer: timed out"):
                run(provider.list_records(zone))

    def test_a_server_that_stops_between_reading_and_writing_loses_nothing(self, tmp_path):
        zone = Zone("home.test", "home.test")
        with bind_server(tmp_path / "bind", {"home.test": []}) as bind:
            provider, new = make(bind, tmp_path), record_set("git.home.test", "A", 300, ["192.0.2.2"])
            run(provider.create_record(zone, address(zone)))
            read = run(provider.find_record(zone, new.key))
            bind.stop()
            for work in (provider.update_record(zone, read, new), provider.delete_record(zone, read)):
                with pytest.raises(UnavailableError, match="Connection refused"):
                    run(work)
            bind.start()
            assert run(provider.find_record(zone, new.key)).same_data(address(zone))
            run(provider.update_record(zone, read, new))
            assert bind.values("git.home.test", "A") == ["192.0.2.2"]

    def test_a_write_whose_answer_was_lost_is_done_once(self, between, bind, tmp_path, zone):
        between.answer = lambda wire: None if between.written else wire
        provider = PatientDNS(make(bind, tmp_path, server=between.server), sleep=between.heal)
        before = bind.serial(zone.name)
        run(provider.create_record(zone, address(zone)))
        assert bind.values(f"git.{zone.name}", "A") == ["192.0.2.1"]
        assert (bind.serial(zone.name), between.written) == (before + 1, 1)

    def test_a_zone_that_the_server_does_not_keep_is_missing(self, bind, tmp_path):
        elsewhere = Zone("elsewhere.test", "elsewhere.test")
        provider = make(bind, tmp_path, zones="elsewhere.test")
        for work in (
            provider.list_records(elsewhere),
            provider.list_records(elsewhere, [address(elsewhere).key]),
            provider.create_record(elsewhere, address(elsewhere)),
            provider.update_record(elsewhere, address(elsewhere), address(elsewhere, ttl=60)),
            provider.delete_record(elsewhere, address(elsewhere)),
        ):
            with pytest.raises(MissingError, match=r"is not the primary of the zone elsewhere\.test"):
                run(work)
        assert not run(provider.health()).ok

    def test_a_zone_that_is_not_configured_is_missing(self, provider):
        with pytest.raises(MissingError, match=r"RFC2136_ZONES has no zone elsewhere\.test"):
            run(provider.list_records(Zone("elsewhere.test", "elsewhere.test")))

    def test_a_server_that_cannot_write_is_told_from_one_that_may_not(self, tmp_path):
        """BIND answers SERVFAIL where it may not write its journal into the folder."""
        zone = Zone("home.test", "home.test")
        journal = {"home.test": f'journal "{tmp_path}/nowhere/home.jnl";'}
        with bind_server(tmp_path / "bind", {"home.test": []}, zone_options=journal) as bind:
            provider = make(bind, tmp_path)
            with pytest.raises(
                UnavailableError, match=r"fails with a change of git\.home\.test/A .*SERVFAIL"
            ) as caught:
                run(provider.create_record(zone, address(zone)))
            assert "folder" in caught.value.hint
            assert bind.values("git.home.test", "A") == []

    def test_a_zone_that_was_not_loaded_is_unavailable(self, tmp_path):
        zone = Zone("home.test", "home.test")
        with bind_server(tmp_path / "bind", {"home.test": ["git IN A 999.1.1.1"]}) as bind:
            provider = make(bind, tmp_path)
            for work in (provider.list_records(zone), provider.list_records(zone, [address(zone).key])):
                with pytest.raises(UnavailableError, match="SERVFAIL"):
                    run(work)


class TestOthers:
    """Somebody else changes the same zone."""

    def test_a_value_that_others_added_is_not_dropped(self, bind, provider, zone):
        old = address(zone)
        run(provider.create_record(zone, old))
        change(bind, zone, lambda update: update.add(f"git.{zone.name}.", 300, "A", "192.0.2.77"))
        before = bind.serial(zone.name)
        for work in (
            provider.update_record(zone, old, address(zone, ttl=600)),
            provider.update_record(zone, old, replace(old, values=("192.0.2.2",))),
            provider.delete_record(zone, old),
        ):
            with pytest.raises(StalePlanError, match=r"git\..* is 192\.0\.2\.1, 192\.0\.2\.77 now"):
                run(work)
        assert bind.serial(zone.name) == before

    def test_a_ttl_that_others_changed_is_seen(self, bind, provider, zone):
        old = address(zone)
        run(provider.create_record(zone, old))
        change(bind, zone, lambda update: update.replace(f"git.{zone.name}.", 60, "A", "192.0.2.1"))
        for work in (
            provider.create_record(zone, old),
            provider.update_record(zone, old, address(zone, ttl=600)),
            provider.delete_record(zone, old),
        ):
            with pytest.raises(StalePlanError):
                run(work)
        assert run(provider.find_record(zone, old.key)).ttl == 60

    @pytest.mark.parametrize("act", ["create", "update", "delete"])
    def test_a_change_right_before_the_write_is_seen_by_the_server(self, between, bind, provider, tmp_path, zone, act):
        """After the provider has read: the condition in its message does not hold."""
        old, new = address(zone), replace(address(zone), values=("192.0.2.2",))
        if act != "create":
            run(provider.create_record(zone, old))
        between.before = lambda: change(
            bind, zone, lambda update: update.replace(f"git.{zone.name}.", 300, "A", "192.0.2.66")
        )
        through = make(bind, tmp_path, server=between.server)
        work = {
            "create": lambda: through.create_record(zone, old),
            "update": lambda: through.update_record(zone, old, new),
            "delete": lambda: through.delete_record(zone, old),
        }
        with pytest.raises(StalePlanError, match=r"is 192\.0\.2\.66 now"):
            run(work[act]())
        assert bind.values(f"git.{zone.name}", "A") == ["192.0.2.66"]

    def test_a_set_that_others_deleted_right_before_is_gone(self, between, bind, provider, tmp_path, zone):
        old = address(zone)
        run(provider.create_record(zone, old))
        between.before = lambda: change(bind, zone, lambda update: update.delete(f"git.{zone.name}."))
        through = make(bind, tmp_path, server=between.server)
        with pytest.raises(StalePlanError, match="is gone"):
            run(through.update_record(zone, old, replace(old, values=("192.0.2.2",))))
        run(provider.create_record(zone, old))
        run(through.delete_record(zone, old))
        assert bind.values(f"git.{zone.name}", "A") == []

    def test_what_others_made_as_wanted_is_a_success(self, between, bind, tmp_path, zone):
        between.before = lambda: change(
            bind, zone, lambda update: update.add(f"git.{zone.name}.", 300, "A", "192.0.2.1")
        )
        before = bind.serial(zone.name)
        run(make(bind, tmp_path, server=between.server).create_record(zone, address(zone)))
        assert bind.serial(zone.name) == before + 1

    def test_what_comes_and_goes_at_that_moment_is_tried_again(self, between, bind, tmp_path, zone):
        """It was in the way when it was to be written, and is not any more."""
        name = f"git.{zone.name}."
        between.before = lambda: change(bind, zone, lambda update: update.add(name, 300, "A", "192.0.2.66"))

        def gone(wire):
            between.answer = None
            change(bind, zone, lambda update: update.delete(name))
            return wire

        between.answer = gone
        through = make(bind, tmp_path, server=between.server)
        with pytest.raises(UnavailableError, match="is being changed by somebody at this moment"):
            run(through.create_record(zone, address(zone)))
        run(PatientDNS(through, sleep=between.heal).create_record(zone, address(zone)))
        assert bind.values(name, "A") == ["192.0.2.1"]

    def test_challenges_of_several_clients_at_once_all_stay(self, bind, tmp_path, zone):
        """Each adds its value alone, and takes its own away alone."""
        name = f"_acme-challenge.{zone.name}"

        async def all_at_once(act):
            await asyncio.gather(*(act(make(bind, tmp_path), f"value-{number}") for number in range(12)))

        run(all_at_once(lambda client, value: client.add_txt(zone, name, value, 60)))
        assert len(bind.values(name, "TXT")) == 12
        run(all_at_once(lambda client, value: client.remove_txt(zone, name, value)))
        assert bind.values(name, "TXT") == []

    def test_the_ttl_of_a_set_stays_where_a_value_is_added(self, bind, provider, zone):
        run(provider.create_record(zone, record_set(f"note.{zone.name}", "TXT", 900, ["first"])))
        run(provider.add_txt(zone, f"note.{zone.name}", "second", 60))
        there = run(provider.find_record(zone, RecordKey(f"note.{zone.name}", "TXT")))
        assert (there.ttl, there.values) == (900, ("first", "second"))


class TestAlias:
    """A CNAME stands alone; BIND says nothing where it should not."""

    def test_the_server_ignores_one_beside_other_data_without_a_word(self, bind, provider, zone):
        """Why there are prerequisites, and why it is read after each write."""
        run(provider.create_record(zone, address(zone)))
        before = bind.serial(zone.name)
        change(bind, zone, lambda update: update.add(f"git.{zone.name}.", 300, "CNAME", "pages.example.net."))
        assert (bind.values(f"git.{zone.name}", "CNAME"), bind.serial(zone.name)) == ([], before)
        with pytest.raises(RejectedError, match=r"cannot be beside A there: a CNAME stands alone"):
            run(provider.create_record(zone, alias(zone)))
        assert bind.serial(zone.name) == before

    @pytest.mark.parametrize(("kind", "value"), [("SSHFP", "1 1 " + "ab" * 20), ("MX", "10 mail.example.net.")])
    def test_data_of_any_type_is_in_its_way(self, bind, provider, zone, kind, value):
        change(bind, zone, lambda update: update.add(f"git.{zone.name}.", 300, kind, value))
        with pytest.raises(RejectedError, match=f"cannot be beside {kind} there"):
            run(provider.create_record(zone, alias(zone)))

    def test_the_apex_has_no_place_for_one(self, provider, zone):
        with pytest.raises(RejectedError, match="cannot be beside NS and SOA there"):
            run(provider.create_record(zone, replace(alias(zone), key=RecordKey(zone.name, "CNAME"))))

    def test_one_is_in_the_way_of_a_challenge(self, bind, provider, zone):
        run(provider.create_record(zone, alias(zone)))
        with pytest.raises(RejectedError, match=r"git\..*/TXT cannot be beside CNAME there"):
            run(provider.add_txt(zone, f"git.{zone.name}", "x", 60))

    def test_it_is_changed_and_not_made_over(self, bind, provider, zone):
        old, new = alias(zone), replace(alias(zone), values=("other.example.net",))
        run(provider.create_record(zone, old))
        with pytest.raises(StalePlanError, match=r"pages\.example\.net now"):
            run(provider.create_record(zone, new))
        run(provider.update_record(zone, old, new))
        assert bind.values(f"git.{zone.name}", "CNAME") == ["other.example.net."]

    def test_other_data_that_comes_right_before_it_wins(self, between, bind, tmp_path, zone):
        between.before = lambda: change(
            bind, zone, lambda update: update.add(f"git.{zone.name}.", 300, "A", "192.0.2.66")
        )
        with pytest.raises(RejectedError, match="CNAME stands alone"):
            run(make(bind, tmp_path, server=between.server).create_record(zone, alias(zone)))
        assert bind.values(f"git.{zone.name}", "A") == ["192.0.2.66"]


class TestValues:
    """What is in a zone, and what can be put there."""

    def test_texts_of_more_than_255_bytes_are_several(self, bind, provider, zone):
        wanted = record_set(f"long.{zone.name}", "TXT", 300, [*LONG, "short", ""])
        run(provider.create_record(zone, wanted))
        assert run(provider.find_record(zone, wanted.key)).same_data(wanted)
        new = replace(wanted, values=wanted.values[:2])
        run(provider.update_record(zone, wanted, new))
        assert run(provider.find_record(zone, wanted.key)).same_data(new)
        run(provider.remove_txt(zone, wanted.key.name, new.values[1]))
        assert run(provider.find_record(zone, wanted.key)).values == new.values[:1]

    @pytest.mark.parametrize("text", ['"ab" "cd"', '"a" "" "bcd"', r'"caf\233"'], ids=["two", "empty", "Latin-1"])
    def test_a_text_that_others_spelled_otherwise_is_changed_and_deleted(self, bind, provider, zone, text):
        key = RecordKey(f"note.{zone.name}", "TXT")
        for act in ("update", "delete"):
            change(bind, zone, lambda update: update.replace(f"note.{zone.name}.", 300, "TXT", text))
            read = run(provider.find_record(zone, key))
            if act == "update":
                run(provider.update_record(zone, read, replace(read, values=("new",))))
                assert bind.values(key.name, "TXT") == ['"new"']
            else:
                run(provider.delete_record(zone, read))
                assert bind.values(key.name, "TXT") == []

    def test_values_in_another_spelling_are_the_same(self, bind, provider, zone):
        wanted = record_set(f"six.{zone.name}", "AAAA", 300, ["2001:DB8:0::1"])
        for _ in range(2):
            run(provider.create_record(zone, wanted))
        assert bind.values(f"six.{zone.name}", "AAAA") == ["2001:db8::1"]

    @pytest.mark.parametrize(
        ("name", "kind", "values"),
        [
            ("mail", "MX", ["10 one.example.net", "20 two.example.net"]),
            ("_git._tcp", "SRV", ["1 2 22 git.example.net"]),
            ("sub", "NS", ["ns1.example.net", "ns2.example.net"]),
        ],
    )
    def test_types_beside_the_contract_are_held(self, provider, zone, name, kind, values):
        wanted = record_set(f"{name}.{zone.name}", kind, 300, values)
        run(provider.create_record(zone, wanted))
        assert run(provider.find_record(zone, wanted.key)).same_data(wanted)
        new = replace(wanted, values=wanted.values[:1], ttl=60)
        run(provider.update_record(zone, wanted, new))
        assert new in run(provider.list_records(zone))
        run(provider.delete_record(zone, new))
        assert run(provider.find_record(zone, wanted.key)) is None

    @pytest.mark.parametrize(
        ("kind", "value"),
        [("A", "999.1.1.1"), ("AAAA", "192.0.2.1"), ("MX", "mail.example.net"), ("CAA", "x"), ("CNAME", "a..b")],
    )
    def test_a_value_that_is_none_is_refused_before_anything_is_sent(self, provider, zone, kind, value):
        with pytest.raises(RejectedError, match=f"^rfc2136: git.*/{kind} cannot be {re.escape(repr(value))}"):
            run(provider.create_record(zone, record_set(f"git.{zone.name}", kind, 300, [value])))

    def test_more_than_a_message_holds_is_refused(self, provider, zone):
        texts = [f"{number}" + "x" * 1000 for number in range(80)]
        with pytest.raises(RejectedError, match="too much for one message"):
            run(provider.create_record(zone, record_set(f"big.{zone.name}", "TXT", 300, texts)))

    def test_what_cannot_be_held_is_refused(self, provider, zone):
        with pytest.raises(UnsupportedError, match="cannot be proxied"):
            run(provider.create_record(zone, replace(address(zone), proxied=True)))
        with pytest.raises(UnsupportedError, match="a type that is not written"):
            run(provider.create_record(zone, record_set(f"git.{zone.name}", "PTR", 300, ["a.example.net"])))

    def test_all_types_are_seen_and_odd_names_too(self, bind, provider, zone):
        for name, kind, value in (
            ("fp", "SSHFP", "1 1 " + "ab" * 20),
            (r"a\032b", "TXT", "x"),
            ("x.*", "TXT", "y"),
            ("svc", "HTTPS", "1 . alpn=h2"),
        ):
            change(bind, zone, lambda update, *all_of: update.add(*all_of), f"{name}.{zone.name}.", 300, kind, value)
        seen = {str(one.key) for one in run(provider.list_records(zone))}
        of = zone.name
        assert seen >= {f"{of}/SOA", f"{of}/NS", f"ns.{of}/A", f"fp.{of}/SSHFP", f"svc.{of}/HTTPS", f"x.*.{of}/TXT"}
        assert rf"a\032b.{of}/TXT" in seen

    def test_a_zone_of_many_messages_is_transferred_to_its_end(self, tmp_path):
        lines = [f'n{number} IN TXT "{number:0100}"' for number in range(3000)]
        with bind_server(tmp_path / "bind", {"home.test": lines}) as bind:
            found = run(make(bind, tmp_path).list_records(Zone("home.test", "home.test")))
            assert len([one for one in found if one.key.type == "TXT"]) == 3000

    def test_what_signs_a_zone_is_not_shown(self, tmp_path):
        zone = Zone("home.test", "home.test")
        signed = {"home.test": "dnssec-policy default; inline-signing yes;"}
        with bind_server(tmp_path / "bind", {"home.test": []}, zone_options=signed) as bind:
            provider = make(bind, tmp_path)
            poll(lambda: bind.values("home.test", "DNSKEY"))
            run(provider.create_record(zone, address(zone)))
            run(provider.create_record(zone, replace(alias(zone), key=RecordKey("docs.home.test", "CNAME"))))
            assert not {"RRSIG", "NSEC"} & {one.key.type for one in run(provider.list_records(zone))}
            with pytest.raises(RejectedError, match="cannot be beside A there"):
                run(provider.create_record(zone, alias(zone)))
            run(provider.update_record(zone, address(zone), address(zone, ttl=60)))
            run(provider.delete_record(zone, address(zone, ttl=60)))
            assert bind.values("git.home.test", "A") == []


class TestZones:
    """Wildcards, delegations, and the records that a zone must have."""

    def test_what_only_a_wildcard_answers_for_is_not_there(self, bind, provider, zone):
        run(provider.ensure_wildcard(zone.name, "192.0.2.9", 300))
        assert bind.values(f"git.{zone.name}", "A") == ["192.0.2.9"]
        assert run(provider.find_record(zone, address(zone).key)) is None
        run(provider.delete_record(zone, replace(address(zone), values=("192.0.2.9",))))
        run(provider.create_record(zone, replace(address(zone), values=("192.0.2.9",))))
        run(provider.delete_record(zone, replace(address(zone), values=("192.0.2.9",))))
        assert run(provider.find_record(zone, RecordKey(f"*.{zone.name}", "A"))).values == ("192.0.2.9",)

    def test_a_name_below_a_delegation_is_said(self, provider, zone):
        run(provider.create_record(zone, record_set(f"sub.{zone.name}", "NS", 300, ["ns.example.net"])))
        provider.settle_seconds = 0.2
        below = record_set(f"git.sub.{zone.name}", "A", 300, ["192.0.2.1"])
        assert run(provider.find_record(zone, below.key)) is None
        with pytest.raises(RejectedError, match="took the update .* and does not show it") as caught:
            run(provider.create_record(zone, below))
        assert "delegation" in caught.value.hint

    def test_the_servers_of_a_zone_are_changed_and_the_last_one_stays(self, bind, provider, zone):
        old = run(provider.find_record(zone, RecordKey(zone.name, "NS")))
        new = replace(old, values=("ns1.example.net", "ns2.example.net"), ttl=60)
        run(provider.update_record(zone, old, new))
        assert bind.values(zone.name, "NS") == ["ns1.example.net.", "ns2.example.net."]
        provider.settle_seconds = 0.2
        with pytest.raises(RejectedError, match="does not show it"):
            run(provider.delete_record(zone, new))
        assert bind.values(zone.name, "NS") == ["ns1.example.net.", "ns2.example.net."]

    def test_each_write_is_one_change_and_none_is_none(self, bind, provider, zone):
        start, new = bind.serial(zone.name), address(zone, ttl=600)
        for count, work in enumerate(
            (
                lambda: provider.create_record(zone, address(zone)),
                lambda: provider.update_record(zone, address(zone), new),
                lambda: provider.add_txt(zone, f"note.{zone.name}", "x", 60),
                lambda: provider.remove_txt(zone, f"note.{zone.name}", "x"),
                lambda: provider.delete_record(zone, new),
            ),
            1,
        ):
            for _ in range(2):
                run(work())
                assert bind.serial(zone.name) == start + count
        assert run(provider.health()).ok
        run(provider.list_records(zone))
        run(provider.list_records(zone, [address(zone).key]))
        assert bind.serial(zone.name) == start + 5

    def test_a_zone_that_is_not_transferred_is_asked_by_name(self, tmp_path):
        """And the instance says so, until it is."""
        zone = Zone("home.test", "home.test")
        with bind_server(tmp_path / "bind", {"home.test": ["* IN A 192.0.2.9"]}, transfers=False) as bind:
            provider = make(bind, tmp_path)
            run(provider.create_record(zone, address(zone)))
            assert provider.capabilities.lists
            assert (run(provider.list_records(zone)), provider.capabilities.lists) == ([], False)
            keys = [address(zone, f"n{number}").key for number in range(30)] + [address(zone).key]
            assert [one.key for one in run(provider.list_records(zone, keys))] == [address(zone).key]
            assert Rfc2136DNS.capabilities.lists
            bind.transfers = True
            bind.configure()
            bind.stop()
            bind.start()
            assert address(zone) in run(provider.list_records(zone))
            assert provider.capabilities.lists

    def test_no_keys_are_no_sets(self, provider, zone):
        assert run(provider.list_records(zone, [])) == []

    def test_a_server_that_resolves_for_clients_is_asked_what_it_keeps_itself(self, tmp_path):
        zone = Zone("home.test", "home.test")
        told = {"recursion": True, "root": True}
        with bind_server(tmp_path / "bind", {"home.test": ["docs IN CNAME git.elsewhere.test."]}, **told) as bind:
            provider = make(bind, tmp_path)
            assert run(provider.find_record(zone, RecordKey("docs.home.test", "A"))) is None
            assert run(provider.find_record(zone, alias(zone, "docs").key)).values == ("git.elsewhere.test",)


class TestSettings:
    """What `.env` may say."""

    def test_they_are_found_by_the_names_that_env_has(self):
        settings = {one.key: one for one in provider_settings("dns", "rfc2136")}
        assert provider_class("dns", "rfc2136") is Rfc2136DNS
        assert {f"RFC2136_{name}" for name in ("SERVER", "ZONES", "KEY_NAME", "KEY_SECRET", "KEY_ALGORITHM")} <= set(
            settings
        )
        assert [key for key, one in settings.items() if one.secret] == ["RFC2136_KEY_SECRET"]

    @pytest.mark.parametrize("secret", ["", "not base64!", 'secret "c2VjcmV0";', "c2VjcmV0c2VjcmV", "gehe\u00efm=="])
    def test_a_secret_that_is_none_is_said_and_not_shown(self, secret):
        with pytest.raises(ValidationError, match="must be base64") as caught:
            Rfc2136Config(server="127.0.0.1", zones="home.test", key_name="k", key_secret=secret)
        assert not secret or secret not in str(caught.value)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("server", "127.0.0.1:dns"),
            ("zones", "home.test, not a name"),
            ("zones", " , "),
            ("key_name", "a..b"),
            ("key_algorithm", "hmac-md5"),
            ("timeout_seconds", "0"),
        ],
    )
    def test_a_setting_that_cannot_be_is_said_with_its_name(self, field, value):
        good = {"server": "127.0.0.1", "zones": "home.test", "key_name": "k", "key_secret": "c2VjcmV0"}
        with pytest.raises(ValidationError) as caught:
            Rfc2136Config(**good | {field: value})
        assert [error["loc"] for error in caught.value.errors()] == [(field,)]

    def test_zones_and_keys_are_taken_as_people_write_them(self, bind, tmp_path, zone):
        """Capitals, final dots, a secret in two lines, a name beyond ASCII."""
        secret = bind.key.secret
        provider = make(
            bind,
            tmp_path,
            zones=f"{zone.name.upper()}., Büro.test, {zone.name}",
            key_name="AutoGit.",
            key_secret=f"{secret[:20]}\n  {secret[20:]}",
        )
        assert [one.name for one in run(provider.list_zones())] == [zone.name, "xn--bro-hoa.test"]
        run(provider.create_record(zone, address(zone)))

    def test_private_zones_are_said_to_be(self, bind, tmp_path):
        provider = make(bind, tmp_path, private=True, zones="home.test")
        assert run(provider.list_zones()) == [Zone("home.test", "home.test", private=True)]
        assert run(provider.find_zone("git.home.test")).private

    @pytest.mark.parametrize("algorithm", ["hmac-sha224", "hmac-sha384", "hmac-sha512"])
    def test_each_algorithm_signs(self, tmp_path, algorithm):
        with bind_server(tmp_path / "bind", {"home.test": []}, key=TsigKey("other-key.home", algorithm)) as bind:
            assert run(make(bind, tmp_path).health()).ok


class Between:
    """Carries messages between a client and a server, one connection after the other or several at once.

    `answer` makes of each answer what the client gets, None ending the connection; `before` is called once, right
    before the first message that changes something is handed on; `written` counts those.
    """

    def __init__(self, port):
        self.port, self.written = port, 0
        self.answer = self.before = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    async def heal(self, _seconds):
        """Carry everything from now on; what somebody who asks again waits for."""
        self.answer = None

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._carry, args=(client,)))
                self._threads[-1].start()

    def _carry(self, client):
        with client, socket.create_connection(("127.0.0.1", self.port), timeout=10) as upstream:
            client.settimeout(10)
            back = threading.Thread(target=self._carry_back, args=(upstream, client))
            back.start()
            while wire := self._message(client):
                if is_update(wire) and wire[8:10] != b"\0\0":  # not one of prerequisites only
                    self.written += 1
                    act, self.before = self.before, None
                    if act:
                        act()
                self._hand_on(upstream, wire)
            self._end(upstream)
            back.join(20)

    def _carry_back(self, upstream, client):
        while wire := self._message(upstream):
            wire = self.answer(wire) if self.answer else wire
            if wire is None:
                break
            self._hand_on(client, wire)
        self._end(client)

    def _hand_on(self, stream, wire):
        with contextlib.suppress(OSError):
            stream.sendall(len(wire).to_bytes(2, "big") + wire)

    def _end(self, stream):
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)

    def _message(self, stream):
        with contextlib.suppress(OSError):
            return self._exactly(stream, int.from_bytes(self._exactly(stream, 2), "big"))
        return b""

    def _exactly(self, stream, count):
        read = b""
        while len(read) < count:
            more = stream.recv(count - len(read))
            if not more:
                raise ConnectionResetError
            read += more
        return read


def make(bind, tmp_path, **settings):
    """A provider of that server, other settings in place of the usual ones."""
    usual = {
        "server": bind.server,
        "zones": ", ".join(bind.zones),
        "key_name": bind.key.name,
        "key_secret": bind.key.secret,
        "key_algorithm": bind.key.algorithm,
    }
    context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"))
    return Rfc2136DNS(context, Rfc2136Config(**usual | settings))


def run(work):
    return asyncio.run(work)


def address(zone, name="git", ttl=300):
    return record_set(f"{name}.{zone.name}", "A", ttl, ["192.0.2.1"])


def alias(zone, name="git"):
    return record_set(f"{name}.{zone.name}", "CNAME", 300, ["pages.example.net"])


def change(bind, zone, act, *args):
    """Change a zone as another client does."""
    update = dns.update.UpdateMessage(f"{zone.name}.")
    update.use_tsig(dns.tsig.Key(bind.key.name, bind.key.secret, bind.key.algorithm))
    act(update, *args)
    answer = dns.query.tcp(update, "127.0.0.1", 10, bind.port)
    assert answer.rcode() == dns.rcode.NOERROR


def unsigned(wire, code=None):
    """The same answer without its last record, the signature, and with another code."""
    start = wire.rindex(b"\x07autogit\x00\x00\xfa\x00\xff")
    additional = int.from_bytes(wire[10:12], "big") - 1
    flags = wire[3] if code is None else wire[3] & 0xF0 | code
    return wire[:3] + bytes([flags]) + wire[4:10] + additional.to_bytes(2, "big") + wire[12:start]


def is_update(wire):
    return dns.opcode.from_flags(int.from_bytes(wire[2:4], "big")) == dns.opcode.UPDATE


def poll(look, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if look():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")
