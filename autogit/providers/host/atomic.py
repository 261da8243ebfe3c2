"""Writing files so that a reader, a crash or a full disk never sees half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from autogit.errors import StorageFullError


def write_atomic(
    path: Path, data: bytes, mode: int, *, temporary_dir: Path | None = None, folder_mode: int = 0o700
) -> None:
    """Replace `path` with `data` at once and durably (temp file, fsync, rename, fsync of the folder).

    `temporary_dir` (same file system) keeps the temporary file out of a folder that somebody watches. Missing folders
    are made with `folder_mode`. Raises StorageFullError naming the path; what was there before is intact.
    """
    place = temporary_dir or path.parent
    temporary: Path | None = None
    try:
        for folder in (path.parent, place):
            _make_folders(folder, folder_mode)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=place)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        raise StorageFullError(
            f"cannot write {path}: {exc.strerror}",
            hint="free space or mend the permissions, then run the command again",
        ) from exc


def _make_folders(folder: Path, mode: int) -> None:
    """Make a folder and what is missing above it, all with the same mode: `parents=True` would open those above."""
    if not folder.is_dir():
        _make_folders(folder.parent, mode)
        folder.mkdir(mode=mode, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
