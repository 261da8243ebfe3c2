"""GitLab's part in the one plan: there where the platform has a GitLab and a token for it, absent otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from autogit.core.reconcile import Engine
from autogit.core.spec import chosen_services
from autogit.model.gitlab import GITLAB_FILE, ROTATE_BEFORE_DAYS, TOKEN_SECRET
from autogit.model.resource import Resource
from autogit.model.spec import PlatformSpec
from autogit.operations.project import Project
from autogit.providers.compute.base import Shell

_GITLAB = "gitlab"


def with_gitlab(project: Project, engine: Engine) -> Engine:
    """Return the engine with `gitlab_setting/...` in its plans, the same one where GitLab has no part in them.

    Without a token nothing could be asked: the first `up` makes the container, the bootstrap after it the token.
    """
    if not is_wired(project):
        return engine
    # The client's library is loaded for those who have a GitLab.
    from autogit.connectors.gitlab_settings import GitLabSettings  # noqa: PLC0415
    from autogit.operations.gitlab_access import StoreKeeper, connector, open_access  # noqa: PLC0415
    from autogit.operations.gitlab_wishes import gitlab_resources, load_declared  # noqa: PLC0415

    keeper = StoreKeeper(project.secrets.store)
    provider = GitLabSettings(project.context, connector(open_access(project), keeper), keeper, is_patient=True)
    file = project.paths.root / GITLAB_FILE

    def declared(spec: PlatformSpec) -> Sequence[Resource]:
        return gitlab_resources(spec, load_declared(file))

    return replace(engine, providers=(*engine.providers, provider), declared=declared)


def is_wired(project: Project) -> bool:
    """Tell whether GitLab has a part in the one plan: then an `up` has to ask it, whatever else is as it was."""
    return has_gitlab(project) and TOKEN_SECRET in project.secrets.load()


def has_gitlab(project: Project) -> bool:
    """Tell whether the platform has a GitLab that runs here."""
    names = {entry.descriptor.service for entry, _ in chosen_services(project.settings, project.catalogue)}
    return _GITLAB in names and isinstance(project.runtime, Shell)


def is_bootstrap_due(project: Project) -> bool:
    """Tell whether `up` has to bootstrap GitLab once its container runs: no token yet, or one that expires soon.

    Asks nobody; a token that GitLab does not take any more is found by the bootstrap and by the status.
    """
    if not has_gitlab(project):
        return False
    if TOKEN_SECRET not in project.secrets.load():
        return True
    from autogit.operations.gitlab_token import facts_file, read_facts  # noqa: PLC0415 - as above

    facts = read_facts(facts_file(project.paths))
    if facts is None or not facts.expires_at:
        return facts is None
    left = date.fromisoformat(facts.expires_at) - project.context.clock().date()
    return left.days <= ROTATE_BEFORE_DAYS
