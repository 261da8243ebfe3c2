"""One question to one DNS server, over UDP, TCP or HTTPS (RFC 8484), and what its reply says."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from autogit.errors import UnavailableError
from autogit.model.dns import RecordKey
from autogit.model.dns_checks import Nameserver
from autogit.providers.dns.asking import answered

if TYPE_CHECKING:
    from dns.message import Message
    from dns.rrset import RRset

# What passes every link unfragmented (DNS flag day 2020); more comes over TCP.
_PAYLOAD_BYTES = 1232
_LONGEST_BYTES = 65535
_DOH_TYPE = "application/dns-message"
_NO_EDNS = {"FORMERR", "NOTIMP"}
SILENCE = ("does not answer", "cannot be reached")
"""How the message of an UnavailableError begins where nothing came back, whatever was asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a key, and the bits RD (go and find out), CD (do not validate) and AD (say if it is valid)."""

    key: RecordKey
    recurse: bool = True
    unchecked: bool = True
    authentic: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What one server said, a refusal too."""

    message: Message

    @property
    def rcode(self) -> str:
        """The response code as text: NOERROR, NXDOMAIN, SERVFAIL, ..."""
        from dns import rcode  # noqa: PLC0415 - dnspython takes long to import

        return rcode.to_text(self.message.rcode())

    @property
    def decides(self) -> bool:
        """Whether it says that something is there or is not."""
        return self.rcode in {"NOERROR", "NXDOMAIN"}

    def has(self, flag: str) -> bool:
        """Tell whether a bit is set: AA, RA, AD, ..."""
        from dns import flags  # noqa: PLC0415 - dnspython takes long to import

        return bool(self.message.flags & flags.from_text(flag))

    @property
    def reason(self) -> str:
        """What the server says of a failure (RFC 8914), empty if nothing."""
        from dns import edns  # noqa: PLC0415 - dnspython takes long to import

        told = [option for option in self.message.options if isinstance(option, edns.EDEOption)]
        return "; ".join(option.text or option.code.name.replace("_", " ").lower() for option in told)

    def values(self, key: RecordKey) -> tuple[str, ...]:
        """Return a key's own values in normal form; what a CNAME leads to is left out."""
        return tuple(answered(self.message, key))

    def records(self, key: RecordKey) -> list[Any]:
        """Return a key's own set as dnspython has it, for those who compute with it."""
        return list(self._own(key) or ())

    def final_values(self, kind: str) -> tuple[str, ...]:
        """Return the values of a type at the end of the aliases that a resolver followed."""
        from dns import exception  # noqa: PLC0415 - dnspython takes long to import

        try:
            end = self.message.resolve_chaining().canonical_name  # type: ignore[attr-defined] # of a query's answer
        except exception.DNSException:
            return ()
        return self.values(RecordKey(_text(end), kind))

    def ttl(self, key: RecordKey) -> int | None:
        """Return the TTL of a key's own set, in seconds."""
        found = self._own(key)
        return None if found is None else int(found.ttl)

    def alias(self, name: str) -> str:
        """Return where a CNAME at a name leads, empty without one."""
        found = self._own(RecordKey(name, "CNAME"))
        return _text(found[0].target) if found else ""

    def soa(self, zone: str) -> tuple[str, str, int] | None:
        """Return primary server, contact and serial of a zone's SOA in the answer."""
        found = self._own(RecordKey(zone, "SOA"))
        return (_text(found[0].mname), _text(found[0].rname), int(found[0].serial)) if found else None

    def zone_of(self, name: str) -> str:
        """Return the zone that a name is in, by the SOA or the referral in the reply; empty if it does not say.

        The root is `.`. A negative answer has the SOA of its zone (RFC 2308 section 3).
        """
        if self.alias(name):
            return ""
        for rrset in (*self.message.answer, *self.message.authority):
            owner = _text(rrset.name)
            kind = rrset.rdtype.name
            referral = kind == "NS" and rrset in self.message.authority and not self.has("AA")
            if (kind == "SOA" or referral) and _holds(owner, name):
                return owner
        return ""

    def delegation(self, zone: str) -> tuple[Nameserver, ...]:
        """Return the servers that a referral names for a zone, by address where it has those too (glue)."""
        glue = [rrset for rrset in self.message.additional if rrset.rdtype.name in {"A", "AAAA"}]
        names = [
            _text(one.target)
            for rrset in self.message.authority
            if rrset.rdtype.name == "NS" and _text(rrset.name) == zone
            for one in rrset
        ]
        found = []
        for name in sorted(names):
            addresses = [str(one.address) for rrset in glue if _text(rrset.name) == name for one in rrset]
            found += [Nameserver(name, address) for address in addresses] or [Nameserver(name)]
        return tuple(found)

    def _own(self, key: RecordKey) -> RRset | None:
        from dns import name, rdataclass, rdatatype  # noqa: PLC0415 - dnspython takes long to import

        kind = rdatatype.from_text(key.type)
        found: RRset | None = self.message.get_rrset(self.message.answer, name.from_text(key.name), rdataclass.IN, kind)
        return found or None


async def ask_address(address: str, port: int, question: Question, timeout_seconds: float) -> Reply:
    """Return what one address says, asked over UDP, then TCP, each as long as the timeout.

    Raises UnavailableError, whose message goes on after a server's name ("does not answer").
    """
    reply = Reply(await _exchanged(address, port, _query(question), timeout_seconds))
    if reply.rcode in _NO_EDNS:  # an old server that does not know EDNS (RFC 6891 section 7)
        reply = Reply(await _exchanged(address, port, _query(question, edns=False), timeout_seconds))
    return reply


async def _exchanged(address: str, port: int, query: Message, timeout_seconds: float) -> Message:
    from dns import asyncquery, exception, message  # noqa: PLC0415 - dnspython takes long to import

    cut = ""
    try:
        return await asyncquery.udp(
            query,
            address,
            timeout_seconds,
            port,
            ignore_unexpected=True,
            ignore_errors=True,
            raise_on_truncation=True,
        )
    except message.Truncated:
        cut = "has a long answer, which takes TCP, but "
    except (OSError, EOFError, exception.DNSException):
        pass  # lost, or UDP is shut: TCP is the second try, it repeats lost packets by itself
    try:
        return await asyncquery.tcp(query, address, timeout_seconds, port)
    except (exception.Timeout, TimeoutError, ConnectionError, EOFError) as exc:
        raise UnavailableError(f"{cut}does not answer") from exc
    except OSError as exc:
        raise UnavailableError(f"{cut}cannot be reached from here: {exc.strerror or exc}") from exc
    except (exception.DNSException, ValueError) as exc:
        raise UnavailableError(f"{cut}answers with something that is not DNS") from exc


def ask_https(url: str, question: Question, timeout_seconds: float, ca_file: str = "") -> Reply:
    """Return what a DNS-over-HTTPS server says (RFC 8484, by POST); the proxy of the environment is used.

    Blocks. Raises UnavailableError, whose message goes on after the server's name.
    """
    import http.client  # noqa: PLC0415 - only where port 53 is shut
    import urllib.error  # noqa: PLC0415 - the same
    import urllib.request  # noqa: PLC0415 - the same

    from dns import exception, message  # noqa: PLC0415 - dnspython takes long to import

    query = _query(question)
    query.id = 0  # RFC 8484 section 4.1: the same question looks the same
    try:
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file or None)), _stay()
        )
        headers = {"Content-Type": _DOH_TYPE, "Accept": _DOH_TYPE, "User-Agent": "autogit"}
        request = urllib.request.Request(url, query.to_wire(), headers, method="POST")  # noqa: S310 - check_https_url
        with opener.open(request, timeout=timeout_seconds) as response:
            kind = response.headers.get_content_type()
            wire = response.read(_LONGEST_BYTES + 1)
        if kind != _DOH_TYPE:
            raise UnavailableError(f"answers with {kind} instead of {_DOH_TYPE}")
        answer = message.from_wire(wire)
    except urllib.error.HTTPError as exc:
        exc.close()
        raise UnavailableError(f"answers with HTTP status {exc.code}") from exc
    except urllib.error.URLError as exc:
        raise UnavailableError(f"cannot be reached: {exc.reason}") from exc
    except (OSError, http.client.HTTPException) as exc:
        raise UnavailableError("does not answer") from exc
    except (exception.DNSException, ValueError) as exc:
        raise UnavailableError("answers with something that is not DNS") from exc
    if not query.is_response(answer):
        raise UnavailableError("answers another question than the one that was asked")
    return Reply(answer)


def check_https_url(url: str) -> str:
    """Return a URL as it is. Raises ValueError where it is not `https://host...`."""
    parts = urlsplit(url)
    if "@" in url:  # not shown: there may be a password in it
        raise ValueError("a URL of a DNS-over-HTTPS server is https://host/path, without a user")
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL that begins with https:// and a host")
    return url


def _stay() -> Any:
    import urllib.request  # noqa: PLC0415 - only where port 53 is shut

    class Stay(urllib.request.HTTPRedirectHandler):
        """Follows no redirect: urllib would go on by GET, and not with the question."""

        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    return Stay()


def _query(question: Question, *, edns: bool = True) -> Message:
    from dns import flags, message  # noqa: PLC0415 - dnspython takes long to import

    query = message.make_query(question.key.name, question.key.type)
    if edns:
        query.use_edns(0, payload=_PAYLOAD_BYTES)
    wished = {flags.RD: question.recurse, flags.CD: question.unchecked, flags.AD: question.authentic}
    query.flags = flags.Flag(sum(flag for flag, is_set in wished.items() if is_set))
    return query


def _holds(owner: str, name: str) -> bool:
    return owner in {".", name} or name.endswith(f".{owner}")


def _text(name: Any) -> str:
    """Return a name as everywhere in AutoGit: lower-case, no final dot; the root is a dot."""
    return str(name.to_text(omit_final_dot=True)).lower() or "."
