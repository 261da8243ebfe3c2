"""The dns-01 solver against real BIND and real Pebble: nothing of ours stays, everything of others does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from acme import errors

from autogit.errors import (
    MissingError,
    ProviderError,
    RejectedError,
    StorageFullError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.acme import Challenge
from autogit.model.dns import RecordKey, Zone, record_set
from autogit.providers.dns.manual import ManualConfig, ManualDNS
from autogit.providers.dns.memory import MemoryConfig, MemoryDNS
from autogit.providers.dns.patience import PatientDNS
from autogit.providers.dns.rfc2136 import Rfc2136Config, Rfc2136DNS
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.propagation import Waiting
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.dns01 import Dns01Solver
from autogit.providers.ssl.solvers.journal import Entry, Journal
from tests.providers.dns.bind import TsigKey, bind_server
from tests.providers.dns.installation import context_of
from tests.providers.dns.test_rounds import Dying, Killed
from tests.providers.dns.world.named_world import (  # noqa: F401 - a fixture by its name
    ONE,
    RESOLVER,
    TWO,
    _sockets_stay_on_loopback,
    dns_world,
    zone_text,
)
from tests.providers.ssl.solvers.authority_of_test import Authority, issue, reason

pytestmark = pytest.mark.integration

FOREIGN = "of-another-client"
WILD = ["*.wild CNAME elsewhere.acme.test."]
ALIASES = [
    "_acme-challenge.git CNAME git.acme.test.",
    "_acme-challenge.out CNAME out.nobody.test.",
    "_acme-challenge.round CNAME again",
    "again CNAME _acme-challenge.round",
]


@pytest.fixture(scope="module")
def bind(tmp_path_factory):
    zones = {"home.test": [*ALIASES, *WILD], "acme.test": [], "outside.test": ["_acme-challenge CNAME o.acme.test."]}
    options = ["allow-recursion { 127.0.0.1; };"]
    with bind_server(
        tmp_path_factory.mktemp("solver") / "bind", zones, key=TsigKey(), recursion=True, options=options
    ) as made:
        yield made


@pytest.fixture(scope="module")
def authority(bind, tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("solver") / "pebble", bind.server)
    yield made
    made.stop()


class Bench:
    """Makes solvers over one state file, as runs of one installation do, and remembers what they said and slept."""

    def __init__(self, folder, server, key):
        self.folder, self.key = folder, key
        self.server = server
        self.state_file = folder / "state" / "challenges.json"
        self.said, self.slept = [], []
        self.now = 1000.0

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def provider(self, zones="home.test,acme.test", **told):
        config = {"server": self.server, "zones": zones, "key_name": self.key.name, "timeout_seconds": 2} | told
        return Rfc2136DNS(context_of(self.folder), Rfc2136Config(key_secret=self.key.secret, **config))

    def solver(self, provider=None, lookup=None, **told):
        waiting = Waiting(told.pop("deadline", 20.0), self.sleep, lambda: self.now)
        config = {"servers": (self.server,), "timeout_seconds": 2.0}
        return Dns01Solver(
            provider or self.provider(),
            lookup or Lookup(LookupConfig(**config)),
            state_file=self.state_file,
            **{"waiting": waiting, "sleep": self.sleep, "progress": self.said.append} | told,
        )

    def entries(self):
        return json.loads(self.state_file.read_text())["entries"] if self.state_file.is_file() else []

    def runs(self):
        return list(self.state_file.parent.glob("*.run"))


@pytest.fixture
def bench(tmp_path, bind):
    bind.start()
    return Bench(tmp_path, bind.server, bind.key)


@pytest.fixture
def foreign(bench, bind):
    """Another client's value at the apex of home.test, for the time of a test; the set's values are returned."""
    provider = bench.provider()
    zone = Zone("home.test", "home.test")
    asyncio.run(provider.add_txt(zone, "_acme-challenge.home.test", FOREIGN, 120))
    yield lambda: [value.strip('"') for value in bind.values("_acme-challenge.home.test", "TXT")]
    bind.start()
    asyncio.run(provider.remove_txt(zone, "_acme-challenge.home.test", FOREIGN))
    assert bind.values("_acme-challenge.home.test", "TXT") == []


def proof(name, value, place=""):
    return Challenge("dns-01", name, place or f"_acme-challenge.{name}", value)


def both(*values):
    return [proof("home.test", value) for value in values or ("one", "two")]


def shown(server, name):
    return [value.strip('"') for value in server.values(name, "TXT")]


def test_wildcard_and_apex_are_one_set_and_others_values_stay(bench, bind, authority, foreign):
    """Published together, waited for once, issued, gone."""
    seen = []

    async def meanwhile(challenges):
        seen.append((sorted(one.value for one in challenges), foreign()))

    names = asyncio.run(issue(authority, ["home.test", "*.home.test"], bench.solver(), meanwhile=meanwhile))
    assert names == ["*.home.test", "home.test"]
    ((values, there),) = seen
    assert len(values) == 2
    assert there == sorted([*values, FOREIGN])
    assert foreign() == [FOREIGN]
    assert (bench.entries(), bench.runs(), bench.slept) == ([], [], [])


def test_a_challenge_is_written_where_its_alias_leads(bench, bind, authority):
    """`_acme-challenge.git.home.test` is a CNAME into another zone."""
    seen = []

    async def meanwhile(_challenges):
        seen.append(shown(bind, "git.acme.test"))

    names = ["git.home.test", "*.git.home.test"]
    assert asyncio.run(issue(authority, names, bench.solver(), meanwhile=meanwhile)) == sorted(names)
    assert len(seen[0]) == 2
    assert shown(bind, "git.acme.test") == []
    assert bind.values("_acme-challenge.git.home.test", "CNAME") == ["git.acme.test."]


def test_the_providers_own_aliases_are_followed_without_any_dns(bench, tmp_path):
    """It knows them for certain; port 53 may be shut here."""
    provider = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test", "acme.test")))
    home, acme = asyncio.run(provider.list_zones())
    alias = record_set("_acme-challenge.home.test", "CNAME", 60, ["h.acme.test"])
    asyncio.run(provider.create_record(home, alias))
    solver = bench.solver(provider, no_waiting())
    asyncio.run(solver.present(both()))
    (found,) = asyncio.run(provider.list_records(acme))
    assert (found.key.name, found.values) == ("h.acme.test", ("one", "two"))
    asyncio.run(solver.clean(both()))
    assert asyncio.run(provider.list_records(acme)) == []
    assert asyncio.run(provider.list_records(home)) == [alias]


def test_a_zone_that_is_not_the_providers_may_delegate_its_challenge(bench, bind, authority):
    """Its own provider has no API; the alias leads into a zone that has one."""
    provider = bench.provider(zones="acme.test")
    assert asyncio.run(issue(authority, ["outside.test"], bench.solver(provider))) == ["outside.test"]
    assert shown(bind, "o.acme.test") == []


def test_names_of_several_zones_are_one_order(bench, bind, authority):
    names = ["acme.test", "git.home.test", "home.test", "other.home.test"]
    assert asyncio.run(issue(authority, names, bench.solver(PatientDNS(bench.provider())))) == names
    for name in names:
        assert shown(bind, f"_acme-challenge.{name}") == []


def test_the_alias_of_a_wildcard_is_not_followed(bench, bind, authority):
    """`*.wild.home.test` leads elsewhere, the challenge's own name has nothing: it is written there."""
    seen = []

    async def meanwhile(_challenges):
        seen.append((bind.values("_acme-challenge.wild.home.test", "CNAME"), shown(bind, "elsewhere.acme.test")))

    names = ["*.wild.home.test"]
    assert asyncio.run(issue(authority, names, bench.solver(), meanwhile=meanwhile)) == names
    assert seen == [([], [])]


def test_an_order_that_the_authority_refuses_leaves_nothing(bench, authority, foreign):
    async def meanwhile(challenges):
        """Somebody takes the values away before the authority looks."""
        for one in challenges:
            await bench.provider().remove_txt(Zone("home.test", "home.test"), one.place, one.value)

    with pytest.raises(errors.ValidationError) as caught:
        asyncio.run(issue(authority, ["home.test"], bench.solver(), meanwhile=meanwhile))
    assert "Correct value not found" in reason(caught.value)
    assert foreign() == [FOREIGN]
    assert bench.entries() == []


def test_a_name_of_no_zone_is_said_with_the_way_out(bench):
    with pytest.raises(MissingError, match=r"rfc2136: no zone for _acme-challenge\.nobody\.test; the credentials show"):
        asyncio.run(bench.solver().present([proof("nobody.test", "one")]))


def test_an_alias_out_of_the_providers_zones_is_said_with_its_way(bench):
    with pytest.raises(MissingError) as caught:
        asyncio.run(bench.solver().present([proof("out.home.test", "one")]))
    assert "no zone for out.nobody.test" in caught.value.message
    assert "by CNAME: _acme-challenge.out.home.test -> out.nobody.test" in caught.value.message
    assert "CNAME" in caught.value.hint
    assert bench.entries() == []


def test_aliases_in_a_circle_are_refused(bench):
    with pytest.raises(
        RejectedError, match=r"rfc2136: the aliases of .* go round in a circle: .* -> again\.home\.test"
    ):
        asyncio.run(bench.solver().present([proof("round.home.test", "one")]))


def test_too_many_aliases_are_refused(bench, tmp_path):
    provider = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
    (zone,) = asyncio.run(provider.list_zones())
    names = ["_acme-challenge.home.test", *(f"a{number}.home.test" for number in range(10))]
    for name, target in pairwise(names):
        asyncio.run(provider.create_record(zone, record_set(name, "CNAME", 60, [target])))
    with pytest.raises(RejectedError, match=r"memory: _acme-challenge\.home\.test leads through more than 8 aliases"):
        asyncio.run(bench.solver(provider, no_waiting()).present(both()))


def test_where_nobody_tells_whether_there_is_an_alias_that_is_said(bench):
    """The zone is another provider's, which may delegate the challenge, and port 53 is shut."""
    solver = bench.solver(bench.provider(zones="acme.test"), no_waiting())
    with pytest.raises(MissingError, match=r"no zone for _acme-challenge\.home\.test; .*whether it is an alias cannot"):
        asyncio.run(solver.present(both()))


def test_servers_that_differ_in_the_alias_are_said(pair):
    """One of them has not got it yet: run again."""
    world, bench = pair
    alias = zone_text("pair.test", NS, "_acme-challenge CNAME one.home.test.")
    world.run(TWO, {"pair.test": alias})
    solver = bench.solver(bench.provider(zones="home.test"), world.lookup())
    with pytest.raises(
        UnavailableError, match=r"rfc2136: _acme-challenge\.pair\.test cannot be followed: the servers diff"
    ):
        asyncio.run(solver.present([proof("pair.test", "one")]))


def test_what_could_not_be_presented_is_cleaned_without_an_error(bench, foreign):
    """One name of the order has no zone: the others' values were not even written."""
    solver = bench.solver()
    order = [*both(), proof("nobody.test", "three")]

    async def run():
        with pytest.raises(MissingError):
            await solver.present(order)
        await solver.clean(order)

    asyncio.run(run())
    assert foreign() == [FOREIGN]
    assert (bench.entries(), bench.runs()) == ([], [])


def test_cleaning_twice_and_cleaning_what_nobody_published_is_harmless(bench, foreign):
    solver = bench.solver()
    asyncio.run(solver.present(both()))
    for _ in range(2):
        asyncio.run(solver.clean(both()))
    asyncio.run(bench.solver().clean(both("never-there")))
    assert foreign() == [FOREIGN]


def test_another_instance_takes_exact_values_away_without_a_journal(bench, foreign):
    asyncio.run(bench.solver().present(both()))
    bench.state_file.unlink()
    asyncio.run(bench.solver().clean(both("one")))
    assert foreign() == [FOREIGN, "two"]
    asyncio.run(bench.solver().clean(both("two")))


def test_only_the_challenges_of_one_order_are_cleaned(bench, foreign):
    """Two orders at once of one instance: the end of one is not the other's."""
    solver = bench.solver()
    asyncio.run(solver.present(both("one")))
    asyncio.run(solver.present(both("two")))
    asyncio.run(solver.clean(both("one")))
    assert foreign() == [FOREIGN, "two"]
    assert asyncio.run(bench.solver().clean_leftovers()) == ()
    asyncio.run(solver.clean(both("two")))
    assert (foreign(), bench.runs()) == ([FOREIGN], [])


def test_a_run_that_is_going_on_is_not_cleaned_up_after(bench, foreign):
    """Two installations' timers at once: neither takes the other's values for left over."""
    first, second = bench.solver(), bench.solver()
    asyncio.run(first.present(both("one")))
    asyncio.run(second.present(both("two")))
    assert foreign() == ["of-another-client", "one", "two"]
    assert asyncio.run(bench.solver().clean_leftovers()) == ()
    asyncio.run(first.clean(both("one")))
    asyncio.run(second.clean(both("two")))
    assert foreign() == [FOREIGN]


def test_the_server_is_down_before_anything_is_published(bench, bind):
    bind.stop()
    solver = bench.solver()
    with pytest.raises(UnavailableError, match="rfc2136: "):
        asyncio.run(solver.present(both()))
    bind.start()
    asyncio.run(solver.clean(both()))
    assert bench.entries() == []


def test_the_server_stops_in_the_middle_and_the_next_run_takes_all_away(bench, bind, authority, foreign):
    """The clean-up fails in words, what is left is known, and goes."""
    solver = bench.solver()

    async def meanwhile(_challenges):
        bind.stop()

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(issue(authority, ["home.test", "*.home.test"], solver, meanwhile=meanwhile))
    assert caught.value.message.startswith("rfc2136: challenge values could not be taken away: ")
    assert "the next run tries again" in caught.value.hint
    assert len(bench.entries()) == 2
    assert bench.runs() == []
    bind.start()
    assert len(foreign()) == 3
    assert asyncio.run(issue(authority, ["home.test"], bench.solver())) == ["home.test"]
    assert foreign() == [FOREIGN]
    assert bench.entries() == []


def test_a_server_that_is_down_is_not_asked_for_each_value_of_its_zone(bench, tmp_path):
    """Twenty names would otherwise take twenty times the patience with it."""
    asked = []

    class Down(MemoryDNS):
        is_down = False

        async def remove_txt(self, zone, name, value):
            if self.is_down:
                asked.append((zone.name, value))
                raise UnavailableError("memory: does not answer")
            await super().remove_txt(zone, name, value)

    provider = Down(context_of(tmp_path), MemoryConfig(zones=("home.test", "acme.test")))
    solver = bench.solver(provider, no_waiting())
    order = [*both("one", "two", "three"), proof("acme.test", "four")]
    asyncio.run(solver.present(order))
    provider.is_down = True
    with pytest.raises(UnavailableError, match=r"memory: challenge values could not be taken away: does not answer$"):
        asyncio.run(solver.clean(order))
    assert sorted(zone for zone, _ in asked) == ["acme.test", "home.test"]
    provider.is_down = False
    assert len(asyncio.run(bench.solver(provider).clean_leftovers())) == 4
    assert bench.entries() == []


def test_what_stays_of_an_earlier_run_does_not_stop_a_new_one(bench, bind, foreign):
    """Its zone is not the provider's any more: that is said, and the order goes on."""
    asyncio.run(bench.solver().present([proof("acme.test", "old")]))
    bench.runs()[0].unlink()  # as if it had been killed
    provider = bench.provider(zones="home.test")
    solver = bench.solver(provider)
    asyncio.run(solver.present(both()))
    assert any("stays for now: rfc2136: no zone for _acme-challenge.acme.test" in text for text in bench.said)
    asyncio.run(solver.clean(both()))
    with pytest.raises(ProviderError, match=r"no zone for _acme-challenge\.acme\.test"):
        asyncio.run(bench.solver(provider).clean_leftovers())
    (left,) = asyncio.run(bench.solver().clean_leftovers())
    assert (left.place, left.value) == ("_acme-challenge.acme.test", "old")
    assert shown(bind, "_acme-challenge.acme.test") == []


def test_values_at_another_provider_are_told_and_kept_in_mind(bench, foreign):
    Journal(bench.state_file).note([Entry("cloudflare", "_acme-challenge.home.test", "old")])
    bench.runs()[0].unlink()
    solver = bench.solver()
    asyncio.run(solver.present(both()))
    assert any("still at cloudflare" in text for text in bench.said)
    asyncio.run(solver.clean(both()))
    assert asyncio.run(solver.clean_leftovers()) == ()
    assert [one["provider"] for one in bench.entries()] == ["cloudflare"]


def test_killed_before_or_after_any_step_the_next_run_leaves_nothing_of_ours(bench, bind, tmp_path):
    """SIGKILL, real processes, real BIND: after the next run the zone has another client's value only."""
    with bind_server(tmp_path / "bind", {"kill.test": [f'_acme-challenge TXT "{FOREIGN}"']}) as server:
        (tmp_path / "runs").mkdir()
        told = {"server": server.server, "secret": server.key.secret, "folder": str(tmp_path / "runs")}
        script = Path(__file__).with_name("killed_runs.py")
        done = subprocess.run(
            [sys.executable, str(script)],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[4],
            env={"PYTHONPATH": str(Path(__file__).parents[4]), "PATH": "/usr/bin:/bin"},
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    killed = [row for row in rows if row["died"] == signal.SIGKILL]
    assert len(killed) >= 20
    assert len(rows) - len(killed) == 2  # the last of each half lived to its end
    assert any(len(row["left"]) == 3 for row in killed)  # there was something to take away
    assert [row for row in rows if row["then"] != [FOREIGN] or row["next"] != 0] == [], done.stderr
    assert list((tmp_path / "runs").glob("*.run")) == []


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_between_any_two_calls_of_a_provider_of_whole_sets(bench, tmp_path, after):
    """One whose values are not written one by one: read, then written as a set."""
    memory = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
    zone = Zone("home.test", "home.test")
    key = RecordKey("_acme-challenge.home.test", "TXT")
    deaths = 0
    for at in range(1, 100):
        asyncio.run(memory.create_record(zone, record_set(key.name, "TXT", 60, [FOREIGN])))
        solver = bench.solver(Dying(memory, at, after=after), no_waiting())
        try:
            asyncio.run(solver.present(both()))
            asyncio.run(solver.clean(both()))
        except Killed:
            deaths += 1
            ended(solver, bench)
        else:
            break
        solver = bench.solver(memory, no_waiting())
        asyncio.run(solver.clean_leftovers())
        assert asyncio.run(memory.find_record(zone, key)).values == (FOREIGN,), at
        assert bench.entries() == [], at
    assert deaths >= 8


def no_waiting():
    """A lookup that nobody answers: waiting is over at once."""
    return Lookup(LookupConfig(resolvers=(), doh_urls=()))


def ended(solver, bench):
    """What the kernel does at a process's end: its lock is gone."""
    with contextlib.suppress(OSError):
        solver._journal.release()


def test_the_state_is_only_the_owners_and_is_there_before_anything_is_published(bench, tmp_path):
    seen = []

    class Watching(MemoryDNS):
        async def create_record(self, zone, wanted):
            seen.append((bench.entries(), bench.state_file.stat().st_mode & 0o777))
            await super().create_record(zone, wanted)

    solver = bench.solver(Watching(context_of(tmp_path), MemoryConfig(zones=("home.test",))), no_waiting())
    asyncio.run(solver.present(both()))
    entries, mode = seen[0]
    assert mode == 0o600
    assert sorted(one["value"] for one in entries) == ["one", "two"]
    assert {one["place"] for one in entries} == {"_acme-challenge.home.test"}
    assert {one["provider"] for one in entries} == {"memory"}
    assert all(one["noted_at"].endswith("+00:00") for one in entries)
    asyncio.run(solver.clean(both()))


def test_where_the_state_cannot_be_written_nothing_is_published(bench, bind, tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    solver = bench.solver()
    with pytest.raises(StorageFullError, match=r"cannot write .*challenges\.json"):
        asyncio.run(solver.present(both()))
    asyncio.run(solver.clean(both()))  # the client does so in any case
    assert shown(bind, "_acme-challenge.home.test") == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2, "entries": []}', '{"version": 1, "entries": [{"x": 1}]}']
)
def test_a_state_that_cannot_be_read_stops_no_order(bench, bind, text):
    """It is kept aside, and said."""
    bench.state_file.parent.mkdir()
    bench.state_file.write_text(text)
    solver = bench.solver()
    asyncio.run(solver.present(both()))
    asyncio.run(solver.clean(both()))
    assert shown(bind, "_acme-challenge.home.test") == []
    assert bench.state_file.with_name("challenges.json.unreadable").read_text() == text
    assert any("cannot be read" in said for said in bench.said)


def test_many_runs_that_write_the_state_at_once_lose_nothing(bench):
    """Each is a process of its own as far as the file is concerned."""
    journals = [Journal(bench.state_file) for _ in range(8)]

    def work(number):
        for step in range(5):
            mine = Entry("memory", f"_acme-challenge.{number}.home.test", f"{step}")
            journals[number].note([mine])
            if step % 2:
                journals[number].forget([mine])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(bench.entries()) == 8 * 3
    assert journals[0].orphans() == []
    for journal in journals[:4]:
        journal.release()
    assert {one.place for one in journals[7].orphans()} == {f"_acme-challenge.{n}.home.test" for n in range(4)}
    for journal in journals[4:]:
        journal.release()


class Contended(MemoryDNS):
    """Somebody else writes into the set between every read and write, so many times."""

    left = 2

    async def update_record(self, zone, old, wanted):
        if self.left:
            self.left -= 1
            now = await self.find_record(zone, old.key)
            other = replace(now, values=(*now.values, f"theirs-{self.left}"))
            await super().update_record(zone, now, other)
        await super().update_record(zone, old, wanted)


def contended(tmp_path, left):
    provider = Contended(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
    provider.left = left
    zone = Zone("home.test", "home.test")
    asyncio.run(provider.create_record(zone, record_set("_acme-challenge.home.test", "TXT", 60, [FOREIGN])))
    return provider, zone, RecordKey("_acme-challenge.home.test", "TXT")


def test_values_that_others_add_at_the_same_moment_stay(bench, tmp_path):
    provider, zone, key = contended(tmp_path, 2)
    solver = bench.solver(provider, no_waiting())
    asyncio.run(solver.present(both()))
    assert set(asyncio.run(provider.find_record(zone, key)).values) == {FOREIGN, "one", "two", "theirs-0", "theirs-1"}
    provider.left = 1
    asyncio.run(solver.clean(both()))
    assert set(asyncio.run(provider.find_record(zone, key)).values) == {FOREIGN, "theirs-0", "theirs-1"}


def test_a_set_that_is_never_at_rest_is_given_up(bench, tmp_path):
    provider, zone, key = contended(tmp_path, 100)
    solver = bench.solver(provider, no_waiting())
    with pytest.raises(UnavailableError, match="memory: .* is .* now") as caught:
        asyncio.run(solver.present(both()))
    assert "another client" in caught.value.hint
    provider.left = 0
    asyncio.run(solver.clean(both()))
    assert "one" not in asyncio.run(provider.find_record(zone, key)).values


def test_cancelled_in_the_middle_of_a_write_nothing_lands_after_the_clean_up(bench, tmp_path):
    """A write in a thread goes on when its task is cancelled."""
    begun, go_on = asyncio.Event(), threading.Event()

    class Slow(MemoryDNS):
        async def create_record(self, zone, wanted):
            begun.set()
            await asyncio.to_thread(self.late, zone, wanted)

        def late(self, zone, wanted):
            assert go_on.wait(30)
            asyncio.run(super().create_record(zone, wanted))

    provider = Slow(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
    solver = bench.solver(provider, no_waiting())

    async def client():
        try:
            await solver.present(both())
        finally:
            await solver.clean(both())

    async def run():
        task = asyncio.create_task(client())
        await begun.wait()
        task.cancel()
        await asyncio.wait([task], timeout=0.1)  # it must not end before the write has
        is_early = task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_early
        return await provider.list_records(Zone("home.test", "home.test"))

    assert asyncio.run(run()) == []
    assert (bench.entries(), bench.runs()) == ([], [])


def test_where_nobody_can_be_asked_a_fixed_time_is_waited_and_said(bench, tmp_path):
    provider = MemoryDNS(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
    solver = bench.solver(provider, no_waiting(), fixed_wait_seconds=45.0)
    asyncio.run(solver.present(both()))
    assert bench.slept[-1] == 45.0
    assert any("cannot be checked" in text and text.endswith("waiting 45 s instead") for text in bench.said)
    asyncio.run(solver.clean(both()))


def test_a_private_zone_is_asked_at_the_providers_own_server(bench, bind):
    """The world does not know it: no public resolver is asked, and nothing is waited blindly."""
    lookup = Lookup(LookupConfig(resolvers=("127.0.0.1:1",), doh_urls=(), timeout_seconds=0.5))
    solver = bench.solver(bench.provider(private=True), lookup)
    asyncio.run(solver.present(both()))
    assert bench.slept == []
    assert bench.said == ["rfc2136: waiting until every server of home.test has the challenge, at most 20 s"]
    asyncio.run(solver.clean(both()))


def test_a_zone_that_the_world_does_not_have_is_asked_at_the_providers_own_server(bench, bind):
    """It is not said to be private, and is."""
    lookup = Lookup(LookupConfig(resolvers=(bind.server,), doh_urls=(), timeout_seconds=0.5))
    config = {"zones": "home.test", "private": False}
    solver = bench.solver(bench.provider(**config), lookup)
    asyncio.run(solver.present(both()))
    asyncio.run(solver.clean(both()))
    assert shown(bind, "_acme-challenge.home.test") == []


NS = {"ns1.pair.test": ONE, "ns2.pair.test": TWO}


@pytest.fixture
def pair(tmp_path):
    """A zone with two servers, of which only the first takes updates and tells the second nothing."""
    key = TsigKey()
    updates = f'update-policy {{ grant "{key.name}" zonesub ANY; }};'
    glue = ["pair NS ns1.pair", f"ns1.pair A {ONE}", "pair NS ns2.pair", f"ns2.pair A {TWO}", "other NS ns1.pair"]
    other = zone_text("other.test", {"ns1.pair.test": ""}, "_acme-challenge CNAME o.pair.test.")
    with dns_world(tmp_path / "world") as world:
        world.run_root(glue)
        world.run_resolver()
        zones = {"pair.test": (zone_text("pair.test", NS), updates), "other.test": other}
        first = world.run(ONE, zones, extra=key.statement())
        world.run(TWO, {"pair.test": zone_text("pair.test", NS)})
        yield world, Bench(tmp_path, f"127.0.0.1:{first.own_port}", key)


def test_one_of_two_servers_does_not_get_the_record(pair):
    """The authority may ask just that one: refused, with what each server says; cleaned."""
    world, bench = pair
    solver = bench.solver(bench.provider(zones="pair.test"), world.lookup(), deadline=30.0)
    wanted = [proof("pair.test", "one")]
    with pytest.raises(UnavailableError) as caught:
        asyncio.run(solver.present(wanted))
    assert "rfc2136: _acme-challenge.pair.test/TXT is not at 1 of 2 servers after 30 s" in caught.value.message
    assert f"ns2.pair.test ({TWO}) has nothing" in caught.value.message
    assert caught.value.context == (f"ns1.pair.test ({ONE}) has one", f"ns2.pair.test ({TWO}) has nothing")
    assert "30 s" in caught.value.hint
    asyncio.run(solver.clean(wanted))
    assert bench.entries() == []


def test_no_resolver_is_asked_for_a_challenge(pair):
    """It would remember that there was nothing, and the authority may ask the same one."""
    world, bench = pair
    world.relays.asked.clear()
    solver = bench.solver(bench.provider(zones="pair.test"), world.lookup(), deadline=0.0)
    order = [proof("pair.test", "one"), proof("deep.below.pair.test", "two"), proof("other.test", "three")]
    with pytest.raises(UnavailableError):
        asyncio.run(solver.present(order))
    asyncio.run(solver.clean(order))
    asked = {name for address, name, _ in world.relays.asked if address == RESOLVER}
    assert asked
    assert not [name for name in asked if name.startswith("_acme-challenge") or name == "o.pair.test"]


def test_a_server_that_is_down_is_told_and_not_waited_for(pair):
    world, bench = pair
    world.stop(TWO)
    solver = bench.solver(bench.provider(zones="pair.test"), world.lookup(timeout_seconds=0.5))
    asyncio.run(solver.present([proof("pair.test", "one")]))
    assert bench.said[1:] == [f"rfc2136: ns2.pair.test ({TWO}) does not answer"]
    assert bench.slept == []
    asyncio.run(solver.clean([proof("pair.test", "one")]))


def test_what_is_kept_by_hand_is_said_waited_for_and_said_again(bench, bind):
    """The lines of all values at once; a person enters them meanwhile, and is told to remove them."""
    writer, zone = bench.provider(), Zone("home.test", "home.test")
    provider = ManualDNS(context_of(bench.folder), ManualConfig(zones=("home.test",), resolvers=(bind.server,)))
    solver = bench.solver(provider)
    wait = bench.sleep

    async def enter(seconds):
        await wait(seconds)
        for value in ("one", "two"):
            await writer.add_txt(zone, "_acme-challenge.wild.home.test", value, 60)

    solver = bench.solver(provider, waiting=Waiting(600.0, enter, lambda: bench.now))
    wanted = [proof("wild.home.test", "one"), proof("wild.home.test", "two")]
    asyncio.run(solver.present(wanted))
    assert bench.said[0].startswith("enter in the zone home.test, beside what is there:\n")
    assert bench.said[0].count("_acme-challenge.wild.home.test. 300 IN TXT") == 2  # not where the wildcard leads
    asyncio.run(solver.clean(wanted))
    assert bench.said[1].endswith("at most 600 s")
    assert [text.splitlines()[0] for text in bench.said[2:]] == ["remove from the zone home.test:"] * 2
    assert len(bench.entries()) == 2
    for value in ("one", "two"):
        asyncio.run(writer.remove_txt(zone, "_acme-challenge.wild.home.test", value))
    asyncio.run(bench.solver(provider).clean_leftovers())
    assert bench.entries() == []


def test_where_the_state_cannot_be_written_at_the_end_all_is_taken_away_and_that_said(bench, bind, tmp_path):
    """A full disk, as it were."""
    solver = bench.solver()
    asyncio.run(solver.present(both()))
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").mkdir()
    bench.state_file.mkdir()
    with pytest.raises(ProviderError, match=r"rfc2136: challenge values could not be taken away: .*challenges\.json"):
        asyncio.run(solver.clean(both()))
    assert shown(bind, "_acme-challenge.home.test") == []


def test_what_is_no_challenge_of_dns_is_refused(bench):
    with pytest.raises(RejectedError, match="dns-01: home.test is to be shown by http-01"):
        asyncio.run(bench.solver().present([Challenge("http-01", "home.test", "/x", "y")]))
    with pytest.raises(RejectedError, match="is not a DNS name"):
        asyncio.run(bench.solver().present([proof("home.test", "y", place="_acme challenge.home.test")]))


def test_a_provider_without_text_records_is_refused(bench, tmp_path):
    class NoTexts(MemoryDNS):
        capabilities = replace(MemoryDNS.capabilities, types=frozenset({"A", "AAAA"}))

    provider = NoTexts(context_of(tmp_path), MemoryConfig(zones=("home.test",)))
    with pytest.raises(UnsupportedError, match="memory: holds no TXT records") as caught:
        asyncio.run(bench.solver(provider).present(both()))
    assert "http-01" in caught.value.hint
    asyncio.run(bench.solver(provider).present([]))
