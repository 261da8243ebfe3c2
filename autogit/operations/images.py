"""Images: which are held to, taken along to machines without internet, and moved to newer versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from autogit.core.images import check_upgrades, release
from autogit.core.lock import apply_lock
from autogit.core.reconcile import Prepared, prepare
from autogit.errors import BlockedError, Fault, ProviderError, UnavailableError, UnsupportedError, UsageError
from autogit.model.container import ImageSpec
from autogit.model.plan import Note
from autogit.model.resource import Address
from autogit.model.spec import ServiceSpec
from autogit.model.views import ImageView, UpgradeRow, UpgradeView, UpView
from autogit.operations import present
from autogit.operations.platform import Confirm, Event, OnEvent, UpRequest, always, ignore, up
from autogit.operations.project import Project
from autogit.providers.compute.base import ImageKeeper


async def list_images(project: Project) -> tuple[ImageView, ...]:
    """Return the image of each service that runs here, and whether the engine has it."""
    _keeper(project)
    return _views(await prepare(project.engine_here))


def _views(prepared: Prepared) -> tuple[ImageView, ...]:
    return tuple(_view(prepared, s.name, s.image) for s in prepared.spec.running if s.image)


async def save(project: Project, file: Path, *, on_event: OnEvent = ignore) -> tuple[str, ...]:
    """Write the images of all services that run here to one tar file, for a machine without internet.

    Raises UnavailableError naming each image that the engine does not have.
    """
    keeper = _keeper(project)
    prepared = await prepare(project.engine_here)
    views = _views(prepared)
    absent = [view.reference for view in views if not view.present]
    if absent:
        raise UnavailableError(
            f"the engine does not have {', '.join(absent)}", hint="autogit up fetches and builds what is missing"
        )
    known = prepared.facts.engine.images if prepared.facts.engine else {}
    nameless = [v for v in views if v.reference not in known or known[v.reference].id != v.id]
    names = {view.id if view in nameless else view.reference for view in views}
    size = await keeper.save_images(sorted(names), file.absolute(), _reporter(on_event, "images"))
    rest = [
        f"{view.reference} is another image by now: {view.service}'s is in the file by its id, "
        f"which {project.paths.lockfile.name} knows: take that along"
        for view in nameless
    ]
    return (f"{len(names)} images, {size / 1e6:.0f} MB: {file}", *rest, "there: autogit images load FILE; autogit up")


async def load(project: Project, file: Path, *, on_event: OnEvent = ignore) -> tuple[str, ...]:
    """Load the images of a tar file into the engine. Raises UsageError where there is no such file."""
    if not file.is_file():
        raise UsageError(f"there is no file {file}", hint="autogit images save FILE, on a machine that has the images")
    loaded = await _keeper(project).load_images(file.absolute(), _reporter(on_event, "images"))
    return tuple(f"loaded {name}" for name in loaded)


async def check_upgrade(project: Project, services: Sequence[str]) -> UpgradeView:
    """Return what `upgrade` would do; changes nothing and pulls nothing."""
    keeper = _keeper(project)
    chosen = _chosen(project, services)
    now = await prepare(project.engine_here)
    after = await prepare(project.engine_here, relock=release(chosen))
    _check_running(after, services)
    check_upgrades(after.spec, after.lockfile, chosen)
    pairs = [(s, _spec_of(now, s.name)) for s in after.spec.running if s.name in chosen and s.image]
    found = await asyncio.gather(*(_compare(keeper, now, service, former) for service, former in pairs))
    notes = [
        Note("info", row.service, "its tag leads to another image in the registry: upgrade pulls it first")
        for row, newer in found
        if newer
    ]
    plan = replace(after.plan, notes=(*after.plan.notes, *notes))
    return UpgradeView(services=tuple(row for row, _ in found), plan=present.plan_view(after, plan))


async def upgrade(
    project: Project,
    services: Sequence[str],
    request: UpRequest,
    *,
    confirm: Confirm = always,
    on_event: OnEvent = ignore,
) -> UpView:
    """Move services (all that run when none is named) to the versions that `.env` and the catalogue name now.

    All new images are fetched before anything is changed; they are held to as one set. A service that does not come up
    on its new image goes on serving from the former one, and is held to that again. Raises what `up` raises, and
    UnsupportedError where a version may not be skipped.
    """
    keeper = _keeper(project)
    chosen = _chosen(project, services)
    async with apply_lock(project.paths.apply_lock, "upgrade", wait_seconds=request.lock_wait_seconds):
        prepared = await prepare(project.engine_here, relock=release(chosen))
        wanted = [s for s in prepared.spec.running if s.name in chosen and s.image and not s.image.local]
        _check_running(prepared, services)
        check_upgrades(prepared.spec, prepared.lockfile, chosen)
        found = await asyncio.gather(*(_fetch(keeper, prepared, service, on_event) for service in wanted))
    if missing := [fault for fault in found if fault]:
        raise BlockedError(f"nothing was changed: {_count(missing)}", hint=present.way_out(missing), faults=missing)
    narrowed = replace(request, command="upgrade", relock=release(chosen))
    return await up(project, narrowed, confirm=confirm, on_event=on_event)


async def _fetch(keeper: ImageKeeper, prepared: Prepared, service: ServiceSpec, on_event: OnEvent) -> Fault | None:
    """Pull what a tag leads to now. Where that fails, the engine's own image of that name is taken, if it has one."""
    image = cast("ImageSpec", service.image)
    address = f"image/{service.name}"
    try:
        await keeper.pull_image(image.reference, _reporter(on_event, address))
    except ProviderError as exc:
        engine = prepared.facts.engine
        if engine is None or image.reference not in engine.images:
            return Fault(address, image.reference, _words(exc).removeprefix(f"{image.reference} "))
        on_event(Event("progress", address, f"{_words(exc)}; the engine's own one is taken"))
    return None


def _count(missing: Sequence[Fault]) -> str:
    return "an image cannot be had" if len(missing) == 1 else f"{len(missing)} images cannot be had"


def _words(exc: ProviderError) -> str:
    return exc.message.removeprefix("docker: ")


async def _compare(
    keeper: ImageKeeper, now: Prepared, service: ServiceSpec, former: ImageSpec | None
) -> tuple[UpgradeRow, bool]:
    """Return what becomes of a service, and whether its registry has another image than the engine."""
    image = cast("ImageSpec", service.image)
    digest, problem = "", ""
    if not image.local:
        try:
            digest = await keeper.registry_digest(image.reference)
        except ProviderError as exc:
            problem = _words(exc)
    moved = former is None or former.reference != image.reference or (image.id and image.id != former.id)
    held = image if image.id or former is None else former
    known = now.facts.engine.images.get(held.id) if now.facts.engine else None
    here = {held.digest, *(known.digests_of(image.reference) if known else ())} - {""}
    newer = bool(digest and here and digest not in here)
    row = UpgradeRow(
        service=service.name,
        current=former.reference if former else "",
        wanted=image.reference,
        changes=bool(moved or newer),
        registry=digest or problem or "made here",
    )
    return row, newer


def _chosen(project: Project, services: Sequence[str]) -> frozenset[str]:
    for name in services:
        project.catalogue.get(name)
    return frozenset(services or project.catalogue.entries)


def _check_running(prepared: Prepared, services: Sequence[str]) -> None:
    absent = sorted(set(services) - {service.name for service in prepared.spec.running})
    if absent:
        verb = "does" if len(absent) == 1 else "do"
        raise UsageError(f"{', '.join(absent)} {verb} not run here", hint="SERVICES_ENABLED in .env names what runs")


def _keeper(project: Project) -> ImageKeeper:
    if not isinstance(project.runtime, ImageKeeper):
        raise UnsupportedError(
            f"RUNTIME={project.settings.runtime} has no images: its programs come with packages",
            hint="pip install --upgrade autogit",
        )
    return project.runtime


def _spec_of(prepared: Prepared, name: str) -> ImageSpec | None:
    return next((s.image for s in prepared.spec.running if s.name == name), None)


def _view(prepared: Prepared, service: str, image: ImageSpec) -> ImageView:
    seen = prepared.state.find(Address("image", service))
    return ImageView(
        service=service,
        reference=image.reference,
        origin=image.origin,
        id=str(seen.attributes["id"]) if seen else image.id,
        digest=str(seen.attributes["digest"]) if seen else image.digest,
        present=seen is not None,
    )


def _reporter(on_event: OnEvent, address: str) -> Callable[[str], None]:
    return lambda text: on_event(Event("progress", address, text))
