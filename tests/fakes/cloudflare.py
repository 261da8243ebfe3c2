"""Something that answers like Cloudflare's API v4 as far as DNS records go, and refuses what it would refuse.

Requests are held to the parameter types of Cloudflare's own library, replies to its models: unknown keys are refused,
in the query too. Codes and messages are those that people quote in bug reports of other tools.
"""

from __future__ import annotations

import copy
import ipaddress
import json
import re
import threading
import uuid
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Required, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, urlsplit

from cloudflare.types.dns import RecordBatchResponse, RecordResponse, record_batch_params, record_list_params
from cloudflare.types.dns.batch_patch_param import BatchPatchParam
from cloudflare.types.dns.batch_put_param import BatchPutParam
from cloudflare.types.zones import Zone, ZoneListParams
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from typing_extensions import is_typeddict

MOST_IN_A_BATCH = 200
"""On the free plan."""
_PROXIABLE = {"A", "AAAA", "CNAME"}
_LABEL = r"(\*|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"(?: "(?:[^"\\]|\\.)*")*')
_SIGN = re.compile(r"\\[0-9]{3}|\\.|[^\\]")
_ADDRESSES = {"A": (9005, 4), "AAAA": (9006, 6)}
_NOT_LISTED = "not a parameter of the client library, or none that this stand-in knows"


class Refusal(Exception):  # noqa: N818 - an answer, raised where it is found
    """An answer that is an error, in the shape that Cloudflare's have."""

    def __init__(self, status, code, message, headers=None, chain=()):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        error = {"code": code, "message": message}
        if chain:
            error["error_chain"] = [{"code": number, "message": text} for number, text in chain]
        self.body = {"result": None, "success": False, "errors": [error], "messages": []}


@dataclass
class Broken:
    """The connection breaks: before anything was done, or after it was done and before it was told."""

    is_done: bool = False


@dataclass
class Page:
    """Not the API but something in between answers, before anything was done or after."""

    status: int
    text: str
    headers: dict = field(default_factory=dict)
    is_done: bool = False


@dataclass
class Token:
    """What a token may do, and in which zones (by their ids)."""

    permissions: set
    zones: set


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict
    body: dict | None
    headers: dict


def _model(hints, name):
    """Make a model of a TypedDict's keys that takes no unknown ones and no other types."""
    fields = {}
    for key, hint in hints.items():
        is_needed = get_origin(hint) is Required
        plain = get_args(hint)[0] if is_needed else hint
        fields[key] = (_typed(plain, f"{name}_{key}"), ... if is_needed else None)
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _typed(hint, name):
    if is_typeddict(hint):
        return _model(get_type_hints(hint, include_extras=True), name)
    # A sequence that is no string, which is a protocol there.
    return list[str] if "SequenceNotStr" in str(hint) else hint


@cache
def _params(union):
    """Return a model for each record type of a union of parameter types."""
    made = {}
    for one in get_args(union):
        hints = get_type_hints(one, include_extras=True)
        kind = get_args(get_args(hints["type"])[0])[0]
        made[kind] = _model(hints, f"{one.__name__}_{len(made)}")
    return made


@cache
def _reply(kind):
    return TypeAdapter(kind)


def _checked(kind, raw):
    """Return a reply that the library's models take, with no key that they do not name."""
    told = json.loads(json.dumps(raw))
    _no_extras(_reply(kind).validate_python(told))
    return told


def _no_extras(one):
    if isinstance(one, BaseModel):
        assert not one.model_extra, f"{type(one).__name__} has no {sorted(one.model_extra)}"
        for name in type(one).model_fields:
            _no_extras(getattr(one, name))
    elif isinstance(one, list):
        for part in one:
            _no_extras(part)


class FakeCloudflare:
    """Zones with their records. Tests may set `tokens`, `faults`, `tells_pages` and `is_strict`.

    `faults` are used up one a request; None lets one pass. Without `is_strict` replies are not held to the models.
    """

    def __init__(self):
        self.url = ""
        self.tokens, self.faults, self.asked = {}, deque(), []
        self.tells_pages, self.is_strict = True, True
        self._zones, self._records = {}, {}
        self._lock = threading.RLock()

    def add_zone(self, name):
        """Make a zone; returns its id."""
        made = uuid.uuid4().hex
        now = datetime.now(UTC).isoformat()
        self._zones[made] = {
            "id": made,
            "name": name,
            "status": "active",
            "paused": False,
            "type": "full",
            "development_mode": 0,
            "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
            "original_name_servers": None,
            "original_registrar": None,
            "original_dnshost": None,
            "modified_on": now,
            "created_on": now,
            "activated_on": now,
            "meta": {"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": False},
            "owner": {"id": None, "type": "user"},
            "account": {"id": "0" * 32, "name": "Home"},
            "plan": {"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website", "legacy_id": "free"},
            "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
        }
        self._records[made] = {}
        return made

    def add_token(self, *permissions, zones):
        """Make a token for zones; returns it."""
        made = f"cf-{uuid.uuid4().hex}"
        self.tokens[made] = Token(set(permissions), set(zones))
        return made

    def remove_zone(self, zone):
        """Delete a zone as somebody else would."""
        del self._zones[zone], self._records[zone]

    def put(self, zone, **record):
        """Keep a record as somebody else would, unchecked; returns its id."""
        made = uuid.uuid4().hex
        now = datetime.now(UTC).isoformat()
        kind = record["type"]
        self._records[zone][made] = {
            "id": made,
            "proxiable": kind in _PROXIABLE,
            "proxied": False,
            "ttl": 300,
            "settings": {},
            "meta": {},
            "comment": None,
            "tags": [],
            "created_on": now,
            "modified_on": now,
            **record,
        }
        return made

    def remove(self, zone, record):
        """Delete a record as somebody else would."""
        del self._records[zone][record]

    def get(self, zone, name, kind):
        """Return the records of a name and type as they are kept."""
        return [one for one in self._records[zone].values() if (one["name"], one["type"]) == (name, kind)]

    # What a request leads to.

    def answer(self, asked):
        """Return what a request gets. Raises Refusal."""
        with self._lock:
            token = self._token(asked.headers)
            path = asked.path.strip("/").split("/")
            if path == ["zones"] and asked.method == "GET":
                return self._list_zones(token, asked.query)
            if len(path) < 3 or path[0] != "zones" or path[2] != "dns_records":
                raise Refusal(404, 7000, "No route for that URI")
            zone = self._zone(token, path[1])
            return self._records_answer(token, zone, path[3:], asked)

    def _token(self, headers):
        if {"x-auth-email", "x-auth-key", "x-auth-user-service-key"} & headers.keys():
            raise Refusal(400, 6003, "Invalid request headers", chain=[(6103, "Invalid format for X-Auth-Key header")])
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not re.fullmatch(r"[A-Za-z0-9_-]{20,}", token):
            raise Refusal(
                400, 6003, "Invalid request headers", chain=[(6111, "Invalid format for Authorization header")]
            )
        if token not in self.tokens:
            raise Refusal(401, 10000, "Authentication error")
        return self.tokens[token]

    def _zone(self, token, zone):
        if not re.fullmatch(r"[0-9a-f]{32}", zone):
            raise Refusal(404, 7003, f"Could not route to /zones/{zone}, perhaps your object identifier is invalid?")
        if zone not in token.zones:
            raise Refusal(403, 9109, "Unauthorized to access requested resource")
        if zone not in self._zones:
            raise Refusal(404, 1001, "Invalid zone identifier")
        return zone

    def _list_zones(self, token, query):
        if "Zone:Read" not in token.permissions:
            raise Refusal(403, 9109, "Unauthorized to access requested resource")
        page, size = _paging(query, set(get_type_hints(ZoneListParams)), most=50, default=20)
        seen = [self._told(Zone, one) for one in self._zones.values() if one["id"] in token.zones]
        return self._paged(seen, page, size)

    def _records_answer(self, token, zone, path, asked):
        is_read = asked.method == "GET"
        if not token.permissions & ({"DNS:Read", "DNS:Edit"} if is_read else {"DNS:Edit"}):
            raise Refusal(403, 10000, "Authentication error")
        if not path and is_read:
            return self._list_records(zone, asked.query)
        if asked.query:
            raise Refusal(400, 1003, f"{sorted(asked.query)}: {_NOT_LISTED}")
        if path == ["batch"] and asked.method == "POST":
            return self._batch(zone, asked.body)
        if not path and asked.method == "POST":
            return _success(self._told(RecordResponse, self._post(zone, asked.body)))
        if len(path) != 1:
            raise Refusal(404, 7000, "No route for that URI")
        return _success(self._one(zone, path[0], asked))

    def _one(self, zone, record, asked):
        kept = self._found(zone, record)
        if asked.method == "GET":
            return self._told(RecordResponse, kept)
        if asked.method == "DELETE":
            del self._records[zone][record]
            return {"id": record}
        change = {"PATCH": self._patch, "PUT": self._put}.get(asked.method)
        if change is None:
            raise Refusal(405, 10405, "Method not allowed")
        return self._told(RecordResponse, change(zone, {**asked.body, "id": record}))

    def _list_records(self, zone, query):
        known = {key for key in get_type_hints(record_list_params.RecordListParams) if key != "zone_id"}
        page, size = _paging(query, {"name.exact", "type", *known - {"name"}}, most=5000, default=100)
        if more := query.keys() - {"name.exact", "type", "page", "per_page"}:
            raise Refusal(400, 1003, f"{sorted(more)}: {_NOT_LISTED}")
        name, kind = query.get("name.exact"), query.get("type")
        seen = [
            self._told(RecordResponse, one)
            for one in self._records[zone].values()
            if name in {None, one["name"]} and kind in {None, one["type"]}
        ]
        return self._paged(seen, page, size)

    def _paged(self, items, page, size):
        shown = items[(page - 1) * size : page * size]
        info = {"page": page, "per_page": size}
        if self.tells_pages:
            info |= {"count": len(shown), "total_count": len(items), "total_pages": -(-len(items) // size)}
        return _success(shown) | {"result_info": info}

    def _batch(self, zone, body):
        """Carry out all of it, in Cloudflare's order, or nothing."""
        if not isinstance(body, dict) or body.keys() - {"deletes", "patches", "puts", "posts"}:
            raise Refusal(400, 9207, f"body: {_NOT_LISTED}")
        if not 0 < sum(map(len, body.values())) <= MOST_IN_A_BATCH:
            raise Refusal(400, 9207, "Request body has no operations, or too many for this plan.")
        before = copy.deepcopy(self._records[zone])
        do = {"deletes": self._delete, "patches": self._patch, "puts": self._put, "posts": self._post}
        try:
            done = {part: [do[part](zone, one) for one in body.get(part, [])] for part in do}
        except Refusal:
            self._records[zone] = before
            raise
        return _success(self._told(RecordBatchResponse, {part: some for part, some in done.items() if part in body}))

    def _delete(self, zone, raw):
        _held_to(_model(get_type_hints(record_batch_params.Delete, include_extras=True), "Delete"), raw)
        self._found(zone, raw["id"])
        return self._records[zone].pop(raw["id"])

    def _patch(self, zone, raw):
        _held_to(_params_of(BatchPatchParam, raw), raw)
        return self._keep(zone, self._found(zone, raw["id"]) | raw)

    def _put(self, zone, raw):
        _held_to(_params_of(BatchPutParam, raw), raw)
        kept = self._found(zone, raw["id"])
        return self._keep(zone, _blank(raw["id"], kept["created_on"]) | raw)

    def _post(self, zone, raw):
        _held_to(_params_of(record_batch_params.Post, raw), raw)
        return self._keep(zone, _blank(uuid.uuid4().hex, datetime.now(UTC).isoformat()) | raw)

    def _found(self, zone, record):
        if record not in self._records[zone]:
            raise Refusal(404, 81044, "Record does not exist.")
        return self._records[zone][record]

    def _keep(self, zone, record):
        apex, name = self._zones[zone]["name"], record["name"].lower()
        # A name outside of the zone is taken for one below it.
        record["name"] = name if name == apex or name.endswith(f".{apex}") else f"{name}.{apex}"
        record["proxiable"] = record["type"] in _PROXIABLE
        record["comment"] = record["comment"] or None
        record["modified_on"] = datetime.now(UTC).isoformat()
        _check_record(record)
        if record["proxied"]:
            record["ttl"] = 1
        for other in self._records[zone].values():
            if other["name"] == record["name"] and other["id"] != record["id"]:
                _check_beside(record, other)
        self._records[zone][record["id"]] = record
        return record

    def _told(self, kind, raw):
        return _checked(kind, raw) if self.is_strict else copy.deepcopy(raw)


def _success(result):
    return {"result": result, "success": True, "errors": [], "messages": []}


def _blank(record, created_on):
    """Return what a record has that says nothing else."""
    return {
        "id": record,
        "created_on": created_on,
        "proxied": False,
        "settings": {},
        "meta": {},
        "comment": None,
        "tags": [],
    }


def _paging(query, known, *, most, default):
    if more := query.keys() - known:
        raise Refusal(400, 1003, f"{sorted(more)}: {_NOT_LISTED}")
    try:
        page, size = int(query.get("page", "1")), int(query.get("per_page", default))
    except ValueError as exc:
        raise Refusal(400, 1003, "page and per_page are numbers") from exc
    if page < 1 or not 5 <= size <= most:
        raise Refusal(400, 1003, f"Invalid or missing pagination parameters: {page}, {size}")
    return page, size


def _params_of(union, raw):
    known = _params(union)
    if not isinstance(raw, dict) or raw.get("type") not in known:
        raise Refusal(400, 1004, "DNS Validation Error", chain=[(9000, "DNS record type is invalid.")])
    return known[raw["type"]]


def _held_to(model, raw):
    try:
        model.model_validate(raw)
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors())
        raise Refusal(400, 9207, f"Request body is invalid: {wrong}") from exc


def _check_record(record):
    """Refuse what Cloudflare would not keep, and write what it writes in another way."""
    kind, name, content = record["type"], record["name"], record.get("content")
    if not _NAME.fullmatch(name) or len(name) > 253 or "*" in name[1:]:
        raise _invalid(9000, "DNS name is invalid.")
    if record["ttl"] != 1 and not 60 <= record["ttl"] <= 86400:
        raise Refusal(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
    if record["proxied"] and kind not in _PROXIABLE:
        raise Refusal(400, 9004, "This record type cannot be proxied.")
    if len(record["comment"] or "") > 100:
        raise _invalid(9300, "DNS record comment is longer than 100 characters.")
    if kind == "CAA":
        record["content"] = _caa(record.get("data") or {})
    elif not isinstance(content, str) or not content:
        raise _invalid(9009, f"Content for {kind} record is missing.")
    elif kind in _ADDRESSES:
        _check_address(kind, record)
    elif kind == "CNAME":
        record["content"] = content.lower().rstrip(".")
        if not _NAME.fullmatch(record["content"]):
            raise Refusal(400, 9007, "Content for CNAME record is invalid.")
    elif kind == "TXT":
        record["content"] = _text(content)


def _invalid(code, message):
    return Refusal(400, 1004, "DNS Validation Error", chain=[(code, message)])


def _check_address(kind, record):
    code, version = _ADDRESSES[kind]
    try:
        address = ipaddress.ip_address(record["content"])
    except ValueError as exc:
        raise Refusal(400, code, f"Content for {kind} record must be a valid IPv{version} address.") from exc
    if address.version != version:
        raise Refusal(400, code, f"Content for {kind} record must be a valid IPv{version} address.")
    record["content"] = str(address)


def _caa(data):
    if data.keys() != {"flags", "tag", "value"} or data["tag"] not in {"issue", "issuewild", "iodef"}:
        raise _invalid(9101, "CAA record data is incomplete.")
    return f'{int(data["flags"])} {data["tag"]} "{data["value"]}"'


def _text(content):
    """Return quoted strings cut at 255 bytes; what is not quoted is kept as it is."""
    if not content.startswith('"'):
        return content
    if not _STRINGS.fullmatch(content):
        raise _invalid(9208, "Content for TXT record has unbalanced quotes.")
    signs = [sign for part in re.findall(r'"((?:[^"\\]|\\.)*)"', content) for sign in _SIGN.findall(part)]
    cut, size = [""], 0
    for sign in signs:
        weight = len(sign.encode()) if len(sign) == 1 else 1
        if size + weight > 255:
            cut.append("")
            size = 0
        cut[-1] += sign
        size += weight
    if len(signs) + len(cut) > 4096:
        raise _invalid(9208, "Content for TXT record is too long.")
    return " ".join(f'"{part}"' for part in cut)


def _check_beside(record, other):
    kinds = {record["type"], other["type"]}
    if record["type"] == other["type"] and record.get("content") == other.get("content"):
        code, said = (81058, "An identical record already exists.")
        raise Refusal(400, code, said)
    if "CNAME" in kinds and kinds <= _PROXIABLE:
        raise Refusal(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
    if "NS" in kinds and len(kinds) > 1:
        raise Refusal(400, 81056, "NS records with that host already exist.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20

    def do_GET(self):
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def _serve(self):
        fake, url = self.server.fake, urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pairs = parse_qs(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
        query = {key: values[0] for key, values in pairs.items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        fake.asked.append(Asked(self.command, url.path, query, json.loads(data) if data else None, headers))
        fault = fake.faults.popleft() if fake.faults else None
        if isinstance(fault, Refusal):
            self._tell(fault.status, json.dumps(fault.body), fault.headers)
            return
        told = self._done(fake) if fault is None or fault.is_done else None
        if isinstance(fault, Page):
            self._tell(fault.status, fault.text, {"Content-Type": "text/html", **fault.headers})
        elif fault is None:
            self._tell(*told)
        else:
            self.close_connection = True

    def _done(self, fake):
        try:
            return 200, json.dumps(fake.answer(fake.asked[-1])), {}
        except Refusal as exc:
            return exc.status, json.dumps(exc.body), exc.headers
        except (AssertionError, ValidationError) as exc:
            # The stand-in is wrong itself: its reply would not be one of Cloudflare's.
            return 500, str(exc), {"Content-Type": "text/plain"}

    def _tell(self, status, text, headers):
        self.send_response(status)
        for key, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(key, value)
        data = text.encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def fake_cloudflare():
    """Answer on a free port of loopback; yields the FakeCloudflare, whose `url` is where it is."""
    fake = FakeCloudflare()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.fake = fake
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
