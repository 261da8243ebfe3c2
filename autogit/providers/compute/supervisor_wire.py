"""Talking to supervisord over its unix socket: where that socket lies, one cheap read and one general call."""

from __future__ import annotations

import os
import socket

_LONGEST_PATH_BYTES = 96  # sun_path holds 107; supervisord binds a temporary name that is up to 9 bytes longer first
_FALLBACK_ROOT = "/tmp"  # noqa: S108 - the folder below it is 0700 and its owner is verified; TMPDIR differs under cron

FAULT_BAD_NAME = 10
FAULT_SPAWN_ERROR = 50
FAULT_ALREADY_STARTED = 60
FAULT_NOT_RUNNING = 70
FAULT_ALREADY_ADDED = 90
_FAULT_SHUTDOWN_STATE = 6

_STATES_BODY = (
    b"<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName><params/></methodCall>"
)


def socket_path(supervisor_dir: str) -> str:
    """Return where supervisord's socket lies: in `supervisor_dir`, or per user in /tmp where that path is too long."""
    path = os.path.join(supervisor_dir, "supervisor.sock")  # noqa: PTH118 - pathlib costs the fast path
    if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES:
        return path
    import hashlib  # noqa: PLC0415 - only for long paths

    name = hashlib.sha256(os.fsencode(supervisor_dir)).hexdigest()[:16]
    return f"{_FALLBACK_ROOT}/autogit-{os.getuid()}/{name}.sock"


def process_states(path: str, timeout_seconds: float = 2.0) -> list[tuple[str, str, int, str]] | None:
    """Return (name, state name, pid, fault) of each program; None where no supervisord answers.

    `fault` is supervisord's word on why a program is not up ("" for none). One request, about 2 ms.
    """
    infos = process_infos(path, timeout_seconds)
    if infos is None:
        return None
    return [(i["name"], i["statename"], int(i["pid"]), i["spawnerr"]) for i in infos]


def process_infos(path: str, timeout_seconds: float = 2.0) -> list[dict[str, str]] | None:
    """Return every member that getAllProcessInfo answers, as text, one dict a program; None where nobody answers."""
    answer = post(path, _STATES_BODY, timeout_seconds)
    if answer is None or "<fault>" in answer or "<methodResponse>" not in answer:
        return None
    return [_members(struct) for struct in answer.split("<struct>")[1:]]


def call(
    path: str, method: str, *params: object, ignore: frozenset[int] = frozenset(), timeout_seconds: float = 10.0
) -> object:
    """Call `supervisor.<method>` and return its answer, or None for a fault whose code is in `ignore`.

    Raises UnavailableError where no supervisord answers or it is shutting down, RejectedError for any other fault.
    """
    from xml.parsers.expat import ExpatError  # noqa: PLC0415 - the fast path never calls
    from xmlrpc import client  # noqa: PLC0415

    from autogit.errors import RejectedError, UnavailableError  # noqa: PLC0415

    body = client.dumps(params, f"supervisor.{method}").encode()  # type: ignore[arg-type]  # texts and flags only
    answer = post(path, body, timeout_seconds)
    if answer is None:
        raise UnavailableError("embedded: supervisord does not answer", hint="autogit up")
    try:
        values, _ = client.loads(answer)
    except client.Fault as fault:
        if fault.faultCode in ignore:
            return None
        kind = UnavailableError if fault.faultCode == _FAULT_SHUTDOWN_STATE else RejectedError
        raise kind(f"embedded: supervisord refuses {method}: {fault.faultString}") from fault
    except (ExpatError, client.ResponseError) as exc:
        raise UnavailableError(f"embedded: supervisord's answer to {method} cannot be read") from exc
    return values[0]


def post(path: str, body: bytes, timeout_seconds: float) -> str | None:
    """Send one XML-RPC request and return the answer's body; None where nobody of ours answers."""
    head = f"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = bytearray()
    try:
        if os.stat(os.path.dirname(path)).st_uid != os.getuid() and os.getuid() != 0:  # noqa: PTH116, PTH120
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(timeout_seconds)
            link.connect(path)
            link.sendall(head.encode() + body)
            while chunk := link.recv(65536):
                answer += chunk
    except OSError:
        return None
    status, _, text = answer.decode("utf-8", "replace").partition("\r\n\r\n")
    return text if status.split(" ", 2)[1:2] == ["200"] else None


def _members(struct: str) -> dict[str, str]:
    members = dict.fromkeys(("name", "statename", "spawnerr"), "") | {"pid": "0", "start": "0"}
    for member in struct.split("<member>")[1:]:
        name = member.partition("<name>")[2].partition("</name>")[0]
        value = member.partition("<value>")[2].partition("</value>")[0].strip()
        if value.startswith("<"):  # <string>..</string>, <int>..</int>; text itself never holds a bare "<"
            value = value.partition(">")[2].rpartition("</")[0]
        members[name] = value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return members
