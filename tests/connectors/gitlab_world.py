"""A fake GitLab as AutoGit finds it: its API, its health checks, and programs that run where it runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import requests

from autogit.connectors.gitlab import GitLabPlace
from autogit.connectors.gitlab_wait import Looks, Time
from autogit.errors import RejectedError
from autogit.operations.gitlab_access import Access
from tests.fakes.gitlab import FakeGitLab
from tests.tools import find_tool

HOST_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----\n"


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self):
        self.seconds = 0.0
        self.slept = []

    def now(self):
        return self.seconds

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds

    def sleep_now(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds


class World:
    """The fake, a folder that stands for /etc/gitlab, and everything that was executed."""

    def __init__(self, folder: Path):
        self.fake = FakeGitLab(folder / "gitlab")
        self.etc, self.programs = folder / "etc-gitlab", folder / "bin"
        self.etc.mkdir(parents=True)
        (self.etc / "gitlab-secrets.json").write_text('{"gitlab_rails": {"secret_key_base": "canary-base"}}\n')
        (self.etc / "ssh_host_ed25519_key").write_text(HOST_KEY)
        (self.etc / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAAC3Nza root@gitlab\n")
        (self.etc / "gitlab.rb").write_text("# the user's own\n")
        self.container = "running"
        self.executed: list[tuple[tuple[str, ...], bytes]] = []
        self.clock = Clock()

    def __enter__(self):
        self.fake.__enter__()
        self.fake.write_rails(self.programs)
        return self

    def __exit__(self, *ending):
        self.fake.__exit__(*ending)

    @property
    def rails_runs(self):
        return sum(1 for argv, _ in self.executed if argv[0] == "gitlab-rails")

    def place(self, **more):
        return GitLabPlace(self.fake.url, timeout_seconds=10, sleep=self.clock.sleep_now, **more)

    def access(self):
        return Access(self.place(), self.execute, Looks(self.look, self.page), Time(self.clock.now, self.clock.sleep))

    async def look(self):
        return self.container

    async def page(self, path):
        return await asyncio.to_thread(self._page, path)

    def _page(self, path):
        try:
            return requests.get(f"{self.fake.url}{path}", timeout=10, allow_redirects=False).status_code
        except requests.RequestException:
            return 0

    async def execute(self, argv, stdin):
        self.executed.append((tuple(argv), stdin))
        command = [word.replace("/etc/gitlab", str(self.etc)) for word in argv]
        ruby = find_tool("ruby")
        places = [str(self.programs), *([os.path.dirname(ruby)] if ruby else []), os.environ["PATH"]]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            input=stdin,
            capture_output=True,
            env=os.environ | {"PATH": os.pathsep.join(places)},
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RejectedError(f"docker: {argv[0]} failed", context=done.stderr.decode().splitlines())
        return done.stdout
