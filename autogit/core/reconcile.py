"""The one loop: load, build, render, observe, plan, guard, apply, verify; `up`, the API and healing all enter here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from secrets import token_hex

from autogit.core.apply import OnOutcome, apply_plan
from autogit.core.catalogue import Catalogue
from autogit.core.desired import desired_resources
from autogit.core.explain import Rebuild, changed_settings, describe_setting, explainer
from autogit.core.images import Relock, keep_locks
from autogit.core.observe import normalise, observe, providers_by_kind
from autogit.core.plan import conflicts, make_plan
from autogit.core.render import load_literals, render
from autogit.core.spec import build_spec
from autogit.core.store import LockfileStore, Recorder
from autogit.core.succession import UNITS, running_manager
from autogit.core.traefik_resolver import TRAEFIK, is_traefiks
from autogit.errors import Fault, UnsupportedError
from autogit.model.dns import DNS_RECORD, View, key_of
from autogit.model.host import HostFacts
from autogit.model.lockfile import Lockfile
from autogit.model.plan import Action, ApplyResult, Note, Plan, Policy
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource
from autogit.model.settings import Settings
from autogit.model.spec import PlatformSpec, RenderedTree
from autogit.model.state import PlatformState
from autogit.providers.base import Clock, Reconciler, utc_now

_MADE_ANEW = (Action.CREATE, Action.REPLACE)
Verify = Callable[[ApplyResult, Recorder], Awaitable[Sequence[str]]]
"""Asks from outside what became of an apply; returns what is wrong, and may take changes back (and record that)."""


async def nothing_to_prove(_result: ApplyResult, _recorder: Recorder) -> Sequence[str]:
    """Find nothing wrong."""
    return ()


def nothing_more(_spec: PlatformSpec) -> Sequence[Resource]:
    """Wish for nothing besides."""
    return ()


@dataclass(frozen=True)
class Engine:
    """What the loop turns with. `former_settings` returns the settings with one key put back to an earlier value.

    `declared` returns what is wished for besides what the spec asks for: what is kept inside a service.
    """

    paths: ProjectPaths
    settings: Settings
    catalogue: Catalogue
    store: LockfileStore
    providers: Sequence[Reconciler]
    gather_facts: Callable[[], Awaitable[HostFacts]]
    former_settings: Callable[[str, str], Settings]
    clock: Clock = utc_now
    declared: Callable[[PlatformSpec], Sequence[Resource]] = nothing_more


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


async def prepare(
    engine: Engine, policy: Policy = Policy.SYNC, relock: Relock = keep_locks, adopt: Collection[Address] = ()
) -> Prepared:
    """Read the world and make the plan; changes nothing.

    `relock` says which images it is held to, `adopt` names what becomes ours though somebody else made it.
    """
    lockfile = _handed_to_traefik(_with_owner(engine.store.load(), engine), engine.settings)
    _check_same_runtime(lockfile, engine)
    _check_same_dns(lockfile, engine)
    facts = await engine.gather_facts()
    literals = load_literals(engine.paths.overrides / "files")

    locks = relock(lockfile)

    def build(
        settings: Settings, facts: HostFacts, locks: Lockfile
    ) -> tuple[PlatformSpec, RenderedTree, list[Resource]]:
        spec = build_spec(settings, engine.catalogue, facts, locks, engine.paths)
        tree = render(spec, literals)
        return spec, tree, normalise([*desired_resources(spec, tree), *engine.declared(spec)], engine.providers)

    def wished(settings: Settings, facts: HostFacts, locks: Lockfile = locks) -> Sequence[Resource]:
        return build(settings, facts, locks)[2]

    def without(key: str, old: str) -> Sequence[Resource]:
        return wished(engine.former_settings(key, old), facts)

    spec, tree, desired = build(engine.settings, facts, locks)
    _check_ingress(spec, engine.settings)
    state = await observe(engine.providers, desired, lockfile)
    changed = changed_settings(lockfile.settings, spec.settings)
    causes: dict[str, Rebuild] = {}
    for key, (old, new) in changed.items():
        causes[describe_setting(key, old, new)] = partial(without, key, old)
    for cause, former in _former_facts(facts, lockfile, spec).items():
        causes[cause] = partial(wished, engine.settings, former)
    if locks is not lockfile:
        causes["another image is asked for"] = partial(wished, engine.settings, facts, lockfile)
    held = _held(lockfile, engine)
    notes = (*spec.notes, *_left_alone(lockfile, engine))
    why = explainer(desired, causes)
    plan = make_plan(desired, state, held, policy, explain=why, notes=notes, adopt=adopt)
    return Prepared(facts, lockfile, spec, tree, desired, state, plan, changed)


def _check_ingress(spec: PlatformSpec, settings: Settings) -> None:
    """Raise UnsupportedError where the ingress cannot run here: every address would lead nowhere."""
    reason = next(service.unavailable for service in spec.services if service.name == spec.ingress)
    if reason:
        raise UnsupportedError(
            f"INGRESS={spec.ingress} ({settings.source_of('INGRESS')}) cannot run here: {reason}",
            hint="make it available, or name the other one: INGRESS=traefik, INGRESS=nginx",
        )


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
    recorder.begin(plan.pending, ports=_ports_after(prepared, plan), engine=engine_record(prepared.facts))
    result = await apply_plan(plan, engine.providers, recorder, on_outcome)
    problems = await verify(result, recorder)
    whole = not result.failed and not result.skipped and plan is prepared.plan
    ending = "failed" if result.failed or problems else "ok"
    recorder.finish(command, ending, settings=prepared.spec.settings if whole else None)
    return result, problems


def _ports_after(prepared: Prepared, plan: Plan) -> Mapping[str, int]:
    """Return the ports in force once a plan is applied: of a part, only what is made anew takes new ones.

    Some ports are AutoGit's own and stand in a file that leads there: such a one is the port's when it is written.
    """
    ports, pending = prepared.spec.ports, {change.address: change.action for change in plan.pending}
    if plan is prepared.plan:
        return ports
    made = {a.name for a, action in pending.items() if a.kind in UNITS and action in _MADE_ANEW}
    written = {
        f"{service.name}/{config.with_port}"
        for service in prepared.spec.running
        for config in service.descriptor.config
        if Address("file", f"{service.name}/{config.path}") in pending
    }
    new = {name: port for name, port in ports.items() if name.partition("/")[0] in made or name in written}
    return {**prepared.lockfile.ports, **new}


def record_in_sync(engine: Engine, prepared: Prepared) -> Lockfile:
    """Write down what is as wished; settings and ports, once there are any, only where nothing waits for `up`.

    The file is touched only if it learns something.
    """
    recorder = Recorder(engine.store, prepared.lockfile, engine.clock)
    recorder.adopt(prepared.plan.changes)
    known = recorder.lockfile
    if prepared.plan.pending and known.settings:
        return known
    true = replace(
        known, settings=prepared.spec.settings, ports=prepared.spec.ports, engine=engine_record(prepared.facts)
    )
    return engine.store.save(true) if true != known else known


def _held(lockfile: Lockfile, engine: Engine) -> Lockfile:
    """Leave out what no provider holds now: another runtime's volumes, records of a view that has no provider."""
    kinds = set(providers_by_kind(engine.providers))

    def is_held(address: Address) -> bool:
        no_view = address.kind == DNS_RECORD and _chosen(key_of(address)[0], engine.settings) == "none"
        return address.kind in kinds and not no_view

    return replace(lockfile, entries={a: e for a, e in lockfile.entries.items() if is_held(a)})


def _check_same_runtime(lockfile: Lockfile, engine: Engine) -> None:
    kinds = set(providers_by_kind(engine.providers))
    left = {a.kind for a in lockfile.entries if a.kind in ("process", "container")} - kinds
    if left:
        raise UnsupportedError(
            f"{engine.settings.source_of('RUNTIME')}: RUNTIME is {engine.settings.runtime} now, and what ran before "
            "in another runtime is still recorded",
            hint="autogit down stops that first (volumes and data stay); then autogit up",
        )


def _with_owner(lockfile: Lockfile, engine: Engine) -> Lockfile:
    """Give the installation a name of its own for what must bear one; it is kept with the first change."""
    if not any(provider.signs for provider in engine.providers):
        return lockfile
    was, now = lockfile.owner.rpartition("-")[0], engine.settings.project_name
    if lockfile.owner and was != now:
        raise UnsupportedError(
            f"the lockfile is that of the project {was}, and PROJECT_NAME is {now}: its DNS records are not this one's",
            hint=f"a copy of a project starts without autogit.lock.json; or set PROJECT_NAME={was}",
        )
    if lockfile.owner:
        return lockfile
    return replace(lockfile, owner=f"{engine.settings.project_name}-{token_hex(4)}")


def _handed_to_traefik(lockfile: Lockfile, settings: Settings) -> Lockfile:
    """Leave out AutoGit's certificates once Traefik orders its own: they stay on disk, and nobody renews them.

    Until the ingress was started for that they are in force, whatever else of the platform is changed.
    """
    if not is_traefiks(settings) or running_manager(settings, lockfile) != TRAEFIK:
        return lockfile
    return replace(lockfile, entries={a: e for a, e in lockfile.entries.items() if a.kind != "certificate"})


def _elsewhere(lockfile: Lockfile, engine: Engine) -> dict[str, list[Address]]:
    """Return what is recorded in DNS providers that the settings do not name for its view, by provider."""
    found: dict[str, list[Address]] = {}
    for address, entry in lockfile.entries.items():
        if address.kind != DNS_RECORD or not entry.attributes:
            continue
        provider = str(entry.attributes.get("provider"))
        if provider != _chosen(key_of(address)[0], engine.settings):
            found.setdefault(provider, []).append(address)
    return found


def _check_same_dns(lockfile: Lockfile, engine: Engine) -> None:
    if DNS_RECORD not in providers_by_kind(engine.providers):
        return
    for provider, addresses in _elsewhere(lockfile, engine).items():
        views = {key_of(address)[0] for address in addresses}
        moved = [v for v in views if _chosen(v, engine.settings) != "none"]
        if moved:
            key = "DNS_PROVIDER" if View.PUBLIC in moved else "DNS_LAN_PROVIDER"
            raise UnsupportedError(
                f"{engine.settings.source_of(key)}: {key} is {_chosen(moved[0], engine.settings)} now, and "
                f"{len(addresses)} records are kept at {provider} still",
                hint=f"autogit dns forget --all leaves them there as they are; or set {key}={provider} again",
            )


def _chosen(view: View, settings: Settings) -> str:
    return settings.dns_provider if view is View.PUBLIC else settings.dns_lan_provider


def _left_alone(lockfile: Lockfile, engine: Engine) -> Iterator[Note]:
    """Say which records nobody looks after any more."""
    for provider, addresses in _elsewhere(lockfile, engine).items():
        if all(_chosen(key_of(address)[0], engine.settings) == "none" for address in addresses):
            sentence = f"{len(addresses)} records are kept at {provider}, which the settings name no more"
            yield Note("warning", "dns", sentence, "autogit dns forget --all leaves them as they are")


def engine_record(facts: HostFacts) -> dict[str, str]:
    """Return what the lockfile keeps of the container engine."""
    return {"api": facts.engine.api_version} if facts.engine else {}


async def find_obstacles(engine: Engine, plan: Plan) -> list[Fault]:
    """Ask each provider what stands in the way of its part of a plan."""
    found: list[Fault] = []
    found += conflicts(plan)
    for provider in engine.providers:
        part = [change for change in plan.pending if change.address.kind in provider.kinds]
        found += await provider.check(part) if part else ()
    return found


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
