"""The first administrator's token: GitLab makes it, through `gitlab-rails runner` with the script on its input."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import date

from pydantic import SecretStr

from autogit.errors import RejectedError, UsageError
from autogit.model.gitlab import TOKEN_NAME, TOKEN_SCOPES

Execute = Callable[[Sequence[str], bytes], Awaitable[bytes]]
"""Runs a program where GitLab runs: its arguments and its standard input; returns its standard output.

Raises an AutogitError where it cannot be run or ends badly, with the last words of its standard error as context.
"""

RUNNER = ("gitlab-rails", "runner", "-")
_TOKEN = re.compile(r"[A-Za-z0-9_.\-]{20,255}")
# The old token goes first: two of one name would be one too many to look after. `find_each` runs the model's own
# callbacks; a second run with this script therefore leaves one token that is good.
_SCRIPT = """\
user = User.find_by_username({user})
abort('there is no user of that name') unless user
user.personal_access_tokens.active.where(name: {name}).find_each(&:revoke!)
token = user.personal_access_tokens.create!(name: {name}, scopes: {scopes}, expires_at: {expires_at})
puts token.token
"""


def ruby_literal(value: str | Sequence[str]) -> str:
    """Return Ruby source for a text (single-quoted: nothing in it is evaluated) or a list of texts.

    Raises UsageError for control characters: a line break would end a comment, a heredoc or a statement somewhere.
    """
    if not isinstance(value, str):
        return f"[{', '.join(ruby_literal(one) for one in value)}]"
    if any(ord(sign) < ord(" ") or ord(sign) == 0x7F or sign in "\x85\u2028\u2029" for sign in value):  # noqa: PLR2004 - DEL
        raise UsageError("a value for Ruby holds a line break or another control character")
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def token_script(
    expires_on: date, *, user: str = "root", name: str = TOKEN_NAME, scopes: Sequence[str] = TOKEN_SCOPES
) -> str:
    """Return the script that revokes a user's tokens of that name, makes a new one and prints it, and nothing else."""
    return _SCRIPT.format(
        user=ruby_literal(user),
        name=ruby_literal(name),
        scopes=ruby_literal(scopes),
        expires_at=ruby_literal(expires_on.isoformat()),
    )


async def make_admin_token(execute: Execute, expires_on: date) -> SecretStr:
    """Have GitLab make root's token. Boots all of Rails: a minute, and 1 GB of memory for that long.

    Raises RejectedError where what comes back is no token; what came back is not told.
    """
    said = await execute(RUNNER, token_script(expires_on).encode())
    lines = said.decode("utf-8", "replace").split("\n")
    words = [line.strip() for line in lines if line.strip()]
    if not words or not _TOKEN.fullmatch(words[-1]):
        raise RejectedError(
            "gitlab: gitlab-rails runner printed no token", hint="autogit logs gitlab; then autogit gitlab bootstrap"
        )
    return SecretStr(words[-1])
