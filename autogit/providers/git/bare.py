"""A bare copy of a repository: what its source shows, and the backups of what the source lost."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from autogit.errors import MissingError, RejectedError, StorageFullError
from autogit.model.mirror import Advertisement, FetchResult
from autogit.providers.git.backups import RESTORED, Backup, Restored, backups_of, free_prefix, pushed_name
from autogit.providers.git.credentials import Credential
from autogit.providers.git.lock import copy_lock
from autogit.providers.git.packed import has_loose_refs, replace_file, write_refs
from autogit.providers.git.refs import OWN, check_refs, format_of, is_object_id, mirrored
from autogit.providers.git.runner import Answer, Call, Git
from autogit.providers.git.scratch import scratch_folder

_NOWHERE = "refs/heads/autogit-no-head"
_DETACHED = "refs/detached-head"
# For whoever runs git here by hand, or serves the copy: nothing is pruned, and backups are not shown.
_SETTINGS = "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[uploadpack]\n\thideRefs = refs/autogit/backup\n"
_KEPT = frozenset({"autogit.lock", "autogit-pushed"})
_CHECKED_ONE_BY_ONE = 500
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a fetch reads from. `allow_empty` lets a source that shows no refs any more empty the copy."""

    url: str
    credential: Credential | None = None
    allow_empty: bool = False
    budget_seconds: float = 3600.0


class BareCopy:
    """One bare repository that AutoGit alone writes, under its lock (two syncs at once wait, or refuse).

    Every ref lies in packed-refs, which is replaced as a whole: a SIGKILL at any point leaves the refs as they were or
    as they shall be, and every id that a fetch took away is in a backup in the same moment.
    """

    def __init__(self, path: Path, git: Git, *, wait_seconds: float = 0.0) -> None:
        self.path = path
        self._git = git
        self._wait_seconds = wait_seconds
        self._held: int | None = None
        self._holder: asyncio.Task[object] | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a repository."""
        return (self.path / "HEAD").is_file() and (self.path / "objects").is_dir()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold the copy's lock over several calls; each call takes it by itself otherwise."""
        task = asyncio.current_task()
        if self._held is not None and self._holder is task:
            yield
            return
        async with copy_lock(self.path, self._wait_seconds) as descriptor:
            self._held, self._holder = descriptor, task
            try:
                yield
            finally:
                self._held = self._holder = None

    async def ensure(self, object_format: str = "sha1") -> None:
        """Create the repository where there is none. Raises RejectedError where it has the other object format.

        A copy that never had a ref is made anew then: an empty source may have been created again.
        """
        async with self.lock():
            if self.exists:
                if await self.object_format() == object_format:
                    return
                if await self.refs():
                    raise RejectedError(
                        f"git: the source has {object_format} objects now, the copy {self.path.name} has others",
                        hint="the source was created anew: add it as a mirror of its own, the copy stays as it is",
                    )
                self._clear()
            await self._create(object_format)

    async def fetch(self, source: Advertisement, reading: Reading, now: datetime) -> FetchResult:
        """Make the copy show what the source shows: objects first, then all refs at once, then HEAD.

        Ids of deleted refs, of moved tags and of branches that were not simply advanced are kept as backups. Raises
        RejectedError where the source shows no refs any more (unless allowed), UnavailableError where it changed
        since `source` was read, and what `Git.run` raises; the copy's refs are as they were then.
        """
        wanted = mirrored(source.refs)
        check_refs(wanted, source.object_format)
        async with self.lock():
            await self.ensure(source.object_format)
            await self._pack_loose_refs()
            before = await self.refs()
            if mirrored(before) and not wanted and not reading.allow_empty:
                raise RejectedError(
                    f"git: {reading.url} shows no refs any more; the copy still has all of them",
                    hint="look at the source; if it shall be empty, sync with --allow-empty (all goes to backups)",
                )
            detached = {_DETACHED: source.head} if is_object_id(source.head) else {}
            await self._fetch_objects(reading, {**wanted, **detached}, before)
            result = await self._move(before, wanted, source.head, now)
            self._set_head(source.head, wanted)
        return result

    async def refs(self) -> dict[str, str]:
        """Return all refs, AutoGit's own (backups, restored ones) included."""
        answer = await self.run(Call(("for-each-ref", "--format=%(objectname) %(refname)"), action="reading refs"))
        pairs = (line.partition(" ") for line in answer.text.split("\n") if line)
        return {name: object_id for object_id, _, name in pairs}

    async def advertisement(self) -> Advertisement:
        """Return what the copy shows of its source: all refs but AutoGit's own, and HEAD."""
        refs = mirrored(await self.refs())
        head = (self.path / "HEAD").read_text().strip()
        branch = head.removeprefix("ref: ")
        shown = branch if branch == head or branch in refs else ""
        return Advertisement(refs, shown, format_of(refs) or await self.object_format())

    async def object_format(self) -> str:
        """Return sha1 or sha256."""
        return (await self.run(Call(("rev-parse", "--show-object-format")))).text.strip()

    async def backups(self) -> tuple[Backup, ...]:
        """Return all backups, oldest first."""
        return backups_of(await self.refs())

    async def restore(self, name: str, *, date: str = "") -> Restored:
        """Bring a backup back, and say where: by its ref, or the newest one of a ref's name (of one day).

        It comes back below refs/autogit/restored/ beside what the source shows, which no fetch touches; a push takes
        it to the target as a branch of its own (backups.py). Repeating it changes nothing. Raises MissingError.
        """
        async with self.lock():
            refs = await self.refs()
            found = [b for b in backups_of(refs) if name in {b.ref, b.name} and f"{b.at:%Y-%m-%d}".startswith(date)]
            if not found:
                raise MissingError(
                    f"git: {self.path.name} has no backup of {name}", hint="autogit mirror backups lists what there is"
                )
            backup = found[-1]
            if backup.restored not in refs:
                write_refs(self.path, refs | {backup.restored: backup.object_id})
        return Restored(backup.restored, pushed_name(backup.restored), backup.object_id)

    async def forget_restored(self, ref: str) -> None:
        """Take a restored ref away again; its backup stays. Raises MissingError."""
        async with self.lock():
            refs = await self.refs()
            if not ref.startswith(RESTORED) or ref not in refs:
                raise MissingError(f"git: {self.path.name} has no restored ref {ref}")
            write_refs(self.path, {name: object_id for name, object_id in refs.items() if name != ref})

    async def prune_backups(self, before: datetime) -> tuple[str, ...]:
        """Forget backups made before a moment; their objects go at the next full `maintain`. Return their refs."""
        async with self.lock():
            refs = await self.refs()
            old = tuple(backup.ref for backup in backups_of(refs) if backup.at < before)
            if old:
                write_refs(self.path, {name: object_id for name, object_id in refs.items() if name not in set(old)})
        return old

    async def maintain(self, *, full: bool = False, budget_seconds: float = 3600.0) -> None:
        """Keep the copy fast: packs joined geometrically, a commit graph; `full` also drops what no ref reaches."""
        steps: list[tuple[str, ...]] = [("pack-refs", "--all"), ("repack", "-d", "-q", "--geometric=2", "--write-midx")]
        if full:
            steps[1] = ("gc", "--quiet", "--prune=2.weeks.ago")
        steps.append(("commit-graph", "write", "--reachable", "--no-progress"))
        async with self.lock():
            if await self._git.version() < (2, 34) and not full:
                steps[1] = ("repack", "-d", "-q")
            for step in steps:
                await self.run(Call(step, action=f"maintaining {self.path.name}", budget_seconds=budget_seconds))

    async def verify(self, *, budget_seconds: float = 3600.0) -> None:
        """Check that every object that a ref reaches is there. Raises ProviderError."""
        await self.run(
            Call(
                ("fsck", "--connectivity-only", "--no-dangling", "--no-progress"),
                action=f"checking {self.path.name}",
                budget_seconds=budget_seconds,
            )
        )

    async def run(self, call: Call, folder: Path | None = None) -> Answer:
        """Run git in the copy (or in another repository); while the lock is held, git holds it too (lock.py)."""
        held = () if self._held is None else (self._held,)
        return await self._git.run(
            Call(
                ("--git-dir=.", *call.arguments), call.action, call.url, call.credential, call.stdin,
                call.budget_seconds, call.config, call.environment, call.accept, held,
            ),
            folder or self.path,
        )  # fmt: skip

    async def _pack_loose_refs(self) -> None:
        if has_loose_refs(self.path):
            await self.run(Call(("pack-refs", "--all", "--prune"), action="packing refs", budget_seconds=600))

    async def _fetch_objects(self, reading: Reading, wanted: Mapping[str, str], before: Mapping[str, str]) -> None:
        """Fetch by object id, without refs of their own: names may move meanwhile, and matching 50,000 takes minutes.

        Until the refs are written nothing points to the new objects; nothing is ever pruned without the lock.
        """
        shallow = (self.path / "shallow").exists()
        known = set() if shallow else set(before.values())
        ids = sorted(set(wanted.values()) - known)
        if not ids:
            return
        deepen = ("--unshallow",) if shallow else ()
        await self.run(
            Call(
                ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
                 "--no-recurse-submodules", "--refmap=", *deepen, "--stdin", "--end-of-options", reading.url),
                action=f"fetching {reading.url}",
                url=reading.url,
                credential=reading.credential,
                stdin="".join(f"{object_id}\n" for object_id in ids).encode(),
                budget_seconds=reading.budget_seconds,
            )
        )  # fmt: skip

    async def _move(
        self, before: Mapping[str, str], wanted: Mapping[str, str], head: str, now: datetime
    ) -> FetchResult:
        had = mirrored(before)
        created = sorted(wanted.keys() - had.keys())
        updated = sorted(name for name in wanted.keys() & had.keys() if wanted[name] != had[name])
        deleted = sorted(had.keys() - wanted.keys())
        moves = {name: (had[name], wanted[name]) for name in updated} | self._head_move(wanted.get(head, head))
        lost = sorted([*deleted, *await self._not_advanced(moves)])
        prefix = free_prefix(before, now)
        olds = {**had, **{name: old for name, (old, _) in moves.items()}}
        kept = {f"{prefix}{name.removeprefix('refs/')}": olds[name] for name in lost}
        if created or updated or deleted or kept:
            own = {name: object_id for name, object_id in before.items() if name.startswith(OWN)}
            write_refs(self.path, {**wanted, **own, **kept})
        return FetchResult(tuple(created), tuple(updated), tuple(deleted), tuple(kept))

    def _head_move(self, new: str) -> dict[str, tuple[str, str]]:
        """Return the move of a detached HEAD: its id may be in no ref."""
        old = (self.path / "HEAD").read_text().strip()
        return {_DETACHED: (old, new)} if is_object_id(old) and old != new else {}

    async def _not_advanced(self, moves: Mapping[str, tuple[str, str]]) -> list[str]:
        """Return the refs whose old id the new one does not hold in its history; all of them where they are many."""
        if len(moves) > _CHECKED_ONE_BY_ONE:
            return list(moves)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def advanced(name: str, old: str, new: str) -> bool:
            if name.startswith("refs/tags/") or not is_object_id(new):
                return False
            async with turns:
                call = Call(("merge-base", "--is-ancestor", old, new), accept=(0, 1, 128), budget_seconds=600)
                return (await self.run(call)).code == 0

        answers = await asyncio.gather(*(advanced(name, old, new) for name, (old, new) in moves.items()))
        return [name for name, answer in zip(moves, answers, strict=True) if not answer]

    def _set_head(self, head: str, wanted: Mapping[str, str]) -> None:
        """Point HEAD where the source's points; a source whose HEAD leads nowhere gets one that does not either."""
        text = f"{head}\n" if is_object_id(head) else f"ref: {head if head in wanted else _NOWHERE}\n"
        if (self.path / "HEAD").read_text() != text:
            replace_file(self.path / "HEAD", text.encode())

    async def _create(self, object_format: str) -> None:
        """Make the repository, its settings in it from the first moment (git copies a template before all else)."""
        with scratch_folder("template") as template:
            replace_file(template / "config", _SETTINGS.encode())
            arguments = ("init", "--bare", "--quiet", f"--template={template}", f"--object-format={object_format}", ".")
            await self.run(Call(arguments, action=f"creating {self.path}"))

    def _clear(self) -> None:
        try:
            for entry in self.path.iterdir():
                if entry.name in _KEPT:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        except OSError as exc:
            raise StorageFullError(f"git: {self.path} cannot be made anew: {exc.strerror}") from exc
