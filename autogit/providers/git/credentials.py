"""How a token reaches git: through a credential helper that asks this process; never argv, environment, URL or disk."""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autogit.errors import UsageError
from autogit.providers.git.scratch import scratch_folder
from autogit.providers.git.urls import check_url, host_of
from autogit.providers.programs import find_program

_QUESTION_BYTES = 65536
_PEER = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and token, and the one host (`https://host:port`) that may see them."""

    host: str
    username: str
    password: str = field(repr=False)

    @classmethod
    def for_url(cls, url: str, username: str, password: str) -> Credential:
        """Return a credential that belongs to an HTTP address's host. Raises UsageError."""
        if check_url(url) not in {"https", "http"}:
            raise UsageError("a token can be sent over https:// and http:// only; ssh uses the agent's keys")
        if any(ord(character) < ord(" ") for character in username + password):
            raise UsageError("a credential has a line break or another control character in it")
        return cls(host_of(url), username, password)

    def forms(self) -> tuple[str, ...]:
        """Return every text by which the token could show, for redaction."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return tuple(form for form in (self.password, pair) if form)

    def answer(self, question: str) -> str:
        """Answer git's question (gitcredentials(7)); nothing for another host, or another protocol."""
        asked = dict(line.split("=", 1) for line in question.splitlines() if "=" in line)
        try:
            host = host_of(f"{asked.get('protocol', '')}://{asked.get('host', '')}")
        except ValueError:
            return ""
        return f"username={self.username}\npassword={self.password}\n" if host == self.host else ""


@asynccontextmanager
async def helper_for(credential: Credential | None) -> AsyncIterator[str]:
    """Serve a credential while git runs, and yield the helper's command line; "" without a credential.

    The socket (0600) lies in a folder (0700) that is gone afterwards; other users' processes are not answered.
    """
    if credential is None:
        yield ""
        return
    with scratch_folder("ask", for_socket=True) as folder:
        path = folder / "socket"
        server = await asyncio.start_unix_server(_Broker(credential).answer, path)
        path.chmod(0o600)
        async with server:
            yield _command(path)


def _command(path: Path) -> str:
    """Git also calls its helper to store and to erase: the shell answers those without starting Python."""
    script = Path(__file__).with_name("ask.py")
    words = " ".join(shlex.quote(str(word)) for word in (find_program("python"), "-IS", script, path))
    return f'!f() {{ test "$1" = get || exit 0; exec {words}; }}; f'


class _Broker:
    """Answers helpers."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = await reader.read(_QUESTION_BYTES)
            while question and not question.endswith(b"\n\n") and (more := await reader.read(_QUESTION_BYTES)):
                question = (question + more)[:_QUESTION_BYTES]
            if _peer(writer) == os.getuid():
                writer.write(self._credential.answer(question.decode(errors="replace")).encode())
                await writer.drain()
        except OSError:
            return  # git was stopped meanwhile
        finally:
            writer.close()


def _peer(writer: asyncio.StreamWriter) -> int:
    connection: socket.socket = writer.get_extra_info("socket")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    uid: int = _PEER.unpack(raw)[1]
    return uid
