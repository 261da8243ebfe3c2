"""Declaring and forgetting a mirror: the file and the lockfile say the same afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autogit.core.apply import apply_plan
from autogit.core.lock import apply_lock
from autogit.core.mirror_resources import has_login
from autogit.core.observe import observe
from autogit.core.plan import make_plan
from autogit.core.store import Recorder
from autogit.errors import UsageError
from autogit.model.lockfile import Lockfile
from autogit.model.mirror import MirrorRulesView
from autogit.model.mirror_plan import MIRROR
from autogit.model.plan import Plan
from autogit.operations import mirror
from autogit.operations.mirror_wiring import mirror_provider, wished
from autogit.operations.project import Project
from autogit.operations.seal import break_seal


async def add(
    project: Project, source: str, options: mirror.MirrorOptions, *, lock_wait_seconds: float = 0.0
) -> MirrorRulesView:
    """Declare a mirror and record it as in force; nothing is fetched yet.

    Raises UsageError, SettingsError, LockfileError and ApplyLockHeldError; nothing was declared then.
    """
    if has_login(source) or has_login(options.server):
        raise UsageError(
            "the address has a user or a password in it: it would end up in files that others read",
            hint="autogit secrets set NAME, and name it: --credential NAME",
        )
    return await _changed(project, "mirror add", lock_wait_seconds, lambda: mirror.add(project, source, options))


async def remove(project: Project, name: str, *, lock_wait_seconds: float = 0.0) -> MirrorRulesView:
    """Take a mirror's declaration and records away; its copies stay. Raises what `add` raises."""
    return await _changed(project, "mirror remove", lock_wait_seconds, lambda: mirror.remove(project, name))


async def _changed(
    project: Project, command: str, lock_wait_seconds: float, change: Callable[[], MirrorRulesView]
) -> MirrorRulesView:
    """Change the file, and record that one mirror; what else was edited by hand waits for `up`, as it did."""
    async with apply_lock(project.paths.apply_lock, command, wait_seconds=lock_wait_seconds):
        lockfile = project.store.load()
        before = {one.name for one in mirror.load_rules(project)}
        view = change()
        (name,) = before ^ {one.name for one in view.rules}
        await _record(project, lockfile, name, command)
    return view


async def _record(project: Project, lockfile: Lockfile, name: str, command: str) -> None:
    provider = mirror_provider(project)
    plan = await _plan(project, lockfile, name)
    if not plan.pending:
        return
    break_seal(project.paths)
    recorder = Recorder(project.store, lockfile, project.context.clock)
    recorder.begin(plan.pending, ports=lockfile.ports, engine=lockfile.engine)
    result = await apply_plan(plan, [provider], recorder, lambda _outcome: None)
    recorder.finish(command, "failed" if result.failed else "ok", settings=None)
    for outcome in result.failed:
        if outcome.error is not None:
            raise outcome.error


async def _plan(project: Project, lockfile: Lockfile, name: str) -> Plan:
    """Return the part of the one plan that is about one mirror."""
    desired = [resource for resource in wished(project.paths.mirror_rules) if resource.address.name == name]
    entries = {a: e for a, e in lockfile.entries.items() if a.kind == MIRROR and a.name == name}
    part = replace(lockfile, entries=entries)
    return make_plan(desired, await observe([mirror_provider(project)], desired, part), part)
