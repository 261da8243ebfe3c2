"""SIGKILL at random instants: the next `up` converges and the lockfile is readable each time.

A short seeded sample runs in `make test`; `make soak` runs the long form and prints its figures.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import time

import pytest

from autogit.providers.probe import http_status

pytestmark = pytest.mark.integration


def _converges_after_kills(installation, kills, seed):
    """Kill `up` at random moments of a first apply and of changes until `kills` died at work; every next one converges.

    Returns how many were started: those that ended before their moment came do not count.
    """
    dice = random.Random(seed)
    began = time.monotonic()
    installation.run("up")
    longest = time.monotonic() - began
    started = killed = 0
    while killed < kills:
        started += 1
        assert started <= 3 * kills + 10, "most of them ended before their moment came"
        if started % 3 == 0:
            installation.run("down")
        port = None if started % 4 == 0 else installation.lockfile["ports"]["traefik/http"]
        installation.set(SIZE=["minimal", "homelab"][started % 2], HTTP_PORT=port)
        victim = installation.start("up", "--yes")
        time.sleep(dice.uniform(0.02, longest))
        killed += victim.poll() is None
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        lock = installation.root / "autogit.lock.json"
        assert json.loads(lock.read_text())["schema"] == 1
        done = installation.run("up", "--yes", expect=None)
        assert done.returncode == 0, f"turn {started}, seed {seed}: {done.stdout}\n{done.stderr}"
        again = installation.run("up", "--policy", "sync")
        assert "Nothing to do" in again.stdout, f"turn {started}: {again.stdout}"
        assert installation.probe("api.autogit.localhost", "/healthz").status == 200
    return started


def test_up_survives_sigkill_at_a_few_random_instants(installation):
    assert _converges_after_kills(installation, kills=3, seed=1) >= 3


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_up_survives_sigkill_at_fifty_random_instants(installation, capsys):
    started = _converges_after_kills(installation, kills=50, seed=20261124)
    with capsys.disabled():
        print(f"\nSIGKILL of up at 50 random instants of its work: 50 of 50 converged ({started} were started)")
    assert started >= 50


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_each_process_killed_ten_times_is_back_and_healthy(installation, capsys):
    wanted = ["api", *(["prometheus"] if shutil.which("prometheus") else [])]
    installation.set(SERVICES_ENABLED=",".join(wanted))
    installation.run("up")

    def answers(service):
        if service == "prometheus":  # its route asks for a password before it asks Prometheus
            port = installation.lockfile["ports"]["prometheus/http"]
            return http_status("127.0.0.1", port, "/-/ready", timeout_seconds=1.0) == 200
        return installation.probe("api.autogit.localhost", "/readyz").status == 200

    for service in [*wanted, "traefik"]:
        seconds = []
        for _ in range(10):
            pid = installation.process_pid(service)
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            while installation.process_pid(service) in (0, pid) or not answers(service):
                assert time.monotonic() - began < 60, f"{service} did not come back"
                time.sleep(0.02)
            seconds.append(time.monotonic() - began)
            time.sleep(1)
        with capsys.disabled():
            print(f"\n{service}: killed 10 times, back and healthy in {statistics.median(seconds):.2f} s (median), "
                  f"{max(seconds):.2f} s (longest)")  # fmt: skip
    assert installation.json("status")["status"] == "healthy"
