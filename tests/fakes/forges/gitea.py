"""Something that answers like Gitea's and Forgejo's API v1 as far as finding repositories goes; see README.md."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fakes.forges.server import Answer, Forge, Refusal, link, number

LACKS = "token does not have at least one of required scope(s)"
ALL = ("read:repository", "read:user", "read:organization")


@dataclass
class Token:
    login: str
    scopes: tuple = ALL


class FakeGitea(Forge):
    """Users and organisations with repositories. It thinks it is at `root_url`, which may be wrong, as often it is."""

    parameters = {  # noqa: RUF012 - read only
        "list": {"page", "limit"},
        "none": set(),
        "releases": {"draft", "pre-release", "q", "page", "limit"},
        "issues": {"state", "labels", "q", "type", "milestones", "since", "before", "page", "limit"},
        "pulls": {"base_branch", "state", "sort", "milestone", "labels", "poster", "page", "limit"},
    }

    def __init__(self):
        super().__init__()
        self.users, self.orgs, self.repositories, self.tokens = set(), set(), {}, {}
        self.data, self.files = {}, {}
        self.root_url, self.most, self.is_old, self.renamed = "http://localhost:3000", 50, True, {}

    def add_token(self, login, scopes=ALL):
        made = f"{len(self.tokens):040x}"
        self.tokens[made] = Token(login, scopes)
        return made

    def add(self, owner, name, **more):
        """Make a repository; returns its number."""
        made = 1 + len(self.repositories)
        self.repositories[made] = {
            "id": made,
            "owner": {"login": owner},
            "name": name,
            "full_name": f"{owner}/{name}",
            "description": "",
            "empty": False,
            "private": False,
            "internal": False,
            "fork": False,
            "mirror": False,
            "size": 26,
            "archived": False,
            "default_branch": "main",
            "topics": [],
            "has_wiki": True,
            "clone_url": f"{self.root_url}/{owner}/{name}.git",
            "updated_at": "2026-11-02T10:00:00Z",
            **more,
        }
        return made

    def answer(self, asked):
        token = self._token(asked)
        match asked.segments:
            case ["api", "v1", "users", name, "repos"]:
                self._scoped(token, "read:user", "read:repository")
                if name in self.renamed:
                    there = f"/api/v1/users/{self.renamed[name]}/repos?page=1&limit=50"
                    raise Refusal(307, None, Location=there)
                return self._listed(asked, token, name, self.users, "user redirect does not exist [name: {}]")
            case ["api", "v1", "orgs", name, "repos"]:
                self._scoped(token, "read:organization")
                return self._listed(asked, token, name, self.orgs, "GetOrgByName")
            case ["attachments", number] if number in self.files:
                self._scoped(token, "read:repository")
                return Answer(200, self.files[number], {"Content-Type": "application/octet-stream"})
            case ["api", "v1", "repos", owner, name, ("releases" | "issues" | "pulls") as kind]:
                self._scoped(token, "read:issue" if kind == "issues" else "read:repository")
                return self._data(asked, f"{owner}/{name}", kind)
            case ["api", "v1", "repositories", text]:
                self._scoped(token, "read:repository")
                self.known(asked, "none")
                one = self.repositories.get(int(text)) if text.isdigit() else None
                if one is None or (one["private"] and token is None):
                    raise Refusal(404, self._message("GetRepositoryByID"))
                return Answer(200, one)
        raise Refusal(404, b"Not found.\n")

    def opens(self, user, password):
        """Any user name does."""
        token = self.tokens.get(password)
        return token is not None and "read:repository" in token.scopes

    def _listed(self, asked, token, name, those, words):
        self.known(asked, "list")
        if name.lower() not in {one.lower() for one in those}:
            raise Refusal(404, self._message(words.format(name)))
        seen = [one for one in self.repositories.values() if one["owner"]["login"].lower() == name.lower()]
        seen = [one for one in seen if token or not one["private"]]
        size, page = number(asked, "limit", 30, self.most), number(asked, "page", 1, 10**6)
        headers = {"X-Total-Count": str(len(seen)), "X-HasMore": "true" if page * size < len(seen) else "false"}
        if page * size < len(seen):
            headers["Link"] = link(f"{self.root_url}{asked.path}", asked, "next", page=page + 1)
        return Answer(200, seen[(page - 1) * size : page * size], headers)

    def _data(self, asked, full, kind):
        made = next((made for made, one in self.repositories.items() if one["full_name"] == full), None)
        if made is None:
            raise Refusal(404, self._message("GetRepositoryByOwnerAndName"))
        entries = self.data.get(made, {}).get(kind, [])
        shown, _, has_more = self.data_page(asked, entries, kind, "limit", self.most)
        return Answer(200, shown, {"X-Total-Count": str(len(entries)), "X-HasMore": str(has_more).lower()})

    def _scoped(self, token, *needed):
        for scope in needed:
            if token and scope not in token.scopes:
                has = ",".join(token.scopes)
                text = f"{LACKS}: [{scope}]" if self.is_old else f"{LACKS}, required=[{scope}], token scope={has}"
                raise Refusal(403, self._message(text))

    def _token(self, asked):
        kind, _, value = asked.headers.get("authorization", "").partition(" ")
        if not kind:
            return None
        if kind not in {"token", "Bearer"} or value not in self.tokens:
            raise Refusal(401, self._message("invalid username, password or token"))
        return self.tokens[value]

    def _message(self, text):
        return {"message": text, "url": f"{self.root_url}/api/swagger"}
