"""What is shown of certificates: on disk and as served, and what a renewal did."""

from __future__ import annotations

from autogit.model.views import OutcomeView, View


class ServedView(View):
    """What is served for one name, who signed it, and how long it lives; `matches`: it is what is on disk."""

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
    """One certificate: on disk, served, when it is renewed, and what went wrong last. Moments are RFC 3339, UTC.

    `version` and `serial` are 0 and empty where there is none yet. `manager` is who orders it. `next_try_at` is the end
    of the pause after `failure`, empty where there is none. `former`: of a base domain of before, and looked after no
    more.
    """

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
    next_try_at: str = ""
    manager: str = "autogit"
    former: bool = False
    level: str = "ok"
    sentence: str = ""
    served: tuple[ServedView, ...] = ()
    hooks: tuple[HookView, ...] = ()


class CertsView(View):
    """The certificate of the base domain, be there one or not, and every other in the store.

    `renewed_at` is when `certs renew` ran last ("": never), `renewed` how that ended: `ok` or `failed`.
    """

    schema_version: int = 1
    certificates: tuple[CertificateStatusView, ...]
    renewed_at: str = ""
    renewed: str = ""

    @property
    def ok(self) -> bool:
        """Whether none is missing, expired, overdue or unserved."""
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
