"""What the tests of healing share: a platform, its healer as a process of its own, faults, and how to tell the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.docker.platform import ROUTED, SERVICE, VOLUME, eventually, platform_of
from tests.engine import EngineError

_CHECK = '["CMD", "/usr/bin/loki", "-health"]'
_TOUCHY = """["CMD-SHELL", "[ ! -e /tmp/hangs ] || sleep 1000; [ ! -e /tmp/sick ] && exec /usr/bin/loki -health"]"""
TOUCHY = SERVICE.replace(_CHECK, _TOUCHY).replace("retries: 2", "retries: 2\n      timeout_seconds: 4")
"""A service whose health check fails, or never ends, once there is a file; a restart takes that away."""

SERVICES = ("cadvisor", "node-exporter", "prometheus", "socket-proxy", "store", "traefik", "web")

_HOG = """
import os, sys
pid, place = sys.argv[1:]
with open(f"/proc/{pid}/oom_score_adj", "w") as file:
    file.write("1000")
with open(place, "w") as file:
    file.write(str(os.getpid()))
# What lies in memory belongs to no process: the kernel ends the one that it was told to.
with os.fdopen(os.memfd_create("hog"), "wb", buffering=0) as memory:
    while os.path.exists(f"/proc/{pid}"):
        memory.write(bytes(262144))
"""
"""Takes memory in the control group of a process until the kernel has ended that one."""


@contextmanager
def healing_platform(engine, images):
    """A platform of seven services that is up: an ingress, metrics, one with a route, one with data."""
    with platform_of(engine, images, "prometheus", "web", "store") as one:
        one.add_cadvisor()
        one.add("web", TOUCHY, ROUTED)
        one.add("store", TOUCHY, VOLUME)
        one.up()
        yield one


class Watch:
    """`autogit reconcile --watch` of a platform."""

    def __init__(self, platform, interval=60.0, name="watch"):
        self.log = platform.folder / f"{name}.log"
        self.errors = platform.folder / f"{name}.err"
        words = platform.command("reconcile", "--watch", "--interval", str(interval), "--format", "json")
        # An unclosed socket is no fault of a process that goes on: the next collection of garbage closes it.
        environ = platform.environ | {"PYTHONWARNINGS": "error,ignore::ResourceWarning"}
        with self.log.open("w") as log, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                words, cwd=platform.root, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=errors
            )
        assert eventually(self.log.read_text, 40), f"it has not looked: {self.errors.read_text()}"

    def turns(self):
        """The views that it wrote so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def said(self):
        return [message for turn in self.turns() for message in turn["messages"]]

    def end(self):
        """End it at once, and show what it said: pytest prints that where a test has failed."""
        self.process.kill()
        self.process.wait()
        self.show()

    def show(self):
        for turn in self.turns()[-8:]:
            states = " ".join(f"{s['service']}={s['state']}" for s in turn["services"] if s["state"] != "healthy")
            print(
                states, *(f"{r['address']} {r['reason']}: {r['message']}" for r in turn["repairs"]), *turn["messages"]
            )
        print(self.errors.read_text())

    def stop(self):
        """End it as a service manager would; it ends well and soon."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        errors = self.errors.read_text()
        for word in ("Traceback", "unexpected:", "Exception ignored"):
            assert word not in errors, errors
        assert code == 0, f"exit code {code}\n{errors}"


@contextmanager
def watching(platform, interval=60.0, name="watch"):
    """Have a platform healed meanwhile."""
    watch = Watch(platform, interval, name)
    try:
        yield watch
    except BaseException:
        watch.end()
        raise
    watch.stop()


def audit(platform):
    """The lines of the audit log that healing wrote."""
    lines = (platform.root / ".autogit" / "audit.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["command"] == "reconcile"]


def repairs(platform, service=None):
    """What was done to containers, or to that of one service."""
    address = f"container/{service}" if service else "container/"
    return [row for row in audit(platform) if row.get("address", "").startswith(address)]


def remembered(platform):
    """What healing remembers of each service."""
    return json.loads((platform.root / ".autogit" / "health.json").read_text())["services"]


def forget(platform):
    """Have healing remember nothing: a test's faults are not those of the one before."""
    (platform.root / ".autogit" / "health.json").unlink(missing_ok=True)


def let_time_pass(platform, service, seconds):
    """Have healing remember everything of a service as of earlier."""

    def earlier(text):
        return (datetime.fromisoformat(text) - timedelta(seconds=seconds)).isoformat() if text else text

    path = platform.root / ".autogit" / "health.json"
    whole = json.loads(path.read_text())
    health = whole["services"][service]
    health |= {name: earlier(health[name]) for name in ("since", "next_try_at", "opened_at")}
    path.write_text(json.dumps(whole))


# What is there


def shape(platform):
    """Everything of the platform's containers that a fault changes and a repair brings back, by their names."""
    return {name: _shape(platform, raw) for name, raw in platform.containers().items()}


def _shape(platform, raw):
    state, config, host = raw["State"], raw["Config"], raw["HostConfig"]
    own = {raw["Id"][:12]}
    return {
        "state": state["Status"],
        "sick": (state.get("Health") or {}).get("Status") == "unhealthy" and not _passes(platform, raw),
        "image": raw["Image"],
        "hash": config["Labels"]["autogit.hash"],
        "memory": host["Memory"],
        "networks": {n: sorted(set(e["Aliases"] or ()) - own) for n, e in raw["NetworkSettings"]["Networks"].items()},
        "mounts": sorted(m["Name"] for m in raw["Mounts"] if m["Type"] == "volume"),
    }


def _passes(platform, raw):
    """Whether a container's own check passes now: after a pause the engine's verdict is an old one for a while."""
    kind, *test = raw["Config"]["Healthcheck"]["Test"]
    words = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
    with suppress(EngineError, subprocess.TimeoutExpired):
        platform.engine.docker("exec", raw["Id"], *words, timeout=3)
        return True
    return False


def answers(platform):
    """Whether both routes answer as they should."""
    try:
        return platform.get("web").status == 200 and platform.get("prometheus", "/-/ready").status == 401
    except OSError:
        return False


def is_as(platform, wanted):
    """Whether the platform is as it was, and answers."""
    try:
        return shape(platform) == wanted and answers(platform)
    except (EngineError, OSError):
        return False  # one was removed while it was looked at, or the engine is down


def await_healed(platform, wanted, seconds=60):
    """Wait until the platform is as it was; return how long that took."""
    began = time.monotonic()
    if not eventually(lambda: is_as(platform, wanted), seconds):
        now = shape(platform)
        names = sorted(n for n in {*now, *wanted} if now.get(n) != wanted.get(n))
        differs = "\n".join(f"{n}: {now.get(n)}\n  and was {wanted.get(n)}" for n in names)
        pytest.fail(f"not healed in {seconds} s (routes answer: {answers(platform)})\n{differs}")
    return time.monotonic() - began


def write_marker(platform, service="store", text="kept"):
    """Write something into a service's volume."""
    platform.engine.docker("exec", f"{platform.name}-{service}-1", "sh", "-c", f"echo {text} >/loki/marker")


def read_marker(platform, service="store"):
    return platform.engine.docker("exec", f"{platform.name}-{service}-1", "cat", "/loki/marker").strip()


def volumes_made(platform):
    """When each volume was made."""
    return {v: platform.engine.api("GET", f"/volumes/{v}")["CreatedAt"] for v in platform.volumes()}


# Faults


def kill(platform, service, _dice=None):
    platform.engine.docker("kill", f"{platform.name}-{service}-1")


def stop(platform, service, _dice=None):
    platform.engine.docker("stop", "--time=2", f"{platform.name}-{service}-1")


def remove(platform, service, _dice=None):
    platform.engine.docker("rm", "--force", f"{platform.name}-{service}-1")


def pause(platform, service, _dice=None):
    platform.engine.docker("pause", f"{platform.name}-{service}-1")


def disconnect(platform, service, dice=None):
    networks = sorted(platform.container(service)["NetworkSettings"]["Networks"])
    chosen = dice.choice(networks) if dice else networks[0]
    platform.engine.docker("network", "disconnect", chosen, f"{platform.name}-{service}-1")


def make_sick(platform, service, _dice=None):
    """Have its health check fail; the engine calls it unhealthy a moment later."""
    platform.engine.docker("exec", f"{platform.name}-{service}-1", "touch", "/tmp/sick")


def exhaust(platform, service, _dice=None):
    """Have the kernel end it for want of memory; the engine knows why."""
    before = platform.container(service)
    pid = before["State"]["Pid"]
    if os.geteuid() != 0 or not _memory_group(pid):
        pytest.skip("it takes root on the engine's machine to fill a container's memory")
    hog = [sys.executable, "-c", _HOG, str(pid), str(_memory_group(pid))]
    subprocess.run(hog, stdin=subprocess.DEVNULL, timeout=30, check=False)
    assert eventually(lambda: not Path(f"/proc/{pid}").exists()), f"{service} has not run out of memory"


def _memory_group(pid):
    """Where processes are put into the control group that limits a process's memory, "" if it is not this machine's."""
    try:
        rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    except OSError:
        return ""
    root = Path("/sys/fs/cgroup")
    found = [root / "memory" / path.lstrip("/") for _, names, path in rows if "memory" in names.split(",")]
    found += [root / path.lstrip("/") for number, names, path in rows if number == "0" and not names]
    return next((place / "cgroup.procs" for place in found if (place / "cgroup.procs").exists()), "")


FAULTS = {"kill": kill, "stop": stop, "rm": remove, "pause": pause, "oom": exhaust, "disconnect": disconnect}
