"""A text as it is scanned, with what is needed to tell where in the world a part of it stands."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

FILE, LOG, DIFF, COMMIT, STDIN = "file", "log", "diff", "commit", "default"
"""The kinds of sources; each may have thresholds of its own."""


@dataclass(frozen=True)
class ScanText:
    """One text.

    `path` is where it comes from (not yet fit to be shown). `lines` has the line number of each line of the text where
    they are not 1, 2, 3: the added lines of a diff.
    """

    path: str
    source: str
    text: str
    lines: tuple[int, ...] = ()
    commit: str = ""

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [0], self.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.text.find("\n", at + 1)
        return starts

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, both from 1."""
        index = bisect_right(self._starts, offset) - 1
        line = self.lines[index] if self.lines else index + 1
        return line, offset - self._starts[index] + 1


@dataclass(frozen=True, slots=True)
class Skipped:
    """One thing that is not scanned, and why."""

    path: str
    reason: str


def too_large(path: str, most_bytes: int) -> Skipped:
    """Return that something is larger than may be."""
    return Skipped(path, larger_than(most_bytes))


def larger_than(most_bytes: int) -> str:
    """Return the words for what is larger than may be."""
    return f"larger than {most_bytes / 1_000_000:g} MB"


def uri_of(path: str) -> str:
    """Return a path as a URI: relative as it is, absolute with `file://`; every odd byte percent-encoded."""
    encoded = quote(os.fsencode(path)) if not _has_lone_surrogates(path) else quote(path.encode("utf-8", "replace"))
    return f"file://{encoded}" if path.startswith("/") else encoded


def _has_lone_surrogates(path: str) -> bool:
    # Names of files hold bytes as surrogates that fsencode knows; names within archives may hold any.
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return True
    return False
