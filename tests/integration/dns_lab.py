"""The parts of the end-to-end tests of DNS: zones of real servers, projects that lead into them, address sources."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dns.name
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import dns.zone

from tests.integration.conftest import end_installation, make_installation
from tests.tools import find_tool

LAN, LAN6, OTHER_LAN = "192.168.1.170", "fd00::170", "192.168.1.171"
WORLD, OTHER_WORLD = "93.184.215.14", "93.184.216.34"
CAA = '0 issue "letsencrypt.org"'
HOME = {"INGRESS_IP": LAN, "INGRESS_IPV6": LAN6, "DNS_CAA": "letsencrypt.org"}
WILD = {("*", "A"): (300, (LAN,)), ("*", "AAAA"): (300, (LAN6,))}
APEX = {("", "A"): (300, (LAN,)), ("", "AAAA"): (300, (LAN6,)), ("", "CAA"): (300, (CAA,))}
FOREIGN = {("printer", "A"): (600, ("192.168.1.20",)), ("_x.printer", "TXT"): (300, ('"kept by hand"',))}
_MARK = re.compile(r"_autogit[-.]([a-z]+)(?:\.(.*))?")
_OF_THE_SERVER = {("", "SOA"), ("", "NS"), ("ns", "A")}


class BindZone:
    """One zone of a BIND that all tests of a module share, with the hand of somebody else in it."""

    provider = "rfc2136"

    def __init__(self, server, name):
        self.server, self.name = server, name

    def settings(self, folder, *, private=True):
        secret = folder / f"{self.name}.secret"
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text(self.server.key.secret + "\n")
        secret.chmod(0o600)
        return {
            "BASE_DOMAIN": self.name,
            "DNS_PROVIDER": "rfc2136",
            "RFC2136_SERVER": self.server.server,
            "RFC2136_ZONES": self.name,
            "RFC2136_KEY_NAME": self.server.key.name,
            "RFC2136_KEY_SECRET_FILE": secret,
            "RFC2136_PRIVATE": "true" if private else None,
        }

    def full(self, name):
        return f"{name}.{self.name}" if name else self.name

    def address(self, name, kind):
        """The address of a record's resource, as the command line has it."""
        return f"dns_record/{self.full(name)}/{kind}"

    def addresses(self):
        """The addresses of all that bears AutoGit's mark."""
        return {self.address(*key) for key in self.marks()}

    def values(self, name, kind):
        """What a client is answered for a name below the zone, "" being the zone's own."""
        return self.server.values(self.full(name), kind)

    def write(self, name, kind, *values, ttl=300):
        """Put a set in the place of what is there, as somebody else would; no values: take it away."""
        key = self.server.key
        keyring = {dns.name.from_text(key.name): dns.tsig.Key(key.name, key.secret, key.algorithm)}
        change = dns.update.UpdateMessage(self.name, keyring=keyring)
        change.delete(f"{self.full(name)}.", kind)
        for value in values:
            change.add(f"{self.full(name)}.", ttl, kind, value)
        answer = dns.query.tcp(change, "127.0.0.1", 10, self.server.port)
        assert answer.rcode() == 0, answer

    def everything(self):
        """All sets of the zone but those it started with: (name below the zone, type) -> (TTL, values)."""
        key = self.server.key
        keyring = {dns.name.from_text(key.name): dns.tsig.Key(key.name, key.secret, key.algorithm)}
        asked = dns.zone.Zone(self.name)
        question, _ = dns.xfr.make_query(asked, keyring=keyring)
        dns.query.inbound_xfr("127.0.0.1", asked, question, port=self.server.port)
        found = {}
        for name, rdataset in asked.iterate_rdatasets():
            short = "" if name == dns.name.empty else name.to_text()
            found[short, dns.rdatatype.to_text(rdataset.rdtype)] = (
                rdataset.ttl,
                tuple(sorted(r.to_text() for r in rdataset)),
            )
        return {key: one for key, one in found.items() if key not in _OF_THE_SERVER}

    def records(self):
        """All of it but marks."""
        return {key: one for key, one in self.everything().items() if not _MARK.fullmatch(key[0])}

    def marks(self):
        """The keys that a mark stands for."""
        found = (_MARK.fullmatch(name) for name, _ in self.everything())
        return {((one[2] or "").replace("_wildcard", "*", 1), one[1].upper()) for one in found if one}


class DnsmasqZone:
    """The one zone of a dnsmasq of its own, with files of somebody else's beside AutoGit's."""

    provider = "dnsmasq"

    def __init__(self, server, name):
        self.server, self.name = server, name

    def settings(self, _folder, *, provider_key="DNS_PROVIDER"):
        return {
            "BASE_DOMAIN": self.name,
            provider_key: "dnsmasq",
            "DNSMASQ_CONF_DIR": self.server.conf_dir,
            "DNSMASQ_HOSTS_DIR": self.server.hosts_dir,
            "DNSMASQ_RESTART_COMMAND": f'"{self.server.restart_command}"',
            "DNSMASQ_TEST_CONFIG": self.server.config,
            "DNSMASQ_SERVER": self.server.server,
            "DNSMASQ_TTL": 60,
        }

    def values(self, name, kind):
        """What a client is answered for a name below the zone, "" being the zone's own."""
        return self.server.values(f"{name}.{self.name}" if name else self.name, kind)

    def write_line(self, line):
        """Put a line into a file of somebody else's."""
        self.foreign.write_text(line + "\n")
        self.server.restart()

    @property
    def foreign(self):
        return self.server.conf_dir / "by-hand.conf"


class Source:
    """A web server that says an address, and another one when it is told to; None: it fails."""

    def __init__(self, address):
        self.address = address
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                said = (source.address or "").encode()
                self.send_response(200 if said else 503)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/ip"

    def end(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def sources(address, count=2):
    """Address sources that say the same until they are told otherwise."""
    found = [Source(address) for _ in range(count)]
    try:
        yield found
    finally:
        for one in found:
            one.end()


@contextlib.contextmanager
def project(zone, private=True, **changed):
    """A project whose base domain is a zone, ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="autogit-dns-"))
    given = zone.settings(folder / "keys") if private else zone.settings(folder / "keys", private=False)
    one = make_installation(folder, **{**given, **changed})
    programs = {str(Path(path).parent) for name in ("dnsmasq", "named") if (path := find_tool(name))}
    one.environ["PATH"] = os.pathsep.join([*sorted(programs), one.environ["PATH"]])  # for `dnsmasq --test`
    try:
        yield one
    finally:
        if has_platform(one):
            end_installation(one)
        shutil.rmtree(folder, ignore_errors=True)


def has_platform(installation):
    """Whether anything of a platform was begun: a process runs, or one is recorded."""
    lock = installation.root / "autogit.lock.json"
    recorded = lock.is_file() and any(r.startswith("process/") for r in addresses_in(lock))
    return recorded or bool(installation.processes())


def addresses_in(lock):
    """The addresses that a lockfile has entries of."""
    return set(json.loads(lock.read_text()).get("resources", {}))


def held(installation):
    """The DNS records that the project holds by its lockfile."""
    lock = installation.root / "autogit.lock.json"
    return {a for a in addresses_in(lock) if a.startswith("dns_record/")} if lock.is_file() else set()


def written(installation):
    """Every file of the project folder, path -> content, but what a mere look may leave: the apply lock."""
    return {
        str(path.relative_to(installation.root)): path.read_bytes()
        for path in sorted(installation.root.rglob("*"))
        if path.is_file() and path.name != "apply.lock"
    }


def put_foreign(zone):
    for (name, kind), (ttl, values) in FOREIGN.items():
        zone.write(name, kind, *values, ttl=ttl)


def apply_as_asked(home):
    """Apply; where it is refused for what it would delete, as the hint says."""
    done = home.run("dns", "apply", "--yes", expect=None)
    if done.returncode:
        assert "error[unsafe-plan]" in done.stderr
        allowed = re.findall(r"--allow-delete (\S+)", done.stderr)
        home.run("dns", "apply", "--yes", *(word for name in allowed for word in ("--allow-delete", name)))


def heartbeat(home):
    return json.loads((home.root / ".autogit" / "heartbeats" / "dns-sync.json").read_text())


def adopting(zone, keys):
    return [word for key in keys for word in ("--adopt", zone.address(*key))]


DECLARED = """\
records:
- {name: mail, type: MX, values: [10 mx1.example.org., 20 mx2.example.org.], ttl: 3600}
- {name: _sip._tcp, type: srv, values: [10 60 5060 sip.example.org.]}
- {name: note, type: TXT, values: ["v=spf1 -all; \\"quoted\\"", second]}
- {name: www, type: CNAME, values: [api.example.org.]}
- {name: nas, type: AAAA, values: ["FD00:0::20"]}
"""


GOOD_ROW = "- {name: ok, type: TXT, values: [fine]}"
NO_ROWS = {
    "- {name: a, type: A, values: [192.168.1.1], tll: 60}": "is not a field",
    "- {name: a, type: A}": "is missing",
    "- {name: a, type: A, values: []}": "values",
    "- {name: a, type: NAPTR, values: [x]}": "must be one of A, AAAA",
    "- {name: a, type: A, values: [192.168.1.1], ttl: 0}": "ttl",
    "- {name: a, type: A, values: [192.168.1.1], view: world}": "view",
    "- {name: [a], type: A, values: [192.168.1.1]}": "name",
    "- hello": "",
}
"""What is no record at all, and what is said of it."""
ROWS_THAT_CANNOT_BE = {
    "- {name: a, type: A, values: [192.168.1.256]}": "'192.168.1.256', which is no IP address",
    "- {name: b, type: A, values: ['fd00::1']}": "'fd00::1', which is an address of the other version",
    "- {name: c, type: MX, values: [mx.example.org.]}": "no value of type MX",
    "- {name: d, type: SRV, values: [1 2 sip.example.org.]}": "no value of type SRV",
    "- {name: a b, type: TXT, values: [x]}": "is not a DNS name: 'a b'",
    "- {name: '@', type: MX, values: [10 mx.example.org.]}": "mail of the domain itself",
    "- {name: _acme-challenge, type: TXT, values: [x]}": "is an ACME challenge",
    "- {name: _autogit-a.e, type: TXT, values: [x]}": "is a mark",
    "- {name: '@', type: A, values: [192.168.1.1]}": "it is a record of the platform",
    "- {name: '*', type: CNAME, values: [a.example.org.]}": "a CNAME stands alone",
    "- {name: f, type: TXT, values: [x], proxied: true}": "cannot be proxied",
}
"""What is a record and cannot be one here, and what is said of it."""


def rows(count, value):
    lines = [f"- {{name: r{n}, type: TXT, values: ['{value}']}}" for n in range(count)]
    return "records:\n" + "\n".join(lines) + "\n"


def wish(home, dice):
    """Give a project another wish; what the zone should have then."""
    wildcard, address, text, count = dice.random() < 0.5, dice.choice([LAN, OTHER_LAN]), dice.choice("ab"), 8
    home.set(DNS_WILDCARD=str(wildcard).lower(), INGRESS_IP=address)
    (home.root / "overrides").mkdir(exist_ok=True)
    (home.root / "overrides" / "dns.yml").write_text(rows(count, text))
    names = ["*", ""] if wildcard else ["api"]
    found = {(name, "A"): (300, (address,)) for name in names}
    found |= {(name, "AAAA"): (300, (LAN6,)) for name in names}
    return found | {("", "CAA"): APEX["", "CAA"]} | {(f"r{n}", "TXT"): (300, (f'"{text}"',)) for n in range(count)}


def kill_at_work(home, dice):
    """Start `dns apply` and kill it: at any moment, or right after one of its records landed; was it at work?"""
    victim = home.start("dns", "apply", "--yes")
    if dice.random() < 0.4:
        time.sleep(dice.uniform(0.1, 0.7))
    else:
        lines = iter(victim.stderr.readline, "")
        landed = dice.randrange(0, 10)
        for line in lines:
            if line.startswith("[") and (landed := landed - 1) < 0:
                break
        time.sleep(dice.uniform(0.0, 0.02))
    died = victim.poll() is None
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    return died


def converges_after_kills(bind, kills, seed):
    """Kill `dns apply` until `kills` died, in fresh and in filled zones.

    Returns how many were started, and how many of those that died left a zone between what it was and what was wished.
    """
    dice = random.Random(seed)
    started = killed = midway = 0
    while killed < kills:
        zone = bind.free.pop(0)
        put_foreign(zone)
        with project(zone, **HOME) as home:
            for turn in range(4):
                wished = wish(home, dice)
                started += 1
                assert started <= 3 * kills + 10, "most of them ended before their moment came"
                before = zone.everything()
                killed += kill_at_work(home, dice)
                left = zone.records()
                midway += zone.everything() != before and (left != wished | FOREIGN or zone.marks() != set(wished))
                assert {key: one for key, one in left.items() if key in FOREIGN} == FOREIGN
                if dice.random() < 0.5:  # the next run need not want what the killed one wanted
                    wished = wish(home, dice)
                where = f"turn {turn} of {zone.name}, start {started}, seed {seed}"
                apply_as_asked(home)
                assert zone.records() == wished | FOREIGN, where
                assert zone.marks() == set(wished), where
                assert held(home) == {zone.address(*key) for key in wished}, where
                if killed >= kills:
                    break
            home.run("dns", "plan", "--exit-code")
    return started, midway
