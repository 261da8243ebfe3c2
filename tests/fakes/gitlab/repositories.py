"""The bare repositories on disk, and what is asked of git about them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HIDDEN = ("refs/keep-around/", "refs/remotes/", "refs/tmp/")
"""Gitaly neither shows nor takes these."""
READ_ONLY = ("refs/environments/", "refs/merge-requests/", "refs/pipelines/")
"""Gitaly shows these and does not take them."""

_CONFIG = """\
[init]
	templateDir =
[core]
	hooksPath = {hooks}
	alternateRefsCommand = "exit 0 #"
[receive]
	advertisePushOptions = true
{not_taken}
	autogc = false
[receive "fsck"]
	badTimezone = ignore
	missingSpaceBeforeDate = ignore
	zeroPaddedFilemode = ignore
[transfer]
	fsckObjects = true
[uploadpack]
	allowFilter = true
	allowAnySHA1InWant = true
{not_shown}
[http]
	receivepack = true
	uploadpack = true
[gc]
	auto = 0
[safe]
	directory = *
"""
_BARE = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
_BARE_SHA256 = f"{_BARE.replace('= 0', '= 1')}[extensions]\n\tobjectformat = sha256\n"
_HOOK = """\
#!{python} -IS
import json, os, socket, sys
name = os.path.basename(sys.argv[0])
given = {{
    "hook": name,
    "project": os.environ["FAKE_GITLAB_PROJECT"],
    "wiki": os.environ["FAKE_GITLAB_WIKI"],
    "user": os.environ["FAKE_GITLAB_USER"],
    "directory": os.path.realpath(os.environ.get("GIT_DIR", ".")),
    "environment": {{key: value for key, value in os.environ.items() if key.startswith("GIT_")}},
    "changes": sys.stdin.buffer.read().decode("utf-8", "surrogateescape"),
}}
body = json.dumps(given).encode()
with socket.create_connection(("127.0.0.1", int(os.environ["FAKE_GITLAB_PORT"]))) as connection:
    lines = ["POST /__fake__/hook HTTP/1.1", "Host: fake", "Connection: close"]
    lines += ["X-Key: " + os.environ["FAKE_GITLAB_KEY"], "Content-Length: %d" % len(body), "", ""]
    connection.sendall("\\r\\n".join(lines).encode() + body)
    with connection.makefile("rb") as reply:
        answer = reply.read()
refused, text = json.loads(answer.split(b"\\r\\n\\r\\n", 1)[1])
if text:
    print(text, file=sys.stderr)
sys.exit(1 if refused else 0)
"""


class Repositories:
    """One folder for all of them; names are numbers, as GitLab's hashed storage never has paths either."""

    def __init__(self, root: Path):
        self._root = root
        self._folder = root / "repositories"
        self._config = root / "gitconfig"
        hooks = root / "hooks"
        for folder in (self._folder, hooks, root / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        not_taken = "\n".join(f"\thideRefs = {prefix}" for prefix in (*HIDDEN, *READ_ONLY))
        not_shown = "\n".join(f"\thideRefs = {prefix}" for prefix in HIDDEN)
        self._config.write_text(_CONFIG.format(hooks=hooks, not_taken=not_taken, not_shown=not_shown))
        for name in ("pre-receive", "post-receive"):
            (hooks / name).write_text(_HOOK.format(python=sys.executable))
            (hooks / name).chmod(0o755)

    @property
    def folder(self):
        return self._folder

    def path(self, project, *, wiki=False):
        return self._folder / self.name(project, wiki=wiki)

    @staticmethod
    def name(project, *, wiki=False):
        return f"{project.id}.wiki.git" if wiki else f"{project.id}.git"

    def environment(self):
        """For git: nothing of the machine's or the test's own settings."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._root / "home"),
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": str(self._config),
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def git(self, directory, *arguments, given=None, environment=None):
        """Run git there; its output as text, or None where it failed."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            input=None if given is None else given.encode("utf-8", "surrogateescape"),
            env=self.environment() | (environment or {}),
            capture_output=True,
            check=False,
        )
        return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None

    def create(self, project, branch, *, wiki=False):
        """A bare repository as `git init` leaves it, without the time it takes: tests make hundreds."""
        path = self.path(project, wiki=wiki)
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (path / folder).mkdir(parents=True)
        (path / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
        (path / "config").write_text(_BARE if project.object_format == "sha1" else _BARE_SHA256)

    def delete(self, project):
        for wiki in (False, True):
            shutil.rmtree(self.path(project, wiki=wiki), ignore_errors=True)

    def is_empty(self, project, *, wiki=False):
        """Whether there is no branch, told from the files: lists of projects ask it for each."""
        path = self.path(project, wiki=wiki)
        if any(files for _, _, files in os.walk(path / "refs" / "heads")):
            return False
        packed = path / "packed-refs"
        return not packed.is_file() or b" refs/heads/" not in packed.read_bytes()

    def head(self, project, *, wiki=False):
        """The branch that HEAD names, there or not."""
        text = (self.path(project, wiki=wiki) / "HEAD").read_text().strip()
        return text.removeprefix("ref: refs/heads/")

    def set_head(self, project, branch, *, wiki=False):
        self.git(self.path(project, wiki=wiki), "symbolic-ref", "HEAD", f"refs/heads/{branch}")

    def refs(self, project, prefix):
        """Names below a prefix with what they point to: (name, object, commit)."""
        layout = "%(refname)%00%(objectname)%00%(*objectname)"
        text = self.git(self.path(project), "for-each-ref", f"--format={layout}", prefix) or ""
        found = (line.split("\0") for line in text.splitlines())
        return [(name.removeprefix(f"{prefix}/"), made, peeled or made) for name, made, peeled in found]

    def branches(self, project):
        return [(name, commit) for name, _, commit in self.refs(project, "refs/heads")]

    def resolve(self, project, revision, kind="commit"):
        """The object that a revision names, or None."""
        text = self.git(self.path(project), "rev-parse", "-q", "--verify", "--end-of-options", f"{revision}^{{{kind}}}")
        return text.strip() if text else None

    def commit(self, project, revision):
        """What the API shows of a commit; None if it is none."""
        layout = "%H%x00%h%x00%s%x00%B%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%P"
        text = self.git(self.path(project), "log", "-1", f"--format={layout}", revision, "--")
        if not text:
            return None
        parts = text.rstrip("\n").split("\0")
        return {
            "id": parts[0],
            "short_id": parts[0][:8],
            "created_at": parts[9],
            "parent_ids": parts[10].split(),
            "title": parts[2],
            "message": parts[3],
            "author_name": parts[4],
            "author_email": parts[5],
            "authored_date": parts[6],
            "committer_name": parts[7],
            "committer_email": parts[8],
            "committed_date": parts[9],
            "trailers": {},
            "extended_trailers": {},
        }

    def size_bytes(self, project):
        return sum(file.stat().st_size for file in self.path(project).rglob("*") if file.is_file())
