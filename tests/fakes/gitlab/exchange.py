"""One request and its answer on the wire, streamed both ways, and cut off where a test ordered that."""

from __future__ import annotations

import hashlib
import json
import secrets
from urllib.parse import unquote

from tests.fakes.gitlab.faults import ConnectionCutError


class Exchange:
    """A request of the ASGI server; what the log shall tell of it is kept here."""

    def __init__(self, scope, receive, send, log):
        self.method = scope["method"]
        self.raw_path = scope["raw_path"].decode("ascii")
        self.path = unquote(self.raw_path)
        self.query = scope["query_string"].decode("ascii")
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.status = 0
        self.token = ""
        self.cut_after_bytes = None
        """How much of the answer's body is sent before the connection drops."""
        self.request_cut_after_bytes = None
        self.is_cut = False
        self._receive = receive
        self._send = send
        self._log = log
        self._sent_bytes = 0

    async def chunks(self):
        """The request's body as it comes."""
        read_bytes = 0
        while True:
            message = await self._receive()
            read_bytes += len(message.get("body", b""))
            is_over = self.request_cut_after_bytes is not None and read_bytes >= self.request_cut_after_bytes
            if is_over or message["type"] == "http.disconnect":
                self.is_cut = True
                raise ConnectionCutError
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    async def body(self):
        return b"".join([chunk async for chunk in self.chunks()])

    async def start(self, status, headers):
        self.status = status
        self._log(self)  # before the answer: who has it may look into the log at once
        standard = {"X-Request-Id": secrets.token_hex(13).upper(), "X-Content-Type-Options": "nosniff"}
        lines = [(name.encode(), value.encode("latin-1")) for name, value in (standard | headers).items()]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def chunk(self, data):
        if self.cut_after_bytes is None:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
            return
        rest = self.cut_after_bytes - self._sent_bytes
        await self._send({"type": "http.response.body", "body": data[: max(rest, 0)], "more_body": True})
        self._sent_bytes += len(data)
        if self._sent_bytes >= self.cut_after_bytes:
            raise ConnectionCutError

    async def end(self):
        if self.cut_after_bytes is not None:
            raise ConnectionCutError
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def reply(self, reply):
        """Send a whole reply: text as it is, all else as JSON, which has an ETag as Rack gives it one."""
        headers, body = dict(reply.headers), b""
        status = reply.status
        if isinstance(reply.body, str):
            body = reply.body.encode()
            headers.setdefault(
                "Content-Type", "text/html" if reply.body.startswith("<") else "text/plain; charset=utf-8"
            )
        elif reply.body is not None:
            body = json.dumps(reply.body).encode()
            headers.setdefault("Content-Type", "application/json")
            if status == 200 and self.method in {"GET", "HEAD"}:
                headers["ETag"] = f'W/"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
                headers["Cache-Control"] = "max-age=0, private, must-revalidate"
                if headers["ETag"] in self.headers.get("if-none-match", ""):
                    status, body = 304, b""
        if status not in {204, 304}:
            headers["Content-Length"] = str(len(body))
        await self.start(status, headers)
        if body and self.method != "HEAD":
            await self.chunk(body)
        await self.end()
