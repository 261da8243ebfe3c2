"""Protected branches: which rule covers a branch, and the one that a default branch gets by itself."""

from __future__ import annotations

import re

from tests.fakes.gitlab.state import DEVELOPER, MAINTAINER


def covers(name, branch):
    """Whether a rule's name, wildcards and all, is that of a branch."""
    return re.fullmatch(".*".join(re.escape(part) for part in name.split("*")), branch) is not None


def rules_of(project, branch):
    return [entry for entry in project.protected if covers(entry["name"], branch)]


def add_rule(core, project, name, *, push=MAINTAINER, merge=MAINTAINER, allow_force_push=False):
    entry = {
        "id": core.state.next_id("protected_branch"),
        "name": name,
        "push": [(core.state.next_id("access_level"), push)],
        "merge": [(core.state.next_id("access_level"), merge)],
        "allow_force_push": allow_force_push,
    }
    project.protected.append(entry)
    return entry


def may_push(core, project, user, branch):
    """Whether a user may push to a protected branch; each rule that covers it must let him."""
    if user.admin:
        return all(level > 0 for entry in rules_of(project, branch) for _, level in entry["push"])
    role = core.state.role(user, project)
    return any(0 < level <= role for entry in rules_of(project, branch) for _, level in entry["push"])


def protect_default_branch(core, project):
    """Protect the default branch as the group or the instance has it, unless a rule is there already."""
    if core.repositories.is_empty(project):
        return
    branch = core.repositories.head(project)
    wanted = _defaults(core, project)
    push, merge = _level(wanted, "allowed_to_push"), _level(wanted, "allowed_to_merge")
    is_open = push == DEVELOPER and bool(wanted.get("allow_force_push"))
    if not wanted or is_open or rules_of(project, branch):
        return
    add_rule(core, project, branch, push=push, merge=merge, allow_force_push=bool(wanted.get("allow_force_push")))


def _defaults(core, project):
    place = core.state.namespaces.get(project.namespace_id)
    while place is not None:
        if (own := place.attributes.get("default_branch_protection_defaults")) is not None:
            return own
        place = core.state.namespaces.get(place.parent_id)
    return core.state.settings["default_branch_protection_defaults"] or {}


def _level(wanted, name):
    levels = [int(entry["access_level"]) for entry in wanted.get(name) or []]
    return min(levels) if levels else MAINTAINER
