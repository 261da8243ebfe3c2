"""Groups, namespaces and members."""

from __future__ import annotations

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.api_projects import is_project_wanted, order_projects
from tests.fakes.gitlab.find import find_group, find_project, is_wider, require_role, visibility_faults
from tests.fakes.gitlab.naming import group_name_faults, namespace_path_faults, ruby
from tests.fakes.gitlab.paging import paginate
from tests.fakes.gitlab.settings import protection_defaults
from tests.fakes.gitlab.state import ADMIN, MAINTAINER, OWNER, Namespace
from tests.fakes.gitlab.web import ApiError, Reply, Route, forbidden, not_found

_OWN_FIELDS = ("name", "path", "visibility", "parent_id")


def _details(call, group, *, with_projects=True):
    shown = call.core.views.group(group)
    if with_projects:
        projects = [one for one in call.state.projects.values() if one.namespace_id == group.id]
        seen = [one for one in projects if call.state.can_read(call.user, one, is_admin=call.is_admin)]
        shown |= {"projects": [call.core.views.project(one, call) for one in seen], "shared_projects": []}
    return shown | {"shared_with_groups": [], "prevent_sharing_groups_outside_hierarchy": False}


def _is_wanted(call, group):
    search = (call.get("search") or "").lower()
    if search and search not in group.name.lower() and search not in group.path.lower():
        return False
    if call.get("owned") and call.state.role(call.user, group) < OWNER:
        return False
    if call.get("active") is not None and (group.deletion_on is None) != call.get("active"):
        return False
    if (least := call.get("min_access_level")) is not None and call.state.role(call.user, group) < least:
        return False
    return str(group.id) not in (call.get("skip_groups") or []) and call.get("visibility") in {None, group.visibility}


def _list(call, groups):
    everything = call.get("all_available", call.is_admin or call.user is None)
    seen = [
        group
        for group in groups
        if group.kind == "group"
        and call.state.can_read(call.user, group, is_admin=call.is_admin)
        and (everything or call.state.role(call.user, group) > 0)
        and _is_wanted(call, group)
    ]
    key = call.get("order_by", "name")
    key = "name" if key == "similarity" else key
    seen.sort(key=lambda group: (getattr(group, key), group.id), reverse=call.get("sort", "asc") == "desc")
    return paginate(call, seen, call.core.views.group)


def list_groups(call):
    groups = list(call.state.namespaces.values())
    return _list(call, [one for one in groups if one.parent_id is None] if call.get("top_level_only") else groups)


def list_subgroups(call):
    parent = find_group(call)
    return _list(call, [one for one in call.state.namespaces.values() if one.parent_id == parent.id])


def list_descendants(call):
    parent = find_group(call)
    return _list(call, call.state.below(parent)[1:])


def list_group_projects(call):
    group = find_group(call)
    places = {one.id for one in call.state.below(group)} if call.get("include_subgroups") else {group.id}
    projects = [one for one in call.state.projects.values() if one.namespace_id in places]
    wanted = order_projects(call, [one for one in projects if is_project_wanted(call, one)])
    if call.get("simple"):
        return paginate(call, wanted, call.core.views.project_basic)
    return paginate(call, wanted, lambda project: call.core.views.project(project, call))


def _faults(call, group, parent):
    """What the model says of a group as it would be."""
    faults = {}
    others = [one for one in call.state.namespaces.values() if one.parent_id == group.parent_id and one.id != group.id]
    path = namespace_path_faults(group.path, is_top=parent is None)
    taken = [one for one in others if one.path.lower() == group.path.lower()]
    in_parent = parent and [one for one in call.state.projects.values() if one.namespace_id == parent.id]
    taken += [one for one in in_parent or [] if one.path.lower() == group.path.lower()]
    if taken:
        path = [*path, "has already been taken"]
    name = group_name_faults(group.name)
    if parent and any(one.kind == "group" and one.name.lower() == group.name.lower() for one in others):
        name = [*name, "has already been taken"]
    visibility = visibility_faults(call, group.visibility, parent, "group")
    if any(is_wider(one.visibility, group.visibility) for one in call.state.projects_below(group)):
        text = f"{group.visibility} is not allowed since this group contains projects with higher visibility."
        visibility = [*visibility, text]
    if any(is_wider(one.visibility, group.visibility) for one in call.state.below(group)[1:]):
        text = f"{group.visibility} is not allowed since there are sub-groups with higher visibility."
        visibility = [*visibility, text]
    faults |= {"name": name, "path": path, "visibility_level": visibility}
    return {key: texts for key, texts in faults.items() if texts}


def _attributes(values):
    kept = {name: value for name, value in values.items() if name not in _OWN_FIELDS}
    if "emails_disabled" in kept:
        kept["emails_enabled"] = not kept.pop("emails_disabled")
    if (level := kept.get("default_branch_protection")) is not None:
        kept.setdefault("default_branch_protection_defaults", protection_defaults(level))
    return kept


def create_group(call):
    parent = None
    if call.get("parent_id"):
        call.ids["parent"] = str(call.get("parent_id"))
        parent = find_group(call, name="parent")
        least = OWNER if parent.attributes.get("subgroup_creation_level") == "owner" else MAINTAINER
        require_role(call, parent, least)
    elif not call.is_admin and not call.user.attributes.get(
        "can_create_group", call.state.settings["can_create_group"]
    ):
        raise forbidden()
    default = call.state.settings["default_group_visibility"]
    if parent and is_wider(default, parent.visibility):
        default = parent.visibility
    number = call.state.next_id("namespace")
    visibility = call.get("visibility") or default
    group = Namespace(number, "group", call.get("name"), call.get("path"), visibility, call.get("parent_id") or None)
    if faults := _faults(call, group, parent):
        raise ApiError(400, f"Failed to save group {ruby(faults)}")
    group.attributes = _attributes(call.values)
    group.members[call.user.id] = OWNER
    call.state.namespaces[group.id] = group
    call.state.settle(call.state.namespace_path(group))
    return Reply(201, _details(call, group, with_projects=False))


def get_group(call):
    return Reply(200, _details(call, find_group(call), with_projects=call.get("with_projects", True)))


def edit_group(call):
    group = find_group(call, OWNER)
    before = call.state.moving(namespace=group)
    former = {name: getattr(group, name) for name in ("name", "path", "visibility")}
    for name in former:
        if call.get(name) is not None:
            setattr(group, name, call.get(name))
    if faults := _faults(call, group, call.state.namespaces.get(group.parent_id)):
        for name, value in former.items():
            setattr(group, name, value)
        raise ApiError(400, faults)
    group.attributes |= _attributes(call.values)
    if group.path != former["path"]:
        call.state.moved(before)
    return Reply(200, _details(call, group))


def delete_group(call):
    group = find_group(call, OWNER)
    if call.get("permanently_remove"):
        _delete_now(call, group)
    elif not any(one.deletion_on for one in _ancestors(call, group)):
        if group.deletion_on:
            raise ApiError(400, "Group has been already marked for deletion")
        before = call.state.moving(namespace=group)
        group.path += f"-deletion_scheduled-{group.id}"
        group.name += f"-deletion_scheduled-{group.id}"
        group.deletion_on = call.state.deletion_day()
        call.state.moved(before)
    return Reply(202, {"message": "202 Accepted"})


def _ancestors(call, group):
    parent = call.state.namespaces.get(group.parent_id)
    return [] if parent is None else [parent, *_ancestors(call, parent)]


def _delete_now(call, group):
    if group.parent_id is None:
        raise ApiError(400, "`permanently_remove` option is only available for subgroups.")
    if group.deletion_on is None:
        raise ApiError(400, "Group must be marked for deletion first.")
    if call.get("full_path") != call.state.namespace_path(group):
        text = "`full_path` is incorrect. You must enter the complete path for the subgroup."
        raise ApiError(400, text)
    for project in call.state.projects_below(group):
        call.core.delete_project(project)
    for one in call.state.below(group):
        del call.state.namespaces[one.id]


def restore_group(call):
    group = find_group(call, OWNER)
    if group.deletion_on is None:
        raise ApiError(400, "Group has not been marked for deletion")
    before = call.state.moving(namespace=group)
    group.path = group.path.removesuffix(f"-deletion_scheduled-{group.id}")
    group.name = group.name.removesuffix(f"-deletion_scheduled-{group.id}")
    group.deletion_on = None
    call.state.moved(before)
    return Reply(201, _details(call, group, with_projects=False))


def list_namespaces(call):
    search = (call.get("search") or "").lower()
    seen = [
        one
        for one in call.state.namespaces.values()
        if (call.is_admin or call.state.role(call.user, one)) and search in call.state.namespace_path(one).lower()
    ]
    return paginate(call, seen, call.core.views.namespace)


def get_namespace(call):
    found = call.state.find_namespace(call.ids["id"])
    if found is None or not (call.is_admin or call.state.role(call.user, found)):
        raise not_found("Namespace")
    return Reply(200, call.core.views.namespace(found))


# Members of groups and of projects


def _holder(call, least=0):
    return find_project(call, least) if call.route.pattern.startswith("/projects") else find_group(call, least)


def list_members(call):
    members = sorted(_holder(call).members.items())
    return paginate(call, members, lambda entry: call.core.views.member(call.state.users[entry[0]], entry[1]))


def add_member(call):
    thing = _holder(call, MAINTAINER)
    which = call.get("user_id") or call.get("username")
    user = call.state.find_user(which) if which else None
    if user is None:
        raise not_found("User")
    if user.id in thing.members:
        raise ApiError(409, "Member already exists")
    if call.get("access_level") not in {5, 10, 15, 20, 30, 40, OWNER} or call.get("access_level") > ADMIN:
        raise ApiError(400, {"error": "access_level does not have a valid value"})
    thing.members[user.id] = call.get("access_level")
    return Reply(201, call.core.views.member(user, call.get("access_level")))


def remove_member(call):
    thing = _holder(call, MAINTAINER)
    if not call.ids["user_id"].isdigit() or thing.members.pop(int(call.ids["user_id"]), None) is None:
        raise not_found()
    return Reply(204)


ROUTES = (
    Route("GET", "/groups", list_groups, takes.GROUP_LIST, access="optional"),
    Route("POST", "/groups", create_group, takes.GROUP_CREATE),
    Route("GET", "/groups/:id", get_group, takes.GROUP_GET, access="optional"),
    Route("PUT", "/groups/:id", edit_group, takes.GROUP_EDIT),
    Route("DELETE", "/groups/:id", delete_group, takes.DELETE),
    Route("POST", "/groups/:id/restore", restore_group),
    Route("GET", "/groups/:id/subgroups", list_subgroups, takes.GROUP_LIST, access="optional"),
    Route("GET", "/groups/:id/descendant_groups", list_descendants, takes.GROUP_LIST, access="optional"),
    Route("GET", "/groups/:id/projects", list_group_projects, takes.GROUP_PROJECTS, access="optional"),
    Route("GET", "/namespaces", list_namespaces, takes.NAMESPACE_LIST),
    Route("GET", "/namespaces/:id", get_namespace),
    *(
        route
        for kind in ("groups", "projects")
        for route in (
            Route("GET", f"/{kind}/:id/members", list_members, takes.MEMBER_LIST, access="optional"),
            Route("POST", f"/{kind}/:id/members", add_member, takes.MEMBER_CREATE),
            Route("DELETE", f"/{kind}/:id/members/:user_id", remove_member),
        )
    ),
)
