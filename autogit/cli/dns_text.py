"""DNS records, zones and addresses as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autogit.cli.output import columns
from autogit.model.dns_views import DnsSyncView, DnsVerifyView, RecordsView, RecordView, ZoneTextView
from autogit.model.text import printable

_LAN = "lan"
_OK = "ok"
_MARKS = {_OK: " "}


def record_lines(view: RecordsView) -> Iterator[str]:
    """Yield one line a record."""
    rows = [
        (
            r.name,
            r.type,
            "proxied" if r.proxied else str(r.ttl),
            printable(" ".join(r.values)),
            f"{r.provider}{' (lan)' if r.seen_by == _LAN else ''}",
            printable(_whose(r)),
        )
        for r in view.records
    ]
    yield from columns(rows, ("NAME", "TYPE", "TTL", "VALUES", "PROVIDER", "WHOSE"))


def _whose(record: RecordView) -> str:
    if record.foreign:
        return record.foreign
    return "AutoGit" if record.wished else "AutoGit, no longer wished for"


def zone_file_lines(zones: Sequence[ZoneTextView]) -> Iterator[str]:
    """Yield zones as text, each below a comment that names it."""
    for zone in zones:
        yield f"; zone {zone.zone} of {zone.provider}{', own network' if zone.seen_by == _LAN else ''}"
        yield from zone.lines


def verify_lines(view: DnsVerifyView, *, verbose: bool = False) -> Iterator[str]:
    """Yield a verdict a record, the servers' own words where it is not as wished, and what is odd of the zones."""
    good = sum(1 for r in view.records if r.state == _OK)
    yield f"{good} of {len(view.records)} records are as wished"
    yield ""
    rows = [
        (_MARKS.get(r.state, "!"), f"{r.name}/{r.type}", _seen_by(r.seen_by), printable(r.sentence))
        for r in view.records
    ]
    for line, record in zip(columns(rows), view.records, strict=True):
        yield line
        if verbose or record.state != _OK:
            said = ((s.server, s.error or ", ".join(s.values) or "nothing") for s in record.servers)
            yield from (f"      {server}: {printable(text)}" for server, text in said)
        yield from (f"    ! {warning}" for warning in record.warnings)
    if view.zones:
        yield ""
    for zone in view.zones:
        yield f"{_MARKS.get(zone.level, '!')} {zone.zone}, {zone.check}: {printable(zone.message)}"
        if zone.fix:
            yield f"      {zone.fix}"


def _seen_by(view: str) -> str:
    return "own network" if view == _LAN else ""


def sync_lines(view: DnsSyncView) -> Iterator[str]:
    """Yield what a look found and what it changed; one line where all is as it was."""
    if view.problem:
        yield f"! {view.problem}"
    for one in view.addresses:
        name = one.name.replace("_", " IP")
        if one.problem:
            yield f"! {name}: {one.problem}; {one.value or 'none'} stays"
        elif one.before and one.value != one.before:
            yield f"  {name}: {one.before} -> {one.value}"
        elif one.candidate:
            yield f"  {name}: {one.value} stays; {one.candidate} was seen once, and is believed when it is seen again"
        else:
            yield f"  {name}: {one.value}"
    for outcome in view.applied:
        yield f"  {outcome.address}  {outcome.action}"
    yield f"{len(view.applied)} records changed" if view.applied else "DNS is as it should be"
