"""Talking to a primary DNS server: signed queries, transfers and updates over TCP, and what its refusals mean."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import dns.zone

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderAuthError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import RecordKey, RecordSet
from autogit.providers.dns.asking import endpoint
from autogit.providers.dns.presentation import shown_name, value_of, zone_value

_SIGNING = frozenset({"NSEC", "NSEC3", "NSEC3PARAM", "RRSIG", "TYPE65534"})
"""What a server makes by itself in a signed zone (RFC 4034, RFC 5155): it stands beside a CNAME, and is no wish."""
_UNMET = frozenset({dns.rcode.NXDOMAIN, dns.rcode.NXRRSET, dns.rcode.YXDOMAIN, dns.rcode.YXRRSET})
"""The answers to an update whose prerequisites do not hold (RFC 2136 section 2.2)."""
_REFUSALS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTAUTH, dns.rcode.NOTIMP, dns.rcode.REFUSED, dns.rcode.SERVFAIL})
_PAGE = "docs/how-to/dns-rfc2136.md"
_KEY_HINT = "RFC2136_KEY_NAME, _KEY_SECRET and _KEY_ALGORITHM are those of a `key` statement of the server"
_REACH_HINT = "RFC2136_SERVER is the primary server, host or host:port; it is asked over TCP"
_BROKEN_HINT = "its log says why; BIND must load the zone, and be able to write into the folder of the zone's file"
_PRIMARY_HINT = "RFC2136_SERVER is the primary of RFC2136_ZONES; a view that does not take the key hides them too"


@dataclass(frozen=True, slots=True)
class Server:
    """Who is asked, with which key, and how many seconds an answer may take."""

    address: str
    key: dns.tsig.Key = field(repr=False)
    timeout_seconds: float

    @property
    def key_name(self) -> str:
        """The name of the key as people write it."""
        return self.key.name.to_text(omit_final_dot=True)


@dataclass(frozen=True, slots=True)
class Found:
    """A set as it is there: in normal form, and as the server spells it (a text may be cut anywhere)."""

    record: RecordSet
    rdataset: dns.rdataset.Rdataset


class TransferRefusedError(ProviderAuthError):
    """The server does not give the key the zone as a whole."""


def server(address: str, key_name: str, secret: bytes, algorithm: str, timeout_seconds: float) -> Server:
    """Return a server of the parts of a configuration."""
    return Server(address, dns.tsig.Key(dns.name.from_text(key_name), secret, algorithm), timeout_seconds)


def fitted(wanted: RecordSet) -> Found:
    """Return a wish as the server will have it. Raises RejectedError where a value is none of its type."""
    datas = []
    for value in wanted.values:
        try:
            datas.append(dns.rdata.from_text("IN", wanted.key.type, zone_value(wanted.key.type, value)))
        except (dns.exception.DNSException, ValueError) as exc:
            raise RejectedError(f"rfc2136: {wanted.key} cannot be {value!r}: {str(exc) or 'it is none'}") from exc
    return _found(wanted.key, dns.rdataset.from_rdata_list(wanted.ttl, datas))


@contextmanager
def connected(to: Server, zone: str) -> Iterator[Session]:
    """Yield a session about one zone. Raises UnavailableError where nobody listens."""
    try:
        stream = socket.create_connection(endpoint(to.address), timeout=to.timeout_seconds)
    except OSError as exc:
        raise _silent(to, exc) from exc
    with stream:
        yield Session(to, zone, stream)


class Session:
    """One connection to a server, about one of its zones. Its methods block."""

    def __init__(self, to: Server, zone: str, stream: socket.socket) -> None:
        self._server = to
        self._zone = zone
        self._apex = dns.name.from_text(zone)
        self._stream = stream
        self._deadline = 0.0

    def transfer(self) -> list[Found]:
        """Return all sets (AXFR, RFC 5936). Raises TransferRefusedError, MissingError."""
        zone = dns.zone.Zone(self._apex, relativize=False)
        query, _ = dns.xfr.make_query(zone, serial=None, keyring=self._server.key)
        self._send(query)
        with self._parsing(), dns.xfr.Inbound(zone) as inbound:
            self._take_in(query, inbound)
        whole = (
            (shown_name(owner.to_text()), dns.rdatatype.to_text(one.rdtype), one)
            for owner, one in zone.iterate_rdatasets()
        )
        return [_found(RecordKey(name, kind), one) for name, kind, one in whole if kind not in _SIGNING]

    def find(self, key: RecordKey) -> Found | None:
        """Return one set, or None. What only a wildcard answers for (RFC 4592) is not there."""
        name, kind = dns.name.from_text(key.name), dns.rdatatype.from_text(key.type)
        answer = self._ask(self._query(name, kind))
        if answer.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            # The server of no such zone refuses too: who may not ask and what is not there is told by an update.
            self.check()
            raise self._refusal(answer.rcode(), f"a query of {key}")
        sections = [answer.answer]
        if kind == dns.rdatatype.NS:
            sections.append(answer.authority)  # where a zone is delegated its NS set comes as a referral
        for section in sections:
            there = answer.get_rrset(section, name, dns.rdataclass.IN, kind)
            if there:
                found = _found(key, there.to_rdataset())
                return found if self.update(present=[(name, kind)]) else None
        if answer.get_rrset(answer.authority, self._apex, dns.rdataclass.IN, dns.rdatatype.SOA) is None:
            self.check()
        return None

    def types_at(self, name: str) -> list[str]:
        """Return the types at a name, as far as the server tells (it need not, RFC 8482)."""
        owner = dns.name.from_text(name)
        answer = self._ask(self._query(owner, dns.rdatatype.ANY))
        kinds = {dns.rdatatype.to_text(found.rdtype) for found in answer.answer if found.name == owner}
        return sorted(kinds - _SIGNING)

    def check(self) -> None:
        """See that the server takes the key and is the zone's primary, by an update of nothing.

        Raises MissingError, ProviderAuthError.
        """
        if not self.update(present=[(self._apex, dns.rdatatype.SOA)]):
            raise self._refusal(dns.rcode.NOTAUTH, f"the zone {self._zone}")

    def create(self, wanted: Found) -> bool:
        """Add a set where there is none, and nothing that a CNAME cannot stand beside; tell whether it was done."""
        name, kind = _owner(wanted)
        absent = [*_against(wanted), (name, kind)]
        return self.update(wanted.record.key, lambda message: message.add(name, wanted.rdataset), absent=absent)

    def has_place(self, wanted: Found) -> bool:
        """Tell whether nothing is there that it cannot stand beside (RFC 2181 section 10.1)."""
        return self.update(absent=_against(wanted))

    def replace(self, old: Found, wanted: Found) -> bool:
        """Put a set in the place of exactly the old values; tell whether they were there."""
        name, _ = _owner(wanted)

        def change(message: dns.update.UpdateMessage) -> None:
            if name != self._apex:
                message.replace(name, wanted.rdataset)
                return
            # The NS set of the apex cannot be deleted as a whole (RFC 2136 section 3.4.2.3), only value by value.
            message.add(name, wanted.rdataset)
            gone = [data for data in old.rdataset if data not in wanted.rdataset]
            if gone:
                message.delete(name, *gone)

        return self.update(wanted.record.key, change, was=old)

    def remove(self, old: Found) -> bool:
        """Delete exactly the old values; tell whether they were there."""
        name, kind = _owner(old)
        return self.update(old.record.key, lambda message: message.delete(name, kind), was=old)

    def add_value(self, added: Found) -> bool:
        """Add values to a set, whatever else is in it; tell whether no CNAME is in the way."""
        name, _ = _owner(added)
        return self.update(
            added.record.key,
            lambda message: message.add(name, added.rdataset),
            absent=_against(added),
        )

    def remove_values(self, key: RecordKey, datas: Sequence[dns.rdata.Rdata]) -> None:
        """Take values out of a set, whatever else is in it."""
        self.update(key, lambda message: message.delete(dns.name.from_text(key.name), *datas))

    def update(
        self,
        key: RecordKey | None = None,
        change: Callable[[dns.update.UpdateMessage], None] | None = None,
        *,
        present: Collection[tuple[dns.name.Name, dns.rdatatype.RdataType]] = (),
        absent: Collection[tuple[dns.name.Name, dns.rdatatype.RdataType | None]] = (),
        was: Found | None = None,
    ) -> bool:
        """Send one update message; tell whether its prerequisites held (RFC 2136 section 3.2): else nothing is done."""
        message = dns.update.UpdateMessage(self._apex, keyring=self._server.key)
        for name, kind in present:
            message.present(name, kind)
        for owner, none_of in absent:
            message.absent(owner, none_of)
        if was is not None:
            # A prerequisite has no TTL (RFC 2136 section 2.4.2): the values alone are compared.
            message.present(_owner(was)[0], dns.rdataset.from_rdata_list(0, list(was.rdataset)))
        if change is not None:
            change(message)
        code = self._ask(message).rcode()
        if code in _UNMET:
            return False
        if code != dns.rcode.NOERROR:
            raise self._refusal(code, f"a change of {key}" if key else f"updates of {self._zone}")
        return True

    def _query(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        query = dns.message.make_query(name, kind, flags=0)  # no recursion is desired: what it keeps itself
        query.use_tsig(self._server.key)
        return query

    def _ask(self, question: dns.message.Message) -> dns.message.Message:
        """Return the signed answer to a message, or an unsigned refusal."""
        self._send(question)
        with self._parsing():
            wire = self._receive()
            bare = dns.message.from_wire(wire, keyring=False)
            if not self._is_signed(question, bare):
                return bare
            return dns.message.from_wire(wire, keyring=self._server.key, request_mac=question.mac)

    def _take_in(self, query: dns.message.Message, inbound: dns.xfr.Inbound) -> None:
        """Take in all messages of a transfer. The first and the last must be signed (RFC 8945 section 5.3.1)."""
        context, done = None, False
        while not done:
            wire = self._receive()
            if context is None:
                bare = dns.message.from_wire(wire, keyring=False, xfr=True)
                if not self._is_signed(query, bare):
                    raise self._no_transfer(bare.rcode())
            part = dns.message.from_wire(
                wire, keyring=self._server.key, request_mac=query.mac, xfr=True, tsig_ctx=context, multi=True
            )
            if part.rcode() != dns.rcode.NOERROR:
                raise self._no_transfer(part.rcode())
            context = part.tsig_ctx
            try:
                done = inbound.process_message(part)
            except dns.exception.FormError as exc:
                if part.had_tsig:
                    raise
                raise self._unsigned() from exc
        if not part.had_tsig:
            raise self._unsigned()

    def _is_signed(self, question: dns.message.Message, bare: dns.message.Message) -> bool:
        """Tell whether an answer has a signature. Raises where it has not and is no refusal, or is another's answer."""
        if not question.is_response(bare):
            raise UnavailableError(f"rfc2136: {self._server.address} answers something else than was asked")
        if bare.had_tsig:
            self._check_clock(question, bare)
        elif bare.rcode() not in _REFUSALS:
            raise self._unsigned()
        return bare.had_tsig

    def _check_clock(self, question: dns.message.Message, bare: dns.message.Message) -> None:
        """Say by how much the clocks differ where the server says that they do (RFC 8945 section 5.2.3)."""
        if bare.tsig_error != dns.rcode.BADTIME or not bare.tsig or not question.tsig:
            return
        said, signed = bare.tsig[0].other, question.tsig[0].time_signed
        seconds = int.from_bytes(said, "big") - signed if said else 0
        side = "behind" if seconds > 0 else "ahead of"
        differ = f"is {abs(seconds)} s {side} the server's" if seconds else "is not the server's"
        raise ProviderAuthError(
            f"rfc2136: {self._server.address} does not take the signature: this machine's clock {differ}",
            hint="have both clocks set by NTP (`timedatectl` shows this one); 300 s are the most",
        )

    @contextmanager
    def _parsing(self) -> Iterator[None]:
        """Turn what dnspython raises about an answer into our errors."""
        key = self._server.key
        try:
            yield
        except dns.tsig.PeerBadKey as exc:
            algorithm = key.algorithm.to_text(omit_final_dot=True)
            said = f"knows no key {self._server.key_name} of the algorithm {algorithm}"
            raise ProviderAuthError(f"rfc2136: {self._server.address} {said}", hint=_KEY_HINT) from exc
        except dns.tsig.PeerBadSignature as exc:
            said = f"has another secret for the key {self._server.key_name}"
            raise ProviderAuthError(f"rfc2136: {self._server.address} {said}", hint=_KEY_HINT) from exc
        except dns.tsig.PeerError as exc:
            said = f"does not take the signature ({type(exc).__name__})"
            raise ProviderAuthError(f"rfc2136: {self._server.address} {said}", hint=_KEY_HINT) from exc
        except (dns.tsig.BadSignature, dns.tsig.BadTime, dns.tsig.BadKey, dns.tsig.BadAlgorithm) as exc:
            raise self._unsigned() from exc
        except dns.exception.DNSException as exc:
            raise UnavailableError(f"rfc2136: {self._server.address} sends what cannot be read: {exc}") from exc

    def _unsigned(self) -> ProviderAuthError:
        said = f"rfc2136: the answer of {self._server.address} is not signed with the key {self._server.key_name}"
        return ProviderAuthError(said, hint="is it the primary itself that answers, and nothing in between?")

    def _no_transfer(self, code: dns.rcode.Rcode) -> AutogitError:
        if code != dns.rcode.REFUSED:
            return self._refusal(code, f"a transfer of {self._zone}")
        said = f"rfc2136: {self._server.address} does not give the zone {self._zone} to the key {self._server.key_name}"
        return TransferRefusedError(said, hint=f"allow-transfer of the zone must name the key; {_PAGE} shows it")

    def _refusal(self, code: dns.rcode.Rcode, what: str) -> AutogitError:
        """Return the error for a code that is none of success, about something."""
        where, key = self._server.address, self._server.key_name
        if code == dns.rcode.REFUSED:
            said = f"rfc2136: {where} refuses {what} to the key {key}"
            hint = (
                f"update-policy or allow-update of the zone must name the key, allow-query must too; {_PAGE} shows them"
            )
            return ProviderAuthError(said, hint=hint)
        if code in {dns.rcode.NOTAUTH, dns.rcode.NOTZONE}:
            return MissingError(f"rfc2136: {where} is not the primary of the zone {self._zone}", hint=_PRIMARY_HINT)
        if code == dns.rcode.NOTIMP:
            return UnsupportedError(f"rfc2136: {where} takes no updates (RFC 2136) of {self._zone}", hint=_PRIMARY_HINT)
        if code == dns.rcode.FORMERR:
            return RejectedError(f"rfc2136: {where} does not understand {what}")
        return UnavailableError(f"rfc2136: {where} fails with {what} ({dns.rcode.to_text(code)})", hint=_BROKEN_HINT)

    def _send(self, question: dns.message.Message) -> None:
        try:
            wire = question.to_wire(prepend_length=True)
        except (dns.exception.DNSException, ValueError) as exc:
            raise RejectedError(f"rfc2136: too much for one message of {self._zone}: {exc}") from exc
        try:
            self._stream.settimeout(self._server.timeout_seconds)
            self._stream.sendall(wire)
        except OSError as exc:
            raise _silent(self._server, exc) from exc

    def _receive(self) -> bytes:
        """Return the next message, its length before it (RFC 1035 section 4.2.2)."""
        self._deadline = time.monotonic() + self._server.timeout_seconds
        return self._read(int.from_bytes(self._read(2), "big"))

    def _read(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            try:
                self._stream.settimeout(max(0.001, self._deadline - time.monotonic()))
                more = self._stream.recv(count - len(read))
            except OSError as exc:
                raise _silent(self._server, exc) from exc
            if not more:
                raise _silent(self._server, EOFError("it ended the connection"))
            read += more
        return read


def _silent(to: Server, exc: Exception) -> UnavailableError:
    why = getattr(exc, "strerror", None) or str(exc)
    return UnavailableError(f"rfc2136: {to.address} does not answer: {why}", hint=_REACH_HINT)


def _found(key: RecordKey, rdataset: dns.rdataset.Rdataset) -> Found:
    values = (value_of(data, key.type) for data in rdataset)
    return Found(RecordSet(key, rdataset.ttl, tuple(sorted(set(values)))), rdataset)


def _owner(found: Found) -> tuple[dns.name.Name, dns.rdatatype.RdataType]:
    return dns.name.from_text(found.record.key.name), found.rdataset.rdtype


def _against(wanted: Found) -> list[tuple[dns.name.Name, dns.rdatatype.RdataType | None]]:
    """Return what must not be there: a CNAME, or of a CNAME anything."""
    name, kind = _owner(wanted)
    return [(name, None if kind == dns.rdatatype.CNAME else dns.rdatatype.CNAME)]
