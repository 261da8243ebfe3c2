"""What git's words on standard error mean, as errors of AutoGit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autogit.errors import (
    AutogitError,
    GoneError,
    ProviderAuthError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    StorageFullError,
    UnavailableError,
)

_STATUS = re.compile(r"(?:returned error: |HTTP )(\d{3})")
_LINE_CHARACTERS = 300
_NOT_FOUND = frozenset({404, 410})
_GONE_HINT = "look whether it was renamed, deleted or made private"
_AUTH_HINT = "check the credential's value, its expiry and its rights (autogit secrets set NAME)"


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What it means when one of `words` (expressions) is found, and the class of the error."""

    words: tuple[str, ...]
    text: str
    error: type[AutogitError]
    hint: str = ""


# In order: the first that is found decides. Sources: git's messages (remote-curl.c, http.c, connect.c, transport.c,
# receive-pack.c), curl's and OpenSSH's, as they read with LANG=C.
_MEANINGS = (
    _Meaning(("^remote: .*(No space left|Disk quota)",), "the other side's disk is full", UnavailableError),
    _Meaning(
        ("No space left on device", "Disk quota exceeded", "[Ff]ile too large"),
        "the disk is full",
        StorageFullError,
        "free space on this machine; what was there before is intact",
    ),
    _Meaning(
        ("Could not resolve (host|proxy|hostname)", "Name or service not known", "Temporary failure in name"),
        "the host's name is not known (DNS)",
        UnavailableError,
    ),
    _Meaning(
        ("SSL", "TLS", "certificate", "gnutls"),
        "the TLS connection cannot be made",
        UnavailableError,
        "is the clock right, and the authority of its certificate known here?",
    ),
    _Meaning(
        ("Host key verification failed",),
        "the host's SSH key is not known here",
        ProviderAuthError,
        "connect once by hand (ssh USER@HOST) and compare the key's fingerprint",
    ),
    _Meaning(
        ("could not read (Username|Password)", "Authentication failed", "terminal prompts disabled",
         r"Permission denied \(", "[Aa]ccess denied", "Invalid credentials"),
        "the credential is missing or not taken",
        ProviderAuthError,
        _AUTH_HINT,
    ),
    _Meaning(
        ("not our ref", "couldn't find remote ref", "no such remote ref"),
        "the repository changed while it was read",
        UnavailableError,
        "it is read anew at the next sync",
    ),
    _Meaning(
        ("Operation too slow", "timed out", "Connection (refused|reset)", "Failed to connect", "Couldn't connect",
         "early EOF", "unexpected disconnect", "RPC failed", "hung up", "transfer closed", "bad pack header",
         "index-pack", "Empty reply", r"curl \d+", "unexpected flush", "[Nn]etwork is unreachable"),
        "the connection was cut or not answered",
        UnavailableError,
    ),
    _Meaning(
        ("pre-receive hook declined", "hidden ref", "protected branch", "remote rejected", "unpacker error", "fsck"),
        "the other side refused",
        RejectedError,
    ),
    _Meaning(
        ("dubious ownership",),
        "the repository belongs to another user of this machine",
        RejectedError,
        "run AutoGit as its owner",
    ),
    _Meaning(
        ("not found", "does not exist", "does not appear to be a git repository", "could not be found",
         "No such file or directory"),
        "there is no such repository, or it is not shown to this credential",
        GoneError,
        _GONE_HINT,
    ),
)  # fmt: skip


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """Return a text without the secrets' values."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def fault_of(action: str, stderr: str) -> AutogitError:
    """Return the error that git's (redacted) standard error tells of; `action` says what was tried, and with what."""
    line = _telling_line(stderr)
    status = _STATUS.search(stderr)
    if status is not None and (found := _of_status(action, int(status[1]))) is not None:
        return found
    for meaning in _MEANINGS:
        if any(re.search(words, stderr, re.MULTILINE) for words in meaning.words):
            return meaning.error(f"git: {action}: {meaning.text} ({line})", hint=meaning.hint)
    return ProviderError(f"git: {action}: {line}")


def _of_status(action: str, status: int) -> AutogitError | None:
    if status == 429:  # noqa: PLR2004 - RFC 6585
        return RateLimitedError(f"git: {action}: the server wants fewer requests (HTTP 429)")
    if status in {401, 403, 407}:
        return ProviderAuthError(f"git: {action}: the server refused the credential (HTTP {status})", hint=_AUTH_HINT)
    if status in _NOT_FOUND:
        text = f"git: {action}: there is no such repository, or it is not shown to this credential (HTTP {status})"
        return GoneError(text, hint=_GONE_HINT)
    if status >= 500:  # noqa: PLR2004 - RFC 9110
        return UnavailableError(f"git: {action}: the server failed (HTTP {status})")
    return None


def _telling_line(stderr: str) -> str:
    """Return the line that says most, without control characters: they are the other side's."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for mark in ("fatal:", "error:", "remote:", "ssh:"):
        for line in lines:
            if line.startswith(mark):
                return _printable(line)
    return _printable(lines[-1]) if lines else "it failed without a word"


def _printable(line: str) -> str:
    return "".join(character for character in line if character.isprintable())[:_LINE_CHARACTERS]
