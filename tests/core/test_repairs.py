"""Which differences are repairs: what was applied is put back, what is wished anew waits for `up`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogit.core.plan import intent, make_plan
from autogit.core.repairs import find_repairs, without
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action
from autogit.model.resource import Address, Resource
from autogit.model.state import PlatformState

WEB = Address("container", "web")
WISH = {
    "name": "p-web-1",
    "hash": "h1",
    "networks": ("web",),
    "memory_bytes": 64,
    "cpus": 0.5,
    "config": "c1",
    "state": "running",
    "copies": 1,
}
_REPLACING = frozenset({"hash"})


def container(wish=None, depends_on=()):
    return Resource(WEB, WISH | (wish or {}), depends_on, replace_on=_REPLACING)


def found(wish, seen, recorded=WISH, *, intended="", more=()):
    """The repairs of one container that is wished, seen and recorded like this (None: not at all)."""
    desired = [container(wish), *(resource for resource, _, _ in more)]
    state = {WEB: Resource(WEB, WISH | seen)} if seen is not None else {}
    state |= {r.address: Resource(r.address, there) for r, there, _ in more if there is not None}
    entries = {WEB: LockEntry(WEB, recorded, intended=intended)} if recorded is not None else {}
    entries |= {r.address: LockEntry(r.address, known) for r, _, known in more if known is not None}
    lockfile = Lockfile(entries=entries)
    return find_repairs(make_plan(desired, PlatformState(state), lockfile), lockfile)


def only(repairs):
    (change,) = repairs.plan.changes
    assert repairs.refused == {}
    return change


def names(change):
    return sorted(field.name for field in change.fields)


def test_what_was_removed_is_made_again():
    change = only(found({}, None))
    assert (change.address, change.action) == (WEB, Action.CREATE)


@pytest.mark.parametrize("recorded", [None, {}])
def test_what_was_never_applied_waits_for_up(recorded):
    repairs = found({}, None, recorded)
    assert repairs.plan.changes == ()
    assert repairs.refused == {WEB: "it waits for autogit up"}


@pytest.mark.parametrize("wish", [{"hash": "h2"}, {"new": "attribute"}])
def test_what_was_removed_and_is_wished_anew_waits_for_up(wish):
    repairs = found(wish, None)
    assert repairs.plan.changes == ()
    assert repairs.refused == {WEB: "its wish has changed since the last up"}


@pytest.mark.parametrize(
    "seen", [{"state": "stopped"}, {"networks": ()}, {"memory_bytes": 1}, {"name": "other"}, {"hash": "other"}]
)
def test_what_was_changed_behind_our_back_is_put_back(seen):
    change = only(found({}, seen))
    assert names(change) == sorted(seen)
    assert change.after.attributes == WISH


def test_what_is_in_sync_is_no_repair():
    repairs = found({}, {})
    assert (repairs.plan.pending, repairs.refused) == ((), {})


def test_what_is_wished_anew_and_well_waits_for_up():
    repairs = found({"hash": "h2"}, {})
    assert repairs.plan.changes == ()
    assert set(repairs.refused) == {WEB}


@pytest.mark.parametrize("wish", [{"hash": "h2"}, {"config": "c2"}, {"memory_bytes": 128}, {"hash": "h2", "cpus": 1.0}])
def test_a_container_that_fell_is_started_as_it_was(wish):
    change = only(found(wish, {"state": "paused"}))
    assert (change.action, names(change), change.reason) == (Action.UPDATE, ["state"], "it is paused")
    assert change.after.attributes == WISH, "the next up must still see what is wished anew"


def test_a_container_that_lost_its_network_is_put_back_on_it():
    change = only(found({"memory_bytes": 128}, {"networks": (), "state": "stopped"}))
    assert names(change) == ["networks", "state"]
    change = only(found({"hash": "h2"}, {"networks": ()}))
    assert change.reason == "changed behind AutoGit's back: networks"


def test_networks_that_are_wished_anew_are_not_joined():
    change = only(found({"networks": ("web", "more")}, {"networks": (), "state": "stopped"}))
    assert names(change) == ["state"]
    assert found({"networks": ("web", "more")}, {"networks": ()}).plan.changes == ()


def test_limits_are_set_back_together_or_not_at_all():
    assert names(only(found({"hash": "h2"}, {"memory_bytes": 1, "cpus": 0.1}))) == ["cpus", "memory_bytes"]
    assert found({"cpus": 1.0}, {"memory_bytes": 1}).plan.changes == ()


@pytest.mark.parametrize("seen", [{"name": "other", "state": "stopped"}, {"hash": "other", "state": "stopped"}])
def test_a_container_that_is_another_one_by_now_waits_for_up(seen):
    assert found({"config": "c2"}, seen).plan.changes == ()


@pytest.mark.parametrize(
    ("seen", "begun", "repaired"),
    [
        ({"copies": 2, "state": "stopped"}, True, True),
        ({"copies": 2, "state": "stopped"}, False, False),
        ({"copies": 2}, True, False),
        ({"copies": 2, "hash": "h2"}, True, False),
        ({"copies": 2, "hash": "h2", "state": "stopped"}, True, True),
    ],
)
def test_what_a_killed_up_had_begun_is_gone_on_with_where_the_service_is_down(seen, begun, repaired):
    wish = {"hash": "h2"}
    intended = intent(container(wish if begun else {"hash": "h3"}))
    repairs = found(wish, seen, intended=intended)
    assert bool(repairs.plan.changes) == repaired
    if repaired:
        assert repairs.plan.changes[0].after.attributes == WISH | wish


def test_two_copies_of_what_was_applied_become_one():
    assert names(only(found({}, {"copies": 2}))) == ["copies"]


def test_a_process_that_fell_and_is_wished_anew_waits_for_up():
    address = Address("process", "web")
    recorded = {"program": "p1", "state": "running"}
    lockfile = Lockfile(entries={address: LockEntry(address, recorded)})
    state = PlatformState({address: Resource(address, recorded | {"state": "stopped"})})
    for program, repaired in (("p1", True), ("p2", False)):
        wish = Resource(address, recorded | {"program": program}, replace_on=frozenset({"program"}))
        assert bool(find_repairs(make_plan([wish], state, lockfile), lockfile).plan.changes) == repaired


def test_what_is_no_longer_wished_is_not_removed():
    lockfile = Lockfile(entries={WEB: LockEntry(WEB, WISH)})
    plan = make_plan([], PlatformState({WEB: Resource(WEB, WISH)}), lockfile)
    assert plan.pending[0].action is Action.DELETE
    repairs = find_repairs(plan, lockfile)
    assert repairs.plan.changes == ()
    assert set(repairs.refused) == {WEB}


def test_a_file_that_somebody_edited_is_left_to_them():
    address = Address("file", "web/web.yml")
    lockfile = Lockfile(entries={address: LockEntry(address, {"sha256": "a"})})
    wish = Resource(address, {"sha256": "a"}, user_editable=True)
    plan = make_plan([wish], PlatformState({address: Resource(address, {"sha256": "b"})}), lockfile)
    assert plan.held
    repairs = find_repairs(plan, lockfile)
    assert (repairs.plan.changes, repairs.refused) == ((), {})


def test_a_lost_volume_is_not_made_again_and_whatever_needs_it_waits():
    volume = Resource(Address("volume", "web-data"), {"name": "p_web-data"})
    wish = container(depends_on=(volume.address,))
    lockfile = Lockfile(
        entries={WEB: LockEntry(WEB, WISH), volume.address: LockEntry(volume.address, volume.attributes)}
    )
    repairs = find_repairs(make_plan([volume, wish], PlatformState({}), lockfile), lockfile)
    assert repairs.plan.changes == ()
    assert repairs.lost == {volume.address}
    assert "restore a backup" in repairs.refused[WEB]


@pytest.mark.parametrize("entries", [{}, {"intended": "name:1"}])
def test_a_volume_that_was_never_made_is_not_lost(entries):
    address = Address("volume", "web-data")
    lockfile = Lockfile(entries={address: LockEntry(address, {}, **entries)} if entries else {})
    plan = make_plan([Resource(address, {"name": "p_web-data"})], PlatformState({}), lockfile)
    repairs = find_repairs(plan, lockfile)
    assert (repairs.lost, repairs.refused) == (frozenset(), {address: "it waits for autogit up"})


def test_without_leaves_out_addresses_and_nothing_else():
    other = Resource(Address("network", "web"), {"name": "p_web"})
    repairs = found({}, None, more=[(other, None, other.attributes)])
    assert [c.address for c in repairs.plan.changes] == [WEB, other.address]
    assert [c.address for c in without(repairs.plan, [WEB]).changes] == [other.address]


_VALUES = st.sampled_from(["a", "b"])
_SOME = st.fixed_dictionaries(
    {}, optional={name: _VALUES for name in WISH if name != "copies"} | {"copies": st.sampled_from([1, 2])}
)


@given(wish=_SOME, seen=st.none() | _SOME, recorded=st.none() | _SOME, intended=st.booleans())
def test_a_repair_never_moves_the_world_on(wish, seen, recorded, intended):
    """Whatever is carried out is as it was applied, unless a killed `up` had begun it and the service is down."""
    entry = None if recorded is None else WISH | recorded
    mark = intent(container(wish)) if intended else ""
    repairs = found(wish, seen, entry, intended=mark)
    for change in repairs.plan.pending:
        gone_on_with = intended and (WISH | (seen or {}))["copies"] != (WISH | wish)["copies"]
        for field in change.fields:
            assert gone_on_with or field.after == entry[field.name]
        if not gone_on_with:
            applied = {name: change.after.attributes[name] for name in names(change)}
            assert applied == {name: entry[name] for name in applied}
    assert {c.address for c in repairs.plan.pending} | set(repairs.refused) <= {WEB}
    assert not {c.address for c in repairs.plan.pending} & set(repairs.refused)
