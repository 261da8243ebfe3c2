"""How a plan is carried out: order, parallelism, what a failure leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from autogit.core.apply import apply_plan
from autogit.core.observe import observe
from autogit.core.plan import make_plan
from autogit.core.store import LockfileStore, Recorder
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action
from autogit.model.resource import Address, Resource


@pytest.fixture
def run(memory, paths):
    """Plan and apply once; returns plan, result and the lockfile as read back from disk."""
    store = LockfileStore(paths.lockfile, paths.state / "lockfile.previous.json")

    def once(desired, *, apply=True):
        async def go():
            lockfile = store.load()
            state = await observe([memory], desired, lockfile)
            plan = make_plan(desired, state, lockfile)
            if not apply:
                return plan, None, lockfile
            recorder = Recorder(store, lockfile)
            recorder.begin(plan.pending, ports={"api/http": 20080})
            seen = []
            result = await apply_plan(plan, [memory], recorder, seen.append)
            assert tuple(seen) == result.outcomes
            return plan, result, store.load()

        return asyncio.run(go())

    return once


def test_after_apply_the_plan_changes_nothing(run, resource):
    desired = [resource("file/a"), resource("process/b", ["file/a"])]
    _, result, lockfile = run(desired)
    plan, _, _ = run(desired, apply=False)
    assert not result.failed
    assert not plan.pending
    assert lockfile.ports == {"api/http": 20080}
    assert {str(a) for a in lockfile.entries} == {"file/a", "process/b"}


def test_dependencies_come_first_and_independent_changes_run_at_once(run, memory, resource):
    desired = [resource("process/z"), resource("process/y"), resource("process/a", ["process/z", "process/y"])]
    run(desired)
    assert memory.log[-1] == "process/a"
    assert memory.most_running == 2


def test_what_depends_on_a_failure_is_skipped_and_the_rest_goes_on(run, memory, resource):
    memory.failing = {"process/broken": ()}
    desired = [resource("process/broken"), resource("process/user", ["process/broken"]), resource("process/other")]
    _, result, lockfile = run(desired)
    assert [str(o.address) for o in result.failed] == ["process/broken"]
    assert [str(a) for a in result.skipped] == ["process/user"]
    assert lockfile.find(Address("process", "other")).attributes == {"v": 1}
    assert lockfile.find(Address("process", "broken")).attributes == {}, "only its intent is recorded"


def test_nothing_is_deleted_when_something_failed(run, memory, resource):
    run([resource("process/old")])
    memory.failing = {"process/new": ()}
    plan, result, lockfile = run([resource("process/new")])
    assert [c.action for c in plan.pending] == [Action.CREATE, Action.DELETE]
    assert Address("process", "old") in memory.world
    assert Address("process", "old") in result.skipped
    assert lockfile.find(Address("process", "old")) is not None


def test_a_hook_that_failed_keeps_nothing_that_is_to_go(run, memory, resource):
    """It takes the certificate to others: nothing of the platform hangs on it."""
    run([resource("process/old")])
    memory.failing = {"cert_hook/mail-1": ()}
    _, result, lockfile = run([resource("cert_hook/mail-1")])
    assert [str(o.address) for o in result.failed] == ["cert_hook/mail-1"]
    assert lockfile.find(Address("process", "old")) is None


def test_an_undone_file_is_planned_again_and_not_taken_for_a_hand_edit(run, memory, resource):
    """A failed replacement puts the former file back: the next plan must update it, not hold it."""
    first = [resource("file/c", sha="old"), resource("process/p", ["file/c"], replace_on=["program"], program="old")]
    run(first)
    second = [resource("file/c", sha="new"), resource("process/p", ["file/c"], replace_on=["program"], program="new")]
    memory.failing = {"process/p": (Address("file", "c"),)}
    run(second)
    memory.world[Address("file", "c")] = Resource(Address("file", "c"), {"sha": "old"})
    plan, _, _ = run(second, apply=False)
    assert [(str(c.address), c.action) for c in plan.pending] == [
        ("file/c", Action.UPDATE),
        ("process/p", Action.REPLACE),
    ]


def test_what_a_killed_run_left_behind_is_ours(paths, memory, resource):
    """The file was written, its outcome was not recorded, and then the wish changed again."""
    store = LockfileStore(paths.lockfile, paths.state / "previous.json")
    known = Lockfile(entries={Address("file", "a"): LockEntry(Address("file", "a"), {"sha": "1"})})
    second = resource("file/a", sha="2")
    memory.world[second.address] = Resource(second.address, {"sha": "1"})

    async def killed_then_changed():
        plan = make_plan([second], await observe([memory], [second], known), known)
        Recorder(store, known).begin(plan.pending, ports={})
        memory.world[second.address] = Resource(second.address, {"sha": "2"})  # written; then SIGKILL
        third = resource("file/a", sha="3")
        lockfile = store.load()
        return make_plan([third], await observe([memory], [third], lockfile), lockfile)

    plan = asyncio.run(killed_then_changed())
    assert [c.action for c in plan.changes] == [Action.UPDATE]
