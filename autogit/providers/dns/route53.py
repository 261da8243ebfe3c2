"""Keeps records in AWS Route 53, public and private hosted zones, with boto3."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from itertools import takewhile
from typing import Any, ClassVar, TypeVar

from pydantic import Field, SecretStr

from autogit.errors import (
    MissingError,
    ProviderAuthError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, normal_name
from autogit.providers.base import ProviderContext
from autogit.providers.dns.base import DNSConfig, DNSProvider
from autogit.providers.dns.presentation import TEXTS, alike, normal_value, zone_value
from autogit.providers.retry_after import wait_seconds

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[Any]]
RawSet = Mapping[str, Any]

_CONNECT_SECONDS = 10
_READ_SECONDS = 30
_POLL_SECONDS = 2
_MOST_SINGLE_READS = 2
_STRING_LENGTH = 255
_SERVER_ERROR = 500
_ACTIONS = frozenset({"ChangeResourceRecordSets", "GetChange", "ListHostedZones", "ListResourceRecordSets"})
# A set with any other field is an alias, or one of several that AWS chooses from: not ours to change.
_PLAIN_FIELDS = frozenset({"Name", "Type", "TTL", "ResourceRecords"})
_LABELS = ("SetIdentifier", "TrafficPolicyInstanceId", "HealthCheckId")
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
_STRINGS = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\([0-3][0-7]{2}|.)", re.DOTALL)

_THROTTLED = frozenset(
    {"PriorRequestNotComplete", "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation"})
_BAD_KEYS = ("AWS does not take the access key", "check ROUTE53_ACCESS_KEY_ID and ROUTE53_SECRET_ACCESS_KEY")
_BAD_TIME = ("AWS does not take the time of the request", "set this machine's clock (NTP)")
_EXPIRED = ("the temporary credentials have expired", "log in again, or give AutoGit an access key of its own")
_BAD_CREDENTIALS = {
    **dict.fromkeys(("AuthFailure", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId"), _BAD_KEYS),
    **dict.fromkeys(("InvalidSignatureException", "MissingAuthenticationToken", "SignatureDoesNotMatch"), _BAD_KEYS),
    **dict.fromkeys(("OptInRequired", "UnrecognizedClientException"), _BAD_KEYS),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException"), _EXPIRED),
    **dict.fromkeys(("RequestExpired", "RequestTimeTooSkewed"), _BAD_TIME),
}


class Route53Config(DNSConfig):
    """Which account, and which of its zones."""

    zone_id: str | None = Field(None, description="The id of the hosted zone, where several have its name")
    access_key_id: SecretStr | None = Field(
        None, description="The access key's id; without it boto3 looks where it always does (environment, files, role)"
    )
    secret_access_key: SecretStr | None = Field(None, description="The secret of the access key")
    region: str = Field("us-east-1", description="The AWS region that requests are signed for")
    endpoint_url: str | None = Field(
        None, description="The API's address; only for a compatible service", pattern=r"^https?://[^\s/@]+(/\S*)?$"
    )
    private: bool = Field(default=False, description="Whether names are looked for in private hosted zones")
    sync_seconds: int = Field(
        0, ge=0, le=600, description="How long to wait until all of AWS's name servers have a change; 0 does not wait"
    )


class Route53DNS(DNSProvider[Route53Config]):
    """Hosted zones of one AWS account."""

    provider_name: ClassVar[str] = "route53"
    twins_hint: ClassVar[str] = "set ROUTE53_ZONE_ID to the id of the right one"
    capabilities: ClassVar[Capabilities] = Capabilities(
        types=frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}), least_ttl=0, most_ttl=2147483647
    )
    Config: ClassVar[type[DNSConfig]] = Route53Config

    def __init__(self, context: ProviderContext, config: Route53Config, sleep: Sleep = asyncio.sleep) -> None:
        super().__init__(context, config)
        self._sleep = sleep
        self._client: Any = None

    async def list_zones(self) -> Sequence[Zone]:
        """Return the hosted zones; of those with the name and kind of the chosen one only that."""
        pages = await self._call(lambda api: list(api.get_paginator("list_hosted_zones").paginate()))
        zones = [_zone(raw) for page in pages for raw in page["HostedZones"]]
        chosen = self.config.zone_id
        if not chosen:
            return zones
        own = next((zone for zone in zones if zone.id == chosen), None)
        if own is None:
            hint = "ROUTE53_ZONE_ID is the id that the console shows beside the zone's name"
            raise MissingError(f"route53: the credentials show no hosted zone with the id {chosen}", hint=hint)
        return [zone for zone in zones if zone == own or (zone.name, zone.private) != (own.name, own.private)]

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return the sets; aliases and those that AWS chooses from are shown in words, such as `ALIAS elb.example`."""
        # A set that is asked for by name costs a request, and so do 300 of a zone: AWS allows five a second an account.
        if keys is not None and len(keys) <= _MOST_SINGLE_READS:
            found = [await self._find(zone, key) for key in sorted(keys)]
            return [one for one in found if one is not None]
        pages = await self._call(lambda api: list(_pages(api, zone)))
        read = _read(raw for page in pages for raw in page["ResourceRecordSets"])
        return [one for one in read if keys is None or one.key in keys]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Create a set with CREATE, which AWS refuses where there is one."""
        there = await self._find_plain(zone, wanted.key)
        if there is None:
            await self._change(zone, wanted.key, None, wanted)
        elif not there.same_data(wanted):
            raise self.changed(wanted.key, there)

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Change a set with DELETE and CREATE in one batch."""
        there = await self._find_plain(zone, wanted.key)
        if there is not None and there.same_data(wanted):
            return
        if there is None or not there.same_data(old):
            raise self.changed(wanted.key, there)
        await self._change(zone, wanted.key, there, wanted)

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Delete a set with DELETE, which AWS refuses for other values than those that are there."""
        there = await self._find_plain(zone, old.key)
        if there is None:
            return
        if not there.same_data(old):
            raise self.changed(old.key, there)
        await self._change(zone, old.key, there, None)

    async def _find(self, zone: Zone, key: RecordKey) -> RecordSet | None:
        """Read from where the set would be for as long as it is the set: one request."""

        def ask(api: Any) -> list[RawSet]:
            pages = _pages(api, zone, StartRecordName=f"{key.name}.", StartRecordType=key.type)
            sets = (raw for page in pages for raw in page["ResourceRecordSets"])
            return list(takewhile(lambda raw: _key(raw) == key, sets))

        return next(iter(_read(await self._call(ask))), None)

    async def _find_plain(self, zone: Zone, key: RecordKey) -> RecordSet | None:
        """Read a set that is to be written. Raises RejectedError where it is of a kind that is not ours to change."""
        found = await self._find(zone, key)
        if found is not None and not found.handles:
            raise RejectedError(
                f"route53: {key} is an alias or has a routing policy ({', '.join(found.values)}): AutoGit leaves it",
                hint="delete it in the Route 53 console, or use another name",
            )
        return found

    async def _change(self, zone: Zone, key: RecordKey, there: RecordSet | None, wanted: RecordSet | None) -> None:
        """Put a set in the place of what was just read, at once or not at all.

        A batch is atomic, and DELETE takes only the exact values and TTL: together they are a compare-and-swap. UPSERT
        compares nothing, so it would overwrite what another wrote after the reading. DELETE sends the values as AWS
        gave them, since another client's spelling (the pieces of a text) need not be ours.
        """
        batch = [{"Action": "DELETE", "ResourceRecordSet": _raw(there, there.handles)}] if there else []
        if wanted:
            values = [_written(wanted.key.type, value) for value in wanted.values]
            batch.append({"Action": "CREATE", "ResourceRecordSet": _raw(wanted, values)})
        try:
            change = await self._call(
                lambda api: api.change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": batch})
            )
        except MissingError:
            raise
        except RejectedError as exc:
            # AWS refuses a lost race and bad content with one code: what is there now tells which it was.
            now = await self._find_plain(zone, key)
            if alike(now, wanted):
                return
            if not alike(now, there):
                raise self.changed(key, now) from exc
            raise
        await self._wait(change["ChangeInfo"])

    async def _wait(self, change: Mapping[str, Any]) -> None:
        """Wait until the name servers have a change. It is accepted already: that they take long is no failure."""
        status = change["Status"]
        for _ in range(0, self.config.sync_seconds, _POLL_SECONDS):
            if status == "INSYNC":
                return
            await self._sleep(_POLL_SECONDS)
            try:
                answer = await self._call(lambda api: api.get_change(Id=change["Id"]))
            except UnavailableError:
                continue  # asked too often, or no answer: the change is made, and the next look tells the same
            status = answer["ChangeInfo"]["Status"]

    async def _call(self, ask: Callable[[Any], T]) -> T:
        return await asyncio.to_thread(self._asked, ask)

    def _asked(self, ask: Callable[[Any], T]) -> T:
        boto, parsers = _library("botocore.exceptions"), _library("botocore.parsers")
        try:
            self._client = self._client or _connect(self.config)
            return ask(self._client)
        except boto.ClientError as exc:
            raise _refusal(exc, self.context.clock()) from exc
        except (boto.BotoCoreError, parsers.ResponseParserError) as exc:
            raise _breakdown(exc) from exc


def _library(name: str) -> Any:
    """Import a part of boto3 on first use: it takes 0.4 s, is an extra, and has no types."""
    try:
        return import_module(name)
    except ImportError as exc:
        hint = "pip install 'autogit[route53]'"
        raise UnsupportedError("route53: the library boto3 is not installed", hint=hint) from exc


def _connect(config: Route53Config) -> Any:
    """Return a client that tries once. Keys that are given leave nothing of the machine's own to choose from."""
    key = config.access_key_id.get_secret_value() if config.access_key_id else ""
    secret = config.secret_access_key.get_secret_value() if config.secret_access_key else ""
    if bool(key) != bool(secret):
        missing = "ROUTE53_SECRET_ACCESS_KEY" if key else "ROUTE53_ACCESS_KEY_ID"
        raise ProviderAuthError(f"route53: half of the access key is missing: {missing}", hint=f"set {missing}")
    # With AWS_PROFILE in the environment boto3 insists on that profile of its files, whatever keys it is given.
    nothing = (None, None, os.devnull, None)
    alone = {"profile": (None, None, None, None), "config_file": nothing, "credentials_file": nothing}
    core = _library("botocore.session").Session(session_vars=alone if key else None)
    once = _library("botocore.config").Config(
        retries={"total_max_attempts": 1},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        ignore_configured_endpoint_urls=True,
    )
    session = _library("boto3.session").Session(
        aws_access_key_id=key or None, aws_secret_access_key=secret or None, botocore_session=core
    )
    endpoint = config.endpoint_url or None
    return session.client("route53", region_name=config.region, endpoint_url=endpoint, config=once)


def _refusal(exc: Any, now: datetime) -> ProviderError:
    """Return our error for what AWS answered."""
    answer = exc.response.get("ResponseMetadata", {})
    # Where an answer has no text, boto3 has None for it.
    code, text = (exc.response["Error"].get(field) or "" for field in ("Code", "Message"))
    if code in _THROTTLED:
        seconds = wait_seconds(answer.get("HTTPHeaders", {}).get("retry-after", ""), now)
        return RateLimitedError(f"route53: AWS was asked too often ({code})", retry_after_seconds=seconds)
    if code in _DENIED:
        action = f"route53:{exc.operation_name}" if exc.operation_name in _ACTIONS else exc.operation_name
        hint = f"allow {action} in the key's IAM policy; docs/how-to/dns-route53.md has a whole one"
        return ProviderAuthError(f"route53: the credentials may not do {action}", hint=hint)
    if code in _BAD_CREDENTIALS:
        sentence, hint = _BAD_TIME if text.startswith("Signature expired") else _BAD_CREDENTIALS[code]
        return ProviderAuthError(f"route53: {sentence} ({code})", hint=hint)
    if code == "NoSuchHostedZone":
        return MissingError(f"route53: {text}", hint="it was deleted, or ROUTE53_ZONE_ID names another account's")
    if answer.get("HTTPStatusCode", 0) >= _SERVER_ERROR:
        return UnavailableError(f"route53: AWS cannot answer right now ({code})", hint="try again in a minute")
    return RejectedError(f"route53: AWS refused it: {text.strip('[]')} ({code})")


def _breakdown(exc: Exception) -> ProviderError:
    """Return our error for what boto3 could not do by itself."""
    boto, parsers = _library("botocore.exceptions"), _library("botocore.parsers")
    no_answer = (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, parsers.ResponseParserError)
    no_keys = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
    no_login = (boto.LoginError, boto.ProfileNotFound, boto.SSOError, boto.TokenRetrievalError)
    if isinstance(exc, no_answer):
        hint = "check this machine's network, and ROUTE53_ENDPOINT_URL if it is set"
        return UnavailableError(f"route53: AWS does not answer ({type(exc).__name__})", hint=hint)
    if isinstance(exc, no_keys + no_login):
        hint = "set ROUTE53_ACCESS_KEY_ID and ROUTE53_SECRET_ACCESS_KEY, or mend what boto3 finds in their place"
        return ProviderAuthError(f"route53: there are no credentials to be used ({type(exc).__name__})", hint=hint)
    return RejectedError(f"route53: boto3 refused it: {' '.join(str(exc).split())}")


def _pages(api: Any, zone: Zone, **start: str) -> Iterable[RawSet]:
    pages: Iterable[RawSet] = api.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone.id, **start)
    return pages


def _zone(raw: RawSet) -> Zone:
    private = bool(raw.get("Config", {}).get("PrivateZone", False))
    return Zone(raw["Id"].removeprefix("/hostedzone/"), _name(raw["Name"]), private)


def _key(raw: RawSet) -> RecordKey:
    return RecordKey(_name(raw["Name"]), raw["Type"])


def _read(found: Iterable[RawSet]) -> list[RecordSet]:
    """Put AWS's sets in normal form, those of one name and type (they have identifiers) as one."""
    grouped: dict[RecordKey, list[RawSet]] = {}
    for raw in found:
        grouped.setdefault(_key(raw), []).append(raw)
    return [_record(key, grouped[key]) for key in sorted(grouped)]


def _record(key: RecordKey, found: Sequence[RawSet]) -> RecordSet:
    """Return one set; its handles are the values as AWS has them, and none where it is not ours to change."""
    raw, ttl = found[0], found[0].get("TTL", 0)
    if len(found) == 1 and raw.get("ResourceRecords") and raw.keys() <= _PLAIN_FIELDS:
        handles = tuple(one["Value"] for one in raw["ResourceRecords"])
        return RecordSet(key, ttl, tuple(sorted({_value(key.type, text) for text in handles})), handles=handles)
    return RecordSet(key, ttl, tuple(sorted({text for one in found for text in _in_words(key.type, one)})))


def _in_words(kind: str, raw: RawSet) -> list[str]:
    label = next((f"SET {raw[field]} " for field in _LABELS if field in raw), "")
    if "AliasTarget" in raw:
        return [f"{label}ALIAS {_name(raw['AliasTarget']['DNSName'])}"]
    return [label + _value(kind, one["Value"]) for one in raw.get("ResourceRecords", [])]


def _raw(one: RecordSet, values: Iterable[str]) -> RawSet:
    records = [{"Value": value} for value in values]
    return {"Name": f"{one.key.name}.", "Type": one.key.type, "TTL": one.ttl, "ResourceRecords": records}


def _name(text: str) -> str:
    r"""Return a name in normal form. AWS escapes in octal (`\052` is `*`), where RFC 1035 has decimal numbers.

    Others may have put names there that ours cannot be (`my\040printer`): they come back as AWS writes them.
    """
    plain, as_it_is = _OCTAL.sub(lambda found: chr(int(found[1], 8)), text), text.rstrip(".").lower() or "."
    try:
        return normal_name(plain) if plain.isascii() and "\\" not in plain else as_it_is
    except RejectedError:
        return as_it_is


def _value(kind: str, text: str) -> str:
    """Return a value of AWS's in normal form."""
    if kind not in TEXTS:
        return normal_value(kind, text, _name)
    pieces = _STRINGS.findall(text)
    return b"".join(map(_unescaped, pieces)).decode(errors="backslashreplace") if pieces else text


def _unescaped(piece: str) -> bytes:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]) if found[1][1:] else found[1], piece.encode())


def _written(kind: str, value: str) -> str:
    """Return a value as AWS wants it."""
    return _quoted(value) if kind in TEXTS else zone_value(kind, value)


def _quoted(text: str) -> str:
    r"""Return a text in quotes, in pieces of at most 255 signs; AWS takes `\"`, and `\ooo` in octal for any byte.

    No piece is longer even with its escapes, since AWS does not say whether it counts before or after them.
    """
    pieces = [""]
    for byte in text.encode():
        sign = chr(byte) if chr(byte).isprintable() and chr(byte).isascii() else f"\\{byte:03o}"
        sign = {'"': '\\"', "\\": "\\134"}.get(sign, sign)
        if len(pieces[-1]) + len(sign) > _STRING_LENGTH:
            pieces.append("")
        pieces[-1] += sign
    return " ".join(f'"{piece}"' for piece in pieces)
