"""Programs of the embedded runtime: a descriptor's arguments and variables with their values filled in; pure."""

from __future__ import annotations

from collections.abc import Mapping

from autogit.core.context import resolver_environment, template_context
from autogit.core.templating import fill_text
from autogit.model.spec import PlatformSpec, Program, ServiceSpec


def fill_directory(spec: PlatformSpec, service: ServiceSpec) -> str:
    """Return where a service's process runs, empty where its descriptor leaves that open. Raises RenderError."""
    run = service.descriptor.runs.embedded
    if run is None or not run.directory:
        return ""
    place = f"{service.entry.origin}/service.yml: runs.embedded directory"
    return fill_text(place, run.directory, template_context(spec, service))


def build_program(spec: PlatformSpec, service: ServiceSpec, executables: Mapping[str, str]) -> Program | None:
    """Return the process of a service, None where it has no embedded form. Raises RenderError."""
    run = service.descriptor.runs.embedded
    if run is None:
        return None
    context = template_context(spec, service)
    descriptor = service.descriptor
    place = f"{service.entry.origin}/service.yml: runs.embedded"
    return Program(
        service=service.name,
        executable=executables[run.program],
        arguments=tuple(fill_text(f"{place} arguments", text, context) for text in run.arguments),
        environment={
            **{name: fill_text(f"{place} {name}", text, context) for name, text in run.environment.items()},
            **resolver_environment(spec, service),
        },
        health_port=service.ports[descriptor.health_port],
        health_path=descriptor.health_endpoint or "/",
        ready_path=descriptor.ready_endpoint or descriptor.health_endpoint or "/",
        reload_signal=run.reload_signal,
        stop_signal=run.stop_signal,
        stop_grace_seconds=run.stop_grace_seconds,
        ready_timeout_seconds=run.ready_timeout_seconds,
    )
