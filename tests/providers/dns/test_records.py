"""Records as resources: ours are made, changed and taken away; others' are seen, told, and left alone."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from autogit.core.guard import Limits
from autogit.errors import MissingError, StalePlanError, UnsafePlanError, UnsupportedError
from autogit.model.dns import Capabilities, RecordKey, Zone, record_set
from autogit.model.plan import Action, Policy
from autogit.model.resource import Address
from autogit.providers.dns.memory import MemoryConfig, MemoryDNS
from tests.providers.dns.installation import Installation, context_of

ZONE = Zone("home.test", "home.test")
WILD = record_set("*.home.test", "A", 300, ["192.0.2.1"])
APEX = record_set("home.test", "A", 300, ["192.0.2.1"])
SIX = record_set("*.home.test", "AAAA", 300, ["2001:db8::1"])


class RegistryDNS(MemoryDNS):
    """Keeps no notes: marks are TXT records."""

    capabilities = replace(MemoryDNS.capabilities, marks=False)


def put(provider, *sets):
    for one in sets:
        asyncio.run(provider.create_record(ZONE, one))


def there(provider):
    return {one.key: one for one in asyncio.run(provider.list_records(ZONE))}


@pytest.fixture(params=[MemoryDNS, RegistryDNS], ids=["notes", "registry"])
def provider(request, tmp_path):
    return request.param(context_of(tmp_path), MemoryConfig(zones=("home.test",)))


@pytest.fixture
def home(tmp_path, provider):
    return Installation(tmp_path, provider)


def actions(plan):
    return {str(c.address): c.action.value for c in plan.changes}


def test_what_is_wished_for_is_there_and_the_next_plan_is_empty(home, provider):
    assert not home.up([WILD, APEX, SIX]).failed
    assert [there(provider)[one.key].values for one in (WILD, APEX, SIX)] == [WILD.values, APEX.values, SIX.values]
    assert set(actions(home.plan([WILD, APEX, SIX])).values()) == {"noop"}


def test_what_is_wished_for_no_more_goes_and_its_mark_with_it(home, provider):
    home.up([WILD, APEX])
    home.up([APEX])
    home.up([])
    assert there(provider) == {}
    assert home.store.load().entries == {}


def test_a_change_behind_our_back_is_put_right(home, provider):
    home.up([WILD])
    now = there(provider)[WILD.key]
    asyncio.run(provider.update_record(ZONE, now, replace(now, values=("198.51.100.9",))))
    plan = home.plan([WILD])
    assert plan.changes[0].drift
    assert plan.changes[0].action is Action.UPDATE
    home.up([WILD])
    assert there(provider)[WILD.key].values == WILD.values


def test_a_record_that_was_removed_is_made_again(home, provider):
    home.up([WILD])
    asyncio.run(provider.delete_record(ZONE, there(provider)[WILD.key]))
    assert home.plan([WILD]).changes[0].reason == "removed behind AutoGit's back"
    home.up([WILD])
    assert WILD.key in there(provider)


class TestForeign:
    OTHERS = replace(WILD, values=("203.0.113.7",))

    def test_a_conflict_tells_both_values_and_nothing_is_touched(self, home, provider):
        put(provider, self.OTHERS)
        assert actions(home.plan([WILD])) == {"dns_record/*.home.test/A": "hold"}
        assert home.check([WILD]) == [
            "dns_record/*.home.test/A: there 203.0.113.7, wished 192.0.2.1: somebody else made it, not AutoGit"
        ]
        home.up([WILD, APEX])
        assert there(provider)[WILD.key].values == self.OTHERS.values
        assert APEX.key in there(provider)

    def test_one_that_says_the_same_is_left_and_is_no_conflict(self, home, provider):
        put(provider, WILD)
        assert actions(home.plan([WILD])) == {"dns_record/*.home.test/A": "hold"}
        assert home.check([WILD]) == []
        home.up([WILD])
        home.up([])
        assert WILD.key in there(provider)

    def test_adopted_by_name_it_is_ours_from_then_on(self, home, provider):
        put(provider, self.OTHERS)
        address = Address("dns_record", "*.home.test/A")
        assert actions(home.plan([WILD], adopt=[address])) == {str(address): "update"}
        assert not home.up([WILD], adopt=[address]).failed
        assert there(provider)[WILD.key].values == WILD.values
        assert actions(home.plan([WILD])) == {str(address): "noop"}
        home.up([])
        assert there(provider) == {}

    def test_another_installation_of_the_same_zone_is_foreign(self, tmp_path, home, provider):
        (tmp_path / "other").mkdir()
        other = Installation(tmp_path / "other", provider, owner="home-2")
        other.up([WILD])
        [sentence] = home.check([replace(WILD, values=("192.0.2.9",))])
        assert "autogit of home-2 made it" in sentence
        home.up([replace(WILD, values=("192.0.2.9",))])
        assert there(provider)[WILD.key].values == WILD.values

    @pytest.mark.parametrize(
        ("mark", "said"),
        [
            (
                record_set("a-git.home.test", "TXT", 300, ["heritage=external-dns,external-dns/owner=k8s"]),
                "external-dns of k8s",
            ),
            (record_set("_owner.a.git.home.test", "TXT", 300, ["*octodns*"]), "octodns made it"),
        ],
    )
    def test_what_another_program_holds_is_not_adopted_either(self, home, provider, mark, said):
        record = record_set("git.home.test", "A", 300, ["203.0.113.7"])
        put(provider, record, mark)
        wanted = replace(record, values=("192.0.2.1",))
        assert said in home.check([wanted])[0]
        [sentence] = home.check([wanted], adopt=[Address("dns_record", "git.home.test/A")])
        assert f"the TXT at {mark.key.name}" in sentence

    def test_what_took_the_place_of_ours_is_not_ours(self, home, provider):
        home.up([WILD])
        for one in list(there(provider).values()):
            asyncio.run(provider.delete_record(ZONE, one))
        put(provider, self.OTHERS)
        assert actions(home.plan([WILD])) == {"dns_record/*.home.test/A": "hold"}
        home.up([])
        assert there(provider)[WILD.key].values == self.OTHERS.values
        assert home.store.load().entries == {}, "it is forgotten"

    def test_without_its_mark_a_record_is_ours_no_more(self, home, provider):
        home.up([WILD])
        now = there(provider)
        if provider.capabilities.marks:
            asyncio.run(provider.update_record(ZONE, now[WILD.key], replace(now[WILD.key], mark="")))
        else:
            mark = RecordKey("_autogit-a._wildcard.home.test", "TXT")
            asyncio.run(provider.delete_record(ZONE, now[mark]))
        assert actions(home.plan([WILD])) == {"dns_record/*.home.test/A": "hold"}
        assert home.check([WILD]) == [], "it says what is wished for"
        home.up([WILD], adopt=[Address("dns_record", "*.home.test/A")])
        assert there(provider) == now


class TestRefusals:
    def test_a_private_address_is_not_published_without_being_told_to(self, tmp_path, provider):
        home = Installation(tmp_path, provider, allow_private=False)
        lan = replace(WILD, values=("192.168.1.170",))
        [sentence] = home.check([lan])
        assert "192.168.1.170 cannot be published: it is private" in sentence
        assert "DNS_ALLOW_PRIVATE=true" in sentence
        assert Installation(tmp_path, provider).check([lan]) == []

    def test_a_zone_of_the_own_network_takes_any_address(self, tmp_path):
        provider = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test",), private=True))
        assert Installation(tmp_path, provider, allow_private=False).check([WILD]) == []

    @pytest.mark.parametrize("value", ["100.64.0.7", "203.0.113.9", "127.0.0.1"])
    def test_shared_and_example_addresses_are_named(self, tmp_path, provider, value):
        home = Installation(tmp_path, provider, allow_private=False)
        assert f"{value} cannot be published" in home.check([replace(WILD, values=(value,))])[0]

    def test_an_alias_in_the_way_is_told_before_anything_is_begun(self, home, provider):
        put(provider, record_set("git.home.test", "CNAME", 300, ["pages.example.net"]))
        [sentence] = home.check([record_set("git.home.test", "A", 300, ["192.0.2.1"])])
        assert "cannot be beside the CNAME to pages.example.net" in sentence

    def test_mail_at_the_apex_is_kept_by_hand(self, home):
        [sentence] = home.check([record_set("home.test", "MX", 300, ["10 mx.example.net"])])
        assert "at the apex of home.test" in sentence

    def test_a_name_of_no_zone_says_what_there_is(self, home):
        with pytest.raises(MissingError, match=r"no zone for git\.elsewhere\.test; the credentials show home\.test"):
            home.plan([record_set("git.elsewhere.test", "A", 300, ["192.0.2.1"])])

    def test_a_type_or_a_proxy_that_a_provider_lacks_is_no_silent_drop(self, tmp_path):
        provider = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
        provider.capabilities = Capabilities(types=frozenset({"A"}))
        home = Installation(tmp_path, provider)
        with pytest.raises(UnsupportedError, match=r"memory cannot hold \*\.home\.test/AAAA: it has A"):
            home.plan([SIX])
        with pytest.raises(UnsupportedError, match="memory has no proxy"):
            home.plan([replace(WILD, proxied=True)])

    def test_a_ttl_is_what_the_provider_can_hold(self, tmp_path):
        provider = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
        provider.capabilities = replace(provider.capabilities, least_ttl=60, most_ttl=3600)
        home = Installation(tmp_path, provider)
        home.up([replace(WILD, ttl=5), replace(APEX, ttl=86400)])
        assert [there(provider)[one.key].ttl for one in (WILD, APEX)] == [60, 3600]
        assert set(actions(home.plan([replace(WILD, ttl=5), replace(APEX, ttl=86400)])).values()) == {"noop"}

    def test_a_proxied_record_has_no_ttl_to_differ_in(self, tmp_path):
        provider = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
        home = Installation(tmp_path, provider)
        home.up([replace(WILD, proxied=True)])
        assert set(actions(home.plan([replace(WILD, proxied=True)])).values()) == {"noop"}

    def test_what_changes_between_plan_and_apply_is_stale(self, home, provider):
        home.up([WILD])

        result = _up_with(home, provider, [replace(WILD, values=("192.0.2.2",))])
        assert [type(o.error) for o in result.failed] == [StalePlanError]
        assert there(provider)[WILD.key].values == ("203.0.113.7",)
        assert "203.0.113.7" in result.failed[0].error.message

    def test_many_deletes_at_once_must_be_named(self, home):
        sets = [record_set(f"n{n}.home.test", "A", 300, ["192.0.2.1"]) for n in range(12)]
        home.up(sets)
        with pytest.raises(UnsafePlanError, match="12 of 12"):
            home.up([], allow_delete=Limits())
        named = frozenset(Address("dns_record", str(one.key)) for one in sets)
        assert not home.up([], allow_delete=Limits(allowed=named)).failed


def _up_with(home, provider, sets):
    """Apply while somebody else changes the record right before the write."""
    real = provider.update_record

    async def meanwhile(zone, old, wanted):
        provider.update_record = real
        await real(zone, old, replace(old, values=("203.0.113.7",)))
        await real(zone, old, wanted)

    provider.update_record = meanwhile
    return home.up(sets)


def test_a_policy_holds_what_it_does_not_allow(home):
    home.up([WILD, APEX])
    plan = home.plan([replace(WILD, values=("192.0.2.5",))], policy=Policy.CREATE_ONLY)
    assert actions(plan) == {"dns_record/*.home.test/A": "hold", "dns_record/home.test/A": "hold"}


class TestShared:
    """A text may have values of others beside ours: they stay, whatever becomes of ours."""

    SPF = record_set("home.test", "TXT", 300, ["v=spf1 -all"])
    PROOF = "google-site-verification=1"

    def add_theirs(self, provider):
        now = there(provider)[self.SPF.key]
        asyncio.run(provider.update_record(ZONE, now, replace(now, values=(self.PROOF, *now.values))))

    def test_what_others_add_is_no_difference(self, home, provider):
        home.up([self.SPF])
        self.add_theirs(provider)
        assert actions(home.plan([self.SPF])) == {"dns_record/home.test/TXT": "noop"}

    def test_ours_changes_and_theirs_stays(self, home, provider):
        home.up([self.SPF])
        self.add_theirs(provider)
        home.up([replace(self.SPF, values=("v=spf1 mx -all",))])
        assert there(provider)[self.SPF.key].values == (self.PROOF, "v=spf1 mx -all")

    def test_ours_goes_and_theirs_stays(self, home, provider):
        home.up([self.SPF])
        self.add_theirs(provider)
        home.up([])
        assert there(provider) == {self.SPF.key: replace(self.SPF, values=(self.PROOF,))}
        assert home.store.load().entries == {}


class TestRaces:
    """Between the plan and the write the world goes on."""

    GIT = record_set("git.home.test", "A", 300, ["192.0.2.1"])

    def test_what_somebody_makes_meanwhile_does_not_come_to_bear_our_mark(self, home, provider):
        theirs = replace(self.GIT, values=("203.0.113.7",))
        _before(
            "create_record", provider, lambda: put(provider, theirs) if self.GIT.key not in there(provider) else None
        )
        [failed] = home.up([self.GIT]).failed
        assert isinstance(failed.error, StalePlanError)
        assert there(provider) == {theirs.key: theirs}
        assert actions(home.plan([self.GIT])) == {"dns_record/git.home.test/A": "hold"}

    def test_a_mark_that_is_taken_away_meanwhile_protects_the_record(self, home, provider):
        home.up([self.GIT])
        _take_mark_after_reading(provider, self.GIT.key)
        [failed] = home.up([]).failed
        assert "since the plan was made" in failed.error.message
        assert self.GIT.key in there(provider)

    def test_a_zone_that_is_not_shown_any_more_is_no_reason_to_forget(self, home, provider):
        home.up([self.GIT])
        provider._zones["other.test"] = {}
        hidden = provider._zones.pop("home.test")
        [sentence] = home.check([record_set("x.other.test", "A", 300, ["192.0.2.1"])])
        assert "is in a zone that memory does not show now" in sentence
        assert "autogit dns forget dns_record/git.home.test/A" in sentence
        assert self.GIT.key in hidden


def _before(name, provider, act):
    """Have something happen right before a call of the provider, once."""
    real = getattr(provider, name)

    async def call(*args):
        setattr(provider, name, real)
        act_in_thread(act)
        return await real(*args)

    setattr(provider, name, call)


def _take_mark_after_reading(provider, key):
    """Take a record's mark away once the next plan has read the zone."""
    real = provider.list_records

    async def call(zone, keys=None):
        found = await real(zone, keys)
        provider.list_records = real
        if provider.capabilities.marks:
            now = (await real(zone, [key]))[0]
            await provider.update_record(zone, now, replace(now, mark=""))
        else:
            mark = (await real(zone, [RecordKey(f"_autogit-a.{key.name}", "TXT")]))[0]
            await provider.delete_record(zone, mark)
        return found

    provider.list_records = call


def act_in_thread(act):
    """Run what has an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(act).result()
