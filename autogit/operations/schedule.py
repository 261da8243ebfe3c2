"""The schedule as a user asks for it: show it, install it, remove it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from autogit.core.schedule import build_crontab_schedule, build_unit_schedule
from autogit.errors import NotConfirmedError, UnsupportedError
from autogit.model.plan import Action
from autogit.model.schedule import (
    FileChange,
    Job,
    JobContext,
    JobFileView,
    JobView,
    Owner,
    Schedule,
    ScheduleView,
)
from autogit.operations.mirror_wiring import has_mirrors
from autogit.operations.project import Project
from autogit.providers.host.schedule import Machine, Scheduler, SystemdScheduler, find_machine, find_scheduler
from autogit.providers.host.secret_store import IDENTITY_VARIABLE

Confirm = Callable[[ScheduleView], bool]
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def show(project: Project, *, machine: Machine | None = None) -> ScheduleView:
    """Return each job, whether it is installed, and what its scheduler says. Raises UnsupportedError without one."""
    machine = machine or _machine(project)
    scheduler = find_scheduler(machine)
    schedule = _schedule(project, machine, scheduler)
    return _view(scheduler, schedule, scheduler.compare(schedule))


def preview(project: Project, *, machine: Machine | None = None) -> ScheduleView:
    """Return the files as they would be written; units where this host has no scheduler at all."""
    machine = machine or _machine(project)
    try:
        scheduler = find_scheduler(machine)
    except UnsupportedError:
        scheduler = SystemdScheduler(machine)
    schedule = _schedule(project, machine, scheduler)
    files = tuple(FileChange(_place(machine, scheduler, file.name), file, Action.CREATE) for file in schedule.files)
    return _view(scheduler, schedule, files)


def install(project: Project, *, confirm: Confirm, machine: Machine | None = None) -> ScheduleView:
    """Write the jobs and start them; return the files that were written, and how the jobs are now.

    `confirm` is asked with what will be written, if anything will. Raises UnsupportedError, OwnershipError and
    NotConfirmedError; nothing was written then.
    """
    machine = machine or _machine(project)
    scheduler = find_scheduler(machine)
    return _carry_out(scheduler, _schedule(project, machine, scheduler), confirm)


def remove(project: Project, *, confirm: Confirm, machine: Machine | None = None) -> ScheduleView:
    """Stop the jobs and take their files away, and nothing else. Raises NotConfirmedError."""
    machine = machine or _machine(project)
    scheduler = find_scheduler(machine)
    return _carry_out(scheduler, Schedule(_owner(project)), confirm)


def _carry_out(scheduler: Scheduler, schedule: Schedule, confirm: Confirm) -> ScheduleView:
    before = _view(scheduler, schedule, scheduler.compare(schedule))
    if before.pending and not confirm(before):
        raise NotConfirmedError("nothing was written: the question was answered with no")
    scheduler.install(schedule)
    after = _view(scheduler, schedule, scheduler.compare(schedule))
    return after.model_copy(update={"files": before.files})


def _machine(project: Project) -> Machine:
    return find_machine(project.paths.root, project.paths.state)


def _owner(project: Project) -> Owner:
    return Owner(project.settings.project_name, project.paths.root)


def _schedule(project: Project, machine: Machine, scheduler: Scheduler) -> Schedule:
    context = JobContext(
        owner=_owner(project),
        env_file=project.paths.env_file,
        runtime=project.settings.runtime,
        program=_program(),
        environment=_environment(project, machine.account.home),
        scope=machine.scope,
        user=machine.account.name if machine.account.uid != os.geteuid() else "",
        host=socket.gethostname(),
        dns=project.dns is not None,
        mirrors=has_mirrors(project.paths.mirror_rules),
    )
    return build_unit_schedule(context) if scheduler.kind == "systemd" else build_crontab_schedule(context)


def _program() -> tuple[str, ...]:
    """Return what starts this AutoGit: its script, else its module (without looking in the current directory)."""
    script = Path(sys.executable).parent / "autogit"
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-P", "-m", "autogit")


def _environment(project: Project, home: Path) -> Mapping[str, str]:
    """Return a job's whole environment: where the identity is, where programs are, and a language for file names."""
    identity = os.environ.get(IDENTITY_VARIABLE)
    named = {IDENTITY_VARIABLE: str(Path(identity).absolute())} if identity else {}
    return {"HOME": str(home), "LANG": "C.UTF-8", "PATH": _search_path(project), **named}


def _search_path(project: Project) -> str:
    """Return the folders of PATH where programs of the platform are, in their order, and the system's own.

    The same programs must be found as by a person's `autogit up`, or the plan would differ. The rest of a person's PATH
    stays out: it is long (a crontab line may have 1000 characters) and another one in each shell.
    """
    names = {d.runs.embedded.program for d in project.catalogue.descriptors if d.runs.embedded}
    if has_mirrors(project.paths.mirror_rules):
        names |= {"git", "git-lfs"}
    names = (names | {"docker"}) - {"python"}  # python is always the one that runs AutoGit
    given = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(folder).is_absolute()]
    useful = [f for f in given if f in _SYSTEM_FOLDERS or any(os.access(Path(f) / name, os.X_OK) for name in names)]
    return os.pathsep.join(dict.fromkeys([*useful, *_SYSTEM_FOLDERS]))


def _place(machine: Machine, scheduler: Scheduler, name: str) -> str:
    return str(machine.units / name) if scheduler.kind == "systemd" else f"crontab of {machine.account.name}"


def _view(scheduler: Scheduler, schedule: Schedule, changes: tuple[FileChange, ...]) -> ScheduleView:
    jobs = tuple(_job(scheduler, schedule.owner, job, changes) for job in schedule.jobs)
    user = scheduler.kind == "systemd" and scheduler.machine.scope == "user"
    return ScheduleView(
        project=schedule.owner.project,
        scheduler="systemd-user" if user else scheduler.kind,
        jobs=jobs,
        files=tuple(_file(change) for change in changes),
        messages=scheduler.advice() if any(job.installed for job in jobs) else (),
    )


def _file(change: FileChange) -> JobFileView:
    return JobFileView(path=change.where, action=change.action.value, text=change.file.text)


def _job(scheduler: Scheduler, owner: Owner, job: Job, changes: tuple[FileChange, ...]) -> JobView:
    names = {*job.units(owner), "crontab"}
    own = [change for change in changes if change.file.name in names]
    present = all(change.action is not Action.CREATE for change in own)
    state = scheduler.state(owner, job) if present else None
    return JobView(
        name=job.name,
        kind=job.kind,
        description=job.description,
        installed=present,
        current=all(change.action is Action.NOOP for change in own),
        where=tuple(change.where for change in own),
        active=state.active if state else "",
        enabled=state.enabled if state else "",
        last_result=state.last_result if state else "",
    )
