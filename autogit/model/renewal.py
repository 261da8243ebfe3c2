"""Nouns of renewal: what is remembered of a certificate between two looks, and what was asked of an authority."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from autogit.errors import CertificateError
from autogit.model.acme import AcmeServer

BUDGET_SCHEMA = 1
ASKED_FOR = "asked for"
"""Why a certificate is renewed that is not due: a person asked for it."""
REVOKED = "it was revoked"
"""Why a certificate is renewed that its authority has revoked."""
FailureKind = Literal["validation", "rate-limited", "unavailable", "rejected", "deployment", "other"]
"""Why a renewal failed: a proof was not accepted; the authority (or the budget) wants a pause; it does not answer; it
refuses the order as such; the new certificate is there and is not served; anything else."""
Spent = Literal["order", "certificate", "failure", "account"]
"""What an authority counts: an order made, a certificate issued, a validation failed, an account made."""
Counter = Literal["orders", "domain", "names", "renewals", "failures", "accounts"]
Level = Literal["ok", "warning", "error"]
JsonObject: TypeAlias = Mapping[str, str | int | bool]


class Life(NamedTuple):
    """From when to when a certificate is valid; aware, UTC."""

    not_before: datetime
    not_after: datetime


class Due(NamedTuple):
    """When a certificate is to be renewed, and why then, as a clause: `a third of its life is left`."""

    moment: datetime
    reason: str


class Verdict(NamedTuple):
    """How a certificate stands: a level and a sentence ("" where it is ok)."""

    level: Level
    sentence: str


@dataclass(frozen=True, slots=True)
class RenewalState:
    """What is remembered of one certificate at one authority; every moment is aware, UTC, None for never.

    `window_start`, `window_end` are what the authority wished for last (ARI, RFC 9773), `pick_at` the moment in it that
    was picked, once; `ask_at` is when it may be asked for the window again. `failures` counts failed tries in a row,
    `alike` how many of the last of them were the same failed validation; `failed_at`, `failure_kind` and `failure` say
    when, how and in which words the last one failed. `next_try_at` is the end of its back-off, `limited_until` what the
    authority set as a limit: nothing shortens that. `rehearsed`: after the last failure the order went well at the
    staging authority. `directory_url` and `profile` are those the certificate was ordered with. `revoked_serial` (hex)
    is that of the certificate where it was revoked, "" else.

    Raises CertificateError for a moment without a time zone or of another than UTC.
    """

    directory_url: str = ""
    profile: str = ""
    window_start: datetime | None = None
    window_end: datetime | None = None
    pick_at: datetime | None = None
    ask_at: datetime | None = None
    failures: int = 0
    alike: int = 0
    failed_at: datetime | None = None
    failure_kind: FailureKind = "other"
    failure: str = ""
    next_try_at: datetime | None = None
    limited_until: datetime | None = None
    rehearsed: bool = False
    last_success_at: datetime | None = None
    revoked_serial: str = ""

    def __post_init__(self) -> None:
        for name in _MOMENTS:
            moment = getattr(self, name)
            if moment is not None:
                object.__setattr__(self, name, in_utc(moment, name))

    @property
    def window(self) -> tuple[datetime, datetime] | None:
        """The authority's window, None where it has none."""
        if self.window_start is None or self.window_end is None:
            return None
        return self.window_start, self.window_end


@dataclass(frozen=True, slots=True)
class BudgetRequest:
    """What is about to be asked of an authority, or was.

    `names` are the certificate's (of a failure: those that failed), `zones` the DNS zones that they are in: they stand
    for the registered domains. `replaces`: the order names its predecessor (RFC 9773 section 5). `new_account`: an
    account has to be made first.
    """

    server: AcmeServer
    names: tuple[str, ...]
    zones: tuple[str, ...] = ()
    replaces: bool = False
    new_account: bool = False


class Spending(NamedTuple):
    """One thing that an authority counted: at which directory host, in which counter, for what, and when."""

    host: str
    counter: Counter
    key: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """What was asked of all authorities lately, oldest first; moments are aware, UTC (else: CertificateError)."""

    spendings: tuple[Spending, ...] = ()

    def __post_init__(self) -> None:
        checked = (s._replace(at=in_utc(s.at, "the moment of a spending")) for s in self.spendings)
        object.__setattr__(self, "spendings", tuple(checked))


_MOMENTS = tuple(f.name for f in fields(RenewalState) if f.name.endswith(("_at", "_until", "_start", "_end")))


def in_utc(moment: datetime, what: str = "the moment") -> datetime:
    """Return a moment that is aware and in UTC as it is. Raises CertificateError for any other.

    Local time is refused, not converted: adding hours to it goes wrong in a night when the clocks change.
    """
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() != timedelta(0):
        raise CertificateError(
            f"renewal: {what} is {moment.isoformat()}, which is not in UTC",
            hint="pass aware moments in UTC: datetime.now(UTC)",
        )
    return moment.astimezone(UTC)


def state_to_json(state: RenewalState) -> JsonObject:
    """Return what `state_from_json` reads, of JSON's scalars; moments are RFC 3339."""
    return {
        f.name: _stamp(value) if f.name in _MOMENTS else value
        for f in fields(state)
        for value in (getattr(state, f.name),)
    }


def state_from_json(raw: object) -> RenewalState:
    """Return the state that was written; what cannot be read of it is as if it had never been.

    It is never an error: experience can be made again, a certificate that is not renewed cannot be served.
    """
    if not isinstance(raw, Mapping):
        return RenewalState()
    return RenewalState(**dict(_readable(raw)))


def dump_budget(budget: Budget) -> str:
    """Return the text that `load_budget` reads."""
    spent = [[s.host, s.counter, s.key, _stamp(s.at)] for s in budget.spendings]
    return json.dumps({"schema": BUDGET_SCHEMA, "spent": spent}, indent=1) + "\n"


def load_budget(text: str) -> Budget:
    """Return what was dumped; what cannot be read is left out: then the authority's own refusal is what is left."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return Budget()
    if not isinstance(raw, dict) or raw.get("schema") != BUDGET_SCHEMA or not isinstance(raw.get("spent"), list):
        return Budget()
    read = (_spending(entry) for entry in raw["spent"])
    return Budget(tuple(sorted((s for s in read if s is not None), key=lambda s: s.at)))


def _readable(raw: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for f in fields(RenewalState):
        value = raw.get(f.name)
        if f.name in _MOMENTS:
            yield f.name, _moment(value)
        elif f.name == "failure_kind":
            yield f.name, value if value in get_args(FailureKind) else f.default
        elif type(value) is type(f.default) and not (isinstance(value, int) and value < 0):
            yield f.name, value


def _spending(entry: object) -> Spending | None:
    if not isinstance(entry, Sequence) or len(entry) != len(Spending._fields):
        return None
    host, counter, key, text = entry
    at = _moment(text)
    if not isinstance(host, str) or counter not in get_args(Counter) or not isinstance(key, str) or at is None:
        return None
    return Spending(host, counter, key, at)


def _stamp(moment: datetime | None) -> str:
    return moment.isoformat().replace("+00:00", "Z") if moment else ""


def _moment(text: object) -> datetime | None:
    """Return a written moment; a person may have written another offset than UTC's."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return moment.astimezone(UTC) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
