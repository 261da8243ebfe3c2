"""The Docker runtime: services as containers of an engine; a failed change leaves the former one serving."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from autogit.errors import AutogitError, Fault, RejectedError, UnavailableError
from autogit.model.container import ImageSpec
from autogit.model.host import EngineFacts, ImageFacts
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Address, Resource, Value
from autogit.providers.base import HealthStatus, ProviderContext, Scope
from autogit.providers.compute.base import ImageKeeper, Restore, Runtime, Shell, VolumeKeeper, keep_files
from autogit.providers.compute.engine import archive, checks, images, registry, stream
from autogit.providers.compute.engine.body import (
    MANAGED,
    PROJECT,
    SERVICE,
    WORKING_DIR,
    object_labels,
)
from autogit.providers.compute.engine.change import ContainerChange, Done, containers_of, remove, stop, tail
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.execute import run_inside
from autogit.providers.compute.engine.facts import engine_facts
from autogit.providers.compute.engine.networks import change_network, drop_network
from autogit.providers.compute.engine.observe import (
    Found,
    by_service,
    container_resource,
    fit_subnet,
    image_resource,
    network_resource,
    ours,
)
from autogit.providers.compute.engine.ready import await_ready, is_well_after_all

_DEFAULT_PROJECT = "autogit"


class DockerRuntime(Runtime, VolumeKeeper, ImageKeeper, Shell):
    """Holds `network/…`, `volume/…`, `image/<service>` and `container/<service>` of one project on one engine."""

    provider_name: ClassVar[str] = "docker"
    kinds: ClassVar[tuple[str, ...]] = ("network", "volume", "image", "container")
    unit_kind: ClassVar[str] = "container"

    def __init__(self, context: ProviderContext, *, restore: Restore = keep_files) -> None:
        super().__init__(context, restore=restore)
        settings = context.settings
        self.client = Engine(settings.get("DOCKER_HOST") or None, settings.get("DOCKER_CERT_PATH") or None)
        self.project = settings.get("PROJECT_NAME") or _DEFAULT_PROJECT

    @property
    def socket(self) -> Path | None:
        """The engine's unix socket."""
        return self.client.socket

    def own_pids(self) -> Collection[int]:
        """Return none: containers hold their ports by the engine's own processes; `EngineFacts.own_ports` has them."""
        return ()

    async def health(self) -> HealthStatus:
        """Ask the engine for its version."""
        try:
            version = await self.client.call(lambda api: api.version())
        except AutogitError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        words = f"Docker Engine {version.get('Version')} (API {version.get('ApiVersion')}) at {self.client.host}"
        return HealthStatus(ok=True, detail=words)

    async def engine(self, images: Collection[str]) -> EngineFacts:
        """Ask the engine about itself, these images, and who publishes which port."""
        return await engine_facts(self.client, self.project, images, self.context.templates)

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return the project's networks, volumes and containers that are ours, and of each wished image what is there.

        `copies` of a container is more than 1 where a killed update left two versions.
        """
        parts = await asyncio.gather(
            self._networks(scope), self._volumes(scope), self._images(scope), self._containers(scope)
        )
        return [resource for part in parts for resource in part]

    async def _networks(self, scope: Scope) -> list[Resource]:
        rows = await self.client.call(lambda api: api.networks(filters={"label": [f"{PROJECT}={self.project}"]}))
        names = ((row, str((row.get("Labels") or {}).get("com.docker.compose.network", ""))) for row in rows)
        seen = [network_resource(row, name) for row, name in names if name and ours(row.get("Labels"))]
        return [fit_subnet(resource, scope.desired.get(resource.address)) for resource in seen]

    async def _volumes(self, scope: Scope) -> list[Resource]:
        del scope
        answer = await self.client.call(lambda api: api.volumes(filters={"label": [f"{PROJECT}={self.project}"]}))
        found = []
        for row in answer.get("Volumes") or ():
            name = (row.get("Labels") or {}).get("com.docker.compose.volume")
            if name and ours(row.get("Labels")):
                found.append(Resource(Address("volume", name), {"name": str(row["Name"])}))
        return found

    async def _images(self, scope: Scope) -> list[Resource]:
        wished = {a.name: r.payload for a, r in scope.desired.items() if a.kind == "image"}
        known = await images.look_up(self.client, [spec.id or spec.reference for spec in wished.values()])
        pairs = ((service, spec, known.get(spec.id or spec.reference)) for service, spec in wished.items())
        return [image_resource(service, spec, facts) for service, spec, facts in pairs if facts is not None]

    async def _containers(self, scope: Scope) -> list[Resource]:
        groups = by_service(await self._found(), self.project)
        found = []
        for service, group in groups.items():
            address = Address("container", service)
            seen = container_resource(group, scope.desired.get(address), scope.owned.get(address), self.project)
            if seen.attributes["state"] == "unhealthy" and await is_well_after_all(self.client, group[0]):
                seen = replace(seen, attributes={**seen.attributes, "state": "running"})
            found.append(seen)
        return found

    async def _found(self) -> list[Found]:
        filters = {"label": [f"{PROJECT}={self.project}", f"{MANAGED}=true"]}
        rows = await self.client.call(lambda api: api.containers(all=True, filters=filters))
        rows = [row for row in rows if (row.get("Labels") or {}).get(SERVICE)]
        inspected = await asyncio.gather(
            *(self.client.find(partial(_inspect, container_id=str(row["Id"]))) for row in rows)
        )
        return [Found(raw) for raw in inspected if raw is not None]

    async def check(self, changes: Sequence[Change]) -> Sequence[Fault]:
        """Look for images that cannot be had, names that others have, limits and hardware that are not there."""
        return await checks.find_obstacles(self.client, changes)

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out changes one after the other; independent ones may be given to several calls at once."""
        for change in changes:
            began = time.monotonic()
            attributes: Mapping[str, Value] = {}
            done = Done()
            try:
                done, attributes = await self._carry_out(change)
            except AutogitError as exc:
                done = Done(error=exc)
            yield Outcome(
                change.address,
                change.action,
                ok=done.error is None,
                detail=done.detail,
                attributes=attributes,
                error=done.error,
                seconds=time.monotonic() - began,
                restored=done.restored,
            )

    async def _carry_out(self, change: Change) -> tuple[Done, Mapping[str, Value]]:
        handlers: Mapping[str, Callable[[Change], Awaitable[tuple[Done, Mapping[str, Value]]]]] = {
            "network": self._network,
            "volume": self._volume,
            "image": self._image,
            "container": self._container,
        }
        return await handlers[change.address.kind](change)

    async def _network(self, change: Change) -> tuple[Done, Mapping[str, Value]]:
        detail, attributes = await change_network(self.client, self.project, change)
        return Done(detail), attributes

    async def _volume(self, change: Change) -> tuple[Done, Mapping[str, Value]]:
        if change.after is None:
            name = str(change.before.attributes["name"]) if change.before else ""
            return Done(await self.remove_volume(name)), {}
        name = str(change.after.attributes["name"])
        labels = object_labels("volume", self.project, change.address.name)
        await self.client.call(lambda api: api.create_volume(name, labels=labels))
        return Done("created"), {}

    async def remove_volume(self, name: str) -> str:
        """Remove one volume of ours with its data; says so, or that it is gone already."""
        raw = await self.client.find(lambda api: api.inspect_volume(name))
        if raw is None or not ours(raw.get("Labels")):
            return "already gone"
        await self.client.find(lambda api: api.remove_volume(name))
        return "removed with its data"

    async def volumes(self) -> Sequence[str]:
        """Return the full names of the project's volumes."""
        return sorted(str(r.attributes["name"]) for r in await self._volumes(Scope()))

    async def _image(self, change: Change) -> tuple[Done, Mapping[str, Value]]:
        if change.after is None:
            return Done("no longer held to; the image itself stays"), {}
        report = partial(self.context.progress, change.address)
        wish: ImageSpec = change.after.payload
        facts, how = await images.ensure_image(self.client, wish, self.context.templates, report)
        seen = image_resource(change.address.name, wish, facts).attributes
        return Done(how), {"id": seen["id"], "digest": seen["digest"]}

    async def pull_image(self, reference: str, report: Callable[[str], None]) -> ImageFacts:
        """Fetch what a reference leads to now."""
        return await images.pull(self.client, reference, report)

    async def registry_digest(self, reference: str) -> str:
        """Return the digest that a reference leads to in its registry now."""
        return await registry.digest_of(self.client, reference)

    async def save_images(self, references: Sequence[str], file: Path, report: Callable[[str], None]) -> int:
        """Write images to one tar file."""
        return await archive.save(self.client, references, file, report)

    async def load_images(self, file: Path, report: Callable[[str], None]) -> Sequence[str]:
        """Load the images of a tar file."""
        return await archive.load(self.client, file, report)

    async def _container(self, change: Change) -> tuple[Done, Mapping[str, Value]]:
        if change.after is None:
            return await self._delete(change.address.name), {}
        report = partial(self.context.progress, change.address)
        work = ContainerChange(self.client, change.after, self.restore, report)
        if change.action is Action.UPDATE:
            done = await work.update(change)
        else:
            done = await work.install(anew=change.action is Action.REPLACE and not change.fields)
        if done.error is not None:
            return done, {}
        raw = await self.client.call(lambda api: api.inspect_container(done.container_id))
        found = Found(raw)
        labels = found.labels
        return done, {"id": found.id, "image_id": str(raw["Image"]), "content": labels.get("autogit.content", "")}

    async def _delete(self, service: str) -> Done:
        known = await containers_of(self.client, self.project, service)
        for found in known:
            await stop(self.client, found)
            await remove(self.client, found.id)
        return Done("stopped and removed; its volumes stay" if known else "already gone")

    async def units(self) -> Mapping[str, str]:
        """Return the state of each service's container: nothing is asked but what the socket proxy lets pass."""
        groups = by_service(await self._found(), self.project)
        return {service: group[0].state for service, group in groups.items()}

    async def wrote(self) -> Collection[str]:
        """Return the services that have a container."""
        return sorted({found.service for found in await self._found()})

    async def logs(self, service: str, *, lines: int) -> Sequence[str]:
        """Return the last lines of a service's container."""
        known = await containers_of(self.client, self.project, service)
        group = by_service(known, self.project).get(service, [])
        return await tail(self.client, group[0].id, lines) if group else ()

    def follow(self, services: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield new lines of all these services' containers, those of a replacement too."""
        return stream.follow_logs(self.client, self.project, services)

    def events(self) -> Iterator[str]:
        """Yield the service that something happened to, "" for something else of the project."""
        return stream.watch_events(self.client, self.project)

    async def restart(self, service: str) -> None:
        """Restart the container of a service and wait until it is ready."""
        group = by_service(await containers_of(self.client, self.project, service), self.project).get(service)
        if not group:
            raise UnavailableError(f"docker: {service} has no container here", hint="autogit up")
        container = group[0]
        await self.client.call(lambda api: api.restart(container.id, container.stop_seconds))
        report = partial(self.context.progress, Address("container", service))
        why = await await_ready(self.client, container.id, checks.READY_SECONDS, report)
        if why:
            raise checks.not_ready(service, why, await tail(self.client, container.id, checks.LOG_LINES))

    async def execute(self, service: str, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """Run a program in a service's container."""
        group = by_service(await containers_of(self.client, self.project, service), self.project).get(service)
        if not group:
            raise UnavailableError(f"docker: {service} has no container here", hint="autogit up")
        return await run_inside(self.client, group[0].id, argv, stdin)

    async def stop_all(self) -> Sequence[str]:
        """Stop and remove the containers and networks of this project; volumes and images stay.

        They are found by the folder that they were made from: no sound `.env` is needed.
        """
        rendered = str(self.context.paths.rendered)
        filters = {"label": [f"{WORKING_DIR}={rendered}", f"{MANAGED}=true"]}
        rows = await self.client.call(lambda api: api.containers(all=True, filters=filters))
        await asyncio.gather(*(self._end(str(row["Id"])) for row in rows))
        stayed: list[str] = []
        projects = {str(row["Labels"].get(PROJECT)) for row in rows} | {self.project}
        for project in sorted(projects):
            label = f"{PROJECT}={project}"
            networks = await self.client.call(lambda api, label=label: api.networks(filters={"label": [label]}))  # type: ignore[misc]
            for name in sorted(str(row["Name"]) for row in networks):
                try:
                    await drop_network(self.client, name)
                except RejectedError as exc:  # somebody else's container is on it: not ours to break
                    stayed.append(f"{exc.message.removeprefix('docker: ')}: it stays")
        return stayed

    async def _end(self, container_id: str) -> None:
        raw = await self.client.find(lambda api: api.inspect_container(container_id))
        if raw is not None:
            await stop(self.client, Found(raw))
            await remove(self.client, container_id)


def _inspect(api: Any, *, container_id: str) -> Any:
    return api.inspect_container(container_id)
