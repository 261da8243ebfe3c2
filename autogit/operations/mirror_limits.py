"""How much a sync of mirrors takes upon itself: at once, in time, by a repository's size, and by what the disk has."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from autogit.errors import RateLimitedError, StorageFullError, UsageError
from autogit.model.mirror import Discovery, MirrorRule
from autogit.model.text import one_line

ASKED_AT_ONCE = 32
"""Requests for refs at a host at once: each is small, and waits for the network. GitHub takes 100 requests at once of
one user (docs.github.com, "Rate limits for the REST API", for its API; for git it names no number)."""
FETCHED_AT_ONCE = 8
"""Fetches from a host at once; also what is asked at once where each question is an SSH session (sshd's MaxStartups
drops connections from ten that are not logged in yet)."""
_MIB = 1 << 20
_ROOM_FACTOR = 2
_DURATION = re.compile(r"(\d{1,6})(s|m|h)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> float | None:
    """Return the seconds of `90s`, `30m`, `2h` or a number of seconds; None of "". Raises UsageError."""
    if not text:
        return None
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise UsageError(f"{text!r} is no time: 30m, 2h and 90s are")
    return float(int(found[1]) * _SECONDS[found[2] or "s"])


class Pace:
    """Turns at each host, and the time of a run. What was not begun within it is counted in `left`.

    A host that wants a pause gets it: nothing more is asked of it in this run.
    """

    def __init__(self, budget_seconds: float | None = None) -> None:
        self.left = 0
        self._budget = budget_seconds
        self._until = time.monotonic() + budget_seconds if budget_seconds else None
        self._asking: defaultdict[tuple[str, int], asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(ASKED_AT_ONCE)
        )
        self._fetching: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(FETCHED_AT_ONCE))
        self._pauses: dict[str, RateLimitedError] = {}

    def pause(self, url: str, wanted: RateLimitedError) -> None:
        """Take note that a repository's host wants to be asked later."""
        self._pauses.setdefault(urlsplit(url).netloc, wanted)

    def check_pause(self, url: str) -> None:
        """Raise the RateLimitedError of a repository's host, where it wanted a pause."""
        host = urlsplit(url).netloc
        if wanted := self._pauses.get(host):
            raise RateLimitedError(
                f"git: not asked, since {host} wants fewer requests", retry_after_seconds=wanted.retry_after_seconds
            )

    def asking(self, url: str) -> asyncio.Semaphore:
        """Return the turn of whoever asks a repository for its refs."""
        parts = urlsplit(url)
        return self._asking[parts.netloc, 0] if parts.scheme in {"http", "https"} else self.fetching(url)

    def fetching(self, url: str) -> asyncio.Semaphore:
        """Return the turn of whoever fetches."""
        return self._fetching[urlsplit(url).netloc]

    def remaining(self, most: float) -> float:
        """Return the seconds that are left, `most` at most."""
        return most if self._until is None else max(0.0, min(most, self._until - time.monotonic()))

    @property
    def is_over(self) -> bool:
        """Whether nothing new is to be begun."""
        return self._until is not None and time.monotonic() >= self._until

    def notes(self) -> Iterator[str]:
        """Yield the sentence about what was not begun."""
        if self.left:
            number = "a repository" if self.left == 1 else f"{self.left} repositories"
            yield f"the time of {self._budget:g} s was up: {number} not begun, the next sync begins with what was left"


def without_large(rule: MirrorRule, found: Discovery) -> tuple[Discovery, frozenset[str]]:
    """Take out what is larger than a rule takes: what is left, a note each with it, and the identities taken out.

    A forge that tells no size (0) has nothing taken out.
    """
    most = rule.max_repository_mb * _MIB
    large = [one for one in found.repositories if most and one.size_bytes > most]
    if not large:
        return found, frozenset()
    notes = tuple(
        f"{one_line(one.path)} is left out: {one.size_bytes // _MIB} MB at the source, max_repository_mb is "
        f"{rule.max_repository_mb}"
        for one in large
    )
    identities = frozenset(one.identity for one in large)
    kept = tuple(one for one in found.repositories if one.identity not in identities)
    return replace(found, repositories=kept, notes=(*found.notes, *notes)), identities


def check_room(folder: Path, rule: MirrorRule, size_bytes: int) -> None:
    """Raise StorageFullError where the disk of the copies has too little left to begin a fetch.

    `size_bytes` is what the forge says of a repository that is not here yet (0 otherwise): twice that must fit, for a
    pack and its index, and for what is unpacked while it is written.
    """
    free = shutil.disk_usage(folder).free
    wanted = max(rule.min_free_mb * _MIB, size_bytes * _ROOM_FACTOR)
    if free < wanted:
        raise StorageFullError(
            f"git: {folder} has {free // _MIB} MB left, {wanted // _MIB} MB are wanted before a fetch begins",
            hint=f"make room; what is there stays as it is (min_free_mb of {rule.name} is {rule.min_free_mb})",
        )
