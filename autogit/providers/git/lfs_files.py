"""LFS objects as files: where they lie, whether they are whole, and taking them over from a repository of this host."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from autogit.errors import StorageFullError


def object_path(repository: Path, oid: str) -> Path:
    """Return where a repository keeps an LFS object."""
    return repository / "lfs" / "objects" / oid[:2] / oid[2:4] / oid


def is_whole(repository: Path, oid: str, size: int) -> bool:
    """Tell whether a repository has an LFS object in full size (git-lfs checks the hash before it moves it there)."""
    try:
        return object_path(repository, oid).stat().st_size == size
    except OSError:
        return size == 0


def adopt(source: Path, copy: Path, oids: Sequence[str]) -> None:
    """Copy those of the objects that a repository of this host has, their hashes checked. Raises StorageFullError."""
    folder = source / ".git" if (source / ".git").is_dir() else source
    for oid in oids:
        found = object_path(folder, oid)
        if found.is_file() and not found.is_symlink():
            _take(found, object_path(copy, oid), oid)


def _take(found: Path, place: Path, oid: str) -> None:
    draft = place.with_name(f"{oid}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, draft)
        with draft.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == oid:
                draft.replace(place)
    except OSError as exc:
        raise StorageFullError(f"git: {place} cannot be written: {exc.strerror}") from exc
    finally:
        draft.unlink(missing_ok=True)
