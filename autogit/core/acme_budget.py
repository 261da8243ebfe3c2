"""The budget: what an authority would refuse is not asked of it; its limits as data, own counters, pure.

An authority counts in token buckets (a full bucket of n, refilled at n a period). Here it is counted in sliding windows
(n in any period), which allow less: a request that passes here passes there, unless others ask for the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from autogit.core.renewal import moment_text
from autogit.errors import RateLimitedError
from autogit.model.renewal import Budget, BudgetRequest, Counter, Spending, Spent, in_utc

LETSENCRYPT = "acme-v02.api.letsencrypt.org"
LETSENCRYPT_STAGING = "acme-staging-v02.api.letsencrypt.org"
_NAMES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` in any `period`; `what` is what they are, as sentences have it."""

    counter: Counter
    most: int
    period: timedelta
    what: str


def _limits(*most: int) -> tuple[Limit, ...]:
    """Return the limits of Let's Encrypt (https://letsencrypt.org/docs/rate-limits/) with these figures."""
    orders, domain, names, failures, accounts = most
    return (
        Limit("orders", orders, timedelta(hours=3), "orders"),
        Limit("domain", domain, timedelta(days=7), "certificates for the domain {key}"),
        Limit("names", names, timedelta(days=7), "certificates for exactly {key}"),
        Limit("failures", failures, timedelta(hours=1), "failed validations of {key}"),
        Limit("accounts", accounts, timedelta(hours=3), "new accounts"),
        _brake(10),
    )


def _brake(most: int) -> Limit:
    """Return a limit that is not the authority's but ours.

    Renewals that name their predecessor are exempt from its limits, and a window that always lies in the past would
    have a certificate renewed at every look.
    """
    return Limit("renewals", most, timedelta(days=1), "renewals of exactly {key}")


_ELSEWHERE = (_brake(200),)
"""Authorities of one's own may issue for minutes: that is one in seven minutes."""
LIMITS: Mapping[str, tuple[Limit, ...]] = {
    LETSENCRYPT: _limits(300, 50, 5, 5, 10),
    LETSENCRYPT_STAGING: _limits(1500, 30000, 30000, 60, 50),
}
"""Limits by directory host; of any other authority none is known: our own brake alone holds."""


def refusal(budget: Budget, request: BudgetRequest, now: datetime) -> str:
    """Return why an order must not be made now and when it may be, as a sentence; "" where it may."""
    now = in_utc(now)
    free_at, limit, key = _last_to_be_free(budget, request, now)
    if limit is None:
        return ""
    return (
        f"{request.server.name}: the limit of {limit.most} {limit.what.format(key=_shortened(key))} in "
        f"{_span(limit.period)} is used up, so nothing was asked; possible again at {_rounded_up(free_at)}, "
        f"in {_span(free_at - now)}"
    )


def free_at(budget: Budget, request: BudgetRequest, now: datetime) -> datetime:
    """Return when an order may be made: `now` where it may be made now."""
    return _last_to_be_free(budget, request, in_utc(now))[0]


def check_budget(budget: Budget, request: BudgetRequest, now: datetime) -> None:
    """Raise RateLimitedError, with the seconds to wait, where an order must not be made now."""
    if sentence := refusal(budget, request, now):
        seconds = (free_at(budget, request, now) - now).total_seconds()
        raise RateLimitedError(
            sentence,
            retry_after_seconds=seconds,
            hint="wait until then; the certificate that is served stays. To try things out, take another issuer: "
            "CERT_ISSUER=letsencrypt-staging",
        )


def spent(budget: Budget, request: BudgetRequest, what: Spent, now: datetime) -> Budget:
    """Return the budget after something was asked for; what no limit needs any more is left out.

    An `order` is spent before it is sent and a `certificate` before the order is finalised, so that a run that is
    killed in between counts too much and never too little. A `failure` counts for each of the request's names. An
    `account` is spent once it is there: what does not get so far made none, and is tried again and again.
    """
    now = in_utc(now)
    host = _host(request)
    new = tuple(Spending(host, counter, key, now) for counter, key in _counted(request, what))
    kept = tuple(s for s in budget.spendings if _period(s) > timedelta(0) and abs(now - s.at) < _period(s))
    counted = (*kept, *(s for s in new if _period(s) > timedelta(0)))
    return replace(budget, spendings=tuple(sorted(counted, key=lambda s: s.at)))


def _last_to_be_free(budget: Budget, request: BudgetRequest, now: datetime) -> tuple[datetime, Limit | None, str]:
    """Return the limit that stands in the way longest and for what, None where none does."""
    latest: tuple[datetime, Limit | None, str] = (now, None, "")
    for limit, key in _asked(request):
        at = _free_at(budget, Spending(_host(request), limit.counter, key, now), limit)
        if at > latest[0]:
            latest = (at, limit, key)
    return latest


def _free_at(budget: Budget, wish: Spending, limit: Limit) -> datetime:
    """Return when one more would be within the limit.

    A spending counts for its period. One that is further ahead than that comes from a clock that was wrong.
    """
    times = sorted(s.at for s in budget.spendings if s[:3] == wish[:3] and abs(wish.at - s.at) < limit.period)
    return times[-limit.most] + limit.period if len(times) >= limit.most else wish.at


def _asked(request: BudgetRequest) -> Iterator[tuple[Limit, str]]:
    """Yield each limit that an order has to keep, and for what.

    Renewals that name their predecessor have to keep none of the authority's (its documentation, "Limit exemptions for
    renewals").
    """
    for limit in LIMITS.get(_host(request), _ELSEWHERE):
        if limit.counter == "accounts" and request.new_account:
            yield limit, ""
        if request.replaces != (limit.counter == "renewals"):
            continue
        for key in _keys(request, limit.counter):
            yield limit, key


def _keys(request: BudgetRequest, counter: Counter) -> tuple[str, ...]:
    """Return what a counter counts of an order by."""
    if counter == "orders":
        return ("",)
    if counter == "domain":
        return tuple(sorted({zone.lower().rstrip(".") for zone in request.zones}))
    if counter == "failures":
        return tuple(sorted({name.lower().removeprefix("*.") for name in request.names}))
    if counter in {"names", "renewals"}:
        return (", ".join(sorted({name.lower() for name in request.names})),)
    return ()


def _counted(request: BudgetRequest, what: Spent) -> Iterator[tuple[Counter, str]]:
    """Yield what the authority counts: exempt renewals still count for their exact names (Boulder, ra/ra.go)."""
    counters: tuple[Counter, ...] = ()
    if what == "account":
        yield "accounts", ""
    elif what == "failure":
        counters = ("failures",)
    elif what == "order":
        counters = ("renewals",) if request.replaces else ("orders",)
    else:
        counters = ("names",) if request.replaces else ("domain", "names")
    for counter in counters:
        for key in _keys(request, counter):
            yield counter, key


def _host(request: BudgetRequest) -> str:
    return urlsplit(request.server.directory_url).hostname or ""


def _period(spending: Spending) -> timedelta:
    """Return how long a spending counts: not at all where no limit is known."""
    limits = LIMITS.get(spending.host, _ELSEWHERE)
    return next((limit.period for limit in limits if limit.counter == spending.counter), timedelta(0))


def _shortened(key: str) -> str:
    """Return names as sentences have them: a certificate can have a hundred."""
    names = key.split(", ")
    if len(names) <= _NAMES_SHOWN:
        return key
    return f"{', '.join(names[:_NAMES_SHOWN])} and {len(names) - _NAMES_SHOWN} more"


def _rounded_up(moment: datetime) -> str:
    return moment_text(moment + timedelta(seconds=59, microseconds=999999))


def _span(length: timedelta) -> str:
    """Return a length in its two largest units, rounded up: `7 days`, `1 day 10 h`, `20 min`."""
    minutes = -(-length // timedelta(minutes=1))
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} day{'s' * (days != 1)}" if days else "", f"{hours} h" if hours else ""]
    parts.append(f"{rest} min" if rest and not days else "")
    return " ".join(part for part in parts if part) or "1 min"
