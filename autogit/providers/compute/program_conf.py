"""The files that describe programs to supervisord and to the launcher: one JSON record a program, one supervisord.conf.

supervisord's configuration cannot hold every value (its `environment` knows no escapes, ` ;` and ` #` begin comments,
`%(here)s` is replaced even when escaped), so it names only the launcher and the record; arguments and environment go
through the record, which holds any text.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from autogit.errors import UnsupportedError
from autogit.model.spec import Program


@dataclass(frozen=True, slots=True)
class ProgramRecord:
    """One version of a service as supervisord runs it.

    `version` is the short hash of the program, `reload` the one of the reload-type files that it was last told to
    read, `directory` its working directory (absolute).
    """

    program: Program
    version: str
    reload: str
    directory: str

    @property
    def name(self) -> str:
        """The supervisord program's name, `<service>.<version>`."""
        return f"{self.program.service}.{self.version}"


def record_text(record: ProgramRecord) -> str:
    """Return the record's JSON. Raises UnsupportedError for what no process can be given (NUL, `=` in a name)."""
    program = record.program
    texts = (program.executable, *program.arguments, *program.environment, *program.environment.values())
    if any("\0" in text for text in texts) or not program.executable:
        raise UnsupportedError(f"embedded: {program.service}: an argument or a variable holds a NUL character")
    if any("=" in name or not name for name in program.environment):
        raise UnsupportedError(f"embedded: {program.service}: the name of an environment variable is empty or holds =")
    fields = asdict(program) | {"version": record.version, "reload": record.reload, "directory": record.directory}
    return json.dumps(fields, indent=1, sort_keys=True) + "\n"


def parse_record(text: str) -> ProgramRecord:
    """Read what `record_text` wrote. Raises ValueError where it is damaged."""
    try:
        fields = json.loads(text)
        own = {name: fields.pop(name) for name in ("version", "reload", "directory")}
        fields["arguments"] = tuple(fields["arguments"])
        return ProgramRecord(Program(**fields), **own)
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not a program record: {exc}") from exc


def supervisord_conf(records: Iterable[ProgramRecord], *, socket: str, logs: str, launcher: tuple[str, ...]) -> str:
    """Return supervisord.conf; paths in it are relative to its own folder, where supervisord is started.

    `socket` and `logs` are relative paths (or absolute ones without white space and `%`), `launcher` the argument list
    that the record's path is appended to.
    """
    head = f"""\
; Written by AutoGit; what is changed here is lost.
[unix_http_server]
file = {socket}
chmod = 0700

[supervisord]
logfile = supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
loglevel = info
pidfile = supervisord.pid
childlogdir = .
nocleanup = true
identifier = autogit
umask = 077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{socket}
"""
    ordered = sorted(records, key=lambda record: record.name)
    return "\n".join([head, *(_section(record, logs, launcher) for record in ordered)])


def _section(record: ProgramRecord, logs: str, launcher: tuple[str, ...]) -> str:
    # startsecs 0: readiness is probed, not guessed. The launcher, not supervisord, slows a crash loop down: its
    # back-off of whole seconds would keep a process that was killed three times away for six.
    program = record.program
    command = " ".join(quote(word) for word in (*launcher, f"programs/{record.name}.json"))
    return f"""\
[program:{record.name}]
command = {command}
autostart = true
autorestart = true
startsecs = 0
startretries = 1000
stopsignal = {program.stop_signal}
stopwaitsecs = {program.stop_grace_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = {logs}/{program.service}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


def quote(word: str) -> str:
    """Quote one word of a `command` so that supervisord's three readers (ini, `%`, shell words) give it back.

    Raises UnsupportedError for a line break or bytes that are no text, which its ini reader cannot hold.
    """
    try:
        word.encode()
    except UnicodeEncodeError as exc:
        raise UnsupportedError("embedded: the path of this installation is not valid UTF-8") from exc
    if re.search(r"[\r\n\0]", word):
        raise UnsupportedError("embedded: the path of this installation holds a line break")
    quoted = shlex.quote(word).replace("%", "%%").replace("%%(", "%%''(")
    return re.sub(r"(?<=\s)(?=[;#])", "''", quoted)  # ends and reopens the quotes: no comment begins after a blank
