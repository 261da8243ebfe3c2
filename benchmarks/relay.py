"""A round trip between a client and a server on one machine: a TCP relay that hands bytes on when they would arrive.

Each direction is late by half the round trip. A connection's first bytes are late by a whole one more: the relay itself
answers the handshake at once, and over a network it would have taken that long. Bandwidth is not limited.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Self

_PART_BYTES = 1 << 16


class Relay:
    """Listens on loopback and hands on to a port there; `round_trip_seconds` may be changed between connections."""

    def __init__(self, port: int) -> None:
        self.round_trip_seconds = 0.0
        self.port = 0
        self._to = port
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trip = self.round_trip_seconds
        there, to_there = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(_hand_on(reader, to_there, trip / 2, trip), _hand_on(there, writer, trip / 2, 0.0))
        finally:
            writer.close()
            to_there.close()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: float, first: float) -> None:
    """Write what was read when it is due, in order, the end as well."""
    loop = asyncio.get_running_loop()
    opened = loop.time() + first
    parts: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        data = b"-"
        while data:
            due, data = await parts.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def read() -> None:
        data = b"-"
        while data:
            data = await reader.read(_PART_BYTES)
            parts.put_nowait((max(loop.time(), opened) + late, data))

    with contextlib.suppress(OSError):
        await asyncio.gather(read(), write())
