"""A first `.env`: looks at the host, writes what is not there yet, never touches a key that is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from autogit.core.catalogue import Catalogue
from autogit.core.images import image_setting
from autogit.core.settings import read_env
from autogit.core.sizing import GIB, largest_fitting_tier, tier_total
from autogit.model.project import ProjectPaths
from autogit.model.service import TIERS, Tier
from autogit.model.settings import DEFAULT_SERVICES
from autogit.model.views import View
from autogit.operations.project import load_project_catalogue
from autogit.providers.compute.engine.wire import Wire
from autogit.providers.host.atomic import write_atomic
from autogit.providers.host.secret_store import SecretStore

_DEFAULT_HOST = "unix:///var/run/docker.sock"
_INGRESS = "traefik"
_PING_SECONDS = 2.0
_REGISTRY_SECONDS = 10.0
_MOST_BY_DEFAULT: Tier = "homelab"


class WrittenKey(View):
    """One key that `init` wrote, and why it has this value."""

    key: str
    value: str
    reason: str


class InitView(View):
    """What `init` did."""

    schema_version: int = 1
    env_file: str
    written: tuple[WrittenKey, ...]
    kept: tuple[str, ...]
    identity: str
    identity_created: bool

    def lines(self) -> Iterator[str]:
        """Yield the result as a person reads it."""
        made = " and a secrets identity" if self.identity_created else ""
        if self.written:
            yield f"Wrote {self.env_file} ({len(self.written)} settings){made}."
        else:
            yield f"{self.env_file} has all that is needed: nothing was written."
        if self.identity_created:
            yield f"  keep a copy of {self.identity}: without it the stored secrets are lost"
        for row in self.written:
            yield f"  {row.key}={row.value}   {row.reason}"
        if self.kept:
            yield f"  kept as they were: {', '.join(self.kept)}"
        yield "Next: autogit up        (to look first: autogit plan)"


@dataclass(frozen=True)
class DockerProbe:
    """What became of asking a Docker Engine: `answers`, and a sentence."""

    answers: bool
    sentence: str


def initialise(paths: ProjectPaths, answers: Mapping[str, str]) -> InitView:
    """Write the keys that are missing in `.env` and make the secrets identity.

    `answers` are values somebody gave. Raises SettingsError where the present `.env` is broken, before anything is
    written.
    """
    catalogue = load_project_catalogue(paths)
    present = {k: line.value for k, line in read_env(paths.env_file).items()} if paths.env_file.exists() else {}
    wanted = [row for row in _rows(answers, catalogue, present) if row.key not in present]
    store = SecretStore(paths.secrets_store)
    created = store.ensure_identity()
    if wanted:
        _append(paths.env_file, wanted)
    return InitView(
        env_file=paths.env_file.name,
        written=tuple(wanted),
        kept=tuple(present),
        identity=str(store.identity_path()),
        identity_created=created,
    )


def probe_docker(address: str | None = None) -> DockerProbe:
    """Ask the Docker Engine's socket whether it answers (GET /_ping); changes nothing."""
    target = address or engine_host()
    if not target.startswith("unix://"):
        return DockerProbe(answers=False, sentence=f"a Docker Engine on {target.partition('://')[0]} was not asked")
    path = target.removeprefix("unix://")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PING_SECONDS)
            connection.connect(path)
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            answers = b" 200 " in connection.recv(64)
    except FileNotFoundError:
        return DockerProbe(answers=False, sentence=f"there is no Docker Engine at {path}")
    except PermissionError:
        return DockerProbe(answers=False, sentence=f"permission to use {path} is denied")
    except OSError as exc:
        return DockerProbe(answers=False, sentence=f"no Docker Engine answers on {path} ({exc.strerror or 'timeout'})")
    word = "answers" if answers else "does not answer as expected"
    return DockerProbe(answers=answers, sentence=f"a Docker Engine {word} on {path}")


def _rows(answers: Mapping[str, str], catalogue: Catalogue, present: Mapping[str, str]) -> Iterator[WrittenKey]:
    runtime = _runtime(catalogue, present)
    domain = answers.get("BASE_DOMAIN", "autogit.localhost")
    local = domain.endswith(".localhost")
    yield WrittenKey(
        key="BASE_DOMAIN",
        value=domain,
        reason="resolves to this machine without any DNS (RFC 6761)" if local else "as you said",
    )
    if "ACME_EMAIL" in answers:
        yield WrittenKey(key="ACME_EMAIL", value=answers["ACME_EMAIL"], reason="as you said")
    yield WrittenKey(key="CERT_ISSUER", value="local", reason="AutoGit's own authority: nothing to register")
    yield runtime
    if runtime.value == "docker" and (host := engine_host()) != _DEFAULT_HOST:
        yield WrittenKey(key="DOCKER_HOST", value=host, reason="where the Docker Engine answers")
    yield WrittenKey(
        key="SERVICES_ENABLED", value=",".join(DEFAULT_SERVICES), reason="what cannot run here is left out and listed"
    )
    size, reason = _size(catalogue, runtime.value)
    yield WrittenKey(key="SIZE", value=size, reason=reason)


def engine_host() -> str:
    """Return where a Docker Engine is looked for: DOCKER_HOST, the usual socket, or a rootless one's."""
    given = os.environ.get("DOCKER_HOST")
    if given:
        return given
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "docker.sock"
    usual = Path(_DEFAULT_HOST.removeprefix("unix://"))
    return f"unix://{rootless}" if rootless.exists() and not usual.exists() else _DEFAULT_HOST


def _runtime(catalogue: Catalogue, present: Mapping[str, str]) -> WrittenKey:
    """Choose containers where an engine answers that has the images or can fetch them, else processes; say why."""
    host = engine_host()
    probe = probe_docker(host)
    if not probe.answers:
        return WrittenKey(key="RUNTIME", value="embedded", reason=probe.sentence)
    ingress = next(d for d in catalogue.descriptors if d.service == _INGRESS)
    if _has_or_fetches(host.removeprefix("unix://"), present.get(image_setting(_INGRESS)) or ingress.image or ""):
        return WrittenKey(key="RUNTIME", value="docker", reason=f"{probe.sentence}, and images can be had")
    why = f"{probe.sentence}, but it has no images and reaches no registry (autogit images load)"
    return WrittenKey(key="RUNTIME", value="embedded", reason=why)


def _has_or_fetches(socket_path: str, image: str) -> bool:
    """Tell whether an engine has an image, or its registry does."""
    for target in (f"/images/{image}/json", f"/distribution/{image}/json"):
        try:
            wire = Wire(socket_path, _REGISTRY_SECONDS)
            try:
                wire.ask(target)
            finally:
                wire.close()
        except (OSError, ValueError, KeyError):
            continue
        return True
    return False


def _size(catalogue: Catalogue, runtime: str) -> tuple[Tier, str]:
    """Return the tier for this host: the largest whose memory and cores fit what can run here, homelab at most."""
    wanted = {*DEFAULT_SERVICES, _INGRESS}
    in_containers = runtime == "docker"
    running = [
        d
        for d in catalogue.descriptors
        if d.sizing and (d.service in wanted and d.runs.container if in_containers else d.runs.embedded)
    ]
    memory, cores = psutil.virtual_memory().total, os.cpu_count() or 1
    by_memory = largest_fitting_tier(running, memory) or TIERS[0]
    by_cores = [tier for tier in TIERS if tier_total(running, tier)[0] <= cores]
    index = min(TIERS.index(by_memory), TIERS.index(by_cores[-1]) if by_cores else 0, TIERS.index(_MOST_BY_DEFAULT))
    needed = tier_total(running, TIERS[index])
    return TIERS[index], (
        f"needs {needed[0]:g} of {cores} cores, {needed[1] / GIB:.1f} of {memory / GIB:.1f} GB for what runs here"
    )


def _append(env_file: Path, rows: list[WrittenKey]) -> None:
    before = env_file.read_text(encoding="utf-8") if env_file.exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    mode = env_file.stat().st_mode & 0o777 if env_file.exists() else 0o600
    head = before or "# AutoGit: the one source of truth. Every setting: .env.example, docs/reference/settings.md\n"
    text = head + "".join(f"\n# {row.reason}\n{row.key}={row.value}\n" for row in rows)
    write_atomic(env_file.resolve(), text.encode(), mode)
