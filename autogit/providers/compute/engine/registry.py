"""What registries say: whether an image can be had from one, which it is by now, and their faults in a reader's words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from autogit.errors import AutogitError, RejectedError, StorageFullError, UnavailableError
from autogit.model.container import ImageSpec
from autogit.providers.compute.engine.client import Engine, in_short
from autogit.providers.compute.engine.observe import repository_of

T = TypeVar("T")

_TRIES = 3
_ASK_PAUSE_SECONDS = 0.5

_ALSO_RUN = {"amd64": frozenset({"386"}), "arm64": frozenset({"arm"})}
"""Of which other architectures an engine takes images (containerd `platforms.Only`)."""


class _Words(NamedTuple):
    """What an engine says of a registry, what that means, and whether asking again is of no use."""

    said: re.Pattern[str]
    meaning: str
    final: bool


def _words(said: str, meaning: str, *, final: bool) -> _Words:
    return _Words(re.compile(said, re.IGNORECASE), meaning, final)


_NO_LOGIN = "no basic auth credentials|unauthorized|authentication required|incorrect username or password"
_NO_ANSWER = r"i/o timeout|Client\.Timeout|deadline exceeded|handshake timeout|request canceled"
_BROKEN = "connection reset|broken pipe|unexpected EOF|EOF$|server closed"

_MEANINGS = (
    _words("no such host", "its registry cannot be reached (no such host)", final=True),
    _words("lookup .*(misbehaving|temporary failure)", "its registry cannot be reached (no name service)", final=False),
    _words("connection refused", "its registry cannot be reached (connection refused)", final=False),
    _words("no route to host|network is unreachable", "its registry cannot be reached (no way to it)", final=False),
    _words("toomanyrequests|too many requests", "its registry gives no more for now: a login raises the limit", final=True),
    _words("x509: (.*)", r"the engine does not trust its registry's certificate (\1)", final=True),
    _words(
        "gave HTTP response to HTTPS client",
        "its registry speaks plain HTTP: the engine's insecure-registries must name it",
        final=True,
    ),
    _words(_NO_LOGIN, "its registry wants a login: docker login {registry}", final=True),
    _words("denied", "it does not exist, or its registry wants a login: docker login {registry}", final=True),
    _words(r"no matching manifest for (\S+)", r"it is not made for this engine's machine (\1)", final=True),
    _words("manifest unknown|name unknown|not found|does not exist", "its registry does not have it", final=True),
    _words(r"unexpected HTTP status:? (5\d\d.*)", r"its registry fails (\1)", final=False),
    _words(_NO_ANSWER, "its registry cannot be reached (no answer in time)", final=False),
    _words(_BROKEN, "its registry cannot be reached (the connection broke)", final=False),
)
"""In the order of precedence (moby `distribution`, CNCF Distribution's error codes, Go's net)."""


def meaning_of(reference: str, said: str) -> tuple[str, bool]:
    """Return what an engine's words on a registry mean for an image, and whether asking again is of no use."""
    text = said.removeprefix("docker: ")
    for words in _MEANINGS:
        if found := words.said.search(text):
            meaning = found.expand(words.meaning).replace("{registry}", _registry_of(reference))
            return meaning.removesuffix(" "), words.final
    return text, False


def _registry_of(reference: str) -> str:
    """Return the host that `docker login` takes, "" for the one that it takes without a word."""
    first, separator, _ = repository_of(reference).partition("/")
    return first if separator and ("." in first or ":" in first or first == "localhost") else ""


def fault_of(row: Mapping[str, Any]) -> AutogitError | None:
    """Return the error in a row of an engine's answer, None where it reports no fault."""
    if "error" not in row:
        return None
    text = in_short(str(row["error"]))
    if "no space left on device" in text:
        return StorageFullError(
            "docker: no space left on the engine's disk", hint="docker system df shows what fills it"
        )
    return RejectedError(f"docker: {text}")


async def with_patience(
    reference: str, work: Callable[[], Awaitable[T]], pause_seconds: float, report: Callable[[str], None]
) -> T:
    """Do something with a registry, three times at most; Raises UnavailableError with the way out."""
    for attempt in range(1, _TRIES + 1):
        try:
            return await work()
        except StorageFullError:
            raise
        except AutogitError as exc:
            meaning, final = meaning_of(reference, exc.message)
            if final or attempt == _TRIES:
                raise UnavailableError(
                    f"docker: image {reference} cannot be pulled: {meaning}",
                    hint="autogit images load FILE brings images from a machine that has them; "
                    "IMAGE_<SERVICE>= names another one",
                ) from exc
            report(f"pulling {reference} failed, trying again: {meaning}")
            await asyncio.sleep(pause_seconds * attempt)
    raise AssertionError  # pragma: no cover - the last attempt returns or raises
