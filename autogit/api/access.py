"""Who may have what the API does not show to everybody: holders of API_TOKEN, by Basic or Bearer."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from pathlib import Path

_TOKEN_FILE = "AUTOGIT_API_TOKEN_FILE"  # noqa: S105 - a variable's name


def is_allowed(authorization: str) -> bool:
    """Tell whether a request's `Authorization` holds the token; as the password of any user, as git gives it.

    The file is read each time: a token that was exchanged counts at once. Without a token nobody is let in.
    """
    kind, _, value = authorization.strip().partition(" ")
    given = value.strip() if kind.lower() == "bearer" else _password(value) if kind.lower() == "basic" else ""
    token = _token()
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def _password(value: str) -> str:
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]


def _token() -> str:
    file = os.environ.get(_TOKEN_FILE, "")
    try:
        return Path(file).read_text(encoding="utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError):
        return ""
