"""A real BIND 9 on a random port of 127.0.0.1: primary of zones that signed updates may change, asking nobody else."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from tests.providers.dns.dnsmasq_server import free_port
from tests.tools import require_tool

_SETTLE_SECONDS = 20.0
_ZONE_HEAD = """\
$TTL 300
@ IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 60
@ IN NS ns.{zone}.
ns IN A 127.0.0.1
"""
_ROOT = "$TTL 300\n@ IN SOA localhost. root.localhost. 1 3600 600 86400 60\n@ IN NS localhost.\n"


@dataclass(frozen=True)
class TsigKey:
    """A key of the server, its secret in base64."""

    name: str = "autogit"
    algorithm: str = "hmac-sha256"
    secret: str = field(default_factory=lambda: base64.b64encode(os.urandom(32)).decode(), repr=False)

    def statement(self):
        return f'key "{self.name}" {{ algorithm {self.algorithm}; secret "{self.secret}"; }};'


class BindServer:
    """What it is told; nothing runs before `start`.

    `zones` are zone lines by zone name, below an SOA, an NS and its address. `key` may change and transfer all zones;
    `others` are keys that it knows and that may do nothing. `policies` are `update-policy` rules in the place of the
    usual one, by zone; `zone_options` further statements, by zone. `root`: whether it keeps an empty "." itself, so
    that nothing is asked elsewhere; `recursion`: whether it resolves for clients.
    """

    def __init__(
        self,
        folder: Path,
        zones: Mapping[str, Sequence[str]],
        *,
        key: TsigKey | None = None,
        others: Sequence[TsigKey] = (),
        policies: Mapping[str, str] | None = None,
        zone_options: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        recursion: bool = False,
        transfers: bool = True,
        root: bool = True,
    ) -> None:
        self.folder = folder
        self.key = key or TsigKey()
        self.others = tuple(others)
        self.port = free_port()
        self.zones = dict(zones)
        self.policies = dict(policies or {})
        self.zone_options = dict(zone_options or {})
        self.options = tuple(options)
        self.recursion, self.transfers, self.root = recursion, transfers, root
        self.program = require_tool("named")
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for zone, lines in self.zones.items():
            self.zone_file(zone).write_text("\n".join([_ZONE_HEAD.format(zone=zone), *lines, ""]))
        (folder / "root.db").write_text(_ROOT)
        self.configure()

    @property
    def server(self):
        return f"127.0.0.1:{self.port}"

    @property
    def log(self):
        """What it said so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def zone_file(self, zone):
        return self.folder / f"{zone}.db"

    def configure(self):
        """Write its configuration; what changed counts from the next start."""
        self._config.write_text("\n".join([*self._global_lines(), *map(self._zone_line, self.zones), ""]))

    def start(self):
        """Start it on its port and its data, and wait until every zone is loaded. Harmless where it runs."""
        if self._process is not None:
            return
        before = len(self.log)
        command = [self.program, "-g", "-n", "1", "-c", str(self._config)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            # It answers before it has loaded them, with SERVFAIL.
            if "all zones loaded" in self.log[before:] and self._answers():
                return
            time.sleep(0.01)
        said = self.log[before:]
        self.stop()
        raise AssertionError(f"named does not answer:\n{said[-3000:]}")

    def stop(self):
        """End it; what was changed is in its journals. Harmless where it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_SETTLE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_SETTLE_SECONDS)
        self._process = None

    def query(self, name, kind, *, timeout=5.0):
        """The response to a question, asked as a stub resolver does."""
        question = dns.message.make_query(name, kind)
        return dns.query.udp_with_fallback(question, "127.0.0.1", timeout, self.port)[0]

    def values(self, name, kind):
        """What is answered for a name and type, the texts of a zone file, sorted."""
        wanted = dns.rdatatype.from_text(kind)
        return sorted(r.to_text() for rrset in self.query(name, kind).answer for r in rrset if rrset.rdtype == wanted)

    def serial(self, zone):
        """The serial of a zone: it grows with each change."""
        return self.query(zone, "SOA").answer[0][0].serial

    def _answers(self):
        with contextlib.suppress(dns.exception.DNSException, OSError):
            return bool(self.query(next(iter(self.zones), "."), "SOA", timeout=0.1))
        return False

    @property
    def _config(self):
        return self.folder / "named.conf"

    def _global_lines(self):
        yield from (key.statement() for key in (self.key, *self.others))
        yield "controls {};"
        yield "options {"
        yield f'directory "{self.folder}"; pid-file "{self.folder}/pid"; session-keyfile "{self.folder}/session.key";'
        yield f'managed-keys-directory "{self.folder}"; lock-file none;'
        yield f"listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};"
        yield f"recursion {'yes' if self.recursion else 'no'}; dnssec-validation no; empty-zones-enable no;"
        yield "notify no; querylog no; server-id none; version none; hostname none;"
        yield from self.options
        yield "};"
        if self.root:
            yield f'zone "." {{ type primary; file "{self.folder}/root.db"; notify no; }};'

    def _zone_line(self, zone):
        policy = self.policies.get(zone, f'grant "{self.key.name}" zonesub ANY;')
        transfer = f'key "{self.key.name}";' if self.transfers else "none;"
        return (
            f'zone "{zone}" {{ type primary; file "{self.zone_file(zone)}"; update-policy {{ {policy} }}; '
            f"allow-transfer {{ {transfer} }}; {self.zone_options.get(zone, '')} }};"
        )


@contextlib.contextmanager
def bind_server(folder, zones, **told):
    """Run one; what it was made of stays in its folder."""
    server = BindServer(folder, zones, **told)
    try:
        server.start()
        yield server
    finally:
        server.stop()
