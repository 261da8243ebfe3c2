"""Folders for the time of one run of git, for this user alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autogit.errors import StorageFullError

_LONGEST_FOR_SOCKETS = 70
"""In a folder with a longer name a socket may find no place: its own, with the name, has 107 bytes (unix(7))."""


@contextmanager
def scratch_folder(purpose: str, *, for_socket: bool = False) -> Iterator[Path]:
    """Yield a new folder (0700) that is gone afterwards. Raises StorageFullError where none can be made."""
    try:
        place = tempfile.gettempdir()
        if for_socket and len(os.fsencode(place)) > _LONGEST_FOR_SOCKETS:
            place = "/tmp"  # noqa: S108 - a folder of a new name for this user alone, as in any other
        folder = Path(tempfile.mkdtemp(prefix=f"autogit-{purpose}-", dir=place))
    except OSError as exc:
        raise StorageFullError(
            f"git: no temporary folder can be made: {exc.strerror}", hint="free space in /tmp, or set TMPDIR"
        ) from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
