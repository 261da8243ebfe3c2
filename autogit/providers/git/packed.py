"""Writes all refs of a bare copy at once: one file, replaced atomically (gitrepository-layout(5), packed-refs).

`git update-ref` moves refs one by one when it commits a transaction, so a SIGKILL leaves some moved; it refuses to
replace a branch by a folder of the same name in one transaction; and each ref is a file of its own until it is packed,
so that names which differ only by case fall together on some file systems, and 50,000 refs take their time. A copy is
written by AutoGit alone, under its lock, and has no loose refs: none of that can happen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from autogit.errors import StorageFullError

_HEAD = b"# pack-refs with: sorted \n"


def write_refs(folder: Path, refs: Mapping[str, str]) -> None:
    """Replace all refs of a copy. Raises StorageFullError; what was there before is intact then."""
    named = sorted((os.fsencode(name), object_id.encode()) for name, object_id in refs.items())
    body = b"".join([_HEAD, *(b"%b %b\n" % (object_id, name) for name, object_id in named)])
    replace_file(folder / "packed-refs", body)


def read_refs(folder: Path) -> dict[str, str]:
    """Return all refs of a copy, without git. Nothing where they were not written by AutoGit alone."""
    if has_loose_refs(folder):
        return {}
    try:
        text = os.fsdecode((folder / "packed-refs").read_bytes())
    except OSError:
        return {}
    pairs = (line.partition(" ") for line in text.split("\n") if line and line[0] not in "#^")
    return {name: object_id for object_id, _, name in pairs}


def replace_file(path: Path, body: bytes) -> None:
    """Write a file of a copy by git's own lock name, durably. Raises StorageFullError."""
    draft = path.with_name(f"{path.name}.lock")
    try:
        with draft.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        if not isinstance(exc, FileExistsError):
            draft.unlink(missing_ok=True)
        raise StorageFullError(
            f"git: {path} cannot be written: {exc.strerror}", hint="free space; what was there before is intact"
        ) from exc


def has_loose_refs(folder: Path) -> bool:
    """Tell whether a copy has refs in files of their own: another program's work, they win over the packed ones."""
    return any(names for _, _, names in os.walk(folder / "refs"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
