"""Which addresses of repositories are taken; git sees none that was not checked here."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from autogit.errors import UsageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^-\s:][^\s]*)")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
_FORMS = "give https://HOST/PATH, ssh://USER@HOST/PATH, git@HOST:PATH or an absolute path of this machine"
_PORTS = {"https": 443, "http": 80}


def check_url(url: str) -> str:
    """Return the transport of a repository's address: https, http, ssh or file. Raises UsageError.

    What is refused is never shown: it may hold a secret, or characters that a terminal would obey.
    """
    if not url or _CONTROL.search(url):
        raise UsageError("a repository's address is empty or has control characters", hint=_FORMS)
    if url.startswith("-"):
        raise UsageError("a repository's address may not start with -: git would take it for an option", hint=_FORMS)
    if url.startswith("/"):
        return "file"
    if _SCP.fullmatch(url):
        return "ssh"
    return _check_split(url)


def host_of(url: str) -> str:
    """Return an HTTP address's host as `protocol://host:port`, in lower case, the port always named."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    return f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}:{port}"


def _check_split(url: str) -> str:
    parts = _split(url)
    scheme = parts.scheme.lower()
    if "::" in url.split("/", 1)[0] or scheme not in {"https", "http", "ssh"}:
        raise UsageError("a repository's address has a transport that is not taken", hint=_FORMS)
    if parts.password is not None or (parts.username is not None and scheme != "ssh"):
        raise UsageError(
            "a repository's address has a user or a password in it: it would end up in logs and process lists",
            hint="keep it in the secret store (autogit secrets set NAME) and name it with --credential NAME",
        )
    if parts.query or parts.fragment or " " in url:
        raise UsageError("a repository's address has a query, a fragment or a blank in it", hint=_FORMS)
    if not _HOST.fullmatch(parts.hostname or "") or (parts.username or "").startswith("-"):
        raise UsageError("a repository's address has no host, or one that no host can be called", hint=_FORMS)
    if parts.path.startswith("/-"):
        raise UsageError("a repository's path may not start with -", hint=_FORMS)
    return scheme


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise UsageError("a repository's address cannot be read", hint=_FORMS) from exc
    return parts
