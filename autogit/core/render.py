"""Rendering: the spec becomes files, byte for byte the same each time; pure but for reading the templates."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from jinja2 import TemplateError

from autogit.core.compose import COMPOSE_FILE, compose_text
from autogit.core.context import template_context
from autogit.core.templating import file_environment
from autogit.core.yaml_source import read_yaml
from autogit.errors import RenderError
from autogit.model.service import OnChange
from autogit.model.spec import PlatformSpec, RenderedFile, RenderedTree, ServiceSpec

_YAML = (".yml", ".yaml", ".json")


def render(spec: PlatformSpec, literals: Mapping[str, str] | None = None) -> RenderedTree:
    """Return every file of the running services; a literal of the same path wins over its template.

    Raises RenderError naming template and line.
    """
    files: dict[str, RenderedFile] = {}
    known = {s.name for s in spec.running}
    for service in spec.running:
        for config in service.descriptor.config:
            if config.with_port and config.with_port not in service.ports:
                continue
            if config.with_service and config.with_service not in known:
                continue
            path = f"{service.name}/{config.path}"
            files[path] = RenderedFile(service.name, _file(spec, service, config.path), config.on_change.value)
    for path, text in (literals or {}).items():
        owner = path.partition("/")[0]
        if owner in known:
            on_change = files[path].on_change if path in files else OnChange.RESTART.value
            files[path] = RenderedFile(owner, text, on_change)
    if spec.in_containers:
        files[COMPOSE_FILE] = RenderedFile("", compose_text(spec, files), OnChange.WATCHED.value)
    return RenderedTree(dict(sorted(files.items())))


def load_literals(folder: Path) -> dict[str, str]:
    """Return the user's own files (`overrides/files/`), rendered path -> text. Raises RenderError for a binary one."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            try:
                found[name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as exc:
                raise RenderError(f"overrides/files/{name} cannot be read as UTF-8 text") from exc
    return found


def _file(spec: PlatformSpec, service: ServiceSpec, path: str) -> str:
    """Return a config file: as it stands in the service's folder, or what its template renders to."""
    literal = service.entry.folder / "config" / path
    return literal.read_text(encoding="utf-8") if literal.is_file() else _render(spec, service, path)


def _render(spec: PlatformSpec, service: ServiceSpec, path: str) -> str:
    template = service.entry.folder / "config" / f"{path}.j2"
    shown = f"{service.entry.origin}/config/{path}.j2"
    try:
        code = file_environment(PurePosixPath(path).suffix).from_string(template.read_text(encoding="utf-8"))
        text = code.render(template_context(spec, service))
    except (TemplateError, TypeError, ValueError, ArithmeticError) as exc:
        raise RenderError(
            f"{shown} line {_line_of(exc)}: {exc}", hint="docs/reference/templates.md lists the names that can be used"
        ) from exc
    if path.endswith(_YAML) and (faults := read_yaml(text).faults):
        line, sentence = faults[0]
        raise RenderError(
            f"{shown} renders to something that is not YAML (rendered line {line}): {sentence}",
            hint="each {{ value }} is written as a whole JSON value: join texts inside one {{ }}",
        )
    return text


def _line_of(exc: BaseException) -> int:
    """Return the template's line: Jinja rewrites traceback frames so that they carry it."""
    own = getattr(exc, "lineno", None)
    frames = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == "<template>"]
    return own or (frames[-1] if frames else 1) or 1
