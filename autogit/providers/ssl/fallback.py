"""An ACME issuer with another one behind it, which is asked where the first fails and the certificate cannot wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from autogit.errors import CertificateError, ProviderError
from autogit.model.host import CertificateFacts
from autogit.model.plan import Change
from autogit.model.renewal import REVOKED, Due, FailureKind, Life, RenewalState
from autogit.model.spec import CertificateSpec
from autogit.providers.base import ProviderContext
from autogit.providers.ssl.acme import AcmeIssuer, AcmeSettings, life_of
from autogit.providers.ssl.local import LocalIssuer
from autogit.providers.ssl.store import Stored


class FallbackPolicy(Protocol):
    """When another authority is asked, and how long what it signed counts as good: `autogit.core.fallback`."""

    def is_urgent(self, life: Life | None, now: datetime) -> bool:
        """Tell whether a certificate cannot wait."""

    def may_fall_back(self, kind: FailureKind, life: Life | None, now: datetime) -> bool:
        """Tell whether the other one is asked after such a failure at the first."""

    def returns(self, life: Life, due: Due, first: RenewalState, now: datetime, *, trusted: bool) -> Due:
        """Return when a certificate of the other one is to be replaced, and why then."""


@dataclass(frozen=True)
class Fallback:
    """Who is asked where the first authority fails; `lifetime_days` is for one that lets itself be told."""

    issuer: AcmeIssuer | LocalIssuer
    policy: FallbackPolicy
    lifetime_days: int


class FallbackIssuer(AcmeIssuer):
    """Issues as its first authority, else by the other one; each has its own account, budget and memory."""

    def __init__(self, context: ProviderContext, settings: AcmeSettings, fallback: Fallback) -> None:
        super().__init__(context, settings)
        self.other = fallback.issuer
        self.policy = fallback.policy
        self.lifetime_days = fallback.lifetime_days

    @property
    def issuers(self) -> frozenset[str]:
        """The names of both."""
        return frozenset({self.issuer, self.other.issuer})

    def signer(self, stored: Stored) -> AcmeIssuer | None:
        """Return which of the two asks the authority that signed a version, None for the local one and for others."""
        if stored.issuer == self.other.issuer:
            return self.other if isinstance(self.other, AcmeIssuer) else None
        return super().signer(stored)

    def facts(self, now: datetime) -> Mapping[str, CertificateFacts]:
        """Return the newest version of each; the other's is as good as the first's for a while."""
        found = dict(super().facts(now))
        for name, one in self.other.facts(now).items():
            stored = self.store.newest(name)
            if one.issuer == self.other.issuer and stored is not None and stored.leaf is not None:
                found[name] = self._kept(name, one, life_of(stored.leaf), now)
        return found

    def _kept(self, name: str, facts: CertificateFacts, life: Life, now: datetime) -> CertificateFacts:
        own = Due(datetime.fromisoformat(facts.renew_at), facts.due)
        server, profile = self.settings.server, self.settings.profile
        first = self.settings.renewal.asked_of(self.state(name), server.directory_url, profile)
        due = self.policy.returns(life, own, first, now, trusted=isinstance(self.other, AcmeIssuer))
        return replace(
            facts,
            due=due.reason if due.moment <= now else "",
            renew_at=due.moment.isoformat(),
            can_wait=facts.due != REVOKED and not self.policy.is_urgent(life, now),
        )

    async def issue(self, change: Change, wish: CertificateSpec) -> str:
        """Have it issued by the first authority, or by the other one; say so then, and why. Raises what both said."""
        former = self.store.newest(wish.name)
        signer = self.signer(former) if former else None
        is_good = former is not None and not former.damage and not (signer and signer.state(wish.name).revoked_serial)
        life = life_of(former.leaf) if former and former.leaf and is_good else None
        try:
            return await super().issue(change, wish)
        except ProviderError as exc:
            # In a pause it is the failure before it that counts.
            if not self.policy.may_fall_back(self.state(wish.name).failure_kind, life, self.context.clock()):
                raise
            first = exc
        self.context.progress(change.address, f"{first.message}; asking {self.other.issuer} instead")
        self.other.at_once, self.other.patient = self.at_once, self.patient
        try:
            await self.other.issue(change, replace(wish, lifetime_days=self.lifetime_days))
        except ProviderError as second:
            raise CertificateError(
                f"{first.message}; {second.message}", hint="; ".join(filter(None, (first.hint, second.hint)))
            ) from second
        return f"issued by {self.other.issuer}: {first.message}"
