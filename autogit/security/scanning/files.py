"""Finding the files to scan, and reading one: bounded, following no link, waiting for nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autogit.errors import Fault, UsageError
from autogit.model.text import one_line
from autogit.security.scanning import git
from autogit.security.scanning.ignoring import Ignoring, is_skipped_folder, load_ignoring
from autogit.security.scanning.texts import Skipped, too_large

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINK = "symbolic link"
_GONE = "vanished while scanning"
_UNREADABLE = "not readable"
_SPECIAL = "not a regular file"


@dataclass(frozen=True, slots=True)
class FileTarget:
    """One file to be scanned: where it is, and the path it is told by."""

    file: str
    path: str


@dataclass
class Listing:
    """What is to be scanned below some paths, what is not, and how many paths `.autogitignore` took out."""

    targets: list[FileTarget] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    ignored: int = 0


def list_files(paths: Sequence[str], here: Path, *, ignoring: bool = True) -> Listing:
    """Return the files below paths, each once, in a fixed order.

    Raises UsageError with all paths that do not exist or that cannot be read. A file that is named is always scanned.
    """
    _require_readable(paths, here)
    listing = Listing()
    for word in dict.fromkeys(paths):
        path = here / word
        if path.is_dir():
            _list_folder(listing, path, ignoring=ignoring, here=here)
        else:
            # A link that is named is meant; only links that are met on the way are not followed.
            listing.targets.append(FileTarget(os.path.realpath(path), _told(path, here)))
    listing.targets = list({target.path: target for target in listing.targets}.values())
    return listing


def read_bytes(target: FileTarget, most_bytes: int) -> bytes | Skipped:
    """Return what a file holds, or why it cannot be told. Never raises, and never waits for a pipe or a device."""
    try:
        with os.fdopen(os.open(target.file, _FLAGS), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return Skipped(target.path, _SPECIAL)
            # Not by its size: files below /proc tell none, and others grow.
            data = file.read(most_bytes + 1)
    except OSError as exc:
        return Skipped(target.path, _reason(exc, target.file))
    return data if len(data) <= most_bytes else too_large(target.path, most_bytes)


def _reason(exc: OSError, file: str) -> str:
    if os.path.islink(file):  # noqa: PTH114 - a str on a hot path
        return _LINK
    return _GONE if isinstance(exc, FileNotFoundError | NotADirectoryError) else f"{_UNREADABLE}: {exc.strerror}"


def _require_readable(paths: Sequence[str], here: Path) -> None:
    faults = []
    for word in paths:
        path = here / word
        try:
            mode = path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                faults.append(Fault(one_line(word), "", "is neither a file nor a folder; - reads standard input"))
            elif not os.access(path, os.R_OK):
                faults.append(Fault(one_line(word), "", "may not be read"))
        except (OSError, ValueError) as exc:
            faults.append(Fault(one_line(word), "", (getattr(exc, "strerror", "") or "no such path").lower()))
    if faults:
        raise UsageError("cannot scan what cannot be read", faults=faults)


def _list_folder(listing: Listing, folder: Path, *, ignoring: bool, here: Path) -> None:
    top = git.find_top(folder)
    by_git = top is not None and not git.is_ignored(folder)
    base = top if top is not None and by_git else folder
    ignored = load_ignoring(base, wanted=ignoring)
    found = _listed_by_git(listing, folder, here) if by_git else None
    for path in sorted(_walk(listing, folder, here, ignored) if found is None else found):
        if ignored(_below(path, base)):
            listing.ignored += 1
        elif _mode(path) is None:  # git also lists what was deleted and not yet staged
            continue
        elif stat.S_ISDIR(_mode(path) or 0):
            reason = "a git repository of its own: name it to scan it"
            listing.skipped.append(Skipped(_told(path, here), reason))
        else:
            listing.targets.append(FileTarget(str(path), _told(path, here)))


def _mode(path: Path) -> int | None:
    """Return a file's mode, 0 where even that may not be read, None where it is not there."""
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return 0


def _listed_by_git(listing: Listing, folder: Path, here: Path) -> list[Path] | None:
    tracked = git.tracked_files(folder)
    if tracked is None:
        return None
    found = {folder / name for name in tracked}
    # What is tracked is the project's own, whatever its folder is called; the rest may be anybody's.
    skipped: dict[Path, bool] = {}
    for name in git.other_files(folder):
        parents = [folder / parent for parent in list(Path(name).parents)[:-1]]
        for parent in parents:
            if parent not in skipped:
                skipped[parent] = is_skipped_folder(parent)
        if left_out := next((parent for parent in reversed(parents) if skipped[parent]), None):
            _leave_out(listing, left_out, here)
        else:
            found.add(folder / name)
    return list(found)


def _leave_out(listing: Listing, folder: Path, here: Path) -> None:
    one = Skipped(_told(folder, here), "folder of a tool")
    if one not in listing.skipped:
        listing.skipped.append(one)


def _walk(listing: Listing, folder: Path, here: Path, ignored: Ignoring) -> Iterator[Path]:
    def unreadable(exc: OSError) -> None:
        listing.skipped.append(Skipped(_told(Path(exc.filename), here), f"{_UNREADABLE}: {exc.strerror}"))

    for root, folders, names in os.walk(folder, onerror=unreadable):
        kept = []
        for name in sorted(folders):
            path = Path(root, name)
            if os.path.islink(path):  # noqa: PTH114 - pathlib raises where a path is too long
                names.append(name)
            elif ignored(_below(path, folder) + "/"):
                listing.ignored += 1
            elif is_skipped_folder(path):
                _leave_out(listing, path, here)
            else:
                kept.append(name)
        folders[:] = kept
        yield from (Path(root, name) for name in names)


def _below(path: Path, base: Path) -> str:
    try:
        return path.relative_to(base).as_posix()
    except ValueError:  # the folder was reached by a link
        return Path(os.path.realpath(path.parent), path.name).relative_to(os.path.realpath(base)).as_posix()


def _told(path: Path, here: Path) -> str:
    """Return a path as it is told: relative where it is below the current folder."""
    normal = os.path.normpath(path)
    return os.path.relpath(normal, here) if Path(normal).is_relative_to(here) else normal
