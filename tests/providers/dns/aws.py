"""Route 53 on loopback: moto keeps the data, and what AWS refuses and moto does not is refused in front of it."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import threading
from collections import deque
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from io import BytesIO
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.route53.models import ChangeList, route53_backends
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

KEY_ID, SECRET = "AKIAEXAMPLEEXAMPLE00", "given-secret/of+the-tests"
_MOST_RECORDS = 1000
_LONGEST_TTL = 2**31 - 1
_STRING = re.compile(r'"((?:[^"\\]|\\[0-3][0-7]{2}|\\["\\;])*)"')
_SIGNED = re.compile(
    r"Credential=(?P<key>[^/]+)/\d+/[^/]+/route53/aws4_request, SignedHeaders=(?P<names>[^,]+), .*=(?P<sum>\w+)"
)
_ROUTES = (
    ("GET", r"/2013-04-01/hostedzone", "ListHostedZones", "*"),
    ("GET", r"/2013-04-01/hostedzone/([^/]+)/rrset", "ListResourceRecordSets", "arn:aws:route53:::hostedzone/{}"),
    ("POST", r"/2013-04-01/hostedzone/([^/]+)/rrset/", "ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/{}"),
    ("GET", r"/2013-04-01/change/([^/]+)", "GetChange", "arn:aws:route53:::change/{}"),
)


class RefusedError(Exception):
    """What AWS answers instead."""

    def __init__(self, status, code, message="", headers=None, body=None):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers, self.body = headers or {}, body


@dataclass
class Aws:
    """One account. A test may set how many sets or zones make a page, what the key may do, and what goes wrong."""

    url: str = ""
    page: int = 300
    pending: int = 1  # how often GetChange says PENDING before INSYNC
    policy: dict | None = None  # an IAM policy; None allows all
    calls: list = field(default_factory=list)
    batches: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    before: dict = field(default_factory=dict)  # action -> called once before it is carried out
    faults: dict = field(default_factory=dict)  # action -> RefusedError, to be answered one after the other
    lost: dict = field(default_factory=dict)  # the same, but after it was carried out

    @property
    def backend(self):
        return route53_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def add_zone(self, name, *, private=False):
        """Make a zone as another client would; return its id."""
        zone = self.backend.create_hosted_zone(
            f"{name}.", private_zone=private, caller_reference=f"r{len(self.backend.zones)}", vpcid=None, vpcregion=None
        )
        return zone.resource_id

    def remove_zone(self, zone_id):
        self.backend.zones.pop(zone_id)

    def put(self, zone_id, name, kind, values=(), ttl=300, **fields):
        """Write a set as another client would, past every check."""
        records = {"TTL": ttl, "ResourceRecords": list(values)} if values else {}
        self.backend.zones[zone_id].upsert_rrset({"Name": f"{name}.", "Type": kind, **records, **fields})

    def take(self, zone_id, name, kind):
        self.backend.zones[zone_id].delete_rrset({"Name": f"{name}.", "Type": kind})

    def raw(self, zone_id, name, kind):
        """Return the values of a set as they are kept."""
        return [
            v for s in self.backend.zones[zone_id].rrsets if (s.name, s.type) == (f"{name}.", kind) for v in s.records
        ]

    def fail(self, action, *refusals):
        self.faults[action] = deque(refusals)

    def lose(self, action, *refusals):
        self.lost[action] = deque(refusals)

    def __call__(self, environ, start_response):
        request = Request(environ)
        try:
            response = self._answer(request, environ)
        except RefusedError as exc:
            body = exc.body if exc.body is not None else _error(exc)
            response = Response(body, exc.status, headers=exc.headers, content_type="text/xml")
        return response(environ, start_response)

    def _answer(self, request, environ):
        body = request.get_data()
        environ["wsgi.input"] = BytesIO(body)  # moto reads it once more
        action, resource = _route(request)
        self.calls.append(action)
        self.requests.append(dict(request.headers))
        if self.faults.get(action):
            raise self.faults[action].popleft()
        _authenticate(request, body)
        self._authorise(action, resource)
        self.before.pop(action, lambda: None)()
        zone_id = resource.rpartition("/")[2]
        if action == "ChangeResourceRecordSets":
            self._check(zone_id, body)
        if action.startswith("List"):
            environ["QUERY_STRING"] = self._paged(request)
        response = Response.from_app(_MOTO, environ, buffered=True)
        if self.lost.get(action):
            raise self.lost[action].popleft()
        response.set_data(self._as_aws(action, response.get_data(as_text=True)))
        return response

    def _authorise(self, action, resource):
        if self.policy is not None and not any(
            statement["Effect"] == "Allow"
            and f"route53:{action}" in _listed(statement["Action"])
            and any(fnmatch.fnmatchcase(resource, pattern) for pattern in _listed(statement["Resource"]))
            for statement in self.policy["Statement"]
        ):
            message = (
                f"User: arn:aws:iam::{DEFAULT_ACCOUNT_ID}:user/autogit is not authorized to perform: route53:{action}"
            )
            raise RefusedError(403, "AccessDenied", message)

    def _paged(self, request):
        """Ask moto for short pages; it keeps `*` as it was written, where AWS knows both spellings."""
        query = dict(parse_qsl(request.query_string.decode()))
        query["maxitems"] = str(min(self.page, int(query.get("maxitems", self.page))))
        return urlencode({key: value.replace("\\052", "*") for key, value in query.items()})

    def _as_aws(self, action, text):
        if action == "ListResourceRecordSets":
            return re.sub(r"(<(?:Name|NextRecordName)>)\*\.", r"\1\\052.", text)
        if action == "ChangeResourceRecordSets":
            self._left = self.pending
            return text.replace("INSYNC", "PENDING")
        if action == "GetChange" and self._left > 0:
            self._left -= 1
            return text.replace("INSYNC", "PENDING")
        return text

    def _check(self, zone_id, body):
        """Refuse a batch that AWS would refuse; have moto take one that AWS would take."""
        zone = self.backend.zones.get(zone_id)
        if zone is None:
            raise RefusedError(404, "NoSuchHostedZone", f"No hosted zone found with ID: {zone_id}")
        batch = [_change(element) for element in ET.fromstring(body).iter() if _tag(element) == "Change"]
        self.batches.append([(action, one.name, one.kind, one.ttl, one.values) for action, one in batch])
        kept = {_Set.of(rrset).key: _Set.of(rrset) for rrset in zone.rrsets}
        if sum(len(one.values) * (2 if action == "UPSERT" else 1) for action, one in batch) > _MOST_RECORDS:
            raise RefusedError(400, "InvalidChangeBatch", "[Number of records limit of 1000 exceeded.]")
        for action, one in batch:
            _check_data(zone.name, one)
            _APPLY[action](zone.name, kept, one)
        # moto compares with a journal of all that ever was, not with what is there, and in order.
        zone.rr_changes = ChangeList()
        for action, one in batch:
            if action == "DELETE":
                zone.rr_changes.append({"Action": "CREATE", "ResourceRecordSet": deepcopy(one.as_moto)})


@dataclass(frozen=True)
class _Set:
    name: str
    kind: str
    identifier: str
    ttl: int | None
    values: tuple[str, ...]
    alias: bool = False

    @classmethod
    def of(cls, rrset):
        ttl = None if rrset.ttl is None else int(rrset.ttl)
        values = tuple(rrset.records or ())
        return cls(
            _plain(rrset.name), rrset.type, rrset.set_identifier or "", ttl, values, rrset.alias_target is not None
        )

    @property
    def key(self):
        return self.name, self.kind, self.identifier

    @property
    def as_moto(self):
        values = [{"Value": value} for value in self.values]
        return {"Name": self.name, "Type": self.kind, "TTL": self.ttl, "ResourceRecords": values}

    def same(self, other):
        mine, others = (self.ttl, sorted(self.values), self.alias), (other.ttl, sorted(other.values), other.alias)
        return mine == others

    def __str__(self):
        return f"[name='{self.name}', type='{self.kind}']"


def _change(element):
    texts = {_tag(child): child.text or "" for child in element.iter()}
    values = tuple(child.text or "" for child in element.iter() if _tag(child) == "Value")
    ttl = int(texts["TTL"]) if "TTL" in texts else None
    identifier = texts.get("SetIdentifier", "")
    return texts["Action"], _Set(_plain(texts["Name"]), texts["Type"], identifier, ttl, values, "AliasTarget" in texts)


def _check_data(zone, one):
    if one.name != zone and not one.name.endswith(f".{zone}"):
        _refuse(f"RRSet with DNS name {one.name} is not permitted in zone {zone}")
    if not one.alias and (one.ttl is None or not 0 <= one.ttl <= _LONGEST_TTL):
        _refuse(f"TTL {one.ttl} of {one} is not between 0 and {_LONGEST_TTL}")
    if not one.alias and not one.values:
        _refuse(f"Expected ResourceRecords in {one}")
    for value in one.values:
        if one.values.count(value) > 1:
            _refuse(f"Duplicate Resource Record: '{value}'")
        fault = _FAULTS.get(one.kind, lambda _value: "")(value)
        if fault:
            _refuse(f"Invalid Resource Record: FATAL problem: {fault} encountered with '{value}'")


def _create(zone, kept, one):
    if one.key in kept:
        _refuse(f"Tried to create resource record set {one} but it already exists")
    beside = [other for other in kept.values() if other.name == one.name and other.kind != one.kind]
    if one.kind == "CNAME" and one.name == zone:
        _refuse(f"RRSet of type CNAME with DNS name {one.name} is not permitted at apex in zone {zone}")
    if one.kind == "CNAME" and beside:
        _refuse(
            f"RRSet of type CNAME with DNS name {one.name} is not permitted as it conflicts with other records "
            f"with the same DNS name in zone {zone}"
        )
    if any(other.kind == "CNAME" for other in beside):
        _refuse(
            f"RRSet of type {one.kind} with DNS name {one.name} is not permitted because a conflicting RRSet of type "
            f"CNAME with the same DNS name already exists in zone {zone}"
        )
    if any(other.name == one.name and other.kind == one.kind for other in kept.values()):
        _refuse(f"RRSet with DNS name {one.name}, type {one.kind} cannot be created as other routing policies exist")
    if one.kind == "CNAME" and len(one.values) > 1:
        _refuse(f"RRSet of type CNAME with DNS name {one.name} may have one value only")
    kept[one.key] = one


def _delete(zone, kept, one):
    there = kept.pop(one.key, None)
    if there is None:
        _refuse(f"Tried to delete resource record set {one} but it was not found")
    if not there.same(one):
        _refuse(f"Tried to delete resource record set {one} but the values provided do not match the current values")
    if one.name == zone and one.kind in {"NS", "SOA"}:
        _refuse(f"A HostedZone must contain its {one.kind} record")


def _upsert(zone, kept, one):
    kept.pop(one.key, None)
    _create(zone, kept, one)


_APPLY = {"CREATE": _create, "DELETE": _delete, "UPSERT": _upsert}


def _text_fault(value):
    if not re.fullmatch(rf"{_STRING.pattern}( ?{_STRING.pattern})*", value) or not value.isascii():
        return "InvalidCharacterString (Value should be enclosed in quotation marks)"
    too_long = any(len(found[1]) > 255 for found in _STRING.finditer(value)) or len(value) > 4000
    return "CharacterStringTooLong (Value is too long)" if too_long else ""


def _address_fault(version, name):
    def fault(value):
        try:
            right = ipaddress.ip_address(value).version == version
        except ValueError:
            right = False
        return "" if right else f"{name} (Value is not a valid IPv{version} address)"

    return fault


def _caa_fault(value):
    return "" if re.fullmatch(r'\d{1,3} [A-Za-z0-9]+ "[^"]*"', value) else "CAARRDATAInvalidTag (CAA record is invalid)"


_FAULTS = {
    "A": _address_fault(4, "ARRDATAIllegalIPv4Address"),
    "AAAA": _address_fault(6, "AAAARRDATAIllegalIPv6Address"),
    "CAA": _caa_fault,
    "TXT": _text_fault,
}


def _refuse(message):
    raise RefusedError(400, "InvalidChangeBatch", f"[{message}]")


def _route(request):
    for method, path, action, resource in _ROUTES:
        found = re.fullmatch(path, request.path)
        if found and request.method == method:
            return action, resource.format(*found.groups())
    raise RefusedError(400, "InvalidInput", f"no such operation: {request.method} {request.path}")


def _authenticate(request, body):
    """Check a signature as AWS does: with the secret of the key that it names."""
    found = _SIGNED.search(request.headers.get("Authorization", ""))
    if found is None:
        raise RefusedError(403, "MissingAuthenticationToken", "Missing Authentication Token")
    if found["key"] != KEY_ID or "X-Amz-Security-Token" in request.headers:
        raise RefusedError(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
    headers = {name: request.headers[name] for name in found["names"].split(";")}
    # request.url is decoded, and the signature is over what was sent.
    url = f"http://{request.host}{request.environ['RAW_URI']}"
    signed = AWSRequest(request.method, url, headers, data=body)
    signed.context["timestamp"] = request.headers["X-Amz-Date"]
    scope = request.headers["Authorization"].split("/")[2]
    auth = SigV4Auth(Credentials(KEY_ID, SECRET), "route53", scope)
    if auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed) != found["sum"]:
        message = "The request signature we calculated does not match the signature you provided."
        raise RefusedError(403, "SignatureDoesNotMatch", message)


def _error(exc):
    return (
        '<?xml version="1.0"?><ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error>'
        f"<Type>Sender</Type><Code>{exc.code}</Code><Message>{escape(exc.message)}</Message></Error>"
        "<RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
    )


def _tag(element):
    return element.tag.rpartition("}")[2]


def _plain(name):
    return name.replace("\\052", "*").rstrip(".").lower() + "."


def _listed(value):
    return [value] if isinstance(value, str) else value


_MOTO = DomainDispatcherApplication(create_backend_app)


@contextmanager
def running_aws():
    """Serve on a free port of 127.0.0.1 for the time of a block."""
    aws = Aws()
    aws.backend.zones.clear()
    server = make_server("127.0.0.1", 0, aws, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    aws.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield aws
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
