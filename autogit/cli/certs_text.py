"""Certificates as a person reads them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from autogit.cli.output import columns
from autogit.model.certificate_views import (
    AccountView,
    CertificateStatusView,
    CertificateView,
    CertsRenewView,
    CertsView,
    HookView,
    ServedView,
)
from autogit.model.text import moment_words, printable


def status_lines(view: CertsView) -> Iterator[str]:
    """Yield one block a certificate: how it is on disk, when it is renewed, what is served; then who renews."""
    for one in view.certificates:
        yield f"{', '.join(one.names) or one.name}   {one.issuer}, {_life(one)}"
        if one.former:
            yield f"  {one.sentence}"
            continue
        yield f"  renewal   {_renewal(one)}{_asks(one)}"
        if one.failure:
            yield f"  last try  failed: {printable(one.failure)}{_next_try(one)}"
        if one.level != "ok":
            yield f"! {printable(one.sentence)}"
        by_autogit = one.manager == "autogit"
        rows = [
            (f"  {s.host}", s.error or s.serial, _served(s.matches, s.error), _signed(s, told=by_autogit))
            for s in one.served
        ]
        yield from columns(rows)
        yield from columns([(f"  {shlex.join(h.command)}", _delivered(h)) for h in one.hooks])
    if any(one.manager == "autogit" for one in view.certificates):
        yield f"last run of certs renew: {_last_run(view)}"


def _life(one: CertificateStatusView) -> str:
    if not one.serial:
        return "none yet" if not one.version or one.manager != "autogit" else f"v{one.version}"
    whose = f"v{one.version}" if one.manager == "autogit" else "Traefik's"
    return f"{one.days_left} days left, {whose}"


def _renewal(one: CertificateStatusView) -> str:
    if one.due:
        return f"due: {one.due}"
    return f"from {moment_words(one.renew_at)}" if one.manager == "autogit" else "Traefik sees to it by itself"


def _next_try(one: CertificateStatusView) -> str:
    return f"; not tried again before {moment_words(one.next_try_at)}" if one.next_try_at else ""


def _delivered(hook: HookView) -> str:
    if not hook.version:
        return "delivered nothing yet"
    return f"delivered v{hook.version} at {moment_words(hook.delivered_at)}"


def _last_run(view: CertsView) -> str:
    if not view.renewed_at:
        return "never: autogit schedule install"
    return moment_words(view.renewed_at) + (f", {view.renewed}" if view.renewed != "ok" else "")


def _signed(served: ServedView, *, told: bool) -> str:
    """Return who signed what is served, but of what is `told` above already."""
    if not served.issuer or (told and served.matches):
        return ""
    return f"{served.days_left} days left, by {printable(served.issuer)}"


def _asks(one: CertificateStatusView) -> str:
    return f"; the authority is asked again at {moment_words(one.asks_at)}" if one.asks_at else ""


def _served(matches: bool, error: str) -> str:  # noqa: FBT001 - a word of a row
    return "" if error else "served = on disk" if matches else "ANOTHER one is served"


def renew_lines(view: CertsRenewView) -> Iterator[str]:
    """Yield what a renewal did."""
    yield from view.messages
    yield from (f"{o.address}  {o.action} in {o.seconds:.1f}s" for o in view.applied)


def certificate_lines(view: CertificateView) -> Iterator[str]:
    """Yield everything of a certificate, one line each."""
    rows = [
        ("names", ", ".join(view.names)),
        ("version", f"v{view.version}"),
        ("serial", view.serial),
        ("authority", " ".join(filter(None, (view.issuer, view.directory_url)))),
        *(("issuer" if not turn else "", printable(issuer)) for turn, issuer in enumerate(view.chain)),
        ("key type", view.key_type),
        ("profile", view.profile or "(the authority's own)"),
        ("valid from", moment_words(view.not_before)),
        ("valid to", moment_words(view.not_after)),
        ("SHA-256", view.sha256),
        ("folder", view.folder),
    ]
    yield from columns(rows)


def account_lines(view: AccountView) -> Iterator[str]:
    """Yield what is known of an account, one line each."""
    rows = [
        ("authority", view.authority),
        ("directory", view.directory_url),
        ("account", printable(view.uri) or "none yet: the first order makes it"),
        ("contact", view.contact or "(none)"),
        ("terms", printable(view.terms_url) or "(none)"),
        ("key", f"{view.key_file}  {view.key_mode or 'not there'}"),
    ]
    yield from columns(rows)
