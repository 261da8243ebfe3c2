"""Clients for tests: python-gitlab at a fake, and a working copy whose git knows nothing of the machine's settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import gitlab
from tests.tools import find_tool


def connect(fake, token=None, **options):
    """python-gitlab for a token; without one a new token of root with the scope api."""
    return gitlab.Gitlab(fake.url, private_token=token or fake.seed_admin_token(), **options)


def git_environment():
    """No settings of the machine, no questions; git-lfs from where the tests have it."""
    lfs = find_tool("git-lfs")
    places = [str(Path(lfs).parent)] if lfs else []
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _WHO.items()}
    return who | {
        "PATH": os.pathsep.join([*places, os.environ.get("PATH", os.defpath)]),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "0",
    }


_WHO = {"NAME": "Ada", "EMAIL": "ada@example.com"}


def run_git(folder, *arguments, **environment):
    """git there, its output kept; whether it worked is the caller's question."""
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=git_environment() | environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=100,
        check=False,
    )


class WorkingCopy:
    """A repository with a working tree, for pushing from."""

    def __init__(self, folder: Path, *, branch="main", object_format="sha1"):
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", f"--initial-branch={branch}", f"--object-format={object_format}")

    def git(self, *arguments, **environment):
        """Run git; its standard output. It must work."""
        done = run_git(self.folder, *arguments, **environment)
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def try_git(self, *arguments, **environment):
        """Run git; the finished process."""
        return run_git(self.folder, *arguments, **environment)

    def commit(self, name="file.txt", text="text\n", message="a change"):
        """Write a file and commit it; the commit."""
        (self.folder / name).write_text(text)
        self.git("add", "--", name)
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


def git_url(fake, path, token=None, name="oauth2"):
    """The address of a repository, with the token in it: fit for tests only."""
    root = fake.url if token is None else fake.url.replace("://", f"://{name}:{token}@")
    return f"{root}/{path}.git"
