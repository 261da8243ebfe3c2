"""Cost of starting: `autogit --help` and a no-op `autogit up` against bare Python and `import typer`, side by side.

Run `make bench`. Commands are timed in turn (A B C A B C ...), so that a machine that grows slower in between slows
all of them; each pair's ratio is taken within its round and the median over the rounds is reported. CPU seconds are
the child's user and system time, wall seconds the parent's clock.
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
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 15
AUTOGIT = str(Path(sys.executable).with_name("autogit"))


def measure(command: Sequence[str], place: Path) -> tuple[float, float]:
    """Run once; return (wall, cpu) in milliseconds. Ends the benchmark where the command fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, cwd=place, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, cpu * 1000


def compare(commands: dict[str, Sequence[str]], place: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Time every command once a round, in turn, after one round that does not count."""
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            taken = measure(command, place)
            if turn:
                figures[name].append(taken)
    return figures


def ratio(figures: dict[str, list[tuple[float, float]]], mine: str, peer: str, column: int) -> float:
    """Median over the rounds of mine/peer."""
    return statistics.median(a[column] / b[column] for a, b in zip(figures[mine], figures[peer], strict=True))


def main() -> None:
    """Set up a platform in a temporary folder, measure, print a table, take it down again."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = options.parse_args().rounds
    place = Path(tempfile.mkdtemp(prefix="autogit-bench-"))
    os.environ["AUTOGIT_IDENTITY_FILE"] = str(place / "identity.txt")
    try:
        subprocess.run([AUTOGIT, "init", "--yes"], cwd=place, check=True, capture_output=True)
        subprocess.run([AUTOGIT, "up"], cwd=place, check=True, capture_output=True)
        figures = compare(
            {
                "python -c pass": [sys.executable, "-c", "pass"],
                "python -c 'import typer'": [sys.executable, "-c", "import typer"],
                "autogit --help": [AUTOGIT, "--help"],
                "autogit up (no-op)": [AUTOGIT, "up"],
                "autogit up (no-op, full path)": [AUTOGIT, "up", "--policy", "sync"],
            },
            place,
            rounds,
        )
    finally:
        subprocess.run([AUTOGIT, "down"], cwd=place, check=False, capture_output=True)
        shutil.rmtree(place)
    print(f"{'command':34}{'wall ms':>10}{'cpu ms':>10}   x bare Python (wall)   x import typer (wall)")
    for name, rows in figures.items():
        wall, cpu = (statistics.median(row[i] for row in rows) for i in (0, 1))
        bare, typer = (ratio(figures, name, peer, 0) for peer in ("python -c pass", "python -c 'import typer'"))
        print(f"{name:34}{wall:>10.1f}{cpu:>10.1f}{bare:>18.2f}{typer:>24.2f}")


if __name__ == "__main__":
    main()
