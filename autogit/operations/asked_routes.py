"""Asking a platform's routes from outside: all of them, or those of what was applied, where it listens."""

from __future__ import annotations

from dataclasses import replace

from autogit.core.traefik_resolver import is_traefiks
from autogit.core.verify import Verdict, await_routes
from autogit.errors import AutogitError
from autogit.model.lockfile import Lockfile
from autogit.model.spec import PlatformSpec
from autogit.operations import certs_by_ingress
from autogit.operations.project import Project, as_it_runs


async def ask_routes(project: Project, spec: PlatformSpec) -> Verdict:
    """Ask every route from outside."""
    if spec.resolver and is_traefiks(project.settings):
        return await certs_by_ingress.ask_routes(project, spec, spec.resolver)
    fresh = project.certificates.facts(project.context.clock()).get(spec.base_domain)
    serials = certs_by_ingress.serials_of(project, fresh) if fresh else frozenset[str]()
    serial = next(iter(serials)) if len(serials) == 1 else ""
    return await await_routes(spec, project.certificates.root_path(spec.base_domain), serial)


async def ask_what_runs(project: Project, spec: PlatformSpec, lockfile: Lockfile) -> Verdict:
    """Ask the routes of what was applied, where it listens: what else is wished for waits for `up`."""
    try:
        runs = as_it_runs(project, lockfile)
    except AutogitError as exc:  # what was changed is recorded all the same
        return Verdict((exc.message,))
    applied = {a.name for a, entry in lockfile.entries.items() if a.kind == spec.unit_kind and entry.attributes}
    routes = tuple(route for route in spec.routes if route.service in applied)
    return await ask_routes(runs, replace(spec, routes=routes, ports=lockfile.ports, ingress=runs.settings.ingress))
