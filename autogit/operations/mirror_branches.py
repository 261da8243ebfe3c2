"""A mirror's branches in GitLab: what protects them gives way where a push needs it; the default is the source's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping

from autogit.connectors.gitlab_projects import MirrorProject, MirrorProjects
from autogit.model.mirror import Advertisement
from autogit.providers.git.bare import BareCopy
from autogit.providers.git.push import pushed_before
from autogit.providers.git.runner import Call

HEADS = "refs/heads/"
STAND_IN = "autogit-default"
"""The branch that is the default one while the default is replaced: GitLab deletes no default branch."""

_RESTORED = "refs/heads/autogit-restored/"
_FIRST_CHOICES = ("refs/heads/main", "refs/heads/master")


def default_branch(head: str, refs: Mapping[str, str]) -> str:
    """Return the full name of the branch that a project has to show first: the source's, or else some branch."""
    branches = sorted(name for name in refs if name.startswith(HEADS) and not name.startswith(_RESTORED))
    return next((one for one in (head, *_FIRST_CHOICES, *branches) if one.startswith(HEADS) and one in refs), "")


class Branches:
    """The branches of one project. `name` is what the copy knows the project by."""

    def __init__(self, projects: MirrorProjects, project: MirrorProject, copy: BareCopy, name: str) -> None:
        self._projects = projects
        self._project = project
        self._copy = copy
        self._name = name

    async def make_way(self, wanted: Mapping[str, str], found: Advertisement) -> None:
        """Loosen the rules that hold up what has to be forced or deleted, and no others."""
        ours = pushed_before(self._copy, self._name)
        changed = {name for name, old in found.refs.items() if name.startswith(HEADS) and wanted.get(name) != old}
        gone = {name for name in changed if name not in wanted and name in ours}
        moved = changed & wanted.keys()
        if not gone and not moved:
            return
        if found.head in gone and default_branch("", wanted):
            await self._stand_in(found)
        for rule, may_force in (await asyncio.to_thread(self._projects.protections, self._project)).items():
            if any(_covers(rule, name) for name in gone):
                await asyncio.to_thread(self._projects.unprotect, self._project, rule)
            elif not may_force and await self._is_forced(wanted, found, [one for one in moved if _covers(rule, one)]):
                await asyncio.to_thread(self._projects.allow_force, self._project, rule)

    async def settle(self, branch: str, found: Advertisement) -> bool:
        """Make a branch the default one, and take the stand-in away; return whether something was to be done."""
        is_changed = branch in found.refs and found.head != branch
        if is_changed:
            await self._set_default(branch.removeprefix(HEADS))
        stands_in = f"{HEADS}{STAND_IN}" in found.refs and branch != f"{HEADS}{STAND_IN}"
        if stands_in and (is_changed or found.head == branch):
            rules = await asyncio.to_thread(self._projects.protections, self._project)
            if STAND_IN in rules:
                await asyncio.to_thread(self._projects.unprotect, self._project, STAND_IN)
            await asyncio.to_thread(self._projects.delete_branch, self._project, STAND_IN)
        return is_changed or stands_in

    async def _stand_in(self, found: Advertisement) -> None:
        if f"{HEADS}{STAND_IN}" not in found.refs:
            await asyncio.to_thread(self._projects.create_branch, self._project, STAND_IN, found.refs[found.head])
        await self._set_default(STAND_IN)

    async def _set_default(self, branch: str) -> None:
        await asyncio.to_thread(self._projects.set_default_branch, self._project, branch)

    async def _is_forced(self, wanted: Mapping[str, str], found: Advertisement, names: Iterable[str]) -> bool:
        for name in names:
            words = ("merge-base", "--is-ancestor", found.refs[name], wanted[name])
            if (await self._copy.run(Call(words, accept=(0, 1, 128), budget_seconds=600))).code:
                return True
        return False


def _covers(rule: str, ref: str) -> bool:
    """Tell whether a rule, with its wildcards, protects a branch."""
    pattern = ".*".join(re.escape(part) for part in rule.split("*"))
    return re.fullmatch(pattern, ref.removeprefix(HEADS)) is not None
