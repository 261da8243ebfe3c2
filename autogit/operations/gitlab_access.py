"""How the platform's own GitLab is reached: its API through the ingress, its programs and health checks inside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from autogit.connectors.gitlab import GitLabClient, GitLabPlace
from autogit.connectors.gitlab_rails import Execute
from autogit.connectors.gitlab_wait import Looks, Time
from autogit.core.context import service_url
from autogit.core.succession import running_ingress
from autogit.core.verify import reachable
from autogit.errors import AutogitError, ProviderAuthError, RejectedError, UsageError
from autogit.model.gitlab import TOKEN_SECRET
from autogit.operations.gitlab_wishes import GITLAB
from autogit.operations.project import Project
from autogit.providers.compute.base import Shell
from autogit.providers.host.secret_store import SecretStore

_CURL = "/opt/gitlab/embedded/bin/curl"
_LONGEST_LOOK_SECONDS = "10"


@dataclass(frozen=True)
class Access:
    """Everything an operation needs to get at one GitLab."""

    place: GitLabPlace
    execute: Execute
    looks: Looks
    time: Time


class StoreKeeper:
    """The project's secret store as connectors take it. Whoever changes it holds the apply lock."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def get(self, name: str) -> str | None:
        """Return a secret, None where there is none."""
        return self._store.load().get(name)

    def put(self, name: str, value: str | None) -> None:
        """Keep a secret in the place of the former one; None forgets it. Nothing is written that is there already."""
        self._store.ensure_identity()
        stored = self._store.load()
        if stored.get(name) == value:
            return
        kept = {key: old for key, old in stored.items() if key != name}
        self._store.save(kept if value is None else {**kept, name: value})


def open_access(project: Project) -> Access:
    """Return how this project's GitLab is reached. Raises UsageError where it has none."""
    spec = project.outline()
    service = next((one for one in spec.services if one.name == GITLAB), None)
    if service is None or service.unavailable or not isinstance(project.runtime, Shell):
        why = "SERVICES_ENABLED does not name gitlab" if service is None else "GitLab needs RUNTIME=docker"
        raise UsageError(f"there is no GitLab in this platform: {why}", hint="add it in .env; then autogit up")
    lockfile, shell = project.store.load(), project.runtime
    port = lockfile.ports.get(f"{running_ingress(project.settings, lockfile)}/https", 443)
    address = project.ingress_address or reachable(spec.bind_address)

    async def execute(argv: object, stdin: bytes) -> bytes:
        return await shell.execute(GITLAB, argv, stdin)  # type: ignore[arg-type]  # a sequence by contract

    async def container() -> str:
        return (await project.runtime.units()).get(GITLAB, "")

    async def page(path: str) -> int:
        """Ask inside: GitLab shows its health to loopback only."""
        argv = (_CURL, "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", _LONGEST_LOOK_SECONDS)
        try:
            said = await shell.execute(GITLAB, (*argv, f"http://127.0.0.1{path}"))
        except AutogitError:  # curl fails where nothing listens, the engine where the container just ended
            return 0
        return int(said) if said.strip().isdigit() else 0

    return Access(
        GitLabPlace(
            service_url(spec, service).rstrip("/"),
            (address, port),
            str(project.certificates.root_path(spec.base_domain)),
        ),
        execute,
        Looks(container, page),
        Time(time.monotonic, asyncio.sleep),
    )


async def is_gitlabs_image(project: Project) -> bool:
    """Tell whether the container can be GitLab's own image: False only where that program is plainly not in it."""
    shell = project.runtime
    if not isinstance(shell, Shell):
        return False
    try:
        await shell.execute(GITLAB, (_CURL, "--version"))
    except RejectedError:
        return (await project.runtime.units()).get(GITLAB, "") not in ("running", "unhealthy", "healthy")
    except AutogitError:  # it may be starting
        return True
    return True


def connector(access: Access, keeper: StoreKeeper) -> Callable[[], GitLabClient]:
    """Return a function that makes a client with the token that is stored at that moment."""

    def connect() -> GitLabClient:
        token = keeper.get(TOKEN_SECRET)
        if not token:
            raise ProviderAuthError("gitlab: there is no administrator's token yet", hint="autogit gitlab bootstrap")
        return GitLabClient(access.place, SecretStr(token))

    return connect
