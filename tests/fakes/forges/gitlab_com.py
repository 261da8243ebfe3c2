"""Something that answers like GitLab.com's API v4 as far as finding projects goes; see README.md."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import unquote

from tests.fakes.forges.server import Answer, Forge, Refusal, conditional, link, number

_PAGES = {"page", "per_page", "pagination", "order_by", "sort", "id_after", "id_before"}
_FILTERS = {"archived", "visibility", "search", "simple", "owned", "starred", "min_access_level", "topic"}
_HIGHER = "The request requires higher privileges than provided by the access token."


@dataclass
class Token:
    scopes: tuple = ("read_api", "read_repository")
    ended: str = ""


class FakeGitLabCom(Forge):
    """Groups, users, and projects by their full paths."""

    parameters = {  # noqa: RUF012 - read only
        "groups": {"include_subgroups", "with_shared", "with_issues_enabled"} | _PAGES | _FILTERS,
        "users": _PAGES | _FILTERS,
        "releases": {"order_by", "sort", "include_html_description", "page", "per_page"},
        "issues": {"scope", "state", "order_by", "sort", "labels", "created_after", "page", "per_page"},
        "merge_requests": {"scope", "state", "order_by", "sort", "labels", "created_after", "page", "per_page"},
        "none": {"license", "statistics", "with_custom_attributes"},
    }

    def __init__(self):
        super().__init__()
        self.groups, self.users, self.projects, self.tokens = set(), set(), {}, {}
        self.data, self.files = {}, {}

    def add_token(self, *scopes, ended=""):
        made = f"glpat-{len(self.tokens):020d}"
        self.tokens[made] = Token(scopes or Token.scopes, ended)
        return made

    def add(self, path, **more):
        """Make a project; returns its number."""
        made = 278964 + len(self.projects)
        self.projects[made] = {
            "id": made,
            "path": path.rpartition("/")[2],
            "path_with_namespace": path,
            "http_url_to_repo": f"{self.url}/{path}.git",
            "description": "",
            "default_branch": "main",
            "visibility": "public",
            "topics": [],
            "archived": False,
            "wiki_enabled": True,
            "wiki_access_level": "enabled",
            "last_activity_at": "2026-11-02T10:00:00.000Z",
            "marked_for_deletion_on": None,
            **more,
        }
        return made

    def answer(self, asked):
        token = self._token(asked)
        path = asked.segments
        if asked.path in self.files:
            answer = Answer(200, self.files[asked.path], {"Content-Type": "application/octet-stream"})
            if token is None:
                raise Refusal(302, None, Location=f"{self.url}/users/sign_in")
            answer.headers["ETag"] = f'"{hashlib.sha256(answer.body).hexdigest()}"'
            same = asked.headers.get("if-none-match") == answer.headers["ETag"]
            return Answer(304, None, answer.headers) if same else answer
        if path[:2] != ["api", "v4"]:
            raise Refusal(404, {"error": "404 Not Found"})
        if token and not {"api", "read_api"} & set(token.scopes):
            body = {"error": "insufficient_scope", "error_description": _HIGHER, "scope": "api read_api"}
            raise Refusal(403, body)
        answer = self._routed(asked, token, path[2:])
        return conditional(asked, answer, asked.headers.get("private-token", ""), weak=True)

    def opens(self, user, password):
        """Any user name does; the scope is read_repository (or more)."""
        token = self.tokens.get(password)
        return bool(token and not token.ended and {"read_repository", "write_repository", "api"} & set(token.scopes))

    def _routed(self, asked, token, path):
        match path:
            case ["groups", group, "projects"]:
                return self._listed(asked, token, "groups", self._known(group, self.groups, "Group"))
            case ["users", user, "projects"]:
                return self._listed(asked, token, "users", self._known(user, self.users, "User"))
            case ["projects", text, ("releases" | "issues" | "merge_requests") as kind] if text.isdigit():
                one = self.projects.get(int(text))
                if one is None or not self._may_see(token, one):
                    raise Refusal(404, {"message": "404 Project Not Found"})
                entries = self.data.get(int(text), {}).get(kind, [])
                shown, page, has_more = self.data_page(asked, entries, kind, "per_page", 100)
                base = f"{self.url}{asked.path}"
                return Answer(200, shown, {"Link": link(base, asked, "next", page=page + 1)} if has_more else {})
            case ["projects", text]:
                self.known(asked, "none")
                one = self.projects.get(int(text)) if text.isdigit() else None
                if one is None or not self._may_see(token, one):
                    raise Refusal(404, {"message": "404 Project Not Found"})
                return Answer(200, one)
        raise Refusal(404, {"error": "404 Not Found"})

    def _known(self, name, those, kind):
        name = unquote(name)
        if name.lower() not in {one.lower() for one in those}:
            raise Refusal(404, {"message": f"404 {kind} Not Found"})
        return name

    def _listed(self, asked, token, kind, owner):
        self.known(asked, kind)
        deep = kind == "groups" and asked.query.get("include_subgroups") == "true"
        seen = [one for one in self.projects.values() if _is_below(one, owner, deep) and self._may_see(token, one)]
        seen.sort(key=lambda one: one["id"], reverse=asked.query.get("sort", "desc") == "desc")
        size, base = number(asked, "per_page", 20, 100), f"{self.url}{asked.path}"
        if asked.query.get("pagination") == "keyset" and kind == "users":
            if asked.query.get("order_by") != "id":
                raise Refusal(405, {"error": "Keyset pagination is not yet available for this type of request"})
            seen = [one for one in seen if one["id"] > int(asked.query.get("id_after", 0))]
            more = {"Link": link(base, asked, "next", id_after=seen[size - 1]["id"])} if len(seen) > size else {}
            return Answer(200, seen[:size], more)
        page = number(asked, "page", 1, 10**6)
        links = [link(base, asked, "first", page=1)]
        links += [link(base, asked, "next", page=page + 1)] if page * size < len(seen) else []
        return Answer(200, seen[(page - 1) * size : page * size], {"Link": ", ".join(links), "X-Page": str(page)})

    def _may_see(self, token, one):
        return one["visibility"] == "public" or token is not None

    def _token(self, asked):
        given = asked.headers.get("private-token", "")
        if not given:
            return None
        if given not in self.tokens:
            raise Refusal(401, {"message": "401 Unauthorized"})
        if ended := self.tokens[given].ended:
            raise Refusal(401, {"error": "invalid_token", "error_description": ended})
        return self.tokens[given]


def _is_below(one, owner, deep):
    place = one["path_with_namespace"].rpartition("/")[0].lower()
    return place == owner.lower() or (deep and place.startswith(f"{owner.lower()}/"))
