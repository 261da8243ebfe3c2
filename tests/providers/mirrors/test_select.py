"""Which repositories a rule wants, which names may become paths, and how sources are found by name."""

from __future__ import annotations

import pytest

from autogit.errors import UnsupportedError
from autogit.model.mirror import MirrorRule, SourceKind, SourceRepository
from autogit.providers.mirrors.base import is_wanted, select
from autogit.providers.mirrors.names import branch_name, path_fault, plain, shown
from autogit.providers.registry import provider_names


def rule(**more):
    return MirrorRule(**{"name": "m", "kind": "github", "owner": "acme"} | more)


def one(path, number=1, **more):
    more = {"visibility": "public"} | more
    return SourceRepository(f"github:{number}", path, f"https://github.com/acme/{path}.git", **more)


@pytest.mark.parametrize(
    ("globs", "path", "is_in"),
    [
        ({}, "app", True),
        ({}, "deep/down/app", True),
        ({"include": ["app*"]}, "app-2", True),
        ({"include": ["app*"]}, "App", False),
        ({"include": ["acme/app"]}, "app", True),
        ({"include": ["other/app"]}, "app", False),
        ({"include": []}, "app", False),
        ({"exclude": ["*.github.io"]}, "me.github.io", False),
        ({"exclude": ["acme/old-*"]}, "old-1", False),
        ({"include": ["team/*"], "exclude": ["team/x*"]}, "team/y", True),
        ({"include": ["team/*"], "exclude": ["team/x*"]}, "team/x1", False),
        ({"include": ["[ab]*"]}, "beta", True),
    ],
)
def test_globs_are_over_the_path_and_the_owners(globs, path, is_in):
    assert is_wanted(rule(**globs), one(path)) is is_in


@pytest.mark.parametrize(
    ("switches", "facts", "is_in"),
    [
        ({}, {"fork": True}, False),
        ({"forks": True}, {"fork": True}, True),
        ({}, {"archived": True}, True),
        ({"archived": False}, {"archived": True}, False),
        ({}, {"visibility": "private"}, True),
        ({"private": False}, {"visibility": "private"}, False),
        ({"private": False}, {"visibility": "internal"}, False),
        ({"private": False}, {"visibility": "public"}, True),
    ],
)
def test_switches(switches, facts, is_in):
    assert is_wanted(rule(**switches), one("app", **facts)) is is_in


@pytest.mark.parametrize(
    "path",
    [
        "..",
        ".",
        "",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        "-upload-pack=x",
        "a/-b",
        "a\nb",
        "a\x1b[2J",
        "a b",
        "a\x00",
        ".git",
        "a/.GIT",
        "ä",
        "a\\b",
        "a:b",
        "x" * 201,
        "a/" * 600 + "a",
        "ext::sh",
        "$(id)",
        "a;b",
        "a\u202eb",
    ],
)
def test_a_hostile_name_is_left_out_with_a_note_that_is_safe_to_show(path):
    found, notes = select(rule(), [one(path), one("good", 2)])
    assert [kept.path for kept in found] == ["good"]
    assert len(notes) == 1
    assert notes[0].isprintable()
    assert notes[0].isascii()


@pytest.mark.parametrize("path", ["app", ".github", "a.b-c_d", "group/sub/app", "c++", "_x", "1", "a.git.io"])
def test_usual_names_are_taken(path):
    assert path_fault(path) == ""


def test_of_names_that_differ_by_case_only_the_first_stays():
    found, notes = select(rule(), [one("App", 1), one("app", 2), one("APP", 3)])
    assert [kept.identity for kept in found] == ["github:1"]
    assert len(notes) == 2
    assert "by case only" in notes[0]


def test_one_that_pages_show_twice_is_there_once():
    found, notes = select(rule(), [one("a", 1), one("b", 2), one("a", 1)])
    assert [kept.path for kept in found] == ["a", "b"]
    assert notes == ()


def test_texts_lose_what_steers_a_terminal():
    assert plain("a\x1b[31mred\r\nb\u202e") == "a [31mred b"
    assert plain(None) == ""
    assert len(plain("x" * 5000)) == 2000
    assert shown("a\n\x07") == r"a\n\x07"


@pytest.mark.parametrize("name", ["main", "feature/x", "ünïcode", "v1.0"])
def test_branches(name):
    assert branch_name(name) == name


@pytest.mark.parametrize("name", ["-d", "a b", "a..b", "a\nb", "x:y", "a~1", "@{-1}", 7, None])
def test_what_is_no_branch_is_none(name):
    assert branch_name(name) == ""


def test_each_kind_has_its_file(load):
    assert set(provider_names("mirrors")) == set(SourceKind)
    for kind in SourceKind:
        source = load(kind)
        assert source.provider_name == kind
        assert source.scopes_hint(rule(kind=kind, server="https://x.test"))
    with pytest.raises(UnsupportedError):
        load("base")
