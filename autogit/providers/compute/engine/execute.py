"""Running a program in a container: its arguments, its standard input, its standard output, and how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from autogit.errors import RejectedError, UnavailableError
from autogit.model.text import printable
from autogit.providers.compute.engine.client import Engine

_STDERR = 2
_LINES = 20


async def run_inside(engine: Engine, container_id: str, argv: Sequence[str], stdin: bytes = b"") -> bytes:
    """Return what a program in a container writes to its standard output.

    Raises RejectedError where it fails, with the last lines of its standard error as context; a program may run long
    without a word.
    """
    code, output, complaints = await engine.call(lambda api: _run(api, container_id, argv, stdin))
    program = PurePosixPath(argv[0]).name
    if code is None:
        raise UnavailableError(f"docker: {program} was cut off in the middle", hint="autogit status")
    if code:
        lines = printable(complaints.decode("utf-8", "replace")).splitlines()[-_LINES:]
        raise RejectedError(f"docker: {program} in the container ended with exit code {code}", context=lines)
    return output


def _run(api: Any, container_id: str, argv: Sequence[str], stdin: bytes) -> tuple[int | None, bytes, bytes]:
    from docker.utils.socket import frames_iter  # noqa: PLC0415 - with the rest of the SDK

    # The end of the input is its length: a connection by TLS or ssh cannot be closed in one direction only.
    command = ["/bin/sh", "-c", f"head -c {len(stdin)} | {shlex.join(argv)}"] if stdin else list(argv)
    exec_id = str(api.exec_create(container_id, command, stdin=bool(stdin))["Id"])
    link = api.exec_start(exec_id, socket=True)
    end = getattr(link, "_sock", link)  # a unix socket comes wrapped; closing the wrapping leaves it open
    kept: dict[int, list[bytes]] = {}
    try:
        api._disable_socket_timeout(link)  # noqa: SLF001 - docker 7.2: what its own `attach` does
        if stdin:
            end.sendall(stdin)
        for stream, part in frames_iter(link, tty=False):  # type: ignore[no-untyped-call]  # of the SDK
            kept.setdefault(stream, []).append(part)
    finally:
        link._response.close()  # noqa: SLF001 - the SDK ties it to the link, which it closes as well
        end.close()
    ended = api.exec_inspect(exec_id)
    code = None if ended["Running"] else ended["ExitCode"]
    return code, b"".join(kept.get(1, ())), b"".join(kept.get(_STDERR, ()))
