"""Reading what `git diff` and `git log --patch` write (no context lines): which lines were added to which file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from autogit.security.scanning.texts import larger_than

_MARGIN = 1 << 16
"""Room for the marks of a merge's line, and for heads whatever the limit."""
_CHUNK = 1 << 20
_HUNK = re.compile(rb"^(@@+) .*?\+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}


@dataclass
class FileDiff:
    """What was added to one file: its lines (bytes, joined), the number of each, or why there are none."""

    commit: str
    path: str = ""
    lines: list[int] = field(default_factory=list)
    skipped: str = ""
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def added(self) -> bytes:
        """The added lines; lines that do not follow each other have an empty one between them."""
        return b"\n".join(self.parts)

    def add(self, number: int, line: bytes, most_bytes: int) -> None:
        """Take one more line, unless that is too much."""
        self.size += len(line) + 1
        if self.size > most_bytes:
            self.skipped = larger_than(most_bytes)
            self.parts.clear()
            self.lines.clear()
        elif not self.skipped:
            if self.lines and number > self.lines[-1] + 1:
                self.lines.append(self.lines[-1] + 1)
                # In UTF-16 a line end is two bytes, and git cuts it in half: the rest must not shift by one.
                self.parts.append(b"\0" if b"\0" in {line[:1], line[-1:]} else b"")
            self.lines.append(number)
            self.parts.append(line)


def read_diffs(stream: IO[bytes], most_bytes: int) -> Iterator[FileDiff]:
    """Yield each file's additions; those of a commit follow a line of NUL and its id."""
    reader = _Reader(most_bytes)
    for line in _lines(stream, most_bytes):
        done = reader.take(line)
        if done is not None:
            yield done
    if reader.file is not None:
        yield reader.file


def _lines(stream: IO[bytes], most_bytes: int) -> Iterator[bytes]:
    """Yield lines; of one that is longer than may be only so much that this is seen, for it may be all of a disk."""
    while line := stream.readline(most_bytes + _MARGIN):
        rest = line
        while not rest.endswith(b"\n") and (rest := stream.readline(_CHUNK)):
            continue
        yield line.removesuffix(b"\n")


class _Reader:
    """Where in a diff the reading is: before the first file, in a file's head, or within a hunk."""

    def __init__(self, most_bytes: int) -> None:
        self.file: FileDiff | None = None
        self._most = most_bytes
        self._commit = ""
        self._number = self._left = self._parents = 0

    def take(self, line: bytes) -> FileDiff | None:
        """Read one line; return the file that it ends, if it does."""
        if self._left and self._in_hunk(line):
            return None
        if line.startswith(b"\0"):
            self._commit = line[1:].decode("ascii", "replace")
            return self._leave(None)
        if line.startswith(b"diff --"):
            return self._leave(FileDiff(self._commit, _path_of_head(line)))
        if self.file is not None:
            self._in_head(self.file, line)
        return None

    def _leave(self, following: FileDiff | None) -> FileDiff | None:
        done, self.file, self._left = self.file, following, 0
        return done

    def _in_head(self, file: FileDiff, line: bytes) -> None:
        if line.startswith(b"+++ "):
            file.path = _path(line[4:]) or file.path
        elif line.startswith(b"Binary files "):
            file.skipped = "binary"
        elif hunk := _HUNK.match(line):
            self._parents = len(hunk[1]) - 1
            self._number = int(hunk[2])
            self._left = int(hunk[3] or 1)

    def _in_hunk(self, line: bytes) -> bool:
        """Read a line of a hunk; it is over when as many lines as its head says were there in the new file."""
        marks = line[: self._parents]
        if b"-" in marks or line.startswith(b"\\"):
            return True
        if marks.strip(b"+ ") or not marks:
            self._left = 0  # not what git writes: read it as a head, so that nothing after it is lost
            return False
        if marks == b"+" * self._parents and self.file is not None:  # of a merge: in none of its parents
            self.file.add(self._number, line[self._parents :], self._most)
        self._number += 1
        self._left -= 1
        return True


def _path(word: bytes) -> str:
    """Return the path of a `+++` line: `b/` before it, a tab after it where it has blanks, quoted where it is odd."""
    quoted = word.startswith(b'"')
    name = _ESCAPE.sub(_unescaped, word.rpartition(b'"')[0][1:]) if quoted else word.removesuffix(b"\t")
    return "" if name == b"/dev/null" else os.fsdecode(name.removeprefix(b"b/"))


def _unescaped(match: re.Match[bytes]) -> bytes:
    word = match[1]
    return bytes([int(word, 8) & 0xFF]) if len(word) == 3 else _ESCAPED.get(word, word)  # noqa: PLR2004 - octal


def _path_of_head(line: bytes) -> str:
    """Return the path of a `diff --git a/x b/x` or `diff --cc x` line: all there is for binary files."""
    if line.startswith(b"diff --git "):
        words = line.removeprefix(b"diff --git ")
        if words.endswith(b'"'):
            return _path(words[words.rfind(b' "') + 1 :])
        return _path(words[words.rfind(b" b/") + 1 :])
    return _path(line.partition(b" ")[2].partition(b" ")[2])
