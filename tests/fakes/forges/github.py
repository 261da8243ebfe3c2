"""Something that answers like GitHub's REST API as far as finding repositories goes; see README.md."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.fakes.forges.server import Answer, Forge, Refusal, conditional, link, number

DOCS = "https://docs.github.com/rest"
_PAGES = {"per_page", "page"}
_SORTED = {"type", "sort", "direction"} | _PAGES


@dataclass
class Token:
    """A classic token has scopes; a fine-grained one (None) the numbers of the repositories it is for."""

    login: str
    scopes: tuple | None = ("repo",)
    repositories: set = field(default_factory=set)
    expires: datetime | None = None
    contents: bool = True
    issues: bool = True


class FakeGitHub(Forge):
    """Accounts with repositories. GitHub Enterprise Server is at /api/v3, as here."""

    parameters = {  # noqa: RUF012 - read only
        "user": {"visibility", "affiliation", "since", "before"} | _SORTED,
        "users": _SORTED,
        "orgs": _SORTED,
        "releases": _PAGES,
        "issues": {"milestone", "state", "type", "assignee", "creator", "mentioned", "labels", "sort", "since"}
        | {"direction"}
        | _PAGES,
        "pulls": {"state", "head", "base"} | (_SORTED - {"type"}),
        "none": set(),
    }

    def __init__(self):
        super().__init__()
        self.accounts, self.repositories, self.tokens = {}, {}, {}
        self.data, self.files, self.store = {}, {}, ""
        self.limit, self.used, self.sso, self.blocked = 5000, 0, "", {}

    def add_account(self, login, kind="User"):
        self.accounts[login.lower()] = {"login": login, "id": 1000 + len(self.accounts), "type": kind}

    def add_token(self, login, scopes=("repo",), repositories=(), expires=None):
        made = f"ghp_{len(self.tokens):036d}" if scopes is not None else f"github_pat_{len(self.tokens):030d}"
        self.tokens[made] = Token(login, scopes, set(repositories), expires)
        return made

    def add(self, owner, name, **more):
        """Make a repository; returns its number."""
        made = more.pop("id", 1296269 + len(self.repositories))
        private = more.get("visibility", "public") != "public"
        self.repositories[made] = {
            "id": made,
            "node_id": f"R_{made}",
            "name": name,
            "owner": owner,
            "private": private,
            "visibility": "public",
            "description": None,
            "fork": False,
            "archived": False,
            "disabled": False,
            "has_wiki": False,
            "default_branch": "main",
            "topics": [],
            "size": 108,
            "pushed_at": "2026-01-26T19:06:43Z",
            "updated_at": "2026-01-26T19:14:43Z",
            "created_at": "2011-01-26T19:01:12Z",
            **more,
        }
        return made

    def shown(self, one):
        full = f"{one['owner']}/{one['name']}"
        return one | {
            "full_name": full,
            "owner": self.accounts[one["owner"].lower()],
            "html_url": f"{self.url}/{full}",
            "clone_url": f"{self.url}/{full}.git",
            "url": f"{self.url}/api/v3/repos/{full}",
        }

    def answer(self, asked):
        token = self._token(asked)
        limit = self._limit(asked, token)
        if asked.segments[:2] != ["api", "v3"]:
            raise Refusal(404, _message("Not Found"))
        answer = self._routed(asked, token, asked.segments[2:])
        answer.headers |= limit | _about(token) | ({"X-GitHub-SSO": self.sso} if self.sso else {})
        whose = asked.headers.get("authorization", "")
        is_file = isinstance(answer.body, bytes)
        return conditional(asked, answer, whose, weak=True) if answer.status == 200 and not is_file else answer

    def opens(self, user, password):
        """Any user name does; a classic token needs `repo`, a fine-grained one Contents: Read."""
        token = self.tokens.get(password)
        if token is None or (token.expires and token.expires <= datetime.now(UTC)):
            return False
        return token.contents if token.scopes is None else "repo" in token.scopes

    def _routed(self, asked, token, path):  # noqa: PLR0911 - one for each route
        match path:
            case ["user"]:
                return self._account(asked, self._signed(token).login)
            case ["user", "repos"]:
                login = self._signed(token).login
                return self._listed(asked, token, "user", lambda one: one["owner"].lower() == login.lower())
            case ["users", login]:
                return self._account(asked, login)
            case [("users" | "orgs") as kind, login, "repos"]:
                return self._of(asked, token, kind, login)
            case ["organizations", text, "repos"]:
                return self._of(asked, token, "orgs", self._login(text))
            case ["repos", owner, name, *rest]:
                return self._of_repository(asked, token, self._named(token, owner, name), rest)
            case ["repositories", text] if text.isdigit():
                return self._one(asked, token, int(text))
        raise Refusal(404, _message("Not Found"))

    def _of(self, asked, token, kind, login):
        account = self.accounts.get(login.lower())
        if account is None or (kind == "orgs") != (account["type"] == "Organization"):
            raise Refusal(404, _message("Not Found"), **_under(_about(token)))

        def belongs(one):
            # A user's list shows public ones only, whoever asks.
            return one["owner"].lower() == login.lower() and (kind == "orgs" or one["visibility"] == "public")

        return self._listed(asked, token, kind, belongs, account)

    def _account(self, asked, login):
        self.known(asked, "none")
        if login.lower() not in self.accounts:
            raise Refusal(404, _message("Not Found"))
        return Answer(200, dict(self.accounts[login.lower()]))

    def _one(self, asked, token, made):
        self.known(asked, "none")
        if made in self.blocked:
            raise Refusal(*self.blocked[made])
        one = self.repositories.get(made)
        if one is None or not self._may_see(token, one):
            return Answer(404, _message("Not Found"))
        return Answer(200, self.shown(one))

    def _named(self, token, owner, name):
        for one in self.repositories.values():
            is_it = (one["owner"].lower(), one["name"].lower()) == (owner.lower(), name.lower())
            if is_it and self._may_see(token, one):
                return one["id"]
        raise Refusal(404, _message("Not Found"))

    def _of_repository(self, asked, token, made, path):
        match path:
            case [("releases" | "issues" | "pulls") as kind]:
                return self._data(asked, token, made, kind)
            case ["releases", "assets", text]:
                return self._file(asked, int(text))
        raise Refusal(404, _message("Not Found"))

    def _data(self, asked, token, made, kind):
        """Open ones only unless all are asked for; pull requests are among the issues."""
        if token and token.scopes is None and not (token.contents if kind == "releases" else token.issues):
            needed = {"releases": "contents=read", "issues": "issues=read", "pulls": "pull_requests=read"}[kind]
            text = "Resource not accessible by personal access token"
            raise Refusal(403, _message(text), X_Accepted_GitHub_Permissions=needed)
        entries = list(self.data.get(made, {}).get(kind, []))
        if kind != "releases" and asked.query.get("state", "open") != "all":
            entries = [one for one in entries if one.get("state", "open") == "open"]
        shown, page, has_more = self.data_page(asked, entries, kind, "per_page", 100)
        more = {"Link": link(f"{self.url}{asked.path}", asked, "next", page=page + 1)} if has_more else {}
        return Answer(200, shown, more)

    def _file(self, asked, asset):
        """JSON, or the file itself where `Accept` wants that: here, or by a redirect to a store."""
        if asset not in self.files:
            raise Refusal(404, _message("Not Found"))
        if asked.headers.get("accept") != "application/octet-stream":
            return Answer(200, {"id": asset})
        if self.store:
            raise Refusal(302, None, Location=f"{self.store}/{asset}?signature=x")
        return Answer(200, self.files[asset], {"Content-Type": "application/octet-stream"})

    def _listed(self, asked, token, kind, belongs, account=None):
        self.known(asked, kind)
        seen = [one for one in self.repositories.values() if belongs(one) and self._may_see(token, one)]
        size, page = number(asked, "per_page", 30, 100), number(asked, "page", 1, 10**6)
        pages = -(-len(seen) // size)
        # An organisation's further pages are at its number, as GitHub has it.
        base = f"{self.url}{asked.path}"
        if kind == "orgs":
            base = f"{self.url}/api/v3/organizations/{account['id']}/repos"
        links = (
            [link(base, asked, "next", page=page + 1), link(base, asked, "last", page=pages)] if page < pages else []
        )
        links += [link(base, asked, "prev", page=page - 1), link(base, asked, "first", page=1)] if page > 1 else []
        shown = [self.shown(one) for one in seen[(page - 1) * size : page * size]]
        return Answer(200, shown, {"Link": ", ".join(links)} if links else {})

    def _may_see(self, token, one):
        if one["visibility"] == "public":
            return True
        if token is None:
            return False
        return "repo" in token.scopes if token.scopes is not None else one["id"] in token.repositories

    def _login(self, number):
        return next((one["login"] for one in self.accounts.values() if str(one["id"]) == number), "")

    def _signed(self, token):
        if token is None:
            raise Refusal(401, _message("Requires authentication"))
        return token

    def _token(self, asked):
        given = asked.headers.get("authorization", "")
        if not given:
            return None
        kind, _, value = given.partition(" ")
        token = self.tokens.get(value) if kind.lower() in {"bearer", "token"} else None
        if token is None or (token.expires and token.expires <= datetime.now(UTC)):
            about = {"GitHub_Authentication_Token_Expiration": _stamp(token.expires)} if token else {}
            raise Refusal(401, _message("Bad credentials"), **about)
        return token

    def _limit(self, asked, token):
        """Count a request; a good conditional one costs a signed asker nothing, which is not told here by 304s."""
        if "if-none-match" not in asked.headers:
            self.used += 1
        reset = int(time.time()) + 1800
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "X-RateLimit-Reset": str(reset),
            "X-RateLimit-Used": str(self.used),
            "X-RateLimit-Resource": "core",
        }
        if self.used > self.limit:
            who = f"user ID {self.accounts[token.login.lower()]['id']}" if token else "127.0.0.1"
            raise Refusal(403, _message(f"API rate limit exceeded for {who}."), **_under(headers))
        return headers


def _under(headers):
    return {name.replace("-", "_"): value for name, value in headers.items()}


def _message(text):
    return {"message": text, "documentation_url": DOCS}


def _stamp(moment):
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _about(token):
    """What answers say of a token."""
    if token is None:
        return {}
    told = {"GitHub-Authentication-Token-Expiration": _stamp(token.expires)} if token.expires else {}
    if token.scopes is None:
        return told | {"X-Accepted-GitHub-Permissions": "metadata=read"}
    return told | {"X-OAuth-Scopes": ", ".join(token.scopes), "X-Accepted-OAuth-Scopes": "repo"}
