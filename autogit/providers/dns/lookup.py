"""Looks into DNS: finds the servers of a name's zone from outside, and asks each of them directly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from autogit.errors import UnavailableError, UsageError
from autogit.model.dns import RecordKey
from autogit.model.dns_checks import Authority, Nameserver, Seen, ServerAnswer, Via
from autogit.providers.dns.asking import endpoint, system_servers
from autogit.providers.dns.exchange import Question, Reply, ask_address, ask_https, check_https_url

_PORT = 53
_MOST_ALIASES = 8
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


class Lookup:
    """Asks DNS from outside. It remembers the servers of zones: make one for a task, not one for a day."""

    def __init__(self, config: LookupConfig | None = None) -> None:
        self.config = config or LookupConfig()
        self._servers: dict[str, Authority] = {}
        self._zones: dict[str, str] = {}
        self._port_is_shut = False

    async def ask_public(self, question: Question) -> Heard:
        """Return what a public resolver says; DNS over HTTPS where port 53 brings nothing, or refusals only."""
        said: tuple[str, ...] = ()
        if not self._port_is_shut and self.config.resolvers:
            heard = await self._ask_resolvers(question)
            if heard.reply is not None and heard.reply.rcode == "SERVFAIL":
                heard = await self._ask_resolvers(question)  # a resolver that is busy finding out fails once
            if heard.reply is not None and heard.reply.rcode != "REFUSED":
                return heard
            said = heard.said
            self._port_is_shut = heard.reply is None
        heard = await _first({url: self._ask_url(url, question) for url in self.config.doh_urls}, Via.DOH)
        return replace(heard, said=(*said, *heard.said))

    async def ask_system(self, question: Question) -> Heard:
        """Return what the resolver of this host says."""
        servers = system_servers() if self.config.system is None else self.config.system
        return await _first({at: self._ask_endpoint(at, question) for at in servers}, Via.RESOLVER)

    async def ask_every_public(
        self, question: Question, *, https_only: bool = False
    ) -> tuple[tuple[str, Reply | UnavailableError], ...]:
        """Return what each public resolver says, port 53 and HTTPS, or why it says nothing."""
        asked: dict[str, Coroutine[Any, Any, Reply]] = {}
        if not https_only and not self._port_is_shut:
            asked |= {at: self._ask_endpoint(at, question) for at in self.config.resolvers}
        asked |= {url: self._ask_url(url, question) for url in self.config.doh_urls}
        return tuple(zip(asked, await asyncio.gather(*map(_caught, asked.values())), strict=True))

    async def public_answers(self, key: RecordKey, *, https_only: bool = False) -> tuple[ServerAnswer, ...]:
        """Return what each public resolver has for a key, aliases followed; nobody has where a zone is private."""
        if self.config.servers:
            return ()
        heard = await self.ask_every_public(Question(key), https_only=https_only)
        return tuple(_row(by, key, reply) for by, reply in heard)

    async def ask_server(self, server: Nameserver, question: Question) -> Reply:
        """Return what one address of a zone's server says. Raises UnavailableError."""
        if not server.address:  # one of `config.servers`
            return await self._ask_endpoint(server.name, question)
        address, port = self.config.reach(server.address)
        return await ask_address(address, port, question, self.config.timeout_seconds)

    async def ask_each(self, authority: Authority, question: Question) -> tuple[tuple[Nameserver, Reply], ...]:
        """Return what each address of a zone's servers says with authority; the others are left out."""
        replies = await asyncio.gather(*(_caught(self.ask_server(one, question)) for one in authority.servers))
        heard = zip(authority.servers, replies, strict=True)
        return tuple((one, told) for one, told in heard if isinstance(told, Reply) and told.has("AA") and told.decides)

    async def authoritative(self, name: str) -> Authority:
        """Find the zone of a name by SOA through the public resolvers, and every address of its servers.

        Do not give it a name that is about to be created: resolvers remember that it is not there (RFC 2308).
        """
        at, via, failure = name, Via.NOBODY, ""
        while at:
            heard = await self.ask_public(Question(RecordKey(at, "SOA")))
            if heard.reply is None:
                return Authority("", sentence=f"nobody tells the zone of {name}: {heard.sentence}")
            zone, via = heard.reply.zone_of(at), heard.via
            if zone == ".":
                break
            if zone and not failure:
                return await self.servers_of(zone)
            if zone:  # the servers below fail the resolver: those above say which they are
                return await self._descend(await self.servers_of(zone), name)
            if not heard.reply.decides:
                failure = f"nobody tells the zone of {name}: {heard.by} answers {heard.reply.rcode}"
            at = _above(at)
        if failure:
            return Authority("", sentence=failure)
        return Authority("", sentence=f"no public zone holds {name}", via=via)

    async def servers_of(self, zone: str, delegated: tuple[Nameserver, ...] = ()) -> Authority:
        """Return every address of a zone's servers, as the public resolvers have them, else as delegated."""
        if zone not in self._servers:
            found = await self._look_up_servers(zone)
            if not found.servers and delegated:
                found = await self._delegated(zone, delegated)
            if not found.servers:
                return found
            self._servers[zone] = found
        return self._servers[zone]

    async def authority_over(self, name: str) -> Authority:
        """Find the zone of a name without asking a resolver for the name: it may be about to be created.

        Resolvers are asked for its last two labels; from there on the servers themselves say where a deeper zone is.
        """
        if self.config.servers:
            return Authority("", tuple(map(Nameserver, self.config.servers)), via=Via.AUTHORITY)
        if name in self._zones:
            return await self.servers_of(self._zones[name])
        return await self._descend(await self.authoritative(".".join(name.split(".")[-2:])), name)

    async def _descend(self, authority: Authority, name: str) -> Authority:
        """Go down from an authority to that of a name, delegation by delegation."""
        while authority.servers:
            below, delegated = await self._zone_below(authority, name)
            if below == authority.zone:
                self._zones[name] = below
            if below in {"", authority.zone}:
                break
            authority = await self.servers_of(below, delegated)
        return authority

    def known_zone(self, name: str) -> str:
        """Return the zone that a name was found to be in, empty if it was not looked for."""
        return self._zones.get(name, "")

    async def ask_all(self, key: RecordKey) -> Seen:
        """Ask each address of the zone's servers for a key, following aliases (8 at most, RFC 1034 section 3.6.2)."""
        chain = [key.name]
        while True:
            name = chain[-1]
            authority = await self.authority_over(name)
            here = RecordKey(name, key.type)
            answers = await asyncio.gather(*(self._answer(server, here, authority) for server in authority.servers))
            seen = Seen(key, authority, tuple(answers), tuple(chain), authority.sentence)
            aliases = {one.alias for one in seen.speaking}
            if not any(aliases):
                return seen
            if len(aliases) > 1:
                kinds = ", ".join(sorted(alias or "none" for alias in aliases))
                return replace(seen, sentence=f"the servers differ in the alias at {name}: {kinds}")
            alias = aliases.pop()
            if alias in chain:
                return replace(seen, sentence=f"the aliases go round in a circle: {' -> '.join([*chain, alias])}")
            if len(chain) > _MOST_ALIASES:
                return replace(seen, sentence=f"{key.name} leads through more than {_MOST_ALIASES} aliases")
            chain.append(alias)

    async def _ask_resolvers(self, question: Question) -> Heard:
        return await _first({at: self._ask_endpoint(at, question) for at in self.config.resolvers}, Via.RESOLVER)

    async def _answer(self, server: Nameserver, key: RecordKey, authority: Authority) -> ServerAnswer:
        named = bool(self.config.servers)
        try:
            reply = await self.ask_server(server, Question(key, recurse=named))
        except UnavailableError as exc:
            return ServerAnswer(server, error=exc.message)
        alias = reply.alias(key.name) if key.type != "CNAME" else ""
        return ServerAnswer(
            server,
            values=reply.values(key),
            ttl=reply.ttl(RecordKey(key.name, "CNAME") if alias else key),
            rcode=reply.rcode,
            authoritative=reply.has("AA"),
            recursive=reply.has("RA"),
            alias=alias,
            error=_failure(reply) if named else _lameness(reply, authority.zone, alias),
        )

    async def _zone_below(self, authority: Authority, name: str) -> tuple[str, tuple[Nameserver, ...]]:
        """Return the zone next to an authority's on the way to a name, or that itself where none is below it.

        Its servers tell, and may name that zone's servers; empty where none of them does.
        """
        at, below = name, f".{authority.zone}"

        def tells(reply: Reply) -> bool:
            return reply.has("AA") or (reply.decides and reply.zone_of(name).endswith(below))

        while at.endswith(below):
            question = Question(RecordKey(at, "SOA"), recurse=False)
            asked = {str(server): self.ask_server(server, question) for server in authority.servers}
            heard = await _first(asked, Via.AUTHORITY, tells)
            if heard.reply is None or not tells(heard.reply):
                return "", ()
            if not heard.reply.alias(at):
                zone = heard.reply.zone_of(at)
                return (zone, heard.reply.delegation(zone)) if zone.endswith(below) else (authority.zone, ())
            at = _above(at)  # an alias is never where a zone begins (RFC 1034 section 3.6.2)
        return authority.zone, ()

    async def _delegated(self, zone: str, delegated: tuple[Nameserver, ...]) -> Authority:
        """Return the servers that the zone above names: no resolver gets an answer from them."""
        bare = [server.name for server in delegated if not server.address]
        found = await asyncio.gather(*map(self._addresses, bare))
        servers = [server for server in delegated if server.address] + [one for servers in found for one in servers]
        names = ", ".join(dict.fromkeys(server.name for server in delegated))
        sentence = "" if servers else f"the servers of {zone} have no addresses: {names}"
        return Authority(zone, tuple(servers), sentence, Via.AUTHORITY)

    async def _look_up_servers(self, zone: str) -> Authority:
        heard = await self.ask_public(Question(RecordKey(zone, "NS")))
        if heard.reply is None:
            return Authority(zone, sentence=f"nobody tells the servers of {zone}: {heard.sentence}")
        names = heard.reply.values(RecordKey(zone, "NS"))
        if not names:
            failure = f"{heard.by} answers {heard.reply.rcode} for its NS records"
            return Authority(zone, sentence=f"nobody tells the servers of {zone}: {failure}", via=heard.via)
        found = await asyncio.gather(*(self._addresses(name) for name in names))
        servers = tuple(dict.fromkeys(server for servers in found for server in servers))
        sentence = "" if servers else f"the servers of {zone} have no addresses: {', '.join(names)}"
        return Authority(zone, servers, sentence, heard.via)

    async def _addresses(self, name: str) -> list[Nameserver]:
        """Return a server's addresses, IPv4 first."""
        keys = [RecordKey(name, kind) for kind in ("A", "AAAA")]
        heard = await asyncio.gather(*(self.ask_public(Question(key)) for key in keys))
        replies = [(one.reply, key) for one, key in zip(heard, keys, strict=True) if one.reply]
        return [Nameserver(name, value) for reply, key in replies for value in reply.final_values(key.type)]

    async def _ask_endpoint(self, text: str, question: Question) -> Reply:
        host, port = endpoint(text)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError as exc:
            raise UnavailableError("has no address") from exc
        return await ask_address(str(found[0][4][0]), port, question, self.config.timeout_seconds)

    async def _ask_url(self, url: str, question: Question) -> Reply:
        seconds = self.config.timeout_seconds
        work = asyncio.to_thread(ask_https, url, question, seconds, self.config.ca_file)
        try:
            # Finding the address of the host takes as long as it takes, in the thread.
            return await asyncio.wait_for(work, seconds * _HTTPS_STEPS)
        except TimeoutError as exc:
            raise UnavailableError("does not answer") from exc


def _failure(reply: Reply) -> str:
    """Return what a server failed with, as the rest of a sentence; empty if its answer decides."""
    because = f" ({reply.reason})" if reply.reason else ""
    return "" if reply.decides else f"answers {reply.rcode}{because}"


def _lameness(reply: Reply, zone: str, alias: str) -> str:
    """Return why an answer does not count, as the rest of a sentence; empty if it does."""
    if reply.has("AA") and (reply.decides or alias):  # it fails (SERVFAIL) where an alias of its own leads in a circle
        return ""
    if failure := _failure(reply):
        return failure if reply.rcode == "SERVFAIL" else f"{failure}: it does not serve the zone {zone}"
    if reply.has("RA"):
        return f"answers as a resolver does, not as a server of the zone {zone}"
    return f"answers without authority: it does not serve the zone {zone}"


async def _caught(asked: Coroutine[Any, Any, Reply]) -> Reply | UnavailableError:
    try:
        return await asked
    except UnavailableError as exc:
        return exc


def _row(by: str, key: RecordKey, reply: Reply | UnavailableError) -> ServerAnswer:
    """Return a resolver's answer as a row."""
    if isinstance(reply, UnavailableError):
        return ServerAnswer(Nameserver(by), error=reply.message)
    values = reply.final_values(key.type)
    return ServerAnswer(Nameserver(by), values, rcode=reply.rcode, recursive=True, error=_failure(reply))


async def _first(
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


def _above(name: str) -> str:
    return name.partition(".")[2]
