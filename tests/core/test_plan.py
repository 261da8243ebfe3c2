"""What a plan decides, case by case; a new case is a new folder under plan_cases/."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autogit.core.guard import Limits, check_safe
from autogit.core.plan import intent, make_plan
from autogit.errors import PlanError, UnsafePlanError
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action, Policy
from autogit.model.resource import Address, Resource
from autogit.model.state import PlatformState

CASES = sorted((Path(__file__).parent / "plan_cases").iterdir())


def _resources(rows):
    for text, row in (rows or {}).items():
        address = Address.parse(text)
        yield Resource(
            address,
            row["attributes"],
            tuple(Address.parse(a) for a in row.get("depends_on", [])),
            replace_on=frozenset(row.get("replace_on", [])),
            user_editable=row.get("user_editable", address.kind == "file"),
            foreign=row.get("foreign", ""),
            payload="as it was read",
        )


def _entries(rows, desired):
    by_address = {r.address: r for r in desired}
    for text, row in (rows or {}).items():
        address = Address.parse(text)
        intended = intent(by_address[address]) if row.get("intended") else ""
        depends = tuple(Address.parse(a) for a in row.get("depends_on", []))
        yield address, LockEntry(address, row.get("attributes", {}), depends_on=depends, intended=intended)


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_plan_case(folder):
    case = yaml.safe_load((folder / "given.yml").read_text())
    expect = yaml.safe_load((folder / "expect.yml").read_text())
    desired = list(_resources(case.get("desired")))
    state = PlatformState({r.address: r for r in _resources(case.get("observed"))})
    lockfile = Lockfile(entries=dict(_entries(case.get("lockfile"), desired)))

    adopt = [Address.parse(text) for text in case.get("adopt", [])]
    plan = make_plan(desired, state, lockfile, Policy(case.get("policy", "sync")), adopt=adopt)

    assert [[c.action.value, str(c.address), c.reason] for c in plan.changes] == expect["changes"]
    if "unsafe" in expect:
        with pytest.raises(UnsafePlanError) as refused:
            check_safe(plan, Limits())
        assert expect["unsafe"] in str(refused.value)
        check_safe(plan, Limits(allowed=frozenset(c.address for c in plan.changes)))
    else:
        check_safe(plan, Limits())


def test_a_circle_of_resources_is_a_fault_that_names_it(resource):
    circle = [resource("file/a", ["file/b"]), resource("file/b", ["file/a"])]
    with pytest.raises(PlanError, match=r"file/a -> file/b|file/b -> file/a"):
        make_plan(circle, PlatformState({}), Lockfile())


names = st.sampled_from([f"file/{x}" for x in "abcd"] + [f"process/{x}" for x in "abc"])
worlds = st.dictionaries(names, st.integers(0, 2))


@given(wished=worlds, seen=worlds, recorded=worlds, policy=st.sampled_from(Policy))
def test_a_plan_deletes_only_what_the_lockfile_owns_and_repeats_itself(wished, seen, recorded, policy):
    def build(world):
        return [Resource(Address.parse(a), {"v": v}, user_editable=a.startswith("file")) for a, v in world.items()]

    state = PlatformState({r.address: r for r in build(seen)})
    lockfile = Lockfile(entries={r.address: LockEntry(r.address, r.attributes) for r in build(recorded)})
    plan = make_plan(build(wished), state, lockfile, policy)
    again = make_plan(list(reversed(build(wished))), state, lockfile, policy)

    assert plan.fingerprint == again.fingerprint
    deleted = {str(c.address) for c in plan.changes if c.action is Action.DELETE}
    assert deleted <= set(recorded) - set(wished)
    assert {str(c.address) for c in plan.changes} >= set(wished)
    overwritten = {str(c.address) for c in plan.pending if c.action is Action.UPDATE and c.address.kind == "file"}
    assert all(recorded.get(a) == seen[a] for a in overwritten), "a hand-edited file was about to be overwritten"
