"""Images on an engine: pulled with progress and retry, built from AutoGit itself, saved to a file, loaded from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from autogit.errors import AutogitError, RejectedError, StorageFullError, UnavailableError
from autogit.model.container import ImageSpec
from autogit.model.host import ImageFacts
from autogit.providers.compute import api_image
from autogit.providers.compute.engine.client import Engine, in_short
from autogit.providers.compute.engine.observe import image_facts

Report = Callable[[str], None]

_TRIES = 3
_PAUSE_SECONDS = 2.0
_MIB = 1024**2


async def look_up(engine: Engine, names: Iterable[str]) -> dict[str, ImageFacts]:
    """Return what the engine has of these references and ids."""

    async def one(name: str) -> tuple[str, ImageFacts | None]:
        raw = await engine.find(lambda api: api.inspect_image(name))
        return name, image_facts(raw) if raw is not None else None

    found = await asyncio.gather(*(one(name) for name in sorted(set(names))))
    return {name: facts for name, facts in found if facts is not None}


async def ensure_image(engine: Engine, image: ImageSpec, templates: Path, report: Report) -> tuple[ImageFacts, str]:
    """Make the wished image be there; return what it is and how it came.

    Raises UnavailableError (no registry answers), RejectedError (there is no such image, or not for this machine).
    """
    if image.local:
        return await _built(engine, image, templates, report)
    if image.id:
        known = (await look_up(engine, [image.id])).get(image.id)
        if known is not None:
            return known, "already here"
    elif known := (await look_up(engine, [image.reference])).get(image.reference):
        return known, "already here"
    facts = await pull(engine, by_digest(image), report)
    if image.id and facts.id != image.id:
        raise RejectedError(f"docker: {image.reference} is another image by now than the one in the lockfile")
    return facts, "pulled"


def by_digest(image: ImageSpec) -> str:
    """Return how a registry is asked for an image: by the digest that is held to, if one is known."""
    name = image.reference.partition("@")[0]
    repository = name if "/" in name.rpartition(":")[2] else name.rpartition(":")[0]
    return f"{repository}@{image.digest}" if image.digest else image.reference


async def pull(engine: Engine, reference: str, report: Report) -> ImageFacts:
    """Pull an image, three times at most, and return what came. Mirrors and proxies are the engine's own setting."""
    for attempt in range(1, _TRIES + 1):
        try:
            await engine.call(lambda api: _pull(api, reference, report))
            break
        except AutogitError as exc:
            if attempt == _TRIES or _is_final(exc):
                raise missing(reference, exc.message) from exc
            report(f"pulling {reference} failed, trying again: {exc.message}")
            await asyncio.sleep(_PAUSE_SECONDS * attempt)
    return (await look_up(engine, [reference]))[reference]


def missing(reference: str, why: str) -> AutogitError:
    """Return the error of an image that cannot be had, with the ways out."""
    reason = why.removeprefix("docker: ")
    return UnavailableError(
        f"docker: image {reference} is not here and cannot be pulled: {reason}",
        hint="autogit images load FILE brings images from a machine that has them; IMAGE_<SERVICE>= names another one",
    )


def _is_final(exc: AutogitError) -> bool:
    words = ("not found", "manifest unknown", "denied", "unauthorized", "no matching manifest", "does not exist")
    return any(word in exc.message.lower() for word in words)


def _pull(api: Any, reference: str, report: Report) -> None:
    name, separator, digest = reference.partition("@")
    repository, _, tag = (name, "", digest) if separator else name.rpartition(":")
    layers: dict[str, tuple[int, int]] = {}
    for row in api.pull(repository, tag=tag, stream=True, decode=True):
        if "error" in row:
            raise RejectedError(f"docker: {in_short(str(row['error']))}")
        detail = row.get("progressDetail") or {}
        if row.get("id") and detail.get("total"):
            layers[row["id"]] = (int(detail.get("current") or 0), int(detail["total"]))
            done, total = (sum(pair[i] for pair in layers.values()) / _MIB for i in (0, 1))
            report(f"pulling {reference}: {done:.0f} of {total:.0f} MB")


async def _built(engine: Engine, image: ImageSpec, templates: Path, report: Report) -> tuple[ImageFacts, str]:
    known = (await look_up(engine, [image.reference])).get(image.reference)
    if known is not None and known.content == image.content:
        return known, "already here"
    if why := api_image.can_build():
        raise UnavailableError(f"docker: {image.reference} cannot be built: {why}", hint="IMAGE_API names another one")
    report(f"building {image.reference} from this installation")
    repository, _, tag = image.reference.rpartition(":")

    def build(api: Any) -> None:
        with TemporaryFile() as tar:
            api_image.write_image_tar(tar, templates)
            tar.seek(0)
            changes = list(api_image.image_changes(image.content))
            api.import_image_from_data(tar, repository=repository, tag=tag, changes=changes)

    await engine.call(build)
    return (await look_up(engine, [image.reference]))[image.reference], "built from this installation"


async def can_be_pulled(engine: Engine, image: ImageSpec) -> str:
    """Ask the registry for an image without pulling it; return "" or why it cannot be had."""
    reference = by_digest(image)
    try:
        await engine.call(lambda api: api.inspect_distribution(reference))
    except AutogitError as exc:
        return exc.message.removeprefix("docker: ")
    return ""


async def registry_digest(engine: Engine, reference: str) -> str:
    """Return the digest that a tag leads to in its registry now. Raises as `Engine.call`."""
    answer: Mapping[str, Any] = await engine.call(lambda api: api.inspect_distribution(reference))
    return str(answer["Descriptor"]["digest"])


async def save(engine: Engine, references: Iterable[str], file: Path, report: Report) -> int:
    """Write images to a tar file (`docker load` reads it too); return its size in bytes."""
    names = sorted(set(references))
    part = file.with_name(f"{file.name}.part")

    def write(api: Any) -> int:
        url = api._url("/images/get")  # noqa: SLF001 - the SDK saves one image only (Engine API, ImageGetAll)
        # No time limit: it first writes everything to its own disk.
        answer = api._get(url, params={"names": names}, stream=True, timeout=None)  # noqa: SLF001
        api._raise_for_status(answer)  # noqa: SLF001
        written = 0
        with part.open("wb") as target:
            for chunk in answer.iter_content(_MIB):
                written += target.write(chunk)
                report(f"saving {len(names)} images: {written / _MIB:.0f} MB")
        part.replace(file)
        return written

    try:
        return await engine.call(write)
    except OSError as exc:
        raise StorageFullError(f"{file} could not be written: {exc.strerror}", hint="name a file elsewhere") from exc
    finally:
        part.unlink(missing_ok=True)


async def load(engine: Engine, file: Path) -> tuple[str, ...]:
    """Load the images of a tar file; return their names."""

    def read(api: Any) -> tuple[str, ...]:
        with file.open("rb") as source:
            url = api._url("/images/load")  # noqa: SLF001 - the SDK waits a minute, and a large image takes longer
            answer = api._post(url, data=source, stream=True, timeout=None)  # noqa: SLF001
            rows = list(api._stream_helper(answer, decode=True))  # noqa: SLF001
        for row in rows:
            if "error" in row:
                raise RejectedError(f"docker: {in_short(str(row['error']))}")
        words = "".join(str(row.get("stream", "")) for row in rows).splitlines()
        return tuple(w.partition(": ")[2].strip() for w in words if w.startswith("Loaded image"))

    try:
        return await engine.call(read)
    except OSError as exc:
        raise RejectedError(f"{file} could not be read: {exc.strerror}") from exc
