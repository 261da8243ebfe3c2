"""Finds what a call names, and refuses what its user may not do with it."""

from __future__ import annotations

from tests.fakes.gitlab.state import OWNER, VISIBILITIES
from tests.fakes.gitlab.web import ApiError, forbidden, not_found


def find_project(call, least=0, name="id"):
    """The project of a call; its former path leads reading to its number, writing nowhere."""
    which = call.ids[name]
    state = call.state
    is_path = "/" in which
    project = state.find_project(which) if is_path or which.isdigit() else None
    moved = None if project or not is_path else state.find_moved(which)
    found = project or moved
    if found is None or not state.can_read(call.user, found, is_admin=call.is_admin):
        raise not_found("Project")
    if moved is not None:
        if call.route.method != "GET":
            raise ApiError(405, "Non GET methods are not allowed for moved projects")
        _redirect(call, moved)
    require_role(call, found, least)
    return found


def _redirect(call, project):
    _, _, rest = call.raw_path.removeprefix("/projects/").partition("/")
    tail = f"/{rest}" if rest else ""
    query = f"?{call.query}" if call.query else ""
    target = f"{call.core.url}/api/v4/projects/{project.id}{tail}{query}"
    text = f"This resource has been moved permanently to {target}"
    raise ApiError(301, {"message": text}, {"Location": target, "Content-Type": "text/plain"})


def find_group(call, least=0, name="id"):
    group = call.state.find_namespace(call.ids[name])
    is_seen = group is not None and group.kind == "group"
    if not is_seen or not call.state.can_read(call.user, group, is_admin=call.is_admin):
        raise not_found("Group")
    require_role(call, group, least)
    return group


def has_role(call, thing, least):
    return call.is_admin or call.state.role(call.user, thing) >= least


def require_role(call, thing, least):
    if least and not has_role(call, thing, least):
        raise forbidden()


def require_numbered(items, number, resource=""):
    """The entry with this id or iid."""
    for entry in items:
        if str(entry.get("iid", entry["id"])) == number:
            return entry
    raise not_found(resource)


def visibility_faults(call, wanted, parent, what):
    """What is wrong with a visibility: restricted by the administrator, or more than its group has."""
    if wanted in (call.state.settings["restricted_visibility_levels"] or []) and not call.is_admin:
        return [f"{wanted} has been restricted by your GitLab administrator"]
    if parent is None or parent.kind == "user" or not is_wider(wanted, parent.visibility):
        return []
    if what == "project":
        return [f"{wanted} is not allowed in a {parent.visibility} group."]
    return [f"{wanted} is not allowed since the parent group has a {parent.visibility} visibility."]


def is_wider(one, other):
    return VISIBILITIES.index(one) > VISIBILITIES.index(other)


def may_create_in(call, namespace):
    """Whether the user may create projects there."""
    if namespace.kind == "user":
        return namespace.owner_id == call.user.id or call.is_admin
    levels = {"noone": OWNER + 10, "administrator": OWNER + 10, "owner": OWNER, "maintainer": 40, "developer": 30}
    needed = levels[namespace.attributes.get("project_creation_level") or "developer"]
    return (call.is_admin and needed != levels["noone"]) or call.state.role(call.user, namespace) >= needed
