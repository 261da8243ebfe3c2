"""Keeps records in Google Cloud DNS, asked over its REST API v1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import quote

from pydantic import Field

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
from autogit.providers.dns.presentation import TEXTS, alike, normal_value, shown_name, text_of, zone_value
from autogit.providers.retry_after import wait_seconds

_SCOPE = "https://www.googleapis.com/auth/ndev.clouddns.readwrite"
_MOST_PAGES = 1000
_MOST_LOOKUPS = 5  # for more sets than these the whole zone is read: one request a hundred sets
_LONGEST_QUOTE = 300
_POLICY = "(routing policy: "  # how the only value begins of a set that has a policy instead of values
# Zones with one of these lead elsewhere; they are often the root's, which is no name for a record.
_WITHOUT_RECORDS = frozenset({"forwardingConfig", "peeringConfig", "serviceDirectoryConfig"})
_TOO_OFTEN = frozenset({"dailyLimitExceeded", "rateLimitExceeded", "RATE_LIMIT_EXCEEDED", "userRateLimitExceeded"})
_NOT_ENABLED = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})
_ROLE_HINT = "docs/how-to/dns-google.md has the role that it takes, in the project of GOOGLE_PROJECT"
_KEY_HINT = "GOOGLE_CREDENTIALS_FILE is the JSON key of a service account; docs/how-to/dns-google.md makes one"
_TOKEN_HINT = "make a new key for GOOGLE_CREDENTIALS_FILE, and see that this machine's clock is right"  # noqa: S105 - none
_REFUSALS: Mapping[int, tuple[type[AutogitError], str]] = {
    401: (ProviderAuthError, _TOKEN_HINT),
    404: (MissingError, "see GOOGLE_PROJECT and GOOGLE_ZONE; a managed zone's name is not its DNS name"),
    408: (UnavailableError, ""),
    409: (StalePlanError, "autogit plan shows it as it is"),
    412: (StalePlanError, "autogit plan shows it as it is"),
}


class GoogleConfig(DNSConfig):
    """Which project, with whose rights."""

    project: str = Field(..., min_length=1, description="Id of the project that the zones are in")
    credentials_file: Path | None = Field(
        None, description="JSON key of a service account. Unset: the application default credentials"
    )
    zone: str = Field("", description="Name of the managed zone to take where several have the same DNS name")
    private: bool = Field(False, description="Whether records are kept in private zones instead of public ones")
    endpoint: str = Field("https://dns.googleapis.com", description="Where the API is; another one is for tests")


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, a POST where it has a body, and the permissions that it takes."""

    path: str
    rights: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


class GoogleDNS(DNSProvider[GoogleConfig]):
    """The managed zones of one project. A write is one change: exactly the old set out, the new one in, or neither."""

    provider_name: ClassVar[str] = "google"
    twins_hint: ClassVar[str] = "set GOOGLE_ZONE to the name of the right managed zone"
    capabilities: ClassVar[Capabilities] = Capabilities(
        types=frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SRV", "TXT"})
    )
    Config: ClassVar[type[DNSConfig]] = GoogleConfig
    timeout_seconds: ClassVar[tuple[float, float]] = (10.0, 30.0)  # for the connection, and for each answer
    pauses_seconds: ClassVar[tuple[float, ...]] = (0.0, 0.2, 0.5, 1.0, 2.0, *(5.0,) * 10)
    """Before each look at a change that is not done yet; after the last one it is given up."""

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones that hold records; their ids are the names that the project has for them."""
        call = _Call("managedZones", ("dns.managedZones.list",))
        found = await asyncio.to_thread(self._all, call, "managedZones")
        return self._without_twins([_zone(raw) for raw in found if not _WITHOUT_RECORDS & raw.keys()])

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return the sets; a routing policy is shown as a set whose only value says so."""
        calls = [call := _Call(f"managedZones/{quote(zone.id, safe='')}/rrsets", ("dns.resourceRecordSets.list",))]
        if keys is not None and len(keys) <= _MOST_LOOKUPS:
            calls = [replace(call, query={"name": _dotted(key.name), "type": key.type}) for key in sorted(set(keys))]
        found = [raw for one in calls for raw in await asyncio.to_thread(self._all, one, "rrsets")]
        # Pages of a zone that is changed meanwhile may repeat a set.
        sets = {one.key: one for one in map(_record_set, found)}
        return [sets[key] for key in sorted(sets) if keys is None or key in keys]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Add a set, which Google refuses where there is one."""
        await self._swap(zone, wanted.key, None, wanted)

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Take one set out and put the other in, at once."""
        if not old.same_data(wanted):
            await self._swap(zone, wanted.key, old, wanted)
        elif not alike(now := await self.find_record(zone, wanted.key), wanted):
            raise self.changed(wanted.key, now)

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Take a set out, which Google refuses where it is another one."""
        await self._swap(zone, old.key, old, None)

    async def _swap(self, zone: Zone, key: RecordKey, old: RecordSet | None, wanted: RecordSet | None) -> None:
        """Change a set from `old` to `wanted`, None being nothing. Raises StalePlanError, RejectedError."""
        if old is not None and _has_policy(old):
            raise _untouchable(old)
        try:
            await self._change(zone, key, old, wanted)
        except (StalePlanError, MissingError) as exc:
            now = await self.find_record(zone, key)
            if alike(now, wanted):
                return
            if old is None and now is not None and _has_policy(now):
                raise _untouchable(now) from exc
            if now is None or old is None or not now.same_data(old):
                raise self.changed(key, now) from exc
            # The same data in another spelling (a text cut elsewhere, capitals): Google compares letter by letter.
            await self._change(zone, key, now, wanted)

    async def _change(self, zone: Zone, key: RecordKey, old: RecordSet | None, wanted: RecordSet | None) -> None:
        """Post one change and wait until it is done."""
        body = {side: [_wire(one)] for side, one in (("deletions", old), ("additions", wanted)) if one is not None}
        verb = "delete" if wanted is None else "create" if old is None else "update"
        path = f"managedZones/{quote(zone.id, safe='')}/changes"
        call = _Call(path, ("dns.changes.create", f"dns.resourceRecordSets.{verb}"), body=body)
        change = await asyncio.to_thread(self._ask, call)
        look = _Call(f"{path}/{quote(str(change.get('id')), safe='')}", ("dns.changes.get",))
        for pause in self.pauses_seconds:
            if change.get("status") == "done":
                return
            await asyncio.sleep(pause)
            change = await asyncio.to_thread(self._ask, look)
        if change.get("status") != "done":
            said = f"google: the change of {key} was accepted and is not done yet"
            raise UnavailableError(said, hint="wait a few minutes; autogit plan shows whether it came")

    def _without_twins(self, zones: Sequence[Zone]) -> Sequence[Zone]:
        """Leave out what has the DNS name of the zone that GOOGLE_ZONE names, and is not that zone."""
        if not self.config.zone:
            return zones
        chosen = next((zone for zone in zones if zone.id == self.config.zone), None)
        if chosen is None:
            seen = ", ".join(sorted(zone.id for zone in zones)[:5]) or "none at all"
            said = f"google: there is no managed zone {self.config.zone} in {self.config.project}, only {seen}"
            raise MissingError(said, hint="GOOGLE_ZONE is the name of a managed zone, which is not its DNS name")
        twin = (chosen.name, chosen.private)
        return [zone for zone in zones if zone.id == chosen.id or (zone.name, zone.private) != twin]

    def _all(self, call: _Call, items: str) -> list[dict[str, Any]]:
        """Return the items of all pages."""
        found: list[dict[str, Any]] = []
        for _ in range(_MOST_PAGES):
            answer = self._ask(call)
            found += answer.get(items, [])
            if not answer.get("nextPageToken"):
                return found
            call = replace(call, query={**call.query, "pageToken": answer["nextPageToken"]})
        raise UnavailableError(f"google: the list of {items} does not end after {_MOST_PAGES} pages")

    def _ask(self, call: _Call) -> dict[str, Any]:
        """Return what the API answers to one request."""
        answer = self._send(call)
        if answer.status_code != HTTPStatus.OK:
            raise self._refusal(answer, call)
        try:
            return dict(answer.json())
        except (TypeError, ValueError) as exc:
            raise UnavailableError("google: the answer is no JSON", hint="is a login page in between?") from exc

    def _send(self, call: _Call) -> Any:
        session = self._session
        from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415 - an extra

        base = f"{self.config.endpoint.rstrip('/')}/dns/v1/projects/{quote(self.config.project, safe='')}"
        how: dict[str, Any] = {"timeout": self.timeout_seconds, "allow_redirects": False}
        verb = "GET" if call.body is None else "POST"
        try:
            return session.request(verb, f"{base}/{call.path}", params=call.query, json=call.body, **how)
        except (OSError, TransportError) as exc:
            # What requests raises is an OSError. Its text is not shown: it may have the password of a proxy.
            kind = type(exc.__cause__ or exc).__name__
            raise UnavailableError(f"google: no answer from {base} or the token endpoint ({kind})") from exc
        except GoogleAuthError as exc:
            raise _no_token(exc) from exc

    @cached_property
    def _session(self) -> Any:
        """What signs requests with a token, and fetches a new one when it must."""
        try:
            from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415 - an extra, 0.2 s
        except ImportError as exc:
            raise UnsupportedError("google: google-auth is missing", hint="pip install 'autogit[google]'") from exc
        key, fetch = self.config.credentials_file, _token_fetcher()
        path = None if key is None else self.context.paths.env_file.parent / key
        made: Any = AuthorizedSession(_credentials(path, fetch), auth_request=fetch)  # type: ignore[no-untyped-call]
        made.auth = _as_it_is
        return made

    def _refusal(self, answer: Any, call: _Call) -> AutogitError:
        """Return the error for an answer that is none of success."""
        status, reasons, said = answer.status_code, *_words(answer)
        is_quota = "quotaExceeded" in reasons
        # Of a write it is the number of records that a project may have: no waiting helps.
        if is_quota and call.body is not None and status != HTTPStatus.TOO_MANY_REQUESTS:
            return RejectedError(f"google: {said}", hint=f"ask Google for more quota for {self.config.project}")
        if is_quota or status == HTTPStatus.TOO_MANY_REQUESTS or _TOO_OFTEN & reasons:
            seconds = wait_seconds(answer.headers.get("Retry-After", ""), self.context.clock())
            return RateLimitedError(f"google: asked too often: {said}", retry_after_seconds=seconds)
        if status == HTTPStatus.FORBIDDEN:
            needs, hint = f"it takes {' and '.join(call.rights)}", _ROLE_HINT
            if _NOT_ENABLED & reasons:
                needs = "the API is not enabled"
                hint = f"gcloud services enable dns.googleapis.com --project={self.config.project}"
            return ProviderAuthError(f"google: not allowed in {self.config.project}: {needs} ({said})", hint=hint)
        # A redirect is nothing that the API does: something in between answers.
        kind, hint = _REFUSALS.get(status, (RejectedError if status // 100 == 4 else UnavailableError, ""))  # noqa: PLR2004
        return kind(f"google: {said}", hint=hint)


def _token_fetcher() -> Callable[..., Any]:
    """Return what google-auth asks for tokens with: it tries once, where the library's own would try again."""
    import requests  # noqa: PLC0415 - an extra
    from google.auth.transport.requests import Request  # noqa: PLC0415 - an extra

    session = requests.Session()
    session.auth = _as_it_is
    ask = Request(session)

    def fetch(url: str, method: str = "GET", body: Any = None, headers: Any = None, **more: Any) -> Any:
        answer: Any = ask(url, method, body, headers, **more)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RateLimitedError("google: tokens were asked for too often")
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UnavailableError(f"google: the token endpoint answered {answer.status}")
        return answer

    return fetch


def _as_it_is(request: Any) -> Any:
    """Leave a request alone. Without it requests would put a password of ~/.netrc in the token's place."""
    return request


def _credentials(path: Path | None, fetch: Callable[..., Any]) -> Any:
    """Return the credentials of a key, or those of the environment. No error has its cause, which may quote a key."""
    import google.auth  # noqa: PLC0415 - an extra
    from google.oauth2.service_account import Credentials  # noqa: PLC0415 - an extra

    what = f"{path} is not the JSON key of a service account"
    try:
        if path is not None:
            info = json.loads(path.read_bytes())
            made = cast("Any", Credentials).from_service_account_info(info, scopes=[_SCOPE])
            made.sign_bytes(b"")  # a key that is not RSA fails only here
            return made
        what = "there are neither application default credentials nor a GOOGLE_CREDENTIALS_FILE"
        return google.auth.default(scopes=[_SCOPE], request=cast("Any", fetch))[0]
    except OSError as exc:
        what = f"{path or 'the file of the application default credentials'} cannot be read: {exc.strerror}"
    except (google.auth.exceptions.GoogleAuthError, AttributeError, TypeError, ValueError):
        pass
    raise ProviderAuthError(f"google: {what}", hint=_KEY_HINT)


def _no_token(exc: Any) -> AutogitError:
    """Return the error for credentials that got no token, with what was said about them and not what was sent."""
    if exc.retryable:
        return UnavailableError("google: the token endpoint cannot give out tokens now")
    details = next((part for part in exc.args if isinstance(part, Mapping)), {})
    said = [str(details[part])[:_LONGEST_QUOTE] for part in ("error", "error_description") if part in details]
    why = ": ".join(said) or type(exc).__name__
    return ProviderAuthError(f"google: the credentials got no token ({why})", hint=_TOKEN_HINT)


def _words(answer: Any) -> tuple[set[str], str]:
    """Return the reasons of a refusal, and what was said in one line."""
    try:
        error = dict(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        error = {}
    parts = [part for name in ("errors", "details") for part in error.get(name, []) if isinstance(part, dict)]
    said = " ".join(str(error.get("message") or f"HTTP status {answer.status_code}").split())
    return {str(part.get("reason", "")) for part in parts}, said[:_LONGEST_QUOTE]


def _zone(raw: Mapping[str, Any]) -> Zone:
    return Zone(raw["name"], shown_name(raw["dnsName"]), private=raw.get("visibility") == "private")


def _record_set(raw: Mapping[str, Any]) -> RecordSet:
    key = RecordKey(shown_name(raw["name"]), raw["type"].upper())
    if "routingPolicy" in raw:
        kinds = ", ".join(sorted(raw["routingPolicy"].keys() - {"kind"}))
        return RecordSet(key, raw.get("ttl", 0), (f"{_POLICY}{kinds})",))
    spelled = tuple(raw.get("rrdatas", ()))
    return RecordSet(key, raw.get("ttl", 0), _values(key.type, spelled), handles=spelled)


def _wire(one: RecordSet) -> dict[str, Any]:
    """Return a set as Google writes it, in its own spelling where that is known."""
    kind = one.key.type
    if not one.handles or _values(kind, one.handles) != one.values:
        one = replace(one, handles=tuple(zone_value(kind, value) for value in one.values))
    return {"name": _dotted(one.key.name), "type": kind, "ttl": one.ttl, "rrdatas": one.handles}


def _values(kind: str, datas: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({_value(kind, data) for data in datas}))


def _value(kind: str, data: str) -> str:
    return text_of(data, is_line=True) if kind in TEXTS else normal_value(kind, data)


def _dotted(name: str) -> str:
    return name if name.endswith(".") else f"{name}."


def _has_policy(one: RecordSet) -> bool:
    return not one.handles and one.values[:1] != () and one.values[0].startswith(_POLICY)


def _untouchable(one: RecordSet) -> RejectedError:
    said = f"google: {one.key} has a {one.values[0].strip('()')}, which AutoGit does not write over"
    return RejectedError(said, hint="delete it in the console of Google Cloud, or choose another name")
