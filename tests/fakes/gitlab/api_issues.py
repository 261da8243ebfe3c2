"""Issues, merge requests and their notes: as data, no workflow behind them."""

from __future__ import annotations

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.find import find_project, has_role, require_numbered
from tests.fakes.gitlab.paging import paginate
from tests.fakes.gitlab.state import DEVELOPER, GUEST, OWNER, REPORTER, now
from tests.fakes.gitlab.views import day, moment
from tests.fakes.gitlab.web import ApiError, Reply, Route, forbidden, invalid, not_found

_STATES = {"close": "closed", "reopen": "opened"}


def _is_merge(call):
    return "/merge_requests" in call.route.pattern


def _entries(call, project):
    return project.merges if _is_merge(call) else project.issues


def _project(call, least=0):
    project = find_project(call, least)
    if not project.feature("merge_requests" if _is_merge(call) else "issues"):
        raise forbidden()
    return project


def _find(call, least=0):
    project = _project(call, least)
    return project, require_numbered(_entries(call, project), call.ids["iid"])


def _show(call, project, entry):
    kind, mark = ("merge_requests", "!") if _is_merge(call) else ("issues", "#")
    path = call.state.project_path(project)
    hidden = {"notes", "author_id"}
    author = call.state.users.get(entry["author_id"])
    shown = {name: value for name, value in entry.items() if name not in hidden}
    return shown | {
        "project_id": project.id,
        "author": call.core.views.user_basic(author) if author else None,
        "user_notes_count": len(entry["notes"]),
        "web_url": f"{call.core.url}/{path}/-/{kind}/{entry['iid']}",
        "references": {
            "short": f"{mark}{entry['iid']}",
            "relative": f"{mark}{entry['iid']}",
            "full": f"{path}{mark}{entry['iid']}",
        },
    }


def list_entries(call):
    project = _project(call)
    found = [entry for entry in _entries(call, project) if _is_wanted(call, entry)]
    key = call.get("order_by") if call.get("order_by") in {"created_at", "updated_at", "title"} else "created_at"
    found.sort(key=lambda entry: (entry[key], entry["id"]), reverse=call.get("sort", "desc") == "desc")
    return paginate(call, found, lambda entry: _show(call, project, entry))


def _is_wanted(call, entry):
    if call.get("state") not in {None, "all", entry["state"]}:
        return False
    if call.get("iids") and str(entry["iid"]) not in call.get("iids"):
        return False
    if not set(call.get("labels") or []) <= set(entry["labels"]):
        return False
    search = (call.get("search") or "").lower()
    if search and search not in f"{entry['title']} {entry['description'] or ''}".lower():
        return False
    named = ("source_branch", "target_branch", "author_id")
    return all(call.get(name) in {None, entry.get(name)} for name in named)


def get_entry(call):
    return Reply(200, _show(call, *_find(call)))


def _new(call, project, entries):
    """What issues and merge requests share; owners may say when it was made and with which number."""
    may_backdate = has_role(call, project, OWNER)
    made = call.get("created_at") if may_backdate and call.get("created_at") else moment(now())
    iid = call.get("iid") if may_backdate and call.get("iid") else max((one["iid"] for one in entries), default=0) + 1
    if any(one["iid"] == iid for one in entries):
        raise ApiError(409, "Duplicated issue")
    if not call.get("title").strip():
        raise invalid(title="can't be blank")
    return {
        "iid": iid,
        "title": call.get("title"),
        "description": call.get("description"),
        "state": "opened",
        "created_at": made,
        "updated_at": made,
        "closed_at": None,
        "labels": call.get("labels") or [],
        "milestone": None,
        "assignees": [],
        "assignee": None,
        "author_id": call.user.id,
        "discussion_locked": None,
        "notes": [],
    }


def create_issue(call):
    project = _project(call, 0 if find_project(call).visibility != "private" else GUEST)
    entry = {"id": call.state.next_id("issue")} | _new(call, project, project.issues)
    kind = call.get("issue_type") or "issue"
    entry |= {"confidential": bool(call.get("confidential")), "due_date": day(call.get("due_date")), "issue_type": kind}
    project.issues.append(entry)
    return Reply(201, _show(call, project, entry))


def create_merge(call):
    project = _project(call, DEVELOPER)
    branches = dict(call.repositories.branches(project))
    source, target = call.get("source_branch"), call.get("target_branch")
    if source == target:
        raise ApiError(409, ["You can't use same project/branch for source and target"])
    for name, branch in (("source_branch", source), ("target_branch", target)):
        if branch not in branches:
            raise ApiError(400, {name: ["does not exist"]})
    clash = [one for one in project.merges if one["state"] == "opened" and one["source_branch"] == source]
    if any(one["target_branch"] == target for one in clash):
        text = f"Another open merge request already exists for this source branch: !{clash[0]['iid']}"
        raise ApiError(409, [text])
    entry = {"id": call.state.next_id("merge_request")} | _new(call, project, project.merges)
    entry |= {"source_branch": source, "target_branch": target, "sha": branches[source], "draft": False}
    entry |= {"source_project_id": project.id, "target_project_id": project.id, "merged_at": None, "reviewers": []}
    entry |= {"merge_status": "unchecked", "detailed_merge_status": "mergeable", "squash": bool(call.get("squash"))}
    project.merges.append(entry)
    # GitLab keeps the head of each merge request where everybody may fetch it and nobody may push.
    ref = f"refs/merge-requests/{entry['iid']}/head"
    call.repositories.git(call.repositories.path(project), "update-ref", ref, branches[source])
    return Reply(201, _show(call, project, entry))


def edit_entry(call):
    project, entry = _find(call, DEVELOPER if _is_merge(call) else REPORTER)
    for name in ("title", "description", "confidential", "discussion_locked", "target_branch", "labels", "squash"):
        if name in call.values:
            entry[name] = call.get(name)
    gone = call.get("remove_labels") or []
    entry["labels"] = [one for one in [*(entry["labels"] or []), *(call.get("add_labels") or [])] if one not in gone]
    if (event := call.get("state_event")) is not None:
        entry["state"] = _STATES[event]
        entry["closed_at"] = moment(now()) if event == "close" else None
    may_backdate = has_role(call, project, OWNER) and call.get("updated_at")
    entry["updated_at"] = call.get("updated_at") if may_backdate else moment(now())
    return Reply(200, _show(call, project, entry))


def delete_entry(call):
    project, entry = _find(call, OWNER)
    _entries(call, project).remove(entry)
    return Reply(204)


# Notes


def _note(call, entry, note):
    author = call.state.users.get(note["author_id"])
    shown = {name: value for name, value in note.items() if name != "author_id"}
    kind = "MergeRequest" if _is_merge(call) else "Issue"
    about = {"noteable_id": entry["id"], "noteable_iid": entry["iid"], "noteable_type": kind}
    return shown | about | {"author": call.core.views.user_basic(author) if author else None}


def list_notes(call):
    _, entry = _find(call)
    key, is_descending = call.get("order_by", "created_at"), call.get("sort", "desc") == "desc"
    notes = sorted(entry["notes"], key=lambda one: (one[key], one["id"]), reverse=is_descending)
    return paginate(call, notes, lambda note: _note(call, entry, note))


def _find_note(call):
    _, entry = _find(call)
    note = next((one for one in entry["notes"] if str(one["id"]) == call.ids["note_id"]), None)
    if note is None:
        raise not_found()
    return entry, note


def get_note(call):
    return Reply(200, _note(call, *_find_note(call)))


def create_note(call):
    project, entry = _find(call)
    made = call.get("created_at") if has_role(call, project, OWNER) and call.get("created_at") else moment(now())
    note = {
        "id": call.state.next_id("note"),
        "type": None,
        "body": call.get("body"),
        "author_id": call.user.id,
        "created_at": made,
        "updated_at": made,
        "system": False,
        "resolvable": False,
        "internal": bool(call.get("internal") or call.get("confidential")),
    }
    entry["notes"].append(note)
    return Reply(201, _note(call, entry, note))


def edit_note(call):
    entry, note = _find_note(call)
    if call.get("body"):
        note["body"] = call.get("body")
    return Reply(200, _note(call, entry, note))


def delete_note(call):
    entry, note = _find_note(call)
    entry["notes"].remove(note)
    return Reply(204)


def _notes(one):
    return (
        Route("GET", f"{one}/notes", list_notes, takes.NOTE_LIST, access="optional"),
        Route("POST", f"{one}/notes", create_note, takes.NOTE_CREATE),
        Route("GET", f"{one}/notes/:note_id", get_note, access="optional"),
        Route("PUT", f"{one}/notes/:note_id", edit_note, takes.NOTE_EDIT),
        Route("DELETE", f"{one}/notes/:note_id", delete_note),
    )


_ISSUES, _MERGES = "/projects/:id/issues", "/projects/:id/merge_requests"
ROUTES = (
    Route("GET", _ISSUES, list_entries, takes.ISSUE_LIST, access="optional"),
    Route("POST", _ISSUES, create_issue, takes.ISSUE_CREATE),
    Route("GET", f"{_ISSUES}/:iid", get_entry, access="optional"),
    Route("PUT", f"{_ISSUES}/:iid", edit_entry, takes.ISSUE_EDIT),
    Route("DELETE", f"{_ISSUES}/:iid", delete_entry),
    *_notes(f"{_ISSUES}/:iid"),
    Route("GET", _MERGES, list_entries, takes.MERGE_LIST, access="optional"),
    Route("POST", _MERGES, create_merge, takes.MERGE_CREATE),
    Route("GET", f"{_MERGES}/:iid", get_entry, access="optional"),
    Route("PUT", f"{_MERGES}/:iid", edit_entry, takes.MERGE_EDIT),
    Route("DELETE", f"{_MERGES}/:iid", delete_entry),
    *_notes(f"{_MERGES}/:iid"),
)
