"""A `mirror sync` that finds nothing new, against `git remote update` on clones of the same repositories, in one run.

Run `python benchmarks/mirror_sync.py [50 200 1000]`. Repositories are served over smart HTTP by `git http-backend` on
this machine. Each command is a process of its own; the two are timed in turn, and medians are compared.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.git_server import GitServer  # noqa: E402 - beside this folder
from tests.providers.git.conftest import Upstream  # noqa: E402 - the same

_ROUNDS = 5
_SIZES = (50, 200, 1000)


def main() -> None:
    """Time each size and print one line of a table for it."""
    print(
        "| repositories | `autogit mirror sync` | `git remote update`, one after the other | ratio |\n|---|---|---|---|"
    )
    for size in [int(word) for word in sys.argv[1:]] or _SIZES:
        ours, theirs = _compare(size)
        print(f"| {size} | {ours:.2f} s | {theirs:.2f} s | {theirs / ours:.1f} |", flush=True)


def _compare(size: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = _repositories(root / "served", size)
        with GitServer(root / "served") as server:
            sync = _mirror(root, [f"{server.url}/{name}" for name in names])
            clones = _clones(root / "clones", [f"{server.url}/{name}" for name in names])

            def update() -> None:
                for clone in clones:
                    subprocess.run(["git", "-C", clone, "remote", "update"], check=True, capture_output=True)

            times = [(_timed(sync), _timed(update)) for _ in range(_ROUNDS)]
    return statistics.median(one for one, _ in times), statistics.median(two for _, two in times)


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


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
