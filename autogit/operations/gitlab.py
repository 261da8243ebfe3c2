"""The platform's own GitLab, made ready to use: bootstrap, status, token and password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from autogit.connectors.gitlab_settings import GitLabSettings
from autogit.connectors.gitlab_wait import SENTENCES, Phase, await_gitlab, look_at_phase
from autogit.core.guard import Limits, check_safe
from autogit.core.lock import apply_lock
from autogit.errors import AutogitError
from autogit.model.gitlab import (
    ROOT_PASSWORD,
    GitLabBootstrapView,
    GitLabPasswordView,
    GitLabStatusView,
    GitLabTokenView,
)
from autogit.model.plan import Action
from autogit.model.resource import Address
from autogit.operations import gitlab_plan
from autogit.operations.audit import write_audit
from autogit.operations.gitlab_access import Access, StoreKeeper, connector, open_access
from autogit.operations.gitlab_capture import capture
from autogit.operations.gitlab_token import TokenKeeper, facts_file
from autogit.operations.platform import Event, OnEvent, ignore
from autogit.operations.project import Project

_BOOTSTRAP, _ROTATE = "gitlab bootstrap", "gitlab token rotate"


@dataclass(frozen=True, slots=True)
class BootstrapRequest:
    """How to bootstrap: what becomes ours though somebody made it, and what may go where many things would."""

    adopt: frozenset[Address] = frozenset()
    allow_delete: frozenset[Address] = frozenset()
    lock_wait_seconds: float = 0.0


async def bootstrap(
    project: Project,
    request: BootstrapRequest = BootstrapRequest(),
    *,
    access: Access | None = None,
    on_event: OnEvent = ignore,
) -> GitLabBootstrapView:
    """Wait for GitLab, have a token, bring what is kept in GitLab to what is wished, capture what backups need.

    Run again it changes nothing. What somebody else made in GitLab is left as it is, until the request names it. Raises
    NotReadyError, ProviderError, SettingsError, UnsafePlanError, BlockedError, PartialApplyError, ApplyLockHeldError.
    """
    reach = access or open_access(project)
    report = _reporter(on_event)
    await await_gitlab(reach.looks, reach.time, report)
    async with apply_lock(project.paths.apply_lock, _BOOTSTRAP, wait_seconds=request.lock_wait_seconds):
        keeper = StoreKeeper(project.secrets.store)
        token = await _token_keeper(project, reach, keeper).ensure(report)
        _audit_token(project, _BOOTSTRAP, token)
        provider = GitLabSettings(project.context, connector(reach, keeper), keeper)
        found = await gitlab_plan.look(project, provider, request.adopt)
        check_safe(found.plan, Limits(allowed=request.allow_delete))
        captured = await capture(reach.execute, keeper)
        changed = await gitlab_plan.carry_out(project, provider, found, _BOOTSTRAP, on_event)
    all_views = gitlab_plan.views(found.plan)
    return GitLabBootstrapView(
        url=reach.place.url,
        token=token,
        changed=tuple(changed),
        held=tuple(view for view in all_views if view.state == "somebody else's"),
        in_sync=found.plan.count(Action.NOOP),
        captured=captured,
    )


async def status(project: Project, *, access: Access | None = None) -> GitLabStatusView:
    """Look at GitLab, its token and what it has of the wishes; changes nothing, not even a token that is due."""
    reach = access or open_access(project)
    keeper = StoreKeeper(project.secrets.store)
    token = _token_keeper(project, reach, keeper).look()
    phase = await look_at_phase(reach.looks)
    seen = GitLabStatusView(ok=False, url=reach.place.url, phase=phase, sentence=SENTENCES[phase], token=token)
    if phase is not Phase.ANSWERING or token.state == "missing":
        missing = "there is no administrator's token yet: autogit gitlab bootstrap"
        return seen.model_copy(update={"problem": missing if phase is Phase.ANSWERING else ""})
    provider = GitLabSettings(project.context, connector(reach, keeper), keeper)
    try:
        version = str((await asyncio.to_thread(connector(reach, keeper)().get, "/version"))["version"])
        found = await gitlab_plan.look(project, provider)
    except AutogitError as exc:
        return seen.model_copy(update={"problem": f"{exc.message}: {exc.hint}" if exc.hint else exc.message})
    ok = token.state == "good" and not found.plan.pending and not found.plan.held
    return seen.model_copy(update={"ok": ok, "version": version, "settings": gitlab_plan.views(found.plan)})


async def rotate(
    project: Project, *, access: Access | None = None, lock_wait_seconds: float = 0.0, on_event: OnEvent = ignore
) -> GitLabTokenView:
    """Exchange the administrator's token now, due or not; the old one is no good any more when this returns."""
    reach = access or open_access(project)
    async with apply_lock(project.paths.apply_lock, _ROTATE, wait_seconds=lock_wait_seconds):
        keeper = StoreKeeper(project.secrets.store)
        view = await _token_keeper(project, reach, keeper).ensure(_reporter(on_event), rotate=True)
        _audit_token(project, _ROTATE, view)
    return view


def password(project: Project, *, access: Access | None = None) -> GitLabPasswordView:
    """Tell where the first administrator's password is kept; never the password."""
    reach = access or open_access(project)
    return GitLabPasswordView(
        user="root",
        secret=ROOT_PASSWORD,
        stored=ROOT_PASSWORD in project.secrets.load(),
        command=f"autogit secrets reveal {ROOT_PASSWORD}",
        url=reach.place.url,
    )


def _token_keeper(project: Project, access: Access, keeper: StoreKeeper) -> TokenKeeper:
    return TokenKeeper(access, keeper, facts_file(project.paths), project.context.clock)


def _reporter(on_event: OnEvent) -> Callable[[str], None]:
    return lambda text: on_event(Event("progress", "gitlab", text))


def _audit_token(project: Project, command: str, view: GitLabTokenView) -> None:
    if view.made:
        row = {"action": f"token {view.made}", "expires_at": view.expires_at}
        write_audit(project.paths, project.context.clock(), command, row)
