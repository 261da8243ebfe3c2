"""What a forge tells of a repository beside its code: releases with files, issues, merge requests, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autogit.errors import UnavailableError
from autogit.providers.mirrors.names import plain
from autogit.providers.mirrors.wire import Peer, Reply, Wire

MOST_PAGES = 1000
Entry = Mapping[str, Any]


class DataKind(StrEnum):
    """A list of data, and the name of its file."""

    RELEASES = "releases"
    ISSUES = "issues"
    MERGE_REQUESTS = "merge_requests"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a release. `stamp` changes whenever the file does; "" where the forge tells no such thing.

    `digest` is a SHA-256 in hex, `size_bytes` is -1, where the forge does not tell it.
    """

    release: str
    name: str
    url: str
    size_bytes: int = -1
    digest: str = ""
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What is kept of a page between two syncs: a 304 has no body."""

    etag: str
    keys: tuple[str, ...]
    following: str


@dataclass(frozen=True, slots=True)
class Collected:
    """All entries of a list by their keys, and its pages by their paths."""

    entries: Mapping[str, Entry]
    pages: Mapping[str, Page]


def _next_link(reply: Reply, _path: str, _entries: int) -> str:
    return reply.next_link


def _keep_all(_kind: DataKind, _entry: Entry) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class ForgeData:
    """Where one forge has its data, for a rule's owner and token.

    `place` gives the first page of a list, by the repository's path below the owner and its number; `assets` reads the
    files of a release; `keeps` says of an entry whether it belongs to the list.
    """

    peer: Peer
    place: Callable[[str, str, DataKind], str]
    assets: Callable[[str, Entry], Iterable[Asset]]
    following: Callable[[Reply, str, int], str] = _next_link
    keeps: Callable[[DataKind, Entry], bool] = _keep_all
    accept: str = "*/*"


@dataclass
class DataReader:
    """Reads lists through a wire; what did not change since the last time is asked for and not sent again."""

    forge: ForgeData
    wire: Wire
    before: Mapping[str, Entry] = field(default_factory=dict)
    pages: Mapping[str, Page] = field(default_factory=dict)

    def read(self, kind: DataKind, path: str, doing: str) -> Collected:
        """Return a whole list. Raises whatever breaks it off: of half a list nothing could be called deleted."""
        found: dict[str, Entry] = {}
        pages: dict[str, Page] = {}
        told = 0
        while path:
            if path in pages or len(pages) >= MOST_PAGES:
                raise UnavailableError(f"{self.wire.peer.name}: {doing}: the pages have no end; {len(pages)} were read")
            entries, page, count = self._page(kind, path, doing, told)
            found.update(entries)
            pages[path] = page
            told, path = told + count, page.following
        return Collected(found, pages)

    def _page(self, kind: DataKind, path: str, doing: str, told: int) -> tuple[dict[str, Entry], Page, int]:
        known = self.pages.get(path)
        if known is not None and not self.before.keys() >= set(known.keys):
            known = None
        reply = self.wire.ask(path, doing, known.etag if known else "")
        if known is not None and reply.is_unchanged:
            return {key: self.before[key] for key in known.keys}, known, len(known.keys)
        if not isinstance(reply.body, list):
            raise UnavailableError(f"{self.wire.peer.name}: {doing}: that is not the API's answer")
        entries = {key: one for one in reply.body if (key := key_of(one)) and self.forge.keeps(kind, one)}
        following = self.forge.following(reply, path, told + len(reply.body)) if reply.body else ""
        return entries, Page(reply.headers.get("ETag", ""), tuple(entries), following), len(reply.body)


def key_of(entry: Any) -> str:
    """Return what an entry is known by: its number, else its tag; "" for what is no entry."""
    if not isinstance(entry, Mapping):
        return ""
    number, tag = entry.get("id"), entry.get("tag_name")
    if isinstance(number, int) and not isinstance(number, bool):
        return str(number)
    return tag if isinstance(tag, str) else ""


def text(entry: Any, key: str) -> str:
    """Return a text of an entry in one line, "" where there is none."""
    return plain(entry.get(key)) if isinstance(entry, Mapping) else ""


def items(value: Any) -> list[Entry]:
    """Return the objects of a list, nothing for anything else."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def size(value: Any) -> int:
    """Return a size in bytes, -1 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1
