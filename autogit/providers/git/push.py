"""Pushing a copy to a target: exactly what differs, never over what the copy does not hold."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from autogit.providers.git.backups import RESTORED, pushed_name
from autogit.providers.git.bare import BareCopy
from autogit.providers.git.credentials import Credential
from autogit.providers.git.faults import fault_of
from autogit.providers.git.packed import replace_file, write_refs
from autogit.providers.git.refs import OWN, mirrored
from autogit.providers.git.runner import Answer, Call
from autogit.providers.git.scratch import scratch_folder

_PLAIN_NAMESPACES = ("refs/heads/", "refs/tags/", "refs/notes/")
_AT_ONCE = 1000
_LINE = re.compile(r"^([ +\-*=!])\t([^\t\n]*):(refs/[^\t\n]+)\t(.*)$", re.MULTILINE)
_FATAL = re.compile(r"^(?:fatal:|error: RPC failed|remote: .*(?:No space left|Disk quota))", re.MULTILINE)
_TOLD = re.compile(r"^remote: +GitLab: +(.+?)\s*$", re.MULTILINE)
_BY_HOOK = "hook declined"
_LONGEST_REASON = 300
_MOST_REFUSALS = 64
_NO_ATOMIC = "does not support --atomic"
_NO_OPTIONS = "does not support push options"
_PUSHED = "autogit-pushed"


class Layout(StrEnum):
    """Which names refs have at a target: the same ones, or those that GitLab takes.

    GitLab refuses refs/merge-requests/*, refs/pull/* and others of its own ("deny updating a hidden ref"): whatever is
    neither branch, tag nor note lies below refs/autogit/ there: refs/pull/1/head as refs/autogit/pull/1/head.
    """

    PLAIN = "plain"
    GITLAB = "gitlab"


@dataclass(frozen=True, slots=True)
class Writing:
    """Where a push goes to. `overwrite` names refs of the target that may be replaced though they are not ours.

    `name` is what the target is known by where its address may change ("": by its address). `config` is git's, for
    this address.
    """

    url: str
    credential: Credential | None = None
    layout: Layout = Layout.GITLAB
    overwrite: frozenset[str] = frozenset()
    skip_ci: bool = True
    budget_seconds: float = 3600.0
    name: str = ""
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did, by the target's ref names; `rejected` tells why a ref was not taken, or not touched."""

    pushed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)


def target_refs(refs: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """Return what a target must show of a copy's refs (`BareCopy.refs()`): mirrored ones and restored ones."""
    wanted = {_target_name(name, layout): object_id for name, object_id in mirrored(refs).items()}
    restored = {pushed_name(name): object_id for name, object_id in refs.items() if name.startswith(RESTORED)}
    return restored | wanted


def pushed_before(copy: BareCopy, target: str) -> dict[str, str]:
    """Return the refs that were pushed from a copy to a target (its name, or its address), as they were then."""
    return _Memory(copy, target).ours


async def push(copy: BareCopy, found: Mapping[str, str], writing: Writing) -> PushResult:
    """Make a target show what a copy holds. `found` are the refs that the target shows now (`advertise`).

    Only what differs is sent, as one atomic push where the target can, else ref by ref, so that one protected branch
    does not hold up the others. A ref of the target is replaced or deleted only if it is as we pushed it, or the copy
    holds its object: what someone else put there stays, and is told in `rejected`. Refs that we never pushed are never
    deleted. Raises what `Git.run` raises when nothing could be pushed.
    """
    async with copy.lock():
        memory = _Memory(copy, writing.name or writing.url)
        wanted = target_refs(await copy.refs(), writing.layout)
        moves = {name: new for name, new in wanted.items() if found.get(name) != new}
        moves |= dict.fromkeys((memory.ours.keys() & found.keys()) - wanted.keys(), "")
        foreign = await _foreign(copy, moves, found, memory.ours) - writing.overwrite
        moves = {name: new for name, new in moves.items() if name not in foreign}
        memory.intend(moves)
        with scratch_folder("push") as folder:
            done, refused = await _Sender(copy, found, writing, folder).send(moves) if moves else (set(), {})
        memory.settle({n: new for n, new in wanted.items() if n in done or found.get(n) == new}, done)
    told = dict.fromkeys(sorted(foreign), "changed at the target by someone else: left as it is")
    pushed, deleted = (tuple(sorted(name for name in done if bool(moves[name]) is kind)) for kind in (True, False))
    return PushResult(pushed, deleted, told | refused)


class _Memory:
    """What we pushed to one target: its refs and ids, in a file of the copy."""

    def __init__(self, copy: BareCopy, target: str) -> None:
        digest = hashlib.sha256(target.encode()).hexdigest()[:16]
        self._path = copy.path / _PUSHED / f"{digest}.json"
        self.ours = self._load()

    def intend(self, moves: Mapping[str, str]) -> None:
        """Note what is about to be pushed: after a SIGKILL it counts as ours."""
        if moves:
            self._save(self.ours | {name: new for name, new in moves.items() if new})

    def settle(self, held: Mapping[str, str], done: Iterable[str]) -> None:
        """Note what the target shows of ours now; what could not be moved or deleted stays noted as it was."""
        waiting = {name: old for name, old in self.ours.items() if name not in set(done)}
        self._save(waiting | dict(held))

    def _load(self) -> dict[str, str]:
        """Where there is no such file, or a damaged one, nothing counts as ours: then nothing is deleted."""
        try:
            loaded: dict[str, str] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return loaded

    def _save(self, refs: Mapping[str, str]) -> None:
        self._path.parent.mkdir(exist_ok=True)
        # The copy's lock is held: a draft that lies there is a killed run's.
        self._path.with_name(f"{self._path.name}.lock").unlink(missing_ok=True)
        replace_file(self._path, json.dumps(dict(sorted(refs.items())), indent=0).encode())


class _Sender:
    """Sends moves in chunks; learns what the target can.

    It pushes from an empty repository that uses the copy's objects and has, as its only refs, a chunk's refs by their
    names at the target: git compares each pushed name with every local ref and every one of the target.
    """

    def __init__(self, copy: BareCopy, found: Mapping[str, str], writing: Writing, folder: Path) -> None:
        self._folder = folder
        self._copy = copy
        self._found = found
        self._writing = writing
        self._atomic = True
        self._refusals = 0
        self._options: tuple[str, ...] = ("--push-option=ci.skip",) if writing.skip_ci else ()

    async def send(self, moves: Mapping[str, str]) -> tuple[set[str], dict[str, str]]:
        """Push all moves; return the refs that are done, and why others are not."""
        object_format = await self._copy.object_format()
        create = ("init", "--bare", "--quiet", "--template=", f"--object-format={object_format}", ".")
        await self._copy.run(Call(create, action="preparing a push"), self._folder)
        done: set[str] = set()
        refused: dict[str, str] = {}
        for chunk in _chunks(moves):
            landed, not_taken = await self._chunk(chunk)
            done |= landed
            refused |= not_taken
        return done, refused

    async def _chunk(self, moves: Mapping[str, str]) -> tuple[set[str], dict[str, str]]:
        landed, refused = _outcome(await self._push(moves, atomic=self._atomic))
        if not refused or not self._atomic:
            return landed, refused
        landed, refused = set(), {}
        waiting = _by_namespace(moves)  # one that is refused took all others with it: now in ever smaller parts
        while waiting:
            part = waiting.pop()
            one, other = _outcome(await self._push(part, atomic=False))
            self._refusals += len(other) == len(part)
            if len(other) == len(part) > 1 and self._refusals <= _MOST_REFUSALS:
                waiting += _halves(part)
                continue
            landed |= one
            refused |= other
        return landed, refused

    async def _push(self, moves: Mapping[str, str], *, atomic: bool) -> Answer:
        answer = await self._once(moves, atomic=atomic)
        if _NO_OPTIONS in answer.stderr:
            self._options = ()
            answer = await self._once(moves, atomic=atomic)
        if _NO_ATOMIC in answer.stderr:
            self._atomic = False
            answer = await self._once(moves, atomic=False)
        if answer.code and (_FATAL.search(answer.stderr) or not _LINE.search(answer.text)):
            raise fault_of(f"pushing to {self._writing.url}", answer.stderr)
        return answer

    async def _once(self, moves: Mapping[str, str], *, atomic: bool) -> Answer:
        new = {name: object_id for name, object_id in moves.items() if object_id}
        write_refs(self._folder, new)
        leases = [f"--force-with-lease={name}:{self._found[name]}" for name in moves if name in self._found]
        specs = [*(["refs/*:refs/*"] if new else []), *(f":{name}" for name in moves if name not in new)]
        call = Call(
            ("push", "--porcelain", "--no-verify", *(("--atomic",) if atomic else ()), *self._options,
             *leases, "--end-of-options", self._writing.url, *specs),
            action=f"pushing to {self._writing.url}",
            url=self._writing.url,
            credential=self._writing.credential,
            budget_seconds=self._writing.budget_seconds,
            config=self._writing.config,
            environment={"GIT_OBJECT_DIRECTORY": str((self._copy.path / "objects").absolute())},
            accept=(0, 1, 128),
        )  # fmt: skip
        return await self._copy.run(call, self._folder)


async def _foreign(
    copy: BareCopy, moves: Mapping[str, str], found: Mapping[str, str], ours: Mapping[str, str]
) -> set[str]:
    """Return the refs of the target that are not as we left them, and whose object the copy does not hold."""
    unsure = [name for name in moves if name in found and ours.get(name) != found[name]]
    if not unsure:
        return set()
    asked = "".join(f"{found[name]}\n" for name in unsure).encode()
    answer = await copy.run(Call(("cat-file", "--batch-check=%(objectname)"), stdin=asked))
    lines = answer.text.splitlines()
    return {name for name, line in zip(unsure, lines, strict=True) if line.endswith(" missing")}


def _target_name(name: str, layout: Layout) -> str:
    if layout is Layout.PLAIN or name.startswith(_PLAIN_NAMESPACES):
        return name
    return f"{OWN}{name.removeprefix('refs/')}"


def _chunks(moves: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Split moves for argument lists; a branch in whose place a folder comes (or the reverse) goes first."""
    created = {name for name, new in moves.items() if new}
    folders = {parent for name in created for parent in _parents(name)}
    first = {
        name
        for name, new in moves.items()
        if not new and (name in folders or any(parent in created for parent in _parents(name)))
    }
    for names in (sorted(first), sorted(moves.keys() - first)):
        for start in range(0, len(names), _AT_ONCE):
            yield {name: moves[name] for name in names[start : start + _AT_ONCE]}


def _parents(name: str) -> Iterator[str]:
    while "/" in (name := name.rpartition("/")[0]):
        yield name


def _by_namespace(moves: Mapping[str, str]) -> list[dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    for name, new in moves.items():
        groups.setdefault("/".join(name.split("/")[:2]), {})[name] = new
    return list(groups.values())


def _halves(moves: Mapping[str, str]) -> list[dict[str, str]]:
    names = sorted(moves)
    middle = len(names) // 2
    return [{name: moves[name] for name in some} for some in (names[:middle], names[middle:])]


def _outcome(answer: Answer) -> tuple[set[str], dict[str, str]]:
    """Read git's porcelain: a flag, source:target, what happened (git-push(1), OUTPUT)."""
    landed: set[str] = set()
    refused: dict[str, str] = {}
    told = " ".join(dict.fromkeys(_TOLD.findall(answer.stderr)))[:_LONGEST_REASON]
    for flag, _, name, text in _LINE.findall(answer.text):
        if flag == "!":
            refused[name] = f"{text}: {told}" if told and _BY_HOOK in text else text
        else:
            landed.add(name)
    return landed, refused
