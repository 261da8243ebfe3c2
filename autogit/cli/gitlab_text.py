"""GitLab's state as a person reads it; nothing that comes from GitLab steers the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autogit.cli.output import columns
from autogit.model.gitlab import (
    GitLabBootstrapView,
    GitLabPasswordView,
    GitLabSettingView,
    GitLabStatusView,
    GitLabTokenView,
)
from autogit.model.text import counted, one_line

_STATES = {
    "missing": "there is none yet: autogit gitlab bootstrap",
    "unknown": "stored; its last day is not known: autogit gitlab bootstrap",
}
_MADE = {"made": "new", "rotated": "exchanged for a new one", "": "good"}


def bootstrap_lines(view: GitLabBootstrapView) -> Iterator[str]:
    """Yield what was done, what was left alone, and what comes next."""
    yield f"{view.url}  ready"
    yield token_line(view.token)
    yield from _rows(view.changed)
    if view.captured:
        yield f"kept for backups: {', '.join(view.captured)}"
    if not view.changed:
        yield f"Nothing to do: {counted(view.in_sync, 'setting')} in sync"
    if view.held:
        yield ""
        yield from _rows(view.held)
        names = " ".join(f"--adopt {one_line(one.address)}" for one in view.held)
        yield f"left as it is; autogit gitlab bootstrap {names} takes over"


def status_lines(view: GitLabStatusView) -> Iterator[str]:
    """Yield the phase, the token, and one line a setting."""
    version = f" (GitLab {one_line(view.version)})" if view.version else ""
    yield f"{view.url}  {view.sentence}{version}"
    yield token_line(view.token)
    if view.problem:
        yield one_line(view.problem)
    if view.settings:
        yield ""
        yield from _rows(view.settings)


def token_line(view: GitLabTokenView) -> str:
    """Return what there is to say of the token."""
    if view.state in _STATES:
        return f"token  {_STATES[view.state]}"
    word = "expires soon" if view.state == "due" else _MADE.get(view.made, "good")
    until = f", until {view.expires_at} ({counted(view.days_left, 'day')})" if view.expires_at else ""
    return f"token  {word}: {one_line(view.name)}, {' '.join(map(one_line, view.scopes))}{until}"


def password_lines(view: GitLabPasswordView) -> Iterator[str]:
    """Yield where to sign in and how to see the password."""
    yield f"{view.url}  user {view.user}, password: {view.command}"
    if not view.stored:
        yield "it is not stored yet: autogit up makes it"
    yield "GitLab reads it once, on its first start; if it was changed in GitLab since, this one is of no use"


def _rows(settings: Sequence[GitLabSettingView]) -> Iterator[str]:
    yield from columns([(one_line(one.address), one.state, one_line(one.detail)) for one in settings])
