"""Services as the catalogue describes them: the discovery document and a page for people."""

from __future__ import annotations

from collections.abc import Iterator

from autogit.core.sizing import format_size
from autogit.model.project import ProjectPaths
from autogit.model.views import ServiceDiscovery
from autogit.operations.project import load_project_catalogue


def discovery(paths: ProjectPaths, name: str) -> ServiceDiscovery:
    """Return the specification's discovery document of a service. Raises UsageError and CatalogueError."""
    descriptor = load_project_catalogue(paths).get(name).descriptor
    return ServiceDiscovery(**{key: getattr(descriptor, key) for key in ServiceDiscovery.model_fields})


def describe(paths: ProjectPaths, name: str) -> Iterator[str]:
    """Yield what a person wants to know of a service. Raises UsageError and CatalogueError."""
    entry = load_project_catalogue(paths).get(name)
    descriptor = entry.descriptor
    document = discovery(paths, name)
    yield f"{descriptor.service}: {descriptor.summary}   ({entry.origin})"
    for key, value in document.model_dump().items():
        if key != "service" and value not in (None, (), []):
            yield f"  {key}: {', '.join(value) if isinstance(value, tuple) else value}"
    for tier, size in descriptor.sizing.items():
        yield f"  size {tier}: {format_size(size)}"
    for port_name, port in descriptor.ports.items():
        yield f"  port {port_name}: {port.internal}{' (published)' if port.published else ''}"
    for setting in descriptor.settings:
        yield f"  {setting.name}: {setting.description}{' (secret)' if setting.secret else ''}"
    run = descriptor.runs.embedded
    yield f"  embedded runtime: {run.program if run else descriptor.runs.unavailable.get('embedded', 'not available')}"
