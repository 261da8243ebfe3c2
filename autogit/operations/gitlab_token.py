"""The administrator's token of the platform's own GitLab: made once, kept encrypted, exchanged before it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr, ValidationError

from autogit.connectors.gitlab import GitLabClient
from autogit.connectors.gitlab_rails import make_admin_token
from autogit.connectors.gitlab_tokens import look_at_token, rotate_token
from autogit.errors import ProviderAuthError
from autogit.model.gitlab import (
    ROTATE_BEFORE_DAYS,
    TOKEN_DAYS,
    TOKEN_SCOPES,
    TOKEN_SECRET,
    GitLabTokenView,
    TokenFacts,
)
from autogit.model.project import ProjectPaths
from autogit.operations.gitlab_access import Access, StoreKeeper
from autogit.providers.host.atomic import write_atomic

MADE, ROTATED, KEPT = "made", "rotated", ""


@dataclass(frozen=True)
class TokenKeeper:
    """Looks after the token: `facts_file` is what is known of it beside the store, and is no secret."""

    access: Access
    secrets: StoreKeeper
    facts_file: Path
    clock: Callable[[], datetime]

    async def ensure(self, report: Callable[[str], None], *, rotate: bool = False) -> GitLabTokenView:
        """Have a good token with all scopes; one that is about to expire, or with `rotate` any, is exchanged.

        A token that GitLab does not take (expired, revoked by hand, or lost because a run was killed between GitLab's
        answer and the store) is made anew by GitLab itself. Raises what the connectors raise.
        """
        stored = self.secrets.get(TOKEN_SECRET)
        if stored is None:
            return await self._make(report, "there is no administrator's token yet")
        client = self._client(stored)
        try:
            facts = await asyncio.to_thread(look_at_token, client)
        except ProviderAuthError as exc:
            return await self._make(report, exc.message)
        if not set(TOKEN_SCOPES) <= set(facts.scopes):
            return await self._make(report, "the token lacks a scope")
        if not rotate and self.days_left(facts) > ROTATE_BEFORE_DAYS:
            self._keep_facts(facts)
            return self._view(facts, KEPT)
        report("exchanging the administrator's token")
        token, facts = await asyncio.to_thread(rotate_token, client, self._last_day())
        return self._keep(token, facts, ROTATED)

    def look(self) -> GitLabTokenView:
        """Return what is known of the token without asking GitLab."""
        if self.secrets.get(TOKEN_SECRET) is None:
            return GitLabTokenView(state="missing")
        facts = self._facts()
        return self._view(facts, KEPT) if facts else GitLabTokenView(state="unknown")

    def days_left(self, facts: TokenFacts) -> int:
        """Return the whole days that a token still has; many where GitLab says that it never expires."""
        if not facts.expires_at:
            return TOKEN_DAYS
        return (date.fromisoformat(facts.expires_at) - self.clock().date()).days

    async def _make(self, report: Callable[[str], None], why: str) -> GitLabTokenView:
        report(f"{why}: GitLab makes one (gitlab-rails, about a minute)")
        token = await make_admin_token(self.access.execute, self._last_day())
        self.secrets.put(TOKEN_SECRET, token.get_secret_value())
        facts = await asyncio.to_thread(look_at_token, self._client(token.get_secret_value()))
        return self._keep(token, facts, MADE)

    def _keep(self, token: SecretStr, facts: TokenFacts, how: str) -> GitLabTokenView:
        self.secrets.put(TOKEN_SECRET, token.get_secret_value())  # first: what is lost here nobody can ask for again
        self._keep_facts(facts)
        return self._view(facts, how)

    def _client(self, token: str) -> GitLabClient:
        return GitLabClient(self.access.place, SecretStr(token))

    def _last_day(self) -> date:
        return self.clock().date() + timedelta(days=TOKEN_DAYS)

    def _view(self, facts: TokenFacts, how: str) -> GitLabTokenView:
        left = self.days_left(facts)
        return GitLabTokenView(
            state="good" if left > ROTATE_BEFORE_DAYS else "due",
            name=facts.name,
            scopes=facts.scopes,
            expires_at=facts.expires_at,
            days_left=max(left, 0),
            made=how,
        )

    def _keep_facts(self, facts: TokenFacts) -> None:
        if self._facts() != facts:
            write_atomic(self.facts_file, facts.model_dump_json().encode(), 0o600)

    def _facts(self) -> TokenFacts | None:
        return read_facts(self.facts_file)


def facts_file(paths: ProjectPaths) -> Path:
    """Return where the token's expiry is written down."""
    return paths.state / "gitlab-token.json"


def read_facts(path: Path) -> TokenFacts | None:
    """Return what is written down of the token, None where that cannot be read: GitLab can be asked again."""
    try:
        return TokenFacts.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
