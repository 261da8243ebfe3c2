"""Branches, tags and protected branches."""

from __future__ import annotations

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.access import settle_default_branch
from tests.fakes.gitlab.find import find_project, has_role
from tests.fakes.gitlab.paging import paginate
from tests.fakes.gitlab.protection import add_rule, may_push, rules_of
from tests.fakes.gitlab.state import DEVELOPER, MAINTAINER, REPORTER
from tests.fakes.gitlab.views import protected_branch
from tests.fakes.gitlab.web import ApiError, Reply, Route, not_found


def _readable(call):
    """The project, if its code may be read: guests of private projects may not."""
    project = find_project(call)
    if project.visibility == "private" and not has_role(call, project, REPORTER):
        raise ApiError(403, "403 Forbidden")
    return project


# Branches


def _branch(call, project, name, commit):
    rules = rules_of(project, name)
    return {
        "name": name,
        "commit": call.repositories.commit(project, commit),
        "merged": False,
        "protected": bool(rules),
        "developers_can_push": any(level == DEVELOPER for entry in rules for _, level in entry["push"]),
        "developers_can_merge": any(level == DEVELOPER for entry in rules for _, level in entry["merge"]),
        "can_push": has_role(call, project, DEVELOPER) and (not rules or may_push(call.core, project, call.user, name)),
        "default": name == call.repositories.head(project),
        "web_url": f"{call.core.url}/{call.state.project_path(project)}/-/tree/{name}",
    }


def _searched(call, names):
    """`^start`, `end$` or any part, as GitLab searches branches."""
    search = call.get("search") or ""
    if search.startswith("^"):
        return [one for one in names if one[0].startswith(search[1:])]
    if search.endswith("$"):
        return [one for one in names if one[0].endswith(search[:-1])]
    return [one for one in names if search.lower() in one[0].lower()]


def list_branches(call):
    project = _readable(call)
    branches = _searched(call, call.repositories.branches(project))
    return paginate(call, branches, lambda one: _branch(call, project, *one))


def _find_branch(call, project):
    name = call.ids["branch"]
    commit = dict(call.repositories.branches(project)).get(name)
    if commit is None:
        raise not_found("Branch")
    return name, commit


def get_branch(call):
    project = _readable(call)
    return Reply(200, _branch(call, project, *_find_branch(call, project)))


def create_branch(call):
    project = find_project(call, DEVELOPER)
    name = call.get("branch")
    if name in dict(call.repositories.branches(project)):
        raise ApiError(400, "Branch already exists")
    commit = call.repositories.resolve(project, call.get("ref"))
    if commit is None:
        raise ApiError(400, f"Failed to create branch '{name}': invalid reference name '{call.get('ref')}'")
    made = call.repositories.git(call.repositories.path(project), "branch", "--", name, commit)
    if made is None:
        raise ApiError(400, "Branch name is invalid")
    settle_default_branch(call.core, project)
    return Reply(201, _branch(call, project, name, commit))


def delete_branch(call):
    project = find_project(call, DEVELOPER)
    name, _ = _find_branch(call, project)
    if name == call.repositories.head(project):
        raise ApiError(405, "Cannot remove HEAD branch")
    if rules_of(project, name) and not has_role(call, project, MAINTAINER):
        raise ApiError(405, "Protected branch cant be removed")
    call.repositories.git(call.repositories.path(project), "update-ref", "-d", f"refs/heads/{name}")
    return Reply(204)


# Tags


def _tag(call, project, name, made, commit):
    annotation = None
    if made != commit:
        text = call.repositories.git(call.repositories.path(project), "cat-file", "tag", made) or ""
        annotation = text.split("\n\n", 1)[-1].rstrip("\n")
    release = project.releases.get(name)
    return {
        "name": name,
        "message": annotation or "",
        "target": made,
        "commit": call.repositories.commit(project, commit),
        "release": {"tag_name": name, "description": release["description"]} if release else None,
        "protected": False,
        "created_at": None,
    }


def list_tags(call):
    project = _readable(call)
    tags = _searched(call, call.repositories.refs(project, "refs/tags"))
    tags.sort(key=lambda one: one[0], reverse=call.get("sort", "desc") == "desc")
    return paginate(call, tags, lambda one: _tag(call, project, *one))


def find_tag(call, project, name):
    """A tag by name: (name, object, commit), or None."""
    return next((one for one in call.repositories.refs(project, "refs/tags") if one[0] == name), None)


def get_tag(call):
    project = _readable(call)
    found = find_tag(call, project, call.ids["tag"])
    if found is None:
        raise not_found("Tag")
    return Reply(200, _tag(call, project, *found))


def make_tag(call, project, name, ref, message=None):
    """Create a tag; ApiError says why not."""
    commit = call.repositories.resolve(project, ref)
    if commit is None:
        raise ApiError(400, f"Target {ref} is invalid")
    annotate = ("-m", message) if message else ()
    who = {f"GIT_COMMITTER_{part}": value for part, value in (("NAME", call.user.name), ("EMAIL", call.user.email))}
    path = call.repositories.path(project)
    if call.repositories.git(path, "tag", *annotate, "--", name, commit, environment=who) is None:
        raise ApiError(400, "Tag name invalid")
    return find_tag(call, project, name)


def create_tag(call):
    project = find_project(call, DEVELOPER)
    name = call.get("tag_name")
    if find_tag(call, project, name):
        raise ApiError(400, f"Tag {name} already exists")
    return Reply(201, _tag(call, project, *make_tag(call, project, name, call.get("ref"), call.get("message"))))


def delete_tag(call):
    project = find_project(call, DEVELOPER)
    found = find_tag(call, project, call.ids["tag"])
    if found is None:
        raise not_found("Tag")
    call.repositories.git(call.repositories.path(project), "update-ref", "-d", f"refs/tags/{found[0]}")
    return Reply(204)


# Protected branches


def list_protected(call):
    project = find_project(call, MAINTAINER)
    found = [entry for entry in project.protected if (call.get("search") or "") in entry["name"]]
    return paginate(call, found, protected_branch)


def _find_protected(call, project):
    entry = next((one for one in project.protected if one["name"] == call.ids["name"]), None)
    if entry is None:
        raise not_found()
    return entry


def get_protected(call):
    return Reply(200, protected_branch(_find_protected(call, find_project(call, MAINTAINER))))


def create_protected(call):
    project = find_project(call, MAINTAINER)
    name = call.get("name")
    if any(entry["name"] == name for entry in project.protected):
        raise ApiError(409, f"Protected branch '{name}' already exists")
    if not name.strip():
        raise ApiError(422, ["Name can't be blank"])
    push = int(call.get("push_access_level") or MAINTAINER) if call.get("push_access_level") != "0" else 0
    merge = int(call.get("merge_access_level") or MAINTAINER) if call.get("merge_access_level") != "0" else 0
    allow = bool(call.get("allow_force_push"))
    return Reply(
        201, protected_branch(add_rule(call.core, project, name, push=push, merge=merge, allow_force_push=allow))
    )


def edit_protected(call):
    entry = _find_protected(call, find_project(call, MAINTAINER))
    if call.get("allow_force_push") is not None:
        entry["allow_force_push"] = call.get("allow_force_push")
    return Reply(200, protected_branch(entry))


def delete_protected(call):
    project = find_project(call, MAINTAINER)
    project.protected.remove(_find_protected(call, project))
    return Reply(204)


_BRANCHES = "/projects/:id/repository/branches"
_TAGS = "/projects/:id/repository/tags"
_PROTECTED = "/projects/:id/protected_branches"
ROUTES = (
    Route("GET", _BRANCHES, list_branches, takes.BRANCH_LIST, access="optional"),
    Route("POST", _BRANCHES, create_branch, takes.BRANCH_CREATE),
    Route("GET", f"{_BRANCHES}/:branch", get_branch, access="optional"),
    Route("DELETE", f"{_BRANCHES}/:branch", delete_branch),
    Route("GET", _TAGS, list_tags, takes.TAG_LIST, access="optional"),
    Route("POST", _TAGS, create_tag, takes.TAG_CREATE),
    Route("GET", f"{_TAGS}/:tag", get_tag, access="optional"),
    Route("DELETE", f"{_TAGS}/:tag", delete_tag),
    Route("GET", _PROTECTED, list_protected, takes.PROTECTED_LIST),
    Route("POST", _PROTECTED, create_protected, takes.PROTECTED_CREATE),
    Route("GET", f"{_PROTECTED}/:name", get_protected),
    Route("PATCH", f"{_PROTECTED}/:name", edit_protected, takes.PROTECTED_EDIT),
    Route("DELETE", f"{_PROTECTED}/:name", delete_protected),
)
