"""Stopping and restarting what runs, and removing what was made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from autogit.core.lock import apply_lock
from autogit.core.settings import read_env
from autogit.core.store import Recorder, lockfile_store
from autogit.errors import AutogitError, LockfileError, NotInitialisedError, UsageError
from autogit.model.lockfile import Lockfile
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address
from autogit.model.settings import Settings
from autogit.operations.dns import remove_all
from autogit.operations.platform import Event, OnEvent, ignore
from autogit.operations.project import Project, provider_context
from autogit.operations.seal import break_seal
from autogit.providers.compute.base import Runtime, VolumeKeeper
from autogit.providers.registry import load_provider

UNITS = frozenset({"process", "container"})
_GONE_WITH_DOWN = UNITS | {"network"}


async def restart(
    project: Project, services: Sequence[str], *, lock_wait_seconds: float = 0.0, on_event: OnEvent = ignore
) -> tuple[str, ...]:
    """Stop and start services (all that run when none is named) and wait until each is ready again."""
    async with apply_lock(project.paths.apply_lock, "restart", wait_seconds=lock_wait_seconds):
        kind = project.runtime.unit_kind
        running = sorted(a.name for a in project.store.load().entries if a.kind == kind)
        unknown = sorted(set(services) - set(running))
        if unknown:
            raise UsageError(
                f"not running here: {', '.join(unknown)}", hint=f"running services: {', '.join(running) or 'none'}"
            )
        chosen = tuple(services) or tuple(running)
        for landed, name in enumerate(chosen, 1):
            on_event(Event("progress", f"{kind}/{name}", "restarting"))
            await project.runtime.restart(name)
            on_event(Event("outcome", f"{kind}/{name}", "ready", landed, len(chosen)))
        return tuple(f"{name} restarted and ready" for name in chosen)


async def down(paths: ProjectPaths, *, lock_wait_seconds: float = 0.0) -> tuple[str, ...]:
    """Stop everything that runs; files, volumes, secrets and certificates stay.

    It needs neither a sound `.env` nor a sound lockfile: what runs is known to the runtime. Raises NotInitialisedError
    where there is no project at all.
    """
    if not paths.state.exists():
        if not paths.env_file.exists():
            raise NotInitialisedError(f"there is no {paths.env_file.name} in {paths.root}", hint="autogit init")
        return ("nothing was running",)
    async with apply_lock(paths.apply_lock, "down", wait_seconds=lock_wait_seconds):
        return await _stop(paths)


async def list_volumes(paths: ProjectPaths) -> Sequence[str]:
    """Return the full names of the volumes that this project has on its engine; none in a runtime without volumes."""
    runtime = _runtime(paths)
    return await runtime.volumes() if isinstance(runtime, VolumeKeeper) else ()


async def remove_volumes(
    paths: ProjectPaths, names: Sequence[str], confirmed_name: str, *, lock_wait_seconds: float = 0.0
) -> tuple[str, ...]:
    """Stop everything and remove these volumes with their data; what is not AutoGit's is never touched.

    `confirmed_name` must be the project's name. Raises UsageError where it is another.
    """
    _check_name(project_name(paths), confirmed_name, "down --volumes")
    async with apply_lock(paths.apply_lock, "down --volumes", wait_seconds=lock_wait_seconds):
        messages = await _stop(paths)
        return (*messages, *await _drop_volumes(paths, names))


async def purge(project: Project, confirmed_name: str, *, lock_wait_seconds: float = 0.0) -> tuple[str, ...]:
    """Stop everything and remove all that AutoGit made: DNS records, volumes, state folder and lockfile.

    `.env` and overrides stay. `confirmed_name` must be the project's name. Raises UsageError where it is another, and
    what a DNS provider raises; nothing but records was removed then.
    """
    _check_name(project.settings.project_name, confirmed_name, "down --purge")
    async with apply_lock(project.paths.apply_lock, "down --purge", wait_seconds=lock_wait_seconds):
        messages = await _remove_records(project)
        messages += await _stop(project.paths)
        messages += await _drop_volumes(project.paths, await list_volumes(project.paths))
        shutil.rmtree(project.paths.state)
        project.paths.lockfile.unlink(missing_ok=True)
    return (*messages, "removed .autogit/ (certificates, secrets, data, logs) and autogit.lock.json")


async def _remove_records(project: Project) -> tuple[str, ...]:
    try:
        recorder = Recorder(project.store, project.store.load(), project.context.clock)
    except LockfileError as error:
        return (f"DNS records stay as they are, if there are any: {error.message}",)
    return await remove_all(project, recorder)


def _check_name(name: str, confirmed: str, command: str) -> None:
    if confirmed != name:
        raise UsageError(
            f"nothing was removed: {confirmed or 'no name'} is not the name of this project ({name})",
            hint=f"autogit {command} --confirm {name}",
        )


def project_name(paths: ProjectPaths) -> str:
    """Return the project's name as lockfile and `.env` still tell it."""
    return _last_settings(paths)[1].get("PROJECT_NAME") or Settings().project_name


async def _stop(paths: ProjectPaths) -> tuple[str, ...]:
    break_seal(paths)
    stayed = await _runtime(paths).stop_all()
    store = lockfile_store(paths)
    try:
        lockfile = store.load()
    except LockfileError as error:
        return (*stayed, f"everything is stopped; {error.message}", f"hint: {error.hint}")
    units = sorted(a for a in lockfile.entries if a.kind in UNITS)
    _forget(paths, {a for a in lockfile.entries if a.kind in _GONE_WITH_DOWN})
    return (*(f"{a.name} stopped" for a in units), *stayed) or ("nothing was running",)


async def _drop_volumes(paths: ProjectPaths, names: Sequence[str]) -> tuple[str, ...]:
    runtime = _runtime(paths)
    if not isinstance(runtime, VolumeKeeper):
        return ()
    messages = tuple([f"volume {name} {await runtime.remove_volume(name)}" for name in names])
    store = lockfile_store(paths)
    entries = store.load().entries
    _forget(paths, {a for a, e in entries.items() if a.kind == "volume" and e.attributes.get("name") in names})
    return messages


def _forget(paths: ProjectPaths, gone: set[Address]) -> None:
    if not gone:
        return
    store = lockfile_store(paths)
    lockfile = store.load()
    kept = {a: e for a, e in lockfile.entries.items() if a not in gone}
    Recorder(store, replace(lockfile, entries=kept)).finish("down", "ok", settings=None)


def _last_settings(paths: ProjectPaths) -> tuple[Lockfile, Mapping[str, str]]:
    """Return the lockfile and the settings that were last applied, as far as lockfile and `.env` still tell."""
    try:
        lockfile = lockfile_store(paths).load()
    except LockfileError:
        lockfile = Lockfile()
    return lockfile, {**_env_values(paths), **lockfile.settings}


def _runtime(paths: ProjectPaths) -> Runtime:
    """Return the runtime that this project last ran in."""
    lockfile, settings = _last_settings(paths)
    kinds = {address.kind for address in lockfile.entries}
    name = "docker" if "container" in kinds else "embedded" if "process" in kinds else settings.get("RUNTIME", "")
    return cast("Runtime", load_provider("compute", name or "embedded", provider_context(paths, settings)))


def _env_values(paths: ProjectPaths) -> Mapping[str, str]:
    try:
        return {name: line.value for name, line in read_env(paths.env_file).items()}
    except AutogitError:
        return {}
