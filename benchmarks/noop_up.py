"""Cost of an `up` that finds nothing to do: AutoGit's and Docker Compose's, of the same containers, side by side.

Run `python benchmarks/noop_up.py [--sizes 9,50,200] [--rounds 15]` as root. For each size both platforms run at the
same time on one engine; the commands are timed in turn (A B C D A B C D ...). What runs is told in engine_bench.py; its
containers must be the same ones at the end. Health checks of the small services are carried out once an hour, so that
the figures are those of the commands.
"""

from __future__ import annotations

import argparse
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

_CHECKS = Checks(small=3600)
_AUTOGIT = "autogit up"
_FULL = "autogit up --policy sync"
_COMPOSE = "docker compose up -d"
_LOOSE = "the same, no depends_on"


def _measure(engine: Engine, place: Path, sizes: list[int], rounds: int) -> None:
    references = make_images(engine)
    print(head(engine))
    for size in sizes:
        made = make_platform(engine, place / str(size), references, size, _CHECKS)
        run(made.autogit("up", "--yes"), made.ours)
        run(made.compose("up", "-d"), made.ours)
        figures = _compare(made, rounds)
        print(table(f"\n{size} containers, nothing to do, {rounds} rounds", figures, (_COMPOSE, _LOOSE)), flush=True)
        made.remove()


def _compare(made: Platform, rounds: int) -> dict[str, list[Taken]]:
    """Time every command once a round, in turn, after one round that does not count."""
    commands = {
        _AUTOGIT: made.autogit("up"),
        _COMPOSE: made.compose("up", "-d"),
        _LOOSE: made.compose("up", "-d", loose=True),
        _FULL: made.autogit("up", "--policy", "sync"),
    }
    before = made.running(OURS), made.running(PEER)
    figures: dict[str, list[Taken]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            taken = run(command, made.ours)
            if turn:
                figures[name].append(taken)
    if before != (made.running(OURS), made.running(PEER)):
        raise BenchError("an up that had nothing to do changed containers")
    return figures


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", default="9,50,200", help="numbers of containers (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=15)
    asked = options.parse_args()
    main(lambda engine, place: _measure(engine, place, [int(n) for n in asked.sizes.split(",")], asked.rounds))
