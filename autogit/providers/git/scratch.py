"""Folders for the time of one run of git, for this user alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autogit.errors import StorageFullError


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Yield a new folder (0700) that is gone afterwards. Raises StorageFullError where none can be made."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"autogit-{purpose}-"))
    except OSError as exc:
        raise StorageFullError(
            f"git: no temporary folder can be made: {exc.strerror}", hint="free space in /tmp, or set TMPDIR"
        ) from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
