"""What asking DNS shows: which servers a zone has, what each of them says, and the verdict on a wish."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from autogit.model.dns import RecordKey, RecordSet


class CheckState(StrEnum):
    """The verdict on a wanted record set.

    `differs`: another value somewhere. `missing`: no server has anything. `unreachable`: nobody could be asked.
    `unknown`: there were answers, but none that decides (all servers are lame or fail).
    """

    OK = "ok"
    DIFFERS = "differs"
    MISSING = "missing"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class Via(StrEnum):
    """Which way an answer came: the zone's own servers, public resolvers on port 53, DNS over HTTPS, none."""

    AUTHORITY = "authority"
    RESOLVER = "resolver"
    DOH = "doh"
    NOBODY = ""


@dataclass(frozen=True, slots=True, order=True)
class Nameserver:
    """One address of a server: the server's fqdn (a URL for DNS over HTTPS) and an IPv4 or IPv6 address."""

    name: str
    address: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.address})" if self.address else self.name


@dataclass(frozen=True, slots=True)
class Authority:
    """The zone that a name is in and every address of its servers.

    Without servers `sentence` says why. `via` is the way that led here: `Via.NOBODY` where nobody could be asked.
    """

    zone: str
    servers: tuple[Nameserver, ...] = ()
    sentence: str = ""
    via: Via = Via.NOBODY


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What one address says of one key.

    `rcode` is empty without an answer (`error` says why). `values` are in the normal form of a RecordSet, `ttl` in
    seconds. `authoritative` is the AA bit, `recursive` the RA bit of the answer (RFC 1035 section 4.1.1). `alias` is
    where a CNAME leads that stands in the key's place. `error` is a sentence without the server's name, empty where
    the answer counts.
    """

    server: Nameserver
    values: tuple[str, ...] = ()
    ttl: int | None = None
    rcode: str = ""
    authoritative: bool = False
    recursive: bool = False
    alias: str = ""
    error: str = ""

    @property
    def sentence(self) -> str:
        """The row as a sentence."""
        if self.error:
            return f"{self.server} {self.error}"
        if self.alias:
            return f"{self.server} has an alias of {self.alias}"
        return f"{self.server} has {', '.join(self.values) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the servers of a zone say of one key, aliases followed.

    `chain` are the names on the way, the asked one first. `answers` are those of the last name's servers. `sentence`
    says what stopped the way before its end (a loop, a zone without servers), else it is empty.
    """

    key: RecordKey
    authority: Authority
    answers: tuple[ServerAnswer, ...] = ()
    chain: tuple[str, ...] = ()
    sentence: str = ""

    @property
    def speaking(self) -> tuple[ServerAnswer, ...]:
        """The answers that count."""
        return tuple(one for one in self.answers if not one.error)

    @property
    def silent(self) -> tuple[ServerAnswer, ...]:
        """The servers that did not answer."""
        return tuple(one for one in self.answers if not one.rcode)

    @property
    def lame(self) -> tuple[ServerAnswer, ...]:
        """The servers that answered without being the zone's (RFC 8499 section 7, "lame delegation")."""
        return tuple(one for one in self.answers if one.error and one.rcode)

    @property
    def intercepted(self) -> bool:
        """Whether every answer is a resolver's: then something on the way answers in the servers' place."""
        answered = [one for one in self.answers if one.rcode]
        return bool(answered) and all(
            one.error and one.recursive and not one.authoritative and one.rcode in {"NOERROR", "NXDOMAIN"}
            for one in answered
        )


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """The verdict on one wanted set: a sentence for the user, the rows it rests on, and what is odd besides.

    `asked` are the names that were asked: the set's own and, for a wildcard, one below it. `via` says who answered.
    """

    wanted: RecordSet
    state: CheckState
    sentence: str
    rows: tuple[ServerAnswer, ...] = ()
    warnings: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    via: Via = Via.NOBODY

    @property
    def ok(self) -> bool:
        """Whether it is as wanted."""
        return self.state is CheckState.OK


class PropagationState(StrEnum):
    """How waiting ended: every server has the values, the deadline passed, or nobody could be asked."""

    DONE = "done"
    LATE = "late"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Propagation:
    """How waiting for TXT values ended; with `unchecked` the caller waits a fixed time instead."""

    state: PropagationState
    sentence: str
    waited_seconds: float
    polls: int
    rows: tuple[ServerAnswer, ...] = ()
    warnings: tuple[str, ...] = ()
    via: Via = Via.NOBODY


@dataclass(frozen=True, slots=True)
class HorizonView:
    """A zone as one resolver sees it: its first server and serial (SOA), its servers; `error` where it sees none."""

    asked: str
    primary: str = ""
    contact: str = ""
    serial: int | None = None
    nameservers: tuple[str, ...] = ()
    error: str = ""
    answered: bool = False

    @property
    def identity(self) -> tuple[str, str, tuple[str, ...]]:
        """What two views of one zone have in common; a serial only lags."""
        return self.primary, self.contact, self.nameservers


@dataclass(frozen=True, slots=True)
class SplitHorizon:
    """A zone from inside and from outside. `split` is None where one of the views could not be had.

    `private` are addresses of private networks that the public view answers with, each as `name address`.
    """

    zone: str
    split: bool | None
    sentence: str
    system: HorizonView
    public: HorizonView
    private: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RebindCheck:
    """Whether the system's resolver withholds private addresses; `blocked` is None where nobody can tell."""

    name: str
    blocked: bool | None
    sentence: str
    hint: str = ""


class DnssecState(StrEnum):
    """`unsigned`: no DS; `signed`: DS and keys fit and no resolver complains; `broken`: validating resolvers refuse."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DnssecCheck:
    """DNSSEC of a zone: key tags of the parent's DS set and of the zone's DNSKEY set, and what resolvers make of it.

    `validated` is the AD bit of a resolver that validates (RFC 4035 section 3.2.3), None without an answer.
    """

    zone: str
    state: DnssecState
    sentence: str
    ds: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()
    matching: tuple[int, ...] = ()
    validated: bool | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaaVerdict:
    """Whether CAA (RFC 8659) lets a CA issue; `allowed` is None where that cannot be told, which a CA takes as no.

    `at_name` is where the deciding record set is, empty where there is none.
    """

    allowed: bool | None
    sentence: str
    at_name: str = ""
