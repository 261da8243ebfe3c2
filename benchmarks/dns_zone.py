"""Cost of a plan that changes nothing in a DNS zone that holds thousands of records of others, by kind of provider.

Run `python benchmarks/dns_zone.py [--records 5000] [--rounds 5] [--only NAME,NAME]`. Each provider gets a zone with so
many sets of others and five of AutoGit's: two wildcards, two addresses of the apex and of ssh, a CAA. `plan` is what
`autogit plan` does about DNS: read the lockfile, ask for the zones, read the zone, tell whose each record is, compare.
It is asserted to find nothing to do. `list` is the bare reading under it, `list_records(zone)` of the same provider,
which is also the least that any program needs that compares with the zone as a whole. Both are timed in turn (A B A B
...), after one round that does not count; the libraries are loaded and connections open by then.

The backends are stand-ins and servers on loopback (BIND and dnsmasq the real ones, Route 53 moto's), in a process of
their own: `wall` has their time too, and says little about what a vendor takes; `cpu` is this process alone. `requests`
are those of one plan by a process of its own, so one for a token is among them; tests/providers/dns/test_calls.py holds
them. `peak` is what Python allocates in this process while one plan is made, at most, above what was there before; it
is taken in a round that is not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from autogit.model.dns import RecordSet, normal_name, record_set  # noqa: E402 - it lies beside this folder
from autogit.providers.dns.base import DNSProvider  # noqa: E402 - the same
from autogit.providers.dns.memory import MemoryConfig, MemoryDNS  # noqa: E402 - the same
from autogit.providers.dns.patience import PatientDNS  # noqa: E402 - the same
from autogit.providers.dns.presentation import normal_value  # noqa: E402 - the same
from autogit.providers.registry import provider_class  # noqa: E402 - the same
from tests.providers.dns import test_calls as calls  # noqa: E402 - the same
from tests.providers.dns.installation import Installation, context_of  # noqa: E402 - the same
from tests.tools import find_tool  # noqa: E402 - the same

_NAMES = ("memory", *calls.BACKENDS)
_TOOLS = {"rfc2136": "named", "dnsmasq": "dnsmasq"}
_START_SECONDS = 300.0
_LOOPBACK = "127.0.0.1"
_WITHOUT_FRACTION = 10

Provider = DNSProvider[Any]
Taken = tuple[float, float]
"""What something took: wall and CPU, in milliseconds."""


class BenchError(Exception):
    """The benchmark cannot go on; the message is for a reader."""


@dataclass(frozen=True)
class Backend:
    """Makes providers of a zone: for timing, and so that requests are counted; `asked` counts them since the last."""

    make: Callable[[], Provider]
    make_counted: Callable[[], Provider]
    asked: Callable[[], int]


@dataclass(frozen=True)
class Figures:
    """Of one provider; the peak is in bytes."""

    plan: list[Taken]
    bare: list[Taken]
    peak: int
    requests: int


def main() -> None:
    """Measure one provider after the other and print a row of each."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=5000, help="sets of others (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=5, help="rounds that count (default: %(default)s)")
    options.add_argument("--only", default=",".join(_NAMES), help="providers, separated by commas (default: all)")
    asked = options.parse_args()
    names = asked.only.split(",")
    signal.signal(signal.SIGTERM, _stop)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = _LOOPBACK
    try:
        _check(names, asked.records, asked.rounds)
        print(_head(asked.records, asked.rounds), flush=True)
        for name in names:
            print(_row(name, _measured(name, asked.records, asked.rounds)), flush=True)
    except BenchError as exc:
        sys.exit(f"error: {exc}")
    except KeyboardInterrupt:
        sys.exit("stopped: the servers have ended, their folders are removed")


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _check(names: list[str], records: int, rounds: int) -> None:
    for name in names:
        if name not in _NAMES:
            raise BenchError(f"there is no provider {name!r} here, only {', '.join(_NAMES)}")
        if name in _TOOLS and find_tool(_TOOLS[name]) is None:
            raise BenchError(f"server missing: {_TOOLS[name]} (tests/servers/install fetches it)")
    if records < 0 or rounds < 1:
        raise BenchError("--records is 0 or more, --rounds 1 or more")


def _measured(name: str, records: int, rounds: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="autogit-bench-") as place, _backend(name, Path(place), records) as backend:
        folder = Path(place)
        provider = backend.make()
        result = Installation(folder, provider).up(calls.SETS)
        if result.failed:
            raise BenchError(f"{name}: {result.failed[0].error}")
        zone = asyncio.run(provider.list_zones())[0]

        def plan() -> None:
            _plan(folder, provider)

        def bare() -> None:
            found = asyncio.run(provider.list_records(zone))
            if len(found) < records + len(calls.SETS):
                raise BenchError(f"{name}: the list has {len(found)} sets, which is too few")

        taken = [(_timed(plan), _timed(bare)) for _ in range(rounds + 1)][1:]
        peak = _peak(plan)
        backend.asked()
        _plan(folder, backend.make_counted())
        return Figures([one for one, _ in taken], [one for _, one in taken], peak, backend.asked())


def _plan(folder: Path, provider: Provider) -> None:
    """Make a plan that must find nothing to do."""
    plan = Installation(folder, provider).plan(calls.SETS)
    if plan.pending or plan.held or len(plan.changes) != len(calls.SETS):
        raise BenchError(f"{provider.provider_name}: the plan is to change something: {plan.changes}")


def _timed(work: Callable[[], None]) -> Taken:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def _peak(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@contextmanager
def _backend(name: str, place: Path, records: int) -> Iterator[Backend]:
    """Have a zone full of others' sets; what serves it ends with the block."""
    if name == "memory":
        provider = PatientDNS(_memory(place, records))
        yield Backend(lambda: provider, lambda: provider, lambda: 0)
        return
    many = multiprocessing.get_context("spawn")  # a fork would have the threads of the former backend's client
    ours, theirs = many.Pipe()
    process = many.Process(target=_serve, args=(name, place, records, theirs))
    process.start()
    theirs.close()
    try:
        settings, unwatched = _told(ours, name)

        def asked() -> int:
            ours.send("asked")
            return int(_told(ours, name))

        yield Backend(lambda: _made(name, place, settings | unwatched), lambda: _made(name, place, settings), asked)
    finally:
        ours.close()  # that ends it
        process.join(60)
        if process.is_alive():
            process.terminate()


def _told(link: Connection, name: str) -> Any:
    try:
        if link.poll(_START_SECONDS):
            return link.recv()
    except EOFError as exc:
        raise BenchError(f"{name}: what serves it has ended, see above") from exc
    raise BenchError(f"{name}: nothing serves it after {_START_SECONDS:.0f} s")


def _serve(name: str, place: Path, records: int, link: Connection) -> None:
    """Serve a zone in a process of its own until the other end of the link is closed; count requests for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes here too, and the other end ends this in good order
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell every request
    with suppress(EOFError, OSError), calls.BACKENDS[name](place, records) as served:
        link.send((dict(served.settings), dict(served.unwatched)))
        while True:
            link.recv()
            link.send(sum(one != "connection" for one in served.asked()))


def _made(name: str, place: Path, settings: dict[str, Any]) -> Provider:
    kind = provider_class("dns", name)
    return PatientDNS(kind(context_of(place), kind.Config(**settings)))


def _memory(place: Path, records: int) -> MemoryDNS:
    made = MemoryDNS(context_of(place), MemoryConfig(zones=(calls.ZONE,)))
    kept = made._zones[calls.ZONE]  # noqa: SLF001 - `create_record` looks at every other name each time
    for name, kind, value in calls.sets_of_others(records):
        one = RecordSet(record_set(name, kind, 0, []).key, 300, (normal_value(kind, value, normal_name),))
        kept[one.key] = one
    return made


def _head(records: int, rounds: int) -> str:
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    what = f"{records} sets of others, {len(calls.SETS)} of AutoGit's, {rounds} rounds, median (min)"
    columns = f"{'':12}{'plan: wall ms':>16}{'cpu ms':>16}{'list: wall ms':>16}{'cpu ms':>16}"
    return f"{where}\n{what}\n\n{columns}{'x wall':>8}{'x cpu':>8}{'peak MiB':>10}{'requests':>10}"


def _row(name: str, figures: Figures) -> str:
    cells = ""
    for rows in (figures.plan, figures.bare):
        for column in (0, 1):
            values = [row[column] for row in rows]
            cells += f"{f'{_short(statistics.median(values))} ({_short(min(values))})':>16}"
    for column in (0, 1):
        plan, bare = (statistics.median(row[column] for row in rows) for rows in (figures.plan, figures.bare))
        cells += f"{plan / bare:>8.2f}"
    return f"{name:12}{cells}{figures.peak / 2**20:>10.1f}{figures.requests:>10}"


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= _WITHOUT_FRACTION else f"{milliseconds:.1f}"


if __name__ == "__main__":
    main()
