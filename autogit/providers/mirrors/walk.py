"""A discovery under way: page after page, each asked for only if it changed since the last time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autogit.errors import MissingError, UnavailableError
from autogit.model.mirror import Discovery, MirrorRule, SourceRepository
from autogit.providers.mirrors.base import select
from autogit.providers.mirrors.wire import Reply, Wire

MOST_PAGES = 1000
"""A hundred thousand repositories: a list that is longer has no end."""

_KIND = "kind"
Entry = Mapping[str, Any]
Parse = Callable[[Entry], SourceRepository | None]
"""Makes a repository of an entry; None for one that is not the owner's. Raises KeyError, TypeError, ValueError."""
Next = Callable[[Reply, str, int], str]
"""Of a page's answer, its path and the entries so far, its own included: the path of the next page, "" for none."""


Heed = Callable[["Walk", Reply], None]


def _no_heed(_walk: Walk, _reply: Reply) -> None:
    """Take no note of anything."""


@dataclass(frozen=True, slots=True)
class _Page:
    found: tuple[SourceRepository, ...]
    entries: int
    odd: int
    following: str


@dataclass
class Walk:
    """Asks through a wire for what is not known to be as it was.

    What a page held is kept with its ETag: a 304 has no body. Only what was asked for this time is kept for the next.
    `heed` is called with each page's answer, before anything is made of it.
    """

    wire: Wire
    known: Mapping[str, str]
    heed: Heed = _no_heed
    kept: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complete: bool = True

    def one(self, path: str, doing: str, keys: Sequence[str]) -> dict[str, str]:
        """Return some texts and numbers of a single object, as texts."""
        before = self._known(path)
        reply = self.wire.ask(path, doing, before.get("etag", ""))
        if reply.is_unchanged:
            self.kept[path] = self.known[path]
            return {str(key): str(value) for key, value in before["fields"].items()}
        body = reply.body if isinstance(reply.body, Mapping) else {}
        fields = {key: str(body[key]) for key in keys if isinstance(body.get(key), str | int)}
        self._keep(path, reply, {"fields": fields})
        return fields

    def either(self, kinds: tuple[str, str], listed: Callable[[str], list[SourceRepository]]) -> list[SourceRepository]:
        """Return what an owner of one kind has, or of the other kind where the forge has none of the first.

        The kind that was found is asked for first the next time. Raises MissingError where it is neither.
        """
        first, second = kinds if self.known.get(_KIND) != kinds[1] else kinds[::-1]
        try:
            found, kind = listed(first), first
        except MissingError as exc:
            try:
                found, kind = listed(second), second
            except MissingError:
                raise exc from None
        self.kept[_KIND] = kind
        return found

    def pages(self, path: str, doing: str, parse: Parse, following: Next) -> list[SourceRepository]:
        """Return the repositories of all pages. Raises what the first page raises; a later page's pause ends the walk.

        Refusals are raised wherever they come: then the token ended, or somebody leads elsewhere.
        """
        found: list[SourceRepository] = []
        seen, odd, entries = {path}, 0, 0
        while path:
            try:
                page = self._page(path, doing, parse, following, entries)
            except UnavailableError as exc:
                if len(seen) == 1:
                    raise
                self.stop(f"{exc.message}; {len(found)} repositories were told before that")
                break
            found += page.found
            odd, entries, path = odd + page.odd, entries + page.entries, page.following
            if path in seen or len(seen) >= MOST_PAGES:
                self.stop(f"{self.wire.peer.name}: {doing}: the pages have no end; {len(seen)} were read")
                break
            seen.add(path)
        if entries and not found and not odd:
            self.note(f"{self.wire.peer.name}: {doing}: none of {entries} is there any more under that owner's name")
        if odd:
            self.notes.append(f"{self.wire.peer.name}: {doing}: {odd} without an id or a name are left out")
        return found

    def note(self, sentence: str) -> None:
        """Take note of something, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def stop(self, sentence: str) -> None:
        """Take note of what makes this discovery a part of the whole only."""
        self.complete = False
        self.note(sentence)

    def discovery(self, rule: MirrorRule, found: Sequence[SourceRepository]) -> Discovery:
        """Return the outcome. Of a part only, what is known of the pages that were not reached stays known."""
        repositories, left_out = select(rule, found)
        etags = self.kept if self.complete else {**self.known, **self.kept}
        return Discovery(repositories, etags, self.complete, self.wire.requests, (*self.notes, *left_out))

    def _page(self, path: str, doing: str, parse: Parse, following: Next, before: int) -> _Page:
        known = self._known(path)
        reply = self.wire.ask(path, doing, known.get("etag", ""))
        self.heed(self, reply)
        if reply.is_unchanged:
            self.kept[path] = self.known[path]
            found = tuple(_restored(one) for one in known["found"])
            return _Page(found, known["entries"], known["odd"], known["following"])
        entries = reply.body.get("values") if isinstance(reply.body, Mapping) else reply.body
        if not isinstance(entries, list):
            raise UnavailableError(f"{self.wire.peer.name}: {doing}: that is not the API's answer")
        found, odd = _parsed(entries, parse)
        page = _Page(found, len(entries), odd, following(reply, path, before + len(entries)) if entries else "")
        self._keep(path, reply, asdict(page))
        return page

    def _keep(self, path: str, reply: Reply, content: Mapping[str, Any]) -> None:
        # What only a part was shown of is asked for anew: a 304 need not say again that it is a part.
        etag = reply.headers.get("ETag", "")
        if etag and self.complete:
            self.kept[path] = json.dumps({"etag": etag, **content}, separators=(",", ":"))

    def _known(self, path: str) -> dict[str, Any]:
        """Return what was kept of an address; nothing where that is damaged."""
        try:
            before = json.loads(self.known.get(path, "{}"))
            for one in before.get("found", []):
                _restored(one)
        except (AttributeError, KeyError, TypeError, ValueError):
            return {}
        is_whole = isinstance(before.get("fields"), dict) or {"found", "entries", "odd", "following"} <= before.keys()
        return before if is_whole and isinstance(before.get("etag"), str) else {}


def _parsed(entries: Sequence[Any], parse: Parse) -> tuple[tuple[SourceRepository, ...], int]:
    """Return the repositories of a page's entries, and how many entries are none that could be understood."""
    found: list[SourceRepository] = []
    odd = 0
    for one in entries:
        try:
            made = parse(one)
        except (AttributeError, KeyError, TypeError, ValueError):
            odd += 1
        else:
            found += [made] if made else []
    return tuple(found), odd


def _restored(kept: Mapping[str, Any]) -> SourceRepository:
    return SourceRepository(**{**kept, "topics": tuple(kept["topics"])})
