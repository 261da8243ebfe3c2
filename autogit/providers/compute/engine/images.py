"""Images on an engine: looked up, pulled with progress and retry, built from AutoGit itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from autogit.errors import RejectedError, UnavailableError
from autogit.model.container import ImageSpec
from autogit.model.host import ImageFacts
from autogit.providers.compute import api_image
from autogit.providers.compute.engine.client import Engine, fault_of
from autogit.providers.compute.engine.observe import image_facts
from autogit.providers.compute.engine.registry import by_digest, with_patience

Report = Callable[[str], None]

_PAUSE_SECONDS = 2.0
_REPORT_SECONDS = 1.0
_MB = 10**6
_WAYS_OUT = "autogit images load FILE brings images from a machine that has them; IMAGE_<SERVICE>= names another one"


async def look_up(engine: Engine, names: Iterable[str]) -> dict[str, ImageFacts]:
    """Return what the engine has of these references and ids."""

    async def one(name: str) -> tuple[str, ImageFacts | None]:
        raw = await engine.find(lambda api: api.inspect_image(name))
        return name, image_facts(raw) if raw is not None else None

    found = await asyncio.gather(*(one(name) for name in sorted(set(names))))
    return {name: facts for name, facts in found if facts is not None}


async def ensure_image(engine: Engine, image: ImageSpec, templates: Path, report: Report) -> tuple[ImageFacts, str]:
    """Make the wished image be there; return what it is and how it came.

    Raises UnavailableError (it cannot be pulled or built) and RejectedError (what came is not the one held to).
    """
    if image.local:
        return await _built(engine, image, templates, report)
    wanted = image.id or image.reference
    if known := (await look_up(engine, [wanted])).get(wanted):
        return known, "already here"
    facts = await pull(engine, by_digest(image), report)
    if image.id and facts.id != image.id:
        raise RejectedError(
            f"docker: {image.reference} is another image by now than the one in the lockfile ({image.id[:19]})",
            hint="autogit upgrade takes what it is now; autogit images load FILE brings the former one",
        )
    return facts, "pulled"


async def pull(engine: Engine, reference: str, report: Report) -> ImageFacts:
    """Pull an image, three times at most, and return what came. Mirrors and proxies are the engine's own setting."""
    try:
        await with_patience(engine, lambda api: _pull(api, reference, report), reference, report, _PAUSE_SECONDS)
    except (RejectedError, UnavailableError) as exc:
        reason = exc.message.removeprefix("docker: ")
        raise UnavailableError(f"docker: {reference} cannot be pulled: {reason}", hint=exc.hint or _WAYS_OUT) from exc
    return image_facts(await engine.call(lambda api: api.inspect_image(reference)))


def paced(report: Report) -> Report:
    """Pass on what is new, once a second at most: progress may go to a log."""
    said, at = "", 0.0

    def tell(text: str) -> None:
        nonlocal said, at
        now = time.monotonic()
        if text != said and now - at >= _REPORT_SECONDS:
            said, at = text, now
            report(text)

    return tell


def _pull(api: Any, reference: str, report: Report) -> None:
    name, separator, digest = reference.partition("@")
    repository, _, tag = (name, "", digest) if separator else name.rpartition(":")
    progress, tell = _Progress(), paced(report)
    for row in api.pull(repository, tag=tag, stream=True, decode=True):
        if "error" in row:
            raise fault_of(str(row["error"]))
        if progress.take(row):
            tell(f"pulling {reference}: {progress}")


@dataclass
class _Progress:
    """How much of the layers of an image has come, and how much has been unpacked after that."""

    loaded: dict[str, tuple[int, int]] = field(default_factory=dict)
    unpacked: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, row: Mapping[str, Any]) -> bool:
        """Take a row of the engine's report; tell whether it says anything of the progress."""
        phase = {"Downloading": self.loaded, "Extracting": self.unpacked}.get(str(row.get("status") or ""))
        detail, layer = row.get("progressDetail") or {}, str(row.get("id") or "")
        if row.get("status") == "Download complete" and layer in self.loaded:
            self.loaded[layer] = (self.loaded[layer][1], self.loaded[layer][1])
            return True
        if phase is None or not detail.get("total"):
            return False
        phase[layer] = (int(detail.get("current") or 0), int(detail["total"]))
        return True

    def __str__(self) -> str:
        here, whole = (sum(pair[i] for pair in self.loaded.values()) / _MB for i in (0, 1))
        if here < whole or not self.unpacked:
            return f"{here:.1f} of {whole:.1f} MB"
        return f"{whole:.1f} MB are here, {sum(pair[0] for pair in self.unpacked.values()) / _MB:.1f} unpacked"


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
