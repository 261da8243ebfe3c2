"""Projects: list, create, edit, archive, transfer, delete."""

from __future__ import annotations

from datetime import datetime

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.find import find_project, is_wider, may_create_in, require_role, visibility_faults
from tests.fakes.gitlab.naming import path_from_name, project_name_faults, project_path_faults
from tests.fakes.gitlab.paging import paginate, paginate_by_id
from tests.fakes.gitlab.protection import protect_default_branch
from tests.fakes.gitlab.state import MAINTAINER, OWNER, Project, now
from tests.fakes.gitlab.web import ApiError, Reply, Route, forbidden, invalid, not_found

_OWN_FIELDS = (
    *("name", "path", "visibility", "namespace_id", "default_branch", "repository_object_format"),
    "initialize_with_readme",
)
_RENAMED = {"tag_list": "topics", "jobs_enabled": "builds_enabled", "public_jobs": "public_builds"}


def _show(call, project, status=200):
    return Reply(status, call.core.views.project(project, call))


# Lists


def is_project_wanted(call, project):
    """The filters that lists of projects share."""
    state = call.state
    role = state.role(call.user, project)
    if not state.can_read(call.user, project, is_admin=call.is_admin):
        return False
    if call.get("archived") is not None and project.archived != call.get("archived"):
        return False
    if call.get("active") is not None and (project.archived or state.is_going(project)) == call.get("active"):
        return False
    if role < max(call.get("min_access_level") or 0, bool(call.get("membership")), OWNER if call.get("owned") else 0):
        return False
    if call.get("starred") and (call.user is None or call.user.id not in project.starred_by):
        return False
    return _is_matching(call, project) and _is_in_range(call, project)


def _is_matching(call, project):
    search = (call.get("search") or "").lower()
    texts = [project.name, project.path, project.attributes.get("description") or ""]
    if call.get("search_namespaces"):
        texts.append(call.state.project_path(project))
    if search and not any(search in text.lower() for text in texts):
        return False
    topics = {one.lower() for one in project.attributes.get("topics", [])}
    if not {one.lower() for one in call.get("topic") or []} <= topics:
        return False
    features = {"with_issues_enabled": "issues", "with_merge_requests_enabled": "merge_requests"}
    if any(call.get(flag) and not project.feature(name) for flag, name in features.items()):
        return False
    return call.get("visibility") in {None, project.visibility}


def _is_in_range(call, project):
    if (call.get("id_after") or 0) >= project.id or project.id >= (call.get("id_before") or project.id + 1):
        return False
    for name, moment in (("last_activity", project.last_activity_at), ("updated", project.updated_at)):
        after, before = _moment(call.get(f"{name}_after")), _moment(call.get(f"{name}_before"))
        if (after and moment <= after) or (before and moment >= before):
            return False
    return True


def _moment(text):
    if text is None:
        return None
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=now().tzinfo)


def order_projects(call, projects):
    key = call.get("order_by", "created_at")
    keys = {"star_count": lambda one: len(one.starred_by), "similarity": lambda one: one.name.lower()}
    by = keys.get(key, lambda one: getattr(one, key, one.id))
    return sorted(projects, key=lambda one: (by(one), one.id), reverse=call.get("sort", "desc") == "desc")


def _list(call, projects):
    is_by_update = call.get("updated_after") or call.get("updated_before")
    if is_by_update and call.get("order_by") not in {None, "updated_at"}:
        raise ApiError(400, "400 Bad request - `updated_at` filter and `updated_at` sorting must be paired")
    wanted = order_projects(call, [one for one in projects if is_project_wanted(call, one)])
    if call.get("simple") or call.user is None:
        show = call.core.views.project_basic
    else:
        show = lambda one: call.core.views.project(one, call, with_statistics=bool(call.get("statistics")))  # noqa: E731
    return (paginate_by_id if call.get("pagination") == "keyset" else paginate)(call, wanted, show)


def list_projects(call):
    return _list(call, call.state.projects.values())


def list_user_projects(call):
    user = call.state.find_user(call.ids["user_id"])
    if user is None:
        raise not_found("User")
    home = call.state.home(user)
    return _list(call, [one for one in call.state.projects.values() if one.namespace_id == home.id])


def get_project(call):
    project = find_project(call)
    return Reply(200, call.core.views.project(project, call, with_statistics=bool(call.get("statistics"))))


# Changes


def _attributes(values):
    kept = {_RENAMED.get(name, name): value for name, value in values.items() if name not in _OWN_FIELDS}
    if "emails_disabled" in kept:
        kept["emails_enabled"] = not kept.pop("emails_disabled")
    return kept


def _faults(call, project):
    """What the model says of a project as it would be."""
    place = call.state.namespaces[project.namespace_id]
    others = [one for one in call.state.projects.values() if one.namespace_id == place.id and one.id != project.id]
    is_name_taken = any(one.name == project.name for one in others)
    taken = {one.path.lower() for one in others}
    taken |= {one.path.lower() for one in call.state.namespaces.values() if one.parent_id == place.id}
    name, path = project_name_faults(project.name), project_path_faults(project.path)
    faults = {"name": name, "path": path}
    if is_name_taken:
        faults = {"project_namespace.name": ["has already been taken"], "name": [*name, "has already been taken"]}
        faults["path"] = path
    if project.path.lower() in taken:
        faults["path"] = [*path, "has already been taken"]
    faults["visibility_level"] = visibility_faults(call, project.visibility, place, "project")
    if (description := project.attributes.get("description")) and len(description) > 2000:
        faults["description"] = ["is too long (maximum is 2000 characters)"]
    return {key: texts for key, texts in faults.items() if texts}


def build_project(call, owner, *, name, path, namespace, visibility=None, attributes=None, object_format="sha1"):
    """Create a project, or say what is wrong with it."""
    default = call.state.settings["default_project_visibility"]
    if namespace.kind == "group" and is_wider(default, namespace.visibility):
        default = namespace.visibility
    number = call.state.next_id("project")
    project = Project(number, name, path, namespace.id, owner.id, visibility or default, attributes or {})
    project.object_format = object_format
    if faults := _faults(call, project):
        raise ApiError(400, faults)
    if namespace.kind == "user":
        project.members[owner.id] = OWNER
    call.state.projects[project.id] = project
    call.state.settle(call.state.project_path(project))
    branch = call.core.views.first_branch(project)
    call.repositories.create(project, branch)
    if project.feature("wiki"):
        call.repositories.create(project, "main", wiki=True)
    return project


def _create(call, owner):
    if call.get("import_url") and "git" not in (call.state.settings["import_sources"] or []):
        raise forbidden()
    name = call.get("name") or call.get("path")
    path = call.get("path") or path_from_name(name)
    wanted = call.get("namespace_id")
    namespace = call.state.namespaces.get(wanted) if wanted else call.state.home(owner)
    if namespace is None or not may_create_in(call, namespace):
        raise invalid(namespace="is not valid")
    project = build_project(
        call,
        owner,
        name=name,
        path=path,
        namespace=namespace,
        visibility=call.get("visibility"),
        attributes=_attributes(call.values),
        object_format=call.get("repository_object_format") or "sha1",
    )
    if call.get("initialize_with_readme"):
        call.core.write_readme(project, call.get("default_branch"))
        protect_default_branch(call.core, project)
    return _show(call, project, 201)


def create_project(call):
    return _create(call, call.user)


def create_project_for_user(call):
    user = call.state.find_user(call.ids["user_id"])
    if user is None:
        raise not_found("User")
    return _create(call, user)


def edit_project(call):
    project = find_project(call, MAINTAINER)
    if call.get("visibility") is not None and call.get("visibility") != project.visibility:
        require_role(call, project, OWNER)
    before = call.state.moving(project=project)
    former = (project.name, project.path, project.visibility, project.attributes)
    project.name = call.get("name") or project.name
    project.path = call.get("path") or project.path
    project.visibility = call.get("visibility") or project.visibility
    project.attributes = project.attributes | _attributes(call.values)
    faults = _faults(call, project) or _branch_faults(call, project)
    if faults:
        project.name, project.path, project.visibility, project.attributes = former
        raise ApiError(400, faults)
    project.updated_at = now()
    if project.path != former[1]:
        call.state.moved(before)
    if not call.repositories.path(project, wiki=True).exists() and project.feature("wiki"):
        call.repositories.create(project, "main", wiki=True)
    return _show(call, project)


def _branch_faults(call, project):
    """Change HEAD where asked to; what is wrong if there is no such branch."""
    branch = call.get("default_branch")
    if branch is None or branch == call.core.views.default_branch(project):
        return {}
    if branch not in {name for name, _ in call.repositories.branches(project)}:
        return {"base": [f"Could not change HEAD: branch '{branch}' does not exist"]}
    call.repositories.set_head(project, branch)
    protect_default_branch(call.core, project)
    return {}


def archive_project(call):
    project = find_project(call, OWNER)
    project.archived = call.raw_path.endswith("/archive")
    project.updated_at = now()
    return _show(call, project, 201)


def star_project(call):
    project = find_project(call)
    is_wanted = call.raw_path.endswith("/star")
    if (call.user.id in project.starred_by) == is_wanted:
        return Reply(304)
    (project.starred_by.add if is_wanted else project.starred_by.discard)(call.user.id)
    return _show(call, project, 201)


def delete_project(call):
    project = find_project(call, OWNER)
    if call.get("permanently_remove"):
        if project.deletion_on is None:
            raise ApiError(400, "Project must be marked for deletion first.")
        if call.get("full_path") != call.state.project_path(project):
            raise ApiError(400, "`full_path` is incorrect. You must enter the complete path for the project.")
        call.core.delete_project(project)
    elif project.deletion_on:
        raise ApiError(400, "Project has been already marked for deletion")
    elif not call.state.is_going(project):
        _rename(call, project, f"{project.name}{_suffix(project)}", f"{project.path}{_suffix(project)}")
        project.deletion_on = call.state.deletion_day()
    return Reply(202, {"message": "202 Accepted"})


def _suffix(project):
    return f"-deletion_scheduled-{project.id}"


def _rename(call, project, name, path):
    before = call.state.moving(project=project)
    project.name, project.path, project.updated_at = name, path, now()
    call.state.moved(before)


def restore_project(call):
    project = find_project(call, OWNER)
    if project.deletion_on is None:
        raise ApiError(400, "Project has not been marked for deletion")
    suffix = _suffix(project)
    _rename(call, project, project.name.removesuffix(suffix), project.path.removesuffix(suffix))
    project.deletion_on = None
    return _show(call, project, 201)


def transfer_project(call):
    project = find_project(call, OWNER)
    namespace = call.state.find_namespace(call.get("namespace"))
    if namespace is None or not (call.is_admin or call.state.role(call.user, namespace)):
        raise not_found("Namespace")
    text = ""
    if not may_create_in(call, namespace):
        text = "You don't have permission to transfer projects into that namespace."
    elif namespace.id == project.namespace_id:
        text = "Project is already in this namespace."
    elif call.state.is_taken(namespace.id, project.path):
        text = "Project with same name or path in target namespace already exists"
    if text:
        raise ApiError(400, f'Failed to transfer project {{:new_namespace=>["{text}"]}}')
    before = call.state.moving(project=project)
    project.namespace_id, project.updated_at = namespace.id, now()
    if namespace.kind == "group" and is_wider(project.visibility, namespace.visibility):
        project.visibility = namespace.visibility
    call.state.moved(before)
    return _show(call, project)


# Custom attributes: administrators only, for whoever else they are not there


def list_custom_attributes(call):
    return Reply(200, [_attribute(*pair) for pair in find_project(call).custom_attributes.items()])


def get_custom_attribute(call):
    project, key = find_project(call), call.ids["key"]
    if key not in project.custom_attributes:
        raise not_found("CustomAttribute")
    return Reply(200, _attribute(key, project.custom_attributes[key]))


def set_custom_attribute(call):
    project, key = find_project(call), call.ids["key"]
    if not call.get("value"):
        raise ApiError(400, {"value": ["can't be blank"]})
    project.custom_attributes[key] = call.get("value")
    return Reply(200, _attribute(key, call.get("value")))


def delete_custom_attribute(call):
    project = find_project(call)
    if project.custom_attributes.pop(call.ids["key"], None) is None:
        raise not_found("CustomAttribute")
    return Reply(204)


def _attribute(key, value):
    return {"key": key, "value": value}


_ATTRIBUTES = "/projects/:id/custom_attributes"
ROUTES = (
    Route("GET", "/projects", list_projects, takes.PROJECT_LIST, access="optional"),
    Route("POST", "/projects", create_project, takes.PROJECT_CREATE),
    Route("POST", "/projects/user/:user_id", create_project_for_user, takes.PROJECT_FOR_USER, access="admin"),
    Route("GET", "/users/:user_id/projects", list_user_projects, takes.PROJECT_LIST, access="optional"),
    Route("GET", "/projects/:id", get_project, takes.PROJECT_GET, access="optional"),
    Route("PUT", "/projects/:id", edit_project, takes.PROJECT_EDIT),
    Route("DELETE", "/projects/:id", delete_project, takes.DELETE),
    Route("POST", "/projects/:id/archive", archive_project),
    Route("POST", "/projects/:id/unarchive", archive_project),
    Route("POST", "/projects/:id/star", star_project),
    Route("POST", "/projects/:id/unstar", star_project),
    Route("POST", "/projects/:id/restore", restore_project),
    Route("PUT", "/projects/:id/transfer", transfer_project, takes.TRANSFER),
    Route("GET", _ATTRIBUTES, list_custom_attributes, access="admin"),
    Route("GET", f"{_ATTRIBUTES}/:key", get_custom_attribute, access="admin"),
    Route("PUT", f"{_ATTRIBUTES}/:key", set_custom_attribute, takes.CUSTOM_ATTRIBUTE, access="admin"),
    Route("DELETE", f"{_ATTRIBUTES}/:key", delete_custom_attribute, access="admin"),
)
