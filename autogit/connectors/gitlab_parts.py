"""What is kept in a GitLab, part by part: application settings, groups, users and OAuth applications."""

from __future__ import annotations

import json
import secrets as randomness
import string
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

from autogit.connectors.gitlab import GitLabClient
from autogit.errors import MissingError, RejectedError
from autogit.model.gitlab import GITLAB_SETTING
from autogit.model.lockfile import LockEntry
from autogit.model.plan import Action, Change
from autogit.model.resource import Address, Resource, Value

_FOREIGN = "somebody made it in GitLab"
_PASSWORD_LENGTH = 24
_STORED, _MISSING = "stored", "missing"


class SecretKeeper(Protocol):
    """Where secrets are kept, encrypted; both are durable when they return."""

    def get(self, name: str) -> str | None:
        """Return a secret, None where there is none."""

    def put(self, name: str, value: str | None) -> None:
        """Keep a secret in the place of the former one; None forgets it."""


@dataclass(frozen=True)
class Known:
    """What is wished for under one name, and what the lockfile remembers of it."""

    wish: Resource | None
    entry: LockEntry | None


class Part(ABC):
    """One sort of thing in a GitLab. Names are those below `gitlab_setting/<word>/`. Everything here blocks."""

    word: ClassVar[str]

    def __init__(self, client: GitLabClient, secrets: SecretKeeper) -> None:
        self.client = client
        self.secrets = secrets

    @abstractmethod
    def observe(self, known: Mapping[str, Known]) -> Iterator[Resource]:
        """Yield what is there of these names."""

    @abstractmethod
    def make(self, name: str, change: Change) -> tuple[str, dict[str, Value]]:
        """Create or change one thing; return what became of it and what the lockfile is to know besides the wish."""

    @abstractmethod
    def remove(self, name: str, before: Resource) -> str:
        """Remove one thing that is ours; return what became of it."""

    def obstacle(self, name: str, change: Change) -> str:
        """Return what stands in the way of a change, "" for nothing."""
        del name, change
        return ""

    def made_already(self, name: str, change: Change) -> Resource | None:
        """Return a thing that is to be created, where it is there as wished: the answer to an earlier try was lost.

        Raises RejectedError for one that is there and is not as wished: somebody made it since the plan was.
        """
        wish = change.after
        seen = next(self.observe({name: Known(wish, None)}), None) if wish else None
        if wish is None or seen is None:
            return None
        if any(seen.attributes.get(key) != value for key, value in wish.attributes.items()):
            raise RejectedError(f"gitlab: {wish.address} was made by somebody just now", hint="make a new plan")
        return seen

    def address(self, name: str) -> Address:
        """Return a thing's address."""
        return Address(GITLAB_SETTING, f"{self.word}/{name}")

    def resource(self, name: str, seen: Mapping[str, Value], known: Known) -> Resource:
        """Return an observed thing that has an id: ours where the lockfile has that id, or a killed run made it."""
        entry = known.entry
        is_ours = entry is not None and (entry.attributes.get("id") == seen["id"] or _was_about_to(entry, seen))
        # Of what nobody wishes for nothing is recorded: it is GitLab's, or somebody's in it.
        names = {"id", *known.wish.attributes} if known.wish else set(seen)
        shown = {key: value for key, value in seen.items() if key in names}
        return Resource(self.address(name), shown, foreign="" if is_ours else _FOREIGN)


def _was_about_to(entry: LockEntry, seen: Mapping[str, Value]) -> bool:
    """Tell whether a killed run made this: its secret may not have been kept any more."""
    return "id" not in entry.attributes and entry.intends({**seen, **({"secret": _STORED} if "secret" in seen else {})})


def plain(value: Any) -> Value:
    """Return a value of GitLab's JSON as an attribute: lists of texts as tuples, anything deeper as JSON."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value, sort_keys=True)


class SettingsPart(Part):
    """`application_settings/<name>`: one of GitLab's application settings each.

    `was` is the value that it had before AutoGit set it: a setting that is no longer wished for gets it back.
    """

    word: ClassVar[str] = "application_settings"
    _GOES_WITH: ClassVar[Mapping[str, str]] = {"require_two_factor_authentication": "two_factor_grace_period"}
    """What GitLab wants to be told along, though it is not changed."""

    def observe(self, known: Mapping[str, Known]) -> Iterator[Resource]:
        """Ask for all of them at once."""
        if not known:
            return
        shown = self.client.get("/application/settings")
        for name, one in known.items():
            if name in shown:
                former = one.entry.attributes if one.entry else {}
                kept = {"was": former["was"]} if "was" in former else {}
                yield Resource(self.address(name), {"value": plain(shown[name]), **kept})

    def obstacle(self, name: str, change: Change) -> str:
        """Name a setting that GitLab does not have: it would drop it without a word."""
        unknown = change.action is Action.CREATE
        return f"this GitLab has no application setting {name}, or never shows it" if unknown else ""

    def make(self, name: str, change: Change) -> tuple[str, dict[str, Value]]:
        """Set one, and look whether it was taken."""
        wish = change.after.attributes["value"] if change.after else None
        before = change.before.attributes if change.before else {}
        self._set(name, wish)
        was = before.get("was", json.dumps(before.get("value")))
        return "set", {"was": was}

    def remove(self, name: str, before: Resource) -> str:
        """Give it back the value it had."""
        was = before.attributes.get("was")
        if not isinstance(was, str):
            return "left as it is: AutoGit never changed it"
        self._set(name, plain(json.loads(was)))
        return "set back to what it was"

    def _set(self, name: str, value: Value) -> None:
        body = {name: list(value) if isinstance(value, tuple) else value}
        if name in self._GOES_WITH:
            other = self._GOES_WITH[name]
            body[other] = self.client.get("/application/settings").get(other)
        answer = self.client.put("/application/settings", **body)
        if plain(answer.get(name)) != value:
            raise RejectedError(f"gitlab: did not take the value of {name}: it stays {plain(answer.get(name))!r}")


class GroupPart(Part):
    """`group/<full path>`."""

    word: ClassVar[str] = "group"

    def observe(self, known: Mapping[str, Known]) -> Iterator[Resource]:
        """Ask for each by its path."""
        for path, one in known.items():
            row = self._find(path)
            if row is not None:
                seen = {name: plain(row.get(name)) for name in ("id", "name", "visibility")}
                yield self.resource(path, {**seen, "description": row.get("description") or ""}, one)

    def _find(self, path: str) -> Mapping[str, Any] | None:
        try:
            row = self.client.get(f"/groups/{quote(path, safe='')}", with_projects=False)
        except MissingError:
            return None
        # A group that was moved, or is about to be deleted, may still be found under its former path.
        return row if str(row.get("full_path", "")).lower() == path.lower() else None

    def make(self, name: str, change: Change) -> tuple[str, dict[str, Value]]:
        """Create it below its parent, or change it."""
        wish = dict(change.after.attributes) if change.after else {}
        if change.before is not None:
            row = self.client.put(f"/groups/{change.before.attributes['id']}", **wish)
            return "changed", {"id": int(row["id"])}
        if (there := self.made_already(name, change)) is not None:
            return "was there already", {"id": there.attributes["id"]}
        above, _, path = name.rpartition("/")
        if above:
            parent = self._find(above)
            if parent is None:
                raise MissingError(f"gitlab: there is no group {above} for {name} to be in", hint="declare it as well")
            wish["parent_id"] = int(parent["id"])
        row = self.client.post("/groups", path=path, **wish)
        return "created", {"id": int(row["id"])}

    def obstacle(self, name: str, change: Change) -> str:
        """Say what is still in a group that is to go: it is never deleted with that."""
        if change.action is not Action.DELETE or change.before is None:
            return ""
        place = f"/groups/{change.before.attributes['id']}"
        try:
            held = self.client.get(f"{place}/projects", include_subgroups=True, per_page=1)
            below = self.client.get(f"{place}/subgroups", per_page=1)
        except MissingError:
            return ""
        inside = "projects" if held else "subgroups" if below else ""
        return f"{name} still has {inside} in it: move them, or declare the group again" if inside else ""

    def remove(self, name: str, before: Resource) -> str:
        """Have it deleted if it is empty; GitLab keeps it for some days still."""
        if why := self.obstacle(name, Change(before.address, Action.DELETE, "", before=before)):
            raise RejectedError(f"gitlab: {why}")
        self.client.delete(f"/groups/{before.attributes['id']}")
        return "deleted; GitLab keeps it for the days of its deletion setting"


class UserPart(Part):
    """`user/<username>`: its first password is kept as a secret; who is no longer wished for is blocked."""

    word: ClassVar[str] = "user"
    _SHOWN: ClassVar[Mapping[str, str]] = {
        "id": "id",
        "name": "name",
        "email": "email",
        "admin": "is_admin",
        "can_create_group": "can_create_group",
        "external": "external",
    }

    def observe(self, known: Mapping[str, Known]) -> Iterator[Resource]:
        """Ask for each by its name."""
        for username, one in known.items():
            rows = self.client.get("/users", username=username)
            if rows:
                seen = {name: plain(rows[0].get(theirs)) for name, theirs in self._SHOWN.items()}
                yield self.resource(username, seen, one)

    def make(self, name: str, change: Change) -> tuple[str, dict[str, Value]]:
        """Create it with a password that is kept before GitLab hears of it, or change it."""
        wish = dict(change.after.attributes) if change.after else {}
        if change.before is not None:
            place = f"/users/{change.before.attributes['id']}"
            # Without it a new address waits for a mail to be answered, and a second plan would want it again.
            row = self.client.put(place, skip_reconfirmation=True, **wish)
            return "changed", {"id": int(row["id"])}
        if (there := self.made_already(name, change)) is not None:
            return "was there already", {"id": there.attributes["id"]}
        secret = first_password_of(name)
        password = self.secrets.get(secret) or _new_password()
        self.secrets.put(secret, password)
        row = self.client.post("/users", username=name, password=password, skip_confirmation=True, **wish)
        return f"created; autogit secrets reveal {secret} shows the first password", {"id": int(row["id"])}

    def remove(self, name: str, before: Resource) -> str:
        """Block it: deleting would take away its projects and its name on what it wrote."""
        self.client.post(f"/users/{before.attributes['id']}/block")
        self.secrets.put(first_password_of(name), None)
        return "blocked; what it made stays, and only an administrator deletes it, in GitLab"


def first_password_of(username: str) -> str:
    """Return the name of the secret that a user's first password is."""
    return f"gitlab_user_{username}"


def _new_password() -> str:
    return "".join(randomness.choice(string.ascii_letters + string.digits) for _ in range(_PASSWORD_LENGTH))


class ApplicationPart(Part):
    """`application/<name>`: an OAuth application; the payload is how the names of its kept id and secret begin.

    GitLab tells a secret once, and changes no application: one that is to be another is made anew.
    """

    word: ClassVar[str] = "application"

    def observe(self, known: Mapping[str, Known]) -> Iterator[Resource]:
        """Ask for all; ours is the one that the lockfile has the id of, another one of the name is somebody else's."""
        if not known:
            return
        rows = self.client.list_all("/applications")
        for name, one in known.items():
            alike = [self._resource(name, row, one) for row in rows if row.get("application_name") == name]
            found = sorted(alike, key=lambda resource: bool(resource.foreign))
            yield from found[:1]

    def _resource(self, name: str, row: Mapping[str, Any], known: Known) -> Resource:
        is_kept = known.wish is not None and self._is_kept(known.wish, str(row["application_id"]))
        seen: dict[str, Value] = {
            "id": int(row["id"]),
            "redirect_uri": str(row.get("callback_url", "")),
            "confidential": bool(row.get("confidential")),
            "secret": _STORED if is_kept else _MISSING,
        }
        if "scopes" in row:  # GitLab before 18 does not list them
            seen["scopes"] = tuple(sorted(row["scopes"]))
        elif known.entry and known.entry.attributes.get("id") == seen["id"]:
            seen["scopes"] = known.entry.attributes.get("scopes")
        return self.resource(name, seen, known)

    def make(self, name: str, change: Change) -> tuple[str, dict[str, Value]]:
        """Create it, make it anew, or have it tell a new secret where the old one is not kept here."""
        if change.after is None:
            raise RejectedError(f"gitlab: nothing is wished of the application {name}")
        wish, old = change.after.attributes, change.before
        if old is not None and change.action is Action.UPDATE and not _needs_another(change):
            row = self.client.post(f"/applications/{old.attributes['id']}/renew-secret")
            return self._kept(change.after, row, "has a new secret, which is kept")
        if old is None and (there := self.made_already(name, change)) is not None:
            return "was there already", {"id": there.attributes["id"]}
        row = self.client.post(
            "/applications",
            name=name,
            redirect_uri=wish["redirect_uri"],
            scopes=" ".join(_texts(wish["scopes"])),
            confidential=wish["confidential"],
        )
        done = self._kept(change.after, row, "created; its secret is kept")
        if old is not None:
            with suppress(MissingError):
                self.client.delete(f"/applications/{old.attributes['id']}")
        return done

    def _is_kept(self, wish: Resource, client_id: str) -> bool:
        """Tell whether the pair is kept, and the application's; with a lost id its secret is told anew."""
        prefix = wish.payload
        return bool(self.secrets.get(f"{prefix}_SECRET")) and self.secrets.get(f"{prefix}_ID") == client_id

    def _kept(self, wish: Resource, row: Mapping[str, Any], detail: str) -> tuple[str, dict[str, Value]]:
        self.secrets.put(f"{wish.payload}_SECRET", str(row["secret"]))
        self.secrets.put(f"{wish.payload}_ID", str(row["application_id"]))
        return detail, {"id": int(row["id"])}

    def remove(self, name: str, before: Resource) -> str:
        """Delete it; who signed in through it does so no more."""
        del name
        self.client.delete(f"/applications/{before.attributes['id']}")
        return "deleted"


def _needs_another(change: Change) -> bool:
    return bool({field.name for field in change.fields} - {"secret"})


def _texts(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


PARTS: tuple[type[Part], ...] = (SettingsPart, GroupPart, UserPart, ApplicationPart)
