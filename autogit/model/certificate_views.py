"""What is shown of certificates: on disk and as served, and what a renewal did."""

from __future__ import annotations

from autogit.model.views import OutcomeView, View


class ServedView(View):
    """What is served for one name; `matches` says whether it is what is on disk."""

    host: str
    serial: str = ""
    not_after: str = ""
    matches: bool = False
    error: str = ""


class CertificateStatusView(View):
    """One certificate: on disk, served, when it is renewed, and what went wrong last. Moments are RFC 3339, UTC."""

    name: str
    issuer: str
    version: int
    names: tuple[str, ...]
    serial: str
    not_after: str
    days_left: int
    renew_at: str
    due: str = ""
    asks_at: str = ""
    failure: str = ""
    level: str = "ok"
    sentence: str = ""
    served: tuple[ServedView, ...] = ()


class CertsView(View):
    """Every certificate in the store."""

    schema_version: int = 1
    certificates: tuple[CertificateStatusView, ...]

    @property
    def ok(self) -> bool:
        """Whether none is expired, overdue or unserved."""
        return all(one.level == "ok" for one in self.certificates)


class CertsRenewView(View):
    """What a renewal did."""

    schema_version: int = 1
    messages: tuple[str, ...] = ()
    applied: tuple[OutcomeView, ...] = ()
