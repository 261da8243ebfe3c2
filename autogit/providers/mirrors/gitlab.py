"""Finds projects at GitLab.com, and at other GitLab servers (docs.gitlab.com/api)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import quote

from autogit.errors import ProviderAuthError, ProviderError
from autogit.model.mirror import MirrorRule, SourceRepository
from autogit.providers.mirrors.data import Asset, DataKind, ForgeData, items, text
from autogit.providers.mirrors.forge import ForgeSource, below, number_of, query, text_of
from autogit.providers.mirrors.names import branch_name, plain, texts
from autogit.providers.mirrors.walk import Entry, Walk
from autogit.providers.mirrors.wire import Peer, Reply, is_same_origin, server_url

_PUBLIC = "https://gitlab.com"
_PAGE = "docs/how-to/mirror-gitlab-com.md makes one"
_PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "groups": {"include_subgroups": "true", "with_shared": "false"},
    "users": {},
}
"""Where it is kept what the owner is: asking for a group that is a user costs a request each time."""
_ENDED = {"Token is expired": "has expired", "Token was revoked": "was revoked"}


class GitlabSource(ForgeSource):
    """The projects of a group with all groups below it, or of a user."""

    provider_name: ClassVar[str] = "gitlab"

    def scopes_hint(self, rule: MirrorRule) -> str:
        """Name the scopes."""
        return (
            f"a token with the scopes read_api and read_repository that may see {rule.owner}: a group's own with the "
            "role Reporter, or a personal one"
        )

    def git_login(self, token: str) -> tuple[str, str]:
        """Give any user name: GitLab looks at the token only."""
        return "oauth2", token

    def peer(self, rule: MirrorRule, token: str) -> Peer:
        """Ask the server's /api/v4."""
        credential = {"PRIVATE-TOKEN": token} if token else {}
        hint = f"{self.scopes_hint(rule)}; {_PAGE}"
        secrets = (token,) if token else ()
        return Peer("gitlab", f"{server_url(rule.server, _PUBLIC)}/api/v4", {}, credential, secrets, hint, _explain)

    def walk(self, walk: Walk, rule: MirrorRule) -> list[SourceRepository]:
        """Take the owner for a group, and for a user where there is no such group."""
        return walk.either(("groups", "users"), lambda kind: self._listed(walk, rule, kind))

    def place(self, _rule: MirrorRule, number: str) -> str:
        """Ask by number, which renames and transfers do not change."""
        return f"projects/{number}"

    def parse(self, rule: MirrorRule, entry: Entry) -> SourceRepository:
        """Read GitLab's project object; its addresses are made of its path, not taken."""
        full = text_of(entry, "path_with_namespace")
        url = f"{server_url(rule.server, _PUBLIC)}/{full}"
        has_wiki = entry.get("wiki_access_level", "enabled") != "disabled" and entry.get("wiki_enabled") is not False
        return SourceRepository(
            identity=f"gitlab:{number_of(entry)}",
            path=below(rule.owner, full),
            url=f"{url}.git",
            wiki_url=f"{url}.wiki.git" if rule.wiki and has_wiki else "",
            default_branch=branch_name(entry.get("default_branch")),
            # Without a token GitLab tells fewer things, and public projects only.
            visibility=plain(entry.get("visibility")) or "public",
            description=plain(entry.get("description")),
            topics=texts(entry.get("topics")),
            archived=entry.get("archived") is True,
            fork=bool(entry.get("forked_from_project")),
            updated_at=plain(entry.get("last_activity_at")),
        )

    def data(self, rule: MirrorRule, token: str) -> ForgeData:
        """Ask by number. A release has links, of which those to the same server are files that can be had."""
        peer = self.peer(rule, token)

        def place(_path: str, number: str, kind: DataKind) -> str:
            scope = {} if kind is DataKind.RELEASES else {"scope": "all", "order_by": "created_at"}
            return query(f"projects/{number}/{kind}", per_page=100, sort="asc", **scope)

        def assets(_path: str, release: Entry) -> Iterator[Asset]:
            told = release.get("assets")
            for one in items(told.get("links") if isinstance(told, Mapping) else None):
                if is_same_origin(url := text(one, "url"), peer.base_url):
                    yield Asset(text(release, "tag_name"), text(one, "name"), url)

        return ForgeData(peer, place, assets)

    def _listed(self, walk: Walk, rule: MirrorRule, kind: str) -> list[SourceRepository]:
        path = f"{kind}/{quote(rule.owner, safe='')}/projects"
        path = query(path, per_page=100, order_by="id", sort="asc", pagination="keyset", **_PARAMETERS[kind])

        def parse(entry: Entry) -> SourceRepository | None:
            found = self.parse(rule, entry)
            # One that waits for its deletion has another path, and is gone for whoever used it.
            is_going = entry.get("marked_for_deletion_on") or entry.get("marked_for_deletion_at")
            is_other = found.path == entry["path_with_namespace"]
            return None if is_going or is_other else found

        def following(reply: Reply, _path: str, _entries: int) -> str:
            return reply.next_link

        return walk.pages(path, f"the projects of {rule.owner}", parse, following)


def _explain(reply: Reply, doing: str) -> ProviderError | None:
    """Read the errors that GitLab tells as OAuth does (RFC 6750 section 3.1)."""
    body = reply.body if isinstance(reply.body, dict) else {}
    if body.get("error") == "insufficient_scope":
        scope = " or ".join(plain(body.get("scope")).split()) or "read_api"
        return ProviderAuthError(
            f"gitlab: {doing}: the token lacks the scope {scope}", hint=f"make one that has it; {_PAGE}"
        )
    for words, ended in _ENDED.items():
        if reply.status == HTTPStatus.UNAUTHORIZED and words in reply.said:
            return ProviderAuthError(f"gitlab: {doing}: the token {ended}", hint=f"make a new one; {_PAGE}")
    return None
