"""The no-op `up` in a few milliseconds: answers only where the full path would find nothing to do.

A full `up` that found everything in sync writes a seal: digests of every input of a plan and of every file that a plan
compares, the programs it found, the processes it saw. A plan is a pure function of those, of the processes' state and
of the clock; so if each of them is unchanged, each process runs and answers, and no certificate has come due, the plan
is still empty. Whatever differs, whatever cannot be read: the full path decides. Only the standard library is
imported here, and little of it (docs/decisions/0003-fast-path-seal.md).
"""

from __future__ import annotations

import os
import sys
from time import perf_counter, time

TYPE_CHECKING = False  # typing's own costs the fast path 5 ms
if TYPE_CHECKING:
    from typing import Any

_STARTED = perf_counter()
_HEALTHY = range(200, 400)
PROBE_SECONDS = 2.0


def try_fast_up(argv: list[str]) -> int | None:
    """Return 0 after saying that nothing is to do; None where the full path must look.

    `argv` are the words after the program's name; only a plain `up` (or `up --yes`) in the project's directory
    qualifies.
    """
    if not argv or argv[0] != "up" or any(word not in ("--yes", "-y") for word in argv[1:]):
        return None
    try:
        resources = sealed_resources(os.getcwd())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if resources is None:
        return None
    elapsed = round((perf_counter() - _STARTED) * 1000)
    sys.stdout.write(f"Nothing to do ({resources} resources in sync, {elapsed} ms).\n")
    return 0


def sealed_resources(root: str, *, here_only: bool = False) -> int | None:
    """Return how many resources are in sync if the seal of the project in `root` still holds, else None.

    What is kept elsewhere (DNS records, things in GitLab) is not sealed: where there is such, only who asks for
    `here_only` gets an answer.
    """
    seal_path = os.path.join(root, ".autogit", "in-sync.json")
    if not os.path.exists(seal_path):
        return None
    import json

    with open(seal_path, encoding="utf-8") as file:
        seal = json.load(file)
    from autogit.providers.programs import find_program

    if (
        (seal["elsewhere"] and not here_only)
        or seal["version"] != _version()
        or seal["python"] != find_program("python")
        or seal["root"] != os.path.realpath(root)
    ):
        return None
    holds = (
        seal["renew_at"] > time() > seal["sealed_at"] - 60
        and seal["host"] == host_signature()
        and seal["environment"] == environment()
        and all(find_program(name) == path for name, path in seal["programs"].items())
        and all(file_digest(path) == digest for path, digest in seal["files"].items())
        and all(tree_digest(path) == digest for path, digest in seal["trees"].items())
        and all(tree_signature(path) == digest for path, digest in seal["installed"].items())
        and not _lock_is_held(os.path.join(root, ".autogit", "apply.lock"))
        and _units_are_well(seal["units"])
    )
    return int(seal["resources"]) if holds else None


def file_digest(path: str) -> str:
    """SHA-256 (hex) of a file's bytes and its permission bits; "absent" where there is no file, `unreadable: ERRNO`."""
    try:
        with open(path, "rb") as file:
            return content_digest(file.read(), os.fstat(file.fileno()).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    except OSError as exc:
        return f"unreadable: {exc.errno}"


def content_digest(data: bytes, mode: int) -> str:
    """Return `file_digest` of a file with these bytes and this `st_mode`."""
    return _sha256(data + b"%o" % mode)


def tree_digest(root: str) -> str:
    """SHA-256 (hex) over everything below a folder, names and contents; of nothing where there is no folder.

    Links are followed, as the catalogue does; an empty folder counts, since it may be a service without descriptor.
    """
    rows: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        rows.append(folder)
        rows += [f"{folder}/{name} {file_digest(f'{folder}/{name}')}" for name in sorted(files)]
    return _sha256("\n".join(rows).encode("utf-8", "surrogateescape"))


def tree_signature(root: str) -> str:
    """SHA-256 (hex) over the names, sizes and moments of change of everything below a folder, but for caches."""
    rows: list[str] = []
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders += [] if entry.name == "__pycache__" else [entry.path]
                else:
                    seen = entry.stat()
                    rows.append(f"{entry.path} {seen.st_size} {seen.st_mtime_ns}")
    return _sha256("\n".join(sorted(rows)).encode("utf-8", "surrogateescape"))


def host_signature() -> str:
    """Cores and memory: what a tier is compared with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')} bytes"


def environment() -> dict[str, str]:
    """Return the environment variables that AutoGit reads."""
    return {name: os.environ.get(name, "") for name in ("AUTOGIT_IDENTITY_FILE", "HOME")}


def _units_are_well(units: dict[str, Any]) -> bool:
    if units["runtime"] == "embedded":
        return _processes_answer(units["socket"], units["processes"])
    return units["runtime"] == "docker" and _containers_are_as_sealed(units)


def _containers_are_as_sealed(units: dict[str, Any]) -> bool:
    from autogit.providers.compute.engine.wire import container_signatures, is_well

    seen = container_signatures(units["socket"], units["api"], units["project"], PROBE_SECONDS)
    if seen != units["containers"] or not all(is_well(signature) for signature in seen.values()):
        return False
    from autogit.providers.probe import http_status

    address, port = units["ingress"]
    return not port or http_status(address, port, "/", timeout_seconds=PROBE_SECONDS) in _HEALTHY


def _processes_answer(socket_path: str, expected: list[list[str | int]]) -> bool:
    from autogit.providers.compute.supervisor_wire import process_states
    from autogit.providers.probe import http_status

    states = process_states(socket_path, PROBE_SECONDS)
    if states is None or sorted(name for name, *_ in states) != sorted(str(row[0]) for row in expected):
        return False
    return all(state == "RUNNING" for _, state, *_ in states) and all(
        http_status("127.0.0.1", int(port), str(path), timeout_seconds=PROBE_SECONDS) in _HEALTHY
        for _, port, path in expected
        if port
    )


def _lock_is_held(path: str) -> bool:
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _sha256(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _version() -> str:
    from autogit import __version__

    return __version__
