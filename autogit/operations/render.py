"""Writing every file of the platform somewhere, for reading, comparing or use by hand; applies nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from autogit.core.host import gather_host_facts
from autogit.core.render import load_literals, render
from autogit.core.settings import load_settings
from autogit.core.spec import build_spec
from autogit.errors import UsageError
from autogit.model.project import ProjectPaths
from autogit.model.views import RenderView
from autogit.operations.present import note_view
from autogit.operations.project import find_programs, load_project_catalogue, lockfile_store
from autogit.providers.base import ProviderContext
from autogit.providers.host.atomic import write_atomic
from autogit.providers.host.secrets import Secrets
from autogit.providers.registry import load_provider
from autogit.providers.ssl.base import CertificateProvider


def render_platform(paths: ProjectPaths, out: Path) -> RenderView:
    """Write the rendered tree of `.env` below `out` (made if missing) and say what is in it; any runtime will do.

    Secrets are named, never written. Raises UsageError where `out` holds something that is not part of the tree, and
    whatever loading, building and rendering raise.
    """
    catalogue = load_project_catalogue(paths)
    settings = load_settings(paths.env_file, catalogue.descriptors)
    context = ProviderContext(paths)
    issuer = cast("CertificateProvider", load_provider("ssl", "local", context))
    facts = gather_host_facts(
        paths.state,
        executables=find_programs(catalogue),
        certificates=issuer.facts(context.clock()),
        secret_fingerprints=Secrets(context).fingerprints(settings.service_secrets),
    )
    facts = replace(facts, cpus=0, memory_bytes=0, busy_ports={})  # the files may be for another host
    lockfile = lockfile_store(paths).load()
    spec = build_spec(settings, catalogue, facts, lockfile, paths)
    tree = render(spec, load_literals(paths.overrides / "files"))
    _check_place(out, set(tree.files))
    for path, file in tree.files.items():
        write_atomic(out / path, file.text.encode(), 0o644, folder_mode=0o755)
    return RenderView(
        out=str(out),
        files=tuple(tree.files),
        secrets=tuple(sorted(secret.name for service in spec.running for secret in service.secrets)),
        notes=tuple(note_view(note) for note in spec.notes),
    )


def _check_place(out: Path, files: set[str]) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder", hint="autogit render --out DIR, where DIR is new or empty")
    foreign = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) if out.exists() else []
    strangers = [name for name in foreign if name not in files]
    if strangers:
        raise UsageError(
            f"{out} holds {strangers[0]}, which is not part of what is rendered: nothing was written",
            hint="autogit render --out DIR, where DIR is new or empty",
        )
