"""Ref advertisements: what a repository shows, in one call, and how two of them differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from autogit.errors import RejectedError
from autogit.model.mirror import Advertisement
from autogit.providers.git.credentials import Credential
from autogit.providers.git.runner import Call, Git

OWN = "refs/autogit/"
_LINE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\t(.+)")
_BAD_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|[./]$")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHA1_DIGITS, _SHA256_DIGITS = 40, 64
_SHOWN = 200


async def advertise(
    git: Git, url: str, credential: Credential | None = None, *, budget_seconds: float = 120.0
) -> Advertisement:
    """Ask a repository for all of its refs and HEAD, in one call; peeled ids are left out.

    `head` is the branch that HEAD names, an object id where HEAD is detached, "" where HEAD leads nowhere. Raises what
    `Git.run` raises, and RejectedError for names that git does not allow.
    """
    call = Call(
        ("ls-remote", "--symref", "--quiet", "--end-of-options", url),
        action=f"asking {url}",
        url=url,
        credential=credential,
        budget_seconds=budget_seconds,
    )
    answer = await git.run(call)
    refs, head = _parse(answer.text)
    return Advertisement(refs, head, await _object_format(git, call, refs))


def difference(
    source: Advertisement, copy: Advertisement, *, namespaces: Sequence[str] = ("refs/",), own: bool = False
) -> tuple[str, ...]:
    """Return what is not the same below `namespaces`, a readable line each: missing, extra, differs, HEAD.

    Refs of AutoGit's own (refs/autogit/) count with `own` only: at a GitLab target those are pull requests and such.
    """
    wanted, found = (_within(refs if own else mirrored(refs), namespaces) for refs in (source.refs, copy.refs))
    lines = [f"missing {name} ({wanted[name]})" for name in sorted(wanted.keys() - found.keys())]
    lines += [f"extra {name} ({found[name]})" for name in sorted(found.keys() - wanted.keys())]
    lines += [
        f"differs {name}: {wanted[name]} at the source, {found[name]} here"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    if source.head != copy.head:
        lines.append(f"differs HEAD: {source.head or 'nothing'} at the source, {copy.head or 'nothing'} here")
    return tuple(lines)


def mirrored(refs: Mapping[str, str]) -> dict[str, str]:
    """Return the refs that a mirror holds: all but AutoGit's own."""
    return {name: object_id for name, object_id in refs.items() if not name.startswith(OWN)}


def format_of(refs: Mapping[str, str]) -> str:
    """Return sha1 or sha256, as the ids' length tells; "" without refs."""
    for object_id in refs.values():
        return "sha256" if len(object_id) == _SHA256_DIGITS else "sha1"
    return ""


def is_object_id(text: str) -> bool:
    """Tell whether a text is a full object id of either format."""
    return _OBJECT_ID.fullmatch(text) is not None


def check_refs(refs: Mapping[str, str], object_format: str) -> None:
    """Refuse what no repository of this format can hold: other names than `check_names` takes, ids that are none."""
    check_names(list(refs))
    digits = _SHA256_DIGITS if object_format == "sha256" else _SHA1_DIGITS
    for name, object_id in refs.items():
        if len(object_id) != digits or not is_object_id(object_id):
            raise RejectedError(f"git: the source shows {name[:_SHOWN]!a} with what is no {object_format} id")


def check_names(names: Sequence[str]) -> None:
    """Refuse names that git does not allow, and pairs of which one is the other's folder. Raises RejectedError."""
    known = set(names)
    for name in names:
        if not name.startswith("refs/") or _BAD_NAME.search(name):
            raise RejectedError(f"git: the source shows a ref of a name that git does not allow: {name[:_SHOWN]!a}")
        parent = name.rpartition("/")[0]
        while parent:
            if parent in known:
                raise RejectedError(f"git: a ref can't be another's folder: {parent[:_SHOWN]!a} and {name[:_SHOWN]!a}")
            parent = parent.rpartition("/")[0]


def _within(refs: Mapping[str, str], namespaces: Sequence[str]) -> dict[str, str]:
    return {name: object_id for name, object_id in refs.items() if name.startswith(tuple(namespaces))}


def _parse(text: str) -> tuple[dict[str, str], str]:
    refs: dict[str, str] = {}
    branch = detached = ""
    for line in text.split("\n"):
        if line.startswith("ref: ") and line.endswith("\tHEAD"):
            branch = line[len("ref: ") : -len("\tHEAD")]
        found = _LINE.fullmatch(line)
        if found is None or found[2].endswith("^{}"):
            continue
        if found[2] == "HEAD":
            detached = found[1]
        else:
            refs[found[2]] = found[1]
    check_names(list(refs))
    head = branch or detached
    return refs, head if head in refs or not branch else ""


async def _object_format(git: Git, call: Call, refs: Mapping[str, str]) -> str:
    """Without refs nothing but the server's capabilities tells SHA-256 from SHA-1: git's trace shows them."""
    if known := format_of(refs):
        return known
    traced = Call(call.arguments, call.action, call.url, call.credential, environment={"GIT_TRACE_PACKET": "1"})
    return "sha256" if "object-format=sha256" in (await git.run(traced)).stderr else "sha1"
