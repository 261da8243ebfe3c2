"""What GitLab's refusals and silences mean: one of AutoGit's errors each, in a sentence, with no token in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import gitlab
import requests

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from autogit.model.text import one_line

_LONGEST_WORDS = 300
_LONGEST_WAIT_SECONDS = 86400.0
_REDIRECTS, _SERVER_ERRORS = range(300, 400), range(500, 600)
_NEW_TOKEN = "autogit gitlab bootstrap makes a new one"  # noqa: S105 - a sentence
_LOGS = "autogit status; autogit logs gitlab"


def fault_of(exc: Exception, url: str, token: str, retry_after: str, now: datetime) -> AutogitError:
    """Return the error that an exception of python-gitlab or requests stands for; `token` is cut out of all words."""
    error = _of_answer(exc, url, retry_after, now) if isinstance(exc, gitlab.GitlabError) else _of_silence(exc, url)
    if token:
        error.message = error.message.replace(token, "(token)")
        error.args = (error.message,)
    return error


def no_api(url: str) -> UnavailableError:
    """Return the error of an answer that is not the API's."""
    return UnavailableError(f"gitlab: what answers at {url} is not GitLab's API", hint=_LOGS)


def _of_silence(exc: Exception, url: str) -> AutogitError:
    if isinstance(exc, requests.exceptions.SSLError):
        return UnavailableError(
            f"gitlab: {url} shows a certificate that is not trusted here",
            hint="autogit certs status shows what is served, and what should be",
        )
    if isinstance(exc, requests.Timeout):
        return UnavailableError(f"gitlab: {url} did not answer in time", hint=_LOGS)
    if isinstance(exc, requests.exceptions.JSONDecodeError | ValueError):
        return no_api(url)
    return UnavailableError(f"gitlab: {url} cannot be reached, or broke off its answer", hint=_LOGS)


def _of_answer(exc: gitlab.GitlabError, url: str, retry_after: str, now: datetime) -> AutogitError:
    code, body = exc.response_code or 0, _body(exc.response_body)
    if isinstance(exc, gitlab.GitlabParsingError):
        return no_api(url)
    if code in _REDIRECTS:
        return UnavailableError(
            f"gitlab: {url} sends elsewhere ({code}), and the token does not go along",
            hint="BASE_DOMAIN and the ports in .env must be those that GitLab runs with: autogit plan",
        )
    if code in _SERVER_ERRORS:
        return UnavailableError(f"gitlab: answered {code}: it is starting, overloaded or ill", hint=_LOGS)
    known = {401: _unauthorized, 403: _forbidden, 404: _missing}
    if code in known:
        return known[code](body)
    if code == requests.codes.too_many_requests:
        wait = wait_seconds(retry_after, now)
        when = f"; it may be asked again in {wait:.0f} s" if wait else ""
        return RateLimitedError(f"gitlab: was asked too often{when}", retry_after_seconds=wait)
    return RejectedError(f"gitlab: {_words(body) or f'answered {code}'}")


def _unauthorized(body: Mapping[str, Any]) -> AutogitError:
    said = str(body.get("error_description", "")).lower()
    if "expired" in said:
        return ProviderAuthError("gitlab: the token has expired", hint=_NEW_TOKEN)
    if "revoked" in said:
        return ProviderAuthError("gitlab: the token was revoked", hint=_NEW_TOKEN)
    return ProviderAuthError("gitlab: does not know the token", hint=_NEW_TOKEN)


def _forbidden(body: Mapping[str, Any]) -> AutogitError:
    if body.get("error") == "insufficient_scope":
        scopes = " or ".join(one_line(str(body.get("scope") or "another one")).split())
        return ProviderAuthError(f"gitlab: the token lacks a scope: this needs {scopes}", hint=_NEW_TOKEN)
    words = _words(body).removeprefix("403 Forbidden").strip(" -:")
    return ProviderAuthError(
        "gitlab: the token's user may not do this" + (f": {words}" if words else ""),
        hint="it must be an administrator's, with the scopes api and admin_mode; " + _NEW_TOKEN,
    )


def _missing(body: Mapping[str, Any]) -> AutogitError:
    return MissingError(f"gitlab: {_words(body) or '404 Not Found'}")


def _body(raw: bytes | str | None) -> Mapping[str, Any]:
    try:
        read = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _words(body: Mapping[str, Any]) -> str:
    """Return what GitLab says: a text, or texts by attribute."""
    said = body.get("message") or body.get("error") or ""
    if isinstance(said, dict):
        rows = ((name, texts if isinstance(texts, list) else [texts]) for name, texts in said.items())
        said = "; ".join(f"{name} {', '.join(map(str, texts))}" for name, texts in rows)
    text = one_line(" ".join(str(said).split()))
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]} ..."


def wait_seconds(retry_after: str, now: datetime) -> float:
    """Return the wait that a Retry-After means, from 0 to a day: seconds or an HTTP date (RFC 9110 section 10.2.3)."""
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_WAIT_SECONDS)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    aware = until if until.tzinfo else until.replace(tzinfo=now.tzinfo)
    return min(max(0.0, (aware - now).total_seconds()), _LONGEST_WAIT_SECONDS)
