"""Looks into DNS: finds the servers of a name's zone from outside, and asks each of them directly."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from autogit.errors import UnavailableError
from autogit.model.dns import RecordKey
from autogit.model.dns_checks import Authority, Nameserver, Seen, ServerAnswer, Via
from autogit.providers.dns.world.exchange import Question, Reply, ask_address
from autogit.providers.dns.world.resolvers import LookupConfig, Resolvers, caught, failure_of, first_heard

_MOST_ALIASES = 8


class Lookup(Resolvers):
    """Asks DNS from outside. It remembers the servers of zones: make one for a task, not one for a day."""

    def __init__(self, config: LookupConfig | None = None) -> None:
        super().__init__(config)
        self._servers: dict[str, Authority] = {}
        self._zones: dict[str, str] = {}

    async def ask_server(self, server: Nameserver, question: Question) -> Reply:
        """Return what one address of a zone's server says. Raises UnavailableError."""
        if not server.address:  # one of `config.servers`
            return await self._ask_endpoint(server.name, question)
        address, port = self.config.reach(server.address)
        work = ask_address(address, port, question, self.config.timeout_seconds)
        return await self.unless_silent(server.address, work)

    async def ask_each(self, authority: Authority, question: Question) -> tuple[tuple[Nameserver, Reply], ...]:
        """Return what each address of a zone's servers says with authority; the others are left out."""
        replies = await asyncio.gather(*(caught(self.ask_server(one, question)) for one in authority.servers))
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
            error=failure_of(reply) if named else _lameness(reply, authority.zone, alias),
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
            heard = await first_heard(asked, Via.AUTHORITY, tells)
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


def _lameness(reply: Reply, zone: str, alias: str) -> str:
    """Return why an answer does not count, as the rest of a sentence; empty if it does."""
    if reply.has("AA") and (reply.decides or alias):  # it fails (SERVFAIL) where an alias of its own leads in a circle
        return ""
    if failure := failure_of(reply):
        return failure if reply.rcode == "SERVFAIL" else f"{failure}: it does not serve the zone {zone}"
    if reply.has("RA"):
        return f"answers as a resolver does, not as a server of the zone {zone}"
    return f"answers without authority: it does not serve the zone {zone}"


def _above(name: str) -> str:
    return name.partition(".")[2]
