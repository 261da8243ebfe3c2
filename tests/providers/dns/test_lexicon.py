"""The provider for what dns-lexicon knows: its `localzone` on a real zone file, its `powerdns` on a server here."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import socket
import subprocess
import sys
import threading
import traceback
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from pydantic import ValidationError

from autogit.errors import (
    MissingError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    StalePlanError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import RecordKey, RecordSet, Zone, record_set
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.lexicon import LexiconConfig, LexiconDNS
from autogit.providers.dns.patience import PatientDNS
from autogit.testing.dns import SETS, DNSProviderContract

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
ZONE = Zone("home.test", "home.test")
REFUSED = {"a text of more than 255 bytes", "a text of odd signs"}
SECRET = "s3cret/with+signs="
ZONE_FILE = """\
$TTL 300
@ IN SOA ns.home.test. admin.home.test. 1 3600 600 86400 300
@ IN NS ns
@ IN MX 10 mail.elsewhere.test.
@ IN TXT "v=spf1 -all"
ns IN A 192.0.2.53
"""


def run(work):
    return asyncio.run(work)


def a(*numbers):
    return record_set("git.home.test", "A", 300, [f"192.0.2.{number}" for number in numbers])


@pytest.fixture(autouse=True)
def _only_what_the_test_says(monkeypatch):
    """Neither this machine's proxies nor what lexicon itself would read."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("LEXICON_POWERDNS_AUTH_TOKEN", "of-somebody-else")


class Hasty(LexiconDNS):
    """Does not wait for what will not come."""

    pauses_seconds = (0.0, 0.0)
    timeout_seconds = 20.0


@pytest.fixture
def make_of(tmp_path):
    """Make a provider of any module."""

    def made(kind=Hasty, **settings):
        context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"), clock=lambda: NOW)
        return kind(context, LexiconConfig(**{"zones": "home.test"} | settings))

    return made


@pytest.fixture
def zone_file(tmp_path):
    try:
        import localzone  # noqa: F401
    except ImportError:
        pytest.skip("server missing: localzone, which is a package (pip install localzone)")
    path = tmp_path / "home.test.zone"
    path.write_text(ZONE_FILE)
    return path


@pytest.fixture
def make(make_of, zone_file):
    """Make a provider for the zone file, with other settings where told."""
    return lambda kind=Hasty, **settings: make_of(
        kind, **{"provider": "localzone", "options": f"filename={zone_file}"} | settings
    )


@pytest.fixture
def provider(make):
    return make()


@pytest.fixture
def add(zone_file):
    """Write into the zone as somebody else does."""

    def added(*lines):
        with zone_file.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    return added


class TestLocalzone(DNSProviderContract):
    @pytest.fixture
    def zone(self):
        return ZONE

    @pytest.fixture(params=sorted(SETS.keys() - REFUSED))
    def wanted(self, request, zone):
        return self.made(zone, *SETS[request.param])

    @pytest.mark.parametrize("which", sorted(REFUSED))
    def test_texts_that_modules_do_not_agree_on_are_refused(self, provider, zone, which):
        before = [one.key for one in self.listed(provider, zone)]
        with pytest.raises(UnsupportedError, match="blanks, quotes"):
            self.run(provider.create_record(zone, self.made(zone, *SETS[which])))
        assert [one.key for one in self.listed(provider, zone)] == before


class TestZoneFile:
    def test_what_others_keep_is_shown_and_stays(self, provider, add):
        add("www IN CNAME git", "deep.www2 IN CNAME a.b", "up IN CNAME @", "srv IN SRV 0 5 80 git")
        run(provider.create_record(ZONE, a(1)))
        run(provider.update_record(ZONE, a(1), a(2)))
        run(provider.delete_record(ZONE, a(2)))
        found = {str(one.key): one.values for one in run(provider.list_records(ZONE))}
        del found["home.test/SOA"]
        assert found == {
            "home.test/NS": ("ns.home.test",),
            "home.test/MX": ("10 mail.elsewhere.test",),
            "home.test/TXT": ("v=spf1 -all",),
            "ns.home.test/A": ("192.0.2.53",),
            "www.home.test/CNAME": ("git.home.test",),
            "deep.www2.home.test/CNAME": ("a.b.home.test",),
            "up.home.test/CNAME": ("home.test",),
            "srv.home.test/SRV": ("0 5 80 git.home.test",),
        }

    def test_a_text_is_added_beside_one_that_could_not_be_written(self, provider):
        run(provider.add_txt(ZONE, "home.test", "owner=1", 300))
        run(provider.remove_txt(ZONE, "home.test", "owner=1"))
        found = run(provider.find_record(ZONE, RecordKey("home.test", "TXT")))
        assert found.values == ("v=spf1 -all",)

    def test_nothing_is_asked_for_no_keys(self, make, tmp_path):
        assert run(make(options=f"filename={tmp_path / 'nowhere'}").list_records(ZONE, [])) == []

    def test_it_has_the_ttl_of_the_configuration(self, make, zone_file):
        provider = make(ttl=777)
        assert (provider.capabilities.least_ttl, provider.capabilities.most_ttl) == (777, 777)
        run(provider.create_record(ZONE, a(1)))
        assert "git 777 IN A 192.0.2.1" in zone_file.read_text()
        assert run(provider.find_record(ZONE, RecordKey("ns.home.test", "A"))).ttl == 777

    @pytest.mark.parametrize("kind", ["MX", "SRV", "NS"])
    def test_types_that_modules_do_not_agree_on_are_refused(self, provider, kind):
        with pytest.raises(UnsupportedError, match=f"does not write {kind}"):
            run(provider.create_record(ZONE, record_set("x.home.test", kind, 300, ["10 mail.home.test"])))

    def test_nothing_is_proxied(self, provider):
        with pytest.raises(UnsupportedError, match="proxied"):
            run(provider.create_record(ZONE, record_set("x.home.test", "A", 300, ["192.0.2.1"], proxied=True)))

    def test_a_value_that_is_refused_leaves_nothing_of_its_set(self, provider):
        with pytest.raises(RejectedError, match=r"localzone, zone home\.test"):
            run(provider.create_record(ZONE, record_set("git.home.test", "A", 300, ["192.0.2.1", "git"])))
        assert run(provider.find_record(ZONE, RecordKey("git.home.test", "A"))) is None

    def test_zones_that_are_kept_apart(self, make, zone_file):
        provider = make(zones="home.test, Büro.test.", private=True)
        assert [(zone.name, zone.private) for zone in run(provider.list_zones())] == [
            ("home.test", True),
            ("xn--bro-hoa.test", True),
        ]
        with pytest.raises(MissingError, match=r"no zone elsewhere\.test"):
            run(provider.list_records(Zone("elsewhere.test", "elsewhere.test")))

    def test_a_file_that_is_not_there_is_said(self, make, tmp_path):
        provider = make(options=f"filename={tmp_path / 'nowhere'}")
        with pytest.raises(RejectedError, match="No such file") as caught:
            run(provider.list_records(ZONE))
        assert "LEXICON_OPTIONS" in caught.value.hint
        health = run(provider.health())
        assert not health.ok
        assert "No such file" in health.detail

    def test_a_file_that_is_none_of_a_zone_is_said(self, provider, zone_file):
        zone_file.write_text("<html>")
        with pytest.raises(RejectedError, match="localzone, zone"):
            run(provider.list_records(ZONE))


class TestHalfWay:
    """What a stop leaves is gone on from; what another left is not."""

    @pytest.mark.parametrize(
        ("there", "old", "wanted"),
        [
            ([1, 2, 3], [1, 2], [3, 4]),
            ([1, 2, 3, 4], [1, 2], [3, 4]),
            ([2, 3, 4], [1, 2], [3, 4]),
            ([3, 4], [1, 2], [3, 4]),
            ([1], [1, 2], []),
            ([1, 2, 3], [1, 2], [1, 2, 3, 4]),
            ([2, 3], [1, 2, 3], [3]),
        ],
    )
    def test_a_change_goes_on_from_where_it_stopped(self, provider, add, there, old, wanted):
        add(*(f"git IN A 192.0.2.{number}" for number in there))
        work = provider.update_record(ZONE, a(*old), a(*wanted)) if wanted else provider.delete_record(ZONE, a(*old))
        run(work)
        found = run(provider.find_record(ZONE, a().key))
        assert (found.values if found else ()) == a(*wanted).values

    @pytest.mark.parametrize(
        ("there", "old", "wanted"),
        [
            ([1], [1, 2], [3, 4]),  # somebody took one away
            ([2, 3], [1, 2], [3, 4]),
            ([3], [1, 2], [3, 4]),
            ([1, 2, 9], [1, 2], [3, 4]),  # somebody added one
            ([3, 4, 9], [1, 2], [3, 4]),
            ([1, 9], [1], []),
            ([1], [], [1, 2]),  # whose it is nobody knows
            ([1, 2, 3], [], [1, 2]),
            ([], [1], [2]),
        ],
    )
    def test_what_no_stop_leaves_is_anothers(self, provider, add, there, old, wanted):
        add(*(f"git IN A 192.0.2.{number}" for number in there))
        if not old:
            work = provider.create_record(ZONE, a(*wanted))
        else:
            work = (
                provider.update_record(ZONE, a(*old), a(*wanted)) if wanted else provider.delete_record(ZONE, a(*old))
            )
        with pytest.raises(StalePlanError):
            run(work)
        found = run(provider.find_record(ZONE, a().key))
        assert (found.values if found else ()) == a(*there).values


class PowerDNS(ThreadingHTTPServer):
    """As much of PowerDNS's API as lexicon uses: one zone, changed a set at a time; strict about what it takes.

    `faults` answer the next requests of a method: a status, with headers and a text where given, or a word:
    `lost` carries out and says nothing, `deaf` says it is done and does nothing, `slow` waits for the test's end.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), PowerDNSRequest)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sets = {("home.test.", "NS"): {"ttl": 300, "records": ["ns.home.test."]}}
        self.history = []
        self.faults = {"GET": [], "PATCH": []}
        self.over = threading.Event()

    def values(self, name="git.home.test.", kind="A"):
        return sorted(self.sets.get((name, kind), {"records": []})["records"])

    def change(self, one):
        values = [record["content"] for record in one["records"]]
        name, kind = one["name"], one["type"]
        if not name.endswith("home.test.") or any(" " in v for v in values if kind == "A"):
            return f"RRset {name} IN {kind}: Name is out of zone or content is bad"
        if any((kind == "TXT") != v.startswith('"') or (kind == "CNAME" and v[-1] != ".") for v in values):
            return f"RRset {name} IN {kind}: Not in expected format"
        if any("999" in value for value in values):
            return f"RRset {name} IN {kind}: '{values}' is no address; the key was {SECRET}"
        if values:
            self.sets[name, kind] = {"ttl": one["ttl"], "records": values}
        else:
            self.sets.pop((name, kind), None)
        self.history.append(self.values())
        return ""


class PowerDNSRequest(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        sets = [
            {
                "name": name,
                "type": kind,
                "ttl": one["ttl"],
                "records": [{"content": v, "disabled": False} for v in one["records"]],
            }
            for (name, kind), one in self.server.sets.items()
        ]
        self.served(lambda _body: (200, json.dumps({"kind": "Native", "rrsets": sets})))

    def do_PATCH(self):
        self.served(self.patched)

    def patched(self, body):
        faults = [fault for one in json.loads(body)["rrsets"] if (fault := self.server.change(one))]
        return (422, json.dumps({"error": faults[0]})) if faults else (204, "")

    def served(self, work):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        faults = self.server.faults[self.command]
        fault = faults.pop(0) if faults else None
        if fault == "slow":
            self.server.over.wait(60)
        if self.headers["X-API-Key"] != SECRET:
            self.answer(401, "Unauthorized")
        elif isinstance(fault, tuple):
            self.answer(*fault)
        elif fault == "deaf":
            self.answer(204, "")
        else:
            done = work(body)
            if fault != "lost":
                self.answer(*done)

    def answer(self, status, text="", retry_after=None):
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def powerdns():
    with PowerDNS() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def make_remote(make_of, powerdns):
    """Make a provider for that server."""
    return lambda kind=Hasty, **settings: make_of(
        kind,
        **{"provider": "powerdns", "options": f"pdns_server={powerdns.url}", "secrets": f"auth_token={SECRET}"}
        | settings,
    )


@pytest.fixture
def remote(make_remote):
    return make_remote()


class TestOverHTTP:
    @pytest.mark.parametrize("which", ["a wildcard", "the apex", "two texts", "an authority", "an IPv6 address"])
    def test_sets_come_and_go(self, remote, powerdns, which):
        name, kind, values = SETS[which]
        wanted = record_set(f"{name}.home.test".lstrip("."), kind, 300, values)
        run(remote.create_record(ZONE, wanted))
        assert run(remote.find_record(ZONE, wanted.key)).same_data(wanted)
        run(remote.delete_record(ZONE, wanted))
        assert set(powerdns.sets) == {("home.test.", "NS")}

    def test_a_name_never_has_no_value_between(self, remote, powerdns):
        run(remote.create_record(ZONE, a(1, 2)))
        powerdns.history.clear()
        run(remote.update_record(ZONE, a(1, 2), a(3)))
        assert powerdns.history[-1] == ["192.0.2.3"]
        assert all("192.0.2.3" in state or len(state) == 2 for state in powerdns.history)

    def test_an_alias_leads_to_names_of_the_zone_only_where_the_module_can_no_more(self, remote, powerdns):
        run(remote.create_record(ZONE, record_set("docs.home.test", "CNAME", 300, ["git.home.test"])))
        assert powerdns.values("docs.home.test.", "CNAME") == ["git.home.test."]
        with pytest.raises(UnsupportedError, match="only have a CNAME lead to a name in"):
            run(remote.create_record(ZONE, record_set("pages.home.test", "CNAME", 300, ["pages.example.net"])))

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (401, ProviderAuthError),
            (403, ProviderAuthError),
            (404, MissingError),
            (408, UnavailableError),
            (400, RejectedError),
            (422, RejectedError),
            (500, UnavailableError),
            (503, UnavailableError),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "PATCH"])
    def test_each_refusal_has_its_error(self, remote, powerdns, method, status, kind):
        powerdns.faults[method].append((status, "what it says"))
        with pytest.raises(kind, match=rf"^lexicon: powerdns, zone home\.test: HTTP status {status}") as caught:
            run(remote.create_record(ZONE, a(1)))
        assert type(caught.value) is kind
        assert powerdns.values() == []

    @pytest.mark.parametrize(
        ("told", "seconds"),
        [("7", 7.0), ("Wed, 25 Nov 2026 12:00:30 GMT", 30.0), ("Wed, 25 Nov 2026 11:00:00 GMT", 0.0), ("soon", 0.0)],
    )
    def test_asked_too_often_says_when_to_come_again(self, remote, powerdns, told, seconds):
        powerdns.faults["GET"].append((429, "", told))
        with pytest.raises(RateLimitedError) as caught:
            run(remote.list_records(ZONE))
        assert caught.value.retry_after_seconds == seconds

    def test_what_it_refuses_is_said_without_the_secret_and_nothing_of_it_stays(self, remote, powerdns):
        run(remote.create_record(ZONE, a(1)))
        with pytest.raises(RejectedError, match="is no address; the key was") as caught:
            run(remote.update_record(ZONE, a(1), record_set("git.home.test", "A", 300, ["192.0.2.2", "999.1.1.1"])))
        assert powerdns.values() == ["192.0.2.1"]
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    def test_an_answer_that_is_none_of_the_host_is_no_answer(self, remote, powerdns):
        powerdns.faults["GET"].append((200, "<html>log in</html>"))
        with pytest.raises(UnavailableError, match="no answer"):
            run(remote.list_records(ZONE))

    def test_nobody_there_is_no_answer(self, make_remote):
        with pytest.raises(UnavailableError, match=r"no answer \(ConnectionError\)"):
            run(make_remote(options="pdns_server=http://127.0.0.1:1").list_records(ZONE))

    @pytest.mark.parametrize("server", ["127.0.0.1", "ftp://127.0.0.1", "http://[", "http://127.0.0.1:x"])
    def test_an_address_that_is_none_is_told_from_a_host_that_is_silent(self, make_remote, server):
        with pytest.raises(RejectedError, match="cannot be asked") as caught:
            run(make_remote(options=f"pdns_server={server}").list_records(ZONE))
        assert "LEXICON_OPTIONS" in caught.value.hint

    def test_a_host_that_does_not_answer_is_not_waited_for_for_ever(self, make_remote, powerdns):
        class Short(Hasty):
            timeout_seconds = 0.3

        powerdns.faults["GET"].append("slow")
        with pytest.raises(UnavailableError, match=r"no answer within 0\.3 seconds"):
            run(make_remote(Short).list_records(ZONE))

    def test_a_wrong_token_is_told_with_the_settings(self, make_remote):
        with pytest.raises(ProviderAuthError, match="HTTP status 401") as caught:
            run(make_remote(secrets="auth_token=other").list_records(ZONE))
        assert "LEXICON_SECRETS" in caught.value.hint
        health = run(make_remote(secrets="auth_token=other").health())
        assert (health.ok, health.fix) == (False, caught.value.hint)

    def test_an_option_that_is_missing_is_told_with_the_settings(self, make_remote):
        with pytest.raises(ProviderAuthError, match="auth_token") as caught:
            run(make_remote(secrets="").list_records(ZONE))
        assert "lexicon powerdns --help" in caught.value.hint

    def test_a_host_that_takes_and_does_not_keep_is_found_out(self, remote, powerdns):
        powerdns.faults["PATCH"].append("deaf")
        with pytest.raises(RejectedError, match=r"took 192\.0\.2\.1 for git\.home\.test/A, and shows nothing"):
            run(remote.create_record(ZONE, a(1)))

    def test_a_host_that_does_not_delete_is_found_out(self, remote, powerdns):
        run(remote.create_record(ZONE, a(1)))
        powerdns.faults["PATCH"].append("deaf")
        with pytest.raises(RejectedError, match=r"shows 192\.0\.2\.1"):
            run(remote.delete_record(ZONE, a(1)))

    def test_old_values_stay_until_the_new_ones_are_there(self, remote, powerdns):
        run(remote.create_record(ZONE, a(1)))
        powerdns.faults["PATCH"].append("deaf")
        with pytest.raises(RejectedError):
            run(remote.update_record(ZONE, a(1), a(2)))
        assert powerdns.values() == ["192.0.2.1"]

    def test_a_host_that_shows_a_write_late_is_waited_for(self, make_remote, powerdns):
        class Patient(Hasty):
            pauses_seconds = (0.0, 0.0, 0.0)

        empty = json.dumps({"kind": "Native", "rrsets": []})
        # One request reads, two more are lexicon's around its write; then each look is one.
        remote = make_remote(Patient)
        powerdns.faults["GET"] += [None] * 3 + [(200, empty)] * 2
        run(remote.create_record(ZONE, a(1)))
        assert powerdns.values() == ["192.0.2.1"]

    def test_an_answer_that_was_lost_is_looked_for_before_it_is_asked_again(self, remote, powerdns):
        async def at_once(_seconds):
            pass

        patient = PatientDNS(remote, sleep=at_once)
        powerdns.faults["PATCH"].append("lost")
        run(patient.create_record(ZONE, a(1, 2)))
        powerdns.faults["PATCH"].append("lost")
        run(patient.update_record(ZONE, a(1, 2), a(1, 2, 3)))
        assert powerdns.values() == [*a(1, 2, 3).values]
        powerdns.faults["PATCH"].append("lost")
        run(patient.update_record(ZONE, a(1, 2, 3), a(3, 2)))
        powerdns.faults["PATCH"] += [None, "lost"]
        run(patient.delete_record(ZONE, a(2, 3)))
        assert powerdns.values() == []

    @pytest.mark.parametrize("landed", [0, 1, 2, 3])
    def test_a_change_that_stops_anywhere_is_carried_on_by_another_process(self, remote, make_remote, powerdns, landed):
        run(remote.create_record(ZONE, a(1, 2)))
        powerdns.faults["PATCH"] += [None] * landed + [(503,)] * 9
        with pytest.raises(UnavailableError):
            run(remote.update_record(ZONE, a(1, 2), a(3, 4)))
        powerdns.faults["PATCH"].clear()
        assert len(powerdns.values()) >= 2
        run(make_remote().update_record(ZONE, a(1, 2), a(3, 4)))
        assert powerdns.values() == ["192.0.2.3", "192.0.2.4"]

    def test_a_creation_that_stops_is_carried_on_by_who_began_it_only(self, remote, make_remote, powerdns):
        powerdns.faults["PATCH"] += [None] + [(503,)] * 9
        with pytest.raises(UnavailableError):
            run(remote.create_record(ZONE, a(1, 2)))
        powerdns.faults["PATCH"].clear()
        assert powerdns.values() == ["192.0.2.1"]
        with pytest.raises(StalePlanError):
            run(make_remote().create_record(ZONE, a(1, 2)))
        with pytest.raises(StalePlanError):
            run(remote.create_record(ZONE, a(2, 3)))
        run(remote.create_record(ZONE, a(1, 2)))
        assert powerdns.values() == ["192.0.2.1", "192.0.2.2"]

    def test_what_was_carried_on_is_not_ours_for_ever(self, remote, powerdns):
        powerdns.faults["PATCH"] += [None] + [(503,)] * 9
        with pytest.raises(UnavailableError):
            run(remote.create_record(ZONE, a(1, 2)))
        powerdns.faults["PATCH"].clear()
        run(remote.create_record(ZONE, a(1, 2)))
        run(remote.delete_record(ZONE, a(1, 2)))
        powerdns.sets["git.home.test.", "A"] = {"ttl": 300, "records": ["192.0.2.1"]}
        with pytest.raises(StalePlanError):
            run(remote.create_record(ZONE, a(1, 2)))


@pytest.fixture
def stub(monkeypatch):
    """Put a class of ours in the place of one of lexicon's: it lists what `rows` has, or raises."""
    module = importlib.import_module("lexicon._private.providers.digitalocean")

    class Provider:
        rows: ClassVar[list] = []
        opening = asking = closing = None
        closed = 0

        def __init__(self, config):
            self.domain = config.resolve("lexicon:domain")

        def authenticate(self):
            if self.opening:
                raise self.opening

        def list_records(self):
            if self.asking:
                raise self.asking
            return list(self.rows)

        def create_record(self, rtype, name, content):
            self.rows.append({"type": rtype, "name": name, "content": content, "id": self.handle(rtype, name)})

        def delete_record(self, identifier=None, rtype=None, name=None, content=None):
            asked = {"id": identifier} if identifier else {"type": rtype, "name": name, "content": content}
            gone = [row for row in self.rows if row.items() >= asked.items()]
            Provider.rows = [row for row in self.rows if row not in gone]

        def handle(self, rtype, name):
            return None

        def cleanup(self):
            Provider.closed += 1
            if self.closing:
                raise self.closing

    monkeypatch.setattr(module, "Provider", Provider)
    return Provider


def _library_errors():
    from lexicon.exceptions import AuthenticationError
    from requests import exceptions as http

    return {
        "no domain": (AuthenticationError("No domain found"), MissingError, MissingError),
        "its name": (AuthenticationError("Domain home.test not found in account"), MissingError, MissingError),
        "a login": (AuthenticationError(f"bad token {SECRET}"), ProviderAuthError, ProviderAuthError),
        "no words": (AuthenticationError(), ProviderAuthError, ProviderAuthError),
        "anything": (Exception(f"Error 7: c2Vzc2lvbi10b2tlbg0000000000 {SECRET}"), ProviderAuthError, RejectedError),
        "a bug": (TypeError("'NoneType' object is not subscriptable"), ProviderAuthError, RejectedError),
        "no response": (http.HTTPError(f"said {SECRET}"), ProviderAuthError, RejectedError),
        "a URL": (http.ConnectionError(f"/xml?ApiKey={SECRET}"), UnavailableError, UnavailableError),
        "slow": (http.ReadTimeout(f"/xml?ApiKey={SECRET}"), UnavailableError, UnavailableError),
        "a socket": (socket.gaierror(-2, "Name or service not known"), UnavailableError, UnavailableError),
    }


class TestErrorsOfTheLibrary:
    @pytest.mark.parametrize("name", sorted(_library_errors()))
    @pytest.mark.parametrize("when", ["opening", "asking"])
    def test_each_has_ours_and_shows_no_secret(self, make_of, stub, name, when):
        error, *kinds = _library_errors()[name]
        setattr(stub, when, error)
        kind = kinds[when == "asking"]
        with pytest.raises(kind, match=r"^lexicon: digitalocean, zone home\.test: \S") as caught:
            run(make_of(provider="digitalocean", secrets=f"auth_token={SECRET}").list_records(ZONE))
        shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
        assert type(caught.value) is kind
        assert SECRET not in shown
        assert "c2Vzc2lvbi10b2tlbg" not in shown
        assert stub.closed == 1

    def test_a_module_that_cannot_be_closed_has_answered_all_the_same(self, make_of, stub):
        stub.closing = RuntimeError("already closed")
        assert run(make_of(provider="digitalocean").list_records(ZONE)) == []


class TestDeletions:
    """Modules do not agree on what the name is that they have for a record."""

    MX: ClassVar = {"type": "MX", "name": "git.home.test", "content": "10 mail.home.test", "id": "git.home.test"}

    @pytest.mark.parametrize(
        "handle",
        [
            lambda self, rtype, name: None,
            lambda self, rtype, name: name,  # deleting that takes what others have of the name with it
            lambda self, rtype, name: f"{name}/{rtype}",  # the same with the other values of the set
            lambda self, rtype, name: len(self.rows) + 7,
        ],
        ids=["none", "the name", "name and type", "a number"],
    )
    def test_a_value_goes_alone(self, make_of, stub, monkeypatch, handle):
        monkeypatch.setattr(stub, "handle", handle)
        stub.rows = [self.MX]
        provider = make_of(provider="digitalocean")
        run(provider.create_record(ZONE, a(1, 2, 3)))
        run(provider.update_record(ZONE, a(1, 2, 3), a(2, 3)))
        assert run(provider.find_record(ZONE, a().key)).values == a(2, 3).values
        run(provider.delete_record(ZONE, a(2, 3)))
        assert stub.rows == [self.MX]

    def test_several_values_at_once_are_a_set(self, make_of, stub):
        stub.rows = [{"type": "A", "name": "git", "content": ["192.0.2.1", "192.0.2.2"], "id": 7}]
        assert run(make_of(provider="digitalocean").find_record(ZONE, a().key)).values == a(1, 2).values


class TestForms:
    """Modules show one thing in many ways."""

    @pytest.mark.parametrize(
        ("shown", "name"),
        [
            ("", "home.test"),
            (None, "home.test"),
            ("@", "home.test"),
            ("@.home.test", "home.test"),
            ("home.test.", "home.test"),
            ("git", "git.home.test"),
            ("GIT.home.test.", "git.home.test"),
            ("*", "*.home.test"),
            ("*.apps.home.test", "*.apps.home.test"),
            ("\\052.home.test.", "*.home.test"),
            ("büro", "xn--bro-hoa.home.test"),
            ("a/b", "a/b.home.test"),
        ],
    )
    def test_of_a_name(self, make_of, stub, shown, name):
        stub.rows = [{"type": "a", "name": shown, "content": "192.0.2.1"}]
        (found,) = run(make_of(provider="digitalocean").list_records(ZONE))
        assert found == RecordSet(RecordKey(name, "A"), 300, ("192.0.2.1",))

    @pytest.mark.parametrize(
        ("kind", "shown", "value"),
        [
            ("TXT", "bare text", "bare text"),
            ("TXT", '"quoted text"', "quoted text"),
            ("TXT", '"in " "two"', "in two"),
            ("TXT", '"broken', '"broken'),
            ("TXT", None, ""),
            ("AAAA", "2001:0DB8:0:0::1", "2001:db8::1"),
            ("A", " 192.0.2.1 ", "192.0.2.1"),
            ("A", "nonsense", "nonsense"),
            ("CNAME", "Pages.Example.Net.", "pages.example.net"),
            ("CNAME", "pages.example.net", "pages.example.net"),
            ("CNAME", "@", "home.test"),
            ("CNAME", "git", "git.home.test"),
            ("CAA", "0 ISSUE letsencrypt.org", '0 issue "letsencrypt.org"'),
            ("CAA", '0 issue ";"', '0 issue ";"'),
            ("CAA", "0 issue", "0 issue"),
            ("MX", "10 mail.example.net.", "10 mail.example.net"),
            ("MX", "mail.example.net", "mail.example.net"),
            ("URL301", "https://example.net/A", "https://example.net/A"),
        ],
    )
    def test_of_a_value(self, make_of, stub, kind, shown, value):
        stub.rows = [{"type": kind, "name": "git", "content": shown, "id": 7}]
        (found,) = run(make_of(provider="digitalocean").list_records(ZONE))
        assert found.values == (value,)


class TestSettings:
    def test_options_and_secrets_reach_the_module(self, make_of, stub):
        seen = {}

        class Provider(stub):
            def __init__(self, config):
                super().__init__(config)
                for name in ("auth_user", "auth_token", "pdns-disable-notify"):
                    seen[name] = config.resolve(f"lexicon:digitalocean:{name}")
                seen["ttl"] = config.resolve("lexicon:ttl")

        importlib.import_module("lexicon._private.providers.digitalocean").Provider = Provider
        options = " auth_user = me@home.test , pdns-disable-notify=1,auth_token=none,"
        run(make_of(provider="digitalocean", options=options, secrets="auth_token=a,,b==").list_records(ZONE))
        assert seen == {"auth_user": "me@home.test", "auth_token": "a,b==", "pdns-disable-notify": "1", "ttl": 300}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"provider": "auto"},
            {"provider": "../evil"},
            {"provider": ""},
            {"zones": ""},
            {"options": "filename"},
            {"options": "=x"},
            {"ttl": 0},
        ],
    )
    def test_what_cannot_be_is_refused(self, make_of, wrong):
        with pytest.raises(ValidationError):
            make_of(**{"provider": "localzone"} | wrong)

    def test_secrets_that_are_no_pairs_are_told_without_them(self, make_of):
        provider = make_of(provider="digitalocean", secrets=SECRET.replace("=", ""))
        with pytest.raises(ProviderAuthError, match="LEXICON_SECRETS: part 1 is not key=value") as caught:
            run(provider.list_records(ZONE))
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))

    def test_no_secret_is_shown_or_logged(self, remote, powerdns, caplog):
        caplog.set_level(logging.DEBUG)
        powerdns.sets["x.home.test.", "TXT"] = {"ttl": 300, "records": [f'"{SECRET}"']}
        run(remote.list_records(ZONE))
        assert SECRET not in caplog.text
        assert SECRET not in repr(remote.config) + repr(remote._library)

    def test_a_module_that_is_not_there_is_told(self, make_of):
        with pytest.raises(UnsupportedError, match="no module nowhere"):
            run(make_of(provider="nowhere").list_records(ZONE))

    @pytest.mark.parametrize("is_known", [True, False])
    def test_a_module_that_lacks_its_library_says_which_extra_to_install(self, make_of, monkeypatch, is_known):
        discovery = importlib.import_module("lexicon._private.discovery")
        monkeypatch.setattr(discovery, "find_providers", lambda: {"softlayer": not is_known})
        monkeypatch.setitem(sys.modules, "lexicon._private.providers.softlayer", None)
        with pytest.raises(UnsupportedError, match="lacks a library") as caught:
            run(make_of(provider="softlayer").list_records(ZONE))
        assert caught.value.hint == "pip install 'dns-lexicon[softlayer]'"

    @pytest.mark.parametrize("part", ["lexicon.config", "lexicon._private.discovery"])
    def test_a_missing_library_is_said_with_the_extra_to_install(self, remote, monkeypatch, part):
        monkeypatch.setitem(sys.modules, part, None)
        with pytest.raises(UnsupportedError) as caught:
            run(remote.list_records(ZONE))
        assert caught.value.hint == "pip install 'autogit[lexicon]'"
        health = run(remote.health())
        assert (health.ok, health.fix) == (False, "pip install 'autogit[lexicon]'")

    def test_no_library_is_loaded_before_it_is_needed(self):
        code = (
            "import sys, autogit.providers.dns.lexicon;"
            "print(sorted({'lexicon', 'requests', 'dns', 'tldextract'} & sys.modules.keys()))"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "[]"

    def test_no_public_suffix_is_looked_up(self, remote, monkeypatch, tmp_path):
        # Lexicon's client would, and two of its modules.
        monkeypatch.setattr("tldextract.TLDExtract.__call__", lambda *args, **more: pytest.fail("it was looked up"))
        run(remote.list_records(ZONE))
        for name in ("godaddy", "namecheap"):
            library = type(remote._library)(name, "", remote.config.secrets, 300, lambda: NOW, 1.0)
            library._module_class()
            parts = importlib.import_module(f"lexicon._private.providers.{name}").tldextract.extract("home.co.uk")
            assert (parts.domain, parts.suffix) == ("home", "co.uk")

    def test_it_is_well_and_says_what_it_sees(self, remote):
        assert run(remote.health()).ok
