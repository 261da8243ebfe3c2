"""Many rounds of planning and applying: what others made stays as it is, and no end of a process loses anything."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from random import Random

import pytest

from autogit.model.dns import RecordKey, Zone, record_set
from autogit.model.plan import Action
from autogit.providers.dns.memory import MemoryConfig, MemoryDNS
from autogit.providers.dns.ownership import mark_key
from autogit.providers.dns.rfc2136 import Rfc2136Config, Rfc2136DNS
from tests.providers.dns.bind import TsigKey, bind_server
from tests.providers.dns.installation import Installation, context_of

SEED = 20261127
ZONE = Zone("home.test", "home.test")
NAMES = ("*.home.test", "home.test", "git.home.test", "ssh.home.test", "sip.home.test", "a.b.home.test")
VALUES = {
    "A": ["192.0.2.1", "192.0.2.2", "198.51.100.7"],
    "AAAA": ["2001:db8::1", "2001:db8::2"],
    "TXT": ["one", "two", 'three "quoted"', "x" * 300],
    "CAA": ['0 issue "letsencrypt.org"', '0 issue ";"'],
}


class RegistryDNS(MemoryDNS):
    """Keeps no notes: marks are TXT records."""

    capabilities = replace(MemoryDNS.capabilities, marks=False)


@pytest.fixture(scope="module")
def bind(tmp_path_factory):
    """One BIND with a zone for each test."""
    zones = {f"z{number}.test": [] for number in range(8)}
    with bind_server(tmp_path_factory.mktemp("rounds") / "bind", zones, key=TsigKey()) as server:
        yield server


@pytest.fixture
def make(request, tmp_path):
    """Return what makes a provider of an empty zone home.test, by the name of a kind."""

    def made(kind):
        context = context_of(tmp_path)
        if kind == "bind":
            server = request.getfixturevalue("bind")
            key = server.key
            config = Rfc2136Config(
                server=server.server, zones="z0.test", key_name=key.name, key_secret=key.secret, private=True
            )
            return Rfc2136DNS(context, config)
        cls = {"notes": MemoryDNS, "registry": RegistryDNS}[kind]
        return cls(context, MemoryConfig(zones=("home.test",)))

    return made


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """A provider whose process is killed at its n-th call, before it is sent or after it was carried out."""

    def __init__(self, provider, at, *, after):
        self._provider, self._left, self._after = provider, at, after

    def __getattr__(self, name):
        found = getattr(self._provider, name)
        if name not in {"list_zones", "list_records", "create_record", "update_record", "delete_record"}:
            if name in {"add_txt", "remove_txt", "find_record"}:  # made of the primitives: those of this object
                return getattr(type(self._provider), name).__get__(self)
            return found

        async def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            done = await found(*args, **kwargs)
            if self._left == 0:
                raise Killed
            return done

        return call


def clean(provider):
    for one in there(provider).values():
        asyncio.run(provider.delete_record(zone_of(provider), one))


def zone_of(provider):
    return asyncio.run(provider.list_zones())[0]


def there(provider):
    """Everything in the zone but what every zone has at its apex."""
    zone = zone_of(provider)
    apex = {RecordKey(zone.name, "SOA"), RecordKey(zone.name, "NS"), RecordKey(f"ns.{zone.name}", "A")}
    return {one.key: one for one in asyncio.run(provider.list_records(zone)) if one.key not in apex}


def moved(one, zone):
    """A set of home.test in a zone of another name."""
    return replace(one, key=RecordKey(one.key.name.replace("home.test", zone.name), one.key.type))


FIRST = [
    record_set("*.home.test", "A", 300, ["192.0.2.1"]),
    record_set("home.test", "A", 300, ["192.0.2.1"]),
    record_set("home.test", "CAA", 300, ['0 issue "letsencrypt.org"']),
]
SECOND = [record_set("*.home.test", "A", 300, ["192.0.2.2"]), record_set("ssh.home.test", "A", 300, ["192.0.2.2"])]
FOREIGN = record_set("mail.home.test", "A", 300, ["203.0.113.5"])


def expected(provider, zone, sets):
    keys = {moved(one, zone).key for one in sets}
    if not provider.capabilities.marks:
        keys |= {mark_key(key, zone) for key in keys}
    return keys | {moved(FOREIGN, zone).key}


@pytest.mark.parametrize("kind", ["notes", "registry", pytest.param("bind", marks=pytest.mark.integration)])
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize(
    ("start", "wish", "then"),
    [([], FIRST, FIRST), (FIRST, SECOND, SECOND), (FIRST, [], []), ([], FIRST, []), (FIRST, SECOND, FIRST)],
    ids=["create", "change", "delete", "create, then none is wished for", "change, then back"],
)
def test_killed_between_any_two_calls_the_next_run_converges(tmp_path, make, kind, after, start, wish, then):
    """Every call in turn: nothing is left that nobody wishes for, no mark without its record, others' data stays."""
    provider = make(kind)
    zone = zone_of(provider)
    deaths = 0
    for at in range(1, 200):
        clean(provider)
        asyncio.run(provider.create_record(zone, moved(FOREIGN, zone)))
        folder = tmp_path / f"{at}"
        folder.mkdir()
        Installation(folder, provider).up([moved(one, zone) for one in start])
        with contextlib.suppress(Killed, BaseExceptionGroup):
            Installation(folder, Dying(provider, at, after=after)).up([moved(one, zone) for one in wish])
            break
        deaths += 1
        again = Installation(folder, provider)
        result = again.up([moved(one, zone) for one in then])
        assert not result.failed, [str(outcome.error) for outcome in result.failed]
        assert set(there(provider)) == expected(provider, zone, then), at
        assert not again.plan([moved(one, zone) for one in then]).pending
    assert deaths >= 4


class Others:
    """Everybody else who writes into the zone, and what they have there."""

    def __init__(self, random, provider, zone):
        self.random, self.provider, self.zone = random, provider, zone
        self.sets = {}

    def act(self):
        now = there(self.provider)
        name = self.random.choice(["add", "add", "change", "remove", "tamper", "take"])
        getattr(self, f"_{name}")(now)

    def _add(self, now):
        wanted = some_set(self.random, self.zone)
        if wanted.key not in now:
            self._write(self.provider.create_record(self.zone, wanted), wanted)

    def _change(self, now):
        if self.sets:
            key = self.random.choice(sorted(self.sets))
            wanted = replace(some_set(self.random, self.zone, key.type), key=key)
            self._write(self.provider.update_record(self.zone, now[key], replace(wanted, mark=now[key].mark)), wanted)

    def _remove(self, now):
        if self.sets:
            key = self.random.choice(sorted(self.sets))
            asyncio.run(self.provider.delete_record(self.zone, now[key]))
            del self.sets[key]

    def _tamper(self, now):
        """Change a record of ours, whose mark stays; a text is shared, and another matter."""
        ours = [key for key in self._ours(now) if key not in self.sets and key.type != "TXT"]
        if ours:
            key = self.random.choice(ours)
            wanted = replace(some_set(self.random, self.zone, key.type), key=key, mark=now[key].mark)
            asyncio.run(self.provider.update_record(self.zone, now[key], wanted))

    def _take(self, now):
        """Put a record of theirs in the place of one of ours, whose mark goes."""
        ours = [key for key in self._ours(now) if key not in self.sets]
        if ours:
            key = self.random.choice(ours)
            asyncio.run(self.provider.delete_record(self.zone, now[key]))
            if mark := now.get(mark_key(key, self.zone)):
                asyncio.run(self.provider.delete_record(self.zone, mark))
            wanted = replace(record_set(key.name, key.type, 120, VALUES[key.type][:1]), mark="")
            self._write(self.provider.create_record(self.zone, wanted), wanted)

    def _ours(self, now):
        return [key for key in sorted(now) if not key.name.startswith("_autogit-")]

    def _write(self, work, wanted):
        asyncio.run(work)
        self.sets[wanted.key] = wanted


def some_set(random, zone, kind=None):
    kind = kind or random.choice(sorted(VALUES))
    values = random.sample(VALUES[kind], random.randint(1, len(VALUES[kind])))
    return moved(record_set(random.choice(NAMES), kind, random.choice([60, 300]), values), zone)


def rounds(make, tmp_path, kind, count):
    provider = make(kind)
    clean(provider)
    zone, random = zone_of(provider), Random(SEED)
    home, others = Installation(tmp_path, provider), Others(random, provider, zone)
    figures = dict.fromkeys(("applied", "conflicts", "foreign"), 0)
    for number in range(count):
        for _ in range(random.randint(0, 2)):
            others.act()
        wish = {one.key: one for one in (some_set(random, zone) for _ in range(random.randint(0, 6)))}
        plan = home.plan(wish.values())
        deleted = {c.address.name for c in plan.pending if c.action is Action.DELETE and c.before.payload}
        theirs = {str(key) for key in others.sets}
        assert not [c for c in plan.pending if c.address.name in theirs and c.action is not Action.DELETE], number
        result = home.up(wish.values())
        assert not result.failed, (number, [str(o.error) for o in result.failed])
        now = there(provider)
        for key, one in others.sets.items():
            assert now[key].same_data(one), (number, key, deleted)
        for key, one in wish.items():
            assert key in others.sets or now[key].same_data(one), (number, key)
        marks = {key for key in now if key.name.startswith("_autogit-")}
        ours = wish.keys() - others.sets.keys()
        assert now.keys() - marks == ours | others.sets.keys(), number
        assert not marks - {mark_key(key, zone) for key in ours}, number
        assert not home.plan(wish.values()).pending, number
        figures["applied"] += len(result.outcomes)
        figures["conflicts"] += len(plan.held)
        figures["foreign"] += len(others.sets)
    return figures


@pytest.mark.parametrize(
    ("kind", "count"),
    [("notes", 100), ("registry", 100), pytest.param("bind", 24, marks=pytest.mark.integration)],
)
def test_what_others_made_is_untouched_after_many_random_rounds(make, tmp_path, kind, count):
    figures = rounds(make, tmp_path, kind, count)
    assert figures["conflicts"] > count / 10
    assert figures["foreign"] > count


@pytest.mark.integration
def test_a_mark_hides_no_name_from_the_wildcard(make, tmp_path, bind):
    provider = make("bind")
    clean(provider)
    Installation(tmp_path, provider).up([moved(one, zone_of(provider)) for one in FIRST])
    for label in ("a", "caa", "txt", "_autogit", "git"):
        assert bind.values(f"{label}.z0.test", "A") == ["192.0.2.1"], label


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["notes", "registry", pytest.param("bind", marks=pytest.mark.integration)])
def test_a_thousand_rounds(make, tmp_path, capsys, kind):
    figures = rounds(make, tmp_path, kind, 1000)
    with capsys.disabled():
        print(f"\n1000 rounds, {kind}, seed {SEED}: {figures}")
    assert figures["foreign"] > 1000
