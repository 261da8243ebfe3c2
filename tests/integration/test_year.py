"""A year of certificates in minutes: real Pebble, BIND and Traefik, the clock set, and somebody who always looks.

How simulated time and the dates of real certificates go together. Real time compressed (certificates of a minute, a
year of them in an hour) proves little: what the policy is made of (ask no more than once a minute, a tenth of jitter,
six hours of back-off, half of a life of ten days) does not shrink with the certificates. A false clock for whole
processes (libfaketime) cannot be had either: BIND takes no update whose signature (TSIG) is off by more than five
minutes, and Pebble is a Go program, which asks the kernel itself.

So everything is real but dates. Pebble validates over DNS-01 and issues; the shim before it dates each leaf anew by
the simulated clock and signs that with Pebble's own intermediate key, which its management port gives out: chain,
serial, names and key are Pebble's, the chain leads up to Pebble's root, and lives have their true length (6, 45, 90
days). AutoGit is the operation behind `certs renew`, a project opened anew each time with that clock in its context.
It runs each time that a timer would, and besides in the minute before a renewal is due, when nothing may happen, and
in the minute after, when it must. OpenSSL knows the machine's clock only: its look at dates is switched off, all else
is checked, and the probe compares the dates of what is served with the simulated instant at which it connected.

The authority has its moods, by seed: a window (ARI) in the usual place, one that is too late, none at all, one that is
moved into the past, and days on which it does not answer when a renewal is due.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from autogit.errors import AutogitError
from autogit.operations import certs_view
from autogit.providers.ssl.acme_certificate import certificate_id
from tests.integration.certs_lab import laboratory, project_at, renewed_at
from tests.providers.ssl.directory_shim import CERTIFICATE, NEW_ORDER, RENEWAL_INFO, problem

pytestmark = pytest.mark.integration

NO_LOOK_AT_DATES = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME."""
MOODS = ("usual", "late", "none", "moved", "down")
ASKED = timedelta(hours=6)
MINUTE = timedelta(minutes=1)
_MOST_SECONDS = 20.0


class Clock:
    """A moment that is set; it never goes back."""

    def __init__(self):
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self):
        return self.now

    def to(self, moment):
        assert moment >= self.now, "time goes forward"
        self.now = moment


class Authority:
    """Pebble by the simulated clock: leaves that live as long as told, windows by the mood of the day, and outages."""

    def __init__(self, lab, clock, life, moods):
        self.clock, self.life, self.moods = clock, life, moods
        self.pebble, self.shim = lab.authority.pebble, lab.authority.shim
        self.signer = load_pem_private_key(self.pebble.managed("/intermediate-keys/0"), None)
        self.issued, self.mood, self.window = [], "", None
        self.moved_at = self.down_until = None
        for method in ("GET", "HEAD", "POST"):
            self.shim.when("/", self.answer, times=10**9, method=method)

    @property
    def leaf(self):
        """What it issued last."""
        return self.issued[-1]

    def answer(self, request, forward):
        if self.down_until and self.clock.now < self.down_until:
            return problem(503, "serverInternal", "down")
        if request.path.startswith(RENEWAL_INFO):
            return self._wishes(request.path.removeprefix(RENEWAL_INFO))
        answer = forward()
        if request.path.startswith(CERTIFICATE) and answer.status == 200:
            answer.body = self._dated(answer.body)
        return answer

    def _dated(self, chain):
        """The same chain with a leaf that begins now."""
        leaf, *above = x509.load_pem_x509_certificates(chain)
        start = self.clock.now
        builder = x509.CertificateBuilder(
            leaf.issuer, leaf.subject, leaf.public_key(), leaf.serial_number, start, start + self.life
        )
        for one in leaf.extensions:
            builder = builder.add_extension(one.value, one.critical)
        fresh = builder.sign(self.signer, hashes.SHA256())
        self._is_in_force(fresh)
        return b"".join(one.public_bytes(Encoding.PEM) for one in (fresh, *above))

    def _is_in_force(self, leaf):
        self.issued.append(leaf)
        self.mood = next(self.moods)
        start, end, life = leaf.not_valid_before_utc, leaf.not_valid_after_utc, self.life
        self.window = {
            "late": (end - life / 12, end - life / 24),
            "none": None,
        }.get(self.mood, (start + life * 0.6, start + life * 0.65))

    def _wishes(self, certificate):
        if self.window is None or certificate != certificate_id(self.leaf):
            return problem(404, "malformed", "no such certificate")
        start, end = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in self.window)
        self.shim.window(start, end, headers={"Retry-After": str(int(ASKED.total_seconds()))})
        return self.shim.windows.pop("")

    def act(self):
        """Do what the mood is, once its moment has come."""
        life, start = self.life, self.leaf.not_valid_before_utc
        if self.mood == "moved" and self.clock.now >= start + life * 0.2:
            self.window = (start, start + life * 0.1)
            self.mood, self.moved_at = "past", self.clock.now
        if self.mood == "down" and self.clock.now >= start + life * 0.55 and self.down_until is None:
            self.down_until = start + life * 0.75
            self.mood = "was down"

    def may_be_renewed(self, step):
        """From when to when the certificate in force may be renewed, by its mood: (earliest, latest)."""
        end, life = self.leaf.not_valid_after_utc, self.life
        aged = life / (2 if life <= timedelta(days=10) else 3)
        return {
            "usual": lambda: (self.window[0], self.window[1]),
            "late": lambda: (end - life / 6 * 1.1, end - life / 6),
            "none": lambda: (end - aged * 1.1, end - aged),
            "past": lambda: (self.moved_at, self.moved_at + ASKED + step),
            # The longest back-off, a tenth on top.
            "was down": lambda: (self.down_until, self.down_until + timedelta(hours=6.6) + step),
        }[self.mood]()


class Probe(threading.Thread):
    """Shakes hands all the time. Chain, name and key are OpenSSL's to check, dates are compared with the clock."""

    def __init__(self, clock, port, host, root, known):
        super().__init__()
        self.clock, self.place, self.known = clock, (port, host), known
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.verify_flags |= NO_LOOK_AT_DATES
        self.context.load_verify_locations(cadata=root)
        self.handshakes, self.failures, self.serials = 0, [], set()
        self.looked_at, self._ended = None, threading.Event()

    def run(self):
        while not self._ended.is_set():
            began = self.clock.now
            try:
                leaf = self._served()
            except (OSError, ValueError) as exc:
                self.failures.append(f"{began}: {exc}")
            else:
                self.serials.add(leaf.serial_number)
                if not leaf.not_valid_before_utc <= began < leaf.not_valid_after_utc:
                    self.failures.append(f"{began}: valid {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}")
                if leaf.serial_number not in {one.serial_number for one in self.known[-2:]}:
                    self.failures.append(f"{began}: {leaf.serial_number:x} is neither the newest nor the one before")
            self.handshakes += 1
            self.looked_at = began
            time.sleep(0.01)  # the other thread has to get on

    def _served(self):
        port, host = self.place
        with (
            socket.create_connection(("127.0.0.1", port), 5) as raw,
            self.context.wrap_socket(raw, server_hostname=host) as link,
        ):
            return x509.load_der_x509_certificate(link.getpeercert(binary_form=True))

    def looks(self):
        """Wait until it has looked at the instant that it is, so that none is left out."""
        deadline = time.monotonic() + _MOST_SECONDS
        while self.looked_at != self.clock.now:
            assert time.monotonic() < deadline, self.failures[-3:]
            time.sleep(0.001)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


class Year:
    """A site, its authority, its clock, and what came of each run."""

    def __init__(self, site, authority, clock, step):
        self.site, self.authority, self.clock, self.step = site, authority, clock, step
        self.runs = self.failed = 0
        self.moods, self.renewals = [], 0

    def run(self, moment, probe):
        """Run `certs renew` at a moment at which what is served was looked at; was the certificate renewed?"""
        self.clock.to(moment)
        authority = self.authority
        authority.act()
        probe.looks()
        former, (mood, due) = authority.leaf, (authority.mood, self.may_be_renewed())
        self.runs += 1
        try:
            renewed_at(self.site.home, self.clock)
        except AutogitError as exc:
            assert mood == "was down", f"{moment}: {exc.message}"
            self.failed += 1
        renewed = authority.leaf is not former
        if renewed:
            assert due[0] <= moment <= due[1] + MINUTE, f"{mood}: renewed at {moment}, {due} was right"
            self.renewals += 1
            self.moods.append(mood)
            authority.down_until = None
            assert authority.shim.sent(NEW_ORDER)[-1].payload["replaces"] == certificate_id(former)
        else:
            assert moment <= due[1] + MINUTE, f"{mood}: not renewed at {moment}, {due} was right"
        return renewed

    def may_be_renewed(self):
        """The authority's opinion; a mood that has not shown yet has no say."""
        mood = self.authority.mood
        if mood in ("moved", "down"):
            never = self.authority.leaf.not_valid_after_utc
            return never, never
        return self.authority.may_be_renewed(self.step)

    def pass_by(self, probe, until):
        """Let time go on as a timer does, and stop in the minutes around each renewal."""
        while self.clock.now < until:
            following = self.clock.now + self.step
            due = self.renews_at()
            if self.clock.now < due - MINUTE / 2 and due + MINUTE / 2 <= following:
                assert not self.run(due - MINUTE / 2, probe), "a minute before it is due"
                down = self.authority.mood == "was down"
                assert self.run(due + MINUTE / 2, probe) is not down, "the minute that it is due"
            else:
                self.run(following, probe)

    def renews_at(self):
        (facts,) = project_at(self.site.home, self.clock).certificates.facts(self.clock.now).values()
        return datetime.fromisoformat(facts.renew_at)

    def figures(self, probe):
        return (
            f"{probe.handshakes} handshakes, {len(probe.failures)} failures, {self.renewals} renewals, "
            f"{self.runs} runs of certs renew, {self.failed} of them while the authority was down"
        )


@pytest.fixture
def year_of(tmp_path, monkeypatch):
    """A function that lets a year pass with certificates of a length, a timer of so many hours, and a seed."""
    usual = ssl.create_default_context

    def without_dates(*told, **named):
        context = usual(*told, **named)
        context.verify_flags |= NO_LOOK_AT_DATES
        return context

    def passes(life, step, seed):
        dice = random.Random(seed)
        moods = itertools.chain.from_iterable(dice.sample(MOODS, len(MOODS)) for _ in itertools.count())
        clock = Clock()
        with laboratory(tmp_path, zones=1) as lab, lab.site() as site:
            authority = Authority(lab, clock, life, moods)
            site.run("up", "--yes")
            monkeypatch.setattr(ssl, "create_default_context", without_dates)
            monkeypatch.setenv("PATH", site.home.environ["PATH"])
            year, began = Year(site, authority, clock, step), clock.now
            with Probe(clock, site.home.https_port, site.host, lab.authority.roots[0], authority.issued) as probe:
                year.pass_by(probe, began + timedelta(days=365))
            assert probe.failures == []
            assert probe.serials == {one.serial_number for one in authority.issued}
            assert site.challenges() == []
            (view,) = asyncio.run(certs_view.status(project_at(site.home, clock))).certificates
            assert (view.level, view.sentence, view.failure) == ("ok", "", "")
            beat = json.loads((site.home.root / ".autogit" / "heartbeats" / "certs-renew.json").read_text())
            assert beat["result"] == "ok"
        return year, probe

    return passes


def test_a_year_passes_and_a_valid_certificate_of_the_authority_is_served_at_every_instant(year_of):
    year, probe = year_of(timedelta(days=90), timedelta(days=30), seed=6)
    print(year.figures(probe))
    assert set(year.moods) == {"usual", "late", "none", "past", "was down"}
    assert probe.handshakes > 2 * year.runs


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("days", "hours", "least"), [(45, 24, 10), (6, 12, 90)])
def test_a_year_passes_by_the_hour_with_certificates_of_every_length(year_of, capsys, days, hours, least):
    year, probe = year_of(timedelta(days=days), timedelta(hours=hours), seed=20261127 + days)
    with capsys.disabled():
        print(f"\na year of certificates that live {days} days: {year.figures(probe)}")
    assert year.renewals >= least
    assert set(year.moods) == {"usual", "late", "none", "past", "was down"}
