"""Nouns of the platform's own GitLab: its token, what the user declares in gitlab.yml, and how it is shown."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

GITLAB_SETTING = "gitlab_setting"
"""The kind of resource of everything that is kept in GitLab itself."""
TOKEN_NAME = "autogit"  # noqa: S105 - what it is called
TOKEN_SCOPES = ("api", "admin_mode", "create_runner")
TOKEN_DAYS = 364
"""A day less than the longest life that GitLab gives a token: in its time zone it may be yesterday still."""
ROTATE_BEFORE_DAYS = 30
TOKEN_SECRET = "gitlab_admin_token"  # noqa: S105 - its name in the secret store
OIDC_CLIENT = "GRAFANA_GITLAB_CLIENT"
"""How the names of the two secrets begin that Grafana signs in to GitLab with: ..._ID and ..._SECRET."""
ROOT_PASSWORD = "GITLAB_ROOT_PASSWORD"  # noqa: S105 - the same
GITLAB_FILE = "gitlab.yml"

_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?<![.-])")
_NO_PATH = (".git", ".atom")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _path_part(text: str) -> str:
    if not _PATH.fullmatch(text) or text.lower().endswith(_NO_PATH):
        raise ValueError("must be letters, digits, _ . and -, and neither begin nor end with . or -")
    return text


def _full_path(text: str) -> str:
    for part in text.split("/"):
        _path_part(part)
    return text


_LongestText = Annotated[str, Field(max_length=255)]
SettingValue = StrictBool | StrictInt | StrictFloat | StrictStr | tuple[StrictStr, ...]
"""What an application setting may be here: a flag, a number, a text or a list of texts."""


class GroupWish(_Frozen):
    """A group that is to be there. What is not said is left as GitLab or somebody in it sets it."""

    path: Annotated[str, AfterValidator(_full_path), Field(max_length=255)]
    name: _LongestText | None = None
    visibility: Literal["private", "internal", "public"] = "private"
    description: Annotated[str, Field(max_length=500)] | None = None


class UserWish(_Frozen):
    """A user that is to be there. Its first password is made, and kept as a secret."""

    username: Annotated[str, AfterValidator(_path_part), Field(max_length=255)]
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]
    name: Annotated[str, Field(max_length=127)] | None = None
    admin: StrictBool = False
    can_create_group: StrictBool | None = None
    external: StrictBool | None = None


class GitLabFile(_Frozen):
    """The file gitlab.yml: application settings by GitLab's own names, groups and users."""

    settings: dict[str, SettingValue] = Field(default_factory=dict)
    groups: tuple[GroupWish, ...] = ()
    users: tuple[UserWish, ...] = ()


class TokenFacts(_Frozen):
    """What is known of the administrator's token, and is no secret; `expires_at` is its last day (ISO 8601)."""

    id: int
    name: str = TOKEN_NAME
    scopes: tuple[str, ...] = TOKEN_SCOPES
    expires_at: str = ""


class GitLabTokenView(_Frozen):
    """The administrator's token as it is shown. `state`: good, due, refused, missing or unknown."""

    state: str
    name: str = ""
    scopes: tuple[str, ...] = ()
    expires_at: str = ""
    days_left: int = 0
    made: str = ""


class GitLabSettingView(_Frozen):
    """One thing that is kept in GitLab. `state`: in sync, differs, not there, somebody else's, or what became of it."""

    address: str
    state: str
    detail: str = ""


class GitLabStatusView(_Frozen):
    """GitLab as it is: how far it has started, the token, and what of the wishes it has."""

    ok: bool
    url: str
    phase: str
    sentence: str
    version: str = ""
    token: GitLabTokenView
    settings: tuple[GitLabSettingView, ...] = ()
    problem: str = ""


class GitLabBootstrapView(_Frozen):
    """What a bootstrap did; empty lists where everything was as it should be."""

    url: str
    token: GitLabTokenView
    changed: tuple[GitLabSettingView, ...] = ()
    held: tuple[GitLabSettingView, ...] = ()
    in_sync: int = 0
    captured: tuple[str, ...] = ()


class GitLabPasswordView(_Frozen):
    """Where the first administrator's password is; never the password."""

    user: str
    secret: str
    stored: bool
    command: str
    url: str
