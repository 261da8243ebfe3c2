"""`autogit mirror sync`: what the source has is fetched, and what was fetched is proven to be what the source has."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit

from autogit.core.lock import apply_lock
from autogit.core.mirrors import copy_folder, next_check
from autogit.errors import AutogitError, GoneError, RateLimitedError, UsageError
from autogit.model.mirror import (
    Advertisement,
    Discovery,
    MirrorRecord,
    MirrorRule,
    MirrorStatusView,
    Proof,
    SourceRepository,
)
from autogit.operations.mirror import choose_rules, load_rules, open_records, status_of
from autogit.operations.project import Project
from autogit.providers.git.advertisement import RefsByHttp
from autogit.providers.git.bare import BareCopy, Reading
from autogit.providers.git.credentials import Credential
from autogit.providers.git.lfs import LfsObjects
from autogit.providers.git.packed import read_refs
from autogit.providers.git.refs import advertise, difference, mirrored
from autogit.providers.git.runner import Git
from autogit.providers.host.secret_store import SecretStore
from autogit.providers.mirrors.base import MirrorSource
from autogit.providers.registry import load_provider

_PER_HOST = 8
_WRITTEN_AT_ONCE = 50
_WIKI = "#wiki"
OnRepository = Callable[[str, str, int, int], None]
"""Told of each repository that is done: its rule and path, what became of it, how many are done, and of how many."""


def _nobody(_name: str, _text: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """How a sync is asked for: which mirrors (all where none is named), only what is due, or every ref compared anew.

    `allow_empty` lets a source that shows no refs any more empty its copy; what was there is kept as backups.
    """

    names: tuple[str, ...] = ()
    due: bool = False
    verify: bool = False
    allow_empty: bool = False


async def sync(project: Project, request: SyncRequest, on_repository: OnRepository = _nobody) -> MirrorStatusView:
    """Bring copies to what their sources have, and prove it. One bad repository never stops the rest.

    Raises SettingsError, UsageError, and ApplyLockHeldError where another sync is at work.
    """
    rules = choose_rules(load_rules(project), request.names)
    project.paths.mirrors.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = time.monotonic()
    async with apply_lock(project.paths.mirrors / "sync.lock", "mirror sync"):
        run = _Sync(project, request, on_repository)
        await run.all(rules)
    view = status_of(rules, open_records(project).load(), project.context.clock())
    return view.model_copy(
        update={
            "problems": tuple(run.problems),
            "notes": tuple(run.notes),
            "requests": run.requests,
            "changed": run.changed,
            "seconds": round(time.monotonic() - started, 3),
        }
    )


class _Sync:
    """One run over some rules."""

    def __init__(self, project: Project, request: SyncRequest, on_repository: OnRepository) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.requests = self.changed = 0
        self._project = project
        self._request = request
        self._tell = on_repository
        self._clock = project.context.clock
        self._records = open_records(project)
        self._git = Git()
        self._refs = RefsByHttp(connections=_PER_HOST)
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_PER_HOST))
        self._secrets: Mapping[str, str] | None = None
        self._finished: list[MirrorRecord] = []
        self._done = self._total = 0

    async def all(self, rules: Sequence[MirrorRule]) -> None:
        """Ask each source what it has, then look at each repository."""
        known = self._records.load()
        work: list[tuple[MirrorRule, MirrorRecord, tuple[str, str] | None]] = []
        for rule in rules:
            own = [record for record in known if record.rule == rule.name]
            try:
                source = cast("MirrorSource", load_provider("mirrors", rule.kind, self._project.context))
                token = self._token(rule)
                login = source.git_login(token) if token else None
                found = await self._discovered(rule, source, token, own)
            except AutogitError as exc:
                self.problems.append(f"{rule.name}: {exc.message}" + (f" ({exc.hint})" if exc.hint else ""))
                continue
            work += [(rule, record, login) for record in found if self._is_wanted(record)]
        self._total = len(work)
        try:
            await asyncio.gather(*(self._one(rule, record, login) for rule, record, login in work))
        finally:
            self._write()

    def _write(self) -> None:
        """Keep what was found out; what is lost when this process dies is found out again by the next."""
        finished, self._finished = self._finished, []
        self._records.save(finished)

    def _is_wanted(self, record: MirrorRecord) -> bool:
        if record.gone_since or record.moved:
            return False
        return not (self._request.due and record.not_before and self._clock() < record.not_before)

    def _token(self, rule: MirrorRule) -> str:
        if not rule.credential:
            return ""
        if self._secrets is None:
            self._secrets = SecretStore(self._project.paths.secrets_store).load()
        if rule.credential not in self._secrets:
            raise UsageError(f"there is no secret {rule.credential}", hint=f"autogit secrets set {rule.credential}")
        return self._secrets[rule.credential]

    async def _discovered(
        self, rule: MirrorRule, source: MirrorSource, token: str, known: Sequence[MirrorRecord]
    ) -> list[MirrorRecord]:
        """Ask a source what it has, note it, and return the records of all its repositories."""
        found = await source.discover(rule, token, self._records.etags(rule.name))
        self.requests += found.requests
        (self.notes if found.complete else self.problems).extend(f"{rule.name}: {note}" for note in found.notes)
        records = {record.identity: record for record in known}
        seen = {identity for identity, _ in _merge(rule, found, records)}
        for identity in sorted(records.keys() - seen):
            if found.complete and not records[identity].gone_since:
                records[identity] = await self._missed(rule, source, token, records[identity])
        before = {record.identity: record for record in known}
        self._records.save(record for identity, record in records.items() if before.get(identity) != record)
        self._records.save_etags(rule.name, found.etags)
        return list(records.values())

    async def _missed(self, rule: MirrorRule, source: MirrorSource, token: str, record: MirrorRecord) -> MirrorRecord:
        """Return the record of a repository that its source does not list any more."""
        now = await source.find(rule, token, record.identity.removesuffix(_WIKI))
        self.requests += 1
        if now is None:
            return replace(record, gone_since=self._clock())
        return replace(record, moved=now.path) if not record.identity.endswith(_WIKI) else record

    async def _one(self, rule: MirrorRule, record: MirrorRecord, login: tuple[str, str] | None) -> None:
        async with self._slots[urlsplit(record.url).netloc]:
            try:
                done = await self._proven(rule, record, login)
                text = f"{done.proof.refs} refs proven" if done.proof else "nothing there"
            except GoneError as exc:
                if record.identity.endswith(_WIKI):
                    done, text = None, "no wiki"
                else:
                    done, text = self._failed(record, exc), exc.message
            except AutogitError as exc:
                done, text = self._failed(record, exc), exc.message
        if done is None:
            self._records.drop(record)
        else:
            self._finished.append(self._scheduled(rule, done))
            if done.proof is None or len(self._finished) >= _WRITTEN_AT_ONCE:
                self._write()
        self._done += 1
        self._tell(f"{rule.name}/{record.path}", text, self._done, self._total)

    def _failed(self, record: MirrorRecord, exc: AutogitError) -> MirrorRecord:
        wait = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
        later = self._clock() + timedelta(seconds=wait) if wait else None
        return replace(record, error_code=exc.code, error=exc.message, failures=record.failures + 1, not_before=later)

    def _scheduled(self, rule: MirrorRule, record: MirrorRecord) -> MirrorRecord:
        now = self._clock()
        due = next_check(record, rule, now)
        return replace(
            record,
            checked_at=now,
            not_before=max(due, record.not_before) if record.error and record.not_before else due,
        )

    async def _proven(self, rule: MirrorRule, record: MirrorRecord, login: tuple[str, str] | None) -> MirrorRecord:
        """Return the record of a copy that was found equal to its source; fetches what is not."""
        credential = Credential.for_url(record.url, *login) if login else None
        source = await self._advertised(record.url, login, credential)
        folder = self._project.paths.mirrors / record.folder
        copy = BareCopy(folder, self._git)
        if record.proof and not self._request.verify and _shown(copy, source.object_format) == source:
            return _with_proof(record, replace(record.proof, at=self._clock()), source)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reading = Reading(record.url, credential, self._request.allow_empty)
        changes = await copy.fetch(source, reading, self._clock())
        self.changed += changes.changed
        stored = await LfsObjects(copy).fetch_all(reading) if rule.lfs else None
        if self._request.verify:
            await copy.verify()
        unlike = difference(source, await copy.advertisement())
        lost = tuple(f"LFS object {oid} is missing at the source" for oid in stored.missing) if stored else ()
        if unlike or lost:
            return replace(
                record, differences=unlike + lost, error_code="differs", error="the copy is not what the source shows"
            )
        await copy.prune_backups(self._clock() - timedelta(days=rule.keep_backups_days))
        proof = Proof(self._clock(), len(source.refs), source.digest, stored.objects if stored else 0)
        return _with_proof(record, proof, source)

    async def _advertised(
        self, url: str, login: tuple[str, str] | None, credential: Credential | None
    ) -> Advertisement:
        if urlsplit(url).scheme in {"http", "https"}:
            return await asyncio.to_thread(self._refs.ask, url, login)
        return await advertise(self._git, url, credential)


def _merge(rule: MirrorRule, found: Discovery, records: dict[str, MirrorRecord]) -> list[tuple[str, SourceRepository]]:
    """Put what a source has into the records, and return it by identity; each wiki is a repository of its own."""
    listed = [(one.identity, one) for one in found.repositories]
    listed += [
        (f"{one.identity}{_WIKI}", replace(one, path=f"{one.path}.wiki", url=one.wiki_url))
        for one in found.repositories
        if one.wiki_url and rule.wiki
    ]
    for identity, one in listed:
        record = records.get(identity)
        if record is None:
            folder = copy_folder(rule, one, (other.folder for other in records.values()))
            record = MirrorRecord(identity, rule.name, one.path, one.url, folder)
        records[identity] = replace(
            record, path=one.path, url=one.url, default_branch=one.default_branch, gone_since=None, moved=""
        )
    return listed


def _shown(copy: BareCopy, object_format: str) -> Advertisement:
    """Return what a copy shows, read without git: nothing where it is not there."""
    refs = mirrored(read_refs(copy.path))
    try:
        head = (copy.path / "HEAD").read_text().strip()
    except OSError:
        return Advertisement({}, "", "")
    branch = head.removeprefix("ref: ")
    return Advertisement(refs, branch if branch == head or branch in refs else "", object_format)


def _with_proof(record: MirrorRecord, proof: Proof, source: Advertisement) -> MirrorRecord:
    branch = source.head.removeprefix("refs/heads/")
    return replace(
        record, proof=proof, default_branch=branch, error="", error_code="", failures=0, differences=(), not_before=None
    )
