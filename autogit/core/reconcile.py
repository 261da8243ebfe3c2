"""The one loop: load, build, render, observe, plan, guard, apply, verify; `up`, the API and healing all enter here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from autogit.core.apply import OnOutcome, apply_plan
from autogit.core.catalogue import Catalogue
from autogit.core.desired import desired_resources
from autogit.core.explain import Rebuild, changed_settings, describe_setting, explainer
from autogit.core.observe import normalise, observe
from autogit.core.plan import make_plan
from autogit.core.render import load_literals, render
from autogit.core.spec import build_spec
from autogit.core.store import LockfileStore, Recorder
from autogit.model.host import HostFacts
from autogit.model.lockfile import Lockfile
from autogit.model.plan import ApplyResult, Plan, Policy
from autogit.model.project import ProjectPaths
from autogit.model.resource import Resource
from autogit.model.settings import Settings
from autogit.model.spec import PlatformSpec, RenderedTree
from autogit.model.state import PlatformState
from autogit.providers.base import Clock, Reconciler, utc_now


@dataclass(frozen=True)
class Engine:
    """What the loop turns with. `former_settings` returns the settings with one key put back to an earlier value."""

    paths: ProjectPaths
    settings: Settings
    catalogue: Catalogue
    store: LockfileStore
    providers: Sequence[Reconciler]
    gather_facts: Callable[[], Awaitable[HostFacts]]
    former_settings: Callable[[str, str], Settings]
    clock: Clock = utc_now


@dataclass(frozen=True)
class Prepared:
    """Everything known at the moment of planning; nothing has been changed."""

    facts: HostFacts
    lockfile: Lockfile
    spec: PlatformSpec
    tree: RenderedTree
    desired: Sequence[Resource]
    state: PlatformState
    plan: Plan
    changed_settings: Mapping[str, tuple[str, str]]


async def prepare(engine: Engine, policy: Policy = Policy.SYNC) -> Prepared:
    """Read the world and make the plan; changes nothing."""
    lockfile = engine.store.load()
    facts = await engine.gather_facts()
    literals = load_literals(engine.paths.overrides / "files")

    def build(settings: Settings, facts: HostFacts) -> tuple[PlatformSpec, RenderedTree, list[Resource]]:
        spec = build_spec(settings, engine.catalogue, facts, lockfile, engine.paths)
        tree = render(spec, literals)
        return spec, tree, normalise(desired_resources(spec, tree), engine.providers)

    spec, tree, desired = build(engine.settings, facts)
    state = await observe(engine.providers, desired, lockfile)
    changed = changed_settings(lockfile.settings, spec.settings)

    def with_former(key: str, before: str) -> Sequence[Resource]:
        return build(engine.former_settings(key, before), facts)[2]

    counterfactuals: dict[str, Rebuild] = {
        describe_setting(key, before, after): partial(with_former, key, before)
        for key, (before, after) in changed.items()
    }
    if spec.certificate.due:
        former = _with_good_certificate(facts, spec)
        counterfactuals[f"certificate: {spec.certificate.due}"] = lambda: build(engine.settings, former)[2]
    plan = make_plan(desired, state, lockfile, policy, explain=explainer(desired, counterfactuals), notes=spec.notes)
    return Prepared(facts, lockfile, spec, tree, desired, state, plan, changed)


async def carry_out(
    engine: Engine, prepared: Prepared, plan: Plan, on_outcome: OnOutcome, command: str
) -> tuple[ApplyResult, Recorder]:
    """Apply a plan made from `prepared` (the whole or a part of it) and keep the lockfile true."""
    recorder = Recorder(engine.store, prepared.lockfile, engine.clock)
    recorder.adopt(prepared.plan.changes)
    recorder.begin(plan.pending, ports=prepared.spec.ports)
    result = await apply_plan(plan, engine.providers, recorder, on_outcome)
    whole = not result.failed and not result.skipped and plan is prepared.plan
    recorder.finish(command, "failed" if result.failed else "ok", settings=prepared.spec.settings if whole else None)
    return result, recorder


def record_in_sync(engine: Engine, prepared: Prepared) -> Lockfile:
    """Write down what a plan without changes found; the file is touched only if it learns something."""
    recorder = Recorder(engine.store, prepared.lockfile, engine.clock)
    recorder.adopt(prepared.plan.changes)
    known = recorder.lockfile
    if dict(known.settings) != dict(prepared.spec.settings) or dict(known.ports) != dict(prepared.spec.ports):
        return engine.store.save(replace(known, settings=prepared.spec.settings, ports=prepared.spec.ports))
    return known


def _with_good_certificate(facts: HostFacts, spec: PlatformSpec) -> HostFacts:
    known = facts.certificates.get(spec.base_domain)
    if known is None:
        return facts
    good = replace(known, due="", names=tuple(sorted(spec.certificate.names)))
    return replace(facts, certificates={**facts.certificates, spec.base_domain: good})
