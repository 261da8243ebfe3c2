"""The connection to a container engine: the one place that knows the Docker SDK; its faults become AutogitErrors."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autogit.errors import AutogitError, PortTakenError, RejectedError, StorageFullError, UnavailableError

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

DEFAULT_HOST = "unix:///var/run/docker.sock"
_TIMEOUT_SECONDS = 60
_CONNECTIONS = 32
_LEAST_API = (1, 40)
"""Mounts with propagation, device requests, `init` (Engine API version history)."""
_NOT_FOUND = 404
_CONFLICT = 409
_NOT_MODIFIED = 304


class MissingError(RejectedError):
    """The engine has no such object."""


class Engine:
    """One engine, reached when it is first asked; `call` and `find` give a piece of work the SDK's `APIClient`."""

    def __init__(self, host: str | None, cert_path: str | None = None) -> None:
        self.host = host or DEFAULT_HOST
        self.cert_path = cert_path
        self._client: APIClient | None = None
        self._lock = threading.Lock()

    @property
    def socket(self) -> Path | None:
        """The engine's unix socket, None where it is reached otherwise."""
        scheme, _, place = self.host.partition("://")
        return Path(place) if scheme == "unix" else None

    async def call(self, work: Callable[[Any], T]) -> T:
        """Do something with the SDK's client in a thread.

        Raises MissingError, PortTakenError, StorageFullError, RejectedError and UnavailableError.
        """
        return await asyncio.to_thread(self.call_now, work)

    async def find(self, work: Callable[[Any], T]) -> T | None:
        """Do the same and return None where the engine has no such object."""
        try:
            return await self.call(work)
        except MissingError:
            return None

    def call_now(self, work: Callable[[Any], T]) -> T:
        """Do the same here and now; blocks."""
        with self._lock:
            client = self._client = self._client or self._connect()
        with _told(self.host):
            return work(client)

    def _connect(self) -> APIClient:
        from docker import APIClient  # noqa: PLC0415 - 120 ms

        with _told(self.host):
            # No version: the SDK asks the engine and takes the newest that both know.
            client = APIClient(
                base_url=self.host,
                version="auto",
                tls=self._tls(),
                timeout=_TIMEOUT_SECONDS,
                num_pools=_CONNECTIONS,
                max_pool_size=_CONNECTIONS,
            )
        version = str(client.api_version)
        if tuple(int(part) for part in version.split(".")[:2]) < _LEAST_API:
            raise UnavailableError(
                f"docker: the engine at {self.host} speaks API {version}, at least 1.40 is needed",
                hint="upgrade it: Docker Engine 19.03 or newer",
            )
        return client

    def _tls(self) -> Any:
        if not self.cert_path:
            return False
        from docker.tls import TLSConfig  # noqa: PLC0415 - with the rest of the SDK

        folder = Path(self.cert_path)
        return TLSConfig(
            client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
            ca_cert=str(folder / "ca.pem"),
            verify=True,
        )


@contextmanager
def _told(host: str) -> Iterator[None]:
    """Turn what the SDK and the connection raise into sentences."""
    import requests  # noqa: PLC0415 - comes with the SDK
    from docker.errors import APIError, DockerException  # noqa: PLC0415 - the SDK

    try:
        yield
    except APIError as exc:
        raise _refused(exc) from exc
    except (DockerException, requests.exceptions.RequestException, OSError) as exc:
        raise _unreachable(host, exc) from exc


def _refused(exc: Any) -> AutogitError:
    text = str(exc.explanation or exc).strip()
    status = exc.status_code or 0
    if status == _NOT_FOUND:
        return MissingError(f"docker: {text}")
    if "port is already allocated" in text or "address already in use" in text:
        return PortTakenError(
            f"docker: {text.rpartition(': ')[0] or text}: the port is taken",
            hint="autogit doctor names who holds it; end that, or give another port in .env",
        )
    if "no space left on device" in text:
        return StorageFullError(
            "docker: no space left on the engine's disk", hint="docker system df shows what fills it"
        )
    if "client version" in text and "too " in text:
        return UnavailableError(f"docker: {text}", hint="upgrade the older of the two: the engine or AutoGit")
    return RejectedError(f"docker: {text}")


def _unreachable(host: str, exc: BaseException) -> AutogitError:
    words = f"{exc} {exc.__cause__ or ''} {exc.__context__ or ''}"
    if "PermissionError" in words or "Permission denied" in words:
        who = os.environ.get("USER") or f"user {os.getuid()}"
        return UnavailableError(
            f"docker: {who} may not use the engine at {host}",
            hint=f"sudo usermod -aG docker {who}, log in again (this group is as good as root)",
        )
    if "paramiko" in words:
        return UnavailableError(
            "docker: DOCKER_HOST=ssh:// needs the package paramiko", hint="pip install 'autogit[ssh]'"
        )
    if "FileNotFoundError" in words or "No such file" in words:
        return UnavailableError(
            f"docker: there is no engine at {host}",
            hint="start it (systemctl start docker), set DOCKER_HOST, or RUNTIME=embedded",
        )
    if "timed out" in words.lower():
        return UnavailableError(f"docker: the engine at {host} did not answer in time", hint="systemctl status docker")
    reason = "it refused the connection" if "refused" in words else "the connection broke"
    return UnavailableError(f"docker: the engine at {host} does not answer: {reason}", hint="systemctl status docker")
