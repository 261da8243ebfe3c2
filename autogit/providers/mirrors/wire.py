"""The wire to a forge's REST API: one host, a token in a header, and what went wrong in words."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from autogit import __version__
from autogit.errors import (
    MissingError,
    ProviderAuthError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    UsageError,
)
from autogit.providers.mirrors.names import plain
from autogit.providers.retry_after import LONGEST_SECONDS, wait_seconds

if TYPE_CHECKING:
    import requests

_TIMEOUT_SECONDS = (10.0, 60.0)
_LARGEST_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 65536
_LONGEST_QUOTE = 300
_MOST_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_PORTS = {"https": 443, "http": 80}
_LINK = re.compile(r'<([^>]*)>[^,<]*;\s*rel="?next"?')
_REFUSALS: Mapping[int, tuple[type[ProviderError], str]] = {
    HTTPStatus.UNAUTHORIZED: (ProviderAuthError, "the token is not taken"),
    HTTPStatus.FORBIDDEN: (ProviderAuthError, "not allowed"),
    HTTPStatus.NOT_FOUND: (MissingError, "not found, or not shown to this token"),
    HTTPStatus.GONE: (MissingError, "not there any more"),
}
_BETWEEN = "is there a proxy or a login page in between, or is the mirror's server another one?"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` is its JSON, None where it has none; `at` is when it was given, by the forge's own clock.

    `secrets` are what was sent with the question: they are kept out of what is quoted.
    """

    status: int
    headers: Mapping[str, str]
    body: Any
    at: datetime
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def said(self) -> str:
        """What the forge said of a refusal, in one line."""
        body = self.body if isinstance(self.body, Mapping) else {}
        nested = body.get("error")
        inner = nested.get("message") if isinstance(nested, Mapping) else nested
        found = body.get("error_description") or body.get("message") or inner
        text = plain(found)
        for secret in self.secrets:
            text = text.replace(secret, "(the token)")
        return text[:_LONGEST_QUOTE] or f"HTTP status {self.status}"

    @property
    def is_unchanged(self) -> bool:
        """Whether what was asked for is as its ETag says."""
        return self.status == HTTPStatus.NOT_MODIFIED

    @property
    def next_link(self) -> str:
        """The next page, as the Link header tells (RFC 8288); "" on the last one."""
        match = _LINK.search(self.headers.get("Link", ""))
        return match[1] if match else ""

    @property
    def wait(self) -> float:
        """The seconds that the forge wants not to be asked, 0 where it does not say."""
        if told := wait_seconds(self.headers.get("Retry-After", ""), self.at):
            return told
        for kind in ("X-RateLimit", "RateLimit"):
            is_used_up = self.headers.get(f"{kind}-Remaining") == "0"
            if is_used_up and (text := self.headers.get(f"{kind}-Reset", "")).isdecimal():
                return min(max(0.0, int(text[:12]) - self.at.timestamp()), LONGEST_SECONDS)
        return 0.0


Explain = Callable[[Reply, str], ProviderError | None]
"""What only one forge says in its own way: a refusal and what was asked for, to an error."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a wire speaks to: a name for messages, the API's address, headers that each request has, the credential."""

    name: str
    base_url: str
    headers: Mapping[str, str]
    credential: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    hint: str
    explain: Explain


class Wire:
    """Asks one forge; its methods block. `requests` counts what was sent, `now` is for answers that bear no date."""

    def __init__(self, peer: Peer, now: Callable[[], datetime]) -> None:
        self.peer = peer
        self.requests = 0
        self._now = now
        self._session: requests.Session | None = None
        self._check_credential()

    def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def url(self, path: str) -> str:
        """Return the address of a path of the API, or of a link that the API gave. Raises RejectedError for others'."""
        url = urljoin(f"{self.peer.base_url}/", path)
        if _origin(url) != _origin(self.peer.base_url):
            raise RejectedError(
                f"{self.peer.name}: an answer leads to another host, {plain(_host(url), 100)}; nothing is sent there",
                hint="if the forge has another address now, name it as the mirror's server",
            )
        return url

    def ask(self, path: str, doing: str, etag: str = "") -> Reply:
        """Return a good answer (2xx, or 304 where `etag` is still right). Raises for all others and for none.

        `doing` is what is asked for, in words.
        """
        url = self.url(path)
        for _ in range(_MOST_REDIRECTS + 1):
            reply = self._send(url, {"If-None-Match": etag} if etag else {})
            if reply.status not in _REDIRECTS:
                break
            url = self.url(urljoin(url, reply.headers.get("Location", "")))
        else:
            raise RejectedError(f"{self.peer.name}: {doing}: {_host(url)} redirects and redirects")
        if etag and reply.is_unchanged:
            return reply
        if not 200 <= reply.status < 300:  # noqa: PLR2004 - success
            raise self._refusal(reply, doing)
        if not isinstance(reply.body, list | dict):
            raise UnavailableError(f"{self.peer.name}: {doing}: that is not the API's answer", hint=_BETWEEN)
        return reply

    def _send(self, url: str, more: Mapping[str, str]) -> Reply:
        import requests  # noqa: PLC0415 - 60 ms that only mirrors need

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            # As `auth`, so that a .netrc is not asked for another one.
            request.headers.update(self.peer.credential)
            return request

        self.requests += 1
        try:
            with self._opened().get(
                url, headers=dict(more), auth=sign, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True
            ) as response:
                return self._reply(response)
        except requests.exceptions.SSLError as exc:
            raise UnavailableError(
                f"{self.peer.name}: the TLS certificate of {_host(url)} cannot be trusted ({_cause(exc)})",
                hint="an authority of your own must be in REQUESTS_CA_BUNDLE; else look at this machine's clock",
            ) from exc
        except requests.exceptions.Timeout as exc:
            raise UnavailableError(f"{self.peer.name}: {_host(url)} does not answer in time") from exc
        except OSError as exc:  # that of requests is one
            raise UnavailableError(f"{self.peer.name}: {_host(url)} cannot be reached ({_cause(exc)})") from exc
        except ValueError as exc:
            raise UsageError(f"{self.peer.name}: {plain(_host(url), 100)!r} is no address") from exc

    def _reply(self, response: requests.Response) -> Reply:
        body = bytearray()
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > _LARGEST_BYTES:
                raise UnavailableError(f"{self.peer.name}: an answer is larger than any that its API gives")
        told = self._now()
        with suppress(TypeError, ValueError):
            date = parsedate_to_datetime(response.headers.get("Date", ""))
            told = date if date.tzinfo else told
        try:
            found = json.loads(bytes(body))
        except (ValueError, RecursionError):
            found = None
        return Reply(response.status_code, response.headers, found, told, self.peer.secrets)

    def _opened(self) -> requests.Session:
        if self._session is None:
            import requests  # noqa: PLC0415 - 60 ms that only mirrors need

            self._session = requests.Session()
            self._session.headers.update({"User-Agent": f"autogit/{__version__}", **self.peer.headers})
        return self._session

    def _refusal(self, reply: Reply, doing: str) -> ProviderError:
        """Return the error of an answer that is none of success: the forge's own reading of it goes first."""
        name, said, hint = self.peer.name, reply.said, self.peer.hint
        if found := self.peer.explain(reply, doing):
            return found
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            return rate_limited(name, reply)
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status == HTTPStatus.REQUEST_TIMEOUT:
            return UnavailableError(f"{name}: {doing}: not possible right now: {said}")
        if known := _REFUSALS.get(reply.status):
            kind, why = known
            if kind is ProviderAuthError and not self.peer.credential:
                why = "a token is wanted, and the mirror has no credential"
            return kind(f"{name}: {doing}: {why}: {said}", hint=hint)
        if reply.body is None:
            return UnavailableError(f"{name}: {doing}: that is not the API's answer: {said}", hint=_BETWEEN)
        return RejectedError(f"{name}: {doing}: refused: {said}")

    def _check_credential(self) -> None:
        parts = urlsplit(self.peer.base_url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.username or parts.password:
            raise UsageError(
                f"{self.peer.name}: the server must be the address of a forge, without credentials",
                hint="for example https://git.example.org",
            )
        if not self.peer.credential:
            return
        if any(not re.fullmatch(r"[!-~]+(?: [!-~]+)?", value) for value in self.peer.credential.values()):
            raise ProviderAuthError(
                f"{self.peer.name}: the token has blanks or other signs that no token has",
                hint="it is the token alone, without Bearer, quotes or a line end",
            )
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise UsageError(
                f"{self.peer.name}: {parts.hostname} is asked without TLS, and a token is not sent that way",
                hint="name the server with https://, or leave the credential away",
            )


def rate_limited(name: str, reply: Reply, least_seconds: float = 0.0) -> RateLimitedError:
    """Return the error for being asked too often, with the wait that the forge tells."""
    seconds = max(reply.wait, least_seconds)
    when = f"; it may be asked again in {seconds / 60:.0f} minutes" if seconds >= 60 else ""  # noqa: PLR2004 - a minute
    return RateLimitedError(f"{name}: asked too often{when}: {reply.said}", retry_after_seconds=seconds)


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token, none for none."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header of a user name and a password (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def server_url(server: str, public: str) -> str:
    """Return a forge's own address: the public one where none is named, https where no scheme is."""
    text = server.strip()
    if not text:
        return public
    return (text if "://" in text else f"https://{text}").rstrip("/")


def is_same_origin(url: str, other: str) -> bool:
    """Tell whether two addresses have the same scheme, host and port."""
    return _origin(url) == _origin(other) != ("", "", 0)


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _cause(exc: BaseException) -> str:
    """Return what is at the bottom of a chain of errors; never their text, which may have a proxy's password."""
    while (inner := exc.__cause__ or exc.__context__) is not None:
        exc = inner
    if type(exc).__name__ in {"gaierror", "NameResolutionError"}:
        return "its name is not known to the DNS"
    return str(getattr(exc, "strerror", None) or getattr(exc, "verify_message", None) or type(exc).__name__)
