"""Rendered files: `file/<path>` below `.autogit/rendered/`, the former bytes kept until the next change."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

from autogit.errors import AutogitError, RejectedError, StorageFullError
from autogit.model.plan import Action, Change, Outcome
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource, Value
from autogit.providers.base import HealthStatus, Reconciler, Scope
from autogit.providers.host.atomic import write_atomic


class HostFiles(Reconciler):
    """Writes rendered files. Only paths that are wished for or recorded are looked at."""

    provider_type: ClassVar[str] = "host"
    provider_name: ClassVar[str] = "files"
    kinds: ClassVar[tuple[str, ...]] = ("file",)

    async def health(self) -> HealthStatus:
        """Tell whether the state folder can be written to, as far as its permissions say."""
        state = self.context.paths.state
        return HealthStatus(ok=not state.exists() or state.is_dir(), detail=str(state))

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return sha256 and mode of each file that exists; links and folders are named, not followed."""
        addresses = sorted({*scope.desired, *scope.owned})
        return [r for address in addresses if (r := self._look(address)) is not None]

    def _look(self, address: Address) -> Resource | None:
        path = file_path(self.context.paths, address)
        try:
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode):
                return Resource(address, {"sha256": "not a regular file", "mode": ""})
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            return Resource(address, {"sha256": f"unreadable: {exc.strerror}", "mode": ""})
        digest = hashlib.sha256(content).hexdigest()
        return Resource(address, {"sha256": digest, "mode": f"{stat.S_IMODE(facts.st_mode):04o}"})

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Write or remove one file after the other."""
        for change in changes:
            try:
                attributes = await asyncio.to_thread(self._carry_out, change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)
            else:
                yield Outcome(change.address, change.action, ok=True, attributes=attributes)

    def _carry_out(self, change: Change) -> dict[str, Value]:
        path = file_path(self.context.paths, change.address)
        self._keep_former(change.address, path)
        if change.action is Action.DELETE or change.after is None:
            self._remove(path)
            return {}
        if path.is_dir() and not path.is_symlink():
            raise RejectedError(f"files: {change.address} should be a file and is a folder", hint=f"move {path} away")
        mode = int(str(change.after.attributes["mode"]), 8)
        # Written outside the rendered tree: a program that watches a folder must see whole files only.
        # Its folders can be entered by others: containers are given them, the state folder around keeps others out.
        self.context.paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_open(self.context.paths.acme_challenges)
        data, aside = str(change.after.payload).encode(), self.context.paths.state / "tmp"
        write_atomic(path, data, mode, temporary_dir=aside, folder_mode=0o755)
        return dict(change.after.attributes)

    def _keep_former(self, address: Address, path: Path) -> None:
        if path.is_file() and not path.is_symlink():
            try:
                former = path.read_bytes()
            except OSError as exc:
                raise StorageFullError(
                    f"cannot read {path}: {exc.strerror}", hint=f"mend its permissions: {path}"
                ) from exc
            write_atomic(_kept_path(self.context.paths, address), former, 0o600)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
            for parent in path.relative_to(self.context.paths.rendered).parents:
                folder = self.context.paths.rendered / parent
                if folder == self.context.paths.rendered or (folder.exists() and any(folder.iterdir())):
                    break
                if folder.exists():
                    folder.rmdir()
        except OSError as exc:
            raise StorageFullError(f"cannot remove {path}: {exc.strerror}", hint="mend its permissions") from exc


def _make_open(folder: Path) -> None:
    """Make a folder that a container is given: an engine refuses one that is not there."""
    if folder.is_dir():
        return
    try:
        folder.mkdir(exist_ok=True)  # files are written at once: another one may have been quicker
        folder.chmod(0o755)
    except OSError as exc:
        raise StorageFullError(f"cannot make {folder}: {exc.strerror}", hint="mend its permissions") from exc


def file_path(paths: ProjectPaths, address: Address) -> Path:
    """Return where a file lies. Raises RejectedError for a name that leaves the rendered tree."""
    parts = Path(address.name).parts
    if Path(address.name).is_absolute() or ".." in parts or "\0" in address.name:
        raise RejectedError(f"files: {address.name!r} is not a path below the rendered files")
    return paths.rendered.joinpath(*parts)


def restore_previous(paths: ProjectPaths, address: Address) -> bool:
    """Put a file's former bytes back; tell whether there were any."""
    kept = _kept_path(paths, address)
    if not kept.is_file():
        return False
    write_atomic(file_path(paths, address), kept.read_bytes(), 0o644, temporary_dir=paths.state / "tmp")
    return True


def forget_previous(paths: ProjectPaths) -> None:
    """Forget the former bytes of all files: what runs was proven with the present ones. Raises nothing."""
    shutil.rmtree(paths.previous, ignore_errors=True)


def _kept_path(paths: ProjectPaths, address: Address) -> Path:
    return paths.previous / address.name
