"""Asks resolvers: public ones over port 53 or HTTPS, and this host's; remembers who is silent."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Self

from autogit.errors import UnavailableError, UsageError
from autogit.model.dns import RecordKey
from autogit.model.dns_checks import Nameserver, ServerAnswer, Via
from autogit.providers.dns.asking import endpoint, system_servers
from autogit.providers.dns.world.exchange import SILENCE, Question, Reply, ask_address, ask_https, check_https_url

_PORT = 53
# A resolver may be silent for one zone whose servers are; never heard and silent so often, it is down.
_SILENCES = 3
_HTTPS_STEPS = 3  # connect, TLS, answer: each may take the timeout
_RESOLVERS = ("1.1.1.1", "8.8.8.8", "9.9.9.9")
_DOH_URLS = ("https://cloudflare-dns.com/dns-query", "https://dns.google/dns-query")


def _usual_port(address: str) -> tuple[str, int]:
    return address, _PORT


@dataclass(frozen=True, slots=True)
class LookupConfig:
    """Who is asked, and for how long.

    `resolvers` and `doh_urls` are public: what the local network's resolver says of a zone may be another zone.
    `servers` are endpoints to ask instead of finding a zone's own: those of a private zone, which need not be
    authorities (dnsmasq is none). `system` are the endpoints of the local resolver (None: those of this host). `reach`
    maps the address of a zone's server to address and port. `ca_file` holds the CA of the DoH servers (empty: the
    system's). Raises UsageError for what is no endpoint or no https URL.
    """

    resolvers: tuple[str, ...] = _RESOLVERS
    doh_urls: tuple[str, ...] = _DOH_URLS
    servers: tuple[str, ...] = ()
    system: tuple[str, ...] | None = None
    timeout_seconds: float = 2.0
    reach: Callable[[str], tuple[str, int]] = _usual_port
    ca_file: str = ""

    def __post_init__(self) -> None:
        try:
            for text in (*self.resolvers, *self.servers, *(self.system or ())):
                endpoint(text)
            for url in self.doh_urls:
                check_https_url(url)
        except ValueError as exc:
            raise UsageError(f"dns: {exc}") from exc
        if self.timeout_seconds <= 0:
            raise UsageError(f"dns: a timeout of {self.timeout_seconds} seconds leaves no time to answer")


@dataclass(frozen=True, slots=True)
class Heard:
    """What somebody said, who it was, and what the others said instead; no reply where nobody answered."""

    reply: Reply | None
    by: str = ""
    via: Via = Via.NOBODY
    said: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Why there is no answer."""
        return "; ".join(self.said) or "there is nobody to ask"


class Resolvers:
    """Asks resolvers, and remembers who is silent."""

    def __init__(self, config: LookupConfig | None = None) -> None:
        self.config = config or LookupConfig()
        self.skips_silent = False
        self._silent: dict[str, list[str]] = {}
        self._heard: set[str] = set()
        self._port_is_shut = False

    def impatient(self) -> Self:
        """Return one that knows the same, and asks nobody again who was never heard: for many questions in a row."""
        other = copy.copy(self)
        other.skips_silent = True
        return other

    async def ask_public(self, question: Question) -> Heard:
        """Return what a public resolver says; DNS over HTTPS where port 53 brings nothing, or refusals only."""
        if self._port_is_shut:
            heard = await self._ask_urls(question)
            return heard if heard.reply is not None else _joined(heard, await self._ask_port(question))
        heard = await self._ask_port(question)
        if heard.reply is not None and heard.reply.rcode != "REFUSED":
            return heard
        return _joined(heard, await self._ask_urls(question))

    async def ask_system(self, question: Question) -> Heard:
        """Return what the resolver of this host says."""
        servers = system_servers() if self.config.system is None else self.config.system
        return await first_heard({at: self._ask_endpoint(at, question) for at in servers}, Via.RESOLVER)

    async def ask_every_public(
        self, question: Question, *, https_only: bool = False
    ) -> tuple[tuple[str, Reply | UnavailableError], ...]:
        """Return what each public resolver says, port 53 and HTTPS, or why it says nothing."""
        asked: dict[str, Coroutine[Any, Any, Reply]] = {}
        if not https_only and not self._port_is_shut:
            asked |= {at: self._ask_endpoint(at, question) for at in self.config.resolvers}
        asked |= {url: self._ask_url(url, question) for url in self.config.doh_urls}
        return tuple(zip(asked, await asyncio.gather(*map(caught, asked.values())), strict=True))

    async def public_answers(self, key: RecordKey, *, https_only: bool = False) -> tuple[ServerAnswer, ...]:
        """Return what each public resolver has for a key, aliases followed; nobody has where a zone is private."""
        if self.config.servers:
            return ()
        heard = await self.ask_every_public(Question(key), https_only=https_only)
        return tuple(_row(by, key, reply) for by, reply in heard)

    async def _ask_port(self, question: Question) -> Heard:
        heard = await self._ask_resolvers(question)
        if heard.reply is not None and heard.reply.rcode == "SERVFAIL":
            heard = await self._ask_resolvers(question)  # a resolver that is busy finding out fails once
        self._port_is_shut = heard.reply is None
        return heard

    async def _ask_resolvers(self, question: Question) -> Heard:
        return await first_heard({at: self._ask_endpoint(at, question) for at in self.config.resolvers}, Via.RESOLVER)

    async def _ask_urls(self, question: Question) -> Heard:
        return await first_heard({url: self._ask_url(url, question) for url in self.config.doh_urls}, Via.DOH)

    async def _ask_endpoint(self, text: str, question: Question) -> Reply:
        host, port = endpoint(text)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError as exc:
            raise UnavailableError("has no address") from exc
        work = ask_address(str(found[0][4][0]), port, question, self.config.timeout_seconds)
        return await self.unless_silent(text, work, silences=_SILENCES)

    async def _ask_url(self, url: str, question: Question) -> Reply:
        seconds = self.config.timeout_seconds

        async def ask() -> Reply:
            work = asyncio.to_thread(ask_https, url, question, seconds, self.config.ca_file)
            try:
                # Finding the address of the host takes as long as it takes, in the thread.
                return await asyncio.wait_for(work, seconds * _HTTPS_STEPS)
            except TimeoutError as exc:
                raise UnavailableError("does not answer") from exc

        return await self.unless_silent(url, ask(), silences=_SILENCES)

    async def unless_silent(self, who: str, work: Coroutine[Any, Any, Reply], *, silences: int = 1) -> Reply:
        """Ask, and remember who is silent: with `impatient`, so many silences end it for who was never heard."""
        told = self._silent.setdefault(who, [])
        if self.skips_silent and len(told) >= silences and who not in self._heard:
            work.close()
            raise UnavailableError(told[-1])
        try:
            reply = await work
        except UnavailableError as exc:
            if exc.message.startswith(SILENCE):
                told.append(exc.message)
            raise
        self._heard.add(who)
        return reply


def failure_of(reply: Reply) -> str:
    """Return what a server failed with, as the rest of a sentence; empty if its answer decides."""
    because = f" ({reply.reason})" if reply.reason else ""
    return "" if reply.decides else f"answers {reply.rcode}{because}"


async def caught(asked: Coroutine[Any, Any, Reply]) -> Reply | UnavailableError:
    """Return what was asked for, or why nobody says."""
    try:
        return await asked
    except UnavailableError as exc:
        return exc


def _row(by: str, key: RecordKey, reply: Reply | UnavailableError) -> ServerAnswer:
    """Return a resolver's answer as a row."""
    if isinstance(reply, UnavailableError):
        return ServerAnswer(Nameserver(by), error=reply.message)
    values = reply.final_values(key.type)
    return ServerAnswer(Nameserver(by), values, rcode=reply.rcode, recursive=True, error=failure_of(reply))


def _joined(one: Heard, other: Heard) -> Heard:
    """Return the other's answer with what both said."""
    return replace(other, said=(*one.said, *other.said))


async def first_heard(
    asked: dict[str, Coroutine[Any, Any, Reply]],
    via: Via,
    enough: Callable[[Reply], bool] = lambda reply: reply.decides,
) -> Heard:
    """Return the first reply that is enough, else some reply, else what everybody said; the others are not awaited."""
    tasks = {asyncio.ensure_future(work): by for by, work in asked.items()}
    spare = Heard(None)
    said: list[str] = []
    try:
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failure = task.exception()
                if isinstance(failure, UnavailableError):
                    said.append(f"{tasks[task]} {failure.message}")
                    continue
                heard = Heard(task.result(), tasks[task], via, tuple(said))
                if enough(task.result()):
                    return heard
                said.append(f"{tasks[task]} answers {task.result().rcode}")
                spare = heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return replace(spare, said=tuple(said))
