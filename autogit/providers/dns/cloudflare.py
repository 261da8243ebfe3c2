"""Keeps records at Cloudflare, through Cloudflare's own client library."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from http import HTTPStatus
from operator import attrgetter
from typing import Any, ClassVar

from pydantic import Field, HttpUrl, SecretStr

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    StalePlanError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone
from autogit.providers.dns.base import DNSConfig, DNSProvider
from autogit.providers.dns.presentation import alike, normal_value, shown_name, zone_value
from autogit.providers.retry_after import wait_seconds

_Record = dict[str, Any]
"""One record as Cloudflare has it."""
_Call = tuple[str, str]
"""What a request is about, and the permission that it takes."""

_URL = "https://api.cloudflare.com/client/v4"
_MOST_PAGES = 1000
_LONGEST_QUOTE = 300
_AUTOMATIC = 1
"""The TTL that Cloudflare chooses, the only one of a proxied record."""

_PROXIABLE = frozenset({"A", "AAAA", "CNAME"})
_FIELDS = {"CAA": "flags tag value", "MX": "priority target", "SRV": "priority weight port target"}
"""Types whose values come in parts, in the order of their presentation form."""
_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "api-version", "connection", "content-length", "content-type", "host"),
        *("user-agent", "x-stainless-raw-response"),  # the latter is a note of the library to itself
    }
)
"""What is sent beside the token: the library would add what the environment says, and facts about this machine."""

_PAGE = "docs/how-to/dns-cloudflare.md makes one"
_TOKEN_HINT = f"is CLOUDFLARE_API_TOKEN whole, not expired, and allowed from this machine's address? {_PAGE}"
_ZONE_HINT = f"the zone must be among the Zone Resources of CLOUDFLARE_API_TOKEN, with Zone:Read; {_PAGE}"
_EDIT_HINT = f"give CLOUDFLARE_API_TOKEN the permission DNS:Edit for this zone; {_PAGE}"
_BETWEEN = "is there a proxy or a login page in between?"
_ALIAS_HINT = "A and AAAA do not stand beside a CNAME: remove the other record of that name, or choose another name"
_TTL_HINT = "a TTL is 60 to 86400 seconds, or 1 for the one that Cloudflare chooses"
_FORBIDDEN = frozenset({403, 9109, 10000})
"""Said of a token that is not known, too: what was asked for tells more than these."""
_REFUSALS: Sequence[tuple[Collection[int | str], type[AutogitError], str, str]] = (
    ({401, 6003, 6103, 6111, 9106}, ProviderAuthError, "the token is not taken", _TOKEN_HINT),
    ({"Zone:Read"}, ProviderAuthError, "the token is not taken, or lacks Zone:Read", _TOKEN_HINT),
    ({"DNS:Read"}, ProviderAuthError, "the token may not read it, it lacks DNS:Edit or this zone", _EDIT_HINT),
    ({"DNS:Edit"}, ProviderAuthError, "the token may read it and not change it, it lacks DNS:Edit", _EDIT_HINT),
    ({81044, 81057, 81058}, StalePlanError, "somebody changed it meanwhile", "autogit plan shows it as it is"),
    ({404, 1001, 7000, 7003}, MissingError, "it is not there any more", _ZONE_HINT),
    ({408, 409}, UnavailableError, "not possible right now", ""),
    ({9021}, RejectedError, "refused", _TTL_HINT),
    ({81053, 81054}, RejectedError, "refused", _ALIAS_HINT),
)
"""Status, code of Cloudflare, or the permission that a forbidden request takes: the first line with one of them."""


class CloudflareConfig(DNSConfig):
    """Whose rights, and where the API is."""

    api_token: SecretStr = Field(
        ..., min_length=1, description="API token with Zone:Read and DNS:Edit for the zones; not the global API key"
    )
    base_url: HttpUrl = Field(HttpUrl(_URL), description="Where the API is; another one is for tests and proxies")


class CloudflareDNS(DNSProvider[CloudflareConfig]):
    """The zones that one API token shows. A set is one record a value; a write is one transaction over them.

    Cloudflare has no condition on a write: what is there is read right before, and someone else may come in between.
    """

    provider_name: ClassVar[str] = "cloudflare"
    capabilities: ClassVar[Capabilities] = Capabilities(marks=True, proxied=True, least_ttl=60)
    Config: ClassVar[type[DNSConfig]] = CloudflareConfig
    timeout_seconds: ClassVar[float] = 30.0
    zones_per_page: ClassVar[int] = 50
    records_per_page: ClassVar[int] = 1000

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones of the token. Raises ProviderAuthError where it shows none: it is for another account."""
        call, part = ("the zones", "Zone:Read"), attrgetter("zones")
        found = await asyncio.to_thread(self._all, call, part, per_page=self.zones_per_page)
        if not found:
            raise ProviderAuthError("cloudflare: the token shows no zone at all", hint=_ZONE_HINT)
        return [Zone(one["id"], shown_name(one["name"])) for one in found]

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return the sets; those of a single name are asked for by it, any others with the whole zone."""
        if keys is not None and not keys:
            return []
        names = set() if keys is None else {key.name for key in keys}
        found = await self._read(zone, names.pop() if len(names) == 1 else None)
        return [_record_set(key, found[key]) for key in sorted(found) if keys is None or key in keys]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Create the records of a set."""
        await self._swap(zone, wanted.key, None, wanted)

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Change the records of a set, and its mark, at once; records that stay keep what else they have."""
        await self._swap(zone, wanted.key, old, wanted)

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Delete the records of a set at once."""
        await self._swap(zone, old.key, old, None)

    async def _swap(self, zone: Zone, key: RecordKey, old: RecordSet | None, wanted: RecordSet | None) -> None:
        """Change a set from `old` to `wanted`, None being nothing. Raises StalePlanError, RejectedError."""
        if wanted is not None:
            self._check_supported(wanted)
        there = (await self._read(zone, key.name)).get(key, [])
        now = _record_set(key, there) if there else None
        if not alike(now, wanted) and not alike(now, old):
            raise self.changed(key, now)
        if now is None and wanted is None:
            return
        # What is there already as it was to be created is left alone: its mark may be another owner's.
        if now and wanted and now.same_data(wanted) and (old is None or now.mark == wanted.mark):
            return
        changes = _changes(there, now, wanted)
        try:
            await asyncio.to_thread(self._write, zone, key, changes)
        except StalePlanError as exc:
            now = await self.find_record(zone, key)
            if not alike(now, wanted):
                raise self.changed(key, now) from exc

    def _check_supported(self, wanted: RecordSet) -> None:
        kind = wanted.key.type
        if kind not in self.capabilities.types:
            raise UnsupportedError(f"cloudflare: {wanted.key}: AutoGit does not write {kind} records there")
        if wanted.proxied and kind not in _PROXIABLE:
            said = f"cloudflare: {wanted.key} cannot be proxied, only A, AAAA and CNAME can"
            raise UnsupportedError(said, hint="have it not proxied")

    async def _read(self, zone: Zone, name: str | None) -> dict[RecordKey, list[_Record]]:
        """Return the records of a zone, all or those of one name, by the set that they are of."""
        query: dict[str, Any] = {"zone_id": zone.id, "per_page": self.records_per_page}
        if name is not None:
            query["name"] = {"exact": name}
        call, part = (zone.name, "DNS:Read"), attrgetter("dns.records")
        found: dict[RecordKey, list[_Record]] = {}
        for one in await asyncio.to_thread(self._all, call, part, **query):
            found.setdefault(RecordKey(shown_name(one["name"]), one["type"].upper()), []).append(one)
        return found

    def _write(self, zone: Zone, key: RecordKey, changes: Mapping[str, Sequence[_Record]]) -> None:
        """Have one transaction carried out."""
        call, parts = (str(key), "DNS:Edit"), {name: some for name, some in changes.items() if some}
        self._ask(call, lambda client: client.dns.records.with_raw_response.batch(zone_id=zone.id, **parts))

    def _all(self, call: _Call, part: Callable[[Any], Any], **query: Any) -> list[_Record]:
        """Return the items of all pages: as many as are told, else until one is empty."""
        # Pages of a zone that is changed meanwhile may repeat a record.
        found: dict[str, _Record] = {}
        for page in range(1, _MOST_PAGES + 1):
            query["page"] = page
            answer = self._ask(call, lambda client: part(client).with_raw_response.list(**query))
            items = answer.get("result")
            if not isinstance(items, list):
                raise self._silent("that is not the API's answer")
            found |= {one["id"]: one for one in items}
            pages = (answer.get("result_info") or {}).get("total_pages")
            if not items or (pages is not None and page >= pages):
                return list(found.values())
        raise self._silent(f"the list does not end after {_MOST_PAGES} pages")

    def _ask(self, call: _Call, send: Callable[[Any], Any]) -> dict[str, Any]:
        """Return what the API answers to one request.

        The body itself is looked at: the library's own reading takes a refusal with status 200 for nothing found.
        """
        client = self._client
        from cloudflare import APIConnectionError, APIStatusError  # noqa: PLC0415 - an extra, 0.4 s

        try:
            answer = send(client).http_response
        except APIStatusError as exc:
            raise self._refusal(exc.response, call) from exc
        except APIConnectionError as exc:
            # The cause's text is not shown: it may have the password of a proxy.
            raise self._silent(f"no answer ({type(exc.__cause__ or exc).__name__})", hint="") from exc
        body = _body(answer)
        if not body:
            raise self._silent("that is not the API's answer")
        if body.get("success") is not True:
            raise self._refusal(answer, call)
        return body

    def _silent(self, what: str, hint: str = _BETWEEN) -> UnavailableError:
        return UnavailableError(f"cloudflare: {self.config.base_url.host}: {what}", hint=hint)

    @cached_property
    def _client(self) -> Any:
        """The library's client, for this token only and without its own retries."""
        try:
            import cloudflare  # noqa: PLC0415 - an extra, 0.4 s
        except ImportError as exc:
            missing = "cloudflare: its library is not installed"
            raise UnsupportedError(missing, hint="pip install 'autogit[cloudflare]'") from exc
        token, url = self.config.api_token.get_secret_value(), str(self.config.base_url)
        if not re.fullmatch(r"[!-~]+", token):  # a header of it would fail in words that quote it
            said = "cloudflare: CLOUDFLARE_API_TOKEN has blanks or other signs that no token has"
            raise ProviderAuthError(said, hint=f"it is the token alone, without Bearer; {_PAGE}")
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [partial(_only_token, token)]}
        try:
            # A redirect is nothing that the API does, and would lead a request elsewhere.
            http = cloudflare.DefaultHttpxClient(event_hooks=hooks, follow_redirects=False)
            weakref.finalize(self, http.close)
            made = cloudflare.Cloudflare(
                api_token=token, base_url=url, http_client=http, max_retries=0, timeout=self.timeout_seconds
            )
        except (ImportError, OSError, ValueError) as exc:
            # A proxy's URL, a file of authorities. What is said of them may have a password.
            hint = "see HTTPS_PROXY and SSL_CERT_FILE of the environment"
            raise self._silent(f"nothing can be sent there ({type(exc).__name__})", hint) from exc
        # The environment's CLOUDFLARE_EMAIL and its like would silently take the place of the token.
        made.api_email = made.api_key = made.user_service_key = None
        return made

    def _refusal(self, answer: Any, call: _Call) -> AutogitError:
        """Return the error for an answer that is none of success."""
        status, (codes, said) = answer.status_code, _words(answer)
        said = said.replace(self.config.api_token.get_secret_value(), "(the token)")[:_LONGEST_QUOTE]
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = wait_seconds(answer.headers.get("Retry-After", ""), self.context.clock())
            return RateLimitedError(f"cloudflare: asked too often: {said}", retry_after_seconds=seconds)
        if not _body(answer):  # the page of a proxy or a firewall, a redirect
            return self._silent(said, "" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _BETWEEN)
        signs: set[int | str] = {status, *codes}
        signs |= {call[1]} if signs & _FORBIDDEN else set()
        for those, kind, why, hint in _REFUSALS:
            if signs.intersection(those):
                return kind(f"cloudflare: {call[0]}: {why}: {said}", hint=hint)
        is_refused = status == HTTPStatus.OK or HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        kind, why = (RejectedError, "refused") if is_refused else (UnavailableError, "not possible right now")
        return kind(f"cloudflare: {call[0]}: {why}: {said}")


def _only_token(token: str, request: Any) -> None:
    """Have a request carry the token, and nothing that the environment (CLOUDFLARE_CUSTOM_HEADERS) adds."""
    for name in [name for name in request.headers if name.lower() not in _HEADERS]:
        del request.headers[name]
    request.headers["Authorization"] = f"Bearer {token}"


def _body(answer: Any) -> dict[str, Any]:
    try:
        return dict(answer.json())
    except (TypeError, ValueError):
        return {}


def _words(answer: Any) -> tuple[set[int], str]:
    """Return the codes of a refusal, and what was said in one line."""
    errors = [one for one in _body(answer).get("errors") or [] if isinstance(one, dict)]
    errors += [one for error in errors for one in error.get("error_chain") or [] if isinstance(one, dict)]
    codes = {one["code"] for one in errors if isinstance(one.get("code"), int)}
    said = ", ".join(f"{one.get('message', '')} ({one.get('code', '?')})" for one in errors)
    return codes, " ".join(said.split()) or f"HTTP status {answer.status_code}"


def _record_set(key: RecordKey, records: Sequence[_Record]) -> RecordSet:
    """Return the set that records are: proxied where one of them is, and the least TTL (RFC 2181 section 5.2)."""
    by_value = sorted((_value(one), str(one["id"])) for one in records)
    values = tuple(sorted({value for value, _ in by_value}))
    proxied = any(one.get("proxied") for one in records)
    ttl = _AUTOMATIC if proxied else min(int(one["ttl"]) for one in records)
    marks = {one.get("comment") or "" for one in records}
    mark = marks.pop() if len(marks) == 1 else ""
    return RecordSet(key, ttl, values, proxied, mark, tuple(handle for _, handle in by_value))


def _changes(there: Sequence[_Record], now: RecordSet | None, wanted: RecordSet | None) -> dict[str, list[_Record]]:
    """Return the transaction that makes records a set: new values take the places of unwanted ones, as far as these go.

    Where the mark stays as it is, the records' comments do too: in a set without a mark they may be several owners'.
    """
    if wanted is None:
        return {"deletes": [{"id": one["id"]} for one in there]}
    kept = {value: one for one in there if (value := _value(one)) in wanted.values}
    spare = [one for one in there if one not in kept.values()]
    new = [value for value in wanted.values if value not in kept]
    patches = [{"id": one["id"], **_wire(wanted, value)} for one, value in zip(spare, new, strict=False)]
    for value, one in kept.items():
        wire, comment = _wire(wanted, value), one.get("comment") or ""
        if now and now.mark == wanted.mark:
            wire["comment"] = comment
        is_now = (one["ttl"], comment, bool(one.get("proxied")))
        if is_now != (wire["ttl"], wire["comment"], wanted.proxied):
            patches.append({"id": one["id"], **wire})
    deletes = [{"id": one["id"]} for one in spare[len(new) :]]
    return {"deletes": deletes, "patches": patches, "posts": [_wire(wanted, value) for value in new[len(spare) :]]}


def _wire(one: RecordSet, value: str) -> _Record:
    """Return one value of a set as Cloudflare's record."""
    kind = one.key.type
    record = {"name": one.key.name, "type": kind, "ttl": _AUTOMATIC if one.proxied else one.ttl, "comment": one.mark}
    if kind in _PROXIABLE:
        record["proxied"] = one.proxied
    if kind != "CAA":
        return record | {"content": zone_value(kind, value) if kind == "TXT" else value}
    parts = re.fullmatch(r'(\d+) (\w+) "(.*)"', value)
    if parts is None:
        raise RejectedError(f"cloudflare: {one.key}: {value!r} is no value of that type")
    return record | {"data": {"flags": int(parts[1]), "tag": parts[2], "value": re.sub(r"\\(.)", r"\1", parts[3])}}


def _value(record: _Record) -> str:
    """Return a record's value in normal form, or as Cloudflare shows it where that is of no form we know."""
    kind, content = record["type"].upper(), str(record.get("content") or "")
    if kind not in _FIELDS:
        return normal_value(kind, content)
    # A mail server's priority is beside its name, in older replies within `data`.
    data = {"priority": record.get("priority"), "target": content} if kind == "MX" else {}
    data |= record.get("data") or {}
    try:
        return " ".join(_PART.get(part, "{:.0f}".format)(data[part]) for part in _FIELDS[kind].split())
    except (KeyError, TypeError, ValueError):
        return content


_PART: Mapping[str, Callable[[Any], str]] = {
    "tag": str.lower,
    "target": shown_name,
    "value": lambda text: '"' + re.sub(r'(["\\])', r"\\\1", text) + '"',
}
"""How a part of a value is written that is no number."""
