"""The fallback issuer: when another authority is asked, and how long what it signed counts as good; pure.

| the first authority | the certificate | what happens |
|---|---|---|
| fails, and not for a proof | missing, revoked, expired, in its last sixth | the fallback is asked in the same run |
| fails | else | the present certificate stays, the first is asked again |

A fallback's certificate counts as good until half of its life is over and the first authority may be asked again, at
the latest until it is due as any is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from autogit.core.certificates import issuer_name
from autogit.core.renewal import paused_until
from autogit.model.acme import DIRECTORIES, AcmeServer
from autogit.model.host import CertificateFacts, HostFacts
from autogit.model.plan import Note
from autogit.model.renewal import Due, FailureKind, Life, RenewalState
from autogit.model.settings import LOCAL_ISSUER, Settings
from autogit.model.spec import CertificateSpec

_LAST_SHARE, _KEPT_SHARE = 6, 2
_ELSEWHERE: frozenset[FailureKind] = frozenset({"unavailable", "rate-limited", "rejected"})
"""Failures that another authority need not have: a proof that was not found would not be found by it either."""


def is_urgent(life: Life | None, now: datetime) -> bool:
    """Tell whether a certificate cannot wait: missing or revoked (None), expired, or in the last sixth of its life."""
    return life is None or life.not_after - now <= (life.not_after - life.not_before) / _LAST_SHARE


def may_fall_back(kind: FailureKind, life: Life | None, now: datetime) -> bool:
    """Tell whether the fallback is asked after a failure of this kind at the first authority."""
    return kind in _ELSEWHERE and is_urgent(life, now)


def returns(life: Life, due: Due, first: RenewalState, now: datetime, *, trusted: bool) -> Due:
    """Return when a fallback's certificate is to be replaced, and why then.

    One that browsers do not trust, of the local authority, is replaced as soon as the first may be asked again.

    `due` is what it is due by as any certificate, `first` what is remembered of the first authority.
    """
    paused = paused_until(life, first, now)
    if not trusted:
        return Due(paused or now, "it is that of the local authority, which stands in for the first")
    half = life.not_after - (life.not_after - life.not_before) / _KEPT_SHARE
    back = max(half, paused or half)
    if due.moment <= back:
        return due
    return Due(back, "half of its life is over, and it is that of the fallback issuer")


def fallback_fault(issuer: str, fallback: str) -> str:
    """Return what is wrong with a fallback (as `CERT_FALLBACK_ISSUER` has it) of an issuer, "" where nothing is."""
    if not fallback or issuer == LOCAL_ISSUER:
        return ""
    hosts = [_host(one) for one in (issuer, fallback)]
    if hosts[0] == hosts[1]:
        return "must be another authority than CERT_ISSUER"
    if any(host == _host("letsencrypt-staging") for host in hosts):
        return "must not go with letsencrypt-staging, whose certificates nobody trusts: it is for trying out"
    return ""


def fallback_name(settings: Settings) -> str:
    """Return what the fallback is called in plans, "" where there is none."""
    if settings.cert_issuer == LOCAL_ISSUER:
        return ""
    return urlsplit(settings.cert_fallback_issuer).netloc or settings.cert_fallback_issuer


def fallback_server(settings: Settings, first: AcmeServer) -> AcmeServer | None:
    """Return the ACME server that `CERT_FALLBACK_ISSUER` names, None for none and for the local authority."""
    name = fallback_name(settings)
    if name in ("", LOCAL_ISSUER):
        return None
    hmac_key = settings.acme_fallback_eab_hmac_key
    return replace(
        first,
        name=name,
        directory_url=DIRECTORIES.get(settings.cert_fallback_issuer, settings.cert_fallback_issuer),
        eab_key_id=settings.acme_fallback_eab_key_id,
        eab_hmac_key=hmac_key.get_secret_value() if hmac_key else "",
        eab_setting="ACME_FALLBACK_EAB",
        preferred_chain="",
    )


def signer_of(settings: Settings, first: str, known: CertificateFacts) -> str:
    """Return who signs what is wished for while nothing is due: whoever signed what is in force, if it may have."""
    return known.issuer if known.issuer and known.issuer == fallback_name(settings) else first


def fallback_notes(settings: Settings, facts: HostFacts, wanted: CertificateSpec) -> Iterator[Note]:
    """Say so where a fallback's certificate is in force, and where one may be before the end of this run."""
    other, first = fallback_name(settings), issuer_name(settings)
    if not other:
        return
    known = facts.certificates.get(wanted.name, CertificateFacts())
    warns = "; browsers warn of it where nobody trusts AutoGit's own authority" if other == LOCAL_ISSUER else ""
    if wanted.issuer == other:
        told = f"it is that of the fallback issuer {other}{warns}; {first} is asked from {known.renew_at[:10]} on"
        yield Note("warning", "certificate", told, f"autogit certs renew --force asks {first} now")
    elif wanted.due and not known.can_wait:
        but = " and the present certificate cannot wait" if known.version else ""
        yield Note("info", "certificate", f"where {first} fails{but}, {other} is asked{warns}")


def _host(issuer: str) -> str:
    return urlsplit(DIRECTORIES.get(issuer, issuer)).netloc.lower() or issuer
