"""Who asks: tokens in headers of the API, Basic credentials of git, and what their scopes open."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from tests.fakes.gitlab.state import now
from tests.fakes.gitlab.web import ApiError, forbidden, not_found, unauthorized

_ABILITIES = {
    "api": {"download_code", "push_code"},
    "read_api": {"download_code"},
    "read_repository": {"download_code"},
    "write_repository": {"download_code", "push_code"},
}
_HIGHER = "The request requires higher privileges than provided by the access token."
_EXPIRED = "Token is expired. You can either do re-authorization or token refresh."
_REVOKED = "Token was revoked. You have to re-authorize from the user."


def token_value(headers, given):
    """The token of a call of the API, wherever it is."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    bearer = value.strip() if scheme.lower() == "bearer" else ""
    return str(given.get("private_token") or headers.get("private-token") or bearer or given.get("access_token") or "")


def _bearer_error(description):
    challenge = f'Bearer realm="The API", error="invalid_token", error_description="{description}"'
    body = {"error": "invalid_token", "error_description": description}
    return ApiError(401, body, {"WWW-Authenticate": challenge})


def authenticate(state, value):
    """The token and its user; ApiError as GitLab says it for unknown, expired and revoked ones."""
    token = state.find_token(value)
    if token is None:
        raise unauthorized()
    if token.expired:
        raise _bearer_error(_EXPIRED)
    if token.revoked:
        raise _bearer_error(_REVOKED)
    user = state.users[token.user_id]
    if user.state != "active":
        raise forbidden("Your account has been blocked.")
    return token, user


def check_scopes(token, route):
    """Refuse a token that none of the endpoint's scopes is in."""
    if "*" not in route.scopes and not set(route.opening) & set(token.scopes):
        body = {"error": "insufficient_scope", "error_description": _HIGHER, "scope": " ".join(route.advertised)}
        raise ApiError(403, body)


def sudo(state, token, user, wanted):
    """The user that an administrator wants to be."""
    if not user.admin:
        raise forbidden("Must be admin to use sudo")
    if "sudo" not in token.scopes:
        body = {"error": "insufficient_scope", "error_description": _HIGHER, "scope": "sudo"}
        raise ApiError(403, body)
    found = state.find_user(wanted)
    if found is None:
        raise not_found(f"User with ID or username '{wanted}'")
    return found


@dataclass(frozen=True)
class GitUser:
    """Who a git client is; nobody where it came without credentials."""

    user: object = None
    token_name: str = ""
    abilities: frozenset[str] = frozenset({"download_code"})


def basic_credentials(headers):
    """Name and password, or None."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


def git_user(state, credentials):
    """The user of a token given as password, whatever the name; None if it opens nothing."""
    _, password = credentials
    if (number := state.lfs_tokens.get(password)) is not None:
        return GitUser(state.users[number], "lfs", frozenset({"download_code", "push_code"}))
    token = state.find_token(password) if password else None
    if token is None or not token.active or state.users[token.user_id].state != "active":
        return None
    token.last_used_at = now()
    abilities = frozenset().union(*(_ABILITIES.get(scope, set()) for scope in token.scopes))
    return GitUser(state.users[token.user_id], token.name, abilities)
