"""Certificates as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator

from autogit.cli.output import columns
from autogit.model.certificate_views import (
    AccountView,
    CertificateStatusView,
    CertificateView,
    CertsRenewView,
    CertsView,
    ServedView,
)
from autogit.model.text import printable


def status_lines(view: CertsView) -> Iterator[str]:
    """Yield one block a certificate: how it is on disk, when it is renewed, what is served."""
    if not view.certificates:
        yield "no certificate yet: autogit up"
    for one in view.certificates:
        yield f"{', '.join(one.names) or one.name}   {one.issuer}, {one.days_left} days left, {_holder(one)}"
        yield f"  renewal   {_renewal(one)}{_asks(one)}"
        if one.failure:
            yield f"  last try  failed: {printable(one.failure)}"
        if one.level != "ok":
            yield f"! {one.sentence}"
        rows = [(f"  {s.host}", s.error or s.serial, _served(s.matches, s.error), _signed(s)) for s in one.served]
        yield from columns(rows)
        delivered = [(f"  {h.name}", f"v{h.version}" if h.version else "nothing", h.delivered_at) for h in one.hooks]
        yield from columns(delivered)


def _holder(one: CertificateStatusView) -> str:
    return f"v{one.version}" if one.version else "Traefik's"


def _renewal(one: CertificateStatusView) -> str:
    if one.due:
        return f"due: {one.due}"
    return f"from {one.renew_at[:16]} UTC" if one.version else "Traefik sees to it by itself"


def _signed(served: ServedView) -> str:
    return f"{served.days_left} days left, by {printable(served.issuer)}" if served.issuer else ""


def _asks(one: CertificateStatusView) -> str:
    return f"; the authority is asked again at {one.asks_at[:16]} UTC" if one.asks_at else ""


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
        ("valid from", view.not_before[:16] + " UTC"),
        ("valid to", view.not_after[:16] + " UTC"),
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
