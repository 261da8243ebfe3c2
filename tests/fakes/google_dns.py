"""Something that answers like Google Cloud DNS v1 and Google's token endpoint, and refuses what is not in their papers.

Requests and replies are held to google_dns_v1.json, an excerpt of Google's published description: unknown keys are
refused, in the query too. Messages and statuses are those that people quote in bug reports of other tools.
"""

from __future__ import annotations

import base64
import copy
import ipaddress
import json
import re
import threading
import time
import uuid
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PAPER = json.loads(Path(__file__).with_name("google_dns_v1.json").read_text())
SCOPE = "https://www.googleapis.com/auth/ndev.clouddns.readwrite"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""google-auth says so wherever the key's `token_uri` leads."""
EMAIL = "autogit-dns@home-1.iam.gserviceaccount.com"
PERMISSIONS = frozenset(
    f"dns.{right}"
    for right in (
        *("changes.create", "changes.get", "changes.list", "managedZones.get", "managedZones.list"),
        *("resourceRecordSets.create", "resourceRecordSets.delete", "resourceRecordSets.get"),
        *("resourceRecordSets.list", "resourceRecordSets.update"),
    )
)
_TYPES = frozenset(
    {
        *("A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS"),
        *("PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB", "TLSA", "TXT"),
    }
)
_LABEL = r"(\*|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)"
_NAME = re.compile(rf"({_LABEL}\.)+")
_DATA = {
    "CAA": re.compile(r'\d{1,3} (issue|issuewild|iodef) "[!-~ ]*"'),
    "CNAME": _NAME,
    "MX": re.compile(rf"\d{{1,5}} ({_LABEL}\.)+"),
    "NS": _NAME,
    "PTR": _NAME,
    "SRV": re.compile(rf"\d{{1,5}} \d{{1,5}} \d{{1,5}} ({_LABEL}\.)+"),
    "TXT": re.compile(r'"([ !#-\[\]-~]|\\[0-9]{3}|\\["\\])*"( "([ !#-\[\]-~]|\\[0-9]{3}|\\["\\])*")*'),
}
_STRING = re.compile(r'"((?:[^"\\]|\\[0-9]{3}|\\.)*)"')


def _strict(node, *, is_request):
    """Turn a schema of the description into one of JSON Schema that takes no unknown keys."""
    if isinstance(node, list):
        return [_strict(one, is_request=is_request) for one in node]
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        if key == "$ref":
            made[key] = f"#/$defs/{value}"
        elif key == "properties":
            shown = {k: v for k, v in value.items() if not (is_request and v.get("readOnly"))}
            made[key] = {k: _strict(v, is_request=is_request) for k, v in shown.items()}
            made.setdefault("additionalProperties", False)
        elif key == "format":
            made.update(_FORMATS.get(value, {}))
        elif key in {"type", "items", "enum", "additionalProperties", "pattern"}:
            made[key] = _strict(value, is_request=is_request)
    return made


_FORMATS = {
    "int32": {"minimum": -(2**31), "maximum": 2**31 - 1},
    "uint32": {"minimum": 0, "maximum": 2**32 - 1},
    "uint64": {"pattern": "^[0-9]+$"},
}


def _validators(*, is_request):
    defs = {name: _strict(schema, is_request=is_request) for name, schema in PAPER["schemas"].items()}
    return {
        name: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": defs}) for name in PAPER["schemas"]
    }


_REQUESTS = _validators(is_request=True)
_REPLIES = _validators(is_request=False)


class Refusal(Exception):  # noqa: N818 - an answer, raised where it is found
    """An answer that is an error, in the shape that Google's have."""

    def __init__(self, status, reason, message, headers=None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        error = {"code": status, "message": message}
        self.body = {"error": error | {"errors": [{"message": message, "domain": "global", "reason": reason}]}}


@dataclass
class Broken:
    """The connection breaks: before anything was done, or after it was done and before it was told."""

    is_done: bool = False


@dataclass
class Page:
    """Not the API but something in between answers."""

    status: int
    text: str
    headers: dict = field(default_factory=dict)


@dataclass
class ManagedZone:
    raw: dict
    rrsets: dict = field(default_factory=dict)
    changes: dict = field(default_factory=dict)

    @property
    def apex(self):
        return self.raw["dnsName"]


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict
    body: dict | None


class FakeGoogle:
    """One project with its zones. Tests may set `permissions`, `page_size`, `pending`, `faults` and `token_faults`.

    `faults` and `token_faults` are used up one a request; None lets one pass. `pending` is how often a change is
    looked at before it is done.
    """

    def __init__(self, project="home-1"):
        self.project = project
        self.permissions = set(PERMISSIONS)
        self.page_size, self.pending = 3, 1
        self.faults, self.token_faults = deque(), deque()
        self.asked, self.tokens, self.grants = [], set(), 0
        self.key, self.key_id = _new_key(), uuid.uuid4().hex
        self.url = ""
        self._zones, self._page_tokens = {}, {}
        self._lock = threading.RLock()

    def add_zone(self, name, dns_name, *, visibility="public", **more):
        """Make a managed zone with the sets that it has from its first moment."""
        raw = {
            "kind": "dns#managedZone",
            "name": name,
            "dnsName": dns_name,
            "description": "",
            "id": str(1000 + len(self._zones)),
            "nameServers": ["ns-cloud-a1.googledomains.com.", "ns-cloud-a2.googledomains.com."],
            "creationTime": "2026-11-25T00:00:00.000Z",
            "visibility": visibility,
            "cloudLoggingConfig": {"kind": "dns#managedZoneCloudLoggingConfig"},
            **more,
        }
        zone = self._zones[name] = ManagedZone(raw)
        if not more:
            soa = "ns-cloud-a1.googledomains.com. cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300"
            self.put(name, {"name": dns_name, "type": "NS", "ttl": 21600, "rrdatas": list(raw["nameServers"])})
            self.put(name, {"name": dns_name, "type": "SOA", "ttl": 21600, "rrdatas": [soa]})
        return zone

    def remove_zone(self, name):
        """Delete a managed zone as somebody else would."""
        del self._zones[name]

    def put(self, zone, rrset):
        """Keep a set as somebody else would, whatever was there."""
        self._zones[zone].rrsets[rrset["name"], rrset["type"]] = {"kind": "dns#resourceRecordSet", **rrset}

    def get(self, zone, name, kind):
        """Return a set as it is kept, or None."""
        return self._zones[zone].rrsets.get((name, kind))

    def key_file(self, **changed):
        """Return the text of the service account's JSON key, with other values where told (None: without)."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key = {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": self.key_id,
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "100000000000000000001",
            "token_uri": f"{self.url}/token",
            "universe_domain": "googleapis.com",
        }
        return json.dumps({k: v for k, v in (key | changed).items() if v is not None})

    # What a request leads to.

    def token(self, form):
        """Give a token for a signed assertion (RFC 7523 section 2.1)."""
        self.grants += 1
        if set(form) != {"grant_type", "assertion"}:
            return 400, {"error": "invalid_request", "error_description": "Bad parameters"}
        if form["grant_type"] != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
            return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}
        if wrong := self._wrong_assertion(form["assertion"][0]):
            return 400, {"error": "invalid_grant", "error_description": wrong}
        token = f"ya29.{uuid.uuid4().hex}"
        self.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}

    def _wrong_assertion(self, assertion):
        head, claims, signature = assertion.split(".")
        try:
            self.key.public_key().verify(
                _decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return "Invalid JWT Signature."
        head, claims = json.loads(_decoded(head)), json.loads(_decoded(claims))
        if (head["alg"], head["typ"], head["kid"]) != ("RS256", "JWT", self.key_id):
            return "Invalid JWT header."
        if claims["iss"] != EMAIL:
            return "Invalid grant: account not found"
        if claims["aud"] != AUDIENCE:
            return "Invalid JWT: Failed audience check."
        if not (abs(time.time() - claims["iat"]) < 300 and 0 < claims["exp"] - claims["iat"] <= 3600):
            return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
        return "" if claims["scope"] == SCOPE else "Invalid OAuth scope or ID token audience provided."

    def answer(self, asked, authorization):
        """Carry out one request of the API; raises Refusal."""
        if authorization.removeprefix("Bearer ") not in self.tokens or not authorization.startswith("Bearer "):
            raise Refusal(401, "authError", "Request had invalid authentication credentials.")
        method, names = _method(asked)
        self._check_query(asked, method)
        found = {
            "dns.managedZones.list": self._list_zones,
            "dns.resourceRecordSets.list": self._list_rrsets,
            "dns.changes.create": self._create_change,
            "dns.changes.get": self._get_change,
        }[method](asked, names)
        _REPLIES[PAPER["methods"][method]["response"]["$ref"]].validate(found)
        return found

    def _check_query(self, asked, method):
        known = {k for k, v in PAPER["methods"][method]["parameters"].items() if v["location"] == "query"}
        for key in set(asked.query) - known:
            raise Refusal(400, "badRequest", f'Invalid JSON payload received. Unknown name "{key}": Cannot bind.')

    def _may(self, *rights):
        if set(rights) - self.permissions:
            raise Refusal(403, "forbidden", "Forbidden")

    def _zone(self, names):
        if names["project"] != self.project:
            raise Refusal(
                404, "notFound", f"The 'parameters.project' resource named '{names['project']}' does not exist."
            )
        name = names.get("managedZone")
        found = [zone for zone in self._zones.values() if name in {zone.raw["name"], zone.raw["id"]}]
        if name is not None and not found:
            raise Refusal(404, "notFound", f"The 'parameters.managedZone' resource named '{name}' does not exist.")
        return found[0] if found else None

    def _list_zones(self, asked, names):
        self._may("dns.managedZones.list")
        self._zone(names)
        wanted = asked.query.get("dnsName")
        zones = [z.raw for z in self._zones.values() if wanted in {None, z.raw["dnsName"]}]
        return self._page(asked, "managedZones", zones) | {"kind": "dns#managedZonesListResponse"}

    def _list_rrsets(self, asked, names):
        self._may("dns.resourceRecordSets.list")
        name, kind = asked.query.get("name"), asked.query.get("type")
        zone = self._zone(names)
        if kind and not name:
            raise Refusal(400, "invalid", "The 'parameters.name' parameter is required but was missing.")
        if name and not _NAME.fullmatch(name):
            raise Refusal(400, "invalid", f"Invalid value for 'parameters.name': '{name}'")
        sets = [zone.rrsets[key] for key in sorted(zone.rrsets)]
        shown = [one for one in sets if name in {None, one["name"]} and kind in {None, one["type"]}]
        return self._page(asked, "rrsets", shown) | {"kind": "dns#resourceRecordSetsListResponse"}

    def _page(self, asked, items, found):
        query = {k: v for k, v in asked.query.items() if k != "pageToken"}
        start, token = 0, asked.query.get("pageToken")
        if token is not None:
            if (asked.path, query) != self._page_tokens.get(token, (0, 0, 0))[:2]:
                raise Refusal(400, "invalid", "Invalid value for 'parameters.pageToken'")
            start = self._page_tokens[token][2]
        end = start + min(self.page_size, int(query.get("maxResults", self.page_size)))
        answer = {items: copy.deepcopy(found[start:end])}
        if end < len(found):
            token = answer["nextPageToken"] = uuid.uuid4().hex
            self._page_tokens[token] = (asked.path, query, end)
        return answer

    def _get_change(self, asked, names):
        self._may("dns.changes.get")
        zone, number = self._zone(names), names["changeId"]
        if number not in zone.changes:
            raise Refusal(404, "notFound", f"The 'parameters.changeId' resource named '{number}' does not exist.")
        change = zone.changes[number]
        change["looks"] += 1
        change["told"]["status"] = "done" if change["looks"] >= self.pending else "pending"
        return copy.deepcopy(change["told"])

    def _create_change(self, asked, names):
        zone = self._zone(names)
        try:
            _REQUESTS["Change"].validate(asked.body)
        except jsonschema.ValidationError as exc:
            raise Refusal(400, "badRequest", f"Invalid JSON payload received: {exc.message}") from exc
        if set(asked.body) - {"additions", "deletions"}:
            raise Refusal(400, "badRequest", "Output only fields were given")
        deletions, additions = asked.body.get("deletions", []), asked.body.get("additions", [])
        self._may("dns.changes.create", *_rights(deletions, additions))
        if not deletions and not additions:
            raise Refusal(400, "required", "The 'entity.change' parameter is required but was missing.")
        with self._lock:
            # On a copy: a change is carried out as a whole or not at all.
            after = copy.deepcopy(zone.rrsets)
            for number, one in enumerate(deletions):
                _take(after, zone, one, f"entity.change.deletions[{number}]")
            for number, one in enumerate(additions):
                _put(after, zone, one, f"entity.change.additions[{number}]")
            zone.rrsets = after
            return self._told(zone, asked.body)

    def _told(self, zone, body):
        number = str(len(zone.changes) + 1)
        told = {
            "kind": "dns#change",
            "id": number,
            "startTime": "2026-11-25T00:00:00.000Z",
            "status": "pending" if self.pending else "done",
            **copy.deepcopy(body),
        }
        zone.changes[number] = {"looks": 0, "told": told}
        return copy.deepcopy(told)


@cache
def _new_key():
    # 0.1 s and more, so it is one for all the tests of a process.
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _method(asked):
    """Return the id of a method of the description, and the names in its path."""
    for name, method in PAPER["methods"].items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", method["path"])
        found = re.fullmatch(f"/{pattern}", asked.path)
        if found and asked.method == method["httpMethod"]:
            return name, {k: unquote(v) for k, v in found.groupdict().items()}
    raise Refusal(404, "notFound", "The requested URL was not found on this server.")


def _rights(deletions, additions):
    """Return the rights on sets that a change takes besides `dns.changes.create`."""
    out, new = ({(one["name"], one["type"]) for one in side} for side in (deletions, additions))
    verbs = {"update": out & new, "create": new - out, "delete": out - new}
    return [f"dns.resourceRecordSets.{verb}" for verb, keys in verbs.items() if keys]


def _take(sets, zone, one, place):
    there = sets.get((one["name"], one["type"]))
    if there is None:
        raise Refusal(404, "notFound", f"The '{place}' resource named '{one['name']} ({one['type']})' does not exist.")
    if one["name"] == zone.apex and one["type"] in {"NS", "SOA"}:
        raise Refusal(400, "invalidZoneApex", f"The resource record set '{place}' is invalid: a zone must have one.")
    if {k: v for k, v in there.items() if k != "kind"} != one:
        raise Refusal(412, "conditionNotMet", f"Precondition not met for '{place}'")
    del sets[one["name"], one["type"]]


def _put(sets, zone, one, place):
    name, kind = one.get("name", ""), one.get("type", "")
    _check_set(one, zone, place)
    if (name, kind) in sets:
        raise Refusal(409, "alreadyExists", f"The resource '{place}' named '{name} ({kind})' already exists")
    beside = sorted(other for at, other in sets if at == name)
    if beside and "CNAME" in {kind, *beside}:
        message = (
            f"The resource record set 'entity.change.additions[{name}][{kind}]' is invalid because the DNS name "
            f"'{name}' has a resource record set of the type '{beside[0]}'. A DNS name may have either one CNAME "
            "resource record set or resource record sets of other types, but not both."
        )
        raise Refusal(400, "cnameResourceRecordSetConflict", message)
    sets[name, kind] = {"kind": "dns#resourceRecordSet", **copy.deepcopy(one)}


def _check_set(one, zone, place):
    name, kind, datas = one.get("name", ""), one.get("type", ""), one.get("rrdatas", [])

    def is_wrong(part, value):
        return Refusal(400, "invalid", f"Invalid value for '{place}.{part}': '{value}'")

    if not _NAME.fullmatch(name) or not (name == zone.apex or name.endswith(f".{zone.apex}")):
        raise is_wrong("name", name)
    if kind not in _TYPES:
        raise is_wrong("type", kind)
    if one.get("ttl", -1) < 0:
        raise is_wrong("ttl", one.get("ttl"))
    if not datas or "routingPolicy" in one or len(set(datas)) != len(datas):
        raise is_wrong("rrdata", datas)
    if kind == "CNAME" and (len(datas) > 1 or name == zone.apex):
        raise is_wrong("type", "CNAME")
    for number, data in enumerate(datas):
        if not _is_data(kind, data):
            raise is_wrong(f"rrdata[{number}]", data)


def _is_data(kind, data):
    if kind in {"A", "AAAA"}:
        return _is_address(kind, data)
    if kind == "TXT" and any(len(re.sub(r"\\[0-9]{3}|\\.", "x", one)) > 255 for one in _STRING.findall(data)):
        return False
    return kind not in _DATA or _DATA[kind].fullmatch(data) is not None


def _is_address(kind, data):
    try:
        address = ipaddress.ip_address(data)
    except ValueError:
        return False
    # In the canonical form too: whatever else is sent comes back otherwise.
    return address.version == (4 if kind == "A" else 6) and str(address) == data


class _Handler(BaseHTTPRequestHandler):
    timeout = 20

    def do_GET(self):
        self._serve()

    def do_POST(self):
        self._serve()

    def _serve(self):
        fake, url = self.server.fake, urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        faults = fake.token_faults if url.path == "/token" else fake.faults
        fault = faults.popleft() if faults else None
        if isinstance(fault, Page):
            self._tell(fault.status, fault.text.encode(), fault.headers)
        elif isinstance(fault, Refusal):
            self._tell(fault.status, json.dumps(fault.body).encode(), fault.headers)
        elif fault is None or fault.is_done:
            status, body = self._done(fake, url, data)
            if fault is None:
                self._tell(status, json.dumps(body).encode(), {})

    def _done(self, fake, url, data):
        if url.path == "/token":
            return fake.token(parse_qs(data.decode(), strict_parsing=True))
        query = {
            k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True, strict_parsing=bool(url.query)).items()
        }
        asked = Asked(self.command, url.path, query, json.loads(data) if data else None)
        fake.asked.append(asked)
        try:
            return 200, fake.answer(asked, self.headers.get("Authorization", ""))
        except Refusal as exc:
            return exc.status, exc.body

    def _tell(self, status, data, headers):
        self.send_response(status)
        for key, value in ({"Content-Type": "application/json; charset=UTF-8"} | headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def fake_google():
    """Answer on a free port of loopback; yields the FakeGoogle, whose `url` is where it is."""
    fake = FakeGoogle()
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
