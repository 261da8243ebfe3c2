"""The platform's GitLab as the target of mirrors: each proven copy's project is made, filled and proven in turn."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from pydantic import SecretStr

from autogit.connectors.gitlab import GitLabPlace
from autogit.connectors.gitlab_projects import MirrorProject, MirrorProjects, ProjectWish
from autogit.connectors.gitlab_projects_git import LOGIN, LfsFile, ProjectRepositories
from autogit.core.mirrors import WIKI, target_paths
from autogit.errors import AutogitError, GoneError, ProviderAuthError, RejectedError
from autogit.model.gitlab import TOKEN_SECRET
from autogit.model.mirror import Advertisement, MirrorRecord, MirrorRule, Proof, SourceRepository, TargetRecord
from autogit.operations.gitlab_access import Access, StoreKeeper, connector, open_access
from autogit.operations.mirror_branches import Branches, default_branch
from autogit.operations.project import Project
from autogit.providers.git.bare import BareCopy
from autogit.providers.git.credentials import Credential
from autogit.providers.git.lfs import LfsObjects
from autogit.providers.git.lfs_files import object_path
from autogit.providers.git.packed import read_refs
from autogit.providers.git.push import Layout, PushResult, Writing, push, target_refs

_AT_ONCE = 8
_GITLABS_OWN = ("refs/environments/", "refs/keep-around/", "refs/merge-requests/", "refs/pipelines/")
_SHOWN = 3
_HTTPS = 443


@dataclass(frozen=True, slots=True)
class TargetJob:
    """A proven copy to be brought to its project. `repository` is what the source says of the project (not the wiki).

    `project_id` is the project's number where it is known.
    """

    rule: MirrorRule
    record: MirrorRecord
    repository: SourceRepository
    copy: BareCopy
    project_id: int = 0

    @property
    def is_wiki(self) -> bool:
        """Whether this is a project's wiki."""
        return self.record.identity.endswith(WIKI)

    @property
    def identity(self) -> str:
        """The identity of the repository whose project it is."""
        return self.record.identity.removesuffix(WIKI)


@dataclass(frozen=True, slots=True)
class _Reach:
    """One GitLab, opened."""

    place: GitLabPlace
    token: SecretStr
    projects: MirrorProjects
    repositories: ProjectRepositories
    config: Mapping[str, str]


class Targets:
    """The projects of one sync. `notes` gets what is worth knowing; `verify` has everything compared anew."""

    def __init__(self, project: Project, access: Access | None, *, verify: bool = False) -> None:
        self.notes: list[str] = []
        self.verify = verify
        self.clock = project.context.clock
        self._project = project
        self._access = access
        self._opened: asyncio.Task[_Reach] | None = None
        self._looked: dict[str, asyncio.Task[None]] = {}
        self._paths: dict[tuple[str, str], str] = {}
        self._found: dict[tuple[str, str], MirrorProject] = {}
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def assign(self, rules: Sequence[MirrorRule], records: Sequence[MirrorRecord]) -> None:
        """Decide on the path of each project that is not there yet; all are decided on together, so none clash."""
        plain = [one for one in records if not one.identity.endswith(WIKI)]
        for rule in (one for one in rules if one.group):
            own = [one for one in plain if one.rule == rule.name]
            taken = [one.target.path for one in plain if one.rule != rule.name and one.target]
            decided = [path for (name, _), path in self._paths.items() if name != rule.name]
            paths = target_paths(rule.group, own, [*taken, *decided])
            self._paths |= {(rule.name, identity): path for identity, path in paths.items()}

    async def bring(self, job: TargetJob) -> tuple[TargetRecord, AutogitError | None]:
        """Make a copy's project show what the copy holds, and prove it; return what is known of it then, and a fault.

        A project that shows it already costs one request. Wiki and project are brought one after the other.
        """
        work = _Bringing(self, job)
        async with self._locks[job.rule.name, job.identity], self._slots:
            try:
                await work.run(await self._reach(job.rule.group))
            except AutogitError as exc:
                text = f"{exc.message} ({exc.hint})" if exc.hint else exc.message
                known = replace(work.known, error_code=exc.code, error=text, differences=work.differences)
                return known, exc
        return replace(work.known, error_code="", error="", differences=work.differences), None

    async def find(self, reach: _Reach, job: TargetJob, wish: ProjectWish) -> MirrorProject:
        """Return a job's project; made where there is none."""
        key = (job.rule.name, job.identity)
        if key not in self._found:
            found = await asyncio.to_thread(reach.projects.ensure, wish, job.project_id)
            plain = f"{job.rule.group}/{job.repository.path}"
            if found.note:
                self.notes.append(f"{job.rule.name}: {found.note}")
            if not job.project_id and found.path != plain:
                self.notes.append(f"{job.rule.name}: {job.repository.path} is {found.path} in GitLab")
            self._found[key] = found
        return self._found[key]

    def keep(self, job: TargetJob, project: MirrorProject) -> MirrorProject:
        """Take note of what a project is now."""
        self._found[job.rule.name, job.identity] = project
        return project

    def path_of(self, job: TargetJob) -> str:
        """Return the path that a job's project gets where it has to be made."""
        return self._paths[job.rule.name, job.identity]

    async def _reach(self, group: str) -> _Reach:
        """Open GitLab once, and look through each group once; what fails then fails for all, without another try."""
        if self._opened is None:
            self._opened = asyncio.create_task(asyncio.to_thread(self._open))
        reach = await self._opened
        if group not in self._looked:
            self._looked[group] = asyncio.create_task(asyncio.to_thread(reach.projects.look, group))
        await self._looked[group]
        return reach

    def _open(self) -> _Reach:
        access = self._access or open_access(self._project)
        keeper = StoreKeeper(self._project.secrets.store)
        token = keeper.get(TOKEN_SECRET)
        if not token:
            raise ProviderAuthError("gitlab: there is no administrator's token yet", hint="autogit gitlab bootstrap")
        secret, place = SecretStr(token), access.place
        projects = MirrorProjects(connector(access, keeper)())
        return _Reach(place, secret, projects, ProjectRepositories(place, secret), _git_config(place))


class _Bringing:
    """One copy on its way to its project."""

    def __init__(self, targets: Targets, job: TargetJob) -> None:
        self.known = job.record.target or TargetRecord()
        self.differences: tuple[str, ...] = ()
        self._targets = targets
        self._job = job
        self._copy = job.copy

    async def run(self, reach: _Reach) -> None:
        """Look at the project; change what is not as it is to be; prove it."""
        self._reach = reach
        wish = self._wish()
        self._project = await self._targets.find(reach, self._job, wish)
        path = f"{self._project.path}.wiki" if self._job.is_wiki else self._project.path
        if self.known.path and self.known.path != path:
            self._targets.notes.append(f"{self._job.rule.name}: {self.known.path} is {path} in GitLab now")
        self._forget_other(self._project.project_id)
        self.known = replace(self.known, project_id=self._project.project_id, path=path)
        # Nothing is read without git where a copy has refs in files of their own.
        self._wanted = target_refs(read_refs(self._copy.path) or await self._copy.refs(), Layout.GITLAB)
        self._branch = default_branch(self._head(), self._wanted)
        found = await self._refs()
        digest = Advertisement(self._wanted, self._branch).digest
        proof = self.known.proof
        is_fresh = proof is not None and proof.digest == digest and not self._lacks(found)
        described = self._job.is_wiki or self.known.metadata == _digest(wish)
        is_kept = self._project.archived == self._job.repository.archived
        if is_fresh and described and is_kept and not self._targets.verify:
            self._prove(found, digest, proof.lfs_objects if proof else 0)
            return
        async with self._writable():
            objects = await self._objects()
            refused = await self._fill(found, objects)
            if not described:
                await self._describe(wish)
            await self._check(refused, objects, digest)

    @asynccontextmanager
    async def _writable(self) -> AsyncIterator[None]:
        """Take a project out of the archive for a while, where it is to be in it."""
        await self._archive(archived=False)
        wanted = self._job.repository.archived
        try:
            yield
        except AutogitError:
            with suppress(AutogitError):
                await self._archive(archived=wanted)
            raise
        await self._archive(archived=wanted)

    def _forget_other(self, project_id: int) -> None:
        """Let what is known of a project that was deleted count for no other."""
        if self.known.project_id not in {0, project_id}:
            self.known = TargetRecord()

    def _wish(self) -> ProjectWish:
        one = self._job.repository
        return ProjectWish(
            self._job.identity,
            self._targets.path_of(self._job),
            one.visibility,
            one.description,
            one.topics,
            self._format(),
            self._job.rule.lfs,
        )

    async def _refs(self) -> Advertisement:
        """Ask for what the project's repository shows; one that GitLab has not made yet shows nothing."""
        try:
            return await asyncio.to_thread(self._reach.repositories.refs, self.known.path)
        except GoneError:
            return Advertisement({}, "", "")

    async def _objects(self) -> dict[str, LfsFile]:
        """Return the LFS objects that the project is to have; GitLab has none for wikis."""
        if not self._job.rule.lfs or self._job.is_wiki:
            return {}
        places = {oid: (size, object_path(self._copy.path, oid)) for oid, size in await self._pointers()}
        return {oid: LfsFile(size, path) for oid, (size, path) in places.items() if path.is_file()}

    async def _pointers(self) -> Iterable[tuple[str, int]]:
        return (await LfsObjects(self._copy).pointers()).items()

    async def _fill(self, found: Advertisement, objects: Mapping[str, LfsFile]) -> Mapping[str, str]:
        """Send LFS objects, then refs; return the refs that were refused, and why."""
        if objects:
            await asyncio.to_thread(self._reach.repositories.upload, self.known.path, objects)
        if not self._wanted and not found.refs:
            return {}
        self._check_format()
        if not self._job.is_wiki:
            await self._branches().make_way(self._wanted, found)
        return (await self._push(found)).rejected

    def _format(self) -> str:
        """Return the copy's object format, without git: it is asked of every project."""
        return "sha256" if "objectformat = sha256" in (self._copy.path / "config").read_text() else "sha1"

    def _check_format(self) -> None:
        held, made = self._format(), self._project.object_format
        if self._wanted and not self._job.is_wiki and made != held:
            raise RejectedError(
                f"gitlab: {self.known.path} is for {made} objects, the copy has {held} ones",
                hint="its source was empty when the project was made: delete the project, the next sync makes it anew",
            )

    async def _push(self, found: Advertisement) -> PushResult:
        url = f"{self._reach.place.url}/{self.known.path}.git"
        credential = Credential.for_url(url, LOGIN, self._reach.token.get_secret_value())
        writing = Writing(url, credential, Layout.GITLAB, name=self._name, config=self._reach.config)
        shown = {name: one for name, one in found.refs.items() if not name.startswith(_GITLABS_OWN)}
        return await push(self._copy, shown, writing)

    @property
    def _name(self) -> str:
        """What the copy knows its target by: it stays when the project is moved."""
        return f"gitlab:{self.known.project_id}{WIKI if self._job.is_wiki else ''}"

    def _branches(self) -> Branches:
        return Branches(self._reach.projects, self._project, self._copy, self._name)

    async def _describe(self, wish: ProjectWish) -> None:
        if note := await asyncio.to_thread(self._reach.projects.describe, self._project, wish):
            self._targets.notes.append(f"{self._job.rule.name}: {note}")
        self.known = replace(self.known, metadata=_digest(wish))

    async def _archive(self, *, archived: bool) -> None:
        if self._project.archived != archived:
            now = await asyncio.to_thread(self._reach.projects.archive, self._project, archived=archived)
            self._project = self._targets.keep(self._job, now)

    async def _check(self, refused: Mapping[str, str], objects: Mapping[str, LfsFile], digest: str) -> None:
        """Compare all that the project shows with what it must show; only then there is a proof."""
        found = await self._refs()
        if not self._job.is_wiki and await self._branches().settle(self._branch, found):
            found = await self._refs()
        # GitLab deletes no default branch: where the source has no branch any more, it stays.
        kept = "" if self._branch else found.head
        told = tuple(
            f"{name}: {why}"
            for name, why in refused.items()
            if name in self._wanted or (name in found.refs and name != kept)
        )
        lost: tuple[str, ...] = ()
        if objects:
            missing = await asyncio.to_thread(self._reach.repositories.lacking, self.known.path, objects)
            lost = tuple(f"LFS object {oid} is missing in GitLab" for oid in missing)
        self.differences = told + self._lacks(found) + lost
        if self.differences:
            raise RejectedError(f"gitlab: {self.known.path} is not what the copy holds: {_some(self.differences)}")
        self._prove(found, digest, len(objects))

    def _prove(self, found: Advertisement, digest: str, lfs_objects: int) -> None:
        proof = Proof(self._targets.clock(), len(self._wanted), digest, lfs_objects)
        self.known = replace(self.known, proof=proof)
        others = sorted(name for name in found.refs if name not in self._wanted and not name.startswith(_GITLABS_OWN))
        self.differences = tuple(f"{name} is in GitLab only: it stays" for name in others)

    def _lacks(self, found: Advertisement) -> tuple[str, ...]:
        """Return what must be there and is not: refs, and the default branch."""
        lines = [
            f"{name} is {found.refs.get(name) or 'missing'} in GitLab, not {object_id}"
            for name, object_id in sorted(self._wanted.items())
            if found.refs.get(name) != object_id
        ]
        if self._branch and found.head != self._branch and not self._job.is_wiki:
            lines.append(f"the default branch is {found.head or 'missing'} in GitLab, not {self._branch}")
        return tuple(lines)

    def _head(self) -> str:
        return (self._copy.path / "HEAD").read_text().strip().removeprefix("ref: ")


def _digest(wish: ProjectWish) -> str:
    """Return what tells whether the source says something else of itself than it did."""
    told = json.dumps([wish.visibility, wish.description, wish.topics])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _some(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more


def _git_config(place: GitLabPlace) -> dict[str, str]:
    """Return what git needs to connect to a place: through no proxy, to its address, with its authority trusted."""
    config = {"http.proxy": ""}
    if place.ca_file:
        config["http.sslCAInfo"] = place.ca_file
    if place.address is not None:
        parts = urlsplit(place.url)
        address = str(socket.getaddrinfo(*place.address, type=socket.SOCK_STREAM)[0][4][0])
        shown = f"[{address}]" if ":" in address else address
        config["http.curloptResolve"] = f"{parts.hostname}:{parts.port or _HTTPS}:{shown}"
    return config
