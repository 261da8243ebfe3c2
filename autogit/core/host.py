"""Facts of this host: measures, listening ports and who holds them; reads only."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from autogit.model.host import CertificateFacts, EngineFacts, HostFacts

_LISTENING = "0A"


def gather_host_facts(
    place: Path,
    *,
    executables: Mapping[str, str],
    certificates: Mapping[str, CertificateFacts],
    secret_fingerprints: Mapping[str, str],
    ports: Mapping[int, str],
) -> HostFacts:
    """Return what a platform is planned with.

    `place` is where data will lie (its file system's free bytes count), `ports` are those that others listen on.
    """
    return HostFacts(
        owner=f"{os.getuid()}:{os.getgid()}",
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        disk_free_bytes=psutil.disk_usage(str(_existing(place))).free,
        executables=executables,
        busy_ports=ports,
        certificates=certificates,
        secret_fingerprints=secret_fingerprints,
    )


def with_engine(facts: HostFacts, engine: EngineFacts) -> HostFacts:
    """Return the facts of a host whose services run in an engine: its measures, and whose its ports are."""
    busy = {port: holder for port, holder in facts.busy_ports.items() if port not in engine.own_ports}
    return replace(
        facts,
        cpus=engine.cpus or facts.cpus,
        memory_bytes=engine.memory_bytes or facts.memory_bytes,
        busy_ports={**busy, **engine.other_ports},
        engine=engine,
    )


def busy_ports(own_pids: Collection[int], own_ports: Collection[int], asked: Collection[int]) -> dict[int, str]:
    """Return each listening TCP port of this host; with its holder only where one is asked for that is not ours.

    Finding the holder means reading every open file of every process, which takes a tenth of a second for a thousand.
    """
    numbers = _listening_numbers()
    if own_pids or not numbers or (numbers - set(own_ports)) & set(asked):
        return listening_ports(own_pids)
    return dict.fromkeys(numbers, "")


def _listening_numbers() -> set[int]:
    """Read the kernel's tables of sockets (proc(5)); none where there are no such tables."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            rows = (line.split() for line in table.read_text(encoding="ascii").splitlines()[1:])
            found |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING}
    return found


def listening_ports(own_pids: Collection[int] = ()) -> dict[int, str]:
    """Return each listening TCP port of this host with its holder (`nginx (pid 812)`, "" where that is not shown)."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS shows sockets to root only; a taken port then shows at start
        return {}
    busy: dict[int, str] = {}
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid not in own_pids:
            busy[connection.laddr.port] = busy.get(connection.laddr.port) or _holder(connection.pid)
    return busy


def _holder(pid: int | None) -> str:
    if pid is None:
        return ""
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def _existing(place: Path) -> Path:
    while not place.exists():
        place = place.parent
    return place
