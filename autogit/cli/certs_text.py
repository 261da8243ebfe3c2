"""Certificates as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator

from autogit.cli.output import columns
from autogit.model.certificate_views import CertificateStatusView, CertsRenewView, CertsView
from autogit.model.text import printable


def status_lines(view: CertsView) -> Iterator[str]:
    """Yield one block a certificate: how it is on disk, when it is renewed, what is served."""
    if not view.certificates:
        yield "no certificate yet: autogit up"
    for one in view.certificates:
        yield f"{', '.join(one.names) or one.name}   {one.issuer}, {one.days_left} days left, v{one.version}"
        yield f"  renewal   {'due: ' + one.due if one.due else 'from ' + one.renew_at[:16] + ' UTC'}{_asks(one)}"
        if one.failure:
            yield f"  last try  failed: {printable(one.failure)}"
        if one.level != "ok":
            yield f"! {one.sentence}"
        rows = [(f"  {s.host}", s.error or s.serial, _served(s.matches, s.error)) for s in one.served]
        yield from columns(rows)


def _asks(one: CertificateStatusView) -> str:
    return f"; the authority is asked again at {one.asks_at[:16]} UTC" if one.asks_at else ""


def _served(matches: bool, error: str) -> str:  # noqa: FBT001 - a word of a row
    return "" if error else "served = on disk" if matches else "ANOTHER one is served"


def renew_lines(view: CertsRenewView) -> Iterator[str]:
    """Yield what a renewal did."""
    yield from view.messages
    yield from (f"{o.address}  {o.action} in {o.seconds:.1f}s" for o in view.applied)
