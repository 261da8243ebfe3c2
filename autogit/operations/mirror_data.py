"""Releases with their files, issues and merge requests of mirrored repositories, kept as data beside the copies.

What goes wrong here is told by itself: it never makes a proof of code worse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from autogit.errors import AutogitError, RateLimitedError, StorageFullError
from autogit.model.mirror import MirrorRecord, MirrorRule
from autogit.operations.mirror_limits import check_room
from autogit.operations.project import Project
from autogit.providers.mirrors.base import MirrorSource
from autogit.providers.mirrors.data import Asset, DataKind, DataReader, ForgeData
from autogit.providers.mirrors.data_folder import DELETED, AssetNote, DataFolder, numbered
from autogit.providers.mirrors.download import Download
from autogit.providers.mirrors.wire import Wire

_AT_ONCE = 4
_MOST_ASSET_BYTES = 2 << 30
_MOST_TOLD = 5


class DataKeeper:
    """Keeps the data of those rules that want it, during one sync. `problems` are what could not be had."""

    def __init__(self, project: Project) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._mirrors = project.paths.mirrors
        self._clock = project.context.clock
        self._forges: dict[str, ForgeData] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def open(self, rule: MirrorRule, source: MirrorSource, token: str) -> None:
        """Find out where a rule's data is; says so where AutoGit copies none from such a source."""
        if not (rule.releases or rule.issues):
            return
        forge = source.data(rule, token)
        if forge is None:
            self.notes.append(f"{rule.name}: {rule.kind} has none of the releases and issues that AutoGit can copy")
        else:
            self._forges[rule.name] = forge

    async def keep(self, rule: MirrorRule, record: MirrorRecord | None) -> None:
        """Bring a repository's data to what the source tells. Raises nothing: faults are in `problems`."""
        if record is None or rule.name not in self._forges or "#" in record.identity:
            return
        number = record.identity.rpartition(":")[2]
        async with self._turns:
            if (forge := self._forges.get(rule.name)) is None:
                return  # the forge wanted a pause meanwhile
            folder = self._mirrors / f"{record.folder.removesuffix('.git')}.data"
            work = _Work(rule, forge, folder, self._clock)
            try:
                told = await asyncio.to_thread(work.all, record.path, number)
            except RateLimitedError as exc:
                del self._forges[rule.name]
                told = (f"{exc.message}; the data of the others is left for the next sync",)
            except AutogitError as exc:
                told = (_said(exc),)
            except OSError as exc:
                told = (f"{exc.filename or folder}: {exc.strerror}",)
        self.problems += [f"{rule.name}/{record.path}: data: {one}" for one in told]


@dataclass
class _Work:
    """One repository's data."""

    rule: MirrorRule
    forge: ForgeData
    path: Path
    clock: Callable[[], datetime]

    def all(self, path: str, number: str) -> tuple[str, ...]:
        """Read all lists, then fetch what is new of the files; returns what went wrong with single ones."""
        folder = DataFolder(self.path)
        wire = Wire(self.forge.peer, self.clock)
        try:
            told = [fault for kind in self._kinds() if (fault := self._list(folder, wire, kind, path, number))]
            return (*told, *(self._files(folder, path) if self.rule.releases else ()))
        finally:
            wire.close()
            if self.path.exists():
                folder.save_notes()

    def _list(self, folder: DataFolder, wire: Wire, kind: DataKind, path: str, number: str) -> str:
        """Bring one list to what the source tells; returns what went wrong: it stops no other list."""
        doing = f"the {kind.replace('_', ' ')} of {path}"
        try:
            reader = DataReader(self.forge, wire, folder.load(kind), folder.pages(kind))
            folder.save(kind, reader.read(kind, self.forge.place(path, number, kind), doing), self.clock())
        except (RateLimitedError, StorageFullError):
            raise
        except AutogitError as exc:
            return _said(exc)
        return ""

    def _kinds(self) -> Iterator[DataKind]:
        if self.rule.releases:
            yield DataKind.RELEASES
        if self.rule.issues:
            yield DataKind.ISSUES
            yield DataKind.MERGE_REQUESTS

    def _files(self, folder: DataFolder, path: str) -> tuple[str, ...]:
        told: list[str] = []
        for asset, place in _placed(folder, self.forge, path):
            try:
                self._file(folder, asset, place)
            except (RateLimitedError, StorageFullError):
                raise
            except AutogitError as exc:
                told.append(exc.message)
        more = (f"and {len(told) - _MOST_TOLD} files more",) if len(told) > _MOST_TOLD else ()
        return (*told[:_MOST_TOLD], *more)

    def _file(self, folder: DataFolder, asset: Asset, place: Path) -> None:
        note = folder.note(place)
        is_same_size = note is not None and asset.size_bytes in {-1, note.size_bytes}
        if note is not None and is_same_size and asset.stamp and asset.stamp == note.stamp:
            return
        check_room(self.path.parent, self.rule, max(asset.size_bytes, 0))
        kept = folder.set_aside(place)
        download = Download(self.forge.peer, self.forge.accept, _MOST_ASSET_BYTES)
        fetched = None
        try:
            fetched = download.fetch(asset, place, note.etag if note and is_same_size else "")
        finally:
            if kept and (fetched is None or (note and fetched.sha256 == note.sha256)):
                kept.unlink(missing_ok=True)
        if fetched is not None:
            new = AssetNote(fetched.size_bytes, fetched.sha256, asset.stamp, fetched.etag)
            folder.put_note(place, new)


def _said(exc: AutogitError) -> str:
    return exc.message + (f" ({exc.hint})" if exc.hint else "")


def _placed(folder: DataFolder, forge: ForgeData, path: str) -> Iterator[tuple[Asset, Path]]:
    """Yield the files that the releases have now, each with a place of its own."""
    taken: set[Path] = set()
    for release in folder.load(DataKind.RELEASES).values():
        if DELETED in release:
            continue
        for asset in forge.assets(path, release):
            place = folder.place(asset)
            place = numbered(place, asset) if place in taken else place
            taken.add(place)
            yield asset, place
