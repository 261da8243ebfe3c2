"""A small DNS of real BIND servers on loopback: a root, zones, a resolver; all on one port, each on its own address.

BIND listens only on addresses that an interface has, so each is on a port of 127.0.0.1 with a relay at its address of
the world; what they ask each other goes to the world's port, so delegation works as it does outside.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.rcode
import psutil
import pytest

from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from tests.providers.dns.dnsmasq_server import free_port
from tests.providers.dns.world.relay import Relays
from tests.tools import require_tool

_SETTLE_SECONDS = 20.0
_CONNECT = socket.socket.connect

ROOT = "127.0.0.11"
ONE = "127.0.0.12"
TWO = "127.0.0.13"
RESOLVER = "127.0.0.14"
LOCAL = "127.0.0.15"
NOBODY = "127.0.0.19"
"""An address that nothing listens on."""


@pytest.fixture(autouse=True)
def _sockets_stay_on_loopback(monkeypatch):
    """As in tests/conftest.py, for all of 127.0.0.0/8: a server of a zone is known by its address."""

    def connect(self, address):
        host = address[0] if isinstance(address, tuple) else "127."
        assert host == "::1" or host.startswith("127."), f"a test wanted to connect to {host}"
        return _CONNECT(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


def zone_text(origin, servers, *lines, minimum=1):
    """A zone file: SOA, NS and the lines given; `servers` maps names to addresses, glue for those inside."""
    first = next(iter(servers))
    ns = [f"@ NS {name}." for name in servers]
    glue = [f"{name}. A {address}" for name, address in servers.items() if address and _inside(name, origin)]
    soa = f"@ SOA {first}. hostmaster.{origin or 'test'}. 1 3600 600 86400 {minimum}"
    return "\n".join(["$TTL 300", f"$ORIGIN {origin.rstrip('.')}.", soa, *ns, *glue, *lines]) + "\n"


def _inside(name, origin):
    return not origin.rstrip(".") or name.endswith(f".{origin}")


class Named:
    """One named: its folder, its address, the lines of its options, its zones."""

    def __init__(self, folder, port):
        self.folder = Path(folder)
        self.port = port
        self.own_port = free_port()
        self.process = None
        self.folder.mkdir(parents=True)

    def start(self, zones, options=(), extra=""):
        """Start it with zones (name to text, or a pair of text and more lines), and wait until it answers."""
        program = require_tool("named")
        parts = []
        for name, given in zones.items():
            text, more = (given, "") if isinstance(given, str) else given
            file = self.folder / f"{name.strip('.') or 'root'}.zone"
            file.write_text(text)
            kind = "hint" if "type hint" in more else "primary"
            more = more.replace("type hint;", "")
            parts.append(f'zone "{name}" {{ type {kind}; file "{file}"; {more} }};')
        config = self.folder / "named.conf"
        config.write_text(
            "options {\n"
            f'directory "{self.folder}"; pid-file none; session-keyfile none; port {self.port};\n'
            f"listen-on port {self.own_port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n"
            "empty-zones-enable no; notify no; allow-transfer { none; }; minimal-responses no;\n"
            + "\n".join(options or ("recursion no;", "dnssec-validation no;"))
            + "\n};\ncontrols { };\n"
            + extra
            + "\n".join(parts)
            + "\n"
        )
        with (self.folder / "log").open("ab") as log:
            command = [program, "-g", "-n", "1", "-U", "1", "-c", str(config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.wait(next(iter(zones)))
        return self

    def wait(self, name):
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            # By TCP: a port that is not open yet refuses at once.
            with contextlib.suppress(dns.exception.Timeout, OSError, EOFError):
                question = dns.message.make_query(name, "SOA")
                if dns.query.tcp(question, "127.0.0.1", 5.0, self.own_port).rcode() != dns.rcode.SERVFAIL:
                    return
            time.sleep(0.01)
        raise AssertionError(f"named does not answer: {(self.folder / 'log').read_text()}")

    def ask(self, name, kind, timeout=5.0):
        question = dns.message.make_query(name, kind, want_dnssec=True, payload=4096)
        return dns.query.udp_with_fallback(question, "127.0.0.1", timeout, self.own_port)[0]

    def ds(self, zone):
        """The DS lines that the parent of a zone served here has to have, once it is signed."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            answer = self.ask(zone, "DNSKEY").answer
            if len(answer) > 1:  # the keys and a signature
                keys = [key for key in answer[0] if key.flags & 1]
                return [f"{zone}. DS {dns.dnssec.make_ds(zone + '.', key, 'SHA256')}" for key in keys]
            time.sleep(0.05)
        raise AssertionError(f"{zone} was not signed: {(self.folder / 'log').read_text()}")

    def stop(self):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class World:
    """The servers that run, by address; all end with it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = _free_port()
        self.relays = Relays(self.port)
        self.servers = {}

    def run(self, address, zones, options=(), extra=""):
        """Start a named at an address; one that is there already is replaced."""
        self.stop(address)
        number = len(list(self.folder.glob(f"{address}*")))
        server = Named(self.folder / f"{address}-{number}", self.port)
        self.servers[address] = server
        server.start(zones, options, extra)
        self.relays.listen(address, server.own_port)
        return server

    def stop(self, address):
        if address in self.servers:
            self.relays.close(address)
            self.servers.pop(address).stop()

    def run_root(self, delegations, *top, test_more=""):
        """Start the root with the zone `test`, which has these lines."""
        root = zone_text("", {"a.root-servers": ROOT}, "test. NS ns.test.", f"ns.test. A {ROOT}", *top)
        test = zone_text("test", {"ns.test": ROOT}, *delegations)
        return self.run(ROOT, {".": root, "test": (test, test_more)})

    def run_resolver(self, address=RESOLVER, validation="no", anchors="", zones=None, more=()):
        """Start a resolver that knows the root, and zones of its own if given."""
        hints = f". 3600 NS a.root-servers.\na.root-servers. 3600 A {ROOT}\n"
        options = (
            *("recursion yes;", "allow-recursion { any; };", f"dnssec-validation {validation};"),
            *("max-ncache-ttl 1;", "qname-minimization off;", "servfail-ttl 0;"),
            *more,
        )
        return self.run(address, {".": (hints, "type hint;"), **(zones or {})}, options, anchors)

    def config(self, **changed):
        """The configuration that asks only here."""
        usual = {
            "resolvers": (f"{RESOLVER}:{self.port}",),
            "doh_urls": (),
            "system": (f"{LOCAL}:{self.port}",),
            "timeout_seconds": 2.0,
            "reach": lambda address: (address, self.port),
        }
        return LookupConfig(**usual | changed)

    def lookup(self, **changed):
        return Lookup(self.config(**changed))


@contextlib.contextmanager
def dns_world(folder):
    """Have a world; what the servers were made of and said stays in its folder."""
    world = World(folder)
    try:
        yield world
    finally:
        for address in list(world.servers):
            world.stop(address)
        world.relays.end()


def _free_port():
    """A port that is free for UDP and TCP at every address of the world."""
    addresses = (ROOT, ONE, TWO, RESOLVER, LOCAL, NOBODY)
    for _ in range(100):
        with contextlib.ExitStack() as held:
            stream = held.enter_context(socket.socket())
            stream.bind(("127.0.0.1", 0))
            port = stream.getsockname()[1]
            try:
                for address in addresses:
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        held.enter_context(socket.socket(type=kind)).bind((address, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free at all addresses")
