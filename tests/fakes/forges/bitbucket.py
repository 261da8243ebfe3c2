"""Something that answers like Bitbucket Cloud's API 2.0 as far as finding repositories goes; see README.md."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass

from tests.fakes.forges.server import Answer, Forge, Refusal, conditional, number

LACKS = "Your credentials lack one or more required privilege scopes."
_NEEDED = ("repository", "read:repository:bitbucket")


@dataclass
class Token:
    """One with an e-mail is an API token, given by Basic; one without an access token, given as Bearer."""

    scopes: tuple
    email: str = ""


class FakeBitbucket(Forge):
    """Workspaces with repositories."""

    parameters = {"list": {"role", "q", "sort", "pagelen", "page", "fields"}, "none": {"fields"}}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.workspaces, self.repositories, self.tokens, self.next_url = set(), {}, {}, ""

    def add_token(self, *scopes, email=""):
        made = f"ATATT{len(self.tokens):030d}" if email else f"ATCTT{len(self.tokens):030d}"
        self.tokens[made] = Token(scopes or (_NEEDED[1] if email else _NEEDED[0],), email)
        return made

    def add(self, workspace, slug, **more):
        """Make a repository; returns its UUID."""
        made = f"{{{uuid.uuid4()}}}"
        full = f"{workspace}/{slug}"
        self.repositories[made] = {
            "type": "repository",
            "uuid": made,
            "full_name": full,
            "slug": slug,
            "name": slug,
            "is_private": False,
            "scm": "git",
            "has_wiki": False,
            "size": 33348,
            "description": "",
            "mainbranch": {"type": "branch", "name": "main"},
            "updated_on": "2026-11-02T10:00:00.000000+00:00",
            "links": {"clone": [{"name": "https", "href": f"https://someone@bitbucket.org/{full}.git"}]},
            **more,
        }
        return made

    def answer(self, asked):
        token = self._token(asked)
        if token and not set(_NEEDED) & set(token.scopes):
            detail = {"required": [_NEEDED[bool(token.email)]], "granted": list(token.scopes)}
            raise Refusal(403, _error(LACKS, detail=detail))
        match asked.segments:
            case ["2.0", "repositories", workspace]:
                return conditional(asked, self._listed(asked, token, workspace), asked.headers.get("authorization", ""))
            case ["2.0", "repositories", workspace, name]:
                self.known(asked, "none")
                one = self._named(workspace, name)
                if one is None or (one["is_private"] and token is None):
                    full = f"{workspace}/{name}"
                    raise Refusal(
                        404, _error(f"You may not have access to this repository or it no longer exists: {full}")
                    )
                return Answer(200, one)
        raise Refusal(404, _error("Resource not found"))

    def opens(self, user, password):
        """Each kind of token has a user name of its own."""
        token = self.tokens.get(password)
        if token is None or not set(_NEEDED) & set(token.scopes):
            return False
        return user == ("x-bitbucket-api-token-auth" if token.email else "x-token-auth")

    def _named(self, workspace, name):
        for one in self.repositories.values():
            if one["full_name"].split("/")[0] == workspace and name in {one["uuid"], one["slug"]}:
                return one
        return None

    def _listed(self, asked, token, workspace):
        self.known(asked, "list")
        if workspace not in self.workspaces:
            raise Refusal(404, _error(f"No workspace with identifier '{workspace}'."))
        seen = [one for one in self.repositories.values() if one["full_name"].split("/")[0] == workspace]
        seen = [one for one in seen if token or not (one["is_private"] or "role" in asked.query)]
        size, page = number(asked, "pagelen", 10, 100), number(asked, "page", 1, 10**6)
        body = {"values": seen[(page - 1) * size : page * size], "pagelen": size, "page": page, "size": len(seen)}
        if page * size < len(seen):
            rest = "&".join(f"{name}={value}" for name, value in asked.query.items() if name != "page")
            body["next"] = self.next_url or f"{self.url}{asked.path}?{rest}&page={page + 1}"
        return Answer(200, body)

    def _token(self, asked):
        kind, _, value = asked.headers.get("authorization", "").partition(" ")
        if not kind:
            return None
        email = ""
        if kind == "Basic":
            email, _, value = base64.b64decode(value).decode().partition(":")
        token = self.tokens.get(value)
        if token is None or token.email != email:
            raise Refusal(401, _error("Token is invalid, expired, or not supported for this endpoint."))
        return token


def _error(text, **more):
    return {"type": "error", "error": {"message": text, **more}}
