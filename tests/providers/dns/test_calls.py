"""What a plan that changes nothing asks of each kind of provider, in a zone that others fill.

| Provider | For the zones | For a zone of N |
|---|---|---|
| cloudflare | 1 request, 50 zones a page | 1 request for each 1,000 records, the last page short |
| google | 1 for a token, 1 for as many zones as Google gives a page | 1 for as many sets as Google gives a page |
| route53 | 1 request, 100 zones a page | 1 request for each 300 sets |
| rfc2136 | none: the configuration names them | 1 transfer (AXFR) over 1 connection |
| dnsmasq | none: the configuration names them | 1 question, whether dnsmasq has read our file; the sets are in files |

N is all that is in the zone: others' sets, ours, and our marks where the provider keeps no notes. Wishes are looked for
in what was read, so the figures do not grow with their number. A single wish may be cheaper asked for by name, with the
few sets that tell whose it is: google and rfc2136 do that, and then the size of the zone does not matter.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.message
import dns.opcode
import dns.rdatatype
import pytest

from autogit.errors import RateLimitedError
from autogit.model.dns import Zone, record_set
from autogit.model.plan import Action
from autogit.providers.dns.cloudflare import CloudflareDNS
from autogit.providers.dns.ownership import mark_key
from autogit.providers.dns.patience import PatientDNS
from autogit.providers.registry import provider_class
from tests.fakes import cloudflare as cloudflare_fake
from tests.fakes import google_dns as google_fake
from tests.providers.dns.aws import KEY_ID, SECRET, RefusedError, running_aws
from tests.providers.dns.bind import bind_server
from tests.providers.dns.dnsmasq_server import dnsmasq_server
from tests.providers.dns.installation import Installation, context_of

pytestmark = pytest.mark.integration

ZONE = "home.test"
SETS = [
    record_set(f"*.{ZONE}", "A", 300, ["192.0.2.1"]),
    record_set(f"*.{ZONE}", "AAAA", 300, ["2001:db8::1"]),
    record_set(ZONE, "A", 300, ["192.0.2.1"]),
    record_set(f"ssh.{ZONE}", "A", 300, ["192.0.2.2"]),
    record_set(ZONE, "CAA", 300, ['0 issue "letsencrypt.org"']),
]
_KINDS = ("A", "A", "A", "A", "A", "A", "AAAA", "CNAME", "TXT", "TXT")
_VALUES = {"A": "192.0.2.7", "AAAA": "2001:db8::7", "CNAME": "pages.example.net.", "TXT": '"v=spf1 -all"'}


def sets_of_others(count):
    """Names, types and values as a zone file has them, one value a set."""
    for number in range(count):
        kind = _KINDS[number % len(_KINDS)]
        yield f"n{number:05}.{ZONE}", kind, _VALUES[kind]


@dataclass(frozen=True)
class Served:
    """A backend with a zone full of others' sets, and what makes providers of it.

    `asked` returns the requests since it was called last. `refuse` has some pages of the zone be given and the requests
    after them refused, so many times; `notes_refused` tells whether `asked` has those. `unwatched` are settings with
    which nobody counts, for measurements.
    """

    name: str
    settings: Mapping[str, Any]
    asked: Callable[[], list[str]]
    refuse: Callable[[int, int], None] | None = None
    notes_refused: bool = True
    unwatched: Mapping[str, Any] = field(default_factory=dict)
    kind: type | None = None

    def provider(self, folder):
        """What the program has: it waits and asks again; here it does not wait."""
        kind = self.kind or provider_class("dns", self.name)
        return PatientDNS(kind(context_of(folder), kind.Config(**self.settings)), sleep=no_pause)


async def no_pause(_seconds):
    pass


@contextlib.contextmanager
def cloudflare(folder, others, page=1000) -> Iterator[Served]:
    """Held to its library's models for small zones only: that takes a second for each thousand records."""
    del folder
    with cloudflare_fake.fake_cloudflare() as fake:
        zone = fake.add_zone(ZONE)
        for name, kind, value in sets_of_others(others):
            fake.put(zone, name=name, type=kind, content=value.rstrip("."))
        fake.is_strict = others < 100

        def asked():
            found = [f"{one.method} {one.path.replace(zone, 'ZONE')} {_query(one.query)}" for one in fake.asked]
            fake.asked.clear()
            return found

        def refuse(pages, times):
            busy = cloudflare_fake.Refusal(429, 971, "Please wait and consider throttling your request speed")
            fake.faults.extend([None] * (pages + 1) + [busy] * times)  # the zones come before the pages

        token = fake.add_token("Zone:Read", "DNS:Edit", zones=[zone])
        kind = type("CloudflarePages", (CloudflareDNS,), {"records_per_page": page})
        yield Served("cloudflare", {"api_token": token, "base_url": fake.url}, asked, refuse, kind=kind)


@contextlib.contextmanager
def google(folder, others, page=100) -> Iterator[Served]:
    """Its SOA and NS are there from the first moment."""
    with google_fake.fake_google() as fake:
        fake.page_size, fake.pending = page, 0
        fake.add_zone("home", f"{ZONE}.")
        for name, kind, value in sets_of_others(others):
            fake.put("home", {"name": f"{name}.", "type": kind, "ttl": 300, "rrdatas": [value]})
        key = Path(folder) / "key.json"
        key.write_text(fake.key_file())

        def asked():
            found = ["POST /token"] * fake.grants
            found += [f"{one.method} {one.path} {_query(one.query)}" for one in fake.asked]
            fake.grants = 0
            fake.asked.clear()
            return found

        def refuse(pages, times):
            busy = google_fake.Refusal(429, "rateLimitExceeded", "Queries per minute")
            fake.faults.extend([None] * (pages + 1) + [busy] * times)

        settings = {"project": fake.project, "credentials_file": key, "endpoint": fake.url}
        yield Served("google", settings, asked, refuse, notes_refused=False)


@contextlib.contextmanager
def route53(folder, others, page=300) -> Iterator[Served]:
    """Its SOA and NS are there from the first moment."""
    del folder
    with running_aws() as aws:
        zone, aws.page = aws.add_zone(ZONE), page
        for name, kind, value in sets_of_others(others):
            aws.put(zone, name, kind, [value])

        def asked():
            found = list(aws.calls)
            aws.calls.clear()
            return found

        def refuse(pages, times):
            def before(left, refusals):
                if left + refusals > 1:
                    aws.before[action] = functools.partial(before, max(left - 1, 0), refusals - (not left))
                if not left:
                    raise RefusedError(400, "Throttling", "Rate exceeded")

            action = "ListResourceRecordSets"
            aws.before[action] = functools.partial(before, pages, times)

        keys = {"access_key_id": KEY_ID, "secret_access_key": SECRET}
        settings = {**keys, "endpoint_url": aws.url, "sync_seconds": 0}
        yield Served("route53", settings, asked, refuse)


@contextlib.contextmanager
def rfc2136(folder, others) -> Iterator[Served]:
    """Through a wire that counts, since a server does not log every message."""
    lines = [f"{name}. 300 IN {kind} {value}" for name, kind, value in sets_of_others(others)]
    with bind_server(Path(folder) / "bind", {ZONE: lines}) as server, CountingWire(server.port) as wire:
        key = {"key_name": server.key.name, "key_secret": server.key.secret}
        settings = {"server": wire.server, "zones": ZONE, **key}
        yield Served("rfc2136", settings, wire.taken, unwatched={"server": server.server})


@contextlib.contextmanager
def dnsmasq(folder, others) -> Iterator[Served]:
    """Others' addresses are in a hosts file, all else in a file of the conf-dir, as people have them."""
    lines = {"A": "{1} {0}", "AAAA": "{1} {0}", "CNAME": "cname={0},{1}", "TXT": "txt-record={0},{1}"}
    found = [(kind, lines[kind].format(name, value.rstrip("."))) for name, kind, value in sets_of_others(others)]
    options = ("local-ttl=300", "log-queries")
    with dnsmasq_server(Path(folder) / "dnsmasq", *options) as server:
        for path, kinds in (
            (server.hosts_dir / "lan", {"A", "AAAA"}),
            (server.conf_dir / "lan.conf", {"CNAME", "TXT"}),
        ):
            path.write_text("".join(f"{line}\n" for kind, line in found if kind in kinds))
        server.restart()
        log = server.folder / "log"
        read = 0

        def asked():
            nonlocal read
            text = log.read_text()
            new, read = text[read:], len(text)
            return [f"{kind} {name}" for kind, name in re.findall(r" query\[(\w+)\] (\S+) from ", new)]

        places = {"conf_dir": server.conf_dir, "hosts_dir": server.hosts_dir, "test_config": server.config}
        settings = {**places, "zones": ZONE, "restart_command": server.restart_command, "server": server.server}
        yield Served("dnsmasq", {**settings, "ttl": 300}, asked)


BACKENDS = {
    "cloudflare": cloudflare,
    "google": google,
    "route53": route53,
    "rfc2136": rfc2136,
    "dnsmasq": dnsmasq,
}
"""By a provider's name: what serves it, given a folder and how many sets of others there are."""
OWN = {"cloudflare": len(SETS), "google": 2 * len(SETS) + 2, "route53": 2 * len(SETS) + 2}
"""What else is in the zone once SETS are up, where zones have pages: they, their marks, SOA and NS."""


def _query(query):
    return " ".join(f"{key}={value}" for key, value in sorted(query.items()) if key != "pageToken")


class CountingWire:
    """Carries DNS messages over TCP to a port of 127.0.0.1 and notes connections and what is asked over them."""

    def __init__(self, port):
        self._port, self._noted = port, []
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

    def taken(self):
        """What came since this was called last."""
        found, self._noted = self._noted, []
        return found

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._noted.append("connection")
                self._threads.append(threading.Thread(target=self._carry, args=(client,)))
                self._threads[-1].start()

    def _carry(self, client):
        with client, socket.create_connection(("127.0.0.1", self._port), timeout=10) as upstream:
            back = threading.Thread(target=self._carry_back, args=(upstream, client))
            back.start()
            with client.makefile("rb") as stream:
                while size := stream.read(2):
                    wire = stream.read(int.from_bytes(size, "big"))
                    self._note(wire)
                    upstream.sendall(size + wire)
            upstream.shutdown(socket.SHUT_WR)
            back.join(10)

    def _carry_back(self, upstream, client):
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                client.sendall(data)

    def _note(self, wire):
        asked = dns.message.from_wire(wire, keyring=False)
        name, kind = asked.question[0].name.to_text(omit_final_dot=True), asked.question[0].rdtype
        self._noted.append(f"{dns.opcode.to_text(asked.opcode())} {name} {dns.rdatatype.to_text(kind)}")


@pytest.fixture(autouse=True)
def _only_what_the_test_says(monkeypatch, tmp_path):
    """Neither this machine's proxies nor its credentials."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "AWS_PROFILE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def asked_by_a_plan(served, folder):
    """Bring SETS up and return what a process of its own asks that finds nothing to do."""
    result = Installation(folder, served.provider(folder)).up(SETS)
    assert [outcome.ok for outcome in result.outcomes] == [True] * len(SETS), result.failed
    served.asked()
    plan = Installation(folder, served.provider(folder)).plan(SETS)
    assert [change.action for change in plan.changes] == [Action.NOOP] * len(SETS)
    return served.asked()


def expected(name, pages, page=None):
    """What the table of this module says, as requests."""
    size = f" per_page={page or 1000}"
    return {
        "cloudflare": ["GET /zones page=1 per_page=50"]
        + [f"GET /zones/ZONE/dns_records page={number}{size}" for number in range(1, pages + 1)],
        "google": ["POST /token", "GET /dns/v1/projects/home-1/managedZones "]
        + ["GET /dns/v1/projects/home-1/managedZones/home/rrsets "] * pages,
        "route53": ["ListHostedZones"] + ["ListResourceRecordSets"] * pages,
        "rfc2136": ["connection", f"QUERY {ZONE} AXFR"],
        "dnsmasq": ["AAAA conf.autogit.invalid"],
    }[name]


@pytest.mark.parametrize(
    ("name", "others", "pages"),
    [("cloudflare", 3100, 4), ("google", 350, 4), ("route53", 1000, 4), ("rfc2136", 3000, 1), ("dnsmasq", 3000, 1)],
)
def test_a_plan_that_changes_nothing_reads_the_zone_once(tmp_path, name, others, pages):
    """Page by page of the size that is asked for in earnest; nothing is written, no set asked for by itself."""
    with BACKENDS[name](tmp_path, others) as served:
        assert asked_by_a_plan(served, tmp_path) == expected(name, pages)


@pytest.mark.parametrize("name", sorted(OWN))
@pytest.mark.parametrize(("total", "pages"), [(12, 2), (13, 3), (18, 3), (19, 4)])
def test_the_pages_are_as_many_as_all_in_the_zone_fills(tmp_path, name, total, pages):
    """Ours and our marks count; a page that is just full is not followed by an empty one."""
    with BACKENDS[name](tmp_path, total - OWN[name], page=6) as served:
        assert asked_by_a_plan(served, tmp_path) == expected(name, pages, page=6)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_wish_more_is_no_request_more(tmp_path, name):
    """Each is looked for in what was read."""
    wishes = [*SETS, *(record_set(f"s{number}.{ZONE}", "A", 300, ["192.0.2.1"]) for number in range(40))]
    with BACKENDS[name](tmp_path, 0) as served:
        for wish in (SETS, wishes):
            served.asked()
            assert len(Installation(tmp_path, served.provider(tmp_path)).plan(wish).pending) == len(wish)
            # No file of ours is there yet that dnsmasq might not have read.
            assert served.asked() == ([] if name == "dnsmasq" else expected(name, 1))


@pytest.mark.parametrize("name", ["google", "rfc2136"])
def test_a_single_wish_is_asked_for_by_name(tmp_path, name):
    """It, what may stand in its way, and each place of a mark; others' sets are not read."""
    wish, zone = SETS[0].key, Zone(ZONE, ZONE)
    marks = sorted([mark_key(wish, zone).name, f"_owner.a._wildcard.{ZONE}"])
    by_name = [(wish.name, "A"), (wish.name, "CNAME"), *((at, "TXT") for at in (wish.name, *marks))]
    google = "GET /dns/v1/projects/home-1/managedZones"
    requests = {
        "google": ["POST /token", f"{google} "] + [f"{google}/home/rrsets name={n}. type={k}" for n, k in by_name],
        # The first is an update of nothing: whether the server is the primary, and takes the key.
        "rfc2136": ["connection", f"UPDATE {ZONE} SOA", *(f"QUERY {n} {k}" for n, k in by_name)],
    }
    with BACKENDS[name](tmp_path, 500) as served:
        assert len(Installation(tmp_path, served.provider(tmp_path)).plan(SETS[:1]).pending) == 1
        assert served.asked() == requests[name]


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_page_refused_for_haste_has_the_zone_read_anew(tmp_path, name):
    """What was read before is not taken for the whole zone: nothing would be there that is on the pages after it."""
    with BACKENDS[name](tmp_path, 19 - OWN[name], page=6) as served:
        whole = asked_by_a_plan(served, tmp_path)
        served.refuse(2, 1)
        assert not Installation(tmp_path, served.provider(tmp_path)).plan(SETS).pending
        assert served.asked() == whole[:-2] + whole[-2:-1] * served.notes_refused + whole[-4:]


@pytest.mark.parametrize("name", sorted(OWN))
def test_no_plan_is_made_of_half_a_zone(tmp_path, name):
    """Refused four times over: an error, and no record that seems to be missing."""
    with BACKENDS[name](tmp_path, 19 - OWN[name], page=6) as served:
        whole = asked_by_a_plan(served, tmp_path)
        served.refuse(2, 4)
        with pytest.raises(RateLimitedError, match=f"^{name}: "):
            Installation(tmp_path, served.provider(tmp_path)).plan(SETS)
        assert served.asked() == whole[:-2] + [whole[-2], *[whole[-4]] * 3] * served.notes_refused
