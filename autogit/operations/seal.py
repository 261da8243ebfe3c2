"""The seal: what the fast path compares, written when a full `up` found everything in sync."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any

import autogit
from autogit import __version__
from autogit.core.reconcile import Prepared
from autogit.fastpath import (
    PROBE_SECONDS,
    content_digest,
    environment,
    file_digest,
    host_signature,
    tree_digest,
    tree_signature,
)
from autogit.model.gitlab import GITLAB_FILE
from autogit.model.plan import Action
from autogit.model.project import ProjectPaths
from autogit.operations.gitlab_wiring import is_wired
from autogit.operations.mirror_wiring import is_recorded
from autogit.operations.project import Project, input_trees
from autogit.providers.compute.engine.wire import container_signatures, is_well
from autogit.providers.host.atomic import write_atomic
from autogit.providers.programs import find_program


def break_seal(paths: ProjectPaths) -> None:
    """Make the next `up` take the full path; called before anything is changed."""
    paths.seal.unlink(missing_ok=True)


def write_seal(project: Project, prepared: Prepared) -> None:
    """Remember that everything is in sync right now, and what that rests on.

    No seal is written where an input is no longer what the plan was made from (somebody edited `.env` meanwhile), or a
    rendered file no longer what was seen, or where a plan without mirrors left those for the next `up`.
    """
    if project.paths.env_file != project.paths.root / ".env":
        return  # the fast path serves the plain form of `up` only
    if not is_recorded(project.paths.mirror_rules, prepared.lockfile):
        return
    units = _units(project, prepared)
    if not units:
        return
    seal = _seal(project, prepared, units)
    rendered = {
        str(prepared.spec.paths.rendered / path): content_digest(file.text.encode(), stat.S_IFREG | 0o644)
        for path, file in prepared.tree.files.items()
    }
    read = {**project.inputs, **rendered}
    if all(digest == read.get(path, digest) for path, digest in {**seal["files"], **seal["trees"]}.items()):
        write_atomic(project.paths.seal, json.dumps(seal).encode(), 0o600)


def _seal(project: Project, prepared: Prepared, units: Mapping[str, Any]) -> dict[str, Any]:
    facts = prepared.facts.certificates[prepared.spec.base_domain]
    return {
        "version": __version__,
        "elsewhere": bool(project.settings.dns_providers) or is_wired(project),
        "python": find_program("python"),
        "root": str(project.paths.root),
        "sealed_at": time(),
        "renew_at": datetime.fromisoformat(facts.renew_at).timestamp(),
        "resources": prepared.plan.count(Action.NOOP),
        "host": host_signature(),
        "environment": environment(),
        "programs": {name: find_program(name) for name in sorted(_programs(project))},
        "files": {str(path): file_digest(str(path)) for path in sorted(_files(project, prepared))},
        "trees": {str(path): tree_digest(str(path)) for path in input_trees(project.paths)},
        "installed": _installed(prepared),
        "units": units,
    }


def _units(project: Project, prepared: Prepared) -> dict[str, Any]:
    """Return what the fast path compares running services with; nothing where it could not reach them."""
    spec, engine, socket = prepared.spec, prepared.facts.engine, project.runtime.socket
    if engine is None:
        return {"runtime": spec.runtime, "socket": str(socket), "processes": _processes(prepared)}
    if socket is None:
        return {}
    try:
        containers = container_signatures(str(socket), engine.api_version, spec.project, PROBE_SECONDS)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    observed = {str(r.attributes["id"]) for a, r in prepared.state.resources.items() if a.kind == spec.unit_kind}
    if set(containers) != observed or not all(is_well(signature) for signature in containers.values()):
        return {}
    return {
        "runtime": spec.runtime,
        "socket": str(socket),
        "api": engine.api_version,
        "project": spec.project,
        "containers": containers,
        "ingress": [spec.bind_address, spec.ports.get(f"{spec.ingress}/http", 0)],
    }


def _installed(prepared: Prepared) -> dict[str, str]:
    """Return what AutoGit's own image is made of: where it is one, a change of the installation is an input."""
    if not any(s.image and s.image.local for s in prepared.spec.running):
        return {}
    return {str(folder): tree_signature(str(folder)) for folder in (Path(autogit.__file__).parent,)}


def _programs(project: Project) -> Iterable[str]:
    return {d.runs.embedded.program for d in project.catalogue.descriptors if d.runs.embedded}


def _files(project: Project, prepared: Prepared) -> Iterable[Path]:
    paths, certificate = project.paths, prepared.spec.certificate
    yield from (paths.env_file, paths.lockfile, paths.secrets_store, project.secrets.store.identity_path())
    yield from (paths.root / GITLAB_FILE, paths.mirror_rules)
    yield from (Path(certificate.fullchain), Path(certificate.key), project.certificates.root_path(certificate.name))
    yield from (Path(prepared.spec.resolver.storage),) if prepared.spec.resolver else ()
    yield from (project.hooks.record_file,) if certificate.hooks else ()
    yield from (paths.rendered / path for path in prepared.tree.files)
    yield from (Path(s.file) for service in prepared.spec.running for s in service.secrets if s.file)
    yield from (Path(file) for file in project.settings.secret_files)


def _processes(prepared: Prepared) -> list[list[str | int]]:
    return [
        [f"{service.name}.{resource.attributes['program']}", program.health_port, program.health_path]
        for service in prepared.spec.running
        for resource in prepared.desired
        if (program := service.program)
        and resource.address.kind == prepared.spec.unit_kind
        and resource.address.name == service.name
    ]
