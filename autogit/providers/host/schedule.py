"""Schedulers of this host: systemd (the system's or a user's own) and cron, asked through their own programs."""

from __future__ import annotations

import os
import pwd
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from autogit.errors import OwnershipError, RejectedError, UnavailableError, UnsupportedError
from autogit.model.plan import Action
from autogit.model.schedule import FileChange, Job, JobFile, JobState, Owner, Schedule
from autogit.providers.host.atomic import write_atomic
from autogit.providers.programs import find_program

_TIMEOUT_SECONDS = 120.0
_CRON_DAEMONS = frozenset({"cron", "crond", "fcron"})
_RUNS = frozenset({"active", "activating", "reloading"})
_HINTS: Mapping[str, str] = {
    "systemd": "systemctl status says more; systemctl --user needs a login session, or loginctl enable-linger",
    "crontab": "autogit schedule install --dry-run shows the lines, for crontab -e",
}
_PROPERTIES = "ActiveState,UnitFileState,Result,NRestarts,ExecMainExitTimestamp"


class Account(NamedTuple):
    """Whom jobs run as."""

    uid: int
    name: str
    home: Path


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a host keeps its schedule and what asks for it; a program that is not there is an empty string."""

    account: Account
    scope: Literal["system", "user"]
    booted: Path
    units: Path
    systemctl: str
    loginctl: str
    crontab: str


class Scheduler(ABC):
    """Something that runs jobs. Files of a project are known by the owner they name; others are never touched.

    A schedule without files is nothing: installing it removes what the project has. Every method raises
    UnavailableError where the scheduler does not answer and RejectedError where it refuses.
    """

    kind: ClassVar[Literal["systemd", "crontab"]]

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @abstractmethod
    def compare(self, schedule: Schedule) -> tuple[FileChange, ...]:
        """Return what installing would do to each file, without doing it.

        Raises OwnershipError where something that is not this project's is in the way.
        """

    @abstractmethod
    def install(self, schedule: Schedule) -> None:
        """Make the schedule so, and start it. Repeating it changes nothing; raises OwnershipError before anything."""

    @abstractmethod
    def state(self, owner: Owner, job: Job) -> JobState:
        """Return what the scheduler says of a job that is installed; never raises."""

    @abstractmethod
    def advice(self) -> tuple[str, ...]:
        """Return what a person must do so that jobs run after a reboot; empty where nothing is missing."""


def find_machine(root: Path, state: Path) -> Machine:
    """Return this host, for the project in `root` with its state in `state`."""
    account = find_account(state if state.exists() else root)
    system = os.geteuid() == 0
    config = Path(os.environ.get("XDG_CONFIG_HOME") or account.home / ".config")
    return Machine(
        account=account,
        scope="system" if system else "user",
        booted=Path("/run/systemd/system"),  # sd_booted(3)
        units=Path("/etc/systemd/system") if system else config / "systemd" / "user",
        systemctl=find_program("systemctl"),
        loginctl=find_program("loginctl"),
        crontab=find_program("crontab"),
    )


def find_account(owned: Path) -> Account:
    """Return whom jobs run as: the caller; for root, the account that owns the project's files.

    Root's own jobs there would leave files behind that the owner's `autogit up` cannot change.
    """
    uid = os.geteuid()
    owner = owned.stat().st_uid if uid == 0 else uid
    try:
        entry = pwd.getpwuid(owner)
    except KeyError:
        return Account(uid, pwd.getpwuid(0).pw_name if uid == 0 else str(uid), Path.home())
    return Account(owner, entry.pw_name, Path.home() if owner == uid else Path(entry.pw_dir))


def find_scheduler(machine: Machine) -> Scheduler:
    """Return the scheduler that this host has. Raises UnsupportedError where it has none."""
    if machine.systemctl and machine.booted.is_dir():
        return SystemdScheduler(machine)
    if machine.crontab:
        return CrontabScheduler(machine)
    raise UnsupportedError(
        "schedule: systemd does not run here, and there is no crontab program",
        hint="let your init system keep autogit reconcile --watch running; "
        "autogit schedule install --dry-run shows a unit to start from",
    )


class SystemdScheduler(Scheduler):
    """Units in /etc/systemd/system, or in the user's own folder for everybody but root."""

    kind: ClassVar[Literal["systemd", "crontab"]] = "systemd"

    def compare(self, schedule: Schedule) -> tuple[FileChange, ...]:
        """Return what becomes of each unit of the project, those of a former version included."""
        wanted = tuple(self._change(schedule.owner, file) for file in schedule.files)
        names = {file.name for file in schedule.files}
        return (*wanted, *(c for c in self._present(schedule.owner) if c.file.name not in names))

    def install(self, schedule: Schedule) -> None:
        """Write, reload, enable, start; units that are gone are stopped first."""
        changes = self.compare(schedule)
        for change in changes:
            if change.action is Action.DELETE:
                self._take_away(change)
            elif change.action is not Action.NOOP:
                write_atomic(Path(change.where), change.file.text.encode(), 0o644, folder_mode=0o755)
        if any(change.action is not Action.NOOP for change in changes):
            self._systemctl("daemon-reload")
        for change in changes:
            if change.action is not Action.DELETE and _is_started(change.file):
                self._start(change)

    def state(self, owner: Owner, job: Job) -> JobState:
        """Ask for the unit that is started and, of a timer's job, for the service's result."""
        started, *rest = job.units(owner)
        try:
            unit = self._properties(started)
            service = self._properties(rest[0]) if rest else unit
        except (UnavailableError, RejectedError) as exc:
            return JobState("unknown", "unknown", exc.message)
        return JobState(unit.get("ActiveState", ""), unit.get("UnitFileState", ""), _result(service, job))

    def advice(self) -> tuple[str, ...]:
        """Say that a user's units start at login only, unless that user lingers."""
        if self.machine.scope == "system":
            return ()
        name = self.machine.account.name
        try:
            lingers = _run([self.machine.loginctl, "show-user", name, "--property=Linger", "--value"], "systemd")
        except (UnavailableError, RejectedError):
            lingers = b""
        if lingers.strip() == b"yes":
            return ()
        return (f"lingering is off for {name}: jobs start at login and end with it. loginctl enable-linger {name}",)

    def _change(self, owner: Owner, file: JobFile) -> FileChange:
        path = self.machine.units / file.name
        found = _read(path)
        if found is None:
            return FileChange(str(path), file, Action.CREATE)
        named = Owner.parse(found.partition("\n")[0])
        if not _is_ours(named, owner):
            whose = f"belongs to the project {named.project} in {named.root}" if named else "was not written by AutoGit"
            raise OwnershipError(f"systemd: {path} {whose}", hint="move it away, or set another PROJECT_NAME")
        return FileChange(str(path), file, Action.NOOP if found == file.text else Action.UPDATE)

    def _present(self, owner: Owner) -> Iterator[FileChange]:
        """Yield the units that name this project's folder, under whatever project name."""
        for path in sorted(
            [*self.machine.units.glob("autogit-*.service"), *self.machine.units.glob("autogit-*.timer")]
        ):
            if path.is_symlink() or not path.is_file():
                continue
            text = _read(path) or ""
            if _is_ours(Owner.parse(text.partition("\n")[0]), owner):
                yield FileChange(str(path), JobFile(path.name, text), Action.DELETE)

    def _take_away(self, change: FileChange) -> None:
        if _is_started(change.file):
            self._systemctl("disable", "--now", change.file.name)
        Path(change.where).unlink(missing_ok=True)

    def _start(self, change: FileChange) -> None:
        name = change.file.name
        if change.action is not Action.NOOP:
            self._systemctl("enable", name)
            self._systemctl("restart", name)
            return
        unit = self._properties(name)
        if unit.get("UnitFileState") != "enabled" or unit.get("ActiveState") not in _RUNS:
            self._systemctl("enable", "--now", name)

    def _properties(self, unit: str) -> Mapping[str, str]:
        printed = self._systemctl("show", f"--property={_PROPERTIES}", unit).decode(errors="replace")
        return {key: value for key, _, value in (line.partition("=") for line in printed.splitlines())}

    def _systemctl(self, *words: str) -> bytes:
        scope = ("--user",) if self.machine.scope == "user" else ()
        command = [self.machine.systemctl, *scope, "--no-pager", "--no-ask-password", *words]
        return _run(command, "systemd", uid=self.machine.account.uid if scope else 0)


class CrontabScheduler(Scheduler):
    """One marked block in the account's crontab; every other byte of it stays."""

    kind: ClassVar[Literal["systemd", "crontab"]] = "crontab"

    @property
    def _where(self) -> str:
        return f"crontab of {self.machine.account.name}"

    def compare(self, schedule: Schedule) -> tuple[FileChange, ...]:
        """Return what becomes of the block."""
        table = self._table()
        former = b"".join(part for part in _parts(table) if _is_ours(_block_owner(part), schedule.owner))
        block = b"".join(file.text.encode() for file in schedule.files)
        if not former and not block:
            return ()
        text = (block or former).decode(errors="replace")
        if not block:
            action = Action.DELETE
        elif not former:
            action = Action.CREATE
        else:
            action = Action.NOOP if _replaced(table, schedule) == table else Action.UPDATE
        return (FileChange(self._where, JobFile("crontab", text), action),)

    def install(self, schedule: Schedule) -> None:
        """Hand the table back with the block in its place, or without it."""
        table = self._table()
        wanted = _replaced(table, schedule)
        if wanted != table:
            _run([*self._crontab, "-"], "crontab", given=wanted)

    def state(self, owner: Owner, job: Job) -> JobState:
        """Return nothing: cron tells nobody what it does."""
        del owner, job
        return JobState()

    def advice(self) -> tuple[str, ...]:
        """Say where no cron seems to run: a container often has the program and no daemon."""
        import psutil  # noqa: PLC0415 - heavy

        if any(process.info["name"] in _CRON_DAEMONS for process in psutil.process_iter(["name"])):
            return ()
        return ("no cron daemon runs here: jobs start once it does (systemctl start cron, or service cron start)",)

    @property
    def _crontab(self) -> list[str]:
        other = self.machine.account.uid != os.geteuid()
        return [self.machine.crontab, *(["-u", self.machine.account.name] if other else [])]

    def _table(self) -> bytes:
        """Return the whole table; an account that has none says so by failing (Debian, cronie, busybox)."""
        try:
            return _run([*self._crontab, "-l"], "crontab")
        except RejectedError as exc:
            said = " ".join(exc.context)
            if "no crontab for" in said or "No such file" in said:
                return b""
            raise


def _replaced(table: bytes, schedule: Schedule) -> bytes:
    """Return a table with the schedule's block where the project's block was, or at the end."""
    block = b"".join(file.text.encode() for file in schedule.files)
    parts: list[bytes] = []
    for part in _parts(table):
        if not _is_ours(_block_owner(part), schedule.owner):
            parts.append(part)
        elif block:
            parts.append(block)
            block = b""
    if block and parts and not parts[-1].endswith(b"\n"):
        parts.append(b"\n")
    return b"".join([*parts, block])


def _parts(table: bytes) -> Iterator[bytes]:
    """Split a table into lines and whole blocks. Raises OwnershipError for a block without an end."""
    lines = iter(table.splitlines(keepends=True))
    for line in lines:
        if not line.startswith(b"# BEGIN autogit "):
            yield line
            continue
        end = line.replace(b"BEGIN", b"END", 1).rstrip(b"\r\n")
        block = [line]
        for inner in lines:
            block.append(inner)
            if inner.rstrip(b"\r\n") == end:
                break
        else:
            raise OwnershipError(
                f"crontab: {line.decode(errors='replace').strip()} has no end: what follows may be anybody's",
                hint="crontab -e: put its END line back, or take the block away",
            )
        yield b"".join(block)


def _block_owner(part: bytes) -> Owner | None:
    lines = part.decode(errors="surrogateescape").split("\n")
    return Owner.parse(lines[1]) if lines[0].startswith("# BEGIN autogit ") and len(lines) > 1 else None


def _is_ours(named: Owner | None, owner: Owner) -> bool:
    """Tell whether what names an owner is this project's: its folder counts, or its name where that folder is gone."""
    if named is None:
        return False
    return named.root == owner.root or (named.project == owner.project and _is_gone(named.root))


def _is_gone(folder: Path) -> bool:
    try:
        return not folder.exists()
    except OSError:
        return False  # somebody's, behind a door that is closed for us


def _read(path: Path) -> str | None:
    """Return a file's text, None where there is none. Raises OwnershipError for a link (a masked unit) or a folder."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OwnershipError(
            f"systemd: {path} is no file of AutoGit's: a link or a folder (a masked unit is a link)",
            hint=f"systemctl unmask {path.name}, or move it away",
        )
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise RejectedError(f"systemd: {path} cannot be read: {exc.strerror}", hint="mend its permissions") from exc


def _is_started(file: JobFile) -> bool:
    """Tell whether a unit is enabled and started by itself; a timer's service is not."""
    return "\n[Install]\n" in file.text


def _result(service: Mapping[str, str], job: Job) -> str:
    if job.kind == "service":
        return f"{service.get('Result', '')}, {service.get('NRestarts', '?')} restarts"
    ended = service.get("ExecMainExitTimestamp", "")
    return f"{service.get('Result', '')}, {ended}" if ended else "never ran"


def _run(command: Sequence[str], name: str, *, given: bytes = b"", uid: int = 0) -> bytes:
    """Run a program in plain English and return what it printed. Raises UnavailableError and RejectedError."""
    what = f"{Path(command[0]).name} {' '.join(word for word in command[1:] if not word.startswith('--'))}"
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, env=_environment(uid), timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UnavailableError(f"{name}: {what} cannot be run, or does not end", hint=_HINTS[name]) from exc
    if done.returncode == 0:
        return done.stdout
    said = tuple(done.stderr.decode(errors="replace").splitlines()[-20:])
    reason = f": {said[0]}" if said else ""
    raise RejectedError(f"{name}: {what} failed{reason}", hint=_HINTS[name], context=said)


def _environment(uid: int) -> dict[str, str]:
    """Return the caller's environment in plain English, with the place of the user's systemd (`su` forgets it)."""
    environment = {**os.environ, "LC_ALL": "C"}
    runtime = Path(f"/run/user/{uid}")
    if uid and "XDG_RUNTIME_DIR" not in environment and runtime.is_dir():
        environment["XDG_RUNTIME_DIR"] = str(runtime)
    return environment
