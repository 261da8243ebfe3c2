"""LFS objects of a copy: which ones its history names, which are there, fetched and pushed by git-lfs.

The history is read by git alone, so what is missing is known without git-lfs. Objects lie where git-lfs keeps them:
lfs/objects/aa/bb/<sha256> in the copy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autogit.errors import AutogitError, UnsupportedError
from autogit.providers.git.bare import BareCopy, Reading
from autogit.providers.git.faults import fault_of
from autogit.providers.git.lfs_files import adopt, is_whole
from autogit.providers.git.packed import replace_file
from autogit.providers.git.push import Writing
from autogit.providers.git.runner import Answer, Call
from autogit.providers.git.urls import check_url

_POINTER = re.compile(
    rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\n"
    rb"(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_POINTER_BYTES = 1024
_PUSHED_AT_ONCE = 500
_NOTES = "autogit-lfs.json"
_REMOTE = "autogit"
_ABSENT = re.compile(r"^\[[0-9a-f]{64}\] .*\[(?:404|410|422)\]", re.MULTILINE)
_FAILED = re.compile(r"^(?:fatal:|batch |.*\[(?:401|403|429|5\d\d)\])", re.MULTILINE)
_HINT = "install git-lfs 3 or newer (its package is called git-lfs), then sync again"


@dataclass(frozen=True, slots=True)
class LfsResult:
    """How a copy's LFS objects stand: how many its history names, and the ids of those that could not be had."""

    objects: int = 0
    missing: tuple[str, ...] = ()
    moved: int = 0


class LfsObjects:
    """The LFS objects of one copy. `programs` is the PATH that git-lfs is looked for on."""

    def __init__(self, copy: BareCopy, *, programs: str = "") -> None:
        self._copy = copy
        self._programs = programs or os.environ.get("PATH", os.defpath)

    @property
    def available(self) -> bool:
        """Whether there is a git-lfs."""
        return shutil.which("git-lfs", path=self._programs) is not None

    async def pointers(self, *, anew: bool = False) -> dict[str, int]:
        """Return the LFS objects (id and size) that the copy's refs name; reads what is new since the last time.

        `anew` reads the whole history again: after backups were forgotten, their objects do not count any more.
        """
        tips = tuple(sorted(set((await self._copy.refs()).values())))
        known = _Known() if anew else self._load()
        if tips != known.tips:
            known = _Known(tips, {**known.objects, **await self._scan(tips, known.tips)})
            async with self._copy.lock():
                replace_file(self._copy.path / _NOTES, json.dumps([known.tips, known.objects], indent=0).encode())
        return dict(known.objects)

    async def missing(self) -> tuple[str, ...]:
        """Return the ids of objects that the history names and the copy does not hold in full size."""
        pointers = await self.pointers()
        return tuple(sorted(oid for oid, size in pointers.items() if not is_whole(self._copy.path, oid, size)))

    async def fetch_all(self, reading: Reading) -> LfsResult:
        """Fetch what is missing from a source; what the source does not have itself is told in `missing`.

        Asks nothing where nothing is missing. The source's own LFS server is asked and no other, whatever a
        .lfsconfig in the history says. Raises UnsupportedError without git-lfs.
        """
        async with self._copy.lock():
            before = await self.missing()
            if not before:
                return LfsResult(len(await self.pointers()))
            problem = await self._fetch(reading, before)
            after = await self.missing()
            if problem is not None and after:
                raise problem
        return LfsResult(len(await self.pointers()), after, len(before) - len(after))

    async def push_all(self, writing: Writing) -> LfsResult:
        """Push all objects that the copy holds to a target, before its refs; the target says which ones it has."""
        pointers = await self.pointers()
        absent = set(await self.missing())
        held = sorted(pointers.keys() - absent)
        if held:
            self._demand(len(held))
        async with self._copy.lock():
            for start in range(0, len(held), _PUSHED_AT_ONCE):
                chosen = held[start : start + _PUSHED_AT_ONCE]
                answer = await self._lfs(("push", "--object-id", _REMOTE, *chosen), writing)
                if answer.code:
                    raise fault_of(f"pushing LFS objects to {writing.url}", answer.stderr)
        return LfsResult(len(pointers), tuple(sorted(absent)), len(held))

    async def _fetch(self, reading: Reading, wanted: Sequence[str]) -> AutogitError | None:
        if check_url(reading.url) == "file":
            adopt(Path(reading.url), self._copy.path, wanted)
            return None
        self._demand(len(wanted))
        answer = await self._lfs(("fetch", "--all", _REMOTE), reading)
        if not answer.code or (_ABSENT.search(answer.stderr) and not _FAILED.search(answer.stderr)):
            return None
        return fault_of(f"fetching LFS objects of {reading.url}", answer.stderr)

    def _demand(self, count: int) -> None:
        if not self.available:
            name = self._copy.path.name
            raise UnsupportedError(
                f"git: {name} has {count} LFS objects to be moved, and there is no git-lfs", hint=_HINT
            )

    async def _lfs(self, arguments: tuple[str, ...], place: Reading | Writing) -> Answer:
        server = f"{place.url.removesuffix('/').removesuffix('.git')}.git/info/lfs"
        config = {f"remote.{_REMOTE}.url": place.url, "lfs.locksverify": "false", "lfs.concurrenttransfers": "4"}
        if check_url(place.url) in {"https", "http"}:
            config |= {"lfs.url": server, f"remote.{_REMOTE}.lfsurl": server}
            config |= {f"lfs.{server}.access": "basic"} if place.credential else {}
        return await self._copy.run(
            Call(
                ("lfs", *arguments),
                action=f"moving LFS objects, {place.url}",
                url=place.url,
                credential=place.credential,
                budget_seconds=place.budget_seconds,
                config=config,
                environment={"PATH": self._programs},
                accept=tuple(range(256)),
            )
        )

    async def _scan(self, tips: Sequence[str], seen: Sequence[str]) -> dict[str, int]:
        """Read every blob that is small enough for a pointer and came after the tips that were seen."""
        known = await self._existing(seen)
        asked = "".join([*(f"{tip}\n" for tip in tips), *(f"^{tip}\n" for tip in known)])
        listed = await self._copy.run(
            Call(
                ("rev-list", "--objects", "--no-object-names", f"--filter=blob:limit={_POINTER_BYTES}", "--stdin"),
                action="reading the history",
                stdin=asked.encode(),
                budget_seconds=3600,
            )
        )
        kinds = await self._batch("--batch-check=%(objectname) %(objecttype) %(objectsize)", listed.stdout)
        small = (line.split() for line in kinds.splitlines())
        blobs = [words[0] for words in small if words[1] == b"blob" and int(words[2]) < _POINTER_BYTES]
        bodies = await self._batch("--batch", b"".join(blob + b"\n" for blob in blobs))
        return {found[1].decode(): int(found[2]) for body in _bodies(bodies) if (found := _POINTER.fullmatch(body))}

    async def _existing(self, ids: Sequence[str]) -> list[str]:
        lines = (await self._batch("--batch-check", "".join(f"{one}\n" for one in ids).encode())).splitlines()
        return [one for one, line in zip(ids, lines, strict=True) if not line.endswith(b" missing")]

    async def _batch(self, option: str, asked: bytes) -> bytes:
        call = Call(("cat-file", option, "--buffer"), action="reading objects", stdin=asked, budget_seconds=3600)
        return (await self._copy.run(call)).stdout

    def _load(self) -> _Known:
        try:
            tips, objects = json.loads((self._copy.path / _NOTES).read_text())
        except (OSError, ValueError):
            return _Known()
        return _Known(tuple(tips), objects)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of the history: up to which tips, and the LFS objects that it names."""

    tips: tuple[str, ...] = ()
    objects: Mapping[str, int] = field(default_factory=dict)


def _bodies(output: bytes) -> Iterator[bytes]:
    """Yield the contents of `cat-file --batch`: a line `id type size`, the content, a line break."""
    at = 0
    while at < len(output):
        end = output.index(b"\n", at)
        size = int(output[at:end].rsplit(b" ", 1)[1])
        yield output[end + 1 : end + 1 + size]
        at = end + size + 2
