"""An answer that is git's: the request goes to git and its words to the client piece by piece, both ways at once."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from autogit.errors import AutogitError, BodyTooLargeError, RejectedError, UnavailableError
from autogit.providers.git.upload_pack import UploadPack

_MOST_REQUEST_BYTES = 32 * 1024**2
_PIECE_BYTES = 64 * 1024
_GZIP = 31
_QUEUE_SECONDS = 30.0
_AT_ONCE = 6
_BUSY = 503


class Turns:
    """How many transfers run at once; whoever comes then waits a while for one to end."""

    def __init__(self, at_once: int = _AT_ONCE, wait_seconds: float = _QUEUE_SECONDS) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._wait_seconds = wait_seconds

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a place. Raises UnavailableError where none becomes free in time."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as exc:
            raise UnavailableError("too many transfers at once", hint="try again in a minute") from exc
        try:
            yield
        finally:
            self._free.release()


class GitAnswer(Response):
    """Runs git and streams. `head` comes before git's own words, `packed` says that the request is gzip.

    Nothing is sent before git has said something: until then a failure is a status of its own, after that the
    connection ends in the middle, which git takes for what it is.
    """

    def __init__(
        self, git: UploadPack, turns: Turns, media_type: str, *, head: bytes = b"", packed: bool = False
    ) -> None:
        super().__init__(media_type=media_type)
        self._git = git
        self._turns = turns
        self._head = head
        self._packed = packed
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whoever hangs up ends git."""
        try:
            async with self._turns.turn(), self._git, self._git.within_limits():
                await self._exchange(receive, send)
        except* (ClientDisconnect, OSError):
            pass  # nobody is there any more
        except* AutogitError as group:
            await self._refuse(group, scope, receive, send)

    async def _exchange(self, receive: Receive, send: Send) -> None:
        pieces = _limited(_unpacked(_body(receive)) if self._packed else _body(receive))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._git.drain_complaints())
            feeding = group.create_task(self._feed(pieces, receive))
            await self._answer(send)
            feeding.cancel()
        await self._finish(send)

    async def _feed(self, pieces: AsyncIterator[bytes], receive: Receive) -> None:
        """Feed git, then watch for a client that hangs up. Raises ClientDisconnect."""
        await self._git.feed(pieces)
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def _answer(self, send: Send) -> None:
        async for piece in self._git.output():
            if not self._started:
                await self._start(send)
                piece = self._head + piece  # noqa: PLW2901 - what git's own words begin with
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _start(self, send: Send) -> None:
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._started = True

    async def _finish(self, send: Send) -> None:
        if not await self._git.ended_well():
            raise RejectedError("git did not take the request")
        if not self._started:  # an empty answer is an answer
            await self._start(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _refuse(
        self, group: BaseExceptionGroup[AutogitError], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Say why, where nothing was said yet. Else the answer is left unfinished: the server cuts the connection."""
        if self._started:
            return
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        assert isinstance(first, AutogitError)  # noqa: S101 - for mypy: what the group was split for
        await refusal(first)(scope, receive, send)


def refusal(error: AutogitError, status: int = 0, headers: Mapping[str, str] | None = None) -> PlainTextResponse:
    """Return an error as git shows it to its user: plain text, line by line after `remote:`."""
    text = f"{error.message}\n" + (f"hint: {error.hint}\n" if error.hint else "")
    code = status or (400 if type(error) is RejectedError else error.http_status)
    more = {"Retry-After": "30"} if code == _BUSY else {}
    return PlainTextResponse(text, status_code=code, headers={**more, **(headers or {})})


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes. Raises ClientDisconnect."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return


async def _limited(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > _MOST_REQUEST_BYTES:
            raise BodyTooLargeError(f"the request is larger than {_MOST_REQUEST_BYTES} bytes")
        yield piece


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Unpack gzip piece by piece, whatever a small one grows to. Raises RejectedError for what is none."""
    unpack = zlib.decompressobj(_GZIP)
    try:
        async for piece in pieces:
            rest = piece
            while rest and not unpack.eof:
                yield unpack.decompress(rest, _PIECE_BYTES)
                rest = unpack.unconsumed_tail
    except zlib.error as exc:
        raise RejectedError("the request says that it is gzip, and is not") from exc
    if not unpack.eof:
        raise RejectedError("the request ends in the middle")
