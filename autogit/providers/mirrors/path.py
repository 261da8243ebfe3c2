"""Takes repositories from a path of this machine: a single one, or a folder of bare ones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from autogit.errors import MissingError, ProviderAuthError, UsageError
from autogit.model.mirror import Discovery, MirrorRule, SourceRepository
from autogit.providers.mirrors.base import MirrorSource, select
from autogit.providers.mirrors.names import branch_name, shown

_DEEPEST = 8
_LONGEST_HEAD = 4096
_HEAD = "ref: refs/heads/"


class PathSource(MirrorSource):
    """A repository with or without a working copy, or a folder with bare ones at any depth. Links are not followed.

    A path is all that identifies: one that was made anew in the same place cannot be told from the one before.
    """

    provider_name: ClassVar[str] = "path"

    async def discover(self, rule: MirrorRule, token: str, etags: Mapping[str, str]) -> Discovery:
        """Look through the folder in a thread."""
        del token, etags
        return await asyncio.to_thread(_discover, rule)

    async def find(self, rule: MirrorRule, token: str, identity: str) -> SourceRepository | None:
        """Return what lies there, None where nothing does or what does is no repository."""
        del token
        folder = Path(identity.removeprefix("git:"))
        root = _root(rule)
        if not folder.is_absolute() or ".." in folder.parts or not folder.is_relative_to(root):
            raise UsageError(f"path: {shown(str(folder))} is not below {shown(str(root))}")
        return _repository(root, folder) if _is_repository(folder) else None

    def scopes_hint(self, rule: MirrorRule) -> str:
        """Say who has to be let in."""
        return f"no credential; the user that runs AutoGit must be able to read {shown(rule.owner)}"

    def git_login(self, token: str) -> tuple[str, str]:
        """Give nothing."""
        del token
        return "", ""


def _discover(rule: MirrorRule) -> Discovery:
    root = _root(rule)
    if not root.exists():
        raise MissingError(f"path: there is nothing at {shown(str(root))}")
    if _is_repository(root):
        found, notes = select(rule, (_repository(root, root),))
        return Discovery(found, notes=notes)
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        raise ProviderAuthError(
            f"path: {shown(str(root))} is no folder that can be read",
            hint="the user that runs AutoGit must be able to read it",
        )
    closed: list[str] = []
    found, notes = select(rule, [_repository(root, folder) for folder in _repositories(root, closed)])
    said = tuple(f"path: {shown(one)} cannot be read" for one in closed)
    return Discovery(found, complete=not closed, notes=(*said, *notes))


def _root(rule: MirrorRule) -> Path:
    root = Path(rule.owner)
    if not root.is_absolute() or ".." in root.parts or "\0" in rule.owner:
        raise UsageError("path: a mirror of this machine needs an absolute path without ..")
    return root


def _repositories(root: Path, closed: list[str]) -> Iterator[Path]:
    """Yield all bare repositories below a folder in order of their paths; `closed` gets what cannot be looked into."""
    for folder, inner, _ in os.walk(root, onerror=lambda exc: closed.append(str(exc.filename))):
        place = Path(folder)
        inner.sort()
        if place != root and _is_bare(place):
            inner.clear()
            yield place
        elif len(place.relative_to(root).parts) >= _DEEPEST:
            inner.clear()


def _is_repository(folder: Path) -> bool:
    return _is_bare(folder) or _is_bare(folder / ".git") or (folder / ".git").is_file()


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _repository(root: Path, folder: Path) -> SourceRepository:
    relative = folder.relative_to(root).as_posix() if folder != root else folder.name
    return SourceRepository(
        f"git:{folder}", relative.removesuffix(".git"), str(folder), default_branch=_default_branch(folder)
    )


def _default_branch(folder: Path) -> str:
    head = folder / "HEAD" if _is_bare(folder) else folder / ".git" / "HEAD"
    try:
        with head.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST_HEAD).strip()
    except OSError:
        return ""
    return branch_name(text.removeprefix(_HEAD)) if text.startswith(_HEAD) else ""
