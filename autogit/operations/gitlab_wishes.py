"""What is wished of the platform's own GitLab: AutoGit's hardening, what gitlab.yml declares, Grafana's sign-in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from autogit.core.context import service_url
from autogit.core.yaml_source import YamlSource, read_yaml
from autogit.errors import Fault, SettingsError
from autogit.model.gitlab import GITLAB_FILE, GITLAB_SETTING, OIDC_CLIENT, GitLabFile, GroupWish, SettingValue, UserWish
from autogit.model.resource import Address, Resource, Value
from autogit.model.spec import PlatformSpec

GITLAB, GRAFANA = "gitlab", "grafana"
_SECRET = re.compile(r"(_key|_key_id|_secret|_token|_pass|_password)$")
"""Application settings whose text is a secret; flags of such a name are none."""
_HINT = "settings, groups and users are its keys; nothing was changed"


class Hardening(NamedTuple):
    """A value that AutoGit wishes for unless gitlab.yml says otherwise, and why."""

    value: SettingValue
    reason: str


HARDENING: Mapping[str, Hardening] = {
    "signup_enabled": Hardening(value=False, reason="whoever reaches the sign-in page could make an account"),
    "minimum_password_length": Hardening(12, "passwords of GitLab's own least length, 8, are guessed"),
    "require_admin_two_factor_authentication": Hardening(
        value=True, reason="an administrator's password alone must not open everything"
    ),
    "default_branch_name": Hardening("main", "what git and the forges that are mirrored call it"),
    "default_project_visibility": Hardening("private", "nothing is shown that nobody chose to show"),
    "default_group_visibility": Hardening("private", "the same"),
    "allow_runner_registration_token": Hardening(
        value=False, reason="such tokens never expire, and any holder adds a runner; AutoGit makes one a runner"
    ),
}


def gitlab_resources(spec: PlatformSpec, declared: GitLabFile) -> list[Resource]:
    """Return everything that is wished of GitLab; pure."""
    wishes: dict[str, SettingValue] = {name: one.value for name, one in HARDENING.items()}
    settings = (
        _resource("application_settings", name, {"value": v}) for name, v in (wishes | declared.settings).items()
    )
    groups = {group.path: group for group in declared.groups}
    return [
        *settings,
        *(_group(group, groups) for group in declared.groups),
        *(_user(user) for user in declared.users),
        *_applications(spec),
    ]


def _resource(word: str, name: str, attributes: Mapping[str, Value], *, above: str = "", **more: Any) -> Resource:
    needs = (Address("container", GITLAB), *((Address(GITLAB_SETTING, above),) if above else ()))
    return Resource(Address(GITLAB_SETTING, f"{word}/{name}"), attributes, needs, **more)


def _group(group: GroupWish, declared: Mapping[str, GroupWish]) -> Resource:
    above, _, name = group.path.rpartition("/")
    said = {"description": group.description} if group.description is not None else {}
    attributes: dict[str, Value] = {"name": group.name or name, "visibility": group.visibility, **said}
    return _resource("group", group.path, attributes, above=f"group/{above}" if above in declared else "")


def _user(user: UserWish) -> Resource:
    attributes: dict[str, Value] = {
        "name": user.name or user.username,
        "email": user.email.lower(),  # as GitLab keeps it
        "admin": user.admin,
    }
    said = {"can_create_group": user.can_create_group, "external": user.external}
    return _resource(
        "user", user.username, attributes | {name: value for name, value in said.items() if value is not None}
    )


def _applications(spec: PlatformSpec) -> Iterator[Resource]:
    """Yield Grafana's, where Grafana runs and `.env` gives it no other. It takes the answer at /login/gitlab."""
    grafana = next((service for service in spec.running if service.name == GRAFANA), None)
    if grafana is not None and not any(s.given for s in grafana.secrets if s.name.startswith(OIDC_CLIENT)):
        attributes: dict[str, Value] = {
            "redirect_uri": f"{service_url(spec, grafana)}login/gitlab",
            "scopes": ("email", "openid", "profile"),
            "confidential": True,
            "secret": "stored",
        }
        kept = frozenset({"redirect_uri", "scopes", "confidential"})
        yield _resource("application", GRAFANA, attributes, payload=OIDC_CLIENT, replace_on=kept)


def load_declared(path: Path) -> GitLabFile:
    """Return what gitlab.yml declares; nothing where there is no such file. Raises SettingsError with every fault."""
    try:
        source = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return GitLabFile()
    except (OSError, UnicodeDecodeError) as exc:
        raise _error([Fault(GITLAB_FILE, "", f"cannot be read as UTF-8 text: {type(exc).__name__}")]) from exc
    if source.faults:
        raise _error([Fault(f"{GITLAB_FILE} line {line}", "", message) for line, message in source.faults])
    try:
        read = GitLabFile.model_validate(source.data)
    except ValidationError as exc:
        raise _error([_fault(error, source) for error in exc.errors(include_url=False, include_input=False)]) from exc
    faults = [
        *_secrets(read, source),
        *_repeated("groups", [group.path for group in read.groups], source),
        *_repeated("users", [user.username for user in read.users], source),
    ]
    if faults:
        raise _error(faults)
    return read


def _secrets(read: GitLabFile, source: YamlSource) -> Iterator[Fault]:
    """Refuse secrets: plans, the lockfile and this file itself are for everybody's eyes."""
    for name, value in read.settings.items():
        if isinstance(value, str) and value and _SECRET.search(name):
            line = source.line_of(("settings", name))
            yield Fault(
                f"{GITLAB_FILE} line {line}", name, "is a secret: set it in GitLab, it does not belong in a file"
            )


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "tuple_type": "must be a list",
    "dict_type": "must be a list of settings with their values",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "model_type": "must be made of keys and values",
}


def _fault(error: Any, source: YamlSource) -> Fault:
    place = tuple(error["loc"])
    if place[:1] == ("settings",) and len(place) > 1:  # one of the union's members each: all say the same
        place, message = place[:2], "must be true, false, a number, a text or a list of texts"
    else:
        words = str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must").replace("String", "it")
        message = _WORDS.get(error["type"], words)
    keys = [part for part in place if isinstance(part, str)]
    return Fault(f"{GITLAB_FILE} line {source.line_of(place)}", keys[-1] if keys else "", message)


def _repeated(word: str, names: list[str], source: YamlSource) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        line = source.line_of((word, index))
        if name.lower() in seen:
            yield Fault(f"{GITLAB_FILE} line {line}", word, f"{name} stands on line {seen[name.lower()]} already")
        seen.setdefault(name.lower(), line)


def _error(faults: list[Fault]) -> SettingsError:
    faults = list(dict.fromkeys(faults))
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return SettingsError(f"{count} in {GITLAB_FILE}", faults=faults, hint=_HINT)
