"""Owning one supervisord: its folder, its start and end, and the programs it runs."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autogit.errors import NotReadyError, StorageFullError, UnavailableError
from autogit.model.project import ProjectPaths
from autogit.providers.compute import leftovers
from autogit.providers.compute import supervisor_wire as wire
from autogit.providers.compute.program_conf import ProgramRecord, parse_record, record_text, supervisord_conf

_POLL_SECONDS = 0.05
_SETTLE_BUDGET_SECONDS = 3.0
_END_MARGIN_SECONDS = 5.0
_DOWN = frozenset({"STOPPED", "FATAL"})


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What supervisord says of one program: its state's name, its pid (0: none) and when it began (Unix seconds)."""

    name: str
    state: str
    pid: int
    started: int

    @property
    def service(self) -> str:
        """The service's name."""
        return self.name.rpartition(".")[0]

    @property
    def version(self) -> str:
        """The program's hash."""
        return self.name.rpartition(".")[2]


class Supervisor:
    """One project's supervisord. Every method blocks (call it in a thread); all may be called from several threads.

    Programs are named `<service>.<version>`. What is read needs no running supervisord; what changes something starts
    it. A start begins with no programs: whoever starts it knows which ones are wanted.
    """

    def __init__(self, paths: ProjectPaths, *, budget_seconds: float = 10.0) -> None:
        self._budget_seconds = budget_seconds  # for a predecessor to end, and for supervisord to answer
        self._paths = paths
        self._dir = paths.supervisor
        self._programs = paths.supervisor / "programs"
        self._lock = threading.RLock()

    @property
    def socket(self) -> Path:
        """Where the control socket lies (see `supervisor_wire.socket_path`)."""
        return Path(wire.socket_path(str(self._dir)))

    def infos(self) -> list[ProcessInfo] | None:
        """Return every program that supervisord knows; None where it does not answer."""
        found = wire.process_infos(str(self.socket))
        if found is None:
            return None
        return [ProcessInfo(i["name"], i["statename"], int(i["pid"]), int(i["start"])) for i in found]

    def find(self, name: str) -> ProcessInfo | None:
        """Return one program as supervisord sees it, or None."""
        return next((info for info in self.infos() or () if info.name == name), None)

    def versions(self, service: str) -> list[ProcessInfo]:
        """Return the versions of a service that supervisord knows, the newest started first."""
        found = [info for info in self.infos() or () if info.service == service]
        return sorted(found, key=lambda info: (info.pid > 0, info.started), reverse=True)

    def record(self, name: str) -> ProgramRecord | None:
        """Return what a program was registered with, or None where that is missing or damaged."""
        try:
            return parse_record((self._programs / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def restarts(self, name: str) -> int:
        """Return how often in a row the program ended within seconds of its start, since it was last started by us."""
        return leftovers.quick_restarts(self._programs / f"{name}.starts")

    def pids(self) -> frozenset[int]:
        """Return the pids of every program and its children, those that a killed supervisord left included."""
        running = {info.pid for info in self.infos() or () if info.pid}
        return leftovers.with_children(running, self._programs.glob("*.starts"))

    def add(self, record: ProgramRecord) -> None:
        """Register a program and start it, starting supervisord first where it is down.

        A program of the same name must have been removed. Raises UnsupportedError for values that no process can be
        given, StorageFullError where files cannot be written, UnavailableError and RejectedError for supervisord.
        """
        text = record_text(record)
        with self._lock:
            if self.infos() is None:
                self._start()
            Path(record.directory).mkdir(parents=True, exist_ok=True)
            with self._writing_conf():
                self._write(self._programs / f"{record.name}.json", text)
                self._write_conf()
                self._call("reloadConfig")
                self._call("addProcessGroup", record.name, ignore=frozenset({wire.FAULT_ALREADY_ADDED}))
        self.start(record.name)

    def rewrite(self, record: ProgramRecord) -> None:
        """Record a changed `reload` of a program; the running process is left alone."""
        self._write(self._programs / f"{record.name}.json", record_text(record))

    def start(self, name: str) -> None:
        """Start a registered program; harmless where it runs."""
        self._call("startProcess", name, False, ignore=frozenset({wire.FAULT_ALREADY_STARTED, wire.FAULT_SPAWN_ERROR}))

    def stop(self, name: str) -> None:
        """Stop a program and wait until its process is gone; it stays registered. Harmless where it is down.

        Raises NotReadyError where even SIGKILL did not end it.
        """
        record = self.record(name)
        grace = record.program.stop_grace_seconds if record else 10
        gone = _wait(grace + _END_MARGIN_SECONDS, lambda: self._is_down(name))
        (self._programs / f"{name}.starts").unlink(missing_ok=True)
        if not gone:
            raise NotReadyError(f"embedded: {name} does not end, not even by SIGKILL", hint="autogit doctor")

    def remove(self, name: str) -> None:
        """Stop a program and forget it; its data and logs stay. Harmless where there is none, or no supervisord."""
        with self._lock:
            if self.find(name) is not None:
                self.stop(name)
                self._call("removeProcessGroup", name, ignore=frozenset({wire.FAULT_BAD_NAME}))
            self._forget(name)

    def forget_service(self, service: str) -> None:
        """Delete what is left on disk of a service's programs that supervisord does not know."""
        with self._lock:
            for path in self._programs.glob(f"{service}.*.json"):
                if path.stem.rpartition(".")[0] == service:
                    self._forget(path.stem)

    def signal(self, name: str, signal_name: str) -> None:
        """Send a signal (`HUP`) to a running program. Raises RejectedError where it is down."""
        self._settle(name)
        self._call("signalProcess", name, signal_name)

    def shutdown(self) -> None:
        """End every program, then supervisord, and wait until all are gone. Harmless where nothing runs.

        Raises UnavailableError where supervisord runs and does not answer.
        """
        with self._lock:
            infos = self.infos()
            if infos is not None:
                for info in infos:
                    self._settle(info.name)
                self._call("stopAllProcesses", False)
                grace = self._longest_grace() + _END_MARGIN_SECONDS
                _wait(grace, lambda: all(i.state in _DOWN for i in self.infos() or ()))
                pid = self._call("getPID")
                self._call("shutdown")
                _wait(grace, lambda: not leftovers.is_alive(int(str(pid))))
            elif self._hangs():
                raise self._hanging()
            leftovers.end(self._programs.glob("*.starts"), self._longest_grace())
            if infos is None:
                self.socket.unlink(missing_ok=True)

    def _hangs(self) -> bool:
        """Tell whether a supervisord of this folder lives that does not answer."""
        try:
            with (self._dir / "alive.lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # never started here
        return False

    def _longest_grace(self) -> int:
        records = (self.record(path.stem) for path in self._programs.glob("*.json"))
        return max((r.program.stop_grace_seconds for r in records if r), default=10)

    def _is_down(self, name: str) -> bool:
        info = self.find(name)
        if info is None or info.state in _DOWN:
            return True
        if info.state == "RUNNING":
            self._settle(name)
        if info.state != "STOPPING":  # EXITED and BACKOFF too: supervisord is about to start it again
            self._call("stopProcess", name, False, ignore=frozenset({wire.FAULT_NOT_RUNNING, wire.FAULT_BAD_NAME}))
            info = self.find(name)
        return info is None or info.state in _DOWN

    def _settle(self, name: str) -> None:
        """Wait until the launcher runs: a signal between supervisord's fork and exec would be lost."""

        def settled() -> bool:
            info = self.find(name)
            return info is None or not info.pid or leftovers.noted_pid(self._programs / f"{name}.starts") == info.pid

        _wait(_SETTLE_BUDGET_SECONDS, settled)

    def _start(self) -> None:
        """Start supervisord with no programs; what a killed one left behind (processes, files) is cleared first.

        supervisord inherits a locked file, so the lock tells whether one lives, be it starting, hanging or ending.
        """
        self._prepare()
        lock = os.open(self._dir / "alive.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if self._is_alone(lock):
                leftovers.end(self._programs.glob("*.starts"), self._longest_grace())
                with self._writing_conf():
                    for path in (*self._programs.iterdir(), self.socket, self._dir / "supervisord.pid"):
                        path.unlink(missing_ok=True)
                    self._write_conf()
                self._spawn(lock)
        finally:
            os.close(lock)

    def _is_alone(self, lock: int) -> bool:
        """Take the lock, waiting for a predecessor to end; False where one has come up meanwhile."""
        deadline = time.monotonic() + self._budget_seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.infos() is not None:
                    return False
            else:
                return True
            if time.monotonic() > deadline:
                raise self._hanging()
            time.sleep(_POLL_SECONDS)

    def _hanging(self) -> UnavailableError:
        try:
            pid = (self._dir / "supervisord.pid").read_text(encoding="ascii").strip()
        except OSError:
            pid = "unknown"
        hint = f"kill -9 {pid}, then autogit up"
        return UnavailableError(f"embedded: supervisord (pid {pid}) runs but does not answer", hint=hint)

    def _spawn(self, lock: int) -> None:
        command = [sys.executable, "-I", "-X", "utf8", "-m", "supervisor.supervisord", "-c", "supervisord.conf"]
        ended = subprocess.run(
            command,
            cwd=self._dir,
            env={
                name: os.environ[name]
                for name in ("PATH", "HOME", "LANG", "AUTOGIT_IDENTITY_FILE")
                if name in os.environ
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=(lock,),
            start_new_session=True,
            check=False,
        )
        if ended.returncode != 0 or not _wait(self._budget_seconds, lambda: self.infos() is not None):
            raise UnavailableError(
                f"embedded: supervisord does not start (exit {ended.returncode})",
                hint=f"read {self._dir / 'supervisord.log'}",
                context=(ended.stdout + ended.stderr).splitlines()[-20:],
            )

    def _prepare(self) -> None:
        try:
            for folder in (self._paths.state, self._dir, self._programs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dir.chmod(0o700)
            self._paths.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageFullError(f"embedded: cannot make {self._dir}: {exc.strerror}") from exc
        if self.socket.parent != self._dir:
            ensure_private(self.socket.parent)

    @contextmanager
    def _writing_conf(self) -> Iterator[None]:
        """Keep every other process from writing the programs' files until supervisord has read what they say now."""
        lock = os.open(self._dir / "conf.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write_conf(self) -> None:
        records = [r for path in self._programs.glob("*.json") if (r := self.record(path.stem))]
        own = self.socket.parent == self._dir
        text = supervisord_conf(
            records,
            socket=self.socket.name if own else str(self.socket),
            logs=os.path.relpath(self._paths.logs, self._dir),
            launcher=(sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))),
        )
        self._write(self._dir / "supervisord.conf", text)

    def _write(self, path: Path, text: str) -> None:
        fresh = path.with_name(f".{path.name}.new")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            fresh.replace(path)
        except OSError as exc:
            raise StorageFullError(f"embedded: cannot write {path}: {exc.strerror}") from exc

    def _forget(self, name: str) -> None:
        # Where supervisord was killed, a process that ignored that may still hold its port.
        leftovers.end([self._programs / f"{name}.starts"], self._longest_grace())
        if not self._dir.is_dir():
            return
        with self._writing_conf():
            for suffix in (".json", ".starts", ".starts.new"):
                (self._programs / f"{name}{suffix}").unlink(missing_ok=True)
            self._write_conf()

    def _call(self, method: str, *params: object, ignore: frozenset[int] = frozenset()) -> object:
        return wire.call(str(self.socket), method, *params, ignore=ignore)


def ensure_private(folder: Path) -> None:
    """Make a folder that only this user can enter; raises UnavailableError where it is somebody else's or open."""
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        raise UnavailableError(
            f"embedded: {folder} is not a folder that only this user can enter",
            hint=f"remove {folder}, or move the project to a shorter path (it holds supervisord's socket)",
        )


def _wait(budget_seconds: float, done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + budget_seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
