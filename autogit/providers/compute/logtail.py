"""Reading the end of a process's log file without reading all of it."""

from __future__ import annotations

from pathlib import Path

_BLOCK_BYTES = 64 * 1024


def size(path: Path) -> int:
    """Return the file's present size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tail(path: Path, lines: int, *, since: int = 0) -> list[str]:
    """Return the last `lines` lines written after byte `since`, the oldest first; bytes that are no text are replaced.

    A file that is now shorter than `since` was rotated meanwhile and is read from its beginning.
    """
    if lines < 1:
        return []
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            start = since if since <= end else 0
            data, position = b"", end
            while position > start and data.count(b"\n") <= lines:
                step = min(_BLOCK_BYTES, position - start)
                position -= step
                file.seek(position)
                data = file.read(step) + data
    except OSError:
        return []
    return data.decode("utf-8", "replace").splitlines()[-lines:]


def tail_rotated(path: Path, lines: int) -> list[str]:
    """Return the last `lines` lines of a log and, where it was rotated just now, of the file before it."""
    found = tail(path, lines)
    missing = lines - len(found)
    return [*tail(path.with_name(f"{path.name}.1"), missing), *found] if missing > 0 else found
