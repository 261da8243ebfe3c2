"""Nouns of ACME (RFC 8555): whom certificates are asked of, what is asked for, challenges, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

KeyType = Literal["P-256", "P-384", "RSA-2048"]
ChallengeKind = Literal["dns-01", "http-01"]
DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""Authorities that are known by name."""


@dataclass(frozen=True, slots=True)
class AcmeServer:
    """A certificate authority, by its directory URL, and how it is spoken to.

    `name` is what it is called in sentences (`letsencrypt`, or the directory's host). `email` may be empty.
    `eab_key_id` and `eab_hmac_key` (base64url) are external account binding (RFC 8555 section 7.3.4), both or neither;
    the settings that they come from begin with `eab_setting`.
    `ca_file` is the PEM file that the server's own TLS certificate is checked with ("": the system's authorities).
    `preferred_chain` is the common name of the top issuer of the chain that is liked best ("": the server's own).
    """

    name: str
    directory_url: str
    email: str = ""
    eab_key_id: str = ""
    eab_hmac_key: str = field(default="", repr=False)
    eab_setting: str = "ACME_EAB"
    ca_file: str = ""
    preferred_chain: str = ""
    timeout_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What is asked for: `names` with wildcards, A-labels; the profile ("": the server's default).

    `replaces` is the certificate that this one follows (PEM; RFC 9773 section 5), b"" where it is a first one.
    """

    names: tuple[str, ...]
    key_type: KeyType = "P-256"
    profile: str = ""
    replaces: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One proof that is asked for.

    `identifier` is the name, without `*.`. For dns-01 (RFC 8555 section 8.4) `place` is the fqdn of the TXT record and
    `value` what it must hold; for http-01 (section 8.3) `place` is the path on port 80 and `value` the body.
    """

    kind: ChallengeKind
    identifier: str
    place: str
    value: str


@dataclass(frozen=True, slots=True)
class HttpChallenges:
    """Where http-01 challenges are asked on this host, and where they are shown.

    The ingress listens on `address` and `port` (its published port of plain HTTP) and is reached from this host at
    `asked_at`. It leads challenges to AutoGit at `listen_address` and `listen_port`, or (0) serves them as files.
    """

    address: str
    asked_at: str
    port: int
    listen_address: str
    listen_port: int

    @property
    def target(self) -> str:
        """The URL that the ingress leads challenges to, "" where it serves files."""
        return f"http://{self.listen_address}:{self.listen_port}" if self.listen_port else ""


class Solver(Protocol):
    """Shows proofs to the world and takes them away again."""

    @property
    def kind(self) -> ChallengeKind:
        """What it proves by."""

    async def present(self, challenges: Sequence[Challenge]) -> None:
        """Publish all challenges of an order together, and return when the authority can see them.

        Raises an AutogitError where that cannot be; what was published is taken away by `clean` then, too.
        """

    async def clean(self, challenges: Sequence[Challenge]) -> None:
        """Take exactly these values away, whether or not they were published; those of others stay."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as it came: the chain, leaf first, and its private key (PEM); `serial` is hexadecimal."""

    fullchain: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...] = ()
    serial: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """The window in which an authority wants a certificate renewed (ARI, RFC 9773 section 4); moments are aware, UTC.

    `retry_after_seconds` is when to ask again at the earliest, clamped to one minute to one day.
    """

    start: datetime
    end: datetime
    retry_after_seconds: float = 21600.0
    explanation_url: str = ""
