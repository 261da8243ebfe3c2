"""What GitLab checks before it takes a push, and what it does after one: the two hooks."""

from __future__ import annotations

import re

from tests.fakes.gitlab.protection import may_push, protect_default_branch, rules_of
from tests.fakes.gitlab.state import DEVELOPER, now

_HASH = re.compile(r"\A[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HASH_BRANCH = re.compile(r"\A[0-9a-f]{40}(?:[0-9a-f]{24})?(/|\Z)")
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize \d+\n")
_POINTER_BYTES = 200
"""What Gitaly looks at: pointers are smaller."""


class RefusedError(Exception):
    """The push is declined with this message."""


class Change:
    """One line of a push."""

    def __init__(self, line):
        self.old, self.new, self.ref = line.split(" ", 2)
        self.branch = self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None
        self.tag = self.ref.removeprefix("refs/tags/") if self.ref.startswith("refs/tags/") else None

    @property
    def creates(self):
        return not self.old.strip("0")

    @property
    def deletes(self):
        return not self.new.strip("0")


class Push:
    """A push as the hook tells it."""

    def __init__(self, core, given):
        self.core = core
        self.project = core.state.projects[int(given["project"])]
        self.is_wiki = given["wiki"] == "1"
        self.user = core.state.users[int(given["user"])]
        self.directory = given["directory"]
        self.environment = given["environment"]
        self.changes = [Change(line) for line in given["changes"].splitlines()]

    def git(self, *arguments, given=None):
        """In the repository as the hook sees it: with what is pushed, still in quarantine."""
        return self.core.repositories.git(self.directory, *arguments, given=given, environment=self.environment)


def pre_receive(core, given):
    """Whether the push is refused, and what its user reads."""
    if core.faults.disk_full:
        return True, "fatal: write error: No space left on device"
    push = Push(core, given)
    try:
        with core.state.lock:
            if not push.is_wiki:
                _check_changes(push)
        if not push.is_wiki and push.project.lfs_enabled:
            _check_lfs(push)
    except RefusedError as refusal:
        return True, f"GitLab: {refusal}"
    return False, ""


def _check_changes(push):
    is_empty = push.core.repositories.is_empty(push.project)
    if not push.user.admin and push.core.state.role(push.user, push.project) < DEVELOPER:
        raise RefusedError("You are not allowed to push code to this project.")
    for change in push.changes:
        if change.branch is not None:
            _check_branch(push, change, is_empty=is_empty)
        if change.tag is not None:
            _check_tag(push, change, is_empty=is_empty)


def _check_branch(push, change, *, is_empty):
    project, branch = push.project, change.branch
    if change.deletes and not is_empty and branch == push.core.repositories.head(project):
        raise RefusedError("The default branch of a project cannot be deleted.")
    if not change.deletes and _HASH_BRANCH.match(branch):
        raise RefusedError("You cannot create a branch with a SHA-1 or SHA-256 branch name.")
    if not (rules := rules_of(project, branch)):
        return
    is_forced = not change.creates and not change.deletes and _is_forced(push, change)
    if is_forced and not all(entry["allow_force_push"] for entry in rules):
        raise RefusedError("You are not allowed to force push code to a protected branch on this project.")
    if change.deletes:
        raise RefusedError("You can only delete protected branches using the web interface.")
    if not may_push(push.core, project, push.user, branch):
        verb = "create" if change.creates and not is_empty else "push code to"
        raise RefusedError(f"You are not allowed to {verb} protected branches on this project.")


def _is_forced(push, change):
    lost = push.git("rev-list", "--max-count=1", change.old, f"^{change.new}", "--")
    return bool(lost and lost.strip())


def _check_tag(push, change, *, is_empty):
    if change.deletes:
        return
    if change.creates and not is_empty and change.tag == push.core.repositories.head(push.project):
        raise RefusedError("You cannot use default branch name to create a tag")
    if change.tag.startswith(("-", "refs/heads/", "refs/remotes/", "refs/tags/")) or change.tag == "HEAD":
        raise RefusedError("You cannot create a tag with a prohibited pattern.")
    if _HASH.match(change.tag):
        raise RefusedError("You cannot create a tag with a SHA-1 or SHA-256 tag name.")


def _check_lfs(push):
    """Refuse pointers whose object the project does not have."""
    news = [change.new for change in push.changes if not change.deletes]
    if not news:
        return
    small = f"--filter=combine:blob:limit={_POINTER_BYTES}+object:type=blob"
    options = ("--objects", small, "--filter-provided-objects", "--stdin", "--not", "--all")
    listed = push.git("rev-list", *options, given="\n".join(news) + "\n")
    if listed is None:
        raise RuntimeError("git rev-list failed")
    blobs = "".join(f"{line.split(' ', 1)[0]}\n" for line in listed.splitlines())
    if not blobs:
        return
    content = (push.git("cat-file", "--batch", given=blobs) or "").encode("utf-8", "surrogateescape")
    if not {oid.decode() for oid in _POINTER.findall(content)} <= push.project.lfs:
        text = 'LFS objects are missing. Ensure LFS is properly set up or try a manual "git lfs push --all".'
        raise RefusedError(text)


def post_receive(core, given):
    """What follows a push: the first branch becomes the protected default; then what the user is told."""
    push = Push(core, given)
    with core.state.lock:
        settle_default_branch(core, push.project, wiki=push.is_wiki)
        push.project.last_activity_at = now()
        return False, push.project.messages.pop(push.user.id, "")


def settle_default_branch(core, project, *, wiki=False):
    """Let HEAD name a branch that is there."""
    repositories = core.repositories
    if repositories.is_empty(project, wiki=wiki):
        return
    path = repositories.path(project, wiki=wiki)
    head = repositories.head(project, wiki=wiki)
    if repositories.git(path, "show-ref", "-q", "--verify", f"refs/heads/{head}") is None:
        listed = repositories.git(path, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads") or ""
        names = listed.splitlines()
        chosen = next((one for one in ("main", "master") if one in names), names[0])
        repositories.set_head(project, chosen, wiki=wiki)
    if not wiki:
        protect_default_branch(core, project)
