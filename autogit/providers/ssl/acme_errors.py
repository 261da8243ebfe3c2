"""What an authority says when it refuses (RFC 8555 section 6.7), in sentences that say what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autogit.errors import (
    AutogitError,
    MissingError,
    NotValidatedError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)

_PREFIX = "urn:ietf:params:acme:error:"
_LONGEST = 1500
_SERVER_ERROR = 500

_HINTS: Mapping[str, str] = {
    "accountDoesNotExist": "the next try makes a new account",
    "agreementRequired": "open the authority's terms of service and run the command again",
    "badCSR": "set another CERT_KEY_TYPE",
    "badPublicKey": "move the account's folder aside: the next try makes an account with a new key",
    "badRevocationReason": "choose another reason: 0 unspecified, 1 key compromised, 4 superseded, 5 no longer used",
    "badSignatureAlgorithm": "move the account's folder aside: the next try makes an account with a new key",
    "caa": "add a CAA record that names this authority, or remove those that leave it out (autogit dns verify)",
    "externalAccountRequired": "set the key id and the HMAC key that the authority's site shows",
    "invalidContact": "set ACME_EMAIL to an address that the authority takes",
    "invalidEmail": "set ACME_EMAIL to an address that the authority takes",
    "invalidProfile": "set ACME_PROFILE to one that the authority offers, or to nothing",
    "rejectedIdentifier": "mend the name, or take another issuer for it; public ones issue for public domains only",
    "unsupportedContact": "set ACME_EMAIL to an address that the authority takes",
    "unsupportedIdentifier": "take another issuer for this name",
    "userActionRequired": "open the page that the authority names and agree there",
    # While a name is validated:
    "connection": "port 80 of the name must be reachable from the outside, by IPv6 too where it has an AAAA record",
    "dns": "all authoritative servers of the zone must answer from the outside; autogit dns verify asks them",
    "dnssec": "the zone's signatures do not fit what its parent says; autogit dns verify shows it",
    "incorrectResponse": "another record or server answered: look for old TXT records and for another host on port 80",
    "tls": "the redirect of port 80 leads to a TLS server that cannot be talked to",
    "unknownHost": "the name has no address record that the authority can see",
}
_AUTH_CODES = frozenset({"externalAccountRequired", "agreementRequired", "userActionRequired", "accountDoesNotExist"})
_NO_RIGHT = "the account may be deactivated, or it is not the one that the certificate was issued to"
_WRONG_PROOF = "the authority saw another value than was published: look for old records, caches and split horizon"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 7807): its ACME type without the prefix, the authority's words, and parts of it."""

    code: str
    detail: str = ""
    status: int = 0
    identifier: str = ""
    instance: str = ""
    parts: tuple[Problem, ...] = ()

    @classmethod
    def parse(cls, body: object, status: int = 0) -> Problem | None:
        """Return the problem of a JSON body, None where it is none; what is odd in it is left out."""
        if not isinstance(body, Mapping) or not ("type" in body or "detail" in body):
            return None
        identifier = body.get("identifier")
        listed = body.get("subproblems")
        parts = [cls.parse(part) for part in listed] if isinstance(listed, Sequence) else []
        return cls(
            code=_text(body.get("type")).removeprefix(_PREFIX),
            detail=_text(body.get("detail")) or _text(body.get("title")),
            status=status,
            identifier=_text(identifier.get("value")) if isinstance(identifier, Mapping) else "",
            instance=_text(body.get("instance")),
            parts=tuple(part for part in parts if part is not None),
        )

    @property
    def words(self) -> str:
        """The authority's own words, with those about single names, and its type where that is all there is."""
        own = self.detail or self.code or "no reason given"
        about = [f"{part.identifier}: {part.words}" if part.identifier else part.words for part in self.parts]
        seen = f" (see {self.instance})" if self.instance else ""
        return "; ".join([own, *about]) + seen

    @property
    def leading(self) -> Problem:
        """The problem that says most: the first part of a compound one."""
        return self.parts[0].leading if self.code == "compound" and self.parts else self


def refusal(server: str, doing: str, problem: Problem, retry_after_seconds: float = 0.0) -> AutogitError:
    """Return the error of what a server refused while `doing` something ("the order of home.test")."""
    code = problem.leading.code
    message = f"{server}: {doing}: {problem.words}"
    if code == "rateLimited" or problem.status == 429:  # noqa: PLR2004 - Too Many Requests
        return RateLimitedError(message, retry_after_seconds=retry_after_seconds, hint=_later(retry_after_seconds))
    if code in {"serverInternal", "badNonce"} or problem.status >= _SERVER_ERROR:
        return unavailable(server, f"{doing}: {problem.words}", retry_after_seconds)
    if code == "unauthorized":
        return ProviderAuthError(message, hint=_NO_RIGHT)
    kind = ProviderAuthError if code in _AUTH_CODES else MissingError if problem.status == 404 else RejectedError  # noqa: PLR2004 - Not Found
    return kind(message, hint=_HINTS.get(code, "the words are the authority's own; its documentation says more"))


def not_validated(server: str, failed: Sequence[tuple[str, Problem]]) -> AutogitError:
    """Return the error of names that an authority could not validate, with its reasons verbatim."""
    reasons = [f"{name}: {problem.words}" for name, problem in failed]
    codes = dict.fromkeys(problem.leading.code for _, problem in failed)
    hints = [_WRONG_PROOF if code == "unauthorized" else _HINTS.get(code, "") for code in codes]
    return NotValidatedError(
        f"{server}: could not validate {'; '.join(reasons)}",
        hint="; ".join(filter(None, hints)) or "mend what the authority says; failed validations are counted by it",
    )


def unavailable(server: str, what: str, retry_after_seconds: float = 0.0) -> UnavailableError:
    """Return the error of a server that does not do its work now; it may say when to come again."""
    if retry_after_seconds:
        return RateLimitedError(
            f"{server}: {what}", retry_after_seconds=retry_after_seconds, hint=_later(retry_after_seconds)
        )
    return UnavailableError(f"{server}: {what}", hint="try again later; what is being served goes on being served")


def _later(seconds: float) -> str:
    return f"try again in {seconds:.0f} seconds" if seconds else "try again later: the authority counts requests"


def _text(value: object) -> str:
    """Return one line that a terminal can show: what comes from a server may hold anything."""
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in value)[:_LONGEST].strip()
