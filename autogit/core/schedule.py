"""Jobs as data, and how they are written for systemd and for cron: pure text, nothing is read or run."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence

from autogit.errors import UnsupportedError
from autogit.model.schedule import Job, JobContext, JobFile, Schedule

RENEWAL = "certs-renew"
"""The job that renews certificates."""
MIRROR_SYNC = "mirror-sync"
"""The job that brings mirrors up to what their sources have."""
JOBS: tuple[Job, ...] = (
    Job(
        name="reconcile",
        description="repairs what fell since the last up",
        arguments=("reconcile",),
        kind="service",
        service_arguments=("--watch",),
        cron_times=("@reboot", "*/5 * * * *"),
    ),
    Job(
        name=RENEWAL,
        description="renews certificates when they are due, and puts them in force",
        arguments=("certs", "renew"),
        kind="timer",
        cron_times=("17 */6 * * *",),
        on_calendar="*-*-* 00/6:17:00",
        jitter_seconds=3600,
    ),
    Job(
        name="dns-sync",
        description="has DNS names follow this network's public address",
        arguments=("dns", "sync"),
        kind="timer",
        cron_times=("*/10 * * * *",),
        on_calendar="*:0/10",
        jitter_seconds=60,
        needs_dns=True,
    ),
    Job(
        name=MIRROR_SYNC,
        description="syncs the mirrors that are due",
        arguments=("mirror", "sync", "--due"),
        kind="timer",
        cron_times=("*/5 * * * *",),
        on_calendar="*:0/5",
        jitter_seconds=120,
        steady=True,
        needs_mirrors=True,
    ),
)
"""Every job, in the order of `autogit schedule show`."""

CRONTAB = "crontab"
RESTART_SECONDS = 5
_NOTE = "# Written by autogit schedule install; autogit schedule remove takes it away."
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ODD_PROGRAM = re.compile(r"[\"'\\$=]")
_RUN_WORDS = 'exec "$0" "$@"'
_CRON_JITTER = "sleep $(( $(od -An -N2 -tu2 /dev/urandom) * {seconds} / 65536 )); " + _RUN_WORDS
_CRON_DELAY = "sleep {seconds}; " + _RUN_WORDS

# What systemd does with the processes of a service that it stops, and what they may do.
#
# embedded: supervisord and the services are children of `reconcile`: stopping or restarting the healer must not stop
#   the platform, so systemd ends the one process only. They inherit what is set here, too: NoNewPrivileges would take
#   file capabilities (an ingress on port 443) away from processes that `autogit up` could start.
# docker, swarm: the engine has the services; what is left below `reconcile` are helpers that end with it.
#
# PrivateTmp, ProtectHome and ProtectSystem are left out on purpose: supervisord's socket may be in /tmp, where the
# user's own `autogit status` looks for it, and a project may be anywhere, mostly in somebody's home.
_RUNTIME_LINES = {"embedded": ("KillMode=process",)}
_ENGINE_LINES = ("KillMode=mixed", "NoNewPrivileges=yes", "LockPersonality=yes", "RestrictRealtime=yes")


def select_jobs(context: JobContext, jobs: Sequence[Job] = JOBS) -> tuple[Job, ...]:
    """Return the jobs that a project has a use for."""
    return tuple(
        job
        for job in jobs
        if context.runtime in job.runtimes
        and (context.dns or not job.needs_dns)
        and (context.mirrors or not job.needs_mirrors)
    )


def build_unit_schedule(context: JobContext, jobs: Sequence[Job] = JOBS) -> Schedule:
    """Return the schedule as systemd units. Raises UnsupportedError for paths that no unit can name."""
    _check_words(context, "systemd")
    chosen = select_jobs(context, jobs)
    return Schedule(context.owner, chosen, tuple(file for job in chosen for file in _units(context, job)))


def build_crontab_schedule(context: JobContext, jobs: Sequence[Job] = JOBS) -> Schedule:
    """Return the schedule as one block of a crontab. Raises UnsupportedError for paths that no crontab can hold."""
    words = _check_words(context, CRONTAB)
    if odd := next((word for word in words if "\\" in word), None):
        raise UnsupportedError(
            f"{CRONTAB}: {odd} has a backslash in its name, and cron programs disagree about those",
            hint="move it to a path without one",
        )
    chosen = select_jobs(context, jobs)
    owner = context.owner
    lines = (line for job in chosen for line in _cron_lines(context, job))
    block = "\n".join([owner.begin, owner.line, _NOTE, *lines, owner.end, ""])
    return Schedule(owner, chosen, (JobFile(CRONTAB, block),))


def quote_unit_word(word: str) -> str:
    r"""Return a word as systemd reads it back, but for the dollar sign, which only command lines expand.

    systemd.syntax(7): within double quotes `\\` and `\"` are escapes; systemd.unit(5): `%%` is a percent sign.
    """
    if _PLAIN_WORD.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def quote_unit_command(words: Sequence[str]) -> str:
    """Return `ExecStart=`'s value (systemd.service(5), "Command lines").

    In arguments `$$` is a dollar sign; in the program's path it is not, and quotes and backslashes are refused there:
    such a program is started by a shell that is given it as an argument.
    """
    first, *rest = _startable(words)
    return " ".join([quote_unit_word(first), *(quote_unit_word(word).replace("$", "$$") for word in rest)])


def quote_unit_path(path: str) -> str:
    """Return the value of a setting that takes the rest of its line as one path: no quotes, no escapes but `%%`.

    The slash at the end keeps a last backslash from joining lines and a last space from being cut off.
    """
    return f"{path.rstrip('/').replace('%', '%%')}/"


def quote_cron_command(words: Sequence[str]) -> str:
    r"""Return a command for a crontab line: quoted for the shell, percent signs as `\%` (crontab(5))."""
    return shlex.join(words).replace("%", "\\%")


def _startable(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words, with a shell before a program whose path means something else to systemd or env."""
    return ("/bin/sh", "-c", _RUN_WORDS, *words) if _ODD_PROGRAM.search(words[0]) else tuple(words)


def _check_words(context: JobContext, scheduler: str) -> tuple[str, ...]:
    owner, environment = context.owner, context.environment
    words = (str(owner.root), str(context.env_file), *context.program, *environment.values(), context.user)
    if odd := next((word for word in words if _UNPRINTABLE.search(word)), None):
        raise UnsupportedError(
            f"{scheduler}: {odd!r} has a character that no line of text can hold",
            hint="give the folder another name",
        )
    return words


def _command(context: JobContext, arguments: Sequence[str]) -> tuple[str, ...]:
    places = ("--project-dir", str(context.owner.root), "--env-file", str(context.env_file))
    return (*context.program, *arguments, *places)


def _units(context: JobContext, job: Job) -> Iterator[JobFile]:
    *timer, service = job.units(context.owner)
    yield JobFile(service, _file(context, [_unit_section(context, job), *_service_sections(context, job, service)]))
    for name in timer:
        yield JobFile(name, _file(context, [_unit_section(context, job, ordered=False), *_timer_sections(job)]))


def _file(context: JobContext, sections: Sequence[Sequence[str]]) -> str:
    head = f"{context.owner.line}\n{_NOTE}\n"
    return head + "\n".join("".join(f"{line}\n" for line in section) for section in sections)


def _unit_section(context: JobContext, job: Job, *, ordered: bool = True) -> list[str]:
    lines = ["[Unit]", f"Description=AutoGit {context.owner.project}: {job.description.replace('%', '%%')}"]
    if ordered and context.runtime != "embedded":
        lines += _after_the_engine(context)
    if ordered and job.kind == "service":
        lines.append("StartLimitIntervalSec=0")  # a healer that gives up heals nothing
    return lines


def _after_the_engine(context: JobContext) -> list[str]:
    """Order a job after the engine, without requiring it: the engine's restart must not stop the healer.

    A user's systemd knows no network-online.target; its docker.service is a rootless engine, if there is one.
    """
    if context.scope == "user":
        return ["After=docker.service"]
    return ["Wants=network-online.target", "After=network-online.target docker.service"]


def _service_sections(context: JobContext, job: Job, name: str) -> Iterator[list[str]]:
    forever = job.kind == "service"
    arguments = (*job.arguments, *job.service_arguments) if forever else job.arguments
    assignments = (quote_unit_word(f"{key}={value}") for key, value in sorted(context.environment.items()))
    yield [
        "[Service]",
        f"Type={'exec' if forever else 'oneshot'}",
        *([f"User={context.user}"] if context.user else []),
        f"WorkingDirectory={quote_unit_path(str(context.owner.root))}",
        *(f"Environment={assignment}" for assignment in assignments),
        f"ExecStart={quote_unit_command(_command(context, arguments))}",
        *(["Restart=always", f"RestartSec={RESTART_SECONDS}"] if forever else []),
        *_RUNTIME_LINES.get(context.runtime, _ENGINE_LINES),
        f"SyslogIdentifier={name.removesuffix('.service')}",
    ]
    if forever:
        yield ["[Install]", f"WantedBy={'default.target' if context.scope == 'user' else 'multi-user.target'}"]


def _timer_sections(job: Job) -> Iterator[list[str]]:
    yield [
        "[Timer]",
        f"OnCalendar={job.on_calendar}",
        f"RandomizedDelaySec={job.jitter_seconds}",
        *(["FixedRandomDelay=yes"] if job.steady else []),  # systemd before 247 warns of it, and delays at random
        "Persistent=yes",  # what a power cut made it miss is done at the next boot
    ]
    yield ["[Install]", "WantedBy=timers.target"]


def _cron_lines(context: JobContext, job: Job) -> Iterator[str]:
    """Write a job's lines: `env -i` first, since variables and SHELL of a crontab reach every line below them.

    Standard output goes nowhere, or cron would send a letter each time; errors do make one.
    """
    command = _startable(_command(context, job.arguments))
    if job.jitter_seconds:
        command = ("/bin/sh", "-c", _cron_delay(context, job), *command)
    variables = [f"{key}={value}" for key, value in sorted(context.environment.items())]
    line = quote_cron_command(["/usr/bin/env", "-i", *variables, *command, "--quiet"])
    yield f"# {job.name}: {job.description}"
    yield from (f"{when} {line} >/dev/null" for when in job.cron_times)


def _cron_delay(context: JobContext, job: Job) -> str:
    """Return what waits before a job: at random, or as long each time as host, project and job make it."""
    if not job.steady:
        return _CRON_JITTER.format(seconds=job.jitter_seconds)
    seed = "\0".join((context.host, str(context.owner.root), job.name))
    share = int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16)
    return _CRON_DELAY.format(seconds=share % job.jitter_seconds)
