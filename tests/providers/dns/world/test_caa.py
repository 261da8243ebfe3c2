"""Who may issue by CAA: the rules as a table, the climb against a real BIND server."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import RejectedError, UsageError
from autogit.providers.dns.world.caa import CaaRequest, caa_allows, judge_caa
from tests.providers.dns.world.named_world import (  # noqa: F401 - a fixture by its name
    NOBODY,
    ONE,
    _sockets_stay_on_loopback,
    dns_world,
    zone_text,
)

OURS = ("letsencrypt.org",)
ACCOUNT = "https://acme.example/acct/1"
OTHER = "https://acme.example/acct/2"
PLAIN = CaaRequest(OURS, account_uri=ACCOUNT)
WILD = CaaRequest(OURS, wildcard=True, account_uri=ACCOUNT)
NEW = CaaRequest(OURS)


@pytest.mark.parametrize(
    ("values", "request_", "allowed"),
    [
        (['0 issue "letsencrypt.org"'], PLAIN, True),
        (['0 issue "LetsEncrypt.ORG"'], PLAIN, True),
        (['0 ISSUE "letsencrypt.org"'], PLAIN, True),
        (['128 issue "letsencrypt.org"'], PLAIN, True),
        (['0 issue "other.example"', '0 issue "letsencrypt.org"'], PLAIN, True),
        (['0 issue "other.example"'], PLAIN, False),
        (['0 issue "sub.letsencrypt.org"'], PLAIN, False),
        (['0 issue ";"'], PLAIN, False),
        (['0 issue ""'], PLAIN, False),
        (['0 iodef "mailto:me@example.test"'], PLAIN, True),
        (['0 issuewild "other.example"'], PLAIN, True),  # says nothing about names that are no wildcards
        (['0 issuewild ";"'], WILD, False),
        (['0 issue "letsencrypt.org"'], WILD, True),
        (['0 issue ";"'], WILD, False),
        (['0 issue ";"', '0 issuewild "letsencrypt.org"'], WILD, True),
        (['0 issue ";"', '0 issuewild "letsencrypt.org"'], PLAIN, False),
        (['0 issue "letsencrypt.org"', '0 issuewild "other.example"'], WILD, False),
        (['128 tbs "unknown"', '0 issue "letsencrypt.org"'], PLAIN, False),
        (['0 tbs "unknown"', '0 issue "letsencrypt.org"'], PLAIN, True),
        (['0 issue "letsencrypt.org; validationmethods=dns-01"'], PLAIN, True),
        (['0 issue "letsencrypt.org; validationmethods=http-01,dns-01"'], PLAIN, True),
        (['0 issue "letsencrypt.org; validationmethods=http-01"'], PLAIN, False),
        (['0 issue "letsencrypt.org; validationmethods=dns-01; validationmethods=dns-01"'], PLAIN, False),
        ([f'0 issue "letsencrypt.org; accounturi={ACCOUNT}"'], PLAIN, True),
        ([f'0 issue "letsencrypt.org ;accounturi = {ACCOUNT}; validationmethods=dns-01"'], PLAIN, True),
        ([f'0 issue "letsencrypt.org; accounturi={OTHER}"'], PLAIN, False),
        ([f'0 issue "letsencrypt.org; accounturi={ACCOUNT}; accounturi={ACCOUNT}"'], PLAIN, False),
        ([f'0 issue "letsencrypt.org; accounturi={OTHER}"'], NEW, None),
        ([f'0 issue "letsencrypt.org; accounturi={OTHER}"', '0 issue "letsencrypt.org"'], NEW, True),
        (['0 issue "letsencrypt.org; cansignhttpexchanges=yes"'], PLAIN, True),
        (['0 issue "letsencrypt.org; "'], PLAIN, True),
        (['0 issue "letsencrypt.org; what is this"'], PLAIN, False),
        (['0 issue "letsencrypt.org; a=b;"'], PLAIN, False),
        (['0 issue "lets encrypt.org"'], PLAIN, False),
    ],
)
def test_the_rules_of_rfc_8659_and_8657(values, request_, allowed):
    verdict = judge_caa(values, request_, "example.test")
    assert verdict.allowed is allowed, verdict.sentence
    assert verdict.sentence.startswith("CAA at example.test")
    assert verdict.at_name == "example.test"


@pytest.mark.parametrize(
    ("value", "request_", "words"),
    [
        ('0 issue "other.example"', PLAIN, "issue lets other.example issue, not letsencrypt.org"),
        ('0 issue ";"', PLAIN, "issue lets nobody issue, not letsencrypt.org"),
        ('0 issuewild ";"', WILD, "issuewild lets nobody issue, not letsencrypt.org"),
        ('128 tbs "x"', PLAIN, "tbs is critical and unknown, which forbids every CA"),
        ('0 issue "letsencrypt.org; validationmethods=http-01"', PLAIN, "but not by dns-01"),
        (f'0 issue "letsencrypt.org; accounturi={OTHER}"', PLAIN, f"lets another ACME account issue, not {ACCOUNT}"),
        (f'0 issue "letsencrypt.org; accounturi={OTHER}"', NEW, "which one is used is not known yet"),
        ('0 issue "letsencrypt.org; ?"', PLAIN, 'issue "letsencrypt.org; ?" cannot be read, which allows nobody'),
        ('0 iodef "mailto:me@example.test"', PLAIN, "says nothing about who may issue"),
    ],
)
def test_the_verdict_says_why(value, request_, words):
    assert words in judge_caa([value], request_, "example.test").sentence


def test_a_request_without_a_ca_is_refused():
    with pytest.raises(UsageError, match="CAA names CAs by their domains"):
        CaaRequest(())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with dns_world(tmp_path_factory.mktemp("world")) as made:
        made.run_root(
            [
                *("example NS ns1.example", f"ns1.example A {ONE}", "free NS ns1.example"),
                *("half NS ns1.example", "down NS ns.down", f"ns.down A {NOBODY}"),
            ]
        )
        made.run(
            ONE,
            {
                "example.test": zone_text(
                    "example.test",
                    {"ns1.example.test": ONE},
                    '@ CAA 0 issue "letsencrypt.org"',
                    '@ CAA 0 issuewild ";"',
                    "git A 192.0.2.1",
                    'inner.git CAA 0 issue "other.example"',
                    "docs CNAME there.free.test.",
                    "round CNAME round",
                ),
                "free.test": zone_text("free.test", {"ns1.example.test": ""}, 'there CAA 0 issue ";"'),
            },
        )
        made.run_resolver()
        yield made


@pytest.fixture
def ask(world):
    """A function that asks by CAA whether ours may issue."""

    def asked(name, *, wildcard=False, **config):
        return asyncio.run(caa_allows(world.lookup(**config), name, CaaRequest(OURS, wildcard=wildcard)))

    return asked


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "allowed", "at_name"),
    [
        ("git.example.test", True, "example.test"),
        ("new.git.example.test", True, "example.test"),
        ("*.git.example.test", False, "example.test"),
        ("a.inner.git.example.test", False, "inner.git.example.test"),
        ("docs.example.test", False, "docs.example.test"),  # what an alias leads to counts
        ("git.free.test", True, ""),
        ("git.home.lan", True, ""),
    ],
)
def test_the_first_set_on_the_way_up_decides(ask, name, allowed, at_name):
    found = ask(name)
    assert (found.allowed, found.at_name) == (allowed, at_name), found.sentence


@pytest.mark.integration
def test_without_any_set_every_ca_may_issue(ask):
    assert ask("git.free.test").sentence == "no CAA record from git.free.test upwards: every CA may issue"


@pytest.mark.integration
def test_what_cannot_be_asked_is_not_taken_as_allowed(world, ask):
    found = ask("git.down.test", timeout_seconds=1.0)
    assert (found.allowed, found.at_name) == (None, "git.down.test")
    assert "a CA refuses then" in found.sentence
    nobody = ask("git.example.test", resolvers=())
    assert nobody.allowed is None
    circle = ask("round.example.test")
    assert circle.allowed is None
    assert "go round in a circle" in circle.sentence


@pytest.mark.integration
def test_without_the_zones_servers_public_resolvers_are_asked(world, ask):
    found = ask("git.example.test", reach=lambda _: (NOBODY, world.port), timeout_seconds=1.0)
    assert (found.allowed, found.at_name) == (True, "example.test")


@pytest.mark.integration
def test_a_name_that_is_none_is_refused(ask):
    with pytest.raises(RejectedError):
        ask("not a name")
