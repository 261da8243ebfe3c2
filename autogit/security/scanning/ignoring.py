"""What is not to be scanned: `.autogitignore`, and folders that hold other people's code or no text at all."""

from __future__ import annotations

import os
from pathlib import Path

from pathspec import GitIgnoreSpec

from autogit.errors import UsageError

IGNORE_FILE = ".autogitignore"
SKIPPED_FOLDERS = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache"}
)


class Ignoring:
    """The patterns of one `.autogitignore` (gitignore's syntax); paths are relative to its folder."""

    def __init__(self, spec: GitIgnoreSpec | None = None) -> None:
        self._spec = spec

    def __call__(self, path: str) -> bool:
        """Tell whether a path is ignored; a folder's ends with a slash."""
        return self._spec is not None and self._spec.match_file(path)


def load_ignoring(folder: Path, *, wanted: bool = True) -> Ignoring:
    """Return the patterns of a folder, none where it has no file of them. Raises UsageError for one that is broken."""
    file = folder / IGNORE_FILE
    if not wanted or not file.is_file():
        return Ignoring()
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        return Ignoring(GitIgnoreSpec.from_lines(lines))
    except ValueError as exc:
        raise UsageError(f"{file} has a pattern that cannot be: {exc}") from exc
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror}") from exc


def is_skipped_folder(path: Path) -> bool:
    """Tell whether a folder below a scanned one is left out: by its name, or as a virtual environment."""
    # os.path: pathlib raises where the folder may not be entered.
    return path.name in SKIPPED_FOLDERS or os.path.isfile(path / "pyvenv.cfg")  # noqa: PTH113
