"""The ACME client (RFC 8555, RFC 9773): certificates asked for, renewed and revoked, and the account behind them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding

from autogit.errors import ProviderAuthError, ProviderError, RejectedError, UnsupportedError
from autogit.model.acme import AcmeServer, CertificateRequest, Issued, RenewalInfo
from autogit.providers.base import utc_now
from autogit.providers.ssl.acme_account import Account, Registration, account_folder
from autogit.providers.ssl.acme_certificate import (
    certificate_id,
    checked_certificate,
    checked_names,
    key_pem,
    load_leaf,
    new_key,
    signing_request,
)
from autogit.providers.ssl.acme_errors import Problem, refusal
from autogit.providers.ssl.acme_keys import AccountKey, JsonObject, base64url
from autogit.providers.ssl.acme_order import Conversation, Order, Pace, Solvers
from autogit.providers.ssl.acme_wire import Directory, Reply, Signer, Wire, check_ca_file

T = TypeVar("T")

_CONFLICT = 409
_NOT_FOUND = 404
_NOT_REPLACED = frozenset({"alreadyReplaced", "malformed", "conflict", "unauthorized"})
_REASONS = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9, 10})
_ARI_SECONDS = 21600.0
_ARI_SHORTEST, _ARI_LONGEST = 60.0, 86400.0


class AcmeClient:
    """One certificate authority. Every method may be called at any time and by several tasks and processes at once.

    `accounts` is the folder of all accounts. `clock` is monotonic (seconds), `now` returns aware moments, `note` is
    told what is no error and still worth a line. `limit_seconds` is for each stage of an order: validation, issuance.
    All errors are AutogitErrors that begin with the server's name, but for those of solvers.
    """

    def __init__(  # noqa: PLR0913 - time in its three forms is passed in
        self,
        server: AcmeServer,
        accounts: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        now: Callable[[], datetime] = utc_now,
        note: Callable[[str], None] = lambda _text: None,
        limit_seconds: float = 300.0,
    ) -> None:
        self.server = server
        self.accounts = accounts
        self._pace = Pace(clock, sleep, limit_seconds)
        self._now = now
        self._note = note

    async def issue(self, request: CertificateRequest, solver_for: Solvers) -> Issued:
        """Order a certificate with a fresh key, prove its names, and return it once it has been looked at.

        `solver_for` is asked for each name, wildcards as such, or is a mapping by kind whose first kind that fits is
        taken. Raises RejectedError with the authority's reasons, ProviderAuthError for accounts, RateLimitedError,
        UnavailableError, CertificateError where what came cannot be used, and what solvers raise.
        """
        names = checked_names(self.server.name, request.names)
        async with self._wire() as wire:
            directory = await asyncio.to_thread(wire.directory)
            self._check_profile(request.profile, directory)
            order = await self._ordered(wire, names, request, directory)
            await order.validate(solver_for)
            key = await asyncio.to_thread(new_key, request.key_type)
            url = await order.finalise(signing_request(key, names))
            chain = await order.chain(url, self.server.preferred_chain)
            return checked_certificate(self.server.name, chain, key_pem(key), names, self._now())

    async def renewal_info(self, pem: bytes) -> RenewalInfo | None:
        """Return when the authority wants a certificate renewed (RFC 9773), None where it does not say such things.

        Raises MissingError for a certificate that it does not know, ProviderError where its answer makes no sense.
        """
        identity = certificate_id(load_leaf(self.server.name, pem))
        async with self._wire() as wire:
            base = (await asyncio.to_thread(wire.directory)).urls.get("renewalInfo", "")
            if not base or not identity:
                return None
            url = f"{base.rstrip('/')}/{identity}"
            return self._window(await asyncio.to_thread(wire.get, url, "its renewal information"))

    async def revoke(self, pem: bytes, reason: int = 0, key: bytes | None = None) -> None:
        """Revoke a certificate (RFC 8555 section 7.6) with the account here, or with the certificate's own `key` (PEM).

        One that is revoked already is as good. Raises ProviderAuthError where the authority takes neither.
        """
        leaf, name = load_leaf(self.server.name, pem), self.server.name
        if reason not in _REASONS:
            raise RejectedError(
                f"{name}: {reason} is no reason to revoke a certificate (RFC 5280 section 5.3.1)",
                hint="0 unspecified, 1 key compromised, 3 affiliation changed, 4 superseded, 5 no longer used",
            )
        async with self._wire() as wire:
            signer = await self._revoker(wire, key)
            talk = Conversation(wire, signer, self._pace, self._note)
            url = (await asyncio.to_thread(wire.directory)).urls["revokeCert"]
            doing = f"revoking {leaf.serial_number:x}"
            payload = {"certificate": base64url(leaf.public_bytes(Encoding.DER)), "reason": reason}
            reply = await talk.patiently(lambda: talk.ask(url, payload, doing))
            if reply.problem is None or reply.problem.code == "alreadyRevoked":
                return
            error = refusal(name, doing, reply.problem, reply.retry_after_seconds)
            if isinstance(error, ProviderAuthError):
                error.hint = (
                    "give the certificate's own key, or use the account that it was issued to"
                    if key is None
                    else "neither the account here nor the certificate's own key was taken: revoke it on the "
                    "authority's site, or with the account that it was issued to"
                )
            raise error

    async def roll_over(self) -> None:
        """Give the account a new key (RFC 8555 section 7.3.5). A run that is killed in between heals at the next call.

        Where the server does not answer, both keys stay until it says which one it knows.
        """
        async with self._wire() as wire:
            account = self._account(wire)
            await asyncio.to_thread(account.roll_over)

    async def deactivate(self) -> None:
        """Close the account for good. Raises MissingError where there is none here."""
        async with self._wire() as wire:
            account = self._account(wire)
            await asyncio.to_thread(account.deactivate)

    def stored_account(self) -> tuple[Registration | None, Path]:
        """Return what is on disk of the account, None without one, and where its key lies or would lie; asks nobody."""
        account = self._account(Wire(self.server, self._now))
        return account.stored(), account.key_file

    async def terms_url(self) -> str:
        """Return where the terms of service are that an account agrees to, "" where there are none."""
        return (await self.directory()).terms_url

    async def directory(self) -> Directory:
        """Return what the server offers: terms, profiles, whom CAA records must name."""
        async with self._wire() as wire:
            return await asyncio.to_thread(wire.directory)

    async def health(self) -> str:
        """Return one sentence about server and account; reads only. Raises where the server cannot be used."""
        async with self._wire() as wire:
            await asyncio.to_thread(wire.directory)
            stored = self._account(wire).stored()
        account = (
            f"the account here is {stored.uri}" if stored else "there is no account here yet: the first order makes it"
        )
        return f"{self.server.name} answers; {account}"

    # -- steps ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _wire(self) -> AsyncIterator[Wire]:
        """One for each call: nothing is shared between tasks, nothing stays open."""
        check_ca_file(self.server)
        wire = Wire(self.server, self._now)
        try:
            yield wire
        finally:
            wire.close()

    def _account(self, wire: Wire) -> Account:
        return Account(self.server, self.accounts, wire, self._note)

    async def _ordered(
        self, wire: Wire, names: tuple[str, ...], request: CertificateRequest, directory: Directory
    ) -> Order:
        payload: dict[str, object] = {"identifiers": [{"type": "dns", "value": name} for name in names]}
        if request.profile:
            payload["profile"] = request.profile
        replaces = self._replaced(request, directory)
        if replaces:
            payload["replaces"] = replaces
        url, doing = directory.urls["newOrder"], f"the order of {', '.join(names)}"
        talk, reply = await self._asked_with_account(wire, url, payload, doing)
        if replaces and reply.problem is not None and _is_about_replaced(reply.problem):
            self._note(f"{self.server.name}: ordered as a new certificate, not as a renewal: {reply.problem.words}")
            reply = await talk.ask(url, {key: value for key, value in payload.items() if key != "replaces"}, doing)
        if reply.problem is not None and reply.problem.code == "unauthorized":
            raise self._account_refused(doing, reply)
        wire.checked(reply, doing)
        order_url = reply.headers.get("Location", "")
        if not order_url:
            raise ProviderError(
                f"{self.server.name}: it did not say where {doing} is (RFC 8555 section 7.4)",
                hint="the server does not keep to the protocol; ask its operator",
            )
        return Order(talk, order_url, reply, names)

    async def _asked_with_account(
        self, wire: Wire, url: str, payload: JsonObject, doing: str
    ) -> tuple[Conversation, Reply]:
        """Ask with the account, made anew where the server has forgotten it."""
        account = self._account(wire)
        talk = Conversation(wire, await asyncio.to_thread(account.ensure), self._pace, self._note)
        reply = await talk.ask(url, payload, doing)
        if reply.problem is not None and reply.problem.code == "accountDoesNotExist":
            self._note(f"{self.server.name}: it does not know the account any more, so it is made anew")
            signer = await asyncio.to_thread(account.ensure, forgotten=True)
            talk = Conversation(wire, signer, self._pace, self._note)
            reply = await talk.ask(url, payload, doing)
        return talk, reply

    def _replaced(self, request: CertificateRequest, directory: Directory) -> str:
        if not request.replaces or "renewalInfo" not in directory.urls:
            return ""
        return certificate_id(load_leaf(self.server.name, request.replaces))

    def _check_profile(self, profile: str, directory: Directory) -> None:
        if profile and profile not in directory.profiles:
            offered = ", ".join(directory.profiles) or "none"
            raise UnsupportedError(
                f"{self.server.name}: it has no profile {profile!r}; it offers {offered}",
                hint="set ACME_PROFILE to one that it offers, or to nothing",
            )

    def _account_refused(self, doing: str, reply: Reply) -> ProviderAuthError:
        words = reply.problem.words if reply.problem else ""
        folder = account_folder(self.accounts, self.server.directory_url)
        return ProviderAuthError(
            f"{self.server.name}: {doing} was refused to this account: {words}",
            hint=f"where the account was deactivated, move {folder} aside: the next order makes a new one",
        )

    async def _revoker(self, wire: Wire, key: bytes | None) -> Signer:
        if key is not None:
            try:
                return Signer(AccountKey.load(key))
            except ValueError as exc:
                raise ProviderAuthError(
                    f"{self.server.name}: the certificate's key cannot be read", hint="give its PEM, without passphrase"
                ) from exc
        account = self._account(wire)
        signer = await asyncio.to_thread(account.find)
        if signer is None:
            raise ProviderAuthError(
                f"{self.server.name}: there is no account here that could revoke a certificate",
                hint="give the certificate's own key",
            )
        return signer

    def _window(self, reply: Reply) -> RenewalInfo:
        window = reply.json.get("suggestedWindow")
        found = window if isinstance(window, dict) else {}
        start, end = _moment(found.get("start")), _moment(found.get("end"))
        if start is None or end is None or end <= start:
            raise ProviderError(
                f"{self.server.name}: its renewal information has no window that makes sense (RFC 9773 section 4.2)",
                hint="certificates are renewed by their dates meanwhile",
            )
        told = reply.retry_after_seconds or _ARI_SECONDS
        return RenewalInfo(start, end, min(max(told, _ARI_SHORTEST), _ARI_LONGEST), reply.said("explanationURL"))


def _is_about_replaced(problem: Problem) -> bool:
    return problem.code in _NOT_REPLACED or problem.status in {_CONFLICT, _NOT_FOUND}


def _moment(text: object) -> datetime | None:
    """Return an RFC 3339 moment in UTC, None where it is none."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None
