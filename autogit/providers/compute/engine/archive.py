"""Images in files: written to a tar file of the form that `docker load` reads, and loaded from one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from autogit.errors import RejectedError, StorageFullError, UsageError
from autogit.providers.compute.engine.client import Engine, fault_of
from autogit.providers.compute.engine.images import paced

Report = Callable[[str], None]

_CHUNK = 1024**2
_MB = 10**6
_BAD_FILES = (
    ("invalid tar header", "is not a tar file"),
    ("unexpected EOF", "is cut off"),
    ("no such file or directory", "holds no images"),
    ("manifest.json", "holds no images"),
    ("unrecognized image format", "holds no images"),
)
"""What engines say of a file that they cannot load, and what that means."""


async def save(engine: Engine, references: Iterable[str], file: Path, report: Report) -> int:
    """Write images to a tar file (`docker load` reads it too); return its size in bytes."""
    names = sorted(set(references))
    target = file.resolve()
    if target.exists() and not target.is_file():
        raise UsageError(f"{file} is not a file", hint="name one that is not there yet")
    part = target.with_name(f"{target.name}.part")
    tell = paced(report)

    def write(api: Any) -> int:
        written = 0
        with part.open("wb") as out:
            for chunk in _exported(api, names):
                written += out.write(chunk)
                tell(f"saving {len(names)} images: {written / _MB:.0f} MB")
        part.replace(target)
        return written

    try:
        return await engine.call(write)
    except OSError as exc:
        raise StorageFullError(
            f"{file} could not be written: {exc.strerror}", hint="name a file in a folder that is there and has room"
        ) from exc
    finally:
        part.unlink(missing_ok=True)


def _exported(api: Any, names: list[str]) -> Iterator[bytes]:
    url = api._url("/images/get")  # noqa: SLF001 - the SDK saves one image only (Engine API, ImageGetAll)
    # No time limit: the engine first writes everything to its own disk.
    with api._get(url, params={"names": names}, stream=True, timeout=None) as answer:  # noqa: SLF001
        api._raise_for_status(answer)  # noqa: SLF001
        yield from answer.iter_content(_CHUNK)


async def load(engine: Engine, file: Path, report: Report) -> tuple[str, ...]:
    """Load the images of a tar file; return their names, or ids where they have none.

    Raises RejectedError where it holds none, or cannot be read.
    """

    def read(api: Any) -> list[Any]:
        url = api._url("/images/load")  # noqa: SLF001 - the SDK waits a minute, and a large image takes longer
        with api._post(url, data=_chunks(file, report), stream=True, timeout=None) as answer:  # noqa: SLF001
            return list(api._stream_helper(answer, decode=True))  # noqa: SLF001

    try:
        rows = await engine.call(read)
        for row in rows:
            if "error" in row:
                raise fault_of(str(row["error"]))
    except OSError as exc:
        raise RejectedError(f"{file} could not be read: {exc.strerror}") from exc
    except RejectedError as exc:
        why = next((words for said, words in _BAD_FILES if said in exc.message), f"could not be loaded: {exc.message}")
        raise RejectedError(f"{file} {why}", hint="autogit images save FILE, on a machine that has the images") from exc
    said = "".join(str(row.get("stream", "")) for row in rows).splitlines()
    loaded = tuple(words.partition(": ")[2].strip() for words in said if words.startswith("Loaded image"))
    if not loaded:
        raise RejectedError(f"{file} holds no images", hint="autogit images save FILE writes one that does")
    return loaded


def _chunks(file: Path, report: Report) -> Iterator[bytes]:
    tell, size, sent = paced(report), file.stat().st_size, 0
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
            sent += len(chunk)
            tell(f"loading {file.name}: {sent / _MB:.0f} of {size / _MB:.0f} MB")
