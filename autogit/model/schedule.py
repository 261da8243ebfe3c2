"""The schedule: jobs that run without anybody asking, the files that hold them, and what `autogit schedule` shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from autogit.model.plan import Action
from autogit.model.views import View

_OWNER = re.compile(r"# autogit schedule: (\S+) in (/[^\n]*)")


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that is done without anybody asking: `autogit` with `arguments`, which end by themselves.

    Under systemd a `service` runs for ever, with `service_arguments` added, and a `timer` runs once at each
    `on_calendar` (systemd.time(7)), up to `jitter_seconds` later. cron runs either once at each of `cron_times`
    (crontab(5)), with the same jitter; a `steady` job has the same delay each time, another on each host. Runtimes that
    have no use for the job are not in `runtimes`; a job that `needs_dns` is for projects whose names are kept by a DNS
    provider, one that `needs_mirrors` for those that mirror something.
    """

    name: str
    description: str
    arguments: tuple[str, ...]
    kind: Literal["service", "timer"]
    cron_times: tuple[str, ...]
    service_arguments: tuple[str, ...] = ()
    on_calendar: str = ""
    jitter_seconds: int = 0
    runtimes: tuple[str, ...] = ("docker", "embedded", "swarm")
    steady: bool = False
    needs_dns: bool = False
    needs_mirrors: bool = False

    def units(self, owner: Owner) -> tuple[str, ...]:
        """Return the names of the job's systemd units; the first is the one that is enabled and started."""
        stem = f"autogit-{owner.project}-{self.name}"
        return (f"{stem}.timer", f"{stem}.service") if self.kind == "timer" else (f"{stem}.service",)


class Owner(NamedTuple):
    """Whose a file is: a project's name, and its folder, which tells projects of one name apart."""

    project: str
    root: Path

    @property
    def line(self) -> str:
        """The comment that says so: the first line of a unit, the second of a crontab block."""
        return f"# autogit schedule: {self.project} in {self.root}"

    @property
    def begin(self) -> str:
        """The line that opens a block in a crontab."""
        return f"# BEGIN autogit {self.project}"

    @property
    def end(self) -> str:
        """The line that closes it."""
        return f"# END autogit {self.project}"

    @classmethod
    def parse(cls, line: str) -> Owner | None:
        """Return the owner that a line names, None where it names none."""
        found = _OWNER.fullmatch(line)
        return cls(found[1], Path(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class JobContext:
    """What jobs are rendered with: whose they are, what starts AutoGit (an absolute path first), as whom, with what.

    `user` is empty where jobs run as whoever installs them. `scope` says which systemd holds them: the system's, or
    the one that each user has. `host` tells hosts apart. `dns` says whether a DNS provider keeps the project's names,
    `mirrors` whether any are declared.
    """

    owner: Owner
    env_file: Path
    runtime: str
    program: tuple[str, ...]
    environment: Mapping[str, str]
    scope: Literal["system", "user"] = "system"
    user: str = ""
    host: str = ""
    dns: bool = False
    mirrors: bool = False


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file that a scheduler reads: a unit under its name, or the block of a crontab."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that a scheduler is to hold for one project; without files: nothing."""

    owner: Owner
    jobs: tuple[Job, ...] = ()
    files: tuple[JobFile, ...] = ()


@dataclass(frozen=True, slots=True)
class FileChange:
    """What installing does to one file: where it is, and its new text (the former one where it is deleted)."""

    where: str
    file: JobFile
    action: Action


@dataclass(frozen=True, slots=True)
class JobState:
    """What a scheduler says of one job, in its own words; empty where it keeps no such thing."""

    active: str = ""
    enabled: str = ""
    last_result: str = ""


class JobFileView(View):
    """One file of the schedule, and what `schedule install` would do to it (`noop`: it is as it must be)."""

    path: str
    action: Literal["create", "update", "delete", "noop"]
    text: str


class JobView(View):
    """One job: whether it is there (`current`: as this version would write it), where, and what its scheduler says."""

    name: str
    kind: Literal["service", "timer"]
    description: str
    installed: bool
    current: bool
    where: tuple[str, ...] = ()
    active: str = ""
    enabled: str = ""
    last_result: str = ""


class ScheduleView(View):
    """Everything that `autogit schedule` says. `messages` are what a reader must do or know besides."""

    schema_version: int = 1
    project: str
    scheduler: Literal["systemd", "systemd-user", "crontab"]
    jobs: tuple[JobView, ...]
    files: tuple[JobFileView, ...]
    messages: tuple[str, ...] = ()

    @property
    def pending(self) -> tuple[JobFileView, ...]:
        """The files that differ from what is wished."""
        return tuple(file for file in self.files if file.action != "noop")
