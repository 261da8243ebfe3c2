"""Takes a single repository from any URL that git knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from autogit.errors import UsageError
from autogit.model.mirror import Discovery, MirrorRule, SourceRepository
from autogit.providers.mirrors.base import MirrorSource, select
from autogit.providers.mirrors.names import path_fault, shown

_SCP = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^\s:][^\s]*", re.ASCII)
_SCHEMES = {"https", "http", "ssh"}


class GitSource(MirrorSource):
    """One URL. Nobody tells whether it was renamed or made anew: git itself says whether it is there."""

    provider_name: ClassVar[str] = "git"

    async def discover(self, rule: MirrorRule, token: str, etags: Mapping[str, str]) -> Discovery:
        """Return the repository of the URL, without asking. Raises UsageError for what is none."""
        del token, etags
        found, notes = select(rule, (_repository(rule.owner),))
        return Discovery(found, notes=notes)

    async def find(self, rule: MirrorRule, token: str, identity: str) -> SourceRepository | None:
        """Return the repository, None where the rule has another URL by now."""
        del token
        one = _repository(rule.owner)
        return one if one.identity == identity else None

    def scopes_hint(self, rule: MirrorRule) -> str:
        """Say what a credential is for."""
        return f"a token, or user:password, that may read {shown(rule.owner)}"

    def git_login(self, token: str) -> tuple[str, str]:
        """Take `user:password` apart; a token alone gets a user name that forges take with one."""
        user, has_user, password = token.partition(":")
        return (user, password) if has_user else ("git", token)


def _repository(url: str) -> SourceRepository:
    fault = _fault(url)
    if fault:
        raise UsageError(
            f"git: {fault}", hint="https://host/path.git, ssh://git@host/path.git or git@host:path.git will do"
        )
    path = url.partition(":")[2] if _SCP.fullmatch(url) else urlsplit(url).path
    name = path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    if path_fault(name):
        raise UsageError(f"git: the URL ends in no name of a repository: {path_fault(name)}")
    return SourceRepository(f"git:{url}", name, url)


def _fault(url: str) -> str:
    """Return why a text is no URL to mirror; never with the text where it may hold a password."""
    if not url.isprintable() or url.startswith("-") or "::" in url.partition("/")[0]:
        return "the URL has signs that no URL has, or would be taken for a command"
    if _SCP.fullmatch(url):
        return ""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return "the URL cannot be read"
    if parts.scheme not in _SCHEMES or not has_host or (parts.hostname or "").startswith("-"):
        return "the URL must begin with https://, http:// or ssh:// and a host"
    if parts.password is not None or (parts.username and parts.scheme != "ssh"):
        return "the URL holds a user name or a password: name a credential instead"
    return "the URL has a query or a fragment, which no repository has" if parts.query or parts.fragment else ""
