"""The budget refuses before an authority does, says until when, and forgets nothing that still counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogit.core.acme_budget import (
    LETSENCRYPT,
    LETSENCRYPT_STAGING,
    check_budget,
    free_at,
    refusal,
    spent,
)
from autogit.errors import CertificateError, RateLimitedError
from autogit.model.acme import AcmeServer
from autogit.model.renewal import Budget, BudgetRequest, Spending, dump_budget, load_budget

NOW = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
PRODUCTION = AcmeServer("letsencrypt", f"https://{LETSENCRYPT}/directory")
STAGING = AcmeServer("letsencrypt-staging", f"https://{LETSENCRYPT_STAGING}/directory")
OTHER = AcmeServer("ca.home.test", "https://ca.home.test:9000/acme/directory")
WILDCARD = BudgetRequest(PRODUCTION, ("home.test", "*.home.test"), ("home.test",))


def one(name, zone="home.test", server=PRODUCTION, **more):
    return BudgetRequest(server, (name,), (zone,), **more)


def used(request, what, times, *, at=NOW, apart=timedelta(0), budget=None):
    budget = budget or Budget()
    for number in range(times):
        budget = spent(budget, request, what, at + number * apart)
    return budget


def issued(requests, at=NOW):
    budget = Budget()
    for request in requests:
        budget = spent(spent(budget, request, "order", at), request, "certificate", at)
    return budget


# --- The limits of Let's Encrypt


def test_nothing_is_refused_at_first():
    assert refusal(Budget(), replace(WILDCARD, new_account=True), NOW) == ""
    assert free_at(Budget(), WILDCARD, NOW) == NOW


def test_five_certificates_for_the_same_names_in_seven_days():
    budget = used(WILDCARD, "certificate", 5, apart=DAY)
    now = NOW + 5 * DAY
    assert refusal(used(WILDCARD, "certificate", 4, apart=DAY), WILDCARD, now) == ""
    assert refusal(budget, WILDCARD, now) == (
        "letsencrypt: the limit of 5 certificates for exactly *.home.test, home.test in 7 days is used up, so nothing "
        "was asked; possible again at 2026-12-04 15:00 UTC, in 2 days"
    )
    assert free_at(budget, WILDCARD, now) == NOW + 7 * DAY
    assert refusal(budget, WILDCARD, NOW + 7 * DAY) == ""


def test_names_are_the_same_in_any_order_and_case():
    budget = used(WILDCARD, "certificate", 5)
    assert "exactly" in refusal(budget, replace(WILDCARD, names=("*.HOME.test", "Home.test")), NOW)
    assert refusal(budget, one("home.test"), NOW) == ""


def test_fifty_certificates_for_a_domain_in_seven_days():
    budget = issued(one(f"s{number}.home.test") for number in range(50))
    assert "50 certificates for the domain home.test in 7 days" in refusal(budget, one("new.home.test"), NOW + DAY)
    assert refusal(budget, one("new.example.org", "example.org"), NOW + DAY) == ""
    both = BudgetRequest(PRODUCTION, ("x.home.test", "x.example.org"), ("example.org", "Home.Test."))
    assert "the domain home.test" in refusal(budget, both, NOW + DAY)


def test_three_hundred_orders_in_three_hours():
    budget = used(one("home.test"), "order", 300, apart=timedelta(seconds=10))
    asked = refusal(budget, one("other.example.org", "example.org"), NOW + HOUR)
    assert "300 orders in 3 h" in asked
    assert "in 2 h" in asked
    assert refusal(budget, one("home.test"), NOW + 3 * HOUR) == ""


def test_five_failed_validations_of_a_name_in_an_hour():
    budget = used(WILDCARD, "failure", 5, apart=MINUTE)
    now = NOW + 5 * MINUTE
    assert "5 failed validations of home.test in 1 h" in refusal(budget, WILDCARD, now)
    assert "home.test" in refusal(budget, one("*.home.test"), now), "a wildcard is validated at the name below it"
    assert refusal(budget, one("git.home.test"), now) == ""
    assert free_at(budget, WILDCARD, now) == NOW + HOUR
    assert refusal(budget, WILDCARD, NOW + HOUR) == ""


def test_a_failure_of_one_name_is_none_of_the_others():
    budget = used(replace(WILDCARD, names=("git.home.test",)), "failure", 5)
    assert refusal(budget, WILDCARD, NOW) == ""


def test_ten_accounts_in_three_hours_matter_to_those_who_need_one():
    budget = used(WILDCARD, "account", 10)
    assert "10 new accounts in 3 h" in refusal(budget, replace(WILDCARD, new_account=True), NOW)
    assert refusal(budget, WILDCARD, NOW) == ""


def test_what_stands_in_the_way_longest_is_said():
    budget = used(WILDCARD, "failure", 5, budget=used(WILDCARD, "certificate", 5))
    assert "exactly" in refusal(budget, WILDCARD, NOW + MINUTE)
    assert free_at(budget, WILDCARD, NOW + MINUTE) == NOW + 7 * DAY


def test_renewals_that_name_their_predecessor_are_exempt():
    renewal = replace(WILDCARD, replaces=True)
    budget = issued([WILDCARD] * 5)
    budget = used(WILDCARD, "failure", 5, budget=used(one("x.home.test"), "order", 300, budget=budget))
    assert refusal(budget, WILDCARD, NOW) != ""
    assert refusal(budget, renewal, NOW) == ""


def test_exempt_renewals_count_for_their_names_and_for_nothing_else():
    renewal = replace(WILDCARD, replaces=True)
    budget = issued([renewal] * 5)
    assert refusal(budget, renewal, NOW) == ""
    assert "exactly" in refusal(budget, WILDCARD, NOW)
    assert refusal(issued([replace(one(f"s{n}.home.test"), replaces=True) for n in range(60)]), WILDCARD, NOW) == ""


def test_a_window_that_always_lies_in_the_past_does_not_renew_for_ever():
    renewal = replace(WILDCARD, replaces=True)
    budget = issued([renewal] * 10)
    assert "10 renewals of exactly *.home.test, home.test in 1 day" in refusal(budget, renewal, NOW + HOUR)
    assert refusal(budget, renewal, NOW + DAY) == ""


def test_staging_has_far_more_and_its_own_counters():
    busy = used(WILDCARD, "failure", 20, budget=issued([WILDCARD] * 60))
    assert refusal(busy, replace(WILDCARD, server=STAGING), NOW) == ""
    staging = replace(WILDCARD, server=STAGING)
    busy = used(staging, "failure", 20, budget=issued([staging] * 60))
    assert refusal(busy, staging, NOW) == ""
    assert refusal(busy, WILDCARD, NOW) == ""
    many = used(staging, "failure", 60)
    assert refusal(many, staging, NOW).startswith("letsencrypt-staging: the limit of 60 failed validations")


def test_of_other_authorities_no_limit_is_known_and_nothing_is_kept():
    request = replace(WILDCARD, server=OTHER)
    budget = used(request, "failure", 100, budget=issued([request] * 400))
    assert budget == Budget()
    assert refusal(budget, request, NOW) == ""


def test_the_brake_on_renewals_holds_for_other_authorities_too():
    renewal = replace(WILDCARD, server=OTHER, replaces=True)
    assert refusal(issued([renewal] * 199), renewal, NOW) == "", "one's own authority may issue for minutes"
    budget = issued([renewal] * 200)
    assert "200 renewals of exactly *.home.test, home.test in 1 day" in refusal(budget, renewal, NOW + HOUR)
    assert refusal(budget, renewal, NOW + DAY) == ""


def test_the_limit_is_the_hosts_however_its_url_is_written():
    shouted = replace(PRODUCTION, directory_url="HTTPS://ACME-v02.API.letsencrypt.org:443/directory?x=1")
    assert refusal(used(WILDCARD, "certificate", 5), replace(WILDCARD, server=shouted), NOW) != ""
    assert refusal(Budget(), replace(WILDCARD, server=replace(PRODUCTION, directory_url="")), NOW) == ""


def test_the_error_says_how_long_and_what_else_can_be_done():
    budget = used(WILDCARD, "certificate", 5)
    check_budget(Budget(), WILDCARD, NOW)
    with pytest.raises(RateLimitedError, match="^letsencrypt: the limit of 5 certificates") as caught:
        check_budget(budget, WILDCARD, NOW + DAY)
    assert caught.value.retry_after_seconds == 6 * 86400
    assert "letsencrypt-staging" in caught.value.hint


def test_a_sentence_does_not_list_a_hundred_names():
    names = tuple(f"s{number:03}.home.test" for number in range(100))
    request = BudgetRequest(PRODUCTION, names, ("home.test",))
    sentence = refusal(used(request, "certificate", 5), request, NOW)
    assert "s000.home.test, s001.home.test, s002.home.test, s003.home.test and 96 more" in sentence


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (timedelta(seconds=1), "in 1 min"),
        (59 * MINUTE, "in 59 min"),
        (2 * HOUR, "in 2 h"),
        (HOUR + MINUTE, "in 1 h 1 min"),
        (DAY, "in 1 day"),
        (6 * DAY + 3 * HOUR + 59 * MINUTE, "in 6 days 3 h"),
    ],
)
def test_the_wait_is_said_in_words(wait, text):
    budget = used(WILDCARD, "certificate", 5)
    assert refusal(budget, WILDCARD, NOW + 7 * DAY - wait).endswith(text)


# --- Clocks and files


@pytest.mark.parametrize("bad", [NOW.replace(tzinfo=None), datetime.fromisoformat("2026-11-27T15:00:00+01:00")])
def test_moments_of_another_zone_or_none_are_refused(bad):
    for call in (
        lambda: refusal(Budget(), WILDCARD, bad),
        lambda: free_at(Budget(), WILDCARD, bad),
        lambda: spent(Budget(), WILDCARD, "order", bad),
        lambda: Budget((Spending(LETSENCRYPT, "orders", "", bad),)),
    ):
        with pytest.raises(CertificateError, match="is not in UTC"):
            call()


def test_a_clock_that_was_years_ahead_blocks_nobody():
    budget = used(WILDCARD, "certificate", 5, at=NOW + 900 * DAY)
    assert refusal(budget, WILDCARD, NOW) == ""
    assert spent(budget, WILDCARD, "failure", NOW).spendings == (Spending(LETSENCRYPT, "failures", "home.test", NOW),)


def test_a_clock_that_was_two_hours_ahead_does_not_forget_the_week():
    budget = used(WILDCARD, "certificate", 5, at=NOW + 2 * HOUR)
    assert free_at(budget, WILDCARD, NOW) == NOW + 7 * DAY + 2 * HOUR
    budget = spent(budget, WILDCARD, "order", NOW)
    assert load_budget(dump_budget(budget)) == budget


def test_what_no_limit_needs_any_more_is_left_out():
    budget = used(WILDCARD, "order", 1, at=NOW + 8 * DAY, budget=issued([WILDCARD] * 5))
    assert [s.counter for s in budget.spendings] == ["orders"]


spendings = st.builds(
    Spending,
    st.sampled_from((LETSENCRYPT, LETSENCRYPT_STAGING, "ca.home.test", "")),
    st.sampled_from(("orders", "domain", "names", "renewals", "failures", "accounts")),
    st.text(),
    st.datetimes(NOW.replace(tzinfo=None, year=2020), NOW.replace(tzinfo=None, year=2040), timezones=st.just(UTC)),
)


@given(st.lists(spendings).map(lambda some: Budget(tuple(sorted(some, key=lambda s: s.at)))))
def test_a_budget_comes_back_from_its_text_as_it_was(budget):
    assert load_budget(dump_budget(budget)) == budget


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", '{"schema": 2, "spent": []}', '{"schema": 1}', '{"schema": 1, "spent": {}}', "[" * 10**5],
)
def test_a_file_that_cannot_be_read_is_an_empty_budget(text):
    assert load_budget(text) == Budget()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "abcd",
        [],
        ["x", "orders", ""],
        [1, "orders", "", "2026-11-27T15:00:00Z"],
        ["x", "odd", "", "2026-11-27T15:00:00Z"],
        ["x", ["orders"], "", "2026-11-27T15:00:00Z"],
        ["x", "orders", None, "2026-11-27T15:00:00Z"],
        ["x", "orders", "", "2026-11-27T15:00:00"],
        ["x", "orders", "", "yesterday"],
        ["x", "orders", "", 5],
        ["x", "orders", "", "0001-01-01T00:00:00+14:00"],
    ],
)
def test_one_bad_entry_does_not_cost_the_others(bad):
    raw = json.loads(dump_budget(used(WILDCARD, "certificate", 5)))
    raw["spent"].insert(2, bad)
    assert load_budget(json.dumps(raw)) == used(WILDCARD, "certificate", 5)


# --- Whatever is asked


requests = st.builds(
    lambda names, replaces: BudgetRequest(PRODUCTION, names, ("home.test",), replaces=replaces),
    st.sampled_from((("home.test", "*.home.test"), ("home.test",), ("a.home.test",), ("b.home.test", "home.test"))),
    st.booleans(),
)
ends = st.sampled_from(("issued", "issued", "failed", "dropped"))
waits = st.sampled_from((0, 1, 30, 60, 600, 3600, 6 * 3600, 86400)).map(lambda seconds: timedelta(seconds=seconds))


RATES = {"orders": (300, 3 * HOUR), "domain": (50, 7 * DAY), "names": (5, 7 * DAY), "failures": (5, HOUR)}


class TokenBucket:
    """How the authority counts (Boulder, ratelimits/README.md): full at first, refilled at `most` a period."""

    def __init__(self, most, period):
        self.most, self.period, self.level, self.at = most, period, float(most), NOW

    def has_one(self, now):
        self.level = min(self.level + (now - self.at) / self.period * self.most, self.most)
        self.at = now
        return self.level > 1 - 1e-6

    def take(self, now):
        self.level = max(self.level - 1, 0) if self.has_one(now) else self.level


class LetsEncrypt:
    """The authority, as its documentation describes it; `taken` is when something was taken of which bucket."""

    def __init__(self):
        self.buckets, self.taken = {}, {}

    def bucket(self, kind, key):
        return self.buckets.setdefault((kind, key), TokenBucket(*RATES[kind]))

    def take(self, kind, key, now):
        self.bucket(kind, key).take(now)
        self.taken.setdefault((kind, key), []).append(now)

    def allows(self, request, now):
        hosts = {name.removeprefix("*.") for name in request.names}
        wanted = [("orders", ""), ("domain", "home.test"), ("names", frozenset(request.names))]
        return all(self.bucket(*one).has_one(now) for one in (*wanted, *(("failures", host) for host in hosts)))

    def order(self, request, now, end):
        if not request.replaces:
            self.take("orders", "", now)
        if end == "issued":
            self.take("names", frozenset(request.names), now)
            if not request.replaces:
                self.take("domain", "home.test", now)
        if end == "failed":
            for host in {name.removeprefix("*.") for name in request.names}:
                self.take("failures", host, now)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(requests, ends, waits), min_size=50, max_size=300))
def test_what_passes_here_passes_at_the_authority(steps):
    budget, now, authority = Budget(), NOW, LetsEncrypt()
    for request, end, wait in steps:
        now += wait
        if refusal(budget, request, now):
            free = free_at(budget, request, now)
            assert now < free <= now + 7 * DAY
            assert refusal(budget, request, free) == ""
            assert refusal(budget, request, free - timedelta(microseconds=1)) != ""
            continue
        assert request.replaces or authority.allows(request, now)
        authority.order(request, now, end)
        budget = spent(budget, request, "order", now)
        if end != "dropped":
            budget = spent(budget, request, "certificate" if end == "issued" else "failure", now)
        budget = load_budget(dump_budget(budget))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(requests, ends, waits), min_size=100, max_size=400))
def test_no_period_ever_holds_more_than_its_limit(steps):
    budget, now, authority = Budget(), NOW, LetsEncrypt()
    for asked, end, wait in steps:
        request = replace(asked, replaces=False)
        now += wait
        if refusal(budget, request, now) == "":
            authority.order(request, now, end)
            budget = spent(budget, request, "order", now)
            if end != "dropped":
                budget = spent(budget, request, "certificate" if end == "issued" else "failure", now)
    for (kind, _), times in authority.taken.items():
        most, period = RATES[kind]
        assert all(late - early >= period for early, late in zip(times, times[most:], strict=False))
