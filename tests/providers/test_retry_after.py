"""How long a Retry-After asks to wait: what backends, proxies and wrong clocks send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from autogit.providers.retry_after import LONGEST_SECONDS, wait_seconds

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Wed, 25 Nov 2026 12:00:45 GMT", 45.0),
        ("Wednesday, 25-Nov-26 12:00:45 GMT", 45.0),  # an obsolete form that RFC 9110 has recipients take
        ("Wed Nov 25 12:00:45 2026", 45.0),  # the other one
        ("Wed, 25 Nov 2026 12:00:45 -0000", 45.0),
        ("Wed, 25 Nov 2026 13:00:45 +0100", 45.0),
    ],
)
def test_seconds_and_dates_are_understood(told, seconds):
    assert wait_seconds(told, NOW) == seconds
    assert wait_seconds(told, NOW.astimezone(timezone(timedelta(hours=5)))) == seconds


@pytest.mark.parametrize(
    "told",
    [
        "",
        "soon",
        "-5",
        "1.5",
        "7s",
        "\u0667",
        "\u00b2",
        "Wed, 25 Nov 2026 11:59:59 GMT",
        "Wed, 99 Nov 2026 12:00:00 GMT",
    ],
)
def test_what_means_no_wait_is_none(told):
    assert wait_seconds(told, NOW) == 0.0


@pytest.mark.parametrize("told", ["86401", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_waits_for_more_than_a_day(told):
    assert wait_seconds(told, NOW) == LONGEST_SECONDS
