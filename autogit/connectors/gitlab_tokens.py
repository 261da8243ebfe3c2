"""The administrator's token once there is one: what GitLab says of it, and its rotation."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import SecretStr

from autogit.connectors.gitlab import GitLabClient
from autogit.errors import RejectedError
from autogit.model.gitlab import TokenFacts


def look_at_token(client: GitLabClient) -> TokenFacts:
    """Return what GitLab says of the client's own token. Raises ProviderAuthError where it does not take it."""
    return _facts(client.get("/personal_access_tokens/self"))


def rotate_token(client: GitLabClient, expires_on: date) -> tuple[SecretStr, TokenFacts]:
    """Exchange the client's own token for a new one; GitLab revokes the old one with its answer.

    An answer that is lost is a token that is lost: then nothing but `gitlab-rails` makes another one.
    """
    answer = client.post("/personal_access_tokens/self/rotate", expires_at=expires_on.isoformat())
    if not isinstance(answer, dict) or not isinstance(answer.get("token"), str):
        raise RejectedError("gitlab: rotated the token and did not say the new one", hint="autogit gitlab bootstrap")
    return SecretStr(answer["token"]), _facts(answer)


def _facts(row: Any) -> TokenFacts:
    return TokenFacts(
        id=int(row["id"]),
        name=str(row.get("name", "")),
        scopes=tuple(map(str, row.get("scopes", ()))),
        expires_at=str(row.get("expires_at") or ""),
    )
