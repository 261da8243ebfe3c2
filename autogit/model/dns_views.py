"""What is shown of DNS: records and whose they are, what servers say of them, addresses."""

from __future__ import annotations

from typing import Literal

from autogit.model.views import OutcomeView, View


class RecordView(View):
    """A DNS record set: where it is, what it says, and whose it is ("" where it is AutoGit's)."""

    address: str
    name: str
    type: str
    values: tuple[str, ...]
    ttl: int
    proxied: bool = False
    provider: str
    zone: str
    seen_by: str
    foreign: str = ""
    wished: bool = True


class RecordsView(View):
    """The records of all views."""

    schema_version: int = 1
    records: tuple[RecordView, ...]


class ZoneTextView(View):
    """One zone as a zone file has it."""

    schema_version: int = 1
    zone: str
    provider: str
    seen_by: str
    lines: tuple[str, ...]


class ServerAnswerView(View):
    """What one server says of one record."""

    server: str
    values: tuple[str, ...] = ()
    ttl: int | None = None
    rcode: str = ""
    authoritative: bool = False
    error: str = ""


class RecordCheckView(View):
    """One wished record as the world's DNS has it; `via` says who was asked."""

    name: str
    type: str
    seen_by: str
    state: Literal["ok", "differs", "missing", "unreachable", "unknown"]
    sentence: str
    via: str = ""
    warnings: tuple[str, ...] = ()
    servers: tuple[ServerAnswerView, ...] = ()


class ZoneCheckView(View):
    """One look at a zone itself."""

    zone: str
    check: str
    level: Literal["ok", "warning", "error"]
    message: str
    fix: str = ""


class DnsVerifyView(View):
    """Everything `autogit dns verify` saw."""

    schema_version: int = 1
    records: tuple[RecordCheckView, ...]
    zones: tuple[ZoneCheckView, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every record is as wished and no zone has an error."""
        return all(r.state == "ok" for r in self.records) and all(z.level != "error" for z in self.zones)


class AddressView(View):
    """A public address: what is in force since when, what another look has found, and why one found nothing."""

    name: str
    value: str
    before: str = ""
    since: str = ""
    candidate: str = ""
    problem: str = ""


class DnsSyncView(View):
    """What `autogit dns sync` found, and what it changed."""

    schema_version: int = 1
    addresses: tuple[AddressView, ...]
    applied: tuple[OutcomeView, ...] = ()
    problem: str = ""
