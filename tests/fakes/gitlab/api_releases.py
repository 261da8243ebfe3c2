"""Releases and the links of their assets."""

from __future__ import annotations

from datetime import datetime

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.api_repository import find_tag, make_tag
from tests.fakes.gitlab.find import find_project, require_numbered
from tests.fakes.gitlab.paging import paginate
from tests.fakes.gitlab.state import DEVELOPER, now
from tests.fakes.gitlab.views import moment
from tests.fakes.gitlab.web import ApiError, Reply, Route, invalid, not_found

_ARCHIVES = ("zip", "tar.gz", "tar.bz2", "tar")


def _show(call, project, release):
    web = f"{call.core.url}/{call.state.project_path(project)}"
    tag = release["tag_name"]
    links = [_link(call, project, release, one) for one in release["links"]]
    sources = [{"format": kind, "url": f"{web}/-/archive/{tag}/{project.path}-{tag}.{kind}"} for kind in _ARCHIVES]
    shown = {name: release[name] for name in ("tag_name", "name", "description", "created_at", "released_at")}
    found = find_tag(call, project, tag)
    author = call.state.users.get(release["author_id"])
    return shown | {
        "upcoming_release": datetime.fromisoformat(release["released_at"]) > now(),
        "author": call.core.views.user_basic(author) if author else None,
        "commit": call.repositories.commit(project, found[2]) if found else None,
        "commit_path": f"/{call.state.project_path(project)}/-/commit/{found[2]}" if found else None,
        "tag_path": f"/{call.state.project_path(project)}/-/tags/{tag}",
        "assets": {"count": len(links) + len(sources), "sources": sources, "links": links},
        "evidences": [],
        "_links": {"self": f"{web}/-/releases/{tag}"},
    }


def _link(call, project, release, link):
    here = f"{call.core.url}/{call.state.project_path(project)}/-/releases/{release['tag_name']}/downloads"
    direct = f"{here}{link['filepath']}" if link["filepath"] else link["url"]
    shown = {name: link[name] for name in ("id", "name", "url", "link_type")}
    return shown | {"direct_asset_url": direct}


def list_releases(call):
    project = find_project(call)
    key = call.get("order_by", "released_at")
    is_descending = call.get("sort", "desc") == "desc"
    releases = sorted(project.releases.values(), key=lambda one: (one[key], one["tag_name"]), reverse=is_descending)
    return paginate(call, releases, lambda one: _show(call, project, one))


def _find(call, least=0):
    project = find_project(call, least)
    release = project.releases.get(call.ids["tag_name"])
    if release is None:
        raise not_found()
    return project, release


def get_release(call):
    return Reply(200, _show(call, *_find(call)))


def create_release(call):
    project = find_project(call, DEVELOPER)
    tag = call.get("tag_name")
    if tag in project.releases:
        raise ApiError(409, "Release already exists")
    if find_tag(call, project, tag) is None:
        if not call.get("ref"):
            raise ApiError(422, "Ref is not specified")
        make_tag(call, project, tag, call.get("ref"), call.get("tag_message"))
    made = moment(now())
    release = {
        "tag_name": tag,
        "name": call.get("name") or tag,
        "description": call.get("description"),
        "created_at": made,
        "released_at": call.get("released_at") or made,
        "author_id": call.user.id,
        "links": [],
    }
    for link in (call.get("assets") or {}).get("links") or []:
        _add_link(call, release, link)
    project.releases[tag] = release
    return Reply(201, _show(call, project, release))


def edit_release(call):
    project, release = _find(call, DEVELOPER)
    changes = {name: call.get(name) for name in ("name", "description", "released_at") if name in call.values}
    release.update(changes)
    return Reply(200, _show(call, project, release))


def delete_release(call):
    project, release = _find(call, DEVELOPER)
    del project.releases[release["tag_name"]]
    return Reply(200, _show(call, project, release))


# Links


def _check_link(release, name, url, filepath, ignored=None):
    others = [one for one in release["links"] if one is not ignored]
    faults = {}
    if any(one["name"] == name for one in others):
        faults["name"] = "has already been taken"
    if not url.startswith(("http://", "https://", "ftp://")):
        faults["url"] = "is blocked: Only allowed schemes are http, https, ftp"
    elif any(one["url"] == url for one in others):
        faults["url"] = "has already been taken"
    if filepath and not filepath.startswith("/"):
        faults["filepath"] = "is in an invalid format"
    if faults:
        raise invalid(**faults)


def _add_link(call, release, given):
    filepath = given.get("direct_asset_path") or given.get("filepath")
    _check_link(release, given["name"], given["url"], filepath)
    link = {
        "id": call.state.next_id("release_link"),
        "name": given["name"],
        "url": given["url"],
        "filepath": filepath,
        "link_type": given.get("link_type") or "other",
    }
    release["links"].append(link)
    return link


def list_links(call):
    project, release = _find(call)
    return paginate(call, release["links"], lambda one: _link(call, project, release, one))


def create_link(call):
    project, release = _find(call, DEVELOPER)
    return Reply(201, _link(call, project, release, _add_link(call, release, call.values)))


def _find_link(call, least=0):
    project, release = _find(call, least)
    return project, release, require_numbered(release["links"], call.ids["link_id"])


def get_link(call):
    return Reply(200, _link(call, *_find_link(call)))


def edit_link(call):
    project, release, link = _find_link(call, DEVELOPER)
    changes = dict(call.values)
    if "direct_asset_path" in changes:
        changes["filepath"] = changes.pop("direct_asset_path")
    wanted = link | changes
    _check_link(release, wanted["name"], wanted["url"], wanted["filepath"], ignored=link)
    link.update(changes)
    return Reply(200, _link(call, project, release, link))


def delete_link(call):
    project, release, link = _find_link(call, DEVELOPER)
    release["links"].remove(link)
    return Reply(200, _link(call, project, release, link))


_ONE = "/projects/:id/releases/:tag_name"
_LINKS = f"{_ONE}/assets/links"
ROUTES = (
    Route("GET", "/projects/:id/releases", list_releases, takes.RELEASE_LIST, access="optional"),
    Route("POST", "/projects/:id/releases", create_release, takes.RELEASE_CREATE),
    Route("GET", _ONE, get_release, access="optional"),
    Route("PUT", _ONE, edit_release, takes.RELEASE_EDIT),
    Route("DELETE", _ONE, delete_release),
    Route("GET", _LINKS, list_links, takes.PAGE, access="optional"),
    Route("POST", _LINKS, create_link, takes.LINK_CREATE),
    Route("GET", f"{_LINKS}/:link_id", get_link, access="optional"),
    Route("PUT", f"{_LINKS}/:link_id", edit_link, takes.LINK_EDIT),
    Route("DELETE", f"{_LINKS}/:link_id", delete_link),
)
