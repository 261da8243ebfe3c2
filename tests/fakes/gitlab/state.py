"""What the fake holds: users, tokens, namespaces, projects, and who may do what with them."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from tests.fakes.gitlab.settings import default_settings

GUEST, REPORTER, DEVELOPER, MAINTAINER, OWNER, ADMIN = 10, 20, 30, 40, 50, 60
VISIBILITIES = ("private", "internal", "public")
SCOPES = (
    *("api", "read_api", "read_user", "create_runner", "manage_runner", "k8s_proxy", "self_rotate", "mcp"),
    *("read_repository", "write_repository", "read_registry", "write_registry", "read_virtual_registry"),
    *("write_virtual_registry", "ai_features", "sudo", "admin_mode", "read_service_ping"),
)
LIFETIME_DAYS = 365


def now():
    return datetime.now(UTC)


@dataclass
class User:
    id: int
    username: str
    name: str
    email: str
    admin: bool = False
    state: str = "active"
    external: bool = False
    attributes: dict = field(default_factory=dict)
    created_at: datetime = field(default_factory=now)


@dataclass
class Token:
    id: int
    user_id: int
    name: str
    scopes: tuple[str, ...]
    expires_at: date | None
    value: str
    family: int
    description: str = ""
    revoked: bool = False
    created_at: datetime = field(default_factory=now)
    last_used_at: datetime | None = None

    @property
    def expired(self):
        return self.expires_at is not None and self.expires_at <= now().date()

    @property
    def active(self):
        return not self.revoked and not self.expired


@dataclass
class Namespace:
    """A group, or the place of a user's own projects."""

    id: int
    kind: str
    name: str
    path: str
    visibility: str
    parent_id: int | None = None
    owner_id: int | None = None
    attributes: dict = field(default_factory=dict)
    members: dict[int, int] = field(default_factory=dict)
    created_at: datetime = field(default_factory=now)
    deletion_on: date | None = None


@dataclass
class Project:
    id: int
    name: str
    path: str
    namespace_id: int
    creator_id: int
    visibility: str
    attributes: dict = field(default_factory=dict)
    members: dict[int, int] = field(default_factory=dict)
    archived: bool = False
    object_format: str = "sha1"
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    last_activity_at: datetime = field(default_factory=now)
    deletion_on: date | None = None
    protected: list[dict] = field(default_factory=list)
    releases: dict[str, dict] = field(default_factory=dict)
    issues: list[dict] = field(default_factory=list)
    merges: list[dict] = field(default_factory=list)
    mirrors: list[dict] = field(default_factory=list)
    keys: list[dict] = field(default_factory=list)
    hooks: list[dict] = field(default_factory=list)
    packages: list[dict] = field(default_factory=list)
    lfs: set[str] = field(default_factory=set)
    custom_attributes: dict[str, str] = field(default_factory=dict)
    starred_by: set[int] = field(default_factory=set)
    messages: dict[int, str] = field(default_factory=dict)
    """What the next push of a user is told, by user."""

    @property
    def lfs_enabled(self):
        return self.attributes.get("lfs_enabled", True) is not False

    def feature(self, name):
        """Whether `issues`, `wiki`, ... is on, by whichever of its two attributes was set."""
        level = self.attributes.get(f"{name}_access_level")
        return level != "disabled" if level else self.attributes.get(f"{name}_enabled", True) is not False


class State:
    """Everything in memory, behind one lock that each call of the API holds."""

    def __init__(self):
        self.lock = threading.RLock()
        self.users: dict[int, User] = {}
        self.tokens: dict[int, Token] = {}
        self.namespaces: dict[int, Namespace] = {}
        self.projects: dict[int, Project] = {}
        self.applications: dict[int, dict] = {}
        self.redirects: dict[str, int] = {}
        self.lfs_tokens: dict[str, int] = {}
        self.settings = default_settings()
        self._last: dict[str, int] = {}
        self.add_user("root", "Administrator", "admin@example.com", admin=True)

    def next_id(self, kind):
        with self.lock:
            self._last[kind] = self._last.get(kind, 0) + 1
            return self._last[kind]

    def add_user(self, username, name, email, *, admin=False, **attributes):
        with self.lock:
            user = User(self.next_id("user"), username, name, email, admin, attributes=attributes)
            self.users[user.id] = user
            place = Namespace(self.next_id("namespace"), "user", name, username, "public", owner_id=user.id)
            self.namespaces[place.id] = place
            return user

    def add_token(self, user, name, scopes, expires_at=None, *, description="", family=0):
        with self.lock:
            number = self.next_id("token")
            value = f"{self.settings['personal_access_token_prefix']}{secrets.token_urlsafe(15)}.01.{number:09x}"
            token = Token(number, user.id, name, tuple(scopes), expires_at, value, family or number, description)
            self.tokens[token.id] = token
            return token

    def find_token(self, value):
        return next((token for token in self.tokens.values() if secrets.compare_digest(token.value, value)), None)

    def revoke_family(self, token):
        """What GitLab does once a revoked token is used to rotate: the whole chain goes."""
        for one in self.tokens.values():
            if one.family == token.family:
                one.revoked = True

    def find_user(self, name):
        wanted = str(name).lower()
        return next((user for user in self.users.values() if wanted in {str(user.id), user.username.lower()}), None)

    def home(self, user):
        """The namespace of a user's own projects."""
        return next(place for place in self.namespaces.values() if place.owner_id == user.id)

    # Paths

    def namespace_path(self, namespace):
        parent = self.namespaces.get(namespace.parent_id)
        return f"{self.namespace_path(parent)}/{namespace.path}" if parent else namespace.path

    def namespace_name(self, namespace):
        parent = self.namespaces.get(namespace.parent_id)
        return f"{self.namespace_name(parent)} / {namespace.name}" if parent else namespace.name

    def project_path(self, project):
        return f"{self.namespace_path(self.namespaces[project.namespace_id])}/{project.path}"

    def find_namespace(self, which):
        if str(which).isdigit():
            return self.namespaces.get(int(which))
        wanted = str(which).lower()
        return next((one for one in self.namespaces.values() if self.namespace_path(one).lower() == wanted), None)

    def find_project(self, which):
        """By number or by the path it has now."""
        if str(which).isdigit():
            return self.projects.get(int(which))
        wanted = str(which).lower()
        return next((one for one in self.projects.values() if self.project_path(one).lower() == wanted), None)

    def find_moved(self, path):
        """The project that once had this path."""
        return self.projects.get(self.redirects.get(str(path).lower(), 0))

    def is_taken(self, namespace_id, path):
        """Whether a group or a project of that parent has this path; case does not tell them apart."""
        wanted = path.lower()
        groups = (one.path.lower() for one in self.namespaces.values() if one.parent_id == namespace_id)
        projects = (one.path.lower() for one in self.projects.values() if one.namespace_id == namespace_id)
        return wanted in {*groups, *projects}

    def below(self, namespace):
        """The namespace and all groups in it."""
        found = [namespace]
        for one in found:
            found.extend(child for child in self.namespaces.values() if child.parent_id == one.id)
        return found

    def projects_below(self, namespace):
        places = {one.id for one in self.below(namespace)}
        return [project for project in self.projects.values() if project.namespace_id in places]

    def moving(self, namespace=None, project=None):
        """The paths as they are; hand the result to `moved` after the change."""
        projects = [project] if project else self.projects_below(namespace)
        return {one.id: self.project_path(one) for one in projects}

    def moved(self, before):
        """Leave redirects where projects were, as routes do."""
        for number, path in before.items():
            self.redirects[path.lower()] = number
            self.settle(self.project_path(self.projects[number]))

    def settle(self, path):
        """A path in use redirects nowhere, nor does anything below it."""
        used = path.lower()
        for old in [one for one in self.redirects if one == used or one.startswith(f"{used}/")]:
            del self.redirects[old]

    # Rights

    def role(self, user, thing):
        """The highest role of a user in a project or a namespace, inherited ones counted; 0 without."""
        if user is None:
            return 0
        best = thing.members.get(user.id, 0)
        place = self.namespaces.get(thing.namespace_id) if isinstance(thing, Project) else thing
        while place is not None:
            best = max(best, place.members.get(user.id, 0), OWNER if place.owner_id == user.id else 0)
            place = self.namespaces.get(place.parent_id)
        return best

    def can_read(self, user, thing, *, is_admin=False):
        if isinstance(thing, Namespace) and thing.kind == "user":
            return True
        visible = thing.visibility == "public" or (thing.visibility == "internal" and user and not user.external)
        if isinstance(thing, Namespace) and not visible:
            visible = any(self.can_read(user, project) for project in self.projects_below(thing))
        return bool(visible or is_admin or self.role(user, thing) >= GUEST)

    def is_going(self, project):
        """Whether the project, or a group it is in, is marked for deletion."""
        if project.deletion_on:
            return True
        place = self.namespaces.get(project.namespace_id)
        while place is not None:
            if place.deletion_on:
                return True
            place = self.namespaces.get(place.parent_id)
        return False

    def deletion_day(self):
        return now().date() + timedelta(days=self.settings["deletion_adjourned_period"])
