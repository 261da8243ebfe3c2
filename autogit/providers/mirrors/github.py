"""Finds repositories at GitHub, and at GitHub Enterprise Server (docs.github.com/rest)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import quote

from autogit.errors import ProviderAuthError, ProviderError, RateLimitedError, RejectedError
from autogit.model.mirror import MirrorRule, SourceRepository
from autogit.providers.mirrors.data import Asset, DataKind, ForgeData, items, size, text
from autogit.providers.mirrors.forge import LOOKING_UP, ForgeSource, below, number_of, query, size_of, text_of
from autogit.providers.mirrors.names import branch_name, plain, texts
from autogit.providers.mirrors.walk import Entry, Walk
from autogit.providers.mirrors.wire import Peer, Reply, bearer, rate_limited, server_url

_VERSION = "2022-11-28"
_KILOBYTE = 1024
_SECONDARY_SECONDS = 60.0
"""What GitHub asks for after its secondary limit where it says nothing else."""
_WARN_DAYS = 14
_REPO_SCOPE = "repo"
_EXPIRES = "GitHub-Authentication-Token-Expiration"
_PAGE = "docs/how-to/mirror-github.md makes one"
_BLOCKED = "Repository access blocked"


_LISTS = {DataKind.RELEASES: "releases", DataKind.ISSUES: "issues", DataKind.MERGE_REQUESTS: "pulls"}


class GithubSource(ForgeSource):
    """A user's or an organisation's repositories. The token's own user is asked about with private ones."""

    provider_name: ClassVar[str] = "github"

    def scopes_hint(self, rule: MirrorRule) -> str:
        """Name the rights of a fine-grained token."""
        rights = "Contents: Read-only and Metadata: Read-only"
        if rule.issues:
            rights = "Contents, Issues, Metadata and Pull requests: Read-only"
        return (
            f"a fine-grained token of {rule.owner} with {rights} for the repositories; of a classic token the scope "
            f"{_REPO_SCOPE}"
        )

    def git_login(self, token: str) -> tuple[str, str]:
        """Give the user name that GitHub's own tools give."""
        return "x-access-token", token

    def peer(self, rule: MirrorRule, token: str) -> Peer:
        """Ask api.github.com, or a server's /api/v3."""
        base = f"{server_url(rule.server, '')}/api/v3" if rule.server else "https://api.github.com"
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": _VERSION}
        secrets = (token,) if token else ()
        return Peer(
            "github",
            base,
            headers,
            bearer(token),
            secrets,
            f"{self.scopes_hint(rule)}; {_PAGE}",
            partial(_explain, rule),
        )

    def walk(self, walk: Walk, rule: MirrorRule) -> list[SourceRepository]:
        """Find out what the owner is, and ask where its repositories are listed."""
        owner = quote(rule.owner, safe="")
        doing = f"the repositories of {rule.owner}"
        told = walk.one(f"users/{owner}", f"the owner {rule.owner}", ("login", "type"))
        pages: dict[str, str | int] = {"per_page": 100, "sort": "created", "direction": "asc"}
        if told.get("type") == "Organization":
            path = query(f"orgs/{owner}/repos", type="all", **pages)
        elif walk.wire.peer.credential and self._is_own(walk, told.get("login", rule.owner)):
            path = query("user/repos", affiliation="owner", **pages)
        else:
            path = query(f"users/{owner}/repos", type="owner", **pages)

        def parse(entry: Entry) -> SourceRepository | None:
            found = self.parse(rule, entry)
            return None if found.path == entry["full_name"] else found

        def following(reply: Reply, _path: str, _entries: int) -> str:
            return reply.next_link

        return walk.pages(path, doing, parse, following)

    def place(self, _rule: MirrorRule, number: str) -> str:
        """Ask by number, which renames and transfers do not change."""
        return f"repositories/{number}"

    def parse(self, rule: MirrorRule, entry: Entry) -> SourceRepository:
        """Read GitHub's repository object; its addresses are made of its name, not taken."""
        full = text_of(entry, "full_name")
        url = f"{server_url(rule.server, 'https://github.com')}/{full}"
        private = "private" if entry["private"] else "public"
        return SourceRepository(
            identity=f"github:{number_of(entry)}",
            path=below(rule.owner, full),
            url=f"{url}.git",
            wiki_url=f"{url}.wiki.git" if rule.wiki and entry.get("has_wiki") is True else "",
            default_branch=branch_name(entry.get("default_branch")),
            visibility=plain(entry.get("visibility")) or private,
            description=plain(entry.get("description")),
            topics=texts(entry.get("topics")),
            archived=entry.get("archived") is True,
            fork=entry.get("fork") is True,
            size_bytes=size_of(entry.get("size"), _KILOBYTE),
            updated_at=plain(entry.get("pushed_at") or entry.get("updated_at")),
        )

    def data(self, rule: MirrorRule, token: str) -> ForgeData:
        """Ask for lists of everything, open or closed; pull requests are issues too there, and are not kept twice."""
        owner = quote(rule.owner, safe="")

        def place(path: str, _number: str, kind: DataKind) -> str:
            more: dict[str, str] = {} if kind is DataKind.RELEASES else {"state": "all", "direction": "asc"}
            return query(f"repos/{owner}/{quote(path)}/{_LISTS[kind]}", per_page=100, **more)

        def assets(path: str, release: Entry) -> Iterator[Asset]:
            for one in items(release.get("assets")):
                if one.get("state") == "uploaded" and (number := size(one.get("id"))) >= 0:
                    yield Asset(
                        text(release, "tag_name"),
                        text(one, "name"),
                        f"{peer.base_url}/repos/{owner}/{quote(path)}/releases/assets/{number}",
                        size(one.get("size")),
                        text(one, "digest").removeprefix("sha256:"),
                        text(one, "updated_at"),
                    )

        def keeps(kind: DataKind, entry: Entry) -> bool:
            return kind is not DataKind.ISSUES or "pull_request" not in entry

        peer = self.peer(rule, token)
        return ForgeData(peer, place, assets, keeps=keeps, accept="application/octet-stream")

    def _is_own(self, walk: Walk, login: str) -> bool:
        me = walk.one("user", "whose the token is", ("login",))
        return me.get("login", "").casefold() == login.casefold()

    def heed(self, rule: MirrorRule, walk: Walk, reply: Reply) -> None:
        """Note what a good answer says of a token: it sees a part only, or its end is near."""
        sso = reply.headers.get("X-GitHub-SSO", "")
        if sso.startswith("partial-results"):
            walk.stop("github: the token is not authorised for single sign-on: some organisations are left out")
        if rule.private and _is_blind(reply):
            walk.stop("github: the token lacks the scope repo: private repositories are not shown to it")
        end = _expiry(reply)
        if end and (end - reply.at).days < _WARN_DAYS:
            walk.note(f"github: the token expires on {end:%Y-%m-%d}")


def _scopes(reply: Reply) -> set[str] | None:
    """Return the scopes of a classic token; None for any other, whose answers do not name them."""
    told = reply.headers.get("X-OAuth-Scopes")
    return None if told is None else {part.strip() for part in told.split(",") if part.strip()}


def _is_blind(reply: Reply) -> bool:
    """Return whether a classic token sees no private repositories."""
    scopes = _scopes(reply)
    return scopes is not None and _REPO_SCOPE not in scopes


def _expiry(reply: Reply) -> datetime | None:
    text = reply.headers.get(_EXPIRES, "").strip()
    for form in ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S %z"):
        try:
            found = datetime.strptime(text, form)  # noqa: DTZ007 - made aware below
        except ValueError:
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def _explain(rule: MirrorRule, reply: Reply, doing: str) -> ProviderError | None:
    """Tell GitHub's many meanings of 401, 403 and 404 apart."""
    status = reply.status
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS} and (limited := _limited(reply)):
        return limited
    is_blocked = status == HTTPStatus.FORBIDDEN and _BLOCKED in reply.said
    if is_blocked or status == HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
        return RejectedError(f"github: {doing}: GitHub has blocked it: {reply.said}")
    end = _expiry(reply)
    if status == HTTPStatus.UNAUTHORIZED and end and end <= reply.at:
        return ProviderAuthError(
            f"github: {doing}: the token expired on {end:%Y-%m-%d}", hint=f"make a new one; {_PAGE}"
        )
    if status == HTTPStatus.FORBIDDEN:
        return _forbidden(reply, doing)
    if status == HTTPStatus.NOT_FOUND and doing.startswith(LOOKING_UP) and rule.private and _is_blind(reply):
        return _lacks("the scope repo, so it is not told whether this one is gone or private", doing)
    return None


def _limited(reply: Reply) -> RateLimitedError | None:
    """Return the error where a refusal is one of GitHub's two limits."""
    if "Retry-After" in reply.headers or reply.headers.get("X-RateLimit-Remaining") == "0":
        return rate_limited("github", reply)
    if "secondary rate limit" in reply.said or "abuse detection" in reply.said:
        return rate_limited("github", reply, _SECONDARY_SECONDS)
    return None


def _forbidden(reply: Reply, doing: str) -> ProviderError | None:
    if reply.headers.get("X-GitHub-SSO", "").startswith("required"):
        return ProviderAuthError(
            f"github: {doing}: the organisation wants the token to be authorised for single sign-on",
            hint="at github.com/settings/tokens choose Configure SSO beside the token",
        )
    scopes = _scopes(reply)
    accepted = [part.strip() for part in reply.headers.get("X-Accepted-OAuth-Scopes", "").split(",") if part.strip()]
    if scopes is not None and accepted and not scopes.intersection(accepted):
        return _lacks(f"the scope {' or '.join(plain(one) for one in accepted)}", doing)
    if needed := plain(reply.headers.get("X-Accepted-GitHub-Permissions", "")):
        return _lacks(f"the permission {needed.replace(';', ' or').replace('=', ': ')}", doing)
    return None


def _lacks(what: str, doing: str) -> ProviderAuthError:
    return ProviderAuthError(
        f"github: {doing}: the token lacks {what}", hint=f"give it that, or make a new one; {_PAGE}"
    )
