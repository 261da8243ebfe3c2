"""A `mirror sync` that finds nothing new, against `git remote update` on clones of the same repositories, in one run.

Run `python benchmarks/mirror_sync.py [50 200 1000] [--round-trip-ms 0 30]`. Repositories are served over smart HTTP by
`git http-backend` on this machine. Each command is a process of its own; the two are timed in turn, and medians are
compared: by the clock, and by the processors' time of both ends. With a round trip both sides go through the same relay
(relay.py), which makes them wait as a network would.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.relay import Relay  # noqa: E402 - beside this file
from tests.git_server import GitServer  # noqa: E402 - beside this folder
from tests.providers.git.conftest import Upstream  # noqa: E402 - the same

_SIZES = (50, 200, 1000)
_TRIPS = (0, 30)
_LARGE = 1000


def main() -> None:
    """Time each size at each round trip and print one line of a table for it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("sizes", nargs="*", type=int, default=_SIZES)
    options.add_argument("--round-trip-ms", nargs="+", type=int, default=_TRIPS)
    asked = options.parse_args()
    print(
        "| round trip | repositories | `autogit mirror sync` | `git remote update`, one after the other | ratio "
        "| CPU | CPU | ratio | rounds | load |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for size in asked.sizes:
        for line in _lines(size, asked.round_trip_ms):
            print(line, flush=True)


def _lines(size: int, trips: Iterable[int]) -> Iterator[str]:
    """Mirror and clone once, without any wait, and yield what doing it again takes at each round trip."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = _repositories(root / "served", size)
        with GitServer(root / "served") as server, Relay(urlsplit(server.url).port or 0) as relay:
            place = {0: server.url}
            place.update({trip: f"http://127.0.0.1:{relay.port}" for trip in trips if trip})
            clones = _clones(root / "clones", [f"{server.url}/{name}" for name in names])
            for trip in trips:
                urls = [f"{place[trip]}/{name}" for name in names]
                relay.round_trip_seconds = 0.0
                (root / str(trip)).mkdir()
                sync = _mirror(root / str(trip), urls)
                for clone, url in zip(clones, urls, strict=True):
                    subprocess.run(["git", "-C", clone, "remote", "set-url", "origin", url], check=True)
                relay.round_trip_seconds = trip / 1000
                yield _line(size, trip, sync, clones)


def _line(size: int, trip: int, sync: Callable[[], None], clones: Sequence[Path]) -> str:
    def update() -> None:
        for clone in clones:
            subprocess.run(["git", "-C", clone, "remote", "update"], check=True, capture_output=True)

    rounds = 5 if size < _LARGE and not trip else 3 if size < _LARGE or not trip else 1
    times = [(_timed(sync), _timed(update)) for _ in range(rounds)]
    wall, cpu = (tuple(statistics.median(one[side][kind] for one in times) for side in (0, 1)) for kind in (0, 1))
    figures = " | ".join(f"{ours:.2f} s | {theirs:.2f} s | {theirs / ours:.1f}" for ours, theirs in (wall, cpu))
    return f"| {trip} ms | {size} | {figures} | {rounds} | {os.getloadavg()[0]:.1f} |"


def _repositories(root: Path, size: int) -> list[str]:
    """Make repositories of a hundred refs each; all but the first are copies of it."""
    first = Upstream(root / "r0.git")
    commit = first.commit("first")
    for number in range(100):
        first.ref(f"refs/heads/b{number}", commit := first.commit(f"number {number}", commit))
    first.ref("refs/heads/main", commit)
    first.git("pack-refs", "--all")
    for number in range(1, size):
        shutil.copytree(first.path, root / f"r{number}.git")
    return [f"r{number}.git" for number in range(size)]


def _mirror(root: Path, urls: list[str]) -> Callable[[], None]:
    """Mirror all of them once, and return what does it again."""
    project = root / "project"
    project.mkdir()
    environment = {**os.environ, "AUTOGIT_IDENTITY_FILE": str(root / "identity.txt")}
    (project / ".env").write_text("RUNTIME=embedded\n")
    rules = [f"- {{name: m{number}, kind: git, owner: '{url}'}}" for number, url in enumerate(urls)]
    (project / "mirrors.yml").write_text("\n".join(["mirrors:", *rules, ""]))

    def sync() -> None:
        words = [sys.executable, "-m", "autogit", "mirror", "sync", "--quiet"]
        subprocess.run(words, cwd=project, env=environment, check=True, capture_output=True)

    sync()
    return sync


def _clones(root: Path, urls: list[str]) -> list[Path]:
    root.mkdir()
    for number, url in enumerate(urls):
        subprocess.run(["git", "clone", "--mirror", "--quiet", url, root / f"c{number}.git"], check=True)
    return [root / f"c{number}.git" for number in range(len(urls))]


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that it took, and those of all processors: its own, the server's and the relay's."""
    started, used = time.perf_counter(), _used()
    work()
    return time.perf_counter() - started, _used() - used


def _used() -> float:
    whose = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in whose)


if __name__ == "__main__":
    main()
