"""Whether the CAA records of a name let a certificate authority issue (RFC 8659, RFC 8657)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from autogit.errors import UsageError
from autogit.model.dns import RecordKey, normal_name
from autogit.model.dns_checks import CaaVerdict, Via
from autogit.providers.dns.world.lookup import Lookup

_CRITICAL = 128
_KNOWN_TAGS = {"issue", "issuewild", "issuemail", "iodef"}
# RFC 8659 section 4.2: parameters as `tag=value`, the value without blanks and semicolons. A semicolon after the last
# one is not in the grammar, and Let's Encrypt takes such a record as one that allows nobody.
_PARAMETER = re.compile(r"([A-Za-z0-9]+)[ \t]*=[ \t]*([!-:<-~]*)")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class CaaRequest:
    """Who wants to issue what: the CA's domains, whether for a wildcard, the ACME method and account URI.

    An empty `account_uri` is an account that is not known yet: a record that names one decides nothing then. Raises
    UsageError without a domain.
    """

    ca_domains: Collection[str]
    wildcard: bool = False
    method: str = "dns-01"
    account_uri: str = ""

    def __post_init__(self) -> None:
        if not self.ca_domains:
            raise UsageError("dns: CAA names CAs by their domains (letsencrypt.org); none was given to look for")

    @property
    def domains(self) -> frozenset[str]:
        """The CA's domains in the form that they are compared in."""
        return frozenset(one.lower().rstrip(".") for one in self.ca_domains)


@dataclass(frozen=True, slots=True)
class _Property:
    flags: int
    tag: str
    value: str


async def caa_allows(lookup: Lookup, name: str, request: CaaRequest) -> CaaVerdict:
    """Climb from a name to the root; the first CAA set decides (RFC 8659 section 3).

    `*.example.org` is taken as `example.org` with `wildcard`. Raises RejectedError for what is no name.
    """
    at = normal_name(name)
    if at.startswith("*."):
        at, request = at[2:], replace(request, wildcard=True)
    while at:
        values, failure = await _values(lookup, at)
        if failure:
            return CaaVerdict(None, f"nobody can tell whether {at} has CAA records, a CA refuses then: {failure}", at)
        if values:
            return judge_caa(values, request, at)
        at = at.partition(".")[2]
    return CaaVerdict(True, f"no CAA record from {normal_name(name)} upwards: every CA may issue")


async def _values(lookup: Lookup, name: str) -> tuple[tuple[str, ...], str]:
    """Return the CAA values that a name leads to, or why they are not known."""
    key = RecordKey(name, "CAA")
    seen = await lookup.ask_all(key)
    if seen.speaking and not seen.sentence:
        return tuple(sorted({value for row in seen.speaking for value in row.values})), ""
    if seen.sentence and seen.answers:
        return (), seen.sentence
    if not seen.authority.servers and seen.authority.via is not Via.NOBODY and not seen.authority.zone:
        return (), ""  # no public zone holds it: there is nothing
    rows = await lookup.public_answers(key, https_only=seen.intercepted)
    speaking = [row for row in rows if not row.error]
    if speaking:
        return tuple(sorted({value for row in speaking for value in row.values})), ""
    said = [row.sentence for row in (*seen.answers, *rows)]
    return (), "; ".join(said) or seen.authority.sentence


def judge_caa(values: Sequence[str], request: CaaRequest, at_name: str) -> CaaVerdict:
    """Judge one CAA set, each value as `flags tag "value"`; `at_name` is where it is."""
    found = [_property(value) for value in values]
    for one in found:
        if one.tag not in _KNOWN_TAGS and one.flags & _CRITICAL:
            sentence = f"CAA at {at_name}: {one.tag} is critical and unknown, which forbids every CA"
            return CaaVerdict(False, sentence, at_name)
    wild = [one for one in found if one.tag == "issuewild"]
    deciding = wild if request.wildcard and wild else [one for one in found if one.tag == "issue"]
    if not deciding:
        return CaaVerdict(True, f"CAA at {at_name} says nothing about who may issue", at_name)
    refusals = []
    for one in deciding:
        reason = _refusal(one, request)
        if not reason:
            return CaaVerdict(True, f'CAA at {at_name} allows it: {one.tag} "{one.value}"', at_name)
        refusals.append(reason)
    tag = deciding[0].tag
    if "account" in refusals and not request.account_uri:
        sentence = f"CAA at {at_name}: {tag} names an ACME account, and which one is used is not known yet"
        return CaaVerdict(None, sentence, at_name)
    return CaaVerdict(False, _no(request, at_name, deciding, refusals), at_name)


def _no(request: CaaRequest, at_name: str, deciding: Sequence[_Property], refusals: Sequence[str]) -> str:
    tag = deciding[0].tag
    who = ", ".join(sorted(request.domains))
    if "account" in refusals:
        return f"CAA at {at_name}: {tag} lets another ACME account issue, not {request.account_uri}"
    if "method" in refusals:
        return f"CAA at {at_name}: {tag} lets {who} issue, but not by {request.method}"
    if "form" in refusals:
        return f'CAA at {at_name}: {tag} "{deciding[refusals.index("form")].value}" cannot be read, which allows nobody'
    allowed = sorted({_parts(one.value)[0] for one in deciding} - {""})
    return f"CAA at {at_name}: {tag} lets {', '.join(allowed) or 'nobody'} issue, not {who}"


def _refusal(one: _Property, request: CaaRequest) -> str:
    """Return why a property does not let the CA issue: `domain`, `form`, `method` or `account`; empty if it does."""
    domain, parameters, is_readable = _parts(one.value)
    if not is_readable:
        return "form"
    if domain not in request.domains:
        return "domain"
    # RFC 8657 sections 3 and 4: a parameter that is there twice fits nothing.
    methods = [value for tag, value in parameters if tag == "validationmethods"]
    if methods and (len(methods) > 1 or request.method not in methods[0].lower().split(",")):
        return "method"
    accounts = [value for tag, value in parameters if tag == "accounturi"]
    if accounts and (len(accounts) > 1 or accounts[0] != request.account_uri):
        return "account"
    return ""


def _parts(value: str) -> tuple[str, list[tuple[str, str]], bool]:
    """Return domain, parameters and whether the value follows the grammar (RFC 8659 section 4.2)."""
    domain, _, rest = value.partition(";")
    domain = domain.strip(_BLANKS).lower().rstrip(".")
    parameters = []
    pieces = [piece.strip(_BLANKS) for piece in rest.split(";")] if rest.strip(_BLANKS) else []
    for piece in pieces:
        found = _PARAMETER.fullmatch(piece)
        if not found:
            return domain, [], False
        parameters.append((found[1].lower(), found[2]))
    return domain, parameters, not domain or bool(_DOMAIN.fullmatch(domain))


def _property(text: str) -> _Property:
    """Return a value's fields; the text is as dnspython writes it, the last field quoted."""
    from dns import rdata  # noqa: PLC0415 - dnspython takes long to import

    found = rdata.from_text("IN", "CAA", text)
    value: bytes = found.value  # type: ignore[attr-defined] # of the CAA class only
    tag: bytes = found.tag  # type: ignore[attr-defined] # the same
    flags: int = found.flags  # type: ignore[attr-defined] # the same
    return _Property(flags, tag.decode("ascii").lower(), value.decode("utf-8", "backslashreplace"))
