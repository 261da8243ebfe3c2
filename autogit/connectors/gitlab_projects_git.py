"""The repositories of a GitLab over HTTP, asked without a git process: their refs, and their LFS objects."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from autogit.connectors.gitlab import GitLabPlace
from autogit.connectors.gitlab_errors import wait_seconds
from autogit.errors import AutogitError, GoneError, ProviderAuthError, RateLimitedError, RejectedError, UnavailableError
from autogit.model.mirror import Advertisement
from autogit.providers.git.advertisement import parse

if TYPE_CHECKING:
    from pydantic import SecretStr
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

LOGIN = "oauth2"
"""The user name that goes with a token; GitLab takes any."""

_REFS = "application/x-git-upload-pack-advertisement"
_LFS = "application/vnd.git-lfs+json"
_OK = 200
_OBJECTS_AT_ONCE = 100
_CONNECT_SECONDS, _READ_SECONDS, _SEND_SECONDS = 10.0, 60.0, 3600.0
_CONNECTIONS = 8
_DEFAULT_PORTS = {"https": 443, "http": 80}
_LOGS = "autogit status; autogit logs gitlab"
_NEW_TOKEN = "autogit gitlab bootstrap makes a new one"  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class LfsFile:
    """An LFS object on this machine."""

    size: int
    path: Path


class ProjectRepositories:
    """Asks one GitLab with one token; safe in threads. `path` is a project's full path, `.wiki` at its end for a wiki.

    Raises GoneError, ProviderAuthError, RateLimitedError, UnavailableError and RejectedError. The token goes to the
    place alone: no redirect is followed, and of what GitLab says of where LFS objects go only the path counts.
    """

    def __init__(self, place: GitLabPlace, token: SecretStr) -> None:
        self._place = place
        pair = f"{LOGIN}:{token.get_secret_value()}".encode()
        self._login = {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        self._lock = threading.Lock()
        self._kept: HTTPConnectionPool | None = None

    def refs(self, path: str) -> Advertisement:
        """Return what a repository shows: one request."""
        answer = self._ask("GET", f"/{quote(path)}.git/info/refs?service=git-upload-pack", path)
        if answer.headers.get("Content-Type", "").partition(";")[0].strip() != _REFS:
            raise RejectedError(f"gitlab: {path} does not answer as a git server does", hint=_LOGS)
        return parse(f"{self._place.url}/{path}.git", answer.data)

    def lacking(self, path: str, objects: Mapping[str, LfsFile]) -> tuple[str, ...]:
        """Return the ids of LFS objects that a project does not have."""
        rows = (row for asked in _chunks(objects) for row in self._batch(path, "download", asked))
        return tuple(sorted(str(row["oid"]) for row in rows if "download" not in (row.get("actions") or {})))

    def upload(self, path: str, objects: Mapping[str, LfsFile]) -> int:
        """Send the LFS objects that a project does not have; return how many those were."""
        sent = 0
        for asked in _chunks(objects):
            for row in self._batch(path, "upload", asked):
                oid = str(row.get("oid"))
                if error := row.get("error"):
                    raise RejectedError(f"gitlab: {path} does not take LFS object {oid}: {_words(error)}")
                action = (row.get("actions") or {}).get("upload")
                if action and oid in asked:
                    self._send(path, oid, action, asked[oid])
                    sent += 1
        return sent

    def _batch(self, path: str, operation: str, asked: Mapping[str, LfsFile]) -> list[dict[str, Any]]:
        """Ask which objects are there (git-lfs, docs/api/batch.md)."""
        wanted = [{"oid": oid, "size": one.size} for oid, one in asked.items()]
        body = {"operation": operation, "transfers": ["basic"], "objects": wanted}
        headers = {"Accept": _LFS, "Content-Type": _LFS}
        where = f"/{quote(path)}.git/info/lfs/objects/batch"
        answer = self._ask("POST", where, path, json.dumps(body).encode(), headers)
        try:
            rows = json.loads(answer.data)["objects"]
            return [dict(row) for row in rows]
        except (KeyError, TypeError, ValueError) as exc:
            raise UnavailableError(f"gitlab: {path} does not answer as an LFS server does", hint=_LOGS) from exc

    def _send(self, path: str, oid: str, action: Mapping[str, Any], file: LfsFile) -> None:
        parts = urlsplit(str(action.get("href", "")))
        where = f"{parts.path}?{parts.query}" if parts.query else parts.path
        given = {str(name): str(value) for name, value in (action.get("header") or {}).items()}
        given.pop("Transfer-Encoding", None)  # its length is known
        headers = {**given, "Content-Length": str(file.size)}
        try:
            with file.path.open("rb") as body:
                self._ask("PUT", where, f"{path} (LFS object {oid[:12]})", body, headers)
        except OSError as exc:
            raise RejectedError(f"git: LFS object {oid} cannot be read: {exc.strerror}") from exc

    def _ask(
        self,
        method: str,
        where: str,
        path: str,
        body: bytes | IO[Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> BaseHTTPResponse:
        from urllib3 import Timeout  # noqa: PLC0415 - 30 ms that only mirrors need
        from urllib3.exceptions import HTTPError, SSLError  # noqa: PLC0415 - the same

        sent = {"Host": urlsplit(self._place.url).netloc, "User-Agent": "git/2 (autogit)"}
        sent |= self._login | dict(headers or {})
        patience = Timeout(connect=_CONNECT_SECONDS, read=_SEND_SECONDS if method == "PUT" else _READ_SECONDS)
        try:
            answer = self._pool().urlopen(
                method, where, body=body, headers=sent, redirect=False, retries=False, timeout=patience
            )
        except SSLError as exc:
            raise UnavailableError(
                f"gitlab: {self._place.url} shows a certificate that is not trusted here",
                hint="autogit certs status shows what is served, and what should be",
            ) from exc
        except HTTPError as exc:
            raise UnavailableError(
                f"gitlab: {self._place.url} cannot be reached, or broke off its answer", hint=_LOGS
            ) from exc
        if answer.status != _OK:
            raise _refusal(path, answer)
        return answer

    def _pool(self) -> HTTPConnectionPool:
        """Connect where the place says, and ask there for its name."""
        from urllib3 import HTTPConnectionPool, HTTPSConnectionPool  # noqa: PLC0415 - the same

        with self._lock:
            if self._kept is None:
                parts = urlsplit(self._place.url)
                name = parts.hostname or ""
                host, port = self._place.address or (name, parts.port or _DEFAULT_PORTS[parts.scheme])
                if parts.scheme == "https":
                    self._kept = HTTPSConnectionPool(
                        host,
                        port,
                        maxsize=_CONNECTIONS,
                        server_hostname=name,
                        assert_hostname=name,
                        ca_certs=self._place.ca_file or None,
                    )
                else:
                    self._kept = HTTPConnectionPool(host, port, maxsize=_CONNECTIONS)
            return self._kept


def _chunks(objects: Mapping[str, LfsFile]) -> Iterator[dict[str, LfsFile]]:
    names = sorted(objects)
    for start in range(0, len(names), _OBJECTS_AT_ONCE):
        yield {name: objects[name] for name in names[start : start + _OBJECTS_AT_ONCE]}


def _refusal(path: str, answer: BaseHTTPResponse) -> AutogitError:
    status = answer.status
    if status in {404, 410}:
        return GoneError(f"gitlab: there is no repository {path}, or it is not shown to this token")
    if status in {401, 403}:
        scopes = "it needs the scope api, and an administrator as its user"
        return ProviderAuthError(f"gitlab: the token may not use {path} (HTTP {status}): {scopes}", hint=_NEW_TOKEN)
    if status == 429:  # noqa: PLR2004 - RFC 6585
        seconds = wait_seconds(answer.headers.get("Retry-After", ""), datetime.now(UTC))
        when = f"; it may be asked again in {seconds:.0f} s" if seconds else ""
        return RateLimitedError(f"gitlab: was asked too often{when}", retry_after_seconds=seconds)
    if status == 507:  # noqa: PLR2004 - RFC 4918
        return UnavailableError(f"gitlab: has no room for {path} (HTTP {status})", hint="make room where GitLab runs")
    return UnavailableError(f"gitlab: answered {status} for {path}: is its disk full, is it ill?", hint=_LOGS)


def _words(error: object) -> str:
    text = error.get("message") if isinstance(error, Mapping) else error
    return " ".join(str(text).split())[:200]
