"""Finds repositories at Bitbucket Cloud (developer.atlassian.com/cloud/bitbucket/rest)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import quote

from autogit.errors import ProviderAuthError, ProviderError, RateLimitedError
from autogit.model.mirror import MirrorRule, SourceRepository
from autogit.providers.mirrors.forge import ForgeSource, below, query, size_of, text_of
from autogit.providers.mirrors.names import branch_name, plain, texts
from autogit.providers.mirrors.walk import Entry, Walk
from autogit.providers.mirrors.wire import Peer, Reply, basic, bearer, rate_limited, server_url

_API = "https://api.bitbucket.org"
_WEB = "https://bitbucket.org"
_PAGE = "docs/how-to/mirror-bitbucket.md makes one"
_LIMIT_SECONDS = 60.0
"""Bitbucket does not say how long to wait; its limits are counted over a rolling hour."""
_ENDED = "invalid, expired"


class BitbucketSource(ForgeSource):
    """A workspace's repositories. The token is an access token, or `e-mail:API token`."""

    provider_name: ClassVar[str] = "bitbucket"
    identity_pattern: ClassVar[str] = r"\{[0-9a-fA-F-]{1,64}\}"

    def scopes_hint(self, rule: MirrorRule) -> str:
        """Name the scopes."""
        return (
            f"a workspace access token of {rule.owner} with Repositories: Read, or e-mail:API token with the scope "
            "read:repository:bitbucket"
        )

    def git_login(self, token: str) -> tuple[str, str]:
        """Give the user names that Bitbucket keeps for its two kinds of tokens."""
        _, has_user, secret = token.partition(":")
        return ("x-bitbucket-api-token-auth", secret) if has_user else ("x-token-auth", token)

    def peer(self, rule: MirrorRule, token: str) -> Peer:
        """Ask api.bitbucket.org; a server that is named is one that speaks the same API."""
        user, has_user, secret = token.partition(":")
        credential = basic(user, secret) if has_user else bearer(token)
        # The header's own form too: a proxy that echoes headers would show it.
        secrets = tuple(part for part in (token, secret, credential.get("Authorization", "")[6:]) if part)
        hint = f"{self.scopes_hint(rule)}; {_PAGE}"
        base = f"{server_url(rule.server, _API)}/2.0"
        return Peer("bitbucket", base, {"Accept": "application/json"}, credential, secrets, hint, _explain)

    def walk(self, walk: Walk, rule: MirrorRule) -> list[SourceRepository]:
        """Follow the list's `next`."""
        # Without `role`, which would leave out what a workspace's own token sees though it is no member's.
        path = query(f"repositories/{quote(rule.owner, safe='')}", pagelen=100, sort="created_on")

        def parse(entry: Entry) -> SourceRepository | None:
            found = self.parse(rule, entry)
            return None if found.path == entry["full_name"] else found

        def following(reply: Reply, _path: str, _entries: int) -> str:
            link = reply.body.get("next")
            return link if isinstance(link, str) else ""

        return walk.pages(path, f"the repositories of {rule.owner}", parse, following)

    def place(self, rule: MirrorRule, number: str) -> str:
        """Ask by the UUID, which stands for the name."""
        return f"repositories/{quote(rule.owner, safe='')}/{quote(number, safe='')}"

    def parse(self, rule: MirrorRule, entry: Entry) -> SourceRepository:
        """Read Bitbucket's repository object; its addresses are made of its name, which has no user in front."""
        full, uuid = text_of(entry, "full_name"), text_of(entry, "uuid")
        if not re.fullmatch(self.identity_pattern, uuid):
            raise ValueError("uuid")
        branch = entry.get("mainbranch")
        url = f"{server_url(rule.server, _WEB)}/{full}.git"
        return SourceRepository(
            identity=f"bitbucket:{uuid}",
            path=below(rule.owner, full),
            url=url,
            wiki_url=f"{url}/wiki" if rule.wiki and entry.get("has_wiki") is True else "",
            default_branch=branch_name(branch.get("name")) if isinstance(branch, dict) else "",
            visibility="private" if entry["is_private"] else "public",
            description=plain(entry.get("description")),
            topics=texts(entry.get("topics")),
            fork=bool(entry.get("parent")),
            size_bytes=size_of(entry.get("size")),
            updated_at=plain(entry.get("updated_on")),
        )


def _explain(reply: Reply, doing: str) -> ProviderError | None:
    """Read `error.detail.required`, and take a 429 for what it is without a Retry-After."""
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        return _limited(reply)
    if reply.status == HTTPStatus.UNAUTHORIZED and _ENDED in reply.said:
        return ProviderAuthError(
            f"bitbucket: {doing}: the token is invalid, has expired, or is of a kind not meant for this",
            hint=f"make a new one; an API token is given as e-mail:token; {_PAGE}",
        )
    error = reply.body.get("error") if isinstance(reply.body, dict) else None
    detail = error.get("detail") if isinstance(error, dict) else None
    required = texts(detail.get("required")) if isinstance(detail, dict) else ()
    if reply.status == HTTPStatus.FORBIDDEN and required:
        return ProviderAuthError(
            f"bitbucket: {doing}: the token lacks the scope {' and '.join(required)}",
            hint=f"make one that has it; {_PAGE}",
        )
    return None


def _limited(reply: Reply) -> RateLimitedError:
    return rate_limited("bitbucket", reply, 0.0 if reply.wait else _LIMIT_SECONDS)
