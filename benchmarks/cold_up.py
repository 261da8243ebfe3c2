"""Cost of an `up` that creates everything: AutoGit's and Docker Compose's, of the same containers, side by side.

Run `python benchmarks/cold_up.py [--rounds 7] [--containers 9] [--intervals 15,1]` as root. In each round every tool
makes the platform of engine_bench.py from nothing (networks, volumes, containers; the images are on the engine) and
removes it again, volumes included, which is not timed. Only one of the platforms is there at a time.

The rows do not do the same: `up -d` returns when the containers are started, `up -d --wait` when the engine calls each
healthy, `autogit up` when each has passed its health check and every public route has answered over HTTPS. AutoGit
makes the certificate and its configuration files too (`down --purge` removes them), the peer's are made beforehand.

An engine's own first health check comes one interval after the start, and Compose waits for the socket proxy's before
it starts Traefik. So those two have an interval of one second here, the shortest that there is, and not the 15 of the
catalogue. `--intervals` are those of the small services: 15 s as in the catalogue, which `--wait` has to wait for, and
1 s, with which the checks themselves take a part of the machine from everybody. One table each.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from engine_bench import (
    OURS,
    PEER,
    BenchError,
    Checks,
    Engine,
    Platform,
    Taken,
    head,
    main,
    make_images,
    make_platform,
    run,
    table,
)

_SETTLE_SECONDS = 0.5
_AUTOGIT = "autogit up"
_COMPOSE = "docker compose up -d"
_WAIT = "up -d --wait"
_LOOSE = "up -d, no depends_on"


def _measure(engine: Engine, place: Path, asked: argparse.Namespace) -> None:
    references = make_images(engine)
    print(head(engine))
    for seconds in asked.intervals.split(","):
        checks = Checks(small=int(seconds), ingress=1)
        made = make_platform(engine, place / seconds, references, asked.containers, checks)
        title = f"\n{asked.containers} containers from nothing, checked every {seconds} s, {asked.rounds} rounds"
        print(table(title, _compare(made, asked), (_COMPOSE, _WAIT, _LOOSE)), flush=True)


def _compare(made: Platform, asked: argparse.Namespace) -> dict[str, list[Taken]]:
    """Time every command once a round, in turn, after one round that does not count."""
    away = made.compose("down", "--volumes")
    commands = {
        _AUTOGIT: (made.autogit("up", "--yes"), OURS, made.autogit("down", "--purge", "--confirm", OURS)),
        _COMPOSE: (made.compose("up", "-d"), PEER, away),
        _WAIT: (made.compose("up", "-d", "--wait"), PEER, away),
        _LOOSE: (made.compose("up", "-d", loose=True), PEER, away),
    }
    figures: dict[str, list[Taken]] = {name: [] for name in commands}
    for turn in range(asked.rounds + 1):
        for name, (up, project, down) in commands.items():
            taken = run(up, made.ours)
            if len(made.running(project)) != asked.containers:
                raise BenchError(f"{' '.join(up)}: not every container runs")
            run(down, made.ours)
            time.sleep(_SETTLE_SECONDS)  # the engine still tidies up
            if turn:
                figures[name].append(taken)
    return figures


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--containers", type=int, default=9)
    options.add_argument("--intervals", default="15,1", help="seconds between health checks (default: %(default)s)")
    asked_for = options.parse_args()
    main(lambda engine, place: _measure(engine, place, asked_for))
