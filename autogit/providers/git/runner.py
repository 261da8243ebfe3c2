"""Runs git: hardened, with an environment from scratch, within a budget, its faults as errors of AutoGit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from asyncio.subprocess import Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autogit.errors import RejectedError, UnavailableError, UnsupportedError
from autogit.providers.git.credentials import Credential, helper_for
from autogit.providers.git.faults import fault_of, redacted
from autogit.providers.git.process import end_process, start_process
from autogit.providers.git.scratch import scratch_folder
from autogit.providers.git.urls import check_url
from autogit.providers.programs import find_program

MINIMUM_VERSION = (2, 31)
_OUTPUT_BYTES = 256 * 1024**2
_STDERR_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024
_VERSION = re.compile(r"git version (\d+)\.(\d+)")
_PASSED_ON = (
    "https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "SSH_AUTH_SOCK",
)  # fmt: skip
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
_CONFIG: Mapping[str, str] = {
    "protocol.allow": "never",  # ext:: and whatever else comes; what a call's address needs is opened for that call
    "protocol.version": "2",
    "core.hooksPath": "/dev/null",
    "core.askPass": "",
    "core.fsmonitor": "false",
    "core.fsync": "all",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "credential.helper": "",
    "credential.useHttpPath": "true",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "http.followRedirects": "initial",
    "init.defaultRefFormat": "files",
    "init.defaultBranch": "main",
    "fetch.fsckObjects": "false",  # old histories have faults that fsck refuses; a mirror must hold them as they are
    "receive.fsckObjects": "true",
    "fetch.unpackLimit": "1",  # always one pack, moved in when whole: never half of a history in loose objects
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "push.followTags": "false",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One run of git. `action` is what errors say was tried; `url` is the address whose transport may be used."""

    arguments: tuple[str, ...]
    action: str = ""
    url: str = ""
    credential: Credential | None = None
    stdin: bytes = b""
    budget_seconds: float = 60.0
    config: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    accept: tuple[int, ...] = (0,)
    keep_open: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What git said. Standard error is cut to its end and holds no secret."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Return standard output; names that are not UTF-8 survive (surrogate escapes)."""
        return self.stdout.decode("utf-8", "surrogateescape")


class Git:
    """Git of this machine. `ca_file` is a CA bundle to trust instead of the system's."""

    def __init__(self, *, program: str = "", ca_file: Path | None = None, path: str = "") -> None:
        self.program = program or find_program("git")
        self._ca_file = ca_file
        self._path = path or os.environ.get("PATH", os.defpath)
        self._checked = False

    async def version(self) -> tuple[int, int]:
        """Return git's version. Raises UnsupportedError where git is missing or too old."""
        if not self.program:
            raise UnsupportedError("git: there is no git on this machine", hint="install git 2.31 or newer")
        answer = await self._spawn(Call(("--version",)), Path("/"), {"PATH": self._path, "LANG": "C"})
        found = _VERSION.match(answer.text)
        if answer.code or found is None:
            raise UnsupportedError(f"git: {self.program} is not a git", hint="install git 2.31 or newer")
        version = (int(found[1]), int(found[2]))
        if version < MINIMUM_VERSION:
            raise UnsupportedError(
                f"git: {self.program} is {found[1]}.{found[2]}; mirrors need 2.31 or newer",
                hint="update git: older ones take no configuration from the environment",
            )
        self._checked = True
        return version

    async def run(self, call: Call, folder: Path | None = None) -> Answer:
        """Run git in a repository's folder (or in an empty one) and return its answer.

        Raises UsageError for an address that is not taken, UnavailableError past the budget, and what git's words mean
        (faults.py) for an exit code that is not in `accept`. Stopping the task stops git and all that it started.
        """
        transport = check_url(call.url) if call.url else ""
        if not self._checked:
            await self.version()
        with scratch_folder("git") as home:
            async with helper_for(call.credential) as helper:
                environment = self._environment(call, str(home), self._config(call, transport, helper))
                answer = await self._spawn(call, folder or home, environment)
        if answer.code not in call.accept:
            raise fault_of(call.action or call.arguments[0], answer.stderr)
        return answer

    def _config(self, call: Call, transport: str, helper: str) -> list[tuple[str, str]]:
        pairs = list(_CONFIG.items())
        if transport:
            pairs.append((f"protocol.{transport}.allow", "always"))
        if transport in {"http", "https"}:
            pairs += [("protocol.http.allow", "always"), ("protocol.https.allow", "always")]
        if helper:
            pairs.append(("credential.helper", helper))
        if self._ca_file is not None:
            pairs.append(("http.sslCAInfo", str(self._ca_file)))
        return [*pairs, *call.config.items()]

    def _environment(self, call: Call, home: str, config: list[tuple[str, str]]) -> dict[str, str]:
        environment = {
            "PATH": self._path,
            "HOME": home,
            "LANG": "C",
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": _SSH,
            "GIT_SSH_VARIANT": "ssh",
            "GIT_CONFIG_COUNT": str(len(config)),
        }
        environment.update({name: os.environ[name] for name in _PASSED_ON if name in os.environ})
        for number, (key, value) in enumerate(config):
            environment[f"GIT_CONFIG_KEY_{number}"] = key
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        return environment | dict(call.environment)

    async def _spawn(self, call: Call, folder: Path, environment: Mapping[str, str]) -> Answer:
        try:
            process = await start_process(
                (self.program, *call.arguments), folder=folder, environment=environment, keep_open=call.keep_open
            )
        except OSError as exc:
            raise UnsupportedError(f"git: {self.program} cannot be run: {exc.strerror}") from exc
        try:
            async with asyncio.timeout(call.budget_seconds):
                stdout, stderr = await _exchange(process, call)
                code = await process.wait()
        except TimeoutError as exc:
            text = f"git: {call.action or call.arguments[0]}: not done within {call.budget_seconds:g} s"
            raise UnavailableError(text, hint="it goes on from there at the next sync") from exc
        finally:
            await end_process(process)
        secrets = call.credential.forms() if call.credential else ()
        return Answer(code, stdout, redacted(stderr.decode("utf-8", "replace"), secrets))


async def _exchange(process: Process, call: Call) -> tuple[bytes, bytes]:
    """Feed standard input and read both outputs at once, so that no pipe fills up."""
    assert process.stdout is not None  # noqa: S101 - for mypy: asked for as pipes
    assert process.stderr is not None  # noqa: S101
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(process, call.stdin))
        out = group.create_task(_read(process.stdout, _OUTPUT_BYTES))
        err = group.create_task(_read_end(process.stderr, _STDERR_BYTES))
    stdout = out.result()
    if stdout is None:
        raise RejectedError(f"git: {call.action or call.arguments[0]}: more than {_OUTPUT_BYTES} bytes of output")
    return stdout, err.result()


async def _feed(process: Process, data: bytes) -> None:
    stdin = process.stdin
    if stdin is None:
        return
    with contextlib.suppress(OSError):  # git that fails early closes its input: its exit code tells
        stdin.write(data)
        await stdin.drain()
    stdin.close()


async def _read(stream: asyncio.StreamReader, limit: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while part := await stream.read(_READ_BYTES):
        parts.append(part)
        size += len(part)
        if size > limit:
            return None
    return b"".join(parts)


async def _read_end(stream: asyncio.StreamReader, limit: int) -> bytes:
    end = b""
    while part := await stream.read(_READ_BYTES):
        end = (end + part)[-limit:]
    return end
