"""Projects that mirrors push to: groups made on the way, projects made and found again by ownership only."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from autogit.connectors.gitlab import GitLabClient
from autogit.errors import MissingError, OwnershipError, RejectedError

MARK = "autogit-mirror"
"""The custom attribute that marks a project as a mirror's; its value is the source's identity."""

_VISIBILITIES = ("private", "internal", "public")
_LONGEST_DESCRIPTION = 2000
_LONGEST_TOPIC = 255
_TAKEN = "has already been taken"
# What a project that only repeats another's history has no use for: nothing is built, asked for or published there.
_SWITCHED_OFF: Mapping[str, Any] = {
    "issues_access_level": "disabled",
    "merge_requests_access_level": "disabled",
    "builds_access_level": "disabled",
    "snippets_access_level": "disabled",
    "container_registry_access_level": "disabled",
    "packages_enabled": False,
    "auto_devops_enabled": False,
    "shared_runners_enabled": False,
}
_HINT = "choose another group: --group, or `group:` in mirrors.yml; or move that project away in GitLab"


@dataclass(frozen=True, slots=True)
class ProjectWish:
    """What a mirror's project is to be; `path` is its full path, used where it has to be made."""

    identity: str
    path: str
    visibility: str = "private"
    description: str = ""
    topics: tuple[str, ...] = ()
    object_format: str = "sha1"
    lfs: bool = True


@dataclass(frozen=True, slots=True)
class MirrorProject:
    """A project as GitLab has it; `identity` is its mark, "" without one."""

    project_id: int
    path: str
    identity: str
    visibility: str
    archived: bool
    object_format: str = "sha1"
    note: str = ""


class MirrorProjects:
    """The projects of mirrors in one GitLab. Everything here blocks; safe in threads."""

    def __init__(self, client: GitLabClient) -> None:
        self._client = client
        self._listed: dict[int, MirrorProject] = {}
        self._groups: dict[str, tuple[int, str]] = {}
        self._lock = threading.Lock()
        self._making_groups = threading.Lock()
        self._making: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def look(self, group: str) -> None:
        """Read which projects are in a group and below: one request a hundred of them. No such group: none."""
        place = f"/groups/{quote(group, safe='')}/projects"
        try:
            rows = self._client.list_all(
                place, include_subgroups="true", with_shared="false", with_custom_attributes="true", per_page=100
            )
        except MissingError:
            return
        found = (_project(row) for row in rows if not _is_going(row))
        with self._lock:
            self._listed.update({one.project_id: one for one in found})

    def ensure(self, wish: ProjectWish, project_id: int) -> MirrorProject:
        """Return a source's project: the one of this number, the marked one, or a new one. `note` tells what is odd.

        Raises OwnershipError where the path is somebody else's: such a project is never written to.
        """
        found = self._find(project_id) if project_id else None
        if found is not None and found.identity != wish.identity:
            raise OwnershipError(
                f"gitlab: project {found.path} is not marked as the mirror of {wish.identity} any more",
                hint=f"nothing is written to it; give it back its custom attribute {MARK} (which an "
                "administrator's token sees, with the scope admin_mode where that is on), or delete the project",
            )
        if found is None:
            with self._lock:
                found = next((one for one in self._listed.values() if one.identity == wish.identity), None)
        if found is not None:
            return found
        with self._lock:
            turn = self._making[wish.path.casefold()]
        with turn:
            made = self._made(wish)
        with self._lock:
            self._listed[made.project_id] = made
        deleted = f"project {project_id} was deleted in GitLab; made anew" if project_id else ""
        return replace(made, note="; ".join(text for text in (deleted, made.note) if text))

    def describe(self, project: MirrorProject, wish: ProjectWish) -> str:
        """Tell GitLab what the source says of itself; return what it did not take, "" for nothing."""
        body = {"description": _plain(wish.description)[:_LONGEST_DESCRIPTION], "topics": _topics(wish.topics)}
        wanted = self._visibility(wish, project.path.rpartition("/")[0])
        place = f"/projects/{project.project_id}"
        try:
            self._client.put(place, **body, visibility=wanted)
        except RejectedError as exc:
            if wanted == "private" or "visib" not in exc.message:
                raise
            self._client.put(place, **body, visibility="private")
            return f"{project.path} is private: GitLab does not allow {wanted} projects here"
        return ""

    def archive(self, project: MirrorProject, *, archived: bool) -> MirrorProject:
        """Archive a project, or make it writable again."""
        if project.archived != archived:
            self._client.post(f"/projects/{project.project_id}/{'archive' if archived else 'unarchive'}")
        return replace(project, archived=archived)

    def set_default_branch(self, project: MirrorProject, branch: str) -> None:
        """Make a branch that is there the default one."""
        self._client.put(f"/projects/{project.project_id}", default_branch=branch)

    def create_branch(self, project: MirrorProject, branch: str, object_id: str) -> None:
        """Make a branch of a commit that is there."""
        self._client.post(f"/projects/{project.project_id}/repository/branches", branch=branch, ref=object_id)

    def delete_branch(self, project: MirrorProject, branch: str) -> None:
        """Delete a branch that nothing protects."""
        self._client.delete(f"/projects/{project.project_id}/repository/branches/{quote(branch, safe='')}")

    def protections(self, project: MirrorProject) -> dict[str, bool]:
        """Return the rules that protect branches, by name or pattern, and whether each allows to force a push."""
        rows = self._client.list_all(f"/projects/{project.project_id}/protected_branches")
        return {str(row["name"]): bool(row.get("allow_force_push")) for row in rows}

    def allow_force(self, project: MirrorProject, rule: str) -> None:
        """Let pushes be forced to what a rule protects."""
        place = f"/projects/{project.project_id}/protected_branches/{quote(rule, safe='')}"
        self._client.write(lambda api: api.http_patch(place, post_data={"allow_force_push": True}))

    def unprotect(self, project: MirrorProject, rule: str) -> None:
        """Take a rule away: what it protects can be deleted then."""
        self._client.delete(f"/projects/{project.project_id}/protected_branches/{quote(rule, safe='')}")

    def _find(self, project_id: int) -> MirrorProject | None:
        if project_id in self._listed:
            return self._listed[project_id]
        try:
            row = self._client.get(f"/projects/{project_id}", with_custom_attributes="true")
        except MissingError:
            return None
        return None if _is_going(row) else _project(row)

    def _made(self, wish: ProjectWish) -> MirrorProject:
        """Make a project where its path is free; take one that a killed run made and did not mark any more."""
        group_id, _ = self._group(wish.path.rpartition("/")[0])
        row = self._at(group_id, wish) or self._created(group_id, wish)
        found = _project(row)
        if found.identity == wish.identity:
            return found
        if not found.identity and row.get("description") == _begun(wish) and row.get("empty_repo", True):
            self._client.put(f"/projects/{found.project_id}/custom_attributes/{MARK}", value=wish.identity)
            return replace(found, identity=wish.identity)
        if found.identity:
            raise OwnershipError(f"gitlab: {found.path} is the mirror of another source: {found.identity}", hint=_HINT)
        raise OwnershipError(f"gitlab: there is a project {found.path} that is not this mirror's", hint=_HINT)

    def _at(self, group_id: int, wish: ProjectWish) -> Mapping[str, Any] | None:
        """Return what has a path now. A project is not asked for by path: one that moved away would answer."""
        name = wish.path.rpartition("/")[2]
        place = f"/groups/{group_id}/projects"
        rows = self._client.list_all(place, search=name, with_shared="false", with_custom_attributes="true")
        return next((row for row in rows if str(row["path"]).casefold() == name.casefold()), None)

    def _created(self, group_id: int, wish: ProjectWish) -> Mapping[str, Any]:
        name = wish.path.rpartition("/")[2]
        body = {
            **_SWITCHED_OFF,
            "name": name,
            "path": name,
            "namespace_id": group_id,
            "visibility": "private",
            "description": _begun(wish),
            "wiki_access_level": "enabled",
            "lfs_enabled": wish.lfs,
        }
        if wish.object_format != "sha1":
            body["repository_object_format"] = wish.object_format
        try:
            row: Mapping[str, Any] = self._client.post("/projects", **body)
        except RejectedError as exc:
            if _TAKEN not in exc.message:
                raise
            # A lost answer to an earlier try, another sync, or a group of that path.
            if (there := self._at(group_id, wish)) is None:
                raise OwnershipError(f"gitlab: {wish.path} is taken by what is no project", hint=_HINT) from exc
            return there
        return row

    def _group(self, path: str) -> tuple[int, str]:
        """Return a group's number and visibility; it is made, with those above it, where it is missing."""
        with self._making_groups:
            return self._ensured_group(path)

    def _ensured_group(self, path: str) -> tuple[int, str]:
        key = path.casefold()
        if key not in self._groups:
            row = self._find_group(path) or self._created_group(path)
            self._groups[key] = (int(row["id"]), str(row["visibility"]))
        return self._groups[key]

    def _find_group(self, path: str) -> Mapping[str, Any] | None:
        try:
            row: Mapping[str, Any] = self._client.get(f"/groups/{quote(path, safe='')}", with_projects="false")
        except MissingError:
            return None
        return row if str(row.get("full_path", "")).casefold() == path.casefold() else None

    def _created_group(self, path: str) -> Mapping[str, Any]:
        above, _, name = path.rpartition("/")
        body: dict[str, Any] = {"name": name, "path": name}
        if above:
            body["parent_id"] = self._ensured_group(above)[0]
        try:
            made: Mapping[str, Any] = self._client.post("/groups", **body)
        except RejectedError as exc:
            if _TAKEN in exc.message and (there := self._find_group(path)) is not None:
                return there
            raise RejectedError(f"{exc.message} (making the group {path})", hint=_HINT) from exc
        return made

    def _visibility(self, wish: ProjectWish, group: str) -> str:
        """Return the source's visibility, but never a wider one than the group's."""
        levels = (wish.visibility, self._group(group)[1])
        return _VISIBILITIES[min(_VISIBILITIES.index(one) if one in _VISIBILITIES else 0 for one in levels)]


def _project(row: Mapping[str, Any]) -> MirrorProject:
    marks = {str(one.get("key")): str(one.get("value")) for one in row.get("custom_attributes") or []}
    return MirrorProject(
        int(row["id"]),
        str(row["path_with_namespace"]),
        marks.get(MARK, ""),
        str(row.get("visibility", "private")),
        bool(row.get("archived")),
        str(row.get("repository_object_format") or "sha1"),
    )


def _is_going(row: Mapping[str, Any]) -> bool:
    """Tell whether a project is marked for deletion."""
    return bool(row.get("marked_for_deletion_on") or row.get("marked_for_deletion_at"))


def _begun(wish: ProjectWish) -> str:
    """Return the description that a project has until it is marked: so a killed run's is told from others."""
    return f"AutoGit makes the mirror of {wish.identity} here"[:_LONGEST_DESCRIPTION]


def _plain(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _topics(topics: tuple[str, ...]) -> list[str]:
    """Return topics as GitLab takes them: none with a comma, none twice."""
    plain = (_plain(one.replace(",", " "))[:_LONGEST_TOPIC] for one in topics)
    return list(dict.fromkeys(one for one in plain if one))
