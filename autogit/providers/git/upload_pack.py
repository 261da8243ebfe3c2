"""Runs `git upload-pack` for one request: read-only, without hooks or anybody's configuration, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from autogit.errors import UnavailableError, UnsupportedError
from autogit.providers.git.process import end_process, start_process
from autogit.providers.programs import find_program

_READ_BYTES = 64 * 1024
_GRACE_SECONDS = 2.0
_PROTOCOLS = frozenset({"version=1", "version=2"})
_CONFIG = {
    # What a source lost is kept for whoever asks by its name at the machine itself; nobody clones it unasked.
    "uploadpack.hideRefs": "refs/autogit/backup",
    "uploadpack.allowFilter": "true",
    "uploadpack.keepAlive": "5",
    "protocol.allow": "never",
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # Some at once on a small host: a pack is put together by one thread, with little memory beside what is mapped.
    "pack.threads": "1",
    "pack.windowMemory": "32m",
    "core.packedGitLimit": "256m",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one run may take: with nothing moving either way, and as a whole."""

    idle_seconds: float = 120.0
    total_seconds: float = 3600.0


class UploadPack:
    """One run of `git upload-pack --stateless-rpc` over the repository in a folder.

    Used as an async context manager: leaving it ends git and whatever it started, by their ids. Raises UnsupportedError
    where there is no git, UnavailableError where nothing moves for too long.
    """

    def __init__(self, folder: Path, *, protocol: str = "", advertise: bool = False, limits: Limits = Limits()) -> None:
        self._folder = folder
        self._protocol = protocol if protocol in _PROTOCOLS else ""
        self._advertise = advertise
        self._limits = limits
        self._process: Process | None = None
        self._deadline: asyncio.Timeout | None = None
        self._end_at = 0.0

    @property
    def is_version_2(self) -> bool:
        """Whether the client asked for protocol version 2."""
        return self._protocol == "version=2"

    async def __aenter__(self) -> Self:
        """Start git."""
        program = find_program("git")
        if not program:
            raise UnsupportedError("git: there is no git where the API runs", hint="install git 2.31 or newer")
        arguments = ["upload-pack", "--strict", "--stateless-rpc", *(["--advertise-refs"] if self._advertise else [])]
        self._end_at = asyncio.get_running_loop().time() + self._limits.total_seconds
        try:
            self._process = await start_process(
                (program, *arguments, str(self._folder)), folder=Path("/"), environment=self._environment()
            )
        except OSError as exc:
            raise UnavailableError(f"git: cannot be run here: {exc.strerror}", hint="try again later") from exc
        return self

    async def __aexit__(self, *_ending: object) -> None:
        """End git, however far it is."""
        if self._process is not None and self._process.returncode is None:
            await end_process(self._process, grace_seconds=_GRACE_SECONDS)

    def _environment(self) -> dict[str, str]:
        config = [*_CONFIG.items(), ("safe.directory", str(self._folder))]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "LANG": "C",
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_CONFIG_COUNT": str(len(config)),
        }
        for number, (key, value) in enumerate(config):
            environment[f"GIT_CONFIG_KEY_{number}"] = key
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        return environment | ({"GIT_PROTOCOL": self._protocol} if self._protocol else {})

    @contextlib.asynccontextmanager
    async def within_limits(self) -> AsyncIterator[None]:
        """Hold what is done within to the limits. Raises UnavailableError past one of them."""
        try:
            async with asyncio.timeout(None) as self._deadline:
                self.moved()
                yield
        except TimeoutError as exc:
            raise UnavailableError("git: the transfer took too long, or nothing moved for too long") from exc

    def moved(self) -> None:
        """Tell that something moved: the time for which nothing does begins anew."""
        if self._deadline is not None:
            now = asyncio.get_running_loop().time()
            self._deadline.reschedule(min(now + self._limits.idle_seconds, self._end_at))

    async def feed(self, pieces: AsyncIterator[bytes]) -> None:
        """Give git its request as it comes; git that wants no more of it is given no more."""
        stdin = self._running.stdin
        assert stdin is not None  # noqa: S101 - for mypy: asked for as a pipe
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            async for piece in pieces:
                stdin.write(piece)
                await stdin.drain()
                self.moved()
        stdin.close()

    async def output(self) -> AsyncIterator[bytes]:
        """Yield git's answer piece by piece; nothing is read ahead of whoever takes it."""
        stdout = self._running.stdout
        assert stdout is not None  # noqa: S101 - as above
        while piece := await stdout.read(_READ_BYTES):
            self.moved()
            yield piece
            self.moved()

    async def drain_complaints(self) -> None:
        """Read what git complains of, so that it never waits for a reader; paths of this machine stand in it."""
        stderr = self._running.stderr
        assert stderr is not None  # noqa: S101 - as above
        while await stderr.read(_READ_BYTES):
            pass

    async def ended_well(self) -> bool:
        """Wait for git's end; tell whether it did all that it was asked for."""
        return await self._running.wait() == 0

    @property
    def _running(self) -> Process:
        assert self._process is not None  # noqa: S101 - within the context manager
        return self._process
