"""Writing every file of the platform somewhere, for reading, comparing or use by hand; starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from autogit.core.apply import apply_plan
from autogit.core.desired import desired_resources
from autogit.core.host import gather_host_facts
from autogit.core.lock import apply_lock
from autogit.core.observe import normalise, observe
from autogit.core.plan import make_plan
from autogit.core.render import load_literals, render
from autogit.core.settings import load_settings
from autogit.core.spec import build_spec
from autogit.core.store import Recorder, lockfile_store
from autogit.errors import ApplyError, AutogitError, UsageError
from autogit.model.host import EngineFacts
from autogit.model.lockfile import Lockfile
from autogit.model.project import ProjectPaths
from autogit.model.resource import Resource
from autogit.model.settings import Settings
from autogit.model.spec import PlatformSpec, RenderedTree
from autogit.model.views import RenderView
from autogit.operations.present import note_view
from autogit.operations.project import find_programs, load_project_catalogue, provider_context
from autogit.operations.prompt_filter import prepare_filter
from autogit.operations.seal import break_seal
from autogit.providers.base import ProviderContext, Reconciler
from autogit.providers.compute.base import Runtime
from autogit.providers.host.atomic import write_atomic
from autogit.providers.host.secrets import Secrets
from autogit.providers.registry import load_provider
from autogit.providers.ssl.base import CertificateProvider


async def render_platform(paths: ProjectPaths, out: Path, *, with_secrets: bool = False) -> RenderView:
    """Write the rendered tree of `.env` below `out` (made if missing) and say what is in it; any runtime will do.

    The files name secrets and certificates by their place in the project. `with_secrets` makes them there, as `up`
    would: generated once, encrypted in the store, one file for each that a service reads. Raises UsageError where `out`
    holds something that is not part of the tree, ApplyLockHeldError, and whatever loading, building, rendering and
    making raise.
    """
    catalogue = load_project_catalogue(paths)
    settings = load_settings(paths.env_file, catalogue.descriptors)
    context = ProviderContext(paths)
    issuer = cast("CertificateProvider", load_provider("ssl", "local", context))
    secrets = Secrets(context)

    engine = await _engine(paths, settings) if with_secrets else None

    def build() -> tuple[PlatformSpec, RenderedTree, Lockfile]:
        facts = gather_host_facts(
            paths.state,
            executables=find_programs(catalogue),
            certificates=issuer.facts(context.clock()),
            secret_fingerprints=secrets.fingerprints(settings.service_secrets),
            ports={},
        )
        # The files may be for another host; with secrets they are for this one, and its engine has its say.
        facts = replace(facts, cpus=engine.cpus if engine else 0, memory_bytes=0, engine=engine)
        lockfile = lockfile_store(paths).load()
        spec = build_spec(settings, catalogue, facts, lockfile, paths)
        return spec, render(spec, load_literals(paths.overrides / "files")), lockfile

    spec, tree, _ = build()
    _check_place(out, set(tree.files))
    if with_secrets:
        async with apply_lock(paths.apply_lock, "render --with-secrets"):
            spec, tree, lockfile = build()
            await _make_named(paths, desired_resources(spec, tree), lockfile, (secrets, issuer))
            prepare_filter(paths, spec)
    for path, file in tree.files.items():
        write_atomic(out / path, file.text.encode(), 0o644, folder_mode=0o755)
    return RenderView(
        out=str(out),
        files=tuple(tree.files),
        secrets=tuple(sorted(secret.name for service in spec.running for secret in service.secrets)),
        notes=tuple(note_view(note) for note in spec.notes),
    )


async def _engine(paths: ProjectPaths, settings: Settings) -> EngineFacts | None:
    """Ask the engine that the files are for, where there is one: where it keeps its data, how many cores it has."""
    if settings.runtime == "embedded":
        return None
    context = provider_context(paths, settings.effective())
    try:
        return await cast("Runtime", load_provider("compute", settings.runtime, context)).engine(())
    except AutogitError:
        return None


async def _make_named(
    paths: ProjectPaths, desired: Sequence[Resource], lockfile: Lockfile, providers: Sequence[Reconciler]
) -> None:
    """Make what the files name and do not hold: plan and apply, for these kinds alone."""
    kinds = {kind for provider in providers for kind in provider.kinds}
    wishes = normalise([r for r in desired if r.address.kind in kinds], providers)
    own = replace(lockfile, entries={a: e for a, e in lockfile.entries.items() if a.kind in kinds})
    plan = make_plan(wishes, await observe(providers, wishes, lockfile), own)
    if not plan.pending:
        return
    break_seal(paths)
    store = lockfile_store(paths)
    store.keep_previous()
    recorder = Recorder(store, lockfile)
    recorder.begin(plan.pending, ports=lockfile.ports, engine=lockfile.engine)
    result = await apply_plan(plan, providers, recorder, lambda _outcome: None)
    for outcome in result.failed:
        raise outcome.error or ApplyError(f"{outcome.address} could not be made")


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
