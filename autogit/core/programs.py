"""Programs of the embedded runtime: a descriptor's arguments and variables with their values filled in; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError

from autogit.core.context import template_context
from autogit.core.templating import text_environment
from autogit.errors import RenderError
from autogit.model.spec import PlatformSpec, Program, ServiceSpec


def build_program(spec: PlatformSpec, service: ServiceSpec, executables: Mapping[str, str]) -> Program | None:
    """Return the process of a service, None where it has no embedded form. Raises RenderError."""
    run = service.descriptor.runs.embedded
    if run is None:
        return None
    context = template_context(spec, service)
    descriptor = service.descriptor
    return Program(
        service=service.name,
        executable=executables[run.program],
        arguments=tuple(_fill(service, "arguments", text, context) for text in run.arguments),
        environment={name: _fill(service, name, text, context) for name, text in run.environment.items()},
        health_port=service.ports[descriptor.health_port],
        health_path=descriptor.health_endpoint or "/",
        ready_path=descriptor.ready_endpoint or descriptor.health_endpoint or "/",
        reload_signal=run.reload_signal,
        stop_signal=run.stop_signal,
        stop_grace_seconds=run.stop_grace_seconds,
        ready_timeout_seconds=run.ready_timeout_seconds,
    )


def _fill(service: ServiceSpec, subject: str, text: str, context: Mapping[str, Any]) -> str:
    try:
        return text_environment().from_string(text).render(context)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as exc:
        raise RenderError(
            f"{service.entry.origin}/service.yml: runs.embedded {subject} {text!r}: {exc}",
            hint="docs/reference/templates.md lists the names that can be used",
        ) from exc
