"""Opening a project: paths, settings, catalogue, providers and lockfile, everything an operation starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from autogit.core.catalogue import Catalogue, load_catalogue
from autogit.core.dns_records import RECORDS_FILE, load_declared
from autogit.core.paths import templates_root
from autogit.core.reconcile import Engine
from autogit.core.settings import build_settings, load_settings, read_env
from autogit.core.spec import build_spec, check_supported, chosen_services
from autogit.core.store import LockfileStore, lockfile_store
from autogit.core.succession import put_back
from autogit.core.traefik_resolver import resolver_secrets
from autogit.errors import UsageError
from autogit.fastpath import file_digest, tree_digest
from autogit.model.gitlab import GITLAB_FILE
from autogit.model.host import HostFacts
from autogit.model.lockfile import Lockfile
from autogit.model.project import ProjectPaths
from autogit.model.settings import Settings
from autogit.model.spec import PlatformSpec
from autogit.operations.dns_views import find_targets, load_dns
from autogit.operations.issuers import load_issuer
from autogit.providers.base import Progress, ProviderContext, Reconciler, no_progress
from autogit.providers.compute.base import Runtime
from autogit.providers.dns.records import DNSRecords
from autogit.providers.host.files import HostFiles, restore_previous
from autogit.providers.host.secrets import Secrets
from autogit.providers.programs import find_program
from autogit.providers.registry import load_provider
from autogit.providers.ssl.base import CertificateProvider
from autogit.providers.ssl.hooks import CertHooks


def project_paths(project_dir: Path | None = None, env_file: Path | None = None) -> ProjectPaths:
    """Return a project's paths: `project_dir` (default: the current directory), `.env` in it unless told otherwise."""
    root = (project_dir or Path.cwd()).resolve()
    return ProjectPaths(root, (env_file.resolve() if env_file else root / ".env"))


def input_trees(paths: ProjectPaths) -> tuple[Path, ...]:
    """Return the folders that a plan is made from, besides `.env`."""
    return (templates_root(), paths.overrides)


def load_project_catalogue(paths: ProjectPaths) -> Catalogue:
    """Return the built-in services with the project's overrides on top. Raises CatalogueError."""
    built_in = templates_root() / "services"
    services = load_catalogue([built_in, paths.overrides / "services"], released={built_in})
    return replace(services, records=load_declared(paths.root / RECORDS_FILE))


@dataclass(frozen=True)
class Project:
    """One opened project. Providers are made once and hold no connection until used.

    `inputs` are the digests of what it was read from (path -> `fastpath` digest), taken before it was read.
    `ingress_address` is where the ingress is reached from here ("": at the published address). `as_wished` tells that
    the settings are those of `.env`, and not those that are in force until `up` moves on.
    """

    paths: ProjectPaths
    settings: Settings
    catalogue: Catalogue
    store: LockfileStore
    context: ProviderContext
    runtime: Runtime
    certificates: CertificateProvider
    secrets: Secrets
    hooks: CertHooks
    files: Reconciler
    inputs: Mapping[str, str]
    ingress_address: str = ""
    dns: DNSRecords | None = None
    as_wished: bool = True

    @property
    def engine(self) -> Engine:
        """The project as the engine takes it."""
        from autogit.operations.gitlab_wiring import with_gitlab  # noqa: PLC0415 - it is made of opened projects
        from autogit.operations.mirror_wiring import with_mirrors  # noqa: PLC0415 - as above

        here = self.engine_here
        if self.dns is not None:
            here = replace(here, providers=(*here.providers, self.dns), gather_facts=self.gather_facts)
        return with_mirrors(self, with_gitlab(self, here))

    @property
    def engine_here(self) -> Engine:
        """The project without what is kept in DNS and in GitLab, and without mirrors.

        That those cannot be reached, or that mirrors.yml cannot be read, must not hinder the rest.
        """
        return Engine(
            paths=self.paths,
            settings=self.settings,
            catalogue=self.catalogue,
            store=self.store,
            providers=(self.secrets, self.certificates, self.files, self.runtime, self.hooks),
            gather_facts=self.gather_facts_here,
            former_settings=self._former_settings,
            clock=self.context.clock,
        )

    async def gather_facts(self) -> HostFacts:
        """Look at the host, and for the addresses that DNS names lead to."""
        facts = await self.gather_facts_here()
        return replace(
            facts, dns_targets=await find_targets(self.settings, self.dns.views if self.dns else {}, self.paths)
        )

    async def gather_facts_here(self) -> HostFacts:
        """Look at the host: measures, programs, busy ports, certificates in the store."""
        from autogit.core.host import busy_ports, gather_host_facts, with_engine  # noqa: PLC0415 - psutil costs 15 ms

        engine = await self.runtime.engine(self._image_names())
        own_ports = engine.own_ports if engine else ()
        facts = gather_host_facts(
            self.paths.state,
            executables=find_programs(self.catalogue),
            certificates=self.certificates.facts(self.context.clock()),
            secret_fingerprints=self.secrets.fingerprints(
                {**self.settings.service_secrets, **resolver_secrets(self.settings)}
            ),
            ports=busy_ports(self.runtime.own_pids(), own_ports, self._asked_ports()),
        )
        return with_engine(facts, engine) if engine else facts

    def _asked_ports(self) -> set[int]:
        """Return every port that the platform would take before it takes one of the pool."""
        given = (self.settings.http_port, self.settings.https_port, *self.settings.port_overrides.values())
        preferred = (port.preferred for d in self.catalogue.descriptors for port in d.ports.values())
        return {port for port in (*given, *preferred, *self.store.load().ports.values()) if port}

    def outline(self) -> PlatformSpec:
        """Return the platform as far as it can be told without looking at the host: names, ports, routes."""
        facts = HostFacts(executables=find_programs(self.catalogue))
        return build_spec(self.settings, self.catalogue, facts, self.store.load(), self.paths)

    def _image_names(self) -> set[str]:
        """Return every reference and id that a plan may ask for."""
        entries = [e.attributes for a, e in self.store.load().entries.items() if a.kind == "image"]
        locked = {str(attributes.get(name) or "") for attributes in entries for name in ("reference", "id")}
        given = self.settings.image_overrides
        chosen = (entry.descriptor for entry, _ in chosen_services(self.settings, self.catalogue))
        built_in = {d.image for d in chosen if d.image and d.runs.container and d.service not in given}
        return (locked | built_in | set(given.values())) - {""}

    def _former_settings(self, key: str, value: str) -> Settings:
        return self.settings_with({key: value})

    def settings_with(self, former: Mapping[str, str]) -> Settings:
        """Return the settings of `.env` with these put back to earlier values ("": not set). Raises SettingsError."""
        values = {name: line.value for name, line in read_env(self.paths.env_file).items()} | dict(former)
        kept = {key: value for key, value in values.items() if value or key not in former}
        return build_settings(kept, self.catalogue.descriptors, env_dir=self.paths.env_file.parent)


def as_it_runs(project: Project, lockfile: Lockfile | None = None) -> Project:
    """Return the project with the ingress, and whoever orders certificates, that are in force (by the lockfile).

    Until `up` moves on, those are healed, renewed for and looked at. Raises SettingsError and UnsupportedError.
    """
    former = put_back(project.settings, project.store.load() if lockfile is None else lockfile)
    if not former:
        return project
    settings = project.settings_with(former)
    context = replace(project.context, settings={**project.context.settings, **former})
    issuer = load_issuer(settings, context, project.dns)
    return replace(project, settings=settings, context=context, certificates=issuer, as_wished=False)


def find_programs(catalogue: Catalogue) -> Mapping[str, str]:
    """Return the absolute path of each program that embedded services run and that is on this host."""
    names = {d.runs.embedded.program for d in catalogue.descriptors if d.runs.embedded}
    found = ((name, find_program(name)) for name in sorted(names))
    return {name: path for name, path in found if path}


def provider_context(
    paths: ProjectPaths, settings: Mapping[str, str], progress: Progress = no_progress
) -> ProviderContext:
    """Return what providers of a project with these effective settings are made with."""
    return ProviderContext(paths, progress=progress, settings=settings, templates=templates_root())


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """From where a project is looked at: AutoGit in a container reaches engine and ingress by other addresses."""

    engine: str = ""
    ingress_address: str = ""


def open_project(paths: ProjectPaths, progress: Progress = no_progress, viewpoint: Viewpoint = Viewpoint()) -> Project:
    """Load everything an operation needs. Raises NotInitialisedError, SettingsError, CatalogueError and UsageError."""
    if "$" in str(paths.root):
        raise UsageError(
            f"the project's folder {paths.root} has a dollar sign in its name: programs would take it for a variable",
            hint="move the project to a folder without one",
        )
    inputs = {str(paths.env_file): file_digest(str(paths.env_file))}
    inputs |= {str(tree): tree_digest(str(tree)) for tree in input_trees(paths)}
    catalogue = load_project_catalogue(paths)
    settings = load_settings(paths.env_file, catalogue.descriptors)
    check_supported(settings)
    declared = (str(paths.root / GITLAB_FILE), str(paths.mirror_rules))
    inputs |= {path: file_digest(path) for path in (*settings.secret_files, *declared)}
    effective = {**settings.effective(), **({"DOCKER_HOST": viewpoint.engine} if viewpoint.engine else {})}
    context = provider_context(paths, effective, progress)
    runtime = cast("Runtime", load_provider("compute", settings.runtime, context))
    runtime.restore = partial(restore_previous, paths)
    dns = load_dns(settings, context)
    return Project(
        paths=paths,
        settings=settings,
        catalogue=catalogue,
        store=lockfile_store(paths),
        context=context,
        runtime=runtime,
        certificates=load_issuer(settings, context, dns),
        secrets=Secrets(context),
        hooks=CertHooks(context),
        files=HostFiles(context),
        inputs=inputs,
        ingress_address=viewpoint.ingress_address,
        dns=dns,
    )
