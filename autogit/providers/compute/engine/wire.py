"""Reading an engine's containers over its unix socket with the standard library alone: what a no-op `up` rests on.

One connection, HTTP/1.1 kept alive (RFC 9112): the list of the project's containers, then an inspection of each. What
is kept of them is what a plan compares and what can change in a container that exists; all else is fixed for its id.
"""

from __future__ import annotations

import json
import socket

MOST_BYTES = 64 * 1024 * 1024
_HEAD_END = b"\r\n\r\n"


class Wire:
    """One kept-alive connection to an engine. Raises OSError and ValueError for anything that is not as expected."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.link.settimeout(timeout_seconds)
        try:
            self.link.connect(path)
        except OSError:
            self.link.close()
            raise
        self.rest = b""

    def close(self) -> None:
        """Close the connection."""
        self.link.close()

    def ask(self, *targets: str) -> list[object]:
        """Return the JSON answers to GET requests, sent at once and answered in order."""
        requests = (f"GET {target} HTTP/1.1\r\nHost: docker\r\nUser-Agent: autogit\r\n\r\n" for target in targets)
        self.link.sendall("".join(requests).encode("ascii"))
        return [self._answer() for _ in targets]

    def _answer(self) -> object:
        head = self._until(_HEAD_END)
        status, _, fields = head.partition(b"\r\n")
        if status.split()[1] != b"200":
            raise ValueError(status.decode("latin-1"))
        lines = [line.partition(b":") for line in fields.lower().split(b"\r\n")]
        headers = {name.strip(): value.strip() for name, _, value in lines}
        if headers.get(b"transfer-encoding") == b"chunked":
            return json.loads(self._chunks())
        return json.loads(self._exactly(int(headers[b"content-length"])))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        self._until(b"\r\n")
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.rest:
            self._more()
        found, _, self.rest = self.rest.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        if size > MOST_BYTES:
            raise ValueError("too long an answer")
        while len(self.rest) < size:
            self._more()
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def _more(self) -> None:
        data = self.link.recv(262144)
        if not data:
            raise OSError("the engine closed the connection")
        self.rest += data


def container_signatures(path: str, api_version: str, project: str, timeout_seconds: float) -> dict[str, str]:
    """Return id -> signature of every container of a project that is AutoGit's.

    A signature says everything that a plan would notice: image, state, health, restarts, networks with their names,
    limits. Raises OSError, ValueError, KeyError and TypeError where the engine does not answer as expected.
    """
    from urllib.parse import quote  # noqa: PLC0415 - nothing is imported that a refused connection makes vain

    labels = json.dumps({"label": [f"com.docker.compose.project={project}", "autogit.managed=true"]})
    base = f"/v{api_version}/containers"
    wire = Wire(path, timeout_seconds)
    try:
        (rows,) = wire.ask(f"{base}/json?all=1&filters={quote(labels)}")
        if not isinstance(rows, list):
            raise TypeError("no list")
        raws = wire.ask(*(f"{base}/{row['Id']}/json" for row in rows)) if rows else []
    finally:
        wire.close()
    return {raw["Id"]: _signature(raw) for raw in raws}  # type: ignore[index]


def is_well(signature: str) -> bool:
    """Tell whether a signature is that of a container that runs and is not known to be unhealthy."""
    return signature.startswith(("running/healthy ", "running/none "))


def _signature(raw: object) -> str:
    if not isinstance(raw, dict):
        raise TypeError("no container")
    state, host = raw["State"], raw["HostConfig"]
    health = (state.get("Health") or {}).get("Status") or "none"
    word = "healthy" if health == "starting" else health  # it becomes the other without anybody's doing
    networks = sorted(
        [name, end.get("NetworkID"), end.get("EndpointID"), sorted(end.get("Aliases") or ())]
        for name, end in (raw["NetworkSettings"].get("Networks") or {}).items()
    )
    limits = [host.get("Memory"), host.get("NanoCpus")]
    parts = json.dumps([raw["Name"], raw["Image"], state["StartedAt"], networks, limits], separators=(",", ":"))
    return f"{state['Status']}/{word} {parts}"
