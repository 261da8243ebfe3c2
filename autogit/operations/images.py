"""Images: which are held to, taken along to machines without internet, and moved to newer versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from autogit.core.images import release
from autogit.core.lock import apply_lock
from autogit.core.reconcile import Prepared, prepare
from autogit.errors import AutogitError, UnavailableError, UnsupportedError, UsageError
from autogit.model.container import ImageSpec
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
    prepared = await prepare(project.engine)
    return tuple(_view(prepared, s.name, s.image) for s in prepared.spec.running if s.image)


async def save(project: Project, file: Path, *, on_event: OnEvent = ignore) -> tuple[str, ...]:
    """Write the images of all services that run here to one tar file, for a machine without internet.

    Raises UnavailableError naming each image that the engine does not have.
    """
    keeper = _keeper(project)
    views = await list_images(project)
    absent = [view.reference for view in views if not view.present]
    if absent:
        raise UnavailableError(
            f"the engine does not have {', '.join(absent)}", hint="autogit up fetches and builds what is missing"
        )
    references = [view.reference for view in views]
    size = await keeper.save_images(references, file.absolute(), _reporter(on_event, "images"))
    return (f"{len(references)} images, {size / 1e6:.0f} MB: {file}", "there: autogit images load FILE; autogit up")


async def load(project: Project, file: Path) -> tuple[str, ...]:
    """Load the images of a tar file into the engine. Raises UsageError where there is no such file."""
    if not file.is_file():
        raise UsageError(f"there is no file {file}", hint="autogit images save FILE, on a machine that has the images")
    loaded = await _keeper(project).load_images(file.absolute())
    return tuple(f"loaded {name}" for name in loaded)


async def check_upgrade(project: Project, services: Sequence[str]) -> UpgradeView:
    """Return what `upgrade` would do; changes nothing and pulls nothing."""
    keeper = _keeper(project)
    chosen = _chosen(project, services)
    now = await prepare(project.engine)
    after = await prepare(project.engine, relock=release(chosen))
    pairs = [(s, _spec_of(now, s.name)) for s in after.spec.running if s.name in chosen and s.image]
    rows = await asyncio.gather(*(_compare(keeper, service, former) for service, former in pairs))
    return UpgradeView(services=tuple(rows), plan=present.plan_view(after))


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
        prepared = await prepare(project.engine, relock=release(chosen))
        wanted = [s for s in prepared.spec.running if s.name in chosen and s.image and not s.image.local]
        for service in wanted:
            await _fetch(keeper, prepared, service, on_event)
    narrowed = replace(request, command="upgrade", relock=release(chosen))
    return await up(project, narrowed, confirm=confirm, on_event=on_event)


async def _fetch(keeper: ImageKeeper, prepared: Prepared, service: ServiceSpec, on_event: OnEvent) -> None:
    """Pull what a tag leads to now. Where no registry answers, the engine's own image of that name is taken."""
    image = cast("ImageSpec", service.image)
    address = f"image/{service.name}"
    try:
        await keeper.pull_image(image.reference, _reporter(on_event, address))
    except AutogitError as exc:
        engine = prepared.facts.engine
        if engine is None or image.reference not in engine.images:
            raise
        on_event(Event("progress", address, f"its registry was not reached, the local one is taken: {exc.message}"))


async def _compare(keeper: ImageKeeper, service: ServiceSpec, former: ImageSpec | None) -> UpgradeRow:
    image = cast("ImageSpec", service.image)
    digest, problem = "", ""
    if not image.local:
        try:
            digest = await keeper.registry_digest(image.reference)
        except AutogitError as exc:
            problem = exc.message
    moved = former is None or former.reference != image.reference or (image.id and image.id != former.id)
    newer = bool(digest and former and former.digest and digest != former.digest)
    return UpgradeRow(
        service=service.name,
        current=former.reference if former else "",
        wanted=image.reference,
        changes=bool(moved or newer),
        registry=digest or problem or "made here",
    )


def _chosen(project: Project, services: Sequence[str]) -> frozenset[str]:
    for name in services:
        project.catalogue.get(name)
    return frozenset(services or project.catalogue.entries)


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
