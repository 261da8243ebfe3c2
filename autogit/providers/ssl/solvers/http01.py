"""Shows http-01 challenges (RFC 8555 section 8.3): files that the ingress serves, or a small server of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from autogit.errors import (
    AutogitError,
    ProviderError,
    RejectedError,
    StorageFullError,
    UnavailableError,
)
from autogit.model.acme import Challenge, ChallengeKind
from autogit.providers.host.atomic import write_atomic
from autogit.providers.ssl.solvers.http_probe import Probe, Sight, addresses_of, look, unseen
from autogit.providers.ssl.solvers.journal import Entry, Journal
from autogit.providers.ssl.solvers.unbroken import to_its_end

PREFIX = "/.well-known/acme-challenge/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")
_FILE_MODE = 0o644  # the ingress is another user
_FOLDER_MODE = 0o755
_NAME = "http-01"
_LINGER_SECONDS = 5.0
Say = Callable[[str], None]


def _nobody(_text: str) -> None:
    """Report nowhere."""


class Http01Solver:
    """Writes `folder/TOKEN`, which the ingress serves at `/.well-known/acme-challenge/TOKEN` on port 80.

    With a `probe` each name is asked from here first. What is written is noted beside the folder (journal.py).
    """

    kind: ClassVar[ChallengeKind] = "http-01"

    def __init__(
        self, folder: Path, probe: Probe | None = None, *, state_file: Path | None = None, progress: Say = _nobody
    ) -> None:
        self.folder = folder
        self._probe = probe
        self._say = progress
        self._journal = Journal(state_file or folder.with_name(f"{folder.name}.http-01.json"), say=progress)
        self._in_flight: set[str] = set()

    async def present(self, challenges: Sequence[Challenge]) -> None:
        """Write all files, then ask each name for its own.

        What an earlier run left is taken away first. Raises StorageFullError where they cannot be written, and what
        `check_shown` raises.
        """
        wanted = {_token(one): one.value for one in challenges}
        self._in_flight |= wanted.keys()
        await to_its_end(asyncio.to_thread(self._write, wanted))
        if self._probe is not None:
            await check_shown(self._probe, challenges, self._say)

    async def clean(self, challenges: Sequence[Challenge]) -> None:
        """Remove these files; what cannot be removed is tried again by the next run. Raises ProviderError."""
        found = [Entry(_NAME, one.place.removeprefix(PREFIX), one.value) for one in challenges]
        try:
            await asyncio.to_thread(self._remove, found)
        finally:
            self._in_flight -= {one.place for one in found}
            if not self._in_flight:
                await asyncio.to_thread(self._journal.release)

    async def leftovers(self) -> tuple[Entry, ...]:
        """Return what runs left which are over."""
        return tuple(await asyncio.to_thread(self._left))

    async def clean_leftovers(self) -> tuple[Entry, ...]:
        """Remove the files that runs left which are over, and return what they were. Raises ProviderError."""
        found = await self.leftovers()
        await asyncio.to_thread(self._remove, found)
        return found

    def _write(self, wanted: dict[str, str]) -> None:
        self._clean_up_after_others()
        self._journal.note([Entry(_NAME, token, value) for token, value in wanted.items()])
        self._make_folder()
        for token, value in wanted.items():
            write_atomic(self.folder / token, value.encode(), _FILE_MODE, folder_mode=_FOLDER_MODE)

    def _make_folder(self) -> None:
        if self.folder.is_dir():
            return
        try:
            self.folder.mkdir(parents=True)
            self.folder.chmod(_FOLDER_MODE)  # whatever the umask: the ingress has to read it
        except OSError as exc:
            hint = "free space or mend the permissions, then run the command again"
            raise StorageFullError(f"{_NAME}: cannot make {self.folder}: {exc.strerror}", hint=hint) from exc

    def _clean_up_after_others(self) -> None:
        left = self._left()
        try:
            self._remove(left)
        except ProviderError as exc:
            self._say(f"a challenge file of an earlier run stays for now: {exc.message}")

    def _left(self) -> list[Entry]:
        return [one for one in self._journal.orphans() if one.provider == _NAME]

    def _remove(self, entries: Sequence[Entry]) -> None:
        gone: list[Entry] = []
        failures: list[str] = []
        for one in entries:
            if not _TOKEN.fullmatch(one.place):  # the journal is a file: a path in it leads nowhere else
                continue
            try:
                # A run that was killed while it wrote leaves a temporary file too.
                for path in (self.folder / one.place, *self.folder.glob(f".{one.place}.*")):
                    path.unlink(missing_ok=True)
            except OSError as exc:
                failures.append(f"{self.folder / one.place}: {exc.strerror}")
            else:
                gone.append(one)
        self._journal.forget(gone)
        if failures:
            raise ProviderError(
                f"{_NAME}: challenge files could not be removed: {'; '.join(failures)}",
                hint="mend the permissions; the next run tries again",
            )


class StandaloneHttp01Solver:
    """Serves challenges by itself on a port, these paths and nothing else, for as long as some are presented.

    An empty `address` is all addresses of both families. The authority asks port 80: another one only where something
    leads there.
    """

    kind: ClassVar[ChallengeKind] = "http-01"

    def __init__(
        self, port: int = 80, address: str = "", *, probe: Probe | None = None, progress: Say = _nobody
    ) -> None:
        self.address, self.port = address, port
        self._probe = probe
        self._say = progress
        self._answers: dict[str, str] = {}
        self._server: _Server | None = None

    async def present(self, challenges: Sequence[Challenge]) -> None:
        """Serve these too. Raises UnavailableError where the port is taken, RejectedError where it may not be used."""
        wanted = {PREFIX + _token(one): one.value for one in challenges}
        if not wanted:
            return
        self._answers |= wanted
        if self._server is None:
            await to_its_end(self._start())
        if self._probe is not None:
            await check_shown(self._probe, challenges, self._say)

    async def clean(self, challenges: Sequence[Challenge]) -> None:
        """Serve these no more; the port is free again when none is left."""
        for one in challenges:
            self._answers.pop(one.place, None)
        if not self._answers and self._server is not None:
            server, self._server = self._server, None
            await asyncio.to_thread(server.end)

    async def _start(self) -> None:
        self._server = await asyncio.to_thread(_Server, self.address, self.port, self._answers)
        self.port = self._server.port


class _Server:
    """A web server in a thread of its own: it answers whatever the event loop does."""

    def __init__(self, address: str, port: int, answers: dict[str, str]) -> None:
        try:
            self._server = _Listening(address, port, _handler(answers))
        except PermissionError as exc:
            hint = "run as root, give the program CAP_NET_BIND_SERVICE, or let the ingress serve the challenge"
            raise RejectedError(f"{_NAME}: this user may not listen on port {port}", hint=hint) from exc
        except OSError as exc:
            where = f"port {port}" + (f" of {address}" if address else "")
            hint = "if that is the ingress, let it serve the challenge; else stop what listens there"
            raise UnavailableError(f"{_NAME}: cannot listen on {where}: {exc.strerror or exc}", hint=hint) from exc
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # who asks and never finishes does not hold up the end
    request_queue_size = 128  # authorities ask from several places at once, and so does everybody else on port 80

    def __init__(self, address: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.is_any = not address
        self.address_family = socket.AF_INET6 if ":" in address or self.is_any else socket.AF_INET
        if self.is_any and not socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET
        super().__init__((address, port), handler)

    def server_bind(self) -> None:
        if self.is_any and self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Not HTTPServer's: it looks up this host's name in DNS.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "", self.server_address[1]

    def handle_error(self, *_: Any) -> None:
        """Say nothing: who hangs up in the middle is no fault of ours."""


def _handler(answers: dict[str, str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _LINGER_SECONDS
        server_version, sys_version = "autogit", ""

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            value = answers.get(self.path)
            body = (value or "").encode()
            self.send_response(HTTPStatus.NOT_FOUND if value is None else HTTPStatus.OK)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if with_body:
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: the whole internet asks on port 80."""

    return Handler


def _token(challenge: Challenge) -> str:
    """Return the token of a challenge. Raises RejectedError for what is none: it becomes a file's name."""
    if challenge.kind != "http-01":
        told = f"{challenge.identifier} is to be shown by {challenge.kind}, which a web server cannot do"
        raise RejectedError(f"{_NAME}: {told}")
    token = challenge.place.removeprefix(PREFIX)
    if not challenge.place.startswith(PREFIX) or not _TOKEN.fullmatch(token):
        raise RejectedError(
            f"{_NAME}: the authority asks for {challenge.place!r}, which is no path of a challenge",
            hint="tokens are base64url (RFC 8555 section 8.3); is the directory URL that of a certificate authority?",
        )
    return token


async def check_shown(probe: Probe, challenges: Sequence[Challenge], say: Say = _nobody) -> None:
    """Ask each name for its challenge as the authority will, at each of its addresses.

    Raises RejectedError where another answer comes, saying which, and UnavailableError where none comes from any
    address; a single address that does not answer is told. Without `probe.strict` all is told only.
    """
    found = await asyncio.gather(*(_shown(probe, one) for one in challenges))
    errors: list[AutogitError] = []
    for error, warnings in found:
        for text in warnings:
            say(f"{_NAME}: {text}")
        if error is not None:
            errors.append(error)
    if not errors:
        return
    if not probe.strict:
        for text in dict.fromkeys(one.message for one in errors):
            say(text)
        return
    said = "; ".join(dict.fromkeys(one.message.removeprefix(f"{_NAME}: ") for one in errors))
    kind = UnavailableError if all(isinstance(one, UnavailableError) for one in errors) else RejectedError
    raise kind(f"{_NAME}: {said}", hint=errors[0].hint)


async def _shown(probe: Probe, challenge: Challenge) -> tuple[AutogitError | None, list[str]]:
    """Return why a challenge is not shown, None where it is, and what is odd besides."""
    name = challenge.identifier
    addresses, failure = await addresses_of(probe.lookup, name)
    if not addresses:
        return unseen(name, failure), []
    sights = await asyncio.gather(*(look(probe, name, address, challenge.place) for address in addresses))
    wrong = [one for one in sights if not one.shows(challenge.value)]
    silent = [one for one in wrong if not one.status]
    others = [one for one in wrong if one.status]
    if others:
        return _other(name, others), [one.sentence for one in silent]
    if len(silent) == len(sights):
        return _silence(name, silent), []
    return None, [f"{one.sentence}: an authority may ask there first" for one in silent]


def _other(name: str, sights: Sequence[Sight]) -> RejectedError:
    said = "; ".join(one.sentence for one in sights)
    return RejectedError(
        f"{_NAME}: {name} does not show the challenge: {said}",
        hint=f"port 80 of {name} has to lead to this host's ingress, for each address that the name has "
        "(a router may answer from inside in its own name: ask from outside then, and have the self-check only warn)",
    )


def _silence(name: str, sights: Sequence[Sight]) -> UnavailableError:
    said = "; ".join(one.sentence for one in sights)
    return UnavailableError(
        f"{_NAME}: nobody shows the challenge at {name}: {said}",
        hint="open port 80 to the internet and lead it to the ingress (a router that does not lead its own address "
        "back inside looks the same from here: ask from outside then, and have the self-check only warn)",
    )
