"""The embedded runtime: services as supervised processes; a failed change leaves the former one serving."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from autogit.errors import AutogitError, NotReadyError, UnavailableError
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Address, Resource, Value
from autogit.model.spec import ProcessPayload
from autogit.providers.base import HealthStatus, ProviderContext, Scope
from autogit.providers.compute import logtail
from autogit.providers.compute.base import REFUSED, REFUSED_HINT, Restore, Runtime, keep_files
from autogit.providers.compute.program_conf import ProgramRecord
from autogit.providers.compute.readiness import observe_state, wait_until_ready
from autogit.providers.compute.supervisor import ProcessInfo, Supervisor

_FAILURE_LINES = 20
_CHECK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Done:
    """What a change came to: the error of a failure, and the files that were put back."""

    detail: str = ""
    error: AutogitError | None = None
    restored: tuple[Address, ...] = ()


class EmbeddedRuntime(Runtime):
    """Runs `process/<service>` under the project's own supervisord.

    A replacement stops the former version but keeps it registered until the new one is ready; a new one that does not
    become ready is removed, the config files that changed with it are put back through `restore`, and the former one is
    started again.
    """

    provider_name: ClassVar[str] = "embedded"
    kinds: ClassVar[tuple[str, ...]] = ("process",)
    unit_kind: ClassVar[str] = "process"

    def __init__(self, context: ProviderContext, *, restore: Restore = keep_files) -> None:
        super().__init__(context, restore=restore)
        self._supervisor = Supervisor(context.paths)

    @property
    def socket(self) -> Path:
        """Where supervisord's control socket lies."""
        return self._supervisor.socket

    def own_pids(self) -> Collection[int]:
        """Return the pids of this project's processes and their children, those a killed supervisord left included."""
        return self._supervisor.pids()

    async def health(self) -> HealthStatus:
        """Tell whether supervisord can run here, and whether it does."""
        from importlib.util import find_spec  # noqa: PLC0415 - only doctor asks

        if find_spec("supervisor") is None:
            return HealthStatus(ok=False, detail="embedded: the package supervisor is not installed")
        infos = await asyncio.to_thread(self._supervisor.infos)
        return HealthStatus(
            ok=True, detail="supervisord is not running" if infos is None else f"supervisord runs {len(infos)} programs"
        )

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return `process/<service>` for each service that supervisord knows; nothing where it does not answer.

        `program` is `several` where a killed replacement left two versions.
        """
        del scope  # one answer of supervisord tells everything
        infos = await asyncio.to_thread(self._supervisor.infos) or []
        newest = {i.service: i for i in sorted(infos, key=lambda i: (i.pid > 0, i.started))}
        known = [info.service for info in infos]
        return await asyncio.gather(
            *(self._observed(info, several=known.count(service) > 1) for service, info in sorted(newest.items()))
        )

    async def _observed(self, info: ProcessInfo, *, several: bool) -> Resource:
        state, pid = await observe_state(self._supervisor, info)
        record = await asyncio.to_thread(self._supervisor.record, info.name)
        attributes: dict[str, Value] = {
            **(record.program.attributes if record else {}),
            "program": "several" if several else info.version if record else "unknown",
            "reload": record.reload if record else "",
            "state": state,
            "pid": pid,
            "since": datetime.fromtimestamp(info.started, UTC).isoformat() if pid else "",
        }
        return Resource(Address("process", info.service), attributes)

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out changes one after the other; independent ones may be given to several calls at once."""
        for change in changes:
            began = time.monotonic()
            try:
                done = await self._carry_out(change)
            except AutogitError as exc:
                done = _Done(error=exc)
            yield Outcome(
                change.address,
                change.action,
                ok=done.error is None,
                detail=done.detail,
                attributes=dict(change.after.attributes) if change.after and not done.error else {},
                error=done.error,
                seconds=time.monotonic() - began,
                restored=done.restored,
            )

    async def _carry_out(self, change: Change) -> _Done:
        if change.after is None or not isinstance(change.after.payload, ProcessPayload):
            return await self._delete(change.address.name)
        payload = change.after.payload
        record = self._record(change.after, payload)
        if change.action is Action.UPDATE:
            return await self._update(change, record, payload)
        return await self._install(change.address, record, payload)

    def _record(self, wish: Resource, payload: ProcessPayload) -> ProgramRecord:
        directory = payload.directory or self.context.paths.data / payload.program.service
        values = wish.attributes
        return ProgramRecord(payload.program, str(values["program"]), str(values["reload"]), str(directory))

    async def _delete(self, service: str) -> _Done:
        for info in await asyncio.to_thread(self._supervisor.versions, service):
            await asyncio.to_thread(self._supervisor.remove, info.name)
        await asyncio.to_thread(self._supervisor.forget_service, service)
        return _Done("stopped and removed; data and logs stay")

    async def _update(self, change: Change, record: ProgramRecord, payload: ProcessPayload) -> _Done:
        """Tell the running process to reload, or restart the one that is down or does not answer."""
        offset = logtail.size(self.log_path(record.program.service))
        if any(field.name == "state" for field in change.fields):
            await self._stop_rivals(payload)
            why = await self._run(record)
            return _Done("restarted", self._failure(record, why, offset) if why else None)
        # What runs is what is told and asked, with its own ports: another program may be wished for already.
        running = await asyncio.to_thread(self._supervisor.record, record.name)
        record = replace(running, reload=record.reload) if running else record
        if refused := await asyncio.to_thread(self._refused, record, payload.reload_check):
            sentence = f"{record.program.service} {REFUSED}"
            return _Done(error=NotReadyError(sentence, hint=REFUSED_HINT, context=refused))
        if record.program.reload_signal:
            await asyncio.to_thread(self._supervisor.signal, record.name, record.program.reload_signal)
        why = await wait_until_ready(self._supervisor, record, partial(self.context.progress, change.address))
        if why:
            return _Done("", self._failure(record, why, offset))
        await asyncio.to_thread(self._supervisor.rewrite, record)
        return _Done("reloaded")

    def _refused(self, record: ProgramRecord, check: Sequence[str]) -> Sequence[str]:
        """Return what the program has against its files; a program that cannot be asked has nothing against them."""
        if not check:
            return ()
        program = record.program
        try:
            asked = subprocess.run(
                [program.executable, *program.arguments, *check],
                cwd=record.directory,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_CHECK_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ()
        said = asked.stdout.splitlines()[-_FAILURE_LINES:]
        return (said or [f"exit code {asked.returncode}"]) if asked.returncode else ()

    async def _install(self, address: Address, record: ProgramRecord, payload: ProcessPayload) -> _Done:
        known = await asyncio.to_thread(self._supervisor.versions, address.name)
        rivals = await self._stop_rivals(payload)
        others = sorted((*known, *rivals), key=lambda info: info.pid == 0)
        former = next((info.name for info in others if info.name != record.name), None)
        for info in known:
            await asyncio.to_thread(self._supervisor.stop, info.name)
        offset = logtail.size(self.log_path(address.name))
        why = await self._run_or_explain(record)
        if why:
            return await self._go_back(record, former, payload, self._failure(record, why, offset))
        for info in known:
            if info.name != record.name:
                await asyncio.to_thread(self._supervisor.remove, info.name)
        return _Done("ready")

    async def _stop_rivals(self, payload: ProcessPayload) -> Sequence[ProcessInfo]:
        """Free the ports that others hold whose place a service takes; they stay registered. Return them."""
        found = [i for name in payload.instead_of for i in await asyncio.to_thread(self._supervisor.versions, name)]
        for info in found:
            await asyncio.to_thread(self._supervisor.stop, info.name)
        return found

    async def _run_or_explain(self, record: ProgramRecord) -> str:
        try:
            return await self._run(record)
        except AutogitError as exc:
            return f"could not be started: {exc.message}"

    async def _run(self, record: ProgramRecord) -> str:
        """Register a program anew, start it and wait; return "" or why it is not ready."""
        await asyncio.to_thread(self._supervisor.remove, record.name)
        await asyncio.to_thread(self._supervisor.add, record)
        address = Address("process", record.program.service)
        return await wait_until_ready(self._supervisor, record, partial(self.context.progress, address))

    async def _go_back(
        self, record: ProgramRecord, former: str | None, payload: ProcessPayload, failure: NotReadyError
    ) -> _Done:
        """Remove the version that failed; put the former one back, with its config files, where there is one."""
        await asyncio.to_thread(self._supervisor.remove, record.name)
        if former is None:
            return _Done(error=failure)
        own = former.rpartition(".")[0] == record.program.service
        files = payload.config_files if own else ()
        restored = tuple([a for a in files if await asyncio.to_thread(self.restore, a)])
        await asyncio.to_thread(self._supervisor.start, former)
        old = await asyncio.to_thread(self._supervisor.record, former)
        progress = partial(self.context.progress, Address("process", record.program.service))
        why = await wait_until_ready(self._supervisor, old, progress) if old else "has lost its record"
        name = "the former one" if own else former.rpartition(".")[0]
        ending = f"{name} {why} either" if why else f"{name} is serving again"
        error = NotReadyError(f"{failure.message}; {ending}", hint=failure.hint, context=failure.context)
        return _Done(error=error, restored=restored)

    def _failure(self, record: ProgramRecord, why: str, offset: int) -> NotReadyError:
        service = record.program.service
        lines = logtail.tail(self.log_path(service), _FAILURE_LINES, since=offset)
        return NotReadyError(f"{service} {why}", hint=f"autogit logs {service}", context=lines)

    async def units(self) -> Mapping[str, str]:
        """Return the state of each service that supervisord knows."""
        return {r.address.name: str(r.attributes["state"]) for r in await self.observe(Scope())}

    async def wrote(self) -> Collection[str]:
        """Return the services that have a log file."""
        return sorted(path.stem for path in self.context.paths.logs.glob("*.log"))

    def follow(self, services: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield each new line of these services' log files, across rotations."""
        return logtail.follow({service: self.log_path(service) for service in services})

    def log_path(self, service: str) -> Path:
        """Return the file that a service's output goes to."""
        return self.context.paths.logs / f"{service}.log"

    async def logs(self, service: str, *, lines: int) -> Sequence[str]:
        """Return the last lines of a service's output, across one rotation."""
        return await asyncio.to_thread(logtail.tail_rotated, self.log_path(service), lines)

    async def restart(self, service: str) -> None:
        """Stop and start the newest version of a service and wait until it is ready."""
        known = await asyncio.to_thread(self._supervisor.versions, service)
        record = await asyncio.to_thread(self._supervisor.record, known[0].name) if known else None
        if record is None:
            raise UnavailableError(f"embedded: {service} is not running here", hint="autogit up")
        offset = logtail.size(self.log_path(service))
        why = await self._run(record)
        if why:
            raise self._failure(record, why, offset)

    async def stop_all(self) -> Sequence[str]:
        """End every process and supervisord itself; returns when they are gone."""
        await asyncio.to_thread(self._supervisor.shutdown)
        return ()
