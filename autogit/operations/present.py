"""Turning engine results into views: no decisions, no input or output but reading the file a diff is made of."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from pathlib import Path

from autogit.core.explain import describe_setting
from autogit.core.plan import CONFLICT
from autogit.core.reconcile import Prepared
from autogit.core.traefik_resolver import STORAGE
from autogit.errors import AutogitError, Fault
from autogit.model.cert_hooks import CERT_HOOK
from autogit.model.dns import DNS_RECORD
from autogit.model.mirror_plan import MIRROR
from autogit.model.plan import Action, Change, FieldChange, Note, Outcome, Plan
from autogit.model.resource import Value
from autogit.model.spec import PlatformSpec
from autogit.model.text import printable
from autogit.model.views import ChangeView, FieldView, NoteView, OutcomeView, PlanView, UrlView

_HTTPS = 443
_SECRET_FIELDS = frozenset({"fingerprint"})


def plan_view(prepared: Prepared, plan: Plan | None = None) -> PlanView:
    """Return the plan as shown: what is in sync is counted, everything else is listed."""
    plan = plan or prepared.plan
    counts = Counter(c.action.value for c in plan.changes)
    rendered, unit = prepared.spec.paths.rendered, prepared.spec.unit_kind
    return PlanView(
        fingerprint=plan.fingerprint,
        policy=plan.policy.value,
        counts={action.value: counts.get(action.value, 0) for action in Action},
        changes=tuple(_change_view(c, plan, rendered) for c in plan.changes if c.action is not Action.NOOP),
        notes=tuple(note_view(n) for n in plan.notes),
        published_ports=published_ports(prepared.spec) if unit in {c.address.kind for c in plan.changes} else {},
        changed_settings=tuple(
            describe_setting(key, before, after) for key, (before, after) in prepared.changed_settings.items()
        ),
    )


def _change_view(change: Change, plan: Plan, rendered: Path) -> ChangeView:
    """Return one line of a plan, with a unified diff where it is a rendered file."""
    return ChangeView(
        address=str(change.address),
        action=change.action.value,
        reason=change.reason,
        detail=_detail(change, plan),
        fields=tuple(_field_view(f) for f in change.fields),
        drift=change.drift,
        foreign=change.before.foreign if change.before else "",
        diff=tuple(_file_diff(change, rendered)) if change.address.kind == "file" else (),
    )


def _detail(change: Change, plan: Plan) -> str:
    """Say what a certificate will be, and which processes a file is made known to."""
    if change.address.kind == "certificate" and change.after:
        wish = change.after.attributes
        days = f", {wish['lifetime_days']} days" if "lifetime_days" in wish else ""
        names = _text(wish["names"])
        return f"{names} by {wish['issuer']} authority, {wish['key_type']}{days}"
    if change.address.kind == STORAGE and any(f.name == "mode" and f.before for f in change.fields):
        return "Traefik starts without its resolver while others can read it, and orders and renews nothing"
    if change.address.kind == CERT_HOOK and change.after:
        version = change.after.attributes["version"]
        return f"{printable(shlex.join(change.after.payload.words))}, once v{version} is served"
    if tell := _TOLD.get(change.address.kind):
        return tell(change)
    if change.address.kind == "file" and change.action is not Action.HOLD:
        words = {Action.UPDATE: "reload", Action.REPLACE: "restart"}
        touched = [c for c in plan.pending if c.action in words and change.address in c.depends_on]
        return ", ".join(f"-> {words[c.action]} {c.address.name}" for c in touched)
    return ""


def _mirror_detail(change: Change) -> str:
    """Say what is mirrored and who fetches it, or what becomes of the copies."""
    if change.after is None:
        return "forgotten, its copies stay"
    wish = change.after.attributes
    place = f" at {_text(wish['server'])}" if wish["server"] else ""
    what = f"{_text(wish['kind'])}:{_text(wish['owner'])}{place}, every {_span(wish['interval_seconds'])}"
    return f"{what}; next: autogit mirror sync {change.address.name}"


def _record_detail(change: Change) -> str:
    """Say where a name leads, and where it led; how long it may be remembered, and who keeps it."""
    before, after = (r.attributes if r else {} for r in (change.before, change.after))
    if not after:
        return f"{_text(before.get('values'))}    {before.get('provider', '')}"
    values = _text(after["values"])
    if change.action is Action.HOLD:
        alike = before.get("values") == after["values"]
        values = f"there as wished: {values}" if alike else f"there {_text(before.get('values'))}, wished {values}"
    elif before and before.get("values") != after["values"]:
        values = f"{_text(before.get('values'))} -> {values}"
    ttl = "proxied" if after["proxied"] else f"ttl {after['ttl']}"
    return f"{values}    {after['provider']}, {ttl}"


def _span(seconds: Value) -> str:
    """Return a time in the largest unit that it is a whole number of."""
    number = int(seconds) if isinstance(seconds, int) else 0
    size, unit = next(pair for pair in _UNITS if number % pair[0] == 0)
    return f"{number // size} {unit}"


_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_TOLD = {DNS_RECORD: _record_detail, MIRROR: _mirror_detail}


def note_view(note: Note) -> NoteView:
    """Return a note as shown."""
    return NoteView(level="warning" if note.level == "warning" else "info", subject=note.subject, message=note.message)


def outcome_view(outcome: Outcome) -> OutcomeView:
    """Return one outcome as shown."""
    error = outcome.error if isinstance(outcome.error, AutogitError) else None
    return OutcomeView(
        address=str(outcome.address),
        action=outcome.action.value,
        ok=outcome.ok,
        message=error.message if error else outcome.detail,
        hint=error.hint if error else "",
        context=error.context if error else (),
        seconds=round(outcome.seconds, 3),
    )


def urls(spec: PlatformSpec) -> tuple[UrlView, ...]:
    """Return where each routed service is reached from outside, and how to log in."""
    places = dict.fromkeys((r.service, r.host) for r in spec.routes)  # a host may have several routes
    return tuple(UrlView(service=s, url=route_url(spec, host), login=_login(spec, s)) for s, host in places)


def route_url(spec: PlatformSpec, host: str) -> str:
    """Return a host's URL at the ingress' HTTPS port."""
    port = spec.ports.get(f"{spec.ingress}/https", _HTTPS)
    return f"https://{host}" if port == _HTTPS else f"https://{host}:{port}"


def _login(spec: PlatformSpec, service_name: str) -> str:
    service = next(s for s in spec.services if s.name == service_name)
    logins = [s for s in service.secrets if s.htpasswd_user]
    return "; ".join(f"user {s.htpasswd_user}, password: autogit secrets reveal {s.name}" for s in logins)


def published_ports(spec: PlatformSpec) -> Mapping[str, int]:
    """Return the ports that other machines may reach, by service and port name, as `traefik https`."""
    return {
        f"{service.name} {name}": service.ports[name]
        for service in spec.running
        for name, port in service.descriptor.ports.items()
        if (port.published or port.via_ingress) and name in service.ports
    }


def way_out(obstacles: Sequence[Fault]) -> str:
    """Return what helps against obstacles: images have two ways in, the rest say it themselves."""
    if any(fault.place.startswith("image/") for fault in obstacles):
        return "autogit images load FILE brings images from another machine; IMAGE_<SERVICE>= in .env names another one"
    if named := [f"--adopt {f.place}" for f in obstacles if f.message.startswith(CONFLICT)]:
        return f"autogit up {' '.join(named)} takes over; autogit plan shows what is there and what is wished"
    return "autogit plan shows them too; then autogit up"


def _field_view(field: FieldChange) -> FieldView:
    if field.name in _SECRET_FIELDS:
        return FieldView(name=field.name, before="(secret)", after="(secret, changed)")
    before, after = field.before, field.after
    if isinstance(before, tuple) and isinstance(after, tuple):
        before, after = _only_different(before, after), _only_different(after, before)
    return FieldView(name=field.name, before=_text(before), after=_text(after))


def _only_different(mine: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(item for item in mine if item not in other)


def _text(value: Value) -> str:
    if value is None:
        return "(none)"
    return printable(" ".join(value) if isinstance(value, tuple) else str(value))


def _file_diff(change: Change, rendered: Path) -> list[str]:
    path = rendered / change.address.name
    try:
        before = path.read_text(encoding="utf-8") if change.before else ""
    except (OSError, UnicodeDecodeError):
        return []
    after = change.after.payload if change.after else ""
    lines = unified_diff(before.splitlines(), after.splitlines(), "on disk", "wished", lineterm="", n=1)
    return [] if change.action is Action.CREATE else list(lines)
