"""Addresses of 127.0.0.0/8 for servers that only listen on 127.0.0.1: passes DNS on, and notes what was asked."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import dns.exception
import dns.message

_ANSWER_SECONDS = 10.0


class Relays:
    """Listens on many addresses at one port, UDP and TCP, in a thread of its own."""

    def __init__(self, port):
        self.port = port
        self.asked = []
        """What came in, in order: address, name, type."""
        self.silent_udp = set()
        """Addresses that take no UDP, as behind a firewall."""
        self.silent = set()
        """Addresses that note what they are asked and say nothing."""
        self._targets = {}
        self._open = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def listen(self, address, target):
        """Pass on what comes to an address to a port of 127.0.0.1."""
        self._targets[address] = target
        if address not in self._open:
            self._run(self._start(address))

    def close(self, address):
        """Listen there no more."""
        if address in self._open:
            self._run(self._end(address))

    def end(self):
        """End all of it."""
        for address in list(self._open):
            self.close(address)
        self._run(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self, address):
        relay = self

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, sender):
                if address not in relay.silent_udp:
                    self.task = asyncio.ensure_future(relay._datagram(address, data, sender, self.transport))

        async def stream(reader, writer):
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._stream(address, reader, writer)
            writer.close()

        datagrams, _ = await self._loop.create_datagram_endpoint(Datagrams, (address, self.port))
        streams = await asyncio.start_server(stream, address, self.port)
        self._open[address] = (datagrams, streams)

    async def _end(self, address):
        datagrams, streams = self._open.pop(address)
        datagrams.close()
        streams.close()

    async def _drain(self):
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _datagram(self, address, data, sender, back):
        self._note(address, data)
        if address in self.silent:
            return
        answer = self._loop.create_future()

        class Once(asyncio.DatagramProtocol):
            def datagram_received(self, data, _):
                if not answer.done():
                    answer.set_result(data)

        transport, _ = await self._loop.create_datagram_endpoint(
            Once, remote_addr=("127.0.0.1", self._targets[address])
        )
        try:
            transport.sendto(data)
            with contextlib.suppress(TimeoutError):
                back.sendto(await asyncio.wait_for(answer, _ANSWER_SECONDS), sender)
        finally:
            transport.close()

    async def _stream(self, address, reader, writer):
        size = await reader.readexactly(2)
        data = await reader.readexactly(int.from_bytes(size, "big"))
        self._note(address, data)
        if address in self.silent:
            return
        there, to_there = await asyncio.open_connection("127.0.0.1", self._targets[address])
        try:
            to_there.write(size + data)
            size = await asyncio.wait_for(there.readexactly(2), _ANSWER_SECONDS)
            writer.write(size + await there.readexactly(int.from_bytes(size, "big")))
            await writer.drain()
        finally:
            to_there.close()

    def _note(self, address, data):
        with contextlib.suppress(dns.exception.DNSException):
            question = dns.message.from_wire(data).question[0]
            self.asked.append((address, question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name))
