"""Time to a certificate by DNS-01: AutoGit's issuer and its whole command, certbot and lego, side by side.

Run `python benchmarks/certificates.py [--rounds 7]`. Each orders wildcard and apex of a zone of its own, with a P-256
key, from the same Pebble; the TXT records go to the same BIND by signed updates (RFC 2136). Accounts are there by then,
no authorisation is reused, Pebble looks at once and refuses no nonce. All are timed in turn (A B C D A B C D ...),
after one round that does not count. Afterwards the authority must know what came, and no TXT value may be left.

The rows do not do the same, and do not wait for the same:

- `issuer` is AutoGit's order in this process: key, account, proofs, chain checked. It waits until the zone's server has
  both values, and asks the authority after 0.2, 0.4, 0.8 ... s.
- `autogit certs renew --force` is the process, its plan, that order, the file written, Traefik has read it, and the new
  serial was seen over TLS. It is what `certs issue` does, for a wish that has not changed.
- `certbot certonly --force-renewal` is the process, the order and files. It does not look before the authority does: it
  sleeps for a fixed time, 60 s if it is not told, here 0 (`--dns-rfc2136-propagation-seconds`).
- `lego run` is the process, the order and files. It proves one name after the other, sleeps, asks BIND until that has
  the value, and asks the authority after about 5 s again where that has not decided at once. It sleeps 2 s and 60 s
  between two names if it is not told, here 0 (RFC2136_POLLING_INTERVAL, RFC2136_SEQUENCE_INTERVAL). `--dns.disable-cp`,
  for it would ask the zone's servers on port 53. `lego run, 1 s` is told one second for both.

`--usual` adds one run of each peer with the waits that it has by itself: more than a minute each.

The peers are not installed by `make setup`. They lie below .cache/bench: certbot 5.8.0 with certbot-dns-rfc2136 in the
virtual environment .cache/bench/certbot, and Debian's package of lego unpacked into .cache/bench/lego (`apt-get
download lego && dpkg -x lego_*.deb .`). What is missing is left out, and said.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from cryptography import x509  # noqa: E402 - the paths first

from autogit.model.acme import CertificateRequest  # noqa: E402 - it lies beside this folder
from autogit.providers.dns.patience import PatientDNS  # noqa: E402 - the same
from autogit.providers.dns.rfc2136 import Rfc2136Config, Rfc2136DNS  # noqa: E402 - the same
from autogit.providers.dns.world.lookup import Lookup  # noqa: E402 - the same
from autogit.providers.dns.world.resolvers import LookupConfig  # noqa: E402 - the same
from autogit.providers.ssl.acme_client import AcmeClient  # noqa: E402 - the same
from autogit.providers.ssl.solvers.dns01 import Dns01Solver  # noqa: E402 - the same
from tests.integration.dns_lab import BindZone, project  # noqa: E402 - the same
from tests.providers.dns.bind import bind_server  # noqa: E402 - the same
from tests.providers.dns.installation import context_of  # noqa: E402 - the same
from tests.providers.ssl.pebble import pebble_server  # noqa: E402 - the same
from tests.tools import find_tool  # noqa: E402 - the same

_PEERS = ROOT / ".cache" / "bench"
_CERTBOT = _PEERS / "certbot" / "bin" / "certbot"
_LEGO = _PEERS / "lego" / "usr" / "bin" / "lego"
_ISSUER, _COMMAND, _CERTBOT_ROW = "issuer", "autogit certs renew --force", "certbot certonly --force-renewal"
_LEGO_ROW, _SLOWER_LEGO_ROW = "lego run", "lego run, 1 s"
_ZONES = {
    _ISSUER: "issuer.test",
    _COMMAND: "command.test",
    _CERTBOT_ROW: "certbot.test",
    _LEGO_ROW: "lego.test",
    _SLOWER_LEGO_ROW: "slower.test",
}
_MOST_SECONDS = 300.0
_LAN = "192.168.1.170"

Order = Callable[[], int]
"""Has a certificate issued and returns its serial."""


class BenchError(Exception):
    """The benchmark cannot go on; the message is for a reader."""


def main() -> None:
    """Measure and print a row for each."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7, help="rounds that count (default: %(default)s)")
    options.add_argument("--usual", action="store_true", help="one run of each peer with its own waits, too")
    asked = options.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    try:
        _check()
        with tempfile.TemporaryDirectory(prefix="autogit-bench-") as place, _servers(Path(place)) as lab:
            _measure(lab, asked.rounds, usual=asked.usual)
    except BenchError as exc:
        sys.exit(f"error: {exc}")
    except KeyboardInterrupt:
        sys.exit("stopped: the servers have ended, their folders are removed")


def _check() -> None:
    for tool in ("pebble", "named"):
        if find_tool(tool) is None:
            raise BenchError(f"server missing: {tool} (tests/servers/install fetches it)")


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


class Lab:
    """The authority and the name server that all ask, and a folder for what they keep."""

    def __init__(self, place: Path, pebble: Any, bind: Any) -> None:
        self.place, self.pebble, self.bind = place, pebble, bind
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(place), "LANG": "C.UTF-8"}
        key = bind.key
        self.certbot_file = place / "rfc2136.ini"
        told = {"server": "127.0.0.1", "port": bind.port, "name": key.name, "secret": key.secret}
        told["algorithm"] = key.algorithm.upper()
        self.certbot_file.write_text("".join(f"dns_rfc2136_{name} = {value}\n" for name, value in told.items()))
        self.certbot_file.chmod(0o600)

    def issuer(self, zone: str) -> Order:
        """Return AutoGit's order without its command: everything is made anew each time, as by a command."""
        folder = self.place / "issuer"
        folder.mkdir()
        server = self.pebble.server()

        def order() -> int:
            key = self.bind.key
            told = {"server": self.bind.server, "zones": zone, "key_name": key.name}
            dns = PatientDNS(Rfc2136DNS(context_of(folder), Rfc2136Config(key_secret=key.secret, **told)))
            lookup = Lookup(LookupConfig(servers=(self.bind.server,)))
            solver = Dns01Solver(dns, lookup, state_file=folder / "challenges.json")
            request = CertificateRequest((zone, f"*.{zone}"))
            client = AcmeClient(server, folder / "accounts")
            return int(asyncio.run(client.issue(request, {"dns-01": solver})).serial, 16)

        return order

    def command(self, home: Any, zone: str) -> Order:
        """Return the whole command, of a platform that is up."""
        home.run("up", "--yes")

        def order() -> int:
            home.run("certs", "renew", "--force")
            return _serial(home.root / ".autogit" / "certs" / zone / "live" / "fullchain.pem")

        return order

    def certbot(self, zone: str, seconds: int | None) -> Order:
        """Return certbot's command, told to sleep so many seconds, None: as it comes."""
        folder = self.place / f"certbot-{seconds}"
        words = [str(_CERTBOT), "certonly", "--non-interactive", "--agree-tos", "--register-unsafely-without-email"]
        words += ["--server", self.pebble.directory_url, "--key-type", "ecdsa", "--force-renewal"]
        words += ["--dns-rfc2136", "--dns-rfc2136-credentials", str(self.certbot_file)]
        words += ["--dns-rfc2136-propagation-seconds", str(seconds)] if seconds is not None else []
        for name in ("config", "work", "logs"):
            words += [f"--{name}-dir", str(folder / name)]
        words += ["-d", zone, "-d", f"*.{zone}"]
        environ = {**self.environ, "REQUESTS_CA_BUNDLE": str(self.pebble.ca_file)}

        def order() -> int:
            _run(words, environ)
            return _serial(folder / "config" / "live" / zone / "fullchain.pem")

        return order

    def lego(self, zone: str, seconds: int | None) -> Order:
        """Return lego's command, told to wait so many seconds between two looks and two names, None: as it comes."""
        folder, key = self.place / f"lego-{seconds}", self.bind.key
        words = [str(_LEGO), "--accept-tos", "--email", "me@lego.test", "--server", self.pebble.directory_url]
        words += ["--path", str(folder), "--key-type", "ec256", "--dns", "rfc2136", "--dns.disable-cp"]
        words += ["--dns.resolvers", self.bind.server, "-d", zone, "-d", f"*.{zone}", "run"]
        environ = {
            **self.environ,
            "LEGO_CA_CERTIFICATES": str(self.pebble.ca_file),
            "RFC2136_NAMESERVER": self.bind.server,
            "RFC2136_TSIG_ALGORITHM": f"{key.algorithm}.",
            "RFC2136_TSIG_KEY": key.name,
            "RFC2136_TSIG_SECRET": key.secret,
        }
        if seconds is not None:
            environ |= dict.fromkeys(("RFC2136_POLLING_INTERVAL", "RFC2136_SEQUENCE_INTERVAL"), str(seconds))

        def order() -> int:
            _run(words, environ)
            return _serial(folder / "certificates" / f"{zone}.crt")

        return order


@contextmanager
def _servers(place: Path) -> Iterator[Lab]:
    zones: dict[str, list[str]] = {name: [] for name in _ZONES.values()}
    with (
        bind_server(place / "bind", zones, recursion=True) as bind,
        pebble_server(place / "pebble", dns=bind.server) as pebble,
    ):
        yield Lab(place, pebble, bind)


def _measure(lab: Lab, rounds: int, *, usual: bool) -> None:
    told = {"CERT_ISSUER": lab.pebble.directory_url, "ACME_CA_FILE": lab.pebble.ca_file, "INGRESS_IP": _LAN}
    with project(BindZone(lab.bind, _ZONES[_COMMAND]), **told) as home:
        orders: dict[str, Order] = {
            _ISSUER: lab.issuer(_ZONES[_ISSUER]),
            _COMMAND: lab.command(home, _ZONES[_COMMAND]),
        }
        if _CERTBOT.is_file():
            orders[_CERTBOT_ROW] = lab.certbot(_ZONES[_CERTBOT_ROW], 0)
        if _LEGO.is_file():
            orders[_LEGO_ROW] = lab.lego(_ZONES[_LEGO_ROW], 0)
            orders[_SLOWER_LEGO_ROW] = lab.lego(_ZONES[_SLOWER_LEGO_ROW], 1)
        print(_head(rounds), flush=True)
        for name in (_CERTBOT_ROW, _LEGO_ROW):
            if name not in orders:
                print(f"{name}: left out, it is not below {_PEERS} (see --help)", flush=True)
        print(_table(_compare(lab, orders, rounds)), flush=True)
    peers: dict[str, Order] = {
        _CERTBOT_ROW: lab.certbot(_ZONES[_CERTBOT_ROW], None),
        _LEGO_ROW: lab.lego(_ZONES[_LEGO_ROW], None),
    }
    for name in [name for name in peers if usual and name in orders]:
        seconds, _ = _timed(lab, _ZONES[name], peers[name])
        print(f"{name}, with its own waits: {seconds:.1f} s", flush=True)


def _compare(lab: Lab, orders: Mapping[str, Order], rounds: int) -> dict[str, list[float]]:
    """Have each order once a round, in turn, after one round that does not count; seconds."""
    figures: dict[str, list[float]] = {name: [] for name in orders}
    serials: set[int] = set()
    for turn in range(rounds + 1):
        for name, order in orders.items():
            seconds, serial = _timed(lab, _ZONES[name], order)
            if serial in serials:
                raise BenchError(f"{name}: that is a certificate of before")
            serials.add(serial)
            if turn:
                figures[name].append(seconds)
    return figures


def _timed(lab: Lab, zone: str, order: Order) -> tuple[float, int]:
    """Return how long an order took and the serial of what came; it is valid, and no TXT value is left."""
    began = time.perf_counter()
    serial = order()
    seconds = time.perf_counter() - began
    if lab.pebble.status_of(f"{serial:x}")["Status"] != "Valid":
        raise BenchError(f"{zone}: the authority does not know what came")
    if left := lab.bind.values(f"_acme-challenge.{zone}", "TXT"):
        raise BenchError(f"{zone}: left in the zone: {left}")
    return seconds, serial


def _serial(file: Path) -> int:
    return x509.load_pem_x509_certificates(file.read_bytes())[0].serial_number


def _run(words: list[str], environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        words,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MOST_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{words[0]}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")


def _head(rounds: int) -> str:
    certbot, lego = (_version(program) for program in (_CERTBOT, _LEGO))
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{where}; {certbot}; {lego}\nwildcard and apex by dns-01, {rounds} rounds, median (min, max)"


def _version(program: Path) -> str:
    if not program.is_file():
        return f"no {program.name}"
    if package := next(program.parents[2].glob(f"{program.name}_*.deb"), None):
        return f"{program.name} {package.name.split('_')[1]}"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _table(figures: Mapping[str, list[float]]) -> str:
    """Return a row for each; ratios are taken within a round, their median counts."""
    peers = [name for name in (_CERTBOT_ROW, _LEGO_ROW, _SLOWER_LEGO_ROW) if name in figures]
    wide = max(map(len, figures))
    lines = [f"{'':{wide}}{'seconds':>22}" + "".join(f"  {'x ' + peer.split(' -')[0]:>20}" for peer in peers)]
    for name, taken in figures.items():
        cells = f"{statistics.median(taken):.2f} ({min(taken):.2f}, {max(taken):.2f})"
        ratios = (statistics.median(a / b for a, b in zip(taken, figures[peer], strict=True)) for peer in peers)
        lines.append(f"{name:{wide}}{cells:>22}" + "".join(f"  {one:>20.2f}" for one in ratios))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
