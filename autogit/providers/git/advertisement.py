"""The refs of a repository over HTTP, asked without a git process: one request, over connections that are kept.

gitprotocol-http(5), "Smart Clients"; gitprotocol-pack(5), "Reference Discovery"; gitprotocol-common(5), "pkt-line".
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from autogit.errors import (
    GoneError,
    ProviderAuthError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from autogit.model.mirror import Advertisement
from autogit.providers.retry_after import wait_seconds

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_TYPE = "application/x-git-upload-pack-advertisement"
_MOST_REDIRECTS = 3
_MOST_BYTES = 512 << 20
_NO_ID = "0"
_REDIRECTS = {301, 302, 307, 308}
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_MOST_READS = 5
_PART_BYTES = 1 << 20


def is_asked_directly(url: str) -> bool:
    """Whether a repository is on the web, with no proxy named in the environment between it and here."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return False
    proxies = getproxies()
    if not (proxies.keys() & {parts.scheme, "all"}):
        return True
    return bool(proxy_bypass(parts.netloc.rpartition("@")[2]))


class RefsByHttp:
    """Asks for the refs of many repositories; safe in threads. It knows of no proxy: `is_asked_directly` tells.

    A token goes to the host it is for and to no other: a redirect elsewhere is followed without it. Whoever says
    nothing for `read_seconds`, or is not done after five times that, is given up.
    """

    def __init__(self, *, connections: int = 16, read_seconds: float = _READ_SECONDS) -> None:
        self._connections = connections
        self._read_seconds = read_seconds
        self._kept: PoolManager | None = None

    def ask(self, url: str, login: tuple[str, str] | None = None) -> Advertisement:
        """Return what a repository shows (`url` as for git clone; `login` are user and token).

        Raises GoneError (404, 410), ProviderAuthError (401, 403), RateLimitedError, UnavailableError and RejectedError
        where the answer is none of a git server.
        """
        target = f"{url.rstrip('/')}/info/refs?service=git-upload-pack"
        host = urlsplit(url).netloc
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._get(target, login if urlsplit(target).netloc == host else None)
            if answer.status not in _REDIRECTS:
                return self._read(url, answer)
            answer.drain_conn()
            target = urljoin(target, answer.headers.get("Location", ""))
            if urlsplit(target).scheme not in {"http", "https"}:
                break
        raise RejectedError(f"git: {url} redirects too often, or to what is no web address")

    def _get(self, target: str, login: tuple[str, str] | None) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - 30 ms that only mirrors need

        headers = {"User-Agent": "git/2 (autogit)", "Accept-Encoding": "gzip", "Pragma": "no-cache"}
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        place = f"{urlsplit(target).scheme}://{urlsplit(target).netloc}"
        try:
            return self._pool().request("GET", target, headers=headers, redirect=False, preload_content=False)
        except HTTPError as exc:
            reason = getattr(exc, "reason", None) or exc  # after retries it is wrapped
            if isinstance(why := next(iter(reason.args), None), ssl.SSLCertVerificationError):
                raise UnavailableError(
                    f"git: {place}: its certificate is not trusted ({why.verify_message})",
                    hint="is the clock right, and the authority known here?",
                ) from exc
            raise UnavailableError(f"git: {place} cannot be reached: {_plain(reason)}") from exc

    def _pool(self) -> PoolManager:
        from urllib3 import PoolManager, Retry, Timeout  # noqa: PLC0415 - 30 ms that only mirrors need

        if self._kept is None:
            self._kept = PoolManager(
                num_pools=32,
                maxsize=self._connections,
                block=True,
                timeout=Timeout(connect=_CONNECT_SECONDS, read=self._read_seconds),
                retries=Retry(connect=1, read=1, redirect=False, status=0, other=0),
            )
        return self._kept

    def _read(self, url: str, answer: BaseHTTPResponse) -> Advertisement:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the same

        try:
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise _refusal(url, answer.status, answer.headers.get("Retry-After", ""))
            if answer.headers.get("Content-Type", "").partition(";")[0].strip() != _TYPE:
                raise RejectedError(f"git: {url} does not answer as a git server does")
            return parse(url, self._whole(url, answer))
        except HTTPError as exc:
            raise UnavailableError(f"git: {url}: the connection broke amid its refs") from exc
        finally:
            answer.drain_conn() if answer.status != 200 else answer.release_conn()  # noqa: PLR2004 - OK

    def _whole(self, url: str, answer: BaseHTTPResponse) -> bytes:
        """Return the body; a byte now and then does not keep a connection, and with it the whole sync, for ever."""
        until = monotonic() + self._read_seconds * _MOST_READS
        body = bytearray()
        while part := answer.read1(_PART_BYTES, decode_content=True):
            body += part
            if len(body) > _MOST_BYTES:
                raise RejectedError(f"git: {url} shows more refs than {_MOST_BYTES >> 20} MiB hold")
            if monotonic() > until:
                answer.close()
                raise UnavailableError(f"git: {url} is too slow: {len(body)} bytes of its refs came, and no end")
        return bytes(body)


def _plain(reason: object) -> str:
    """Return the last words of a library's message, which tell what happened."""
    return str(reason).rpartition(": ")[2] or type(reason).__name__


def _refusal(url: str, status: int, retry_after: str) -> ProviderError:
    if status in {404, 410}:
        return GoneError(f"git: {url} is not there (HTTP {status})")
    if status in {401, 403}:
        return ProviderAuthError(
            f"git: {url} does not take the credential (HTTP {status})", hint="is the token right, and may it read this?"
        )
    if status == 429:  # noqa: PLR2004 - RFC 6585
        seconds = wait_seconds(retry_after, datetime.now(UTC))
        return RateLimitedError(f"git: {url} wants to be asked later (HTTP 429)", retry_after_seconds=seconds)
    return UnavailableError(f"git: {url} answers HTTP {status}")


def parse(url: str, body: bytes) -> Advertisement:
    """Return the refs of an advertisement, peeled ids left out. Raises RejectedError where it is not whole."""
    refs: dict[str, str] = {}
    capabilities: list[str] = []
    ended = False
    for line in _lines(url, body):
        ended = line is None
        if line is None or line.startswith(b"# service="):
            continue
        text, _, said = line.rstrip(b"\n").partition(b"\0")
        capabilities = capabilities or said.decode("utf-8", "replace").split()
        oid, _, name = text.decode("utf-8", "surrogateescape").partition(" ")
        if name.endswith("^{}") or not oid.strip(_NO_ID):
            continue
        refs[name] = oid
    if not ended:
        raise UnavailableError(f"git: {url}: the refs end amid a line")
    named = dict(one.split("=", 1) for one in capabilities if one.startswith("object-format="))
    heads = dict(one.removeprefix("symref=").split(":", 1) for one in capabilities if one.startswith("symref="))
    head = refs.pop("HEAD", "")
    return Advertisement(refs, heads.get("HEAD", head), named.get("object-format", "sha1"))


def _lines(url: str, body: bytes) -> Iterator[bytes | None]:
    """Yield the payloads of pkt-lines; a flush is nothing."""
    at = 0
    while at < len(body):
        try:
            size = int(body[at : at + 4], 16)
        except ValueError as exc:
            raise RejectedError(f"git: {url} does not answer as a git server does") from exc
        if size == 0:
            yield None
            at += 4
            continue
        if size < 4 or at + size > len(body):  # noqa: PLR2004 - the length itself
            raise UnavailableError(f"git: {url}: the refs end amid a line")
        yield body[at + 4 : at + size]
        at += size
