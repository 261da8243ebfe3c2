"""What the API speaks: replies, errors with GitLab's bodies, routes, and what one call knows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from tests.fakes.gitlab.parameters import NONE, Parameters


@dataclass(frozen=True)
class Reply:
    """A status, a body that becomes JSON (None: no body), and headers."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """Ends a call with this status and body; a plain sentence becomes GitLab's `message`."""

    def __init__(self, status, body, headers=None):
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body if isinstance(body, dict) and ("message" in body or "error" in body) else {"message": body}
        self.headers = headers or {}

    def reply(self):
        """As an answer: redirects and throttles are plain text, all else is JSON."""
        is_plain = self.headers.get("Content-Type") == "text/plain"
        return Reply(self.status, self.body["message"] if is_plain else self.body, self.headers)


def unauthorized():
    return ApiError(401, "401 Unauthorized")


def forbidden(reason=""):
    return ApiError(403, f"403 Forbidden - {reason}" if reason else "403 Forbidden")


def not_found(resource=""):
    return ApiError(404, f"404 {resource} Not Found" if resource else "404 Not Found")


def invalid(**messages):
    """Errors of a model: {"message": {"path": ["has already been taken"]}}."""
    return ApiError(400, {name: [text] if isinstance(text, str) else list(text) for name, text in messages.items()})


@dataclass(frozen=True)
class Route:
    """One endpoint: who may call it, with what, and the function that answers."""

    method: str
    pattern: str
    handler: object
    parameters: Parameters = NONE
    access: str = "user"
    """`none`: not even looked at, `optional`: anonymous may ask, `user`, `admin`."""
    scopes: tuple[str, ...] = ()
    """Scopes that open this endpoint beside `api` (and `read_api` for reading); "*" is any token."""

    @property
    def opening(self):
        reading = ("read_api",) if self.method in {"GET", "HEAD"} else ()
        return (*self.scopes, "api", *reading)

    @property
    def advertised(self):
        """What the error of a missing scope lists: all scopes registered, whatever the method."""
        return (*self.scopes, "api", "read_api")


class Router:
    """Finds the route of a raw path: its `/` part the ids, `%2F` belongs to one."""

    def __init__(self, routes):
        self._routes = [(self._expression(route.pattern), route) for route in routes]

    @staticmethod
    def _expression(pattern):
        return re.compile(re.sub(r":(\w+)", r"(?P<\1>[^/]+)", pattern) + r"/?\Z")

    def find(self, method, raw_path):
        """The route and the ids in the path; None for a path nobody has, ApiError where the method is wrong."""
        wanted = "GET" if method == "HEAD" else method
        seen = False
        for expression, route in self._routes:
            match = expression.match(raw_path)
            if match is None:
                continue
            if route.method == wanted:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
            seen = True
        if seen:
            raise ApiError(405, {"error": "405 Not Allowed"}, {"Allow": "OPTIONS"})
        raise ApiError(404, {"error": "404 Not Found"})


@dataclass
class Call:
    """One call of the API, as a handler sees it."""

    core: object
    route: Route
    ids: dict[str, str]
    given: dict[str, object]
    raw_path: str
    query: str
    values: dict[str, object] = field(default_factory=dict)
    user: object = None
    token: object = None
    is_admin: bool = False

    @property
    def state(self):
        return self.core.state

    @property
    def repositories(self):
        return self.core.repositories

    def get(self, name, default=None):
        return self.values.get(name, default)

    @property
    def url(self):
        return f"{self.core.url}/api/v4{self.raw_path}"


_INDEX = re.compile(r"\[([^\]]*)\]")


def nest(pairs):
    """Parameters as Rack reads them: `a[]=1&a[]=2`, `a[b]=1`, `a[0][b]=1`."""
    tree: dict[str, object] = {}
    for key, value in pairs:
        name, keys = key.split("[", 1)[0], _INDEX.findall(key)
        _place(tree, [name, *keys], value)
    return {name: _settle(value) for name, value in tree.items()}


def _place(tree, keys, value):
    key, *rest = keys
    if not rest:
        tree[key] = value
    elif rest == [""]:
        tree.setdefault(key, []).append(value)
    else:
        _place(tree.setdefault(key, {}), rest, value)


def _settle(value):
    if isinstance(value, dict):
        settled = {name: _settle(one) for name, one in value.items()}
        return list(settled.values()) if settled and all(name.isdigit() for name in settled) else settled
    return value


def read_parameters(query, content_type, body):
    """All parameters of a request: query string and body, JSON or form."""
    given = nest(parse_qsl(query, keep_blank_values=True))
    if not body:
        return given
    if content_type.startswith("application/json"):
        try:
            read = json.loads(body)
        except ValueError:
            raise ApiError(400, {"error": "There was a problem in the JSON you submitted"}) from None
        return given | (read if isinstance(read, dict) else {})
    if content_type.startswith("application/x-www-form-urlencoded"):
        return given | nest(parse_qsl(body.decode(), keep_blank_values=True))
    raise ApiError(415, {"error": f"The provided content-type '{content_type}' is not supported."})
