"""One order of a certificate (RFC 8555 section 7.4): proofs shown, answered and taken away, the chain fetched."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from autogit.errors import AutogitError, RateLimitedError, RejectedError, UnavailableError
from autogit.model.acme import Challenge, ChallengeKind, Solver
from autogit.providers.ssl.acme_certificate import top_issuer
from autogit.providers.ssl.acme_errors import Problem, not_validated, refusal, unavailable
from autogit.providers.ssl.acme_keys import JsonObject, dns_value, key_authorization
from autogit.providers.ssl.acme_wire import Reply, Signer, Wire

Solvers = Callable[[str], Solver] | Mapping[ChallengeKind, Solver]

_READ_PAUSES_SECONDS = (1.0, 3.0)
_POLL_PAUSES_SECONDS = (0.2, 0.4, 0.8, 1.5, 2.0, 3.0, 5.0)
_FAILURES_IN_A_ROW = 8
_FINALISED_TRIES = 3
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")
_CHAIN_TYPE = "application/pem-certificate-chain"


@dataclass(frozen=True, slots=True)
class Pace:
    """How time passes: a monotonic clock (seconds), what sleeps, and how long one stage of an order may take."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[Any]]
    limit_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class _Proof:
    """A challenge of an authorization, whom it is shown by, and where it is answered."""

    name: str
    authorization_url: str
    answer_url: str
    challenge: Challenge
    solver: Solver


class Conversation:
    """Asks one server on behalf of one account, and asks again where that is harmless."""

    def __init__(self, wire: Wire, signer: Signer, pace: Pace, note: Callable[[str], None]) -> None:
        self.wire = wire
        self.signer = signer
        self.pace = pace
        self.note = note

    @property
    def server(self) -> str:
        """What the server is called in sentences."""
        return self.wire.server.name

    async def ask(self, url: str, payload: JsonObject | None, doing: str, *, accept: str = "") -> Reply:
        """Return the answer to a signed request, refusals included."""
        return await asyncio.to_thread(self.wire.post, url, payload, self.signer, doing, accept=accept)

    async def read(self, url: str, doing: str, *, accept: str = "") -> Reply:
        """Return what is at a URL (POST-as-GET); a server that does not answer is asked three times."""
        return self.wire.checked(await self.patiently(lambda: self.ask(url, None, doing, accept=accept)), doing)

    async def patiently(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Ask up to three times: for what may be repeated without harm."""
        for pause in _READ_PAUSES_SECONDS:
            try:
                return await ask()
            except RateLimitedError:
                raise
            except UnavailableError:
                await self.pace.sleep(pause)
        return await ask()

    async def poll(self, url: str, while_in: Collection[str], doing: str, deadline: float) -> Reply:
        """Return what is at a URL once its status is another than those. Raises UnavailableError at the deadline.

        Retry-After is obeyed, as far as the deadline lets it. Failures on the way are lived through: the order would
        be lost with the poll.
        """
        attempt = failures = 0
        while True:
            wait = 0.0
            try:
                reply = self.wire.checked(await self.ask(url, None, doing), doing)
                if reply.said("status") not in while_in:
                    return reply
                wait, failures = reply.retry_after_seconds, 0
            except UnavailableError as exc:
                failures += 1
                if failures >= _FAILURES_IN_A_ROW:
                    raise
                wait = exc.retry_after_seconds if isinstance(exc, RateLimitedError) else 0.0
            left = deadline - self.pace.clock()
            if left <= 0:
                raise unavailable(
                    self.server, f"{doing}: it has not decided within {self.pace.limit_seconds:.0f} seconds"
                )
            pause = max(wait, 1.0) if wait else _POLL_PAUSES_SECONDS[min(attempt, len(_POLL_PAUSES_SECONDS) - 1)]
            await self.pace.sleep(min(pause, left))
            attempt += 1

    def deadline(self) -> float:
        """Return when a stage that begins now must be through."""
        return self.pace.clock() + self.pace.limit_seconds


class Order:
    """An order that a server has taken, by its URL; `facts` is what the server said of it."""

    def __init__(self, talk: Conversation, url: str, facts: Reply, names: Sequence[str]) -> None:
        self._talk = talk
        self._url = url
        self._facts = facts
        self._names = {name.removeprefix("*.") for name in names}
        self._title = f"the order of {', '.join(names)}"

    async def validate(self, solvers: Solvers) -> None:
        """Prove every name that is not proved yet. What was shown is taken away in every case.

        Raises RejectedError with the authority's reasons, all of them, and whatever a solver raises.
        """
        proofs = await self._proofs(solvers)
        if not proofs:
            return
        async with self._presented(proofs):
            for proof in proofs:
                await self._answer(proof)
            await self._decided(proofs)

    async def finalise(self, request: str) -> str:
        """Send the signing request and return the certificate's URL.

        An answer that was lost is asked about, never repeated blindly: the certificate may be there.
        """
        talk, deadline = self._talk, self._talk.deadline()
        order = await talk.poll(self._url, {"pending", "processing"}, self._title, deadline)
        lost: UnavailableError | None = None
        for attempt in range(_FINALISED_TRIES):
            if order.said("status") != "ready" or isinstance(lost, RateLimitedError):
                break
            if attempt:
                await talk.pace.sleep(_READ_PAUSES_SECONDS[attempt - 1])
            try:
                reply = await talk.ask(self._finalise_url(order), {"csr": request}, self._title)
                if reply.problem is None or reply.problem.code != "orderNotReady":
                    talk.wire.checked(reply, self._title)
                lost = None
            except UnavailableError as exc:
                lost = exc
            order = await talk.poll(self._url, {"pending", "processing"}, self._title, deadline)
        return self._certificate_url(order, lost)

    async def chain(self, url: str, preferred: str) -> bytes:
        """Return the certificate with the chain whose top issuer is preferred, the server's own where there is none."""
        usual = await self._talk.read(url, "the certificate", accept=_CHAIN_TYPE)
        chains = [usual.text.encode()]
        if not preferred or top_issuer(chains[0]) == preferred:
            return chains[0]
        for other in usual.links("alternate"):
            try:
                reply = await self._talk.read(other, "another chain", accept=_CHAIN_TYPE)
            except AutogitError as exc:
                self._talk.note(exc.message)
                continue
            chains.append(reply.text.encode())
            if top_issuer(chains[-1]) == preferred:
                return chains[-1]
        offered = ", ".join(dict.fromkeys(filter(None, map(top_issuer, chains))))
        self._talk.note(
            f"{self._talk.server}: no chain leads up to {preferred!r}, so the usual one is taken; there are {offered}"
        )
        return chains[0]

    # -- proofs --------------------------------------------------------------------------------------------------

    async def _proofs(self, solvers: Solvers) -> list[_Proof]:
        urls = self._facts.json.get("authorizations")
        found: list[_Proof] = []
        for url in urls if isinstance(urls, list) else []:
            reply = await self._talk.read(str(url), self._title)
            if reply.said("status") == "valid":
                continue
            if reply.said("status") != "pending":
                raise not_validated(self._talk.server, [(_name_of(reply), _reason(reply))])
            found.append(self._proof(str(url), reply, solvers))
        return found

    def _proof(self, url: str, authorization: Reply, solvers: Solvers) -> _Proof:
        name = _name_of(authorization)
        identifier = name.removeprefix("*.")
        if identifier not in self._names:
            raise RejectedError(
                f"{self._talk.server}: it wants a proof for {name or 'nothing'!r}, which was not asked for",
                hint="the server does not keep to the protocol; ask its operator",
            )
        offered = {str(one.get("type")): one for one in _challenges(authorization)}
        solver = self._solver(name, offered, solvers)
        chosen = offered.get(solver.kind) if solver else None
        if solver is None or chosen is None:
            raise RejectedError(
                f"{self._talk.server}: it has no challenge for {name} that can be met here; it offers "
                f"{', '.join(offered) or 'none'}",
                hint="wildcards are proved by dns-01 only, which needs a DNS provider",
            )
        token, answer_url = str(chosen.get("token", "")), str(chosen.get("url", ""))
        # It becomes a file's name and a path.
        if not _TOKEN.fullmatch(token):
            raise RejectedError(
                f"{self._talk.server}: its challenge for {name} has a token that RFC 8555 section 8.1 does not allow",
                hint="the server does not keep to the protocol; ask its operator",
            )
        authorization_of_key = key_authorization(token, self._talk.signer.key)
        if solver.kind == "dns-01":
            shown = Challenge("dns-01", identifier, f"_acme-challenge.{identifier}", dns_value(authorization_of_key))
        else:
            shown = Challenge("http-01", identifier, f"/.well-known/acme-challenge/{token}", authorization_of_key)
        return _Proof(name, url, answer_url, shown, solver)

    def _solver(self, name: str, offered: Collection[str], solvers: Solvers) -> Solver | None:
        if not isinstance(solvers, Mapping):
            return solvers(name)
        usable = (kind for kind in solvers if kind in offered and (kind == "dns-01" or not name.startswith("*.")))
        kind = next(usable, None)
        return solvers[kind] if kind else None

    @asynccontextmanager
    async def _presented(self, proofs: Sequence[_Proof]) -> AsyncIterator[None]:
        """Show all proofs, each solver's together; take them away again, whatever happens in between."""
        groups: dict[int, tuple[Solver, list[Challenge]]] = {}
        for proof in proofs:
            groups.setdefault(id(proof.solver), (proof.solver, []))[1].append(proof.challenge)
        begun: list[tuple[Solver, list[Challenge]]] = []
        try:
            for solver, shown in groups.values():
                begun.append((solver, shown))
                await solver.present(shown)
            yield
        finally:
            await _uninterrupted(self._clean(begun))

    async def _clean(self, begun: Sequence[tuple[Solver, list[Challenge]]]) -> None:
        for solver, shown in begun:
            try:
                await solver.clean(shown)
            except AutogitError as exc:
                # Neither worth a certificate that came nor the reason why none came.
                self._talk.note(f"{self._talk.server}: proofs could not be taken away: {exc.message}")

    async def _answer(self, proof: _Proof) -> None:
        """Tell the authority to look. Where an earlier answer may have landed, a refusal means that it did."""
        lost, doing = False, f"the challenge for {proof.name}"

        async def once() -> Reply:
            nonlocal lost
            try:
                return await self._talk.ask(proof.answer_url, {}, doing)
            except UnavailableError:
                lost = True
                raise

        reply = await self._talk.patiently(once)
        if not lost:
            self._talk.wire.checked(reply, doing)

    async def _decided(self, proofs: Sequence[_Proof]) -> None:
        deadline = self._talk.deadline()
        failed: list[tuple[str, Problem]] = []
        for proof in proofs:
            doing = f"the validation of {proof.name}"
            try:
                reply = await self._talk.poll(proof.authorization_url, {"pending"}, doing, deadline)
            except UnavailableError:
                if failed:
                    break  # a reason is worth more than a silence
                raise
            if reply.said("status") != "valid":
                failed.append((proof.name, _reason(reply)))
        if failed:
            raise not_validated(self._talk.server, failed)

    # -- the certificate -----------------------------------------------------------------------------------------

    def _finalise_url(self, order: Reply) -> str:
        return order.said("finalize") or self._facts.said("finalize")

    def _certificate_url(self, order: Reply, lost: UnavailableError | None) -> str:
        status, server = order.said("status"), self._talk.server
        if status == "valid" and order.said("certificate"):
            return order.said("certificate")
        if status == "ready":
            raise lost or unavailable(server, f"{self._title}: it was never ready for the signing request")
        problem = Problem.parse(order.json.get("error"))
        if problem is not None:
            raise refusal(server, self._title, problem, order.retry_after_seconds)
        raise RejectedError(
            f"{server}: {self._title} ended as {status or 'nothing'!r}, and it gave no reason", hint="try again later"
        )


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Finish something even where the task is cancelled meanwhile; the cancellation counts afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is None or task.cancelled() or task.exception() is not None:
        task.result()
    if cancelled is not None:
        raise cancelled


def _name_of(authorization: Reply) -> str:
    """Return the name that an authorization is for, a wildcard as one (RFC 8555 section 7.1.4)."""
    identifier = authorization.json.get("identifier")
    name = str(identifier.get("value", "")) if isinstance(identifier, Mapping) else ""
    return f"*.{name}" if authorization.json.get("wildcard") is True else name


def _challenges(authorization: Reply) -> list[Mapping[str, object]]:
    found = authorization.json.get("challenges")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _reason(authorization: Reply) -> Problem:
    """Return why an authorization is not valid: the error of one of its challenges, where there is one."""
    found = (Problem.parse(one.get("error")) for one in _challenges(authorization))
    status = authorization.said("status") or "unknown"
    return next(filter(None, found), Problem("", f"its authorization is {status}, and no reason was given"))
