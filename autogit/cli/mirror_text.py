"""Mirrors as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator

from autogit.cli.output import columns
from autogit.model.mirror import MirrorRestoreView, MirrorRulesView, MirrorState, MirrorStatusView, MirrorView
from autogit.model.text import counted, one_line

_GOOD = {MirrorState.OK}
_MOST_DIFFERENCES = 5
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def is_fresh(view: MirrorStatusView) -> bool:
    """Say whether all that is shown is proven within its limit, and each source could be asked."""
    return not view.problems and all(one.state in _GOOD for one in view.mirrors)


def rule_lines(view: MirrorRulesView) -> Iterator[str]:
    """Yield one line a mirror."""
    rows = [
        (
            one.name,
            one_line(one.source),
            one.group or "bare copies",
            str(one.repositories),
            _age(one.interval_seconds),
            one.credential or "none",
        )
        for one in view.rules
    ]
    if rows:
        yield from columns(rows, ("MIRROR", "SOURCE", "GROUP", "REPOSITORIES", "EVERY", "CREDENTIAL"))
    else:
        yield "Nothing is mirrored. Next: autogit mirror add github:you"


def status_lines(view: MirrorStatusView, *, verbose: bool = False) -> Iterator[str]:
    """Yield what is not fresh, or everything if asked for, then the counts and what could not be asked."""
    shown = [one for one in view.mirrors if verbose or one.state not in _GOOD]
    rows = [(f"{one.rule}/{one_line(one.path)}", str(one.state), _proof(one), one_line(one.detail)) for one in shown]
    if rows:
        yield from columns(rows, ("REPOSITORY", "STATE", "LAST PROOF", "DETAIL"))
    for one in shown:
        yield from (f"  {one_line(one.path)}: {one_line(text)}" for text in one.differences[:_MOST_DIFFERENCES])
    for text in (*view.problems, *view.notes):
        yield one_line(text)
    counts = ", ".join(f"{count} {state}" for state, count in view.counts.items() if count)
    yield f"{counts or 'nothing known yet'}; repositories: {len(view.mirrors)}"


def _proof(view: MirrorView) -> str:
    return "never" if view.lag_seconds is None else f"{_age(view.lag_seconds)} ago, {counted(view.refs, 'ref')}"


def _age(seconds: int) -> str:
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def restore_lines(view: MirrorRestoreView) -> Iterator[str]:
    """Yield where it is, and how to look at it."""
    yield f"{view.object_id} is {view.ref} of {view.folder}"
    yield f"Look at it: git --git-dir {view.folder} log {view.ref}"
