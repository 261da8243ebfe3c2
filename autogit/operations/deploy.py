"""One service, brought to what is wished or to another image; everything else stays as it is."""

from __future__ import annotations

import re
from dataclasses import replace

from autogit.core.images import deploy as deployed
from autogit.core.images import image_setting, keep_locks
from autogit.errors import UnsupportedError, UsageError
from autogit.model.service import IMAGE
from autogit.model.views import UpView
from autogit.operations.platform import Confirm, OnEvent, UpRequest, always, ignore, up
from autogit.operations.project import Project
from autogit.providers.compute.base import ImageKeeper


async def deploy(  # noqa: PLR0913 - what is deployed, and how it is asked and shown
    project: Project,
    service: str,
    request: UpRequest,
    *,
    image: str = "",
    confirm: Confirm = always,
    on_event: OnEvent = ignore,
) -> UpView:
    """Bring one service to what is wished; with `image` that one is held to from now on.

    Raises UsageError for an unknown or unwanted service, or an image that `.env` contradicts, and what `up` raises.
    """
    project.catalogue.get(service)
    if service not in {running.name for running in project.outline().running}:
        raise UsageError(f"{service} does not run here", hint="SERVICES_ENABLED in .env names what runs")
    if image:
        _check_image(project, service, image)
    relock = deployed(service, image) if image else keep_locks
    narrowed = replace(request, command="deploy", only=service, relock=relock)
    return await up(project, narrowed, confirm=confirm, on_event=on_event)


def _check_image(project: Project, service: str, image: str) -> None:
    if not isinstance(project.runtime, ImageKeeper):
        raise UnsupportedError(f"RUNTIME={project.settings.runtime} has no images", hint="leave --image out")
    if not re.fullmatch(IMAGE, image):
        raise UsageError(f"{image} is not an image with a tag, which is another than latest")
    given = project.settings.image_overrides.get(service)
    if given and given != image:
        key = image_setting(service)
        raise UsageError(
            f"{project.settings.source_of(key)} holds {service} to {given}: the next autogit up would go back to that",
            hint=f"set {key}={image} there, then autogit deploy {service}",
        )
