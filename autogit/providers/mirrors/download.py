"""Fetches a release's file from a forge to the disk, piece by piece, and checks what came."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin, urlsplit

from autogit.errors import (
    MissingError,
    ProviderAuthError,
    ProviderError,
    RejectedError,
    StorageFullError,
    UnavailableError,
)
from autogit.providers.mirrors.data import Asset
from autogit.providers.mirrors.names import plain, shown
from autogit.providers.mirrors.wire import Peer, Reply, is_same_origin, rate_limited

if TYPE_CHECKING:
    import requests

_TIMEOUT_SECONDS = (10.0, 60.0)
_PIECE_BYTES = 1 << 18
_MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_SIGN_IN = "/users/sign_in"
_STORES = (
    "githubusercontent.com",
    "amazonaws.com",
    "blob.core.windows.net",
    "storage.googleapis.com",
    "gitlab-static.net",
    "digitaloceanspaces.com",
    "backblazeb2.com",
)
"""Where forges keep large files. Who writes a release may not lead AutoGit to a host of this network."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that came whole."""

    size_bytes: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True)
class Download:
    """How a file is asked for: `etag` is that of what is there already, `most_bytes` ends what is too large."""

    peer: Peer
    accept: str
    most_bytes: int

    def fetch(self, asset: Asset, place: Path, etag: str = "") -> Fetched | None:
        """Put a file in its place once it is whole; None where it is as `etag` says. Raises ProviderError.

        The token goes to the forge's own host only. What was there before stays until all of the new one has come.
        """
        import requests  # noqa: PLC0415 - 60 ms that only mirrors need

        with requests.Session() as session:
            try:
                return self._followed(session, asset, place, etag)
            except requests.RequestException as exc:
                raise UnavailableError(
                    f"{self.peer.name}: {_named(asset)}: the connection broke ({type(exc).__name__})"
                ) from exc
            except ValueError as exc:
                raise RejectedError(f"{self.peer.name}: {_named(asset)} lies at what is no address") from exc

    def _followed(self, session: requests.Session, asset: Asset, place: Path, etag: str) -> Fetched | None:
        url = asset.url
        for turn in range(_MOST_REDIRECTS + 1):
            is_own = is_same_origin(url, self.peer.base_url)
            if not is_own and not (turn and _is_store(url)):
                host = plain(urlsplit(url).hostname or "", 100)
                raise RejectedError(
                    f"{self.peer.name}: {_named(asset)} lies at another host, {host}: it is not fetched from there"
                )
            headers = {"Accept": self.accept, "Accept-Encoding": "identity"}
            headers |= {"If-None-Match": etag} if etag else {}
            headers |= self.peer.credential if is_own else {}
            with session.get(
                url, headers=headers, auth=_unsigned, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True
            ) as response:
                if response.status_code in _REDIRECTS:
                    url = urljoin(url, response.headers.get("Location", ""))
                    continue
                if etag and response.status_code == HTTPStatus.NOT_MODIFIED:
                    return None
                if response.status_code != HTTPStatus.OK or urlsplit(url).path.endswith(_SIGN_IN):
                    raise self._refusal(asset, response)
                return self._stored(asset, response, place)
        raise RejectedError(f"{self.peer.name}: {_named(asset)}: it redirects and redirects")

    def _stored(self, asset: Asset, response: requests.Response, place: Path) -> Fetched:
        draft = place.with_name(f".{hashlib.sha256(place.name.encode()).hexdigest()[:16]}.part")
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("wb") as file:
                fetched = self._received(asset, response, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place)
        except OSError as exc:
            if isinstance(exc, _network_error()):
                raise
            raise StorageFullError(f"mirror data: {place} cannot be written: {exc.strerror}") from exc
        finally:
            draft.unlink(missing_ok=True)
        return fetched

    def _received(self, asset: Asset, response: requests.Response, file: BinaryIO) -> Fetched:
        digest, size = hashlib.sha256(), 0
        for piece in response.iter_content(_PIECE_BYTES):
            size += len(piece)
            if size > self.most_bytes:
                raise RejectedError(f"{self.peer.name}: {_named(asset)} is larger than {self.most_bytes >> 20} MiB")
            digest.update(piece)
            file.write(piece)
        if asset.size_bytes not in {-1, size}:
            raise UnavailableError(f"{self.peer.name}: {_named(asset)}: {size} bytes of {asset.size_bytes} came")
        if asset.digest and asset.digest != digest.hexdigest():
            raise RejectedError(f"{self.peer.name}: {_named(asset)} is not what its digest says: it is not kept")
        return Fetched(size, digest.hexdigest(), response.headers.get("ETag", ""))

    def _refusal(self, asset: Asset, response: requests.Response) -> ProviderError:
        name, status = self.peer.name, response.status_code
        headers: Mapping[str, str] = response.headers
        reply = Reply(status, headers, None, datetime.now(UTC), self.peer.secrets)
        if found := self.peer.explain(reply, _named(asset)):
            return found
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return rate_limited(name, reply)
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            return MissingError(f"{name}: {_named(asset)} is not there (HTTP {status})")
        if status in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return ProviderAuthError(f"{name}: {_named(asset)} is not shown to this token", hint=self.peer.hint)
        return UnavailableError(f"{name}: {_named(asset)}: HTTP status {status}")


def _unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request as it is: without an `auth` of its own a .netrc would be asked."""
    return request


def _network_error() -> type[OSError]:
    import requests  # noqa: PLC0415 - 60 ms that only mirrors need

    return requests.RequestException


def _named(asset: Asset) -> str:
    return f"the file {shown(asset.name)} of the release {shown(asset.release)}"


def _is_store(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    return parts.scheme == "https" and port in {None, 443} and any(host.endswith(f".{one}") for one in _STORES)
