"""Mirrors: what a user declares, what a source holds, and what is known of each repository's copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from autogit.model.views import View

_GROUP = r"^(?:[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*)?$"


class SourceKind(StrEnum):
    """What kind of place repositories come from."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    BITBUCKET = "bitbucket"
    GIT = "git"
    PATH = "path"


class MirrorState(StrEnum):
    """How a repository's copy stands.

    `ok`: proven equal within its limit. `stale`: not proven within its limit. `gone`: the source is not there any more
    (the copy stays). `moved`: the source has another address or identity than it had. `failing`: the last attempt
    failed, and the proof before it is still within its limit. `new`: never proven.
    """

    OK = "ok"
    STALE = "stale"
    GONE = "gone"
    MOVED = "moved"
    FAILING = "failing"
    NEW = "new"


class MirrorRule(BaseModel):
    """One declared mirror: an account's or group's repositories, or a single one.

    `owner` is the user, organisation or group at a forge (`server` where it is not the forge's public one), the URL of
    a plain git repository, or a path of this machine. `credential` names a secret of the store, never a value. `group`
    is the full path of the group of the platform's GitLab that the projects lie below; "" for bare copies only.
    What its forge says is larger than `max_repository_mb` is left out (0: nothing is), and nothing is fetched while
    the copies' disk has less than `min_free_mb` left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    kind: SourceKind
    owner: Annotated[str, Field(min_length=1, max_length=1000)]
    server: str = ""
    credential: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{0,64}$")] = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    forks: bool = False
    archived: bool = True
    private: bool = True
    wiki: bool = True
    lfs: bool = True
    releases: bool = False
    issues: bool = False
    interval_seconds: Annotated[int, Field(ge=60)] = 3600
    stale_after_seconds: Annotated[int, Field(ge=120)] = 86400
    keep_backups_days: Annotated[int, Field(ge=1)] = 90
    max_repository_mb: Annotated[int, Field(ge=0)] = 0
    min_free_mb: Annotated[int, Field(ge=0)] = 1024
    group: Annotated[str, Field(pattern=_GROUP, max_length=255)] = ""


@dataclass(frozen=True, slots=True)
class SourceRepository:
    """A repository as its forge tells of it.

    `identity` is the forge's own number with the forge's name in front (`github:1296269`): it stays when a repository
    is renamed, and a new repository of an old name has another. Plain git repositories and paths have `git:<url>`.
    """

    identity: str
    path: str
    url: str
    wiki_url: str = ""
    default_branch: str = ""
    visibility: str = "private"
    description: str = ""
    topics: tuple[str, ...] = ()
    archived: bool = False
    fork: bool = False
    size_bytes: int = 0
    updated_at: str = ""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a source holds. `etags` are given back at the next discovery, so that what has not changed costs little.

    `complete` is False where the source answered only in part: then nothing may be called gone. `notes` are sentences
    about what was left out, and why.
    """

    repositories: tuple[SourceRepository, ...]
    etags: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    requests: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Advertisement:
    """The refs that a repository shows (gitprotocol-v2(5), ls-refs): object ids by full name, and where HEAD points.

    Annotated tags have their own object's id; peeled ids (`^{}`) are left out. `object_format` is sha1 or sha256.
    """

    refs: Mapping[str, str]
    head: str = ""
    object_format: str = "sha1"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all refs and HEAD."""
        text = json.dumps([self.head, sorted(self.refs.items())], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Proof:
    """That a copy was equal to its source: when, how many refs and LFS objects were compared, and their digest."""

    at: datetime
    refs: int
    digest: str
    lfs_objects: int = 0


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What a fetch changed: full ref names. `saved` are backup refs of what was replaced or deleted at the source."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything is not as it was."""
        return bool(self.created or self.updated or self.deleted)


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """What is known of one repository's project in GitLab.

    `proof` is the last time that the project was found to hold all that the copy shows; `metadata` is the digest of
    what it was last told beside git (description, topics, ...). `error` is the last attempt's, empty where it went
    well; `differences` are what it found. A wiki has the number of its project, and `.wiki` at the end of its path.
    """

    project_id: int = 0
    path: str = ""
    proof: Proof | None = None
    metadata: str = ""
    error_code: str = ""
    error: str = ""
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MirrorRecord:
    """What is known of one repository of a rule. `folder` is its bare copy below the mirrors' folder.

    `proof` is the last time that source and copy were found equal, `seen` the digest of the source's refs then.
    `error` is the last attempt's, empty where it went well; `differences` are what it found. `gone_since` and `moved`
    tell that the source is not where it was, and where it is now. `target` is its project in GitLab, where it has one.
    """

    identity: str
    rule: str
    path: str
    url: str
    folder: str
    wiki_url: str = ""
    default_branch: str = ""
    proof: Proof | None = None
    checked_at: datetime | None = None
    error_code: str = ""
    error: str = ""
    failures: int = 0
    differences: tuple[str, ...] = ()
    gone_since: datetime | None = None
    moved: str = ""
    not_before: datetime | None = None
    target: TargetRecord | None = None


class MirrorView(View):
    """One repository in `autogit mirror status`. Times are ISO 8601, UTC; `lag_seconds` is the last proof's age.

    `target` is the full path of its project in GitLab, "" where there is only the copy.
    """

    rule: str
    path: str
    identity: str
    state: MirrorState
    proven_at: str = ""
    lag_seconds: int | None = None
    refs: int = 0
    lfs_objects: int = 0
    detail: str = ""
    differences: tuple[str, ...] = ()
    folder: str = ""
    target: str = ""
    target_proven_at: str = ""


class MirrorStatusView(View):
    """What `autogit mirror status` and `sync` tell.

    `problems` are of whole rules: a source that could not be asked, or not to the end. `notes` are worth knowing.
    """

    schema_version: int = 1
    counts: dict[str, int]
    mirrors: tuple[MirrorView, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    requests: int = 0
    changed: int = 0
    seconds: float = 0.0


class MirrorRuleView(View):
    """One rule in `autogit mirror list`."""

    name: str
    source: str
    repositories: int
    interval_seconds: int
    credential: str = ""
    group: str = ""


class MirrorRulesView(View):
    """What `autogit mirror list` tells."""

    schema_version: int = 1
    rules: tuple[MirrorRuleView, ...]


class MirrorRestoreView(View):
    """What `autogit mirror restore` brought back: a ref of the copy in `folder`, and the object that it names."""

    schema_version: int = 1
    ref: str
    object_id: str
    folder: str
