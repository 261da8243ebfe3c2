"""`autogit mirror sync`: what the source has is fetched, and what was fetched is proven to be what the source has."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, cast

from autogit.core.lock import apply_lock
from autogit.core.mirrors import WIKI, next_check
from autogit.errors import (
    AutogitError,
    GoneError,
    ProviderAuthError,
    RateLimitedError,
    StorageFullError,
    UsageError,
)
from autogit.model.mirror import (
    Advertisement,
    MirrorRecord,
    MirrorRule,
    MirrorStatusView,
    Proof,
    SourceRepository,
)
from autogit.operations.mirror import choose_rules, load_rules, open_records, status_of
from autogit.operations.mirror_data import DataKeeper
from autogit.operations.mirror_facts import merge, shown, with_proof
from autogit.operations.mirror_limits import ASKED_AT_ONCE, Pace, check_room, parse_duration, without_large
from autogit.operations.mirror_upkeep import keep_up
from autogit.operations.project import Project
from autogit.providers.git.advertisement import RefsByHttp, is_asked_directly
from autogit.providers.git.bare import BareCopy, Reading
from autogit.providers.git.credentials import Credential
from autogit.providers.git.lfs import LfsObjects
from autogit.providers.git.refs import advertise, difference
from autogit.providers.git.runner import Git
from autogit.providers.host.secret_store import SecretStore
from autogit.providers.mirrors.base import MirrorSource
from autogit.providers.registry import load_provider

if TYPE_CHECKING:
    from autogit.operations.gitlab_access import Access
    from autogit.operations.mirror_target import Targets

_MOST_THREADS = 64
_WRITTEN_AT_ONCE = 200
_LOCK_WAIT_SECONDS = 10.0
_NEVER = datetime.min.replace(tzinfo=UTC)
OnRepository = Callable[[str, str, int, int], None]
"""Told of each repository that is done: its rule and path, what became of it, how many are done, and of how many."""


def _nobody(_name: str, _text: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """How a sync is asked for: which mirrors (all where none is named), only what is due, or every ref compared anew.

    `allow_empty` lets a source that shows no refs any more empty its copy; what was there is kept as backups. Past
    `budget` (`30m`; "" for no end) no repository is begun; what was left is first at the next sync.
    """

    names: tuple[str, ...] = ()
    due: bool = False
    verify: bool = False
    allow_empty: bool = False
    budget: str = ""


async def sync(
    project: Project, request: SyncRequest, on_repository: OnRepository = _nobody, *, access: Access | None = None
) -> MirrorStatusView:
    """Bring copies to what their sources have, projects in GitLab to what their copies have, and prove both.

    One bad repository never stops the rest. `access` is how GitLab is reached, where not as the project says.
    Raises SettingsError, UsageError, and ApplyLockHeldError where another sync is at work.
    """
    rules = choose_rules(load_rules(project), request.names)
    project.paths.mirrors.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = time.monotonic()
    async with apply_lock(project.paths.mirrors / "sync.lock", "mirror sync"):
        targets = _targets(project, access, request, rules)
        run = _Sync(project, request, on_repository, targets)
        records = await run.all(rules)
    view = status_of(rules, records, project.context.clock())
    return view.model_copy(
        update={
            "problems": (*run.problems, *run.data.problems),
            "notes": (*run.notes, *run.data.notes, *(targets.notes if targets else ())),
            "requests": run.requests,
            "changed": run.changed,
            "seconds": round(time.monotonic() - started, 3),
        }
    )


def _targets(
    project: Project, access: Access | None, request: SyncRequest, rules: Iterable[MirrorRule]
) -> Targets | None:
    """Return what brings copies to GitLab, where a rule asks for it: its client takes long to load."""
    if not any(rule.group for rule in rules):
        return None
    from autogit.operations.mirror_target import Targets  # noqa: PLC0415 - a tenth of a no-op run without a target

    return Targets(project, access, verify=request.verify)


class _Sync:
    """One run over some rules."""

    def __init__(
        self, project: Project, request: SyncRequest, on_repository: OnRepository, targets: Targets | None
    ) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.requests = self.changed = 0
        self._project = project
        self._request = request
        self._tell = on_repository
        self._clock = project.context.clock
        self._records = open_records(project)
        self._git = Git()
        self._refs = RefsByHttp(connections=ASKED_AT_ONCE)
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "refs")
        self._pace = Pace(parse_duration(request.budget))
        self._sizes: dict[str, int] = {}
        self._targets = targets
        self._listed: dict[tuple[str, str], SourceRepository] = {}
        self._project_ids: dict[tuple[str, str], int] = {}
        self._fetched: dict[str, tuple[BareCopy, bool]] = {}
        self._secrets: Mapping[str, str] | None = None
        self._finished: list[MirrorRecord] = []
        self._rights: dict[str, str] = {}
        self.data = DataKeeper(project)
        self._done = self._total = 0

    async def all(self, rules: Sequence[MirrorRule]) -> list[MirrorRecord]:
        """Ask each source what it has, then look at each repository; return what is known of all afterwards."""
        with self._records.kept_open():
            try:
                await self._each(rules)
            finally:
                self._write()
                self._threads.shutdown(wait=False, cancel_futures=True)
            self.notes += [*self._pace.notes(), *await keep_up(self._fetched, self._pace)]
            return self._records.load()

    async def _each(self, rules: Sequence[MirrorRule]) -> None:
        known: defaultdict[str, list[MirrorRecord]] = defaultdict(list)
        for record in self._records.load():
            known[record.rule].append(record)
        work: list[tuple[MirrorRule, MirrorRecord, tuple[str, str] | None]] = []
        for rule in rules:
            own = known[rule.name]
            if self._request.due and self._rests(own):
                continue
            try:
                source = cast("MirrorSource", load_provider("mirrors", rule.kind, self._project.context))
                token = self._token(rule)
                login = source.git_login(token) if token else None
                self._rights[rule.name] = source.scopes_hint(rule)
                self.data.open(rule, source, token)
                found = await self._discovered(rule, source, token, own)
            except AutogitError as exc:
                self.problems.append(f"{rule.name}: {exc.message}" + (f" ({exc.hint})" if exc.hint else ""))
                continue
            work += [(rule, record, login) for record in found if self._is_wanted(record)]
        all_records = (*chain(*known.values()), *(record for _, record, _ in work))
        if self._targets:
            self._targets.assign(rules, list({(one.rule, one.identity): one for one in all_records}.values()))
        self._total = len(work)
        work.sort(key=lambda one: one[1].checked_at or _NEVER)
        await asyncio.gather(*(self._one(rule, record, login) for rule, record, login in work))

    def _write(self) -> None:
        """Keep what was found out; what is lost when this process dies is found out again by the next."""
        finished, self._finished = self._finished, []
        self._records.save(finished)

    def _rests(self, known: Sequence[MirrorRecord]) -> bool:
        """Whether nothing of a source is due yet: then it is not even asked what it has."""
        followed = [one for one in known if not (one.gone_since or one.moved)]
        return bool(followed) and not any(map(self._is_due, followed))

    def _is_due(self, record: MirrorRecord) -> bool:
        return not (record.not_before and self._clock() < record.not_before)

    def _is_wanted(self, record: MirrorRecord) -> bool:
        if record.gone_since or record.moved:
            return False
        return self._is_due(record) or not self._request.due

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
        found, large = without_large(rule, await source.discover(rule, token, self._records.etags(rule.name)))
        self._sizes.update({one.identity: one.size_bytes for one in found.repositories})
        self._listed.update({(rule.name, one.identity): one for one in found.repositories})
        self._project_ids.update({(rule.name, one.identity): one.target.project_id for one in known if one.target})
        self.requests += found.requests
        (self.notes if found.complete else self.problems).extend(f"{rule.name}: {note}" for note in found.notes)
        records = {record.identity: record for record in known}
        seen = {identity for identity, _ in merge(rule, found, records)}
        skipped = {identity for identity in records if identity.removesuffix(WIKI) in large}
        for identity in sorted(records.keys() - seen - skipped):
            if found.complete and not records[identity].gone_since:
                records[identity] = await self._missed(rule, source, token, records[identity])
        before = {record.identity: record for record in known}
        self._records.save(record for identity, record in records.items() if before.get(identity) != record)
        self._records.save_etags(rule.name, found.etags)
        return [record for identity, record in records.items() if identity not in skipped]

    async def _missed(self, rule: MirrorRule, source: MirrorSource, token: str, record: MirrorRecord) -> MirrorRecord:
        """Return the record of a repository that its source does not list any more."""
        now = await source.find(rule, token, record.identity.removesuffix(WIKI))
        self.requests += 1
        if now is None:
            return replace(record, gone_since=self._clock())
        return replace(record, moved=now.path) if not record.identity.endswith(WIKI) else record

    async def _one(self, rule: MirrorRule, record: MirrorRecord, login: tuple[str, str] | None) -> None:
        done: MirrorRecord | None = None
        try:
            done = await self._targeted(rule, record, await self._proven(rule, record, login))
            text = _told(done)
            await self.data.keep(rule, done)
        except AutogitError as exc:
            if isinstance(exc, GoneError) and record.identity.endswith(WIKI):
                self._records.drop(record)
                text = "no wiki"
            else:
                done, text = self._failed(rule, record, exc), exc.message
        except OSError as exc:  # what is not there any more, or full, in the midst: no reason to stop the others
            done = self._failed(
                rule, record, StorageFullError(f"git: {exc.filename or record.folder}: {exc.strerror or exc}")
            )
            text = done.error
        if done is not None:
            self._finished.append(self._scheduled(rule, done))
            if done.proof is None or len(self._finished) >= _WRITTEN_AT_ONCE:
                self._write()
        self._done += 1
        self._tell(f"{rule.name}/{record.path}", text, self._done, self._total)

    async def _targeted(
        self, rule: MirrorRule, before: MirrorRecord, record: MirrorRecord | None
    ) -> MirrorRecord | None:
        """Bring a copy that was proven just now to its project in GitLab."""
        identity = before.identity.removesuffix(WIKI)
        repository = self._listed.get((rule.name, identity))
        if not self._targets or not rule.group or record is None or record.error or repository is None:
            return record
        from autogit.operations.mirror_target import TargetJob  # noqa: PLC0415 - loaded already where there are targets

        copy = self._copy(record)
        number = self._project_ids.get((rule.name, identity), 0)
        target, exc = await self._targets.bring(TargetJob(rule, record, repository, copy, number))
        if exc is None:
            return replace(record, target=target)
        wait = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
        later = self._clock() + timedelta(seconds=wait) if wait else None
        return replace(record, target=target, failures=before.failures + 1, not_before=later)

    def _copy(self, record: MirrorRecord) -> BareCopy:
        """Return a record's copy. A git that is being forked for another one holds its lock for a moment longer."""
        return BareCopy(self._project.paths.mirrors / record.folder, self._git, wait_seconds=_LOCK_WAIT_SECONDS)

    def _failed(self, rule: MirrorRule, record: MirrorRecord, exc: AutogitError) -> MirrorRecord:
        wait = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
        later = self._clock() + timedelta(seconds=wait) if wait else None
        # A forge tells git nothing of scopes: what a token needs is said here.
        text = (
            f"{exc.message}: wanted is {self._rights[rule.name]}" if isinstance(exc, ProviderAuthError) else exc.message
        )
        return replace(record, error_code=exc.code, error=text, failures=record.failures + 1, not_before=later)

    def _scheduled(self, rule: MirrorRule, record: MirrorRecord) -> MirrorRecord:
        now = self._clock()
        due = next_check(record, rule, now)
        return replace(
            record,
            checked_at=now,
            not_before=max(due, record.not_before) if _is_faulty(record) and record.not_before else due,
        )

    async def _proven(
        self, rule: MirrorRule, record: MirrorRecord, login: tuple[str, str] | None
    ) -> MirrorRecord | None:
        """Return the record of a copy that was found equal to its source; fetches what is not. None past the time."""
        credential = Credential.for_url(record.url, *login) if login else None
        source = await self._asked(record.url, login, credential)
        copy = self._copy(record)
        proof = self._standing_proof(record, source)
        if source and proof and shown(copy, source.object_format) == source:
            return with_proof(record, replace(proof, at=self._clock()), source)
        turn = self._pace.fetching(record.url)
        if turn.locked():  # what is kept of it while it waits would be old, and many of them large
            source = None
        async with turn:
            if self._pace.is_over:
                self._pace.left += 1
                return None
            source = source or await self._advertised(record.url, login, credential)
            return await self._brought(rule, record, copy, source, credential)

    def _standing_proof(self, record: MirrorRecord, source: Advertisement | None) -> Proof | None:
        """Return the proof of just this. A run that was killed had fetched refs, and maybe no LFS objects yet."""
        proof = record.proof
        return proof if proof and source and not self._request.verify and proof.digest == source.digest else None

    async def _brought(
        self,
        rule: MirrorRule,
        record: MirrorRecord,
        copy: BareCopy,
        source: Advertisement,
        credential: Credential | None,
    ) -> MirrorRecord:
        """Fetch, and compare with what the source showed."""
        size = 0 if copy.exists else self._sizes.get(record.identity, 0)
        check_room(self._project.paths.mirrors, rule, size)
        copy.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reading = Reading(record.url, credential, self._request.allow_empty)
        changes = await copy.fetch(source, reading, self._clock())
        self.changed += changes.changed
        stored = await LfsObjects(copy).fetch_all(reading) if rule.lfs else None
        # A copy that was found damaged has a proof without a digest: nothing but a check makes it good again.
        if self._request.verify or (record.proof and not record.proof.digest):
            try:
                await copy.verify()
            except AutogitError as exc:
                proof = replace(record.proof, digest="") if record.proof else None
                return self._failed(rule, replace(record, proof=proof), exc)
        unlike = difference(source, await copy.advertisement())
        lost = tuple(f"LFS object {oid} is missing at the source" for oid in stored.missing) if stored else ()
        if unlike or lost:
            return replace(
                record, differences=unlike + lost, error_code="differs", error="the copy is not what the source shows"
            )
        pruned = await copy.prune_backups(self._clock() - timedelta(days=rule.keep_backups_days))
        if changes.changed or pruned:
            self._fetched[f"{rule.name}/{record.path}"] = (copy, bool(pruned))
        proof = Proof(self._clock(), len(source.refs), source.digest, stored.objects if stored else 0)
        return with_proof(record, proof, source)

    async def _asked(
        self, url: str, login: tuple[str, str] | None, credential: Credential | None
    ) -> Advertisement | None:
        """Return what a source shows, in its turn; nothing past the time."""
        async with self._pace.asking(url):
            return None if self._pace.is_over else await self._advertised(url, login, credential)

    async def _advertised(
        self, url: str, login: tuple[str, str] | None, credential: Credential | None
    ) -> Advertisement:
        if not is_asked_directly(url):
            return await advertise(self._git, url, credential)
        self._pace.check_pause(url)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._refs.ask, url, login)
        except RateLimitedError as exc:
            self._pace.pause(url, exc)
            raise


def _told(record: MirrorRecord | None) -> str:
    if record is None:
        return "left for the next sync"
    if record.target and record.target.error:
        return record.target.error
    return f"{record.proof.refs} refs proven" if record.proof else "nothing there"


def _is_faulty(record: MirrorRecord) -> bool:
    return bool(record.error or (record.target and record.target.error))
