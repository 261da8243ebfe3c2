"""What all forges have in common: a wire for each call, and looking a repository up by its number."""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from autogit.errors import MissingError, UnsupportedError
from autogit.model.mirror import Discovery, MirrorRule, SourceRepository
from autogit.providers.mirrors.base import MirrorSource
from autogit.providers.mirrors.names import path_fault, shown
from autogit.providers.mirrors.walk import Entry, Walk
from autogit.providers.mirrors.wire import Peer, Reply, Wire

_MADE_FOR = "made for"
_FORM = 1
"""Of what is kept between discoveries; another number forgets it."""
LOOKING_UP = "the repository with the number"
"""How a repository that is looked up is spoken of: a 404 means another thing there than with a list."""


class ForgeSource(MirrorSource):
    """A forge with a REST API. What a forge's own file holds is where things are, and how they are told."""

    identity_pattern: ClassVar[str] = r"[0-9]{1,19}"

    async def discover(self, rule: MirrorRule, token: str, etags: Mapping[str, str]) -> Discovery:
        """Walk through the pages in a thread."""
        return await asyncio.to_thread(self._discover, rule, token, etags)

    async def find(self, rule: MirrorRule, token: str, identity: str) -> SourceRepository | None:
        """Ask for one repository by its number."""
        return await asyncio.to_thread(self._find, rule, token, identity)

    @abstractmethod
    def peer(self, rule: MirrorRule, token: str) -> Peer:
        """Return whom to ask."""

    @abstractmethod
    def walk(self, walk: Walk, rule: MirrorRule) -> list[SourceRepository]:
        """Return all that the owner has."""

    @abstractmethod
    def place(self, rule: MirrorRule, number: str) -> str:
        """Return the path of a repository's own page in the API."""

    @abstractmethod
    def parse(self, rule: MirrorRule, entry: Entry) -> SourceRepository:
        """Make a repository of the forge's words. Raises KeyError, TypeError, ValueError."""

    def heed(self, rule: MirrorRule, walk: Walk, reply: Reply) -> None:
        """Take note of what a good answer says of the token, where a forge says such things."""

    def _discover(self, rule: MirrorRule, token: str, etags: Mapping[str, str]) -> Discovery:
        with self._wire(rule, token) as wire:
            # What was kept for another server or owner holds their repositories, with their addresses.
            made_for = f"{_FORM} {rule.server} {rule.owner} {rule.wiki}"
            known = etags if etags.get(_MADE_FOR) == made_for else {}
            walk = Walk(wire, known, partial(self.heed, rule))
            walk.kept[_MADE_FOR] = made_for
            return walk.discovery(rule, self.walk(walk, rule))

    def _find(self, rule: MirrorRule, token: str, identity: str) -> SourceRepository | None:
        name, _, number = identity.partition(":")
        if name != self.provider_name or not re.fullmatch(self.identity_pattern, number):
            raise UnsupportedError(f"{self.provider_name}: {shown(identity)} is no identity of a repository there")
        with self._wire(rule, token) as wire:
            try:
                reply = wire.ask(self.place(rule, number), f"{LOOKING_UP} {number}")
            except MissingError:
                return None
        return self._found(rule, reply)

    def _found(self, rule: MirrorRule, reply: Reply) -> SourceRepository | None:
        try:
            found = self.parse(rule, reply.body)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise UnsupportedError(f"{self.provider_name}: a repository is told without an id or a name") from exc
        if fault := path_fault(found.path):
            raise UnsupportedError(f"{self.provider_name}: {shown(found.path)} cannot be kept: {fault}")
        return found

    @contextmanager
    def _wire(self, rule: MirrorRule, token: str) -> Iterator[Wire]:
        wire = Wire(self.peer(rule, token), self.context.clock)
        try:
            yield wire
        finally:
            wire.close()


def below(owner: str, path: str) -> str:
    """Return a path without its owner; as it is where it is somebody else's. Case does not tell owners apart."""
    prefix = f"{owner}/"
    return path[len(prefix) :] if path.casefold().startswith(prefix.casefold()) else path


def query(path: str, **parameters: str | int) -> str:
    """Return a path with a query."""
    return f"{path}?{urlencode(parameters)}"


def number_of(entry: Entry) -> int:
    """Return a repository's number. Raises KeyError and ValueError."""
    number = entry["id"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError("no number")
    return number


def text_of(entry: Entry, key: str) -> str:
    """Return a text that must be there. Raises KeyError and ValueError."""
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise ValueError(key)
    return value


def size_of(value: Any, unit: int = 1) -> int:
    """Return a size in bytes, 0 where it is none."""
    return value * unit if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def parameters_of(path: str) -> dict[str, str]:
    """Return the query of a path."""
    return dict(parse_qsl(urlsplit(path).query))
