"""Marks: what AutoGit writes beside its records, and what it reads of others."""

from __future__ import annotations

import pytest

from autogit.model.dns import RecordKey, Zone, normal_name
from autogit.providers.dns.ownership import Mark, keys_asked, mark_key, mark_text, parse_mark, whose

ZONE = Zone("1", "example.org")


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("heritage=autogit,owner=home-1,v=1", Mark("autogit", "home-1")),
        ('"heritage=external-dns,external-dns/owner=k8s,external-dns/resource=ingress/x"', Mark("external-dns", "k8s")),
        ("heritage=other", Mark("other", "")),
        ("v=spf1 -all", None),
        ("my own note", None),
        ("", None),
    ],
)
def test_a_mark_is_told_from_any_other_text(text, mark):
    assert parse_mark(text) == mark


def test_what_is_written_reads_back_as_ours():
    assert parse_mark(mark_text("home-1")) == Mark("autogit", "home-1")
    assert whose([Mark("autogit", "home-1")], "home-1") == ""
    assert whose([Mark("autogit", "home-2")], "home-1") == "autogit of home-2 made it"
    assert whose([], "home-1") == "somebody else made it"
    assert whose([], "home-1", by_hand=True) == ""
    assert whose([Mark("autogit", "home-1"), Mark("octodns", "")], "home-1") == "octodns made it"


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [
        ("git.example.org", "A", "_autogit-a.git.example.org"),
        ("*.example.org", "AAAA", "_autogit-aaaa._wildcard.example.org"),
        ("*.apps.example.org", "A", "_autogit-a._wildcard.apps.example.org"),
        ("example.org", "CAA", "_autogit-caa.example.org"),
    ],
)
def test_a_mark_has_a_place_of_its_own(name, kind, place):
    assert mark_key(RecordKey(name, kind), ZONE) == RecordKey(place, "TXT")


def test_a_long_name_has_its_mark_where_dns_still_has_names():
    long = ".".join(["a" * 60] * 3 + ["b" * 54, "example.org"])
    other = ".".join(["a" * 60] * 3 + ["c" * 54, "example.org"])
    places = [mark_key(RecordKey(normal_name(name), "A"), ZONE).name for name in (long, other)]
    assert all(normal_name(place) == place for place in places)
    assert places[0] != places[1]


def test_nothing_outside_the_zone_is_asked_for():
    asked = keys_asked([RecordKey("example.org", "A"), RecordKey("*.example.org", "A")], ZONE, marks=False)
    assert all(ZONE.holds(key.name) for key in asked)
    assert RecordKey("_autogit-a.example.org", "TXT") in asked
    assert RecordKey("example.org", "CNAME") in asked
