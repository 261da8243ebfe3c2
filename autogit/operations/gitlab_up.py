"""The end of an `up`: the platform's GitLab made ready where that is due, and those told who wait for what it made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from autogit.errors import AutogitError
from autogit.model.gitlab import GITLAB_FILE, GITLAB_SETTING, GitLabBootstrapView
from autogit.model.views import UpView
from autogit.operations import gitlab
from autogit.operations.gitlab_access import Access, is_gitlabs_image
from autogit.operations.gitlab_wishes import GRAFANA, load_declared
from autogit.operations.platform import OnEvent, ignore
from autogit.operations.project import Project

_APPLICATION = f"{GITLAB_SETTING}/application/{GRAFANA}"
_MOST_FAULTS = 5
_NEXT = "autogit gitlab bootstrap"


async def finish_gitlab(
    project: Project,
    view: UpView,
    apply_to: Callable[[str], Awaitable[UpView]],
    *,
    access: Access | None = None,
    on_event: OnEvent = ignore,
) -> UpView:
    """Bootstrap GitLab, then have `apply_to` bring Grafana what it signs in with; the caller holds no lock.

    What keeps GitLab from being ready is told in the view, with what to do next: all that runs stays as it is.
    """
    try:
        load_declared(project.paths.root / GITLAB_FILE)  # not after a quarter of an hour
        if access is None and not await is_gitlabs_image(project):
            told = (
                "gitlab: its container is not made of GitLab's own image, so no token, settings or users are made in it"
            )
            return view.model_copy(update={"warnings": (*view.warnings, told)})
        done = await gitlab.bootstrap(project, access=access, on_event=on_event)
    except AutogitError as exc:
        return view.model_copy(update={"unfinished": (*view.unfinished, *_sentences(exc))})
    held = tuple(
        f"{one.address} is somebody else's and was left as it is: {_NEXT} --adopt {one.address}" for one in done.held
    )
    view = view.model_copy(update={"unfinished": (*view.unfinished, *held)})
    return _joined(view, await apply_to(GRAFANA)) if _has_new_application(done) else view


def _has_new_application(done: GitLabBootstrapView) -> bool:
    return any(one.address == _APPLICATION and one.state != "delete" for one in done.changed)


def _sentences(exc: AutogitError) -> tuple[str, ...]:
    """Return what keeps GitLab from being ready, and the way out."""
    faults = tuple(f"{fault.place} {fault.subject} {fault.message}".strip() for fault in exc.faults[:_MOST_FAULTS])
    hint = exc.hint if _NEXT in exc.hint else "; ".join(part for part in (exc.hint, f"then {_NEXT}") if part)
    return (f"all else is up, GitLab is not ready to use: {exc.message}: {hint}", *faults)


def _joined(view: UpView, then: UpView) -> UpView:
    """Return one view of both: the first plan, and everything that landed."""
    return view.model_copy(
        update={
            "applied": (*view.applied, *then.applied),
            "in_sync": then.in_sync,
            "seconds": round(view.seconds + then.seconds, 3),
        }
    )
