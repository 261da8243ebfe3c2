"""How long a backend wants not to be asked: the Retry-After of HTTP (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 86400.0
"""Nobody means more than a day: what is beyond is a clock that is wrong, or nonsense."""


def wait_seconds(retry_after: str, now: datetime) -> float:
    """Return the wait in seconds that a Retry-After means, from 0 to a day; 0 where it means none (RFC 9110 10.2.3).

    It is a whole number of seconds or an HTTP date, which is always UTC; `now` is aware.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_SECONDS)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    # `-0000` comes back without a zone.
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (aware - now).total_seconds()), LONGEST_SECONDS)
