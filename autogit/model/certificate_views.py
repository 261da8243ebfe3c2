"""What is shown of certificates: on disk and as served, and what a renewal did."""

from __future__ import annotations

from autogit.model.views import OutcomeView, View


class ServedView(View):
    """What is served for one name; `matches`: it is what is on disk. Who signed it is told of what Traefik orders."""

    host: str
    serial: str = ""
    not_after: str = ""
    matches: bool = False
    error: str = ""
    issuer: str = ""
    days_left: int = 0


class HookView(View):
    """One deploy hook: the version it delivered last (0: none), and what is wrong with that ("": nothing)."""

    name: str
    command: tuple[str, ...]
    version: int
    delivered_at: str = ""
    sentence: str = ""


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
    hooks: tuple[HookView, ...] = ()


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


class CertificateView(View):
    """A certificate that is in force, whole but for its key: `chain` has who signed each of `pem`, the leaf first."""

    schema_version: int = 1
    name: str
    issuer: str
    directory_url: str
    profile: str
    version: int
    names: tuple[str, ...]
    serial: str
    chain: tuple[str, ...]
    key_type: str
    not_before: str
    not_after: str
    sha256: str
    folder: str
    pem: str


class AccountView(View):
    """The account at an authority: `uri` is empty where there is none here, `key_mode` as `ls` counts (0600)."""

    schema_version: int = 1
    authority: str
    directory_url: str
    uri: str
    contact: str
    terms_url: str
    key_file: str
    key_mode: str
