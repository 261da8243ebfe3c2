"""The contract of a DNS provider as tests: a test class inherits it and says where an empty zone is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import pytest

from autogit.errors import MissingError, RejectedError, StalePlanError
from autogit.model.dns import RecordSet, Zone, record_set
from autogit.providers.dns.base import DNSProvider

T = TypeVar("T")
Provider = DNSProvider[Any]

_LONG = "v=DKIM1; k=rsa; p=" + "0123456789abcdef" * 40
_ODD = 'say "hi"; a\\b = 100% of $HOME'
SETS: dict[str, tuple[str, str, Sequence[str]]] = {
    "one address": ("git", "A", ["192.0.2.1"]),
    "several addresses": ("many", "A", ["192.0.2.1", "192.0.2.2", "192.0.2.30"]),
    "an IPv6 address": ("six", "AAAA", ["2001:db8::1"]),
    "the apex": ("", "A", ["192.0.2.9"]),
    "a wildcard": ("*", "A", ["192.0.2.1"]),
    "a wildcard further down": ("*.apps", "AAAA", ["2001:db8::2"]),
    "an alias": ("docs", "CNAME", ["pages.example.net"]),
    "text": ("note", "TXT", ["heritage=autogit,owner=1"]),
    "two texts": ("two", "TXT", ["first", "second"]),
    "a text of more than 255 bytes": ("long", "TXT", [_LONG]),
    "a text of odd signs": ("odd", "TXT", [_ODD]),
    "a name with an underscore": ("_acme-challenge.git", "TXT", ["x-_9"]),
    "a name beyond ASCII": ("büro", "A", ["192.0.2.4"]),
    "an authority": ("caa", "CAA", ['0 issue "letsencrypt.org"', '0 issuewild ";"']),
}
"""What every provider holds whose capabilities name the type: name below the zone, type, values."""


class DNSProviderContract:
    """What AutoGit relies on.

    A subclass has two pytest fixtures: `provider`, and `zone`, a public zone of it without records but those at its
    apex that every zone has. `many` is how many sets make more than three pages.
    """

    many: ClassVar[int] = 20
    ttl: ClassVar[int] = 300
    other_ttl: ClassVar[int] = 600

    @pytest.fixture(params=sorted(SETS))
    def wanted(self, request: pytest.FixtureRequest, provider: Provider, zone: Zone) -> RecordSet:
        """Each of SETS in turn."""
        name, kind, values = SETS[request.param]
        if kind not in provider.capabilities.types:
            pytest.skip(f"{provider.provider_name} holds no {kind}")
        return self.made(zone, name, kind, values)

    def test_the_zone_of_a_name_is_found(self, provider: Provider, zone: Zone) -> None:
        """By its longest suffix."""
        assert self.run(provider.find_zone(f"a.b.{zone.name}")) == zone
        assert self.run(provider.find_zone(zone.name)) == zone

    def test_a_name_of_no_zone_is_said(self, provider: Provider) -> None:
        """With what the credentials do show."""
        with pytest.raises(MissingError, match=r"no zone for git\.elsewhere\.test"):
            self.run(provider.find_zone("git.elsewhere.test"))

    def test_what_was_created_reads_back(self, provider: Provider, zone: Zone, wanted: RecordSet) -> None:
        """Value for value, in normal form; and creating it once more is harmless."""
        self.run(provider.create_record(zone, wanted))
        assert self.look(provider, zone, wanted).same_data(wanted)
        self.run(provider.create_record(zone, wanted))
        assert self.look(provider, zone, wanted).same_data(wanted)
        assert [r.key for r in self.listed(provider, zone)].count(wanted.key) == 1

    def test_what_is_there_is_not_created_over(self, provider: Provider, zone: Zone) -> None:
        """A set of others' values stays as it is."""
        first = self.made(zone, "git", "A", ["192.0.2.1"])
        self.run(provider.create_record(zone, first))
        with pytest.raises(StalePlanError):
            self.run(provider.create_record(zone, self.made(zone, "git", "A", ["192.0.2.2"])))
        assert self.look(provider, zone, first).same_data(first)

    def test_a_set_is_changed_as_a_whole(self, provider: Provider, zone: Zone) -> None:
        """Values that are not wished for any more are gone; once more is harmless."""
        old = self.made(zone, "git", "A", ["192.0.2.1", "192.0.2.2"])
        self.run(provider.create_record(zone, old))
        new = self.made(zone, "git", "A", ["192.0.2.2", "192.0.2.3"])
        for _ in range(2):
            self.run(provider.update_record(zone, self.look(provider, zone, old), new))
            assert self.look(provider, zone, old).same_data(new)

    def test_the_ttl_is_changed(self, provider: Provider, zone: Zone) -> None:
        """Where sets have one of their own."""
        if provider.capabilities.one_ttl:
            pytest.skip("it has one TTL")
        old = self.made(zone, "git", "A", ["192.0.2.1"])
        self.run(provider.create_record(zone, old))
        new = replace(old, ttl=self.other_ttl)
        self.run(provider.update_record(zone, self.look(provider, zone, old), new))
        assert self.look(provider, zone, old).ttl == self.other_ttl

    def test_a_set_that_others_changed_meanwhile_is_not_changed(self, provider: Provider, zone: Zone) -> None:
        """Neither updated nor deleted."""
        old = self.made(zone, "git", "A", ["192.0.2.1"])
        others = self.made(zone, "git", "A", ["192.0.2.77"])
        self.run(provider.create_record(zone, old))
        read = self.look(provider, zone, old)
        self.run(provider.update_record(zone, read, others))
        with pytest.raises(StalePlanError, match=r"192\.0\.2\.77"):
            self.run(provider.update_record(zone, read, self.made(zone, "git", "A", ["192.0.2.2"])))
        with pytest.raises(StalePlanError, match=r"192\.0\.2\.77"):
            self.run(provider.delete_record(zone, read))
        assert self.look(provider, zone, old).same_data(others)

    def test_a_set_that_is_gone_is_not_changed(self, provider: Provider, zone: Zone) -> None:
        """Somebody deleted it: the plan was made of another world."""
        old = self.made(zone, "git", "A", ["192.0.2.1"])
        with pytest.raises(StalePlanError, match="gone"):
            self.run(provider.update_record(zone, old, self.made(zone, "git", "A", ["192.0.2.2"])))
        assert self.run(provider.find_record(zone, old.key)) is None

    def test_what_is_deleted_is_gone_and_the_rest_stays(
        self, provider: Provider, zone: Zone, wanted: RecordSet
    ) -> None:
        """Deleting it once more is harmless."""
        rest = self.made(zone, "rest", "A", ["192.0.2.5"])
        before = self.listed(provider, zone)
        self.run(provider.create_record(zone, rest))
        self.run(provider.create_record(zone, wanted))
        read = self.look(provider, zone, wanted)
        for _ in range(2):
            self.run(provider.delete_record(zone, read))
            assert self.run(provider.find_record(zone, wanted.key)) is None
        assert self.look(provider, zone, rest).same_data(rest)
        assert len(self.listed(provider, zone)) == len(before) + 1

    def test_an_alias_does_not_stand_beside_other_data(self, provider: Provider, zone: Zone) -> None:
        """Refused in words, whichever comes second; nothing is lost."""
        if "CNAME" not in provider.capabilities.types:
            pytest.skip(f"{provider.provider_name} holds no CNAME")
        address = self.made(zone, "git", "A", ["192.0.2.1"])
        alias = self.made(zone, "docs", "CNAME", ["pages.example.net"])
        self.run(provider.create_record(zone, address))
        self.run(provider.create_record(zone, alias))
        with pytest.raises(RejectedError, match="CNAME"):
            self.run(provider.create_record(zone, self.made(zone, "git", "CNAME", ["pages.example.net"])))
        with pytest.raises(RejectedError, match="CNAME"):
            self.run(provider.create_record(zone, self.made(zone, "docs", "A", ["192.0.2.1"])))
        assert self.look(provider, zone, address).same_data(address)
        assert self.look(provider, zone, alias).same_data(alias)

    def test_a_long_zone_is_listed_to_its_end(self, provider: Provider, zone: Zone) -> None:
        """All pages; and one set of it is found without the others."""
        made = [self.made(zone, f"n{number:03}", "A", ["192.0.2.1"]) for number in range(self.many)]
        for one in made:
            self.run(provider.create_record(zone, one))
        assert {one.key for one in made} <= {one.key for one in self.listed(provider, zone)}
        found = self.run(provider.list_records(zone, [made[-1].key]))
        assert [one.key for one in found] == [made[-1].key]

    def test_a_challenge_comes_and_goes_beside_others(self, provider: Provider, zone: Zone) -> None:
        """Each value by itself (RFC 8555: two authorizations may share a name)."""
        if "TXT" not in provider.capabilities.types:
            pytest.skip(f"{provider.provider_name} holds no TXT")
        name = f"_acme-challenge.{zone.name}"
        for value in ("one", "two", "two"):
            self.run(provider.add_txt(zone, name, value, self.ttl))
        assert self.look(provider, zone, record_set(name, "TXT", 0, [])).values == ("one", "two")
        for _ in range(2):
            self.run(provider.remove_txt(zone, name, "one"))
            assert self.look(provider, zone, record_set(name, "TXT", 0, [])).values == ("two",)
        self.run(provider.remove_txt(zone, name, "two"))
        assert self.run(provider.find_record(zone, record_set(name, "TXT", 0, []).key)) is None

    def test_a_wildcard_is_ensured(self, provider: Provider, zone: Zone) -> None:
        """Made, left alone, moved."""
        for target in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            self.run(provider.ensure_wildcard(zone.name, target, self.ttl))
            assert self.look(provider, zone, self.made(zone, "*", "A", [])).values == (target,)

    def test_it_is_well_and_says_what_it_sees(self, provider: Provider) -> None:
        """Credentials, rights and reach."""
        assert self.run(provider.health()).ok

    def made(self, zone: Zone, name: str, kind: str, values: Sequence[str]) -> RecordSet:
        """Return a set of the zone."""
        return record_set(f"{name}.{zone.name}" if name else zone.name, kind, self.ttl, values)

    def look(self, provider: Provider, zone: Zone, like: RecordSet) -> RecordSet:
        """Return the set of that key as it is there."""
        found = self.run(provider.find_record(zone, like.key))
        assert found is not None, f"{like.key} is not there"
        return found

    def listed(self, provider: Provider, zone: Zone) -> Sequence[RecordSet]:
        """Return all sets of the zone."""
        return self.run(provider.list_records(zone))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out in a loop of its own."""
        return asyncio.run(work)
