"""The connection to a container engine: the one place that knows the Docker SDK; its faults become AutogitErrors."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autogit.errors import AutogitError, MissingError, PortTakenError, RejectedError, StorageFullError, UnavailableError
from autogit.providers.compute.engine.unreachable import bad_logins, tls_files, unreachable

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

DEFAULT_HOST = "unix:///var/run/docker.sock"
_TIMEOUT_SECONDS = 60
_CONNECTIONS = 32
_SSH_SESSIONS = 8
"""How much is asked at once by one ssh connection: servers allow ten (sshd_config, MaxSessions), events take one."""
_STARTS = 8
"""How many containers are brought up at once: what starts more slowly for that ends no earlier, and an engine that is
asked for two hundred at once answers none of them within a minute."""
_LEAST_API = (1, 40)
"""Mounts with propagation, device requests, `init` (Engine API version history)."""
_NEWEST_API = (1, 51)
"""What was read and tried; a newer engine is spoken to in this version."""
_NOT_FOUND = 404
_LONGEST_WORDS = 300

_WRAPPING = re.compile(
    r"^(Error response from daemon: |failed to create (shim )?task( for container)?: |OCI runtime \w+ failed: |"
    r"runc (create|run) failed: |container_linux\.go:\d+: |starting container process caused: |exec failed: |"
    r"unable to start container process: |driver failed programming external connectivity on endpoint \S+ \(\w+\): )+"
)
"""What engine and runtime say before they come to the point, each layer its own."""
_TAKEN = re.compile(r"(?:Bind for|listen tcp[46]?) (?:0\.0\.0\.0)?(\S+?)(?:: bind| failed)")


class Turns:
    """Lets so many do something at once, in the order in which they came: `async with turns():`."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free = asyncio.Semaphore(at_once)

    def __call__(self) -> asyncio.Semaphore:
        """Return what is entered; each event loop has its own."""
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._free = asyncio.get_running_loop(), asyncio.Semaphore(self._at_once)
        return self._free


class Engine:
    """One engine, reached when it is first asked; `call` and `find` give a piece of work the SDK's `APIClient`."""

    def __init__(self, host: str | None, cert_path: str | None = None) -> None:
        self.host = host or DEFAULT_HOST
        self.cert_path = cert_path
        self._api_version = ""
        self._seats: list[_Seat] = []
        self._lock = threading.Lock()
        self.starts = Turns(_STARTS)
        self.network_changes = Turns(1)

    @property
    def socket(self) -> Path | None:
        """The engine's unix socket, None where it is reached otherwise."""
        scheme, _, place = self.host.partition("://")
        return Path(place) if scheme == "unix" else None

    async def call(self, work: Callable[[Any], T]) -> T:
        """Do something with the SDK's client in a thread.

        Raises MissingError, PortTakenError, StorageFullError, RejectedError and UnavailableError.
        """
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()

        def run() -> None:
            try:
                answer.set_result(self.call_now(work))
            except BaseException as exc:  # noqa: BLE001 - it is raised where somebody waits for the answer
                answer.set_exception(exc)

        # A thread of its own: the event loop's pool is small, a pull would hold up every look at another container. And
        # a daemon: Ctrl-C does not wait for a pull or a slow stop to end.
        threading.Thread(target=run, daemon=True).start()
        return await asyncio.wrap_future(answer)

    async def find(self, work: Callable[[Any], T]) -> T | None:
        """Do the same and return None where the engine has no such object."""
        try:
            return await self.call(work)
        except MissingError:
            return None

    def call_now(self, work: Callable[[Any], T]) -> T:
        """Do the same here and now; blocks."""
        with self._seat() as client, _told(self.host):
            return work(client)

    @contextmanager
    def _seat(self) -> Iterator[APIClient]:
        """Lend a client; one more is made where as many use the others as an ssh server lets at once."""
        most = _SSH_SESSIONS if self.host.startswith("ssh://") else sys.maxsize
        with self._lock:
            seat = next((seat for seat in self._seats if seat.users < most), None)
            if seat is None:
                seat = _Seat(self._connect())
                self._seats.append(seat)
            seat.users += 1
        try:
            yield seat.client
        finally:
            with self._lock:
                seat.users -= 1

    def _connect(self) -> APIClient:
        """Return a client that speaks the newest version that the engine and this code know."""
        if self._api_version:
            return self._open(self._api_version)
        first = self._open(_text(_LEAST_API))
        self._knock()
        with _told(self.host):
            known = first.version(api_version=False)
        try:
            newest = _version(known["ApiVersion"])
            least = _version(known.get("MinAPIVersion") or "1.0")
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise UnavailableError(
                f"docker: what answers at {self.host} is not a Docker Engine", hint="set DOCKER_HOST"
            ) from exc
        if newest < _LEAST_API:
            raise UnavailableError(
                f"docker: the engine at {self.host} speaks API {_text(newest)}, at least {_text(_LEAST_API)} is needed",
                hint="upgrade it: Docker Engine 19.03 or newer",
            )
        if least > _NEWEST_API:
            raise UnavailableError(
                f"docker: the engine at {self.host} speaks API {_text(least)} and newer, "
                f"this AutoGit up to {_text(_NEWEST_API)}",
                hint="upgrade AutoGit",
            )
        first.close()
        self._api_version = _text(min(newest, _NEWEST_API))
        return self._open(self._api_version)

    def _knock(self) -> None:
        """Find out whether a socket can be connected to; the SDK leaves its own open where it cannot."""
        if self.socket is None:
            return
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_TIMEOUT_SECONDS)
            try:
                link.connect(str(self.socket))
            except OSError as exc:
                raise unreachable(self.host, exc) from exc

    def _open(self, version: str) -> APIClient:
        from docker import APIClient  # noqa: PLC0415 - 120 ms

        # A program for logins that is missing: the error that follows says it too.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"docker\.credentials")
        tls = self._tls()
        try:
            with _told(self.host):
                client = APIClient(
                    base_url=self.host,
                    version=version,
                    tls=tls,
                    timeout=_TIMEOUT_SECONDS,
                    num_pools=_CONNECTIONS,
                    max_pool_size=_CONNECTIONS,
                )
        except OSError as exc:  # of ssh, which connects at once
            raise unreachable(self.host, exc) from exc
        except (AttributeError, TypeError, ValueError) as exc:  # of a config.json that is not as the SDK expects it
            raise bad_logins() from exc
        if self.host.startswith("ssh://"):
            _share_sessions(client)
        if tls:
            _trust_nothing_else(client)
        return client

    def _tls(self) -> Any:
        if not self.cert_path:
            return False
        from docker.tls import TLSConfig  # noqa: PLC0415 - with the rest of the SDK

        authority, certificate, key = tls_files(self.cert_path)
        return TLSConfig(client_cert=(certificate, key), ca_cert=authority, verify=True)


def _share_sessions(client: Any) -> None:
    """Make one pool of all ssh sessions: the SDK keeps one for each URL, and a server soon opens no more of them."""
    adapter = client._custom_adapter  # noqa: SLF001 - docker 7.2, BaseHTTPAdapter.get_connection_with_tls_context
    keyed = adapter.get_connection
    adapter.get_connection = lambda _url, proxies=None: keyed("ssh://", proxies)


def _trust_nothing_else(client: Any) -> None:
    """Hold to the engine's own authority: requests would take REQUESTS_CA_BUNDLE of the environment instead of it."""
    merged = client.merge_environment_settings

    def merge(url: str, proxies: Any, stream: Any, _verify: Any, cert: Any) -> Any:
        return merged(url, proxies, stream, client.verify, cert)

    client.merge_environment_settings = merge


@dataclass
class _Seat:
    """A client and how many use it right now."""

    client: APIClient
    users: int = 0


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


@contextmanager
def _told(host: str) -> Iterator[None]:
    """Turn what the SDK and the connection raise into sentences; faults of local files are not among that."""
    from http.client import HTTPException  # noqa: PLC0415 - with the SDK
    from struct import error as cut_off  # noqa: PLC0415 - the SDK reads frames of streams with it

    from docker.errors import APIError, DockerException, StreamParseError  # noqa: PLC0415 - the SDK
    from requests.exceptions import RequestException  # noqa: PLC0415 - comes with the SDK
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the same; a stream breaks with it

    try:
        yield
    except APIError as exc:
        if "HTTP request to an HTTPS server" in str(exc):
            raise unreachable(host, exc) from exc
        raise _refused(exc) from exc
    except (DockerException, RequestException, HTTPError, HTTPException, ConnectionError, TimeoutError) as exc:
        raise unreachable(host, exc) from exc
    except _ssh_errors() as exc:
        raise unreachable(host, exc) from exc
    except (StreamParseError, cut_off) as exc:
        raise UnavailableError(f"docker: the engine at {host} broke off in the middle of its answer") from exc


def _ssh_errors() -> tuple[type[Exception], ...]:
    """Return what paramiko raises, where it is in use."""
    paramiko: Any = sys.modules.get("paramiko")
    return (paramiko.SSHException, EOFError) if paramiko else ()


def _refused(exc: Any) -> AutogitError:
    text = str(exc.explanation or exc).strip()
    if exc.status_code == _NOT_FOUND:
        return MissingError(f"docker: {in_short(text)}")
    if "port is already allocated" in text or "address already in use" in text:
        place = _TAKEN.search(text)
        return PortTakenError(
            f"docker: port {place[1].lstrip(':')} is taken" if place else f"docker: {in_short(text)}",
            hint="autogit doctor names who holds it; end that, or give another port in .env",
        )
    return fault_of(text)


def fault_of(text: str) -> AutogitError:
    """Return the error of what an engine says, in an answer or in a row of one."""
    if "no space left on device" in text:
        place = re.search(r"(/\S+): no space left on device", text)
        return StorageFullError(
            "docker: no space left on the engine's disk" + (f" ({place[1]})" if place else ""),
            hint="docker system df shows what fills it",
        )
    return RejectedError(f"docker: {in_short(text)}")


def in_short(text: str) -> str:
    """Return what an engine says without the layers it came through, full ids and its own line breaks."""
    words = " ".join(_WRAPPING.sub("", text.strip()).removesuffix(": unknown").split())
    words = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", words)
    return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]} ..."
