"""Waits until every server of a zone has the TXT values of an ACME challenge (RFC 8555 section 8.4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from autogit.errors import UsageError
from autogit.model.dns import RecordKey, normal_name
from autogit.model.dns_checks import Propagation, PropagationState, Seen, ServerAnswer, Via
from autogit.providers.dns.patience import Sleep
from autogit.providers.dns.world.lookup import Lookup

_PAUSES_SECONDS = (2.0, 4.0, 8.0)
_LONGEST_PAUSE_SECONDS = 10.0
# A public resolver that is asked too early remembers that there was nothing (RFC 2308): it is given time.
_BEFORE_PUBLIC_SECONDS = 10.0
# Nobody to ask may be a moment's trouble; twice it is how this network is.
_BLIND_POLLS = 2


@dataclass(frozen=True, slots=True)
class Waiting:
    """How to wait: the deadline in seconds, how to sleep, and the clock; tests bring their own."""

    deadline_seconds: float = 120.0
    sleep: Sleep = asyncio.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class _Look:
    """What one poll showed."""

    rows: tuple[ServerAnswer, ...] = ()
    warnings: tuple[str, ...] = ()
    via: Via = Via.NOBODY
    trouble: str = ""

    def lacking(self, values: Sequence[str]) -> list[ServerAnswer]:
        """Return the answers without all of the values."""
        return [row for row in self.counted if not set(values) <= set(row.values)]

    @property
    def counted(self) -> list[ServerAnswer]:
        """The answers that count."""
        return [row for row in self.rows if not row.error]


async def await_txt(lookup: Lookup, name: str, values: Sequence[str], waiting: Waiting | None = None) -> Propagation:
    """Wait until each server of the zone that the name leads to (aliases followed) has all of the values.

    At least one must answer; those that do not, or do not serve the zone, are warnings. No resolver is asked for the
    name: it would remember that there was nothing. Only where no server can be reached, DNS over HTTPS is asked, after
    a pause. Where that fails too the result is `unchecked`: the caller waits a fixed time. Polls after 2, 4, 8, 10, 10
    ... seconds, and once more at the deadline. Raises UsageError without values, RejectedError for what is no name.
    """
    if not values:
        raise UsageError(f"dns: there is no value to wait for at {name}")
    return await _Wait(lookup, RecordKey(normal_name(name), "TXT"), tuple(values), waiting or Waiting()).run()


class _Wait:
    """One wait: what is waited for, since when, and what the polls were."""

    def __init__(self, lookup: Lookup, key: RecordKey, values: tuple[str, ...], how: Waiting) -> None:
        self._lookup = lookup
        self._key = key
        self._values = values
        self._how = how
        self._start = how.clock()
        self._polls = 0
        self._public = False

    async def run(self) -> Propagation:
        """Poll until it is there or the time is over."""
        heard: _Look | None = None
        for pause in chain(_PAUSES_SECONDS, repeat(_LONGEST_PAUSE_SECONDS)):
            look = await self._look()
            self._polls += 1
            if look.counted:
                heard = look
                if not look.lacking(self._values):
                    return self._ended(PropagationState.DONE, look, self._done(look))
            left = self._left()
            if left <= 0 or (heard is None and self._polls >= _BLIND_POLLS):
                break
            await self._how.sleep(min(pause, left))
        if heard is None:
            sentence = f"{self._key} cannot be checked: {look.trouble}"
            return self._ended(PropagationState.UNCHECKED, look, sentence)
        return self._ended(PropagationState.LATE, heard, self._late(heard))

    async def _look(self) -> _Look:
        seen = await self._lookup.ask_all(self._key)
        if seen.speaking:
            self._public = False
            return _Look(seen.answers, _warnings(seen), Via.AUTHORITY, seen.sentence)
        trouble = _trouble(seen)
        if not seen.authority.servers and not seen.authority.zone:
            return _Look(trouble=trouble)
        if self._lookup.config.servers:  # a private zone: nobody outside knows it
            return _Look(seen.answers, (trouble,), trouble=trouble)
        if not self._public:
            self._public = True
            await self._how.sleep(max(0.0, min(_BEFORE_PUBLIC_SECONDS, self._left())))
        rows = await self._lookup.public_answers(self._key, https_only=True)
        unheard = tuple(row.sentence for row in rows if row.error)
        trouble = "; ".join([trouble, *unheard])
        return _Look((*seen.answers, *rows), (trouble,), Via.DOH, trouble)

    def _left(self) -> float:
        return self._start + self._how.deadline_seconds - self._how.clock()

    def _ended(self, state: PropagationState, look: _Look, sentence: str) -> Propagation:
        waited = self._how.clock() - self._start
        via = Via.NOBODY if state is PropagationState.UNCHECKED else look.via
        return Propagation(state, sentence, waited, self._polls, look.rows, look.warnings, via)

    def _done(self, look: _Look) -> str:
        by = "public resolvers over HTTPS" if look.via is Via.DOH else "servers"
        return f"{self._key} is at all {len(look.counted)} {by} that answer"

    def _late(self, look: _Look) -> str:
        lacking = look.lacking(self._values)
        said = "; ".join(row.sentence for row in lacking)
        trouble = f" ({look.trouble})" if look.via is Via.AUTHORITY and look.trouble else ""
        return (
            f"{self._key} is not at {len(lacking)} of {len(look.counted)} servers after "
            f"{self._how.clock() - self._start:.0f} s{trouble}: {said}"
        )


def _warnings(seen: Seen) -> tuple[str, ...]:
    return tuple(row.sentence for row in seen.answers if row.error)


def _trouble(seen: Seen) -> str:
    """Return why the servers themselves tell nothing."""
    if seen.intercepted:
        return "port 53 is redirected: something on the way answers in the servers' place"
    if seen.answers:
        return "; ".join(row.sentence for row in seen.answers)
    return seen.authority.sentence
