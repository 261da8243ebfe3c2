"""A real dnsmasq on a random port of 127.0.0.1, with folders of its own and a command that restarts it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import psutil

from tests.tools import require_tool

_SETTLE_SECONDS = 10.0
_RESTART = """\
#!/bin/sh
# What `systemctl restart dnsmasq` does: a configuration with faults leaves it stopped.
cd {folder} || exit 1
echo restarted >> restarts
[ ! -s pid ] || kill "$(cat pid)" 2> kill.log
rm -f pid
{program} --test -C main.conf || exit 1
tries=0
until {program} -C main.conf; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || exit 1
    sleep 0.05
done
"""


class Dnsmasq:
    """Where it is and what is said of it; `option` lines are those of its main configuration."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.conf_dir = folder / "conf"
        self.hosts_dir = folder / "hosts"
        self.config = folder / "main.conf"
        self.port = free_port()
        self.program = require_tool("dnsmasq")
        self.restart_command = shlex.join(["/bin/sh", str(folder / "restart")])
        for made in (self.conf_dir, self.hosts_dir):
            made.mkdir(parents=True)
        (folder / "restart").write_text(
            _RESTART.format(folder=shlex.quote(str(folder)), program=shlex.quote(self.program))
        )
        self.configure(*options)

    @property
    def server(self):
        return f"127.0.0.1:{self.port}"

    @property
    def restarts(self):
        """How often it was started."""
        return len((self.folder / "restarts").read_text().splitlines())

    def configure(self, *options, folders=True):
        """Write the main configuration."""
        read = [f"conf-dir={self.conf_dir},*.conf", f"hostsdir={self.hosts_dir}"] if folders else []
        lines = [
            *(f"port={self.port}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts"),
            # As root it would become somebody who may not enter a folder of pytest's.
            *(f"user={getpass.getuser()}", f"pid-file={self.folder}/pid", f"log-facility={self.folder}/log"),
            *read,
            *options,
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def restart(self):
        subprocess.run(shlex.split(self.restart_command), check=True, capture_output=True, timeout=30)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(dns.exception.Timeout, OSError):
                self.ask("ready.test", "A")
                return
        raise AssertionError(f"dnsmasq does not answer: {(self.folder / 'log').read_text()}")

    def ask(self, name, kind):
        """The response to a question."""
        question = dns.message.make_query(name, kind)
        return dns.query.udp_with_fallback(question, "127.0.0.1", 0.5, self.port)[0]

    def values(self, name, kind):
        """What is answered for a name and type, the texts of a zone file, sorted."""
        return sorted(rdata.to_text() for rrset in self.ask(name, kind).answer for rdata in rrset)

    def stop(self):
        """End it by its own pid; harmless where it does not run."""
        pid_file = self.folder / "pid"
        if not pid_file.is_file():
            return
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process = psutil.Process(int(pid_file.read_text()))
            os.kill(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + _SETTLE_SECONDS
            while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
                time.sleep(0.01)
        pid_file.unlink(missing_ok=True)


def free_port():
    """A port that is free for UDP and TCP just now."""
    for _ in range(100):
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                datagram.bind(stream.getsockname())
                return stream.getsockname()[1]
    raise AssertionError("no port is free for both")


@contextlib.contextmanager
def dnsmasq_server(folder, *options):
    """Run one; what it was made of stays in its folder."""
    server = Dnsmasq(folder, *options)
    try:
        server.restart()
        yield server
    finally:
        server.stop()
