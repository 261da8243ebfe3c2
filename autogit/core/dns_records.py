"""The DNS records of a platform: its names and where they lead, and what the user declares beside them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autogit.core.yaml_source import YamlSource, read_yaml
from autogit.errors import Fault, RejectedError, SettingsError, UnavailableError
from autogit.model.dns import ExtraRecord, RecordKey, RecordSet, Targets, View, WantedRecord, normal_name, record_set
from autogit.model.settings import Settings
from autogit.model.spec import Route, ServiceSpec

RECORDS_FILE = "overrides/dns.yml"
_TYPES = frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "SRV", "TXT"})
_CHALLENGE = "_acme-challenge"
_MARKS = "_autogit-"
_SSH = "ssh"
_LONGEST_VALUE = 4000  # what fits into a DNS message over TCP is more; no record that anybody needs is
_HINT = "docs/how-to/dns-records.md shows a whole file"


def wanted_records(
    settings: Settings,
    targets: Mapping[View, Targets],
    routes: Sequence[Route],
    services: Sequence[ServiceSpec],
    extra: Sequence[ExtraRecord],
) -> tuple[WantedRecord, ...]:
    """Return the sets of each view that has a provider, sorted.

    Raises UnavailableError where a name would lead nowhere, and SettingsError where a declared record cannot be.
    """
    found: list[WantedRecord] = []
    for view, target in targets.items():
        provider = settings.dns_provider if view is View.PUBLIC else settings.dns_lan_provider
        sets = {one.key: one for one in _platform_sets(settings, view, target, routes, services)}
        _add_declared(sets, settings, view, extra)
        if settings.dns_wildcard:
            _add_hidden(sets, settings, view, target, routes)
        found += [WantedRecord(view, provider, sets[key]) for key in sorted(sets)]
    return tuple(found)


def _platform_sets(
    settings: Settings, view: View, target: Targets, routes: Sequence[Route], services: Sequence[ServiceSpec]
) -> Iterator[RecordSet]:
    domain, public = settings.base_domain, view is View.PUBLIC
    addresses = _addresses(settings, view, target)
    hosts = [f"*.{domain}", domain] if settings.dns_wildcard else sorted({route.host for route in routes})
    for host in hosts:
        yield from _leading(host, addresses, settings, proxied=settings.dns_proxied and public)
    ssh = f"{settings.dns_ssh_name}.{domain}"
    if settings.dns_ssh_name and ssh not in hosts and any(_takes_ssh(service) for service in services):
        yield from _leading(ssh, addresses, settings, proxied=False)
    if settings.dns_caa and public:
        yield record_set(domain, "CAA", settings.dns_ttl, [f'0 issue "{name}"' for name in settings.dns_caa])


def _leading(host: str, addresses: Sequence[str], settings: Settings, *, proxied: bool) -> Iterator[RecordSet]:
    for kind in ("A", "AAAA"):
        values = [a for a in addresses if (":" in a) == (kind == "AAAA")]
        if values:
            yield record_set(host, kind, settings.dns_ttl, values, proxied=proxied)


def _takes_ssh(service: ServiceSpec) -> bool:
    port = service.descriptor.ports.get(_SSH)
    return port is not None and (port.published or port.via_ingress) and not service.unavailable


def _addresses(settings: Settings, view: View, target: Targets) -> list[str]:
    """Return where names lead: what is set, else what was detected."""
    public = view is View.PUBLIC
    given = settings.ingress_ip if public else settings.ingress_lan_ip
    six = settings.ingress_ipv6 if public else settings.ingress_lan_ipv6
    four_key, six_key = ("INGRESS_IP", "INGRESS_IPV6") if public else ("INGRESS_LAN_IP", "INGRESS_LAN_IPV6")
    first = given or target.v4
    if not first:
        raise UnavailableError(
            f"the address that names should lead to is not known: {target.problem_v4 or 'none was found'}",
            hint=f"set {four_key} to it",
        )
    second = target.v6 if six == "auto" else "" if six == "none" else six
    if six == "auto" and not second:
        raise UnavailableError(
            f"no IPv6 address of this host is fit for names: {target.problem_v6 or 'none was found'}",
            hint=f"set {six_key} to one, or to none",
        )
    return list(dict.fromkeys(a for a in (first, second) if a))


def _add_declared(
    sets: dict[RecordKey, RecordSet], settings: Settings, view: View, extra: Sequence[ExtraRecord]
) -> None:
    """Add the user's sets, which stand beside the platform's and never in their place."""
    faults: list[Fault] = []
    lines: dict[RecordKey, int] = {}
    for one in extra:
        if view not in one.views:
            continue
        place = f"{RECORDS_FILE} line {one.line}" if one.line else RECORDS_FILE
        try:
            declared = _declared(one, settings)
        except RejectedError as exc:
            faults.append(Fault(place, f"{one.name}/{one.type}", exc.message))
            continue
        beside = [key for key in sets if key.name == declared.key.name]
        if declared.key in sets:
            whose = f"line {lines[declared.key]} has it" if declared.key in lines else "it is a record of the platform"
            faults.append(Fault(place, str(declared.key), f"is there already: {whose}"))
        elif beside and "CNAME" in {declared.key.type, *(key.type for key in beside)}:
            faults.append(Fault(place, str(declared.key), f"cannot be beside {beside[0]}: a CNAME stands alone"))
        sets.setdefault(declared.key, declared)
        lines.setdefault(declared.key, one.line)
    if faults:
        raise _error(faults)


def _add_hidden(
    sets: dict[RecordKey, RecordSet], settings: Settings, view: View, target: Targets, routes: Sequence[Route]
) -> None:
    """Add a service's own addresses where a name at or below it hides the wildcard (RFC 4592 section 2.2.1)."""
    names = {key.name for key in sets}
    for host in sorted({route.host for route in routes}):
        hidden = any(name == host or name.endswith(f".{host}") for name in names)
        if hidden and not any(RecordKey(host, kind) in sets for kind in ("A", "AAAA", "CNAME")):
            proxied = settings.dns_proxied and view is View.PUBLIC
            for one in _leading(host, _addresses(settings, view, target), settings, proxied=proxied):
                sets[one.key] = one


def _declared(one: ExtraRecord, settings: Settings) -> RecordSet:
    """Return a declared set in normal form. Raises RejectedError."""
    domain = settings.base_domain
    short = one.name in ("", "@")
    name = normal_name(domain if short else one.name if one.name.endswith(".") else f"{one.name}.{domain}")
    labels = name.split(".")
    if _CHALLENGE in labels:
        raise RejectedError("is an ACME challenge: those come and go with certificates")
    if any(label.startswith(_MARKS) for label in labels):
        raise RejectedError("is a mark: AutoGit writes those itself")
    if one.type == "MX" and name == domain:
        raise RejectedError("mail of the domain itself is not AutoGit's to lead: keep that record by hand")
    if one.proxied and one.type not in ("A", "AAAA", "CNAME"):
        raise RejectedError("cannot be proxied: only A, AAAA and CNAME can")
    if "_wildcard" in labels:
        raise RejectedError("has a part _wildcard, which stands for * in the names of marks")
    if one.type == "CNAME" and len(one.values) > 1:
        raise RejectedError("leads to several names: a CNAME has one value")
    if any(len(value) > _LONGEST_VALUE for value in one.values):
        raise RejectedError(f"has a value of more than {_LONGEST_VALUE} characters")
    values = [_value(one.type, value) for value in one.values]
    return record_set(name, one.type, one.ttl or settings.dns_ttl, values, proxied=one.proxied)


def _value(kind: str, text: str) -> str:
    if kind == "TXT":
        return text
    if kind in ("A", "AAAA"):
        try:
            address = ip_address(text)
        except ValueError as exc:
            raise RejectedError(f"has {text!r}, which is no IP address") from exc
        if (address.version == 6) != (kind == "AAAA"):  # noqa: PLR2004 - IPv6
            raise RejectedError(f"has {text!r}, which is an address of the other version")
        return str(address)
    from dns import exception, rdata  # noqa: PLC0415 - dnspython takes long to import, and few declare such records

    from autogit.providers.dns.presentation import value_of  # noqa: PLC0415 - the same

    try:
        return value_of(rdata.from_text("IN", kind, text), kind)
    except (ValueError, exception.DNSException) as exc:
        raise RejectedError(f"has {text!r}, which is no value of type {kind}") from exc


class _Row(BaseModel):
    """One record as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: str
    values: tuple[str, ...] = Field(min_length=1)
    ttl: int | None = Field(None, ge=1, le=86400)
    view: str = Field("both", pattern="^(public|lan|both)$")
    proxied: bool = False


def load_declared(path: Path) -> tuple[ExtraRecord, ...]:
    """Return the records of `overrides/dns.yml`; none where there is no such file. Raises SettingsError."""
    try:
        source = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as exc:
        raise _error([Fault(RECORDS_FILE, "", f"cannot be read as UTF-8 text: {type(exc).__name__}")]) from exc
    if source.faults:
        raise _error([Fault(f"{RECORDS_FILE} line {line}", "", message) for line, message in source.faults])
    if not isinstance(source.data, dict) or set(source.data) != {"records"}:
        raise _error([Fault(RECORDS_FILE, "", "must have one key, records, with a list")])
    rows, faults = source.data["records"], list[Fault]()
    if not isinstance(rows, list):
        raise _error([Fault(RECORDS_FILE, "records", "must be a list")])
    found = [one for number, row in enumerate(rows) if (one := _row(row, number, source, faults)) is not None]
    if faults:
        raise _error(faults)
    return tuple(found)


def _row(row: Any, number: int, source: YamlSource, faults: list[Fault]) -> ExtraRecord | None:
    def fault(message: str, field: str = "") -> None:
        line = source.line_of(("records", number, field) if field else ("records", number))
        faults.append(Fault(f"{RECORDS_FILE} line {line}", field, message))

    try:
        read = _Row.model_validate(row)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            field = str(error["loc"][0]) if error["loc"] else ""
            words = {
                "missing": "is missing",
                "extra_forbidden": "is not a field of a record",
                "tuple_type": "must be a list",
                "string_type": "must be text",
                "model_type": "must be a record, with name, type and values",
            }
            fault(words.get(error["type"], str(error["msg"]).replace("Input should", "must")), field)
        return None
    kind = read.type.upper()
    if kind not in _TYPES:
        fault(f"must be one of {', '.join(sorted(_TYPES))}", "type")
        return None
    views = tuple(View) if read.view == "both" else (View(read.view),)
    line = source.line_of(("records", number))
    return ExtraRecord(read.name, kind, read.values, views, read.ttl, read.proxied, line)


def _error(faults: Sequence[Fault]) -> SettingsError:
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return SettingsError(f"{count} in {RECORDS_FILE}", faults=faults, hint=_HINT)
