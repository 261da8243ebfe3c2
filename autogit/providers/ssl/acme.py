"""The ACME issuer: certificates of a public authority, or of any that speaks ACME (RFC 8555), in versioned folders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from autogit.errors import (
    AutogitError,
    CertificateError,
    Fault,
    NotValidatedError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from autogit.model.acme import AcmeServer, CertificateRequest, Issued, KeyType, Solver
from autogit.model.host import CertificateFacts
from autogit.model.plan import Action, Change, Outcome
from autogit.model.renewal import (
    ASKED_FOR,
    Budget,
    BudgetRequest,
    Due,
    FailureKind,
    Life,
    RenewalState,
    Spent,
    Verdict,
    dump_budget,
    load_budget,
    state_from_json,
    state_to_json,
)
from autogit.model.resource import Address, Resource, Value
from autogit.model.spec import CertificateSpec
from autogit.providers.base import HealthStatus, ProviderContext, Scope
from autogit.providers.host.atomic import write_atomic
from autogit.providers.ssl.acme_certificate import key_type_of, serial_of
from autogit.providers.ssl.acme_client import AcmeClient
from autogit.providers.ssl.base import CertificateProvider
from autogit.providers.ssl.store import ACCOUNTS, CertificateStore, Pair, Stored, dns_names

STAGING = "letsencrypt-staging"
_LAST_SHARE = 6
"""Of a certificate's life the last sixth is when `up` does not wait for `certs renew` any more."""
_ALMOST_A_MINUTE = timedelta(seconds=59)
_AT_ONCE = "autogit certs renew --force tries at once"
_LIMITED = "wait until then: the authority has set that limit, and --force does not shorten it"


class Renewal(Protocol):
    """When a certificate is renewed and what is remembered of it: `autogit.core.renewal`."""

    def due_at(self, life: Life, state: RenewalState, seed: str) -> Due:
        """Return when it is to be renewed, and why then."""

    def paused_until(self, life: Life, state: RenewalState, now: datetime) -> datetime | None:
        """Return when the pause after a failure ends, None where there is none."""

    def asked_of(self, state: RenewalState, directory_url: str, profile: str) -> RenewalState:
        """Return what is remembered of this authority: another one's failures and limits do not count."""

    def after_failure(
        self, state: RenewalState, now: datetime, kind: FailureKind, sentence: str, retry_after_seconds: float = 0.0
    ) -> RenewalState:
        """Return the state after a try that failed."""

    def overdue(self, life: Life, state: RenewalState, seed: str, now: datetime) -> Verdict:
        """Return how the certificate stands."""

    def after_success(self, state: RenewalState, now: datetime) -> RenewalState:
        """Return the state of a fresh certificate."""

    def must_rehearse(self, state: RenewalState) -> bool:
        """Tell whether the next try belongs to the staging authority."""

    def after_rehearsal(self, state: RenewalState) -> RenewalState:
        """Return the state after an order went well there."""


class BudgetPolicy(Protocol):
    """What may be asked of an authority, and what was: `autogit.core.acme_budget`."""

    def check_budget(self, budget: Budget, request: BudgetRequest, now: datetime) -> None:
        """Raise RateLimitedError where an order must not be made now."""

    def spent(self, budget: Budget, request: BudgetRequest, what: Spent, now: datetime) -> Budget:
        """Return the budget after something was asked for."""


@dataclass(frozen=True)
class AcmeSettings:
    """Whom certificates are asked of and how names are proven; `seed` is what this host's jitter is made of.

    `domain` names the certificate under which everything worth a line is shown.
    `staging` is the authority's twin for rehearsals, where it has one: its certificates are looked at and thrown away.
    `state_file`, beside the versions, is where it is remembered how this authority answered.
    `look_first` looks at what the authority will look at, before it is asked; `clean_up` takes away what a killed run
    has published.
    """

    server: AcmeServer
    solvers: Callable[[str], Solver]
    renewal: Renewal
    budget: BudgetPolicy
    look_first: Callable[[AcmeClient, tuple[str, ...]], Awaitable[None]]
    clean_up: Callable[[], Awaitable[object]]
    domain: str
    staging: AcmeServer | None = None
    key_type: KeyType = "P-256"
    profile: str = ""
    seed: str = ""
    state_file: str = "renewal.json"


class AcmeIssuer(CertificateProvider):
    """Issues `certificate/<base domain>` for the names that are wished for."""

    provider_name: ClassVar[str] = "acme"

    def __init__(self, context: ProviderContext, settings: AcmeSettings) -> None:
        super().__init__(context)
        self.settings = settings
        self.store = CertificateStore(context.paths.certs)
        self.client = self._client_of(settings.server)

    def _client_of(self, server: AcmeServer) -> AcmeClient:
        note = partial(self.context.progress, Address("certificate", self.settings.domain))
        return AcmeClient(server, self.context.paths.certs / ACCOUNTS, now=self.context.clock, note=note)

    @property
    def issuer(self) -> str:
        """The authority's name."""
        return self.settings.server.name

    def signer(self, stored: Stored) -> AcmeIssuer | None:
        """Return who asks the authority that signed a version, None where that is none that is asked now."""
        return self if stored.issuer == self.issuer else None

    def root_path(self, base_domain: str) -> Path:
        """Return the file of the certificate that signed the newest one: what is served must be signed by it."""
        versions = self.store.versions(base_domain)
        return self.store.folder(base_domain, versions[-1] if versions else 1) / "issuer.pem"

    def facts(self, now: datetime) -> Mapping[str, CertificateFacts]:
        """Return the newest version of each certificate and why it is due, if it is."""
        found = ((name, self.store.newest(name)) for name in self.store.names())
        return {name: self._facts(name, stored, now) for name, stored in found if stored}

    def _facts(self, name: str, stored: Stored, now: datetime) -> CertificateFacts:
        leaf = stored.leaf
        if leaf is None or stored.damage:
            return CertificateFacts(version=stored.version, due=f"damaged: {stored.damage}")
        life, state = life_of(leaf), self.state(name)
        is_good = not state.revoked_serial and life.not_after - now > (life.not_after - life.not_before) / _LAST_SHARE
        due = self.settings.renewal.due_at(life, state, self._seed(name))
        former = stored.issuer
        moved = f"issuer {former} -> {self.issuer}" if former != self.issuer else ""
        return CertificateFacts(
            version=stored.version,
            due=moved or (due.reason if due.moment <= now else ""),
            names=dns_names(leaf),
            renew_at=due.moment.isoformat(),
            not_after=leaf.not_valid_after_utc.isoformat(),
            serial=serial_of(leaf),
            key_type=key_type_of(leaf),
            can_wait=not moved and (is_good or self._is_paused(life, state, now)),
            issuer=former,
        )

    def _is_paused(self, life: Life, state: RenewalState, now: datetime) -> bool:
        """Tell whether `up` goes on with a certificate that is good still, for its renewal was refused just now."""
        if state.revoked_serial or now >= life.not_after:
            return False
        return self.settings.renewal.paused_until(life, state, now) is not None

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return the newest version of each certificate that is wished for or recorded."""
        seen: list[Resource] = []
        for address in sorted({*scope.desired, *scope.owned}):
            stored = self.store.newest(address.name)
            if stored is not None:
                sound = stored.leaf is not None and not stored.damage
                attributes: dict[str, Value] = {"version": stored.version}
                seen.append(Resource(address, attributes | (self._attributes(stored) if sound else {})))
        return seen

    def _attributes(self, stored: Stored) -> dict[str, Value]:
        leaf = stored.chain[0]
        return {
            "issuer": stored.issuer,
            "names": dns_names(leaf),
            "key_type": key_type_of(leaf),
            "serial": serial_of(leaf),
            "not_after": leaf.not_valid_after_utc.isoformat(),
        }

    async def check(self, changes: Sequence[Change]) -> Sequence[Fault]:
        """Refuse to put a rehearsal's certificate, which nobody trusts, in the place of a real one."""
        found: list[Fault] = []
        for change in changes:
            stored = self.store.newest(change.address.name)
            if change.after is None or stored is None or stored.leaf is None or self.issuer != STAGING:
                continue
            former = stored.issuer
            if former not in ("local", STAGING) and stored.leaf.not_valid_after_utc > self.context.clock():
                sentence = f"that of {former} is served and trusted; one of {STAGING} is trusted by nobody"
                found.append(Fault(str(change.address), "", f"{sentence}: it does not take its place"))
        return found

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Have each certificate issued into its new version's folder; a delete leaves the files where they are."""
        for change in changes:
            try:
                yield await self._carry_out(change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)

    async def _carry_out(self, change: Change) -> Outcome:
        if change.action is Action.DELETE or change.after is None:
            return Outcome(change.address, change.action, ok=True)
        wish: CertificateSpec = change.after.payload
        stored, told = self.store.read(wish.name, wish.version), ""
        if stored.leaf is None or stored.damage or stored.issuer not in self.issuers:
            told = await self.issue(change, wish)
            stored = self.store.read(wish.name, wish.version)
        if stored.leaf is None or stored.damage:
            raise CertificateError(f"{self.issuer}: the new certificate of {wish.name} cannot be used: {stored.damage}")
        await asyncio.to_thread(self.put_live, wish.name, wish.version)
        attributes = {**change.after.attributes, **self._attributes(stored)}
        return Outcome(change.address, change.action, ok=True, detail=told, attributes=attributes)

    async def issue(self, change: Change, wish: CertificateSpec) -> str:
        """Order it, unless a former try asks for a pause; remember how that ended."""
        now, former = self.context.clock(), self.store.newest(wish.name)
        asked_of = self.settings.renewal.asked_of
        state = asked_of(self.state(wish.name), self.settings.server.directory_url, self.settings.profile)
        if not (self.at_once or wish.due == ASKED_FOR) or state.failure_kind == "rate-limited":
            self._check_pause(wish.name, former, state, now)
        await asyncio.to_thread(self.keep, wish.name, state)  # where nothing can be written nothing is asked for
        self.context.progress(change.address, f"asking {self.issuer}")
        request = CertificateRequest(wish.names, wish.key_type, self.settings.profile, self._replaced(former, wish))
        try:
            state = await self._rehearsed(change, wish, request, state)
            issued = await self._ordered(self.settings.server, wish, request)
            await asyncio.to_thread(self._store, wish, issued, now)
        except AutogitError as exc:
            wait = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
            failed = self.settings.renewal.after_failure(state, now, _kind_of(exc), exc.message, wait)
            self.keep(wish.name, failed)
            raise
        self.keep(wish.name, self.settings.renewal.after_success(state, now))
        return ""

    async def _rehearsed(
        self, change: Change, wish: CertificateSpec, request: CertificateRequest, state: RenewalState
    ) -> RenewalState:
        """Order at the staging authority first, until one order went well here: its limits are far higher."""
        staging = self.settings.staging
        silent = state.failures > 0 and state.failure_kind == "unavailable"  # staging is down: that hinders nobody
        first = state.last_success_at is None and not state.rehearsed and not silent
        if staging is None or not (first or self.settings.renewal.must_rehearse(state)):
            return state
        self.context.progress(change.address, f"rehearsing at {staging.name}")
        try:
            await self._ordered(staging, wish, replace(request, replaces=b"", profile=""))
        except RateLimitedError as exc:  # its limits are not those of the real one
            raise UnavailableError(exc.message, hint=exc.hint) from exc
        rehearsed = self.settings.renewal.after_rehearsal(state)
        self.keep(wish.name, rehearsed)
        return rehearsed

    async def _ordered(self, server: AcmeServer, wish: CertificateSpec, request: CertificateRequest) -> Issued:
        """Order within the budget; what is asked for is written down before it is asked for."""
        policy, now = self.settings.budget, self.context.clock()
        client, replaces = self._client_of(server), bool(request.replaces)
        new_account = client.stored_account()[0] is None
        asked = BudgetRequest(server, wish.names, (wish.name,), replaces=replaces, new_account=new_account)
        budget = self._budget()
        policy.check_budget(budget, asked, now)
        await self.settings.look_first(client, wish.names)
        ordered = policy.spent(budget, asked, "order", now)
        self._keep_budget(policy.spent(ordered, asked, "certificate", now))
        try:
            return await client.issue(request, self.settings.solvers)
        except NotValidatedError:
            self._keep_budget(policy.spent(ordered, asked, "failure", now))
            raise
        finally:
            if new_account and client.stored_account()[0] is not None:
                self._keep_budget(policy.spent(self._budget(), asked, "account", now))

    def _budget(self) -> Budget:
        try:
            return load_budget(self._budget_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return Budget()

    def _keep_budget(self, budget: Budget) -> None:
        write_atomic(self._budget_file, dump_budget(budget).encode(), 0o600)

    @property
    def _budget_file(self) -> Path:
        return self.store.certs / "budget.json"

    def _check_pause(self, name: str, former: Stored | None, state: RenewalState, now: datetime) -> None:
        if not state.failures:
            return
        if former is not None and former.leaf is not None:
            until = self.settings.renewal.paused_until(life_of(former.leaf), state, now)
            stays = "; the present certificate stays"
        else:  # who waits for a first certificate may try again at once, but for a limit of the authority
            ends = (state.limited_until, state.next_try_at if self.patient else None)
            until, stays = max((end for end in ends if end and end > now), default=None), ""
        if until is not None:
            limited = state.failure_kind == "rate-limited"
            raise RejectedError(
                f"{self.issuer}: the last try for {name} failed ({state.failure}), the next is at "
                f"{until + _ALMOST_A_MINUTE:%Y-%m-%d %H:%M} UTC",
                hint=f"{_LIMITED if limited else _AT_ONCE}{stays}",
            )

    def _replaced(self, former: Stored | None, wish: CertificateSpec) -> bytes:
        """Return the certificate that an order follows: of the same authority and names (RFC 9773 section 5)."""
        if former is None or former.leaf is None or former.damage or former.meta.get("issuer") != self.issuer:
            return b""
        return former.leaf.public_bytes(Encoding.PEM) if dns_names(former.leaf) == tuple(wish.names) else b""

    def _store(self, wish: CertificateSpec, issued: Issued, now: datetime) -> None:
        meta = {
            "issuer": self.issuer,
            "directory_url": self.settings.server.directory_url,
            "profile": self.settings.profile,
            "names": wish.names,
            "serial": issued.serial,
        }
        self.store.write(wish.name, wish.version, Pair(issued.fullchain, issued.key, meta), now)

    def state(self, name: str) -> RenewalState:
        """Return what is remembered of a certificate; that another version was revoked says nothing about it."""
        try:
            state = state_from_json(json.loads(self._state_file(name).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return RenewalState()
        if not state.revoked_serial:
            return state
        newest = self.store.newest(name)
        same = newest is not None and newest.leaf is not None and serial_of(newest.leaf) == state.revoked_serial
        return state if same else replace(state, revoked_serial="")

    def overdue(self, name: str, life: Life, now: datetime) -> Verdict:
        """Return how a certificate stands."""
        return self.settings.renewal.overdue(life, self.state(name), self._seed(name), now)

    def keep(self, name: str, state: RenewalState) -> None:
        """Remember what is known of a certificate. Raises StorageFullError."""
        write_atomic(self._state_file(name), json.dumps(state_to_json(state), indent=1).encode(), 0o600)

    def _state_file(self, name: str) -> Path:
        return self.store.certs / name / self.settings.state_file

    def _seed(self, name: str) -> str:
        return f"{self.settings.seed} {name}"

    async def health(self) -> HealthStatus:
        """Ask the authority for its directory."""
        try:
            return HealthStatus(ok=True, detail=await self.client.health())
        except ProviderError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)


def life_of(leaf: x509.Certificate) -> Life:
    """Return from when to when a certificate is valid."""
    return Life(leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def _kind_of(exc: AutogitError) -> FailureKind:
    if isinstance(exc, RateLimitedError):
        return "rate-limited"
    if isinstance(exc, UnavailableError):
        return "unavailable"
    if isinstance(exc, NotValidatedError):
        return "validation"
    return "rejected" if isinstance(exc, RejectedError) else "other"
