"""The folder of a Docker daemon of our own: how it is started there, and how all that it left is removed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import zlib
from contextlib import suppress
from pathlib import Path

import psutil

_FILES = ("data", "exec", "log", "docker.pid", "docker.sock", "daemon.json", "holder", "holder.pid", "owner", "runtime")

_SYS_RESOURCE = 24
_RUNTIME = """\
#!/bin/sh
for word in "$@"; do
    case ${last:-} in
        --bundle) wishes=$word/config.json ;;
        --process) wishes=$word ;;
    esac
    last=$word
done
[ -z "${wishes:-}" ] || sed -i 's/,"CAP_SYS_RESOURCE"//g' "$wishes"
exec runc "$@"
"""


def find_program(name):
    """Where a program is, None without."""
    # Root's programs may not be on a user's PATH.
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def daemon_command(folder, path):
    """The words that start a daemon on the data of a folder."""
    (folder / "daemon.json").write_text(json.dumps(_own_runtime(folder)))
    return [
        *("setsid", "-f"),  # it is nobody's child, so that whoever ends it need not be who started it
        *_own_mounts(folder),
        find_program("dockerd"),
        *("--config-file", str(folder / "daemon.json")),
        *("--data-root", str(folder / "data")),
        *("--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "docker.pid")),
        *("-H", f"unix://{path}"),
        # Small networks, for the default ones run out after some thirty.
        *("--default-address-pool", "base=10.213.0.0/16,size=24"),
        *_own_bridge(folder),
    ]


def _own_runtime(folder):
    """Settings of a runtime that leaves out what this machine has itself taken from root.

    A privileged container gets every capability; sandboxes often lack SYS_RESOURCE, and runc fails on that.
    """
    status = Path("/proc/self/status").read_text()
    bounding = int(re.search(r"CapBnd:\s*(\w+)", status)[1], 16)
    if bounding >> _SYS_RESOURCE & 1:
        return {}
    script = folder / "runtime"
    script.write_text(_RUNTIME)
    script.chmod(0o755)
    return {"runtimes": {"bounded": {"path": str(script)}}, "default-runtime": "bounded"}


def _bridge_name(folder):
    return f"agt{zlib.crc32(str(folder).encode()):08x}"


def _own_bridge(folder):
    """Arguments for a default bridge of its own, so that two daemons do not hand out the same addresses on docker0."""
    tool, name = find_program("ip"), _bridge_name(folder)
    if tool is None:
        return []
    if not Path("/sys/class/net", name).exists():
        address = f"10.214.{zlib.crc32(name.encode()) % 256}.1/24"
        for words in (f"link add {name} type bridge", f"address add {address} dev {name}", f"link set {name} up"):
            if subprocess.run([tool, *words.split()], capture_output=True, check=False).returncode:
                return []
    return ["--bridge", name]


def _own_mounts(folder):
    """Words before the command that run it among mounts that can be shared, where those of this machine are not.

    A container that wants the host's file systems as they change (`rslave`) starts only there.
    """
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    shared = any(fields[4] == "/" and any(x.startswith("shared:") for x in fields[6:]) for fields in mounts)
    if shared or not (find_program("unshare") and find_program("nsenter")):
        return []
    fifo, note = folder / "holder", folder / "holder.pid"
    if not fifo.exists():
        os.mkfifo(fifo)
        # It keeps the mounts while the daemon is down: containers outlive a crash of it.
        script = 'echo $$ >"$0.new" && mv "$0.new" "$0.pid" && read -r _ <>"$0"'
        command = ["setsid", "-f", "unshare", "--mount", "--propagation", "shared", "sh", "-c", script, str(fifo)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, **quiet)
        deadline = time.monotonic() + 10
        while not note.exists():
            if time.monotonic() > deadline:
                return []
            time.sleep(0.01)
    return ["nsenter", "--mount", "--target", note.read_text().strip()]


def _end_processes(folder):
    """End what names our folder: a daemon, the shims of its containers and these, the holder of its mounts."""
    ours = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words, name = process.cmdline(), process.name()
            holder = bool(words) and words[-1] == f"{folder}/holder"
            if holder or (name.startswith(("dockerd", "containerd")) and f"{folder}/" in " ".join(words)):
                ours += [*process.children(recursive=True), process]
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ours, timeout=10)


def _remove_bridges(folder):
    """Remove the bridges of networks that the daemon knew, and its own."""
    tool, names = find_program("ip"), {_bridge_name(folder)}
    with suppress(OSError):
        known = (folder / "data" / "network" / "files" / "local-kv.db").read_bytes()
        names |= {f"br-{found.decode()[:12]}" for found in re.findall(rb'"id":"([0-9a-f]{64})"', known)}
    for name in names:
        if tool and Path("/sys/class/net", name).exists():
            subprocess.run([tool, "link", "delete", name], capture_output=True, check=False)


def _unmount(folder):
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted((p for p in places if p.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def remove_leftovers(folder):
    """Remove what a daemon that has ended left: processes, bridges, mounts, files."""
    _end_processes(folder)
    _remove_bridges(folder)
    _unmount(folder)
    for path in (folder / name for name in _FILES):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
