"""Names and texts that a forge gives: which of them may become paths, and how others are shown."""

from __future__ import annotations

import re
from typing import Any

_SEGMENT = re.compile(r"[A-Za-z0-9._+~][A-Za-z0-9._+~-]*", re.ASCII)
_LONGEST_SEGMENT = 200
_LONGEST_PATH = 1000
_LONGEST_SHOWN = 100
_LONGEST_TEXT = 2000


def path_fault(path: str) -> str:
    """Return why a repository's path cannot be used as one here, in a part of a sentence; "" where it can."""
    if len(path) > _LONGEST_PATH:
        return "its path is too long"
    for part in path.split("/"):
        if part in {"", ".", ".."} or part.casefold() == ".git":
            return "its path leads elsewhere"
        if part.startswith("-"):
            return "a name that begins with - could be taken for an option"
        if not _SEGMENT.fullmatch(part):
            return "it has signs that no name of a repository has"
        if len(part) > _LONGEST_SEGMENT:
            return "its name is too long"
    return ""


def shown(text: str) -> str:
    """Return a name as it may be written to a terminal or a log, whatever is in it."""
    return ascii(text[:_LONGEST_SHOWN]).strip("'\"")


def plain(value: Any, longest: int = _LONGEST_TEXT) -> str:
    """Return a text in one line without signs that steer a terminal; "" for anything but a text."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in value).split())[:longest]


def branch_name(value: Any) -> str:
    """Return a branch's name, "" for what git would take for something else."""
    text = value if isinstance(value, str) else ""
    is_one = text.isprintable() and not text.startswith("-") and not re.search(r"[\s~^:?*\[\\]|\.\.|@\{", text)
    return text if is_one else ""


def texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list, each in one line."""
    return tuple(text for one in value if (text := plain(one))) if isinstance(value, list) else ()
