"""Finds repositories at Gitea and Forgejo servers, Codeberg among them (docs.gitea.com/api)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import quote

from autogit.errors import ProviderAuthError, ProviderError, UsageError
from autogit.model.mirror import MirrorRule, SourceRepository
from autogit.providers.mirrors.data import Asset, DataKind, ForgeData, items, size, text
from autogit.providers.mirrors.forge import (
    ForgeSource,
    below,
    number_of,
    parameters_of,
    query,
    size_of,
    text_of,
)
from autogit.providers.mirrors.names import branch_name, plain, texts
from autogit.providers.mirrors.walk import Entry, Walk
from autogit.providers.mirrors.wire import Peer, Reply, server_url

_PAGE = "docs/how-to/mirror-gitea.md makes one"
_LIMIT = 50
"""The most that a server gives as it is installed (MAX_RESPONSE_ITEMS)."""
_KILOBYTE = 1024
_SCOPES = re.compile(r"required scope\(s\)[^\[]*\[([^\]]*)\]")


_LISTS = {DataKind.RELEASES: "releases", DataKind.ISSUES: "issues", DataKind.MERGE_REQUESTS: "pulls"}
_ALL: Mapping[DataKind, Mapping[str, str]] = {
    DataKind.RELEASES: {},
    DataKind.ISSUES: {"state": "all", "type": "issues"},
    DataKind.MERGE_REQUESTS: {"state": "all", "sort": "oldest"},
}


class GiteaSource(ForgeSource):
    """A user's or an organisation's repositories at a server, which must be named."""

    provider_name: ClassVar[str] = "gitea"

    def scopes_hint(self, rule: MirrorRule) -> str:
        """Name the scopes."""
        more = "read:issue, " if rule.issues else ""
        return f"a token with {more}read:repository, read:user and, for an organisation, read:organization"

    def git_login(self, token: str) -> tuple[str, str]:
        """Give any user name: the server looks at the token only."""
        return "autogit", token

    def peer(self, rule: MirrorRule, token: str) -> Peer:
        """Ask the server's /api/v1. Raises UsageError where the rule names no server."""
        if not rule.server:
            raise UsageError(
                f"gitea: {rule.owner}: a Gitea or Forgejo mirror needs its server",
                hint="for example --server https://codeberg.org",
            )
        credential = {"Authorization": f"token {token}"} if token else {}
        hint = f"{self.scopes_hint(rule)}; {_PAGE}"
        secrets = (token,) if token else ()
        base = f"{server_url(rule.server, '')}/api/v1"
        return Peer("gitea", base, {"Accept": "application/json"}, credential, secrets, hint, _explain)

    def walk(self, walk: Walk, rule: MirrorRule) -> list[SourceRepository]:
        """Take the owner for a user, and for an organisation where there is no such user."""
        return walk.either(("users", "orgs"), lambda kind: self._listed(walk, rule, kind))

    def place(self, _rule: MirrorRule, number: str) -> str:
        """Ask by number, which renames and transfers do not change."""
        return f"repositories/{number}"

    def parse(self, rule: MirrorRule, entry: Entry) -> SourceRepository:
        """Read a repository object; its addresses are made of its name: many servers do not know their own."""
        full = text_of(entry, "full_name")
        url = f"{server_url(rule.server, '')}/{full}"
        has_wiki = entry.get("has_wiki") is True and not entry.get("external_wiki")
        private = "private" if entry["private"] else "public"
        return SourceRepository(
            identity=f"gitea:{number_of(entry)}",
            path=below(rule.owner, full),
            url=f"{url}.git",
            wiki_url=f"{url}.wiki.git" if rule.wiki and has_wiki else "",
            default_branch=branch_name(entry.get("default_branch")),
            visibility="internal" if entry.get("internal") is True and private == "public" else private,
            description=plain(entry.get("description")),
            topics=texts(entry.get("topics")),
            archived=entry.get("archived") is True,
            fork=entry.get("fork") is True,
            size_bytes=size_of(entry.get("size"), _KILOBYTE),
            updated_at=plain(entry.get("updated_at")),
        )

    def data(self, rule: MirrorRule, token: str) -> ForgeData:
        """Ask for lists of everything, open or closed; files by their own numbers, at the server that is named."""
        owner, server = quote(rule.owner, safe=""), server_url(rule.server, "")

        def place(path: str, _number: str, kind: DataKind) -> str:
            return query(f"repos/{owner}/{quote(path)}/{_LISTS[kind]}", page=1, limit=_LIMIT, **_ALL[kind])

        def assets(_path: str, release: Entry) -> Iterator[Asset]:
            for one in items(release.get("assets")):
                if re.fullmatch(r"[0-9a-fA-F-]{36}", number := text(one, "uuid")):
                    stamp = f"{number} {text(one, 'created_at')}"
                    name, url = text(one, "name"), f"{server}/attachments/{number}"
                    yield Asset(text(release, "tag_name"), name, url, size(one.get("size")), stamp=stamp)

        return ForgeData(self.peer(rule, token), place, assets, following=_following)

    def _listed(self, walk: Walk, rule: MirrorRule, kind: str) -> list[SourceRepository]:
        place = f"{kind}/{quote(rule.owner, safe='')}/repos"

        def parse(entry: Entry) -> SourceRepository | None:
            found = self.parse(rule, entry)
            return None if found.path == entry["full_name"] else found

        return walk.pages(query(place, page=1, limit=_LIMIT), f"the repositories of {rule.owner}", parse, _following)


def _following(reply: Reply, path: str, entries: int) -> str:
    """Return the next page. Links are made of the address that the server thinks it has; counting is not."""
    total = reply.headers.get("X-Total-Count", "")
    is_last = entries >= int(total[:12]) if total.isdecimal() else not reply.next_link
    parameters = parameters_of(path)
    more = {**parameters, "page": str(int(parameters["page"]) + 1)}
    return "" if is_last else query(path.partition("?")[0], **more)


def _explain(reply: Reply, doing: str) -> ProviderError | None:
    """Read which scope is missing, in the words of old and new servers."""
    match = _SCOPES.search(reply.said)
    if reply.status == HTTPStatus.FORBIDDEN and match:
        scopes = " or ".join(part.strip() for part in match[1].replace(",", " ").split())
        return ProviderAuthError(
            f"gitea: {doing}: the token lacks the scope {scopes}", hint=f"make one that has it; {_PAGE}"
        )
    return None
