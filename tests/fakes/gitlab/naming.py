"""What names and paths GitLab takes, and what it says of others."""

from __future__ import annotations

import re

# Namespaces and projects alike: GitLab's oci_repository_path_regex, since paths are image names too.
_PLAIN = re.compile(r"[a-zA-Z0-9]+([._-][a-zA-Z0-9]+)*\Z")
_PLAIN_MESSAGE = "must not start or end with a special character and must not contain consecutive special characters."
_PATH = re.compile(r"[a-zA-Z0-9_.][a-zA-Z0-9_.-]*(?<!\.git)(?<!\.atom)\Z")
_PROJECT_MESSAGE = (
    "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-', end in '.git' or end in '.atom'"
)
_GROUP_MESSAGE = (
    "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-' or end in '.', '.git' or '.atom'."
)
_NAME = re.compile(r"[\w\u00a9-\U0001fbff][\w.+ \u00a9-\U0001fbff-]*\Z")
_NAME_MESSAGE = (
    "can contain only letters, digits, emoji, '_', '.', '+', dashes, or spaces. "
    "It must start with a letter, digit, emoji, or '_'."
)
_GROUP_NAME = re.compile(r"[\w\u00a9-\U0001fbff][\w.,'()+ \u00a9-\U0001fbff-]*\Z")
_GROUP_NAME_MESSAGE = (
    "can contain only letters, digits, emoji, '_', '.', dash, space, parenthesis. "
    "It must start with letter, digit, emoji or '_'."
)
_LONGEST = 255
RESERVED_AT_THE_TOP = frozenset(
    [
        "-",
        ".well-known",
        "404.html",
        "422.html",
        "500.html",
        "502.html",
        "503.html",
        "admin",
        "api",
        "apple-touch-icon.png",
        "assets",
        "dashboard",
        "deploy.html",
        "explore",
        "favicon.ico",
        "favicon.png",
        "files",
        "groups",
        "health_check",
        "help",
        "import",
        "jwt",
        "login",
        "oauth",
        "profile",
        "projects",
        "public",
        "robots.txt",
        "s",
        "search",
        "sitemap",
        "sitemap.xml",
        "sitemap.xml.gz",
        "slash-command-logo.png",
        "snippets",
        "unsubscribes",
        "uploads",
        "users",
        "v2",
    ]
)
RESERVED_BELOW = frozenset(
    [
        "-",
        "badges",
        "blame",
        "blob",
        "builds",
        "commits",
        "create",
        "create_dir",
        "edit",
        "files",
        "find_file",
        "info",
        "new",
        "preview",
        "raw",
        "refs",
        "tree",
        "update",
        "wikis",
    ]
)


def _too_long(text):
    return [f"is too long (maximum is {_LONGEST} characters)"] if len(text) > _LONGEST else []


def _path_faults(path, message):
    if not path.strip():
        return ["can't be blank"]
    faults = _too_long(path)
    if not _PATH.match(path):
        faults.append(message)
    if not _PLAIN.match(path):
        faults.append(_PLAIN_MESSAGE)
    return faults


def project_path_faults(path):
    faults = _path_faults(path, _PROJECT_MESSAGE)
    return [*faults, f"{path} is a reserved name"] if path.lower() in RESERVED_BELOW else faults


def namespace_path_faults(path, *, is_top=True):
    faults = _path_faults(path, _GROUP_MESSAGE)
    if len(path) == 1:
        faults.append("is too short (minimum is 2 characters)")
    reserved = RESERVED_AT_THE_TOP if is_top else RESERVED_BELOW
    return [*faults, f"{path} is a reserved name"] if path.lower() in reserved else faults


def project_name_faults(name):
    if not name.strip():
        return ["can't be blank"]
    return _too_long(name) + ([] if _NAME.match(name) else [_NAME_MESSAGE])


def group_name_faults(name):
    if not name.strip():
        return ["can't be blank"]
    return _too_long(name) + ([] if _GROUP_NAME.match(name) else [_GROUP_NAME_MESSAGE])


def path_from_name(name):
    """The path of a project that was given a name only."""
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-.")


def ruby(value):
    """A hash of errors as Ruby prints it: groups have it in their sentence."""
    entries = (f":{key}=>[{', '.join(_quoted(text) for text in texts)}]" for key, texts in value.items())
    return "{" + ", ".join(entries) + "}"


def _quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
