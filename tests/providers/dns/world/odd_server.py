"""A DNS server that does what it is told: for answers that no real server here gives."""

from __future__ import annotations

import asyncio
import contextlib

import dns.message

from tests.providers.dns.dnsmasq_server import free_port


class OddServer:
    """What it answers over UDP and over TCP: functions of the query that return bytes, None for silence."""

    def __init__(self, udp=None, tcp=None):
        self.udp = udp
        self.tcp = tcp
        self.port = free_port()
        self.queries = []

    async def __aenter__(self):
        server = self

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, sender):
                query = dns.message.from_wire(data)
                server.queries.append(query)
                answers = server.udp(query)
                for one in answers if isinstance(answers, list) else [answers]:
                    self.transport.sendto(one, sender)

        async def stream(reader, writer):
            with contextlib.suppress(EOFError, OSError):
                size = int.from_bytes(await reader.readexactly(2), "big")
                answer = server.tcp(dns.message.from_wire(await reader.readexactly(size)))
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
            writer.close()

        self.open = []
        if self.udp:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", self.port))
            self.open.append(transport)
        if self.tcp:
            self.open.append(await asyncio.start_server(stream, "127.0.0.1", self.port))
        return self

    async def __aexit__(self, *_):
        for one in self.open:
            one.close()
