"""What is kept in GitLab, planned and applied by itself: the one plan's rules, and nothing but GitLab is asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from autogit.connectors.gitlab_settings import GitLabSettings
from autogit.core.apply import apply_plan
from autogit.core.observe import normalise, observe
from autogit.core.plan import make_plan
from autogit.core.store import Recorder
from autogit.errors import AutogitError, BlockedError, Fault, PartialApplyError
from autogit.model.gitlab import GITLAB_FILE, GITLAB_SETTING, GitLabSettingView
from autogit.model.lockfile import Lockfile
from autogit.model.plan import Action, ApplyResult, Change, Outcome, Plan, Policy
from autogit.model.resource import Address
from autogit.operations.audit import write_audit
from autogit.operations.gitlab_wishes import gitlab_resources, load_declared
from autogit.operations.platform import Event, OnEvent
from autogit.operations.project import Project
from autogit.operations.seal import break_seal


@dataclass(frozen=True)
class GitLabPlan:
    """A plan of GitLab's part, and the lockfile that it was made with."""

    plan: Plan
    lockfile: Lockfile


async def look(project: Project, provider: GitLabSettings, adopt: Collection[Address] = ()) -> GitLabPlan:
    """Make the plan; changes nothing. Raises SettingsError for gitlab.yml, and what the connector raises."""
    declared = load_declared(project.paths.root / GITLAB_FILE)
    desired = normalise(gitlab_resources(project.outline(), declared), [provider])
    lockfile = project.store.load()
    part = replace(lockfile, entries={a: e for a, e in lockfile.entries.items() if a.kind == GITLAB_SETTING})
    state = await observe([provider], desired, part)
    return GitLabPlan(make_plan(desired, state, part, Policy.SYNC, adopt=adopt), lockfile)


async def carry_out(
    project: Project, provider: GitLabSettings, found: GitLabPlan, command: str, on_event: OnEvent
) -> Sequence[GitLabSettingView]:
    """Apply a plan that is safe; the caller holds the apply lock. Returns what was changed.

    Raises BlockedError (nothing was changed) and PartialApplyError (what landed is recorded).
    """
    plan = found.plan
    recorder = Recorder(project.store, found.lockfile, project.context.clock)
    recorder.adopt(plan.changes)
    if not plan.pending:
        return ()
    if obstacles := await provider.check(plan.pending):
        raise BlockedError("something in GitLab stands in the way; none of its settings was changed", faults=obstacles)
    break_seal(project.paths)
    recorder.begin(plan.pending, ports=found.lockfile.ports, engine=found.lockfile.engine)
    landed: list[Outcome] = []

    def on_outcome(outcome: Outcome) -> None:
        landed.append(outcome)
        row = {"address": str(outcome.address), "action": outcome.action.value, "ok": outcome.ok}
        write_audit(project.paths, project.context.clock(), command, row)
        text = outcome.detail if outcome.ok else _message(outcome)
        on_event(Event("outcome", str(outcome.address), text, len(landed), len(plan.pending), outcome.ok))

    result = await apply_plan(plan, [provider], recorder, on_outcome)
    recorder.finish(command, "failed" if result.failed else "ok", settings=None)
    _raise_failures(result)
    return [GitLabSettingView(address=str(o.address), state=o.action.value, detail=o.detail) for o in result.outcomes]


def views(plan: Plan) -> tuple[GitLabSettingView, ...]:
    """Return how everything that is wished stands."""
    return tuple(
        GitLabSettingView(
            address=str(change.address), state=_STATES[change.action], detail=change.reason if _is_told(change) else ""
        )
        for change in plan.changes
    )


_STATES = {
    Action.NOOP: "in sync",
    Action.CREATE: "not there",
    Action.UPDATE: "differs",
    Action.REPLACE: "differs",
    Action.DELETE: "no longer wanted",
    Action.HOLD: "somebody else's",
}


def _is_told(change: Change) -> bool:
    return change.action is not Action.NOOP


def _message(outcome: Outcome) -> str:
    return outcome.error.message if isinstance(outcome.error, AutogitError) else str(outcome.error)


def _raise_failures(result: ApplyResult) -> None:
    if not result.failed:
        return
    faults = [Fault(str(o.address), o.action.value, _message(o)) for o in result.failed]
    faults += [Fault(str(address), "skipped", "what it depends on failed") for address in result.skipped]
    hints = [o.error.hint for o in result.failed if isinstance(o.error, AutogitError) and o.error.hint]
    landed = sum(1 for o in result.outcomes if o.ok)
    raise PartialApplyError(
        f"{landed} changes in GitLab were applied, {len(result.failed)} failed",
        hint=hints[0] if hints else "autogit gitlab bootstrap goes on from here",
        faults=faults,
    )
