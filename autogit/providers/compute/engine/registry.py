"""What registries say: whether an image can be had, which one it is by now, and their faults in a reader's words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from autogit.errors import AutogitError, RejectedError, UnavailableError
from autogit.model.container import ImageSpec, repository_of
from autogit.providers.compute.engine.client import Engine

T = TypeVar("T")
Report = Callable[[str], None]

_TRIES = 3
_PAUSE_SECONDS = 0.5
_ALSO_RUN = {"amd64": frozenset({"386"}), "arm64": frozenset({"arm"})}
"""Of which other architectures an engine takes images (containerd, `platforms.Only`)."""


class Meaning(NamedTuple):
    """What an engine's words on a registry mean, and whether asking again is of no use."""

    words: str
    final: bool


_CANNOT_ASK = "this engine asks no registry for anything but a pull"
_MEANINGS: tuple[tuple[str, str, bool], ...] = (
    (r"no such host", "its registry cannot be reached (no such host)", True),
    (r"lookup .*(misbehaving|temporary failure)", "its registry cannot be reached (no name service)", False),
    (r"connection refused", "its registry cannot be reached (connection refused)", False),
    (r"no route to host|network is unreachable", "its registry cannot be reached (no way to it)", False),
    (r"toomanyrequests|too many requests", "its registry gives no more for now; a login raises the limit", True),
    (r"x509: (.*)", r"the engine does not trust its registry's certificate (\1)", True),
    (
        r"HTTP response to HTTPS client",
        "its registry speaks plain HTTP: the engine's setting insecure-registries must name it",
        True,
    ),
    (
        r"no basic auth|unauthorized|authentication required|incorrect username or password",
        "its registry wants a login: docker login REGISTRY",
        True,
    ),
    (r"denied", "it does not exist, or its registry wants a login: docker login REGISTRY", True),
    (r"no matching manifest for (\S+)", r"it is not made for this machine (\1)", True),
    (r"manifest unknown|name unknown|not found|does not exist", "its registry does not have it", True),
    (r"unexpected HTTP status:? (5\d\d.*)", r"its registry fails (\1)", False),
    (
        r"i/o timeout|Client\.Timeout|deadline exceeded|handshake timeout|request canceled",
        "its registry cannot be reached (no answer in time)",
        False,
    ),
    (r"(logins cannot be read .*)", r"\1", True),
    (r"Path \S+ is not supported", _CANNOT_ASK, True),  # Podman
    (
        r"connection reset|broken pipe|EOF$|server closed",
        "its registry cannot be reached (the connection broke)",
        False,
    ),
)
"""The first that fits counts (moby `distribution`, error codes of the OCI distribution specification, Go's `net`)."""


def meaning_of(said: str, reference: str) -> Meaning:
    """Return what an engine's words on the registry of an image mean; as they are where they are not known."""
    text = said.removeprefix("docker: ")
    for pattern, words, final in _MEANINGS:
        if found := re.search(pattern, text, re.IGNORECASE):
            return Meaning(found.expand(words).replace("REGISTRY", _host_of(reference)).strip(), final)
    return Meaning(text, final=False)


def can_run(made_for: str, machine: str) -> bool:
    """Tell whether an engine runs images of an architecture, both in Docker's words."""
    return made_for == machine or made_for in _ALSO_RUN.get(machine, ())


async def with_patience(engine: Engine, work: Callable[[Any], T], reference: str, report: Report, pause: float) -> T:
    """Do something that asks the registry of an image, three times at most.

    Raises UnavailableError or RejectedError with what the last answer means, and what `Engine.call` raises otherwise.
    """
    attempt = 1
    while True:
        try:
            return await engine.call(work)
        except RejectedError as exc:
            words, final = meaning_of(exc.message, reference)
            if final:
                raise RejectedError(f"docker: {words}") from exc
            if attempt == _TRIES:
                raise UnavailableError(f"docker: {words}") from exc
        except UnavailableError as exc:  # the engine itself
            words = exc.message.removeprefix("docker: ")
            if attempt == _TRIES:
                raise
        report(f"pulling {reference} failed, trying again: {words}")
        await asyncio.sleep(pause * attempt)
        attempt += 1


async def why_not_pulled(engine: Engine, image: ImageSpec, machine: str) -> str:
    """Ask the registry for an image without pulling it; return "" or why an engine of this kind cannot have it."""
    try:
        answer = await _ask(engine, by_digest(image))
    except AutogitError as exc:
        words = exc.message.removeprefix("docker: ")
        return "" if words == _CANNOT_ASK else words
    made_for = sorted({str(platform.get("architecture") or "") for platform in answer.get("Platforms") or ()} - {""})
    if not made_for or any(can_run(architecture, machine) for architecture in made_for):
        return ""
    return f"it is made for {', '.join(made_for)}, this engine is {machine}"


async def digest_of(engine: Engine, reference: str) -> str:
    """Return the digest that a tag leads to in its registry now. Raises as `with_patience`."""
    answer = await _ask(engine, reference)
    return str(answer["Descriptor"]["digest"])


def by_digest(image: ImageSpec) -> str:
    """Return how a registry is asked for an image: by the digest that is held to, if one is known."""
    return f"{repository_of(image.reference)}@{image.digest}" if image.digest else image.reference


async def _ask(engine: Engine, reference: str) -> Any:
    def ask(api: Any) -> Any:
        return api.inspect_distribution(reference)

    return await with_patience(engine, ask, reference, lambda _text: None, _PAUSE_SECONDS)


def _host_of(reference: str) -> str:
    """Return the registry as `docker login` takes it: Docker Hub goes without a name."""
    first, separator, _ = repository_of(reference).partition("/")
    return first if separator and ("." in first or ":" in first or first == "localhost") else ""
