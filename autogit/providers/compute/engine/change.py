"""Changing a container: in place where that is enough, else by a new one that is proven before the old one goes.

    new image, command, variables, ports, mounts ...  -> install: create the new one, prove it, then remove the old one
    a config file that it reads at start               -> restart; its former bytes come back if it does not come up
    a config file that it re-reads                     -> its signal
    networks, limits                                   -> connected, disconnected, set
    not running, unhealthy, paused                     -> started, restarted, continued

A service that shares nothing with its former version (no published port, no writable mount) runs `beside` it: nobody
finds the new one by the service's name until it is proven, then both are found, then the old one ends. Any other one is
stopped first and started again if the new one fails; for how long nobody served is said.

What a killed update leaves is two containers of one service. Whichever step comes next, it begins with what is there:
a container of the wished definition is gone on with, every other one is the former version or goes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autogit.errors import AutogitError, MissingError, NotReadyError, RejectedError
from autogit.model.plan import Change
from autogit.model.resource import Address, Resource
from autogit.model.spec import ContainerPayload
from autogit.providers.compute.base import REFUSED, REFUSED_HINT, Restore
from autogit.providers.compute.engine.body import (
    PROJECT,
    SERVICE,
    container_name,
    create_body,
    endpoint_aliases,
    object_name,
)
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.observe import Found, ours
from autogit.providers.compute.engine.ready import await_ready, complaints_of

_LOG_LINES = 20
_RESTARTING = frozenset({"state", "config"})
_CONNECTING = frozenset({"networks"})
_LIMITING = frozenset({"memory_bytes", "cpus"})
_BORN = ("autogit.hash", "autogit.config", "autogit.reload")


@dataclass(frozen=True, slots=True)
class Done:
    """What a change came to: the container in force, the error of a failure, and the files that were put back."""

    detail: str = ""
    container_id: str = ""
    error: AutogitError | None = None
    restored: tuple[Address, ...] = ()


class ContainerChange:
    """One change of one service's container."""

    def __init__(self, engine: Engine, wish: Resource, restore: Restore, report: Callable[[str], None]) -> None:
        self.engine = engine
        self.payload: ContainerPayload = wish.payload
        self.service = wish.address.name
        self.name = container_name(self.payload.project, self.service)
        self.restore = restore
        self.report = report

    async def install(self, *, anew: bool = False) -> Done:
        """Bring a new container into force; the former one serves until then, or again if this fails.

        `anew` makes one even where a container of the wished definition is there.
        """
        known = await containers_of(self.engine, self.payload.project, self.service)
        image, image_id = await self._image()
        candidate = None if anew else self._begun(known, image_id)
        others = [c for c in known if candidate is None or c.id != candidate.id]
        # What does not run beside one that does was only begun.
        serving = [c for c in others if c.runs or candidate is None or not candidate.runs]
        former = max(serving, key=lambda c: (c.runs, str(c.raw["Created"])), default=None)
        for other in others:
            if former is None or other.id != former.id:
                await remove(self.engine, other.id)
            else:
                await self._move_aside(other)
        if candidate is not None and candidate.name != self.name:
            await self.engine.call(lambda api: api.rename(candidate.id, self.name))
        rivals = await self._stop_rivals()
        done = await self._try(candidate, former, image, image_id)
        return await self._with_rivals_again(done, rivals) if done.error and rivals else done

    async def _stop_rivals(self) -> Sequence[Found]:
        """Free the ports that others hold whose place a service takes; return those that ran."""
        project = self.payload.project
        found = [one for name in self.payload.instead_of for one in await containers_of(self.engine, project, name)]
        running = [one for one in found if one.runs]
        for one in running:
            await stop(self.engine, one)
        return running

    async def _with_rivals_again(self, done: Done, rivals: Sequence[Found]) -> Done:
        """Take the one that failed away, if it is still there, and start those again whose ports it was to have."""
        for left in await containers_of(self.engine, self.payload.project, self.service):
            await remove(self.engine, left.id)
        endings = []
        for rival in rivals:
            why = await self._serve_again(rival, restarted=True)
            endings.append(f"{rival.service} {why} either" if why else f"{rival.service} is serving again")
        failure = done.error if isinstance(done.error, NotReadyError) else self._failure(str(done.error), ())
        return replace(done, container_id="", error=_with(failure, "; ".join(endings), self._log_hint))

    async def update(self, change: Change) -> Done:
        """Change a container in place."""
        fields = {field.name for field in change.fields}
        known = await containers_of(self.engine, self.payload.project, self.service)
        if len(known) != 1 or known[0].name != self.name:
            return await self.install()
        container = known[0]
        spec = self.payload.container
        if fields & _LIMITING and not (spec.memory_bytes and spec.cpus):
            return await self.install(anew=True)  # a limit cannot be taken off a container that exists
        details = []
        if fields & _LIMITING:
            await self._limit(container)
            details.append("limits set")
        if fields & _CONNECTING:
            await self._connect(container)
            details.append("networks joined")
        if fields & _RESTARTING:
            await self._stop_rivals()
            return await self._restart(container, fields)
        if "reload" in fields:
            return await self._reload(container)
        return await self._proven(container.id, ", ".join(details))

    async def _proven(self, container_id: str, detail: str) -> Done:
        why = await self._await(container_id)
        if not why:
            return Done(detail, container_id)
        failure = self._failure(why, await self._tail(container_id))
        return Done(detail, container_id, _with(failure, hint=self._log_hint))

    async def _image(self) -> tuple[str, str]:
        """Return what to start from and its id: by its name where that still is the image we are held to."""
        image = self.payload.image
        named = await self.engine.find(lambda api: api.inspect_image(image.reference))
        if named is not None and image.id in ("", named["Id"]):
            return image.reference, str(named["Id"])
        if named is None and not image.id:
            raise MissingError(f"docker: image {image.reference} is not here")
        await self.engine.call(lambda api: api.inspect_image(image.id))
        return image.id, image.id

    def _begun(self, known: Sequence[Found], image_id: str) -> Found | None:
        """Return the container that a killed update has already made for this wish, and for its files as they are."""
        wanted = self.payload.container.labels
        same = [c for c in known if c.raw["Image"] == image_id and all(c.labels.get(n) == wanted.get(n) for n in _BORN)]
        return max(same, key=lambda c: (c.name == self.name, c.runs), default=None)

    async def _move_aside(self, former: Found) -> None:
        if former.name == self.name:
            aside = f"{former.id[:12]}_{self.name}"
            await self.engine.call(lambda api: api.rename(former.id, aside))

    async def _try(self, begun: Found | None, former: Found | None, image: str, image_id: str) -> Done:
        gap_began = 0.0
        stopped, candidate = False, begun.id if begun else ""
        known = not self._beside(former)
        try:
            async with self.engine.starts():
                if begun is not None:
                    await self._complete(begun, known=known)
                candidate = candidate or await self._create(image, image_id, known=known)
                if former is not None and former.runs and not self.payload.beside:
                    stopped, gap_began = True, time.monotonic()
                    await stop(self.engine, former)
                await self.engine.call(lambda api: api.start(candidate))
            why = await self._await(candidate)
            failure = self._failure(why, await self._tail(candidate)) if why else None
        except AutogitError as exc:
            failure = self._failure(f"could not be started: {_reason(exc)}", await self._tail(candidate), exc)
        if failure is not None and begun is not None and former is None:
            return Done(container_id=candidate, error=_with(failure, hint=self._log_hint))
        if failure is not None:
            return await self._go_back(candidate, former, failure)
        gap = time.monotonic() - gap_began if stopped else 0.0
        await self._take_over(candidate, former)
        if former is None or not former.runs:
            return Done("ready", candidate)
        return Done(
            f"ready; {gap:.1f} s without it" if stopped else "ready; the former one served meanwhile", candidate
        )

    def _beside(self, former: Found | None) -> bool:
        return self.payload.beside and former is not None

    async def _create(self, image: str, image_id: str, *, known: bool) -> str:
        body = create_body(self.payload, image, image_id, aliases=known)
        made = await self.engine.call(lambda api: api.create_container_from_config(body, self.name))
        container_id = str(made["Id"])
        try:
            for network in sorted(self.payload.container.networks)[1:]:
                await self._join(container_id, network, known=known)
        except AutogitError:
            await remove(self.engine, container_id)
            raise
        return container_id

    async def _complete(self, begun: Found, *, known: bool) -> None:
        """Join the networks that a killed update had not come to yet."""
        if known:
            await self._connect(begun)
            return
        present = begun.raw["NetworkSettings"].get("Networks") or {}
        for network in sorted(self.payload.container.networks):
            if object_name(self.payload.project, network) not in present:
                await self._join(begun.id, network, known=False)

    async def _await(self, container_id: str) -> str:
        return await await_ready(self.engine, container_id, self.payload.ready_timeout_seconds, self.report)

    async def _take_over(self, candidate: str, former: Found | None) -> None:
        """Make the proven one known by the service's name, then let the former one finish its requests and go."""
        if self.payload.beside:
            await self._connect(Found(await self.engine.call(lambda api: api.inspect_container(candidate))))
        if former is not None:
            await stop(self.engine, former)
            await remove(self.engine, former.id)

    async def _go_back(self, candidate: str, former: Found | None, failure: NotReadyError) -> Done:
        """Remove the one that failed; put the former one back, with its config files, where there is one."""
        if candidate:
            await remove(self.engine, candidate)
        if former is None:
            return Done(error=_with(failure, hint="it was taken away again; autogit up makes it anew"))
        restored = await self._put_back()
        # One that ran beside has read its files long ago.
        why = await self._serve_again(former, restarted=not (former.runs and self.payload.beside), aside=True)
        ending = f"the former one {why} either" if why else "the former one is serving"
        return Done(container_id=former.id, error=_with(failure, ending, self._log_hint), restored=restored)

    async def _serve_again(self, former: Found, *, restarted: bool, aside: bool = False) -> str:
        try:
            if aside:
                await self.engine.call(lambda api: api.rename(former.id, self.name))
            if restarted:
                await self.engine.call(lambda api: api.restart(former.id, former.stop_seconds))
            return await self._await(former.id)
        except AutogitError as exc:
            return f"could not be started: {_reason(exc)}"

    async def _put_back(self) -> tuple[Address, ...]:
        return tuple([a for a in self.payload.config_files if await asyncio.to_thread(self.restore, a)])

    async def _restart(self, container: Found, fields: Collection[str]) -> Done:
        why, detail = await self._bring_up(container, reads="config" in fields or "reload" in fields)
        if why == _REPLACE:
            return await self.install(anew=True)
        if not why:
            return Done(detail, container.id)
        failure = self._failure(why, await self._tail(container.id))
        restored = await self._put_back() if "config" in fields else ()
        if restored:
            again = await self._serve_again(container, restarted=True)
            ending = (
                f"with its former files it {again} either" if again else "with its former files it is serving again"
            )
            failure = _with(failure, ending)
        return Done(container_id=container.id, error=_with(failure, hint=self._log_hint), restored=restored)

    async def _bring_up(self, container: Found, *, reads: bool) -> tuple[str, str]:
        """Start, restart, or continue one that need not read its files again; return why it is not ready, and what."""
        grace = self.payload.container.stop_grace_seconds
        try:
            async with self.engine.starts():
                if container.status == "paused" and not reads:
                    await self.engine.call(lambda api: api.unpause(container.id))
                    detail = "continued"
                elif container.runs:
                    await self.engine.call(lambda api: api.restart(container.id, grace))
                    detail = "restarted"
                else:
                    await self.engine.call(lambda api: api.start(container.id))
                    detail = "started"
        except RejectedError:
            # A network, a mount or the container itself is gone, or a killed engine left half of it: a new one works.
            return _REPLACE, ""
        except AutogitError as exc:
            return f"could not be started: {_reason(exc)}", ""
        return await self._await(container.id), detail

    async def _reload(self, container: Found) -> Done:
        spec, check = self.payload.container, self.payload.reload_check
        words = (*spec.entrypoint, *spec.command, *check) if check else ()
        if complaints := await complaints_of(self.engine, container.id, words, _LOG_LINES):
            failure = _with(self._failure(REFUSED, complaints), hint=REFUSED_HINT)
            return Done(container_id=container.id, error=failure)
        await self.engine.call(lambda api: api.kill(container.id, self.payload.reload_signal or "SIGHUP"))
        return await self._proven(container.id, "reloaded")

    async def _limit(self, container: Found) -> None:
        spec = self.payload.container
        # The SDK has no word for NanoCpus; a quota per 100 ms is the same (Engine API, ContainerUpdate).
        body = {"Memory": spec.memory_bytes, "MemorySwap": 2 * spec.memory_bytes, "NanoCpus": round(spec.cpus * 10**9)}

        def update(api: Any) -> None:
            url = api._url("/containers/{0}/update", container.id)  # noqa: SLF001 - see above
            api._result(api._post_json(url, data=body), True)  # noqa: SLF001

        await self.engine.call(update)

    async def _connect(self, container: Found) -> None:
        """Join what is wished and missing or known by other names, leave this project's networks that are not."""
        prefix = object_name(self.payload.project, "")
        present = container.raw["NetworkSettings"].get("Networks") or {}
        wanted = self.payload.container.networks
        for full in present:
            name = full.removeprefix(prefix)
            if full.startswith(prefix) and name not in wanted:
                await self._leave(container.id, name)
        for name in sorted(wanted):
            endpoint = present.get(f"{prefix}{name}")
            names = set((endpoint or {}).get("Aliases") or ())
            if endpoint is None or not set(endpoint_aliases(self.payload.container, name)) <= names:
                if endpoint is not None:
                    await self._leave(container.id, name)
                await self._join(container.id, name, known=True)

    async def _join(self, container_id: str, network: str, *, known: bool) -> None:
        full = object_name(self.payload.project, network)
        aliases = endpoint_aliases(self.payload.container, network) if known else None
        await self.engine.call(lambda api: api.connect_container_to_network(container_id, full, aliases=aliases))

    async def _leave(self, container_id: str, network: str) -> None:
        full = object_name(self.payload.project, network)
        await self.engine.find(lambda api: api.disconnect_container_from_network(container_id, full, force=True))

    async def _tail(self, container_id: str) -> list[str]:
        return await tail(self.engine, container_id, _LOG_LINES) if container_id else []

    @property
    def _log_hint(self) -> str:
        return f"autogit logs {self.service}"

    def _failure(self, why: str, lines: Sequence[str], cause: AutogitError | None = None) -> NotReadyError:
        return NotReadyError(f"{self.service} {why}", hint=cause.hint if cause else "", context=lines)


_REPLACE = "(replace)"


def _with(failure: NotReadyError, ending: str = "", hint: str = "") -> NotReadyError:
    """Return a failure with what became of it, and a way out where its cause names none."""
    message = f"{failure.message}; {ending}" if ending else failure.message
    return NotReadyError(message, hint=failure.hint or hint, context=failure.context)


def _reason(exc: AutogitError) -> str:
    return exc.message.removeprefix("docker: ")


async def containers_of(engine: Engine, project: str, service: str) -> list[Found]:
    """Return this project's containers of a service that are ours, inspected."""
    filters = {"label": [f"{PROJECT}={project}", f"{SERVICE}={service}"]}
    rows = await engine.call(lambda api: api.containers(all=True, filters=filters))
    found = []
    for row in rows:
        raw = await engine.find(lambda api, row=row: api.inspect_container(row["Id"]))  # type: ignore[misc]
        if raw is not None and ours(raw["Config"].get("Labels")):
            found.append(Found(raw))
    return found


async def stop(engine: Engine, found: Found) -> None:
    """Ask a container to end, and wait as long as it was promised."""
    await engine.find(lambda api: api.stop(found.id, timeout=found.stop_seconds))


async def remove(engine: Engine, container_id: str) -> None:
    """Remove a container; its volumes stay. Harmless if it is gone."""
    await engine.find(lambda api: api.remove_container(container_id, force=True, v=False))


async def tail(engine: Engine, container_id: str, lines: int) -> list[str]:
    """Return the last lines that a container wrote, the oldest first; none where it is gone."""
    data = await engine.find(lambda api: api.logs(container_id, tail=lines, stdout=True, stderr=True))
    return data.decode("utf-8", "replace").splitlines() if data else []
