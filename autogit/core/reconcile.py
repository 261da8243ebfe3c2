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
from autogit.model.resource import Address, Resource
from autogit.model.settings import Settings
from autogit.model.spec import PlatformSpec, RenderedTree
from autogit.model.state import PlatformState
from autogit.providers.base import Clock, Reconciler, utc_now

Verify = Callable[[ApplyResult, Recorder], Awaitable[Sequence[str]]]
"""Asks from outside what became of an apply; returns what is wrong, and may take changes back (and record that)."""


async def nothing_to_prove(_result: ApplyResult, _recorder: Recorder) -> Sequence[str]:
    """Find nothing wrong."""
    return ()


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

    def wished(settings: Settings, facts: HostFacts) -> Sequence[Resource]:
        return build(settings, facts)[2]

    def without(key: str, old: str) -> Sequence[Resource]:
        return wished(engine.former_settings(key, old), facts)

    spec, tree, desired = build(engine.settings, facts)
    state = await observe(engine.providers, desired, lockfile)
    changed = changed_settings(lockfile.settings, spec.settings)
    causes: dict[str, Rebuild] = {}
    for key, (old, new) in changed.items():
        causes[describe_setting(key, old, new)] = partial(without, key, old)
    for cause, former in _former_facts(facts, lockfile, spec).items():
        causes[cause] = partial(wished, engine.settings, former)
    plan = make_plan(desired, state, lockfile, policy, explain=explainer(desired, causes), notes=spec.notes)
    return Prepared(facts, lockfile, spec, tree, desired, state, plan, changed)


async def carry_out(  # noqa: PLR0913 - what is applied, how it is shown and how it is proven
    engine: Engine,
    prepared: Prepared,
    plan: Plan,
    on_outcome: OnOutcome,
    command: str,
    *,
    verify: Verify = nothing_to_prove,
) -> tuple[ApplyResult, Sequence[str]]:
    """Apply a plan made from `prepared` (the whole or a part of it), prove it, and keep the lockfile true.

    Returns the outcomes and what `verify` found wrong, in sentences.
    """
    recorder = Recorder(engine.store, prepared.lockfile, engine.clock)
    recorder.adopt(prepared.plan.changes)
    recorder.begin(plan.pending, ports=prepared.spec.ports)
    result = await apply_plan(plan, engine.providers, recorder, on_outcome)
    problems = await verify(result, recorder)
    whole = not result.failed and not result.skipped and plan is prepared.plan
    ending = "failed" if result.failed or problems else "ok"
    recorder.finish(command, ending, settings=prepared.spec.settings if whole else None)
    return result, problems


def record_in_sync(engine: Engine, prepared: Prepared) -> Lockfile:
    """Write down what a plan without changes found; the file is touched only if it learns something."""
    recorder = Recorder(engine.store, prepared.lockfile, engine.clock)
    recorder.adopt(prepared.plan.changes)
    known = recorder.lockfile
    if dict(known.settings) != dict(prepared.spec.settings) or dict(known.ports) != dict(prepared.spec.ports):
        return engine.store.save(replace(known, settings=prepared.spec.settings, ports=prepared.spec.ports))
    return known


def _former_facts(facts: HostFacts, lockfile: Lockfile, spec: PlatformSpec) -> dict[str, HostFacts]:
    """Return, for each fact that moves a version on, the cause in words and the facts without it."""
    former: dict[str, HostFacts] = {}
    known = facts.certificates.get(spec.base_domain)
    if spec.certificate.due and known is not None:
        good = replace(known, due="", names=tuple(sorted(spec.certificate.names)))
        former[f"certificate: {spec.certificate.due}"] = replace(
            facts, certificates={**facts.certificates, spec.base_domain: good}
        )
    for name, wanted in facts.secret_fingerprints.items():
        entry = lockfile.find(Address("secret", name))
        recorded = str(entry.attributes.get("fingerprint", "")) if entry else ""
        if recorded and recorded != wanted:
            digests = {**facts.secret_fingerprints, name: recorded}
            former[f"{name} has a new value"] = replace(facts, secret_fingerprints=digests)
    return former
