"""AWS Route 53, held to what AWS takes by a server that is as strict."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from autogit.errors import (
    MissingError,
    ProviderAuthError,
    RateLimitedError,
    RejectedError,
    StalePlanError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import RecordKey, Zone, record_set
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.patience import PatientDNS
from autogit.providers.dns.route53 import Route53Config, Route53DNS
from autogit.testing.dns import DNSProviderContract
from tests.providers.dns.aws import KEY_ID, SECRET, RefusedError, running_aws

pytestmark = pytest.mark.integration

CONTEXT = ProviderContext(ProjectPaths(Path("nowhere"), Path("nowhere/.env")))
PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "dns-route53.md"
ACTIONS = ["ListHostedZones", "ListResourceRecordSets", "ChangeResourceRecordSets", "GetChange"]
A = record_set("git.home.test", "A", 300, ["192.0.2.1"])
B = record_set("git.home.test", "A", 300, ["192.0.2.2"])


def run(work):
    return asyncio.run(work)


async def no_pause(_seconds):
    pass


@pytest.fixture
def aws(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with running_aws() as server:
        yield server


def provider_of(aws, sleep=no_pause, **settings):
    keys = {"access_key_id": KEY_ID, "secret_access_key": SECRET, "endpoint_url": aws.url}
    return Route53DNS(CONTEXT, Route53Config(**(keys | settings)), sleep=sleep)


@pytest.fixture
def provider(aws):
    return provider_of(aws)


@pytest.fixture
def zone(aws):
    return Zone(aws.add_zone("home.test"), "home.test")


def policy_of_the_page(zone_id):
    """The policy that the documentation tells users to write, for a zone of theirs."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert "Z0123456789EXAMPLE" in block
    return json.loads(block.replace("Z0123456789EXAMPLE", zone_id))


class TestContract(DNSProviderContract):
    """In pages of six, and with no right but those of the documented policy."""

    @pytest.fixture
    def provider(self, aws):
        aws.page = 6
        return provider_of(aws)

    @pytest.fixture
    def zone(self, aws, provider):
        aws.policy = policy_of_the_page(aws.add_zone("home.test"))
        return self.run(provider.find_zone("home.test"))


# What the documentation says


@pytest.mark.parametrize("action", ACTIONS)
def test_no_right_of_the_documented_policy_is_one_too_many(aws, zone, action):
    """Without each of them something fails, and the error names it."""
    provider = provider_of(aws, sync_seconds=60)
    policy = policy_of_the_page(zone.id)
    granted = []
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        granted += actions
        statement["Action"] = [one for one in actions if one != f"route53:{action}"]
    assert sorted(granted) == sorted(f"route53:{one}" for one in ACTIONS)
    aws.policy = policy
    with pytest.raises(ProviderAuthError, match=f"may not do route53:{action}$") as caught:
        run(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    assert f"allow route53:{action}" in caught.value.hint


def test_the_documented_policy_opens_no_other_zone(aws, provider, zone):
    aws.policy = policy_of_the_page("ZOTHER")
    with pytest.raises(ProviderAuthError, match="route53:ListResourceRecordSets"):
        run(provider.list_records(zone))


def test_every_setting_is_on_the_page_and_described():
    text = PAGE.read_text()
    for name, field in Route53Config.model_fields.items():
        assert field.description
        assert f"`ROUTE53_{name.upper()}`" in text


# Names and values


def test_names_that_ours_cannot_be_are_shown_as_aws_writes_them(aws, provider, zone):
    """They do not keep anybody from reading the rest."""
    aws.put(zone.id, "my\\040printer.home.test", "A", ["192.0.2.7"])
    aws.put(zone.id, "b\\303\\274ro.home.test", "A", ["192.0.2.7"])
    aws.put(zone.id, "git.home.test", "A", ["192.0.2.1"])
    names = {one.key.name for one in run(provider.list_records(zone)) if one.key.type == "A"}
    assert names == {"my\\040printer.home.test", "b\\303\\274ro.home.test", "git.home.test"}


def test_a_wildcard_is_the_same_in_both_spellings(aws, provider, zone):
    """AWS answers in octal."""
    aws.put(zone.id, "*.home.test", "A", ["192.0.2.1"])
    key = RecordKey("*.home.test", "A")
    assert key in {one.key for one in run(provider.list_records(zone))}
    assert run(provider.find_record(zone, key)).values == ("192.0.2.1",)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('"plain"', "plain"),
        ('"in two " "pieces"', "in two pieces"),
        ('"close""by"', "closeby"),
        (r'"say \"hi\" \\ back\134slash"', r'say "hi" \ back\slash'),
        (r'"semi\; \073 b\303\274ro"', "semi; ; büro"),
        ('"zwölf"', "zwölf"),
        (r'"not UTF-8: \377"', r"not UTF-8: \xff"),
        ('""', ""),
        ("bare", "bare"),
    ],
)
def test_text_reads_as_its_bare_text(aws, provider, zone, raw, text):
    aws.put(zone.id, "note.home.test", "TXT", [raw])
    assert run(provider.find_record(zone, RecordKey("note.home.test", "TXT"))).values == (text,)


@pytest.mark.parametrize(
    "text", ["", "zwölf Boxkämpfer", "tab\there", '"' * 400, "\\" * 300, "ü" * 200, ";" * 255, "x" * 256]
)
def test_any_text_is_taken_and_reads_back(provider, zone, text):
    wanted = record_set("note.home.test", "TXT", 60, [text])
    run(provider.create_record(zone, wanted))
    assert run(provider.find_record(zone, wanted.key)).values == (text,)


def test_a_text_that_others_spelled_otherwise_is_changed_and_deleted(aws, provider, zone):
    """DELETE must have the very pieces that are there."""
    for work in (
        lambda old: provider.update_record(zone, old, record_set("note.home.test", "TXT", 300, ["new"])),
        lambda old: provider.delete_record(zone, old),
    ):
        aws.put(zone.id, "note.home.test", "TXT", [r'"v=spf1\; " "-all"'])
        run(work(record_set("note.home.test", "TXT", 300, ["v=spf1; -all"])))
    assert run(provider.find_record(zone, RecordKey("note.home.test", "TXT"))) is None


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("MX", "10 Mail.Example.ORG.", "10 mail.example.org"),
        ("MX", "0 .", "0 ."),
        ("SRV", "1 2 443 git.example.org.", "1 2 443 git.example.org"),
        ("NS", "ns1.example.net.", "ns1.example.net"),
        ("CNAME", "\\052.example.net", "*.example.net"),
        ("AAAA", "2001:DB8:0:0::1", "2001:db8::1"),
        ("A", "rubbish", "rubbish"),
        ("PTR", "git.example.org.", "git.example.org"),
        ("SSHFP", "4 2 ABCD", "4 2 ABCD"),
    ],
)
def test_values_read_in_normal_form(aws, provider, zone, kind, raw, value):
    aws.put(zone.id, "x.home.test", kind, [raw])
    assert run(provider.find_record(zone, RecordKey("x.home.test", kind))).values == (value,)


@pytest.mark.parametrize(
    ("kind", "value", "raw"),
    [
        ("CNAME", "pages.example.net", "pages.example.net."),
        ("MX", "10 mail.example.org", "10 mail.example.org."),
        ("MX", "0 .", "0 ."),
        ("SRV", "1 2 443 git.example.org", "1 2 443 git.example.org."),
        ("NS", "ns1.example.net", "ns1.example.net."),
        ("TXT", 'say "hi" \\ ü', r'"say \"hi\" \134 \303\274"'),
    ],
)
def test_values_are_written_as_aws_wants_them(aws, provider, zone, kind, value, raw):
    wanted = record_set("x.home.test", kind, 300, [value])
    run(provider.create_record(zone, wanted))
    assert aws.raw(zone.id, "x.home.test", kind) == [raw]
    assert run(provider.find_record(zone, wanted.key)).same_data(wanted)


def test_the_sets_that_every_zone_has_are_listed(provider, zone):
    kinds = {one.key.type for one in run(provider.list_records(zone)) if one.key.name == "home.test"}
    assert kinds == {"NS", "SOA"}


# Sets that are not AutoGit's to change

ALIAS = {"AliasTarget": {"HostedZoneId": "Z35", "DNSName": "dualstack.elb.example.", "EvaluateTargetHealth": False}}
FOREIGN = {
    "an alias": ([((), ALIAS)], "ALIAS dualstack.elb.example"),
    "weighted sets": (
        [
            (["192.0.2.1"], {"SetIdentifier": "blue", "Weight": 90}),
            (["192.0.2.2"], {"SetIdentifier": "green", "Weight": 10}),
        ],
        "SET blue 192.0.2.1, SET green 192.0.2.2",
    ),
    "a set of weight nought": ([(["192.0.2.1"], {"SetIdentifier": "off", "Weight": 0})], "SET off 192.0.2.1"),
    "a latency alias": (
        [((), {**ALIAS, "SetIdentifier": "eu", "Region": "eu-west-1"})],
        "SET eu ALIAS dualstack.elb.example",
    ),
    "a health check": ([(["192.0.2.1"], {"HealthCheckId": "abc"})], "SET abc 192.0.2.1"),
}


@pytest.mark.parametrize("case", sorted(FOREIGN))
def test_what_has_a_shape_of_its_own_is_shown_and_never_written_over(aws, provider, zone, case):
    sets, shown = FOREIGN[case]
    for values, fields in sets:
        aws.put(zone.id, "git.home.test", "A", values, **fields)
    found = run(provider.find_record(zone, A.key))
    assert ", ".join(found.values) == shown
    assert [one for one in run(provider.list_records(zone)) if one.key == A.key] == [found]
    for write in (
        provider.create_record(zone, A),
        provider.update_record(zone, found, A),
        provider.update_record(zone, A, B),
        provider.delete_record(zone, found),
        provider.delete_record(zone, A),
        provider.create_record(zone, B),
    ):
        with pytest.raises(RejectedError, match=re.escape(f"is an alias or has a routing policy ({shown})")):
            run(write)
    assert "ChangeResourceRecordSets" not in aws.calls
    assert run(provider.find_record(zone, A.key)) == found


def test_an_alias_that_came_between_reading_and_writing_stays(aws, provider, zone):
    aws.before["ChangeResourceRecordSets"] = lambda: aws.put(zone.id, "git.home.test", "A", **ALIAS)
    with pytest.raises(RejectedError, match="is an alias"):
        run(provider.create_record(zone, A))
    assert run(provider.find_record(zone, A.key)).values == ("ALIAS dualstack.elb.example",)


# Writing against others


def writes(provider, zone):
    return {
        "create": lambda: provider.create_record(zone, A),
        "update": lambda: provider.update_record(zone, A, B),
        "delete": lambda: provider.delete_record(zone, A),
    }


@pytest.mark.parametrize("kind", ["create", "update", "delete"])
@pytest.mark.parametrize(
    ("values", "ttl"), [(["192.0.2.77"], 300), (["192.0.2.1", "192.0.2.77"], 300), (["192.0.2.1"], 77)]
)
def test_a_race_that_is_lost_leaves_the_others_data(aws, provider, zone, kind, values, ttl):
    """Somebody writes after AutoGit's reading and before its batch."""
    if kind != "create":
        aws.put(zone.id, "git.home.test", "A", ["192.0.2.1"])
    aws.before["ChangeResourceRecordSets"] = lambda: aws.put(zone.id, "git.home.test", "A", values, ttl)
    with pytest.raises(StalePlanError, match=r"192\.0\.2"):
        run(writes(provider, zone)[kind]())
    assert aws.calls.count("ChangeResourceRecordSets") == 1
    there = run(provider.find_record(zone, A.key))
    assert (list(there.values), there.ttl) == (values, ttl)


def test_a_set_that_went_between_reading_and_writing_does_not_come_back(aws, provider, zone):
    aws.put(zone.id, "git.home.test", "A", ["192.0.2.1"])
    aws.before["ChangeResourceRecordSets"] = lambda: aws.take(zone.id, "git.home.test", "A")
    with pytest.raises(StalePlanError, match="is gone"):
        run(provider.update_record(zone, A, B))
    assert run(provider.find_record(zone, A.key)) is None


@pytest.mark.parametrize("kind", ["create", "update", "delete"])
def test_others_who_did_the_same_meanwhile_are_welcome(aws, provider, zone, kind):
    if kind != "create":
        aws.put(zone.id, "git.home.test", "A", ["192.0.2.1"])
    aws.before["ChangeResourceRecordSets"] = {
        "create": lambda: aws.put(zone.id, "git.home.test", "A", ["192.0.2.1"]),
        "update": lambda: aws.put(zone.id, "git.home.test", "A", ["192.0.2.2"]),
        "delete": lambda: aws.take(zone.id, "git.home.test", "A"),
    }[kind]
    run(writes(provider, zone)[kind]())
    expected = {"create": A, "update": B, "delete": None}[kind]
    assert run(provider.find_record(zone, A.key)) == expected


def test_a_change_is_one_batch_of_the_old_set_and_the_new(aws, provider, zone):
    run(provider.create_record(zone, A))
    run(provider.update_record(zone, A, B))
    assert aws.batches[1] == [
        ("DELETE", "git.home.test.", "A", 300, ("192.0.2.1",)),
        ("CREATE", "git.home.test.", "A", 300, ("192.0.2.2",)),
    ]


def test_a_set_may_come_back_to_what_it_was(provider, zone):
    run(provider.create_record(zone, A))
    for old, new in ((A, B), (B, A), (A, B)):
        run(provider.update_record(zone, old, new))
    assert run(provider.find_record(zone, A.key)).same_data(B)


def test_a_write_whose_answer_was_lost_is_not_done_twice(aws, provider, zone):
    """As the wrapper that asks again sees it."""
    aws.lose("ChangeResourceRecordSets", RefusedError(503, "ServiceUnavailable"))
    run(PatientDNS(provider, no_pause).create_record(zone, A))
    assert aws.calls.count("ChangeResourceRecordSets") == 1


# Waiting


def test_a_write_waits_until_all_name_servers_have_it(aws, zone):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    aws.pending = 3
    run(provider_of(aws, sleep, sync_seconds=60).create_record(zone, A))
    assert aws.calls.count("GetChange") == 4
    assert pauses == [2, 2, 2, 2]


def test_waiting_ends(aws, zone):
    """The record is accepted, and reads show it."""
    aws.pending = 10_000
    run(provider_of(aws, sync_seconds=10).create_record(zone, A))
    assert aws.calls.count("GetChange") == 5


def test_who_does_not_want_to_wait_needs_no_right_to_look(aws, zone):
    run(provider_of(aws, sync_seconds=0).create_record(zone, A))
    assert "GetChange" not in aws.calls


def test_being_asked_too_often_while_waiting_does_not_fail_the_write(aws, zone):
    aws.fail("GetChange", RefusedError(400, "Throttling", "Rate exceeded"), RefusedError(500, "InternalFailure"))
    run(provider_of(aws, sync_seconds=60).create_record(zone, A))
    assert aws.calls.count("GetChange") == 4


# Zones


def test_a_public_and_a_private_zone_of_one_name_are_two(aws):
    public, private = aws.add_zone("home.test"), aws.add_zone("home.test", private=True)
    zones = run(provider_of(aws).list_zones())
    assert sorted(zones, key=lambda z: z.private) == [
        Zone(public, "home.test"),
        Zone(private, "home.test", private=True),
    ]
    assert run(provider_of(aws).find_zone("git.home.test")).id == public
    assert run(provider_of(aws, private=True).find_zone("git.home.test")).id == private


def test_a_wildcard_of_the_private_zone_stays_out_of_the_public_one(aws):
    public, private = aws.add_zone("home.test"), aws.add_zone("home.test", private=True)
    run(provider_of(aws, private=True).ensure_wildcard("home.test", "192.0.2.1", 300))
    assert aws.raw(private, "*.home.test", "A") == ["192.0.2.1"]
    assert aws.raw(public, "*.home.test", "A") == []


def test_of_twins_only_the_chosen_one_is_taken(aws):
    first, second, other = (aws.add_zone(name) for name in ("home.test", "home.test", "else.test"))
    with pytest.raises(RejectedError, match="route53: the zone home.test is there 2 times") as caught:
        run(provider_of(aws).find_zone("git.home.test"))
    assert "ROUTE53_ZONE_ID" in caught.value.hint
    chosen = provider_of(aws, zone_id=second)
    assert run(chosen.find_zone("git.home.test")).id == second
    assert {zone.id for zone in run(chosen.list_zones())} == {second, other}
    assert first not in {zone.id for zone in run(chosen.list_zones())}


def test_a_chosen_zone_that_is_not_there_is_said(aws, zone):
    provider = provider_of(aws, zone_id="ZNOTHERE")
    with pytest.raises(MissingError, match="no hosted zone with the id ZNOTHERE"):
        run(provider.find_zone("git.home.test"))
    assert not run(provider.health()).ok


def test_all_pages_of_zones_are_read(aws, provider):
    aws.page = 2
    ids = {aws.add_zone(f"z{number}.test") for number in range(7)}
    assert {zone.id for zone in run(provider.list_zones())} == ids
    assert aws.calls == ["ListHostedZones"] * 4


def test_a_zone_that_is_gone_is_missing(aws, provider, zone):
    run(provider.list_records(zone))
    aws.remove_zone(zone.id)
    for work in (provider.list_records(zone), provider.create_record(zone, A), provider.delete_record(zone, A)):
        with pytest.raises(MissingError, match=f"^route53: .*{zone.id}"):
            run(work)


def test_a_zone_that_went_between_reading_and_writing_is_missing(aws, provider, zone):
    aws.before["ChangeResourceRecordSets"] = lambda: aws.remove_zone(zone.id)
    with pytest.raises(MissingError):
        run(provider.create_record(zone, A))


# What it costs


def test_a_zone_costs_one_request_and_so_does_a_name(aws, provider, zone):
    for number in range(5):
        aws.put(zone.id, f"n{number}.home.test", "A", ["192.0.2.1"])
    keys = [RecordKey(f"n{number}.home.test", "A") for number in range(5)]
    for asked, calls in ((None, 1), (keys[:1], 1), (keys[:2], 2), (keys, 1), ([], 0)):
        aws.calls.clear()
        found = run(provider.list_records(zone, asked))
        assert [one.key for one in found if asked is not None] == list(asked or [])
        assert len(aws.calls) == calls


# Errors


AUTH = {
    "InvalidClientTokenId": (403, "does not take the access key"),
    "SignatureDoesNotMatch": (403, "does not take the access key"),
    "UnrecognizedClientException": (400, "does not take the access key"),
    "ExpiredToken": (403, "temporary credentials have expired"),
    "RequestTimeTooSkewed": (403, "does not take the time"),
}


@pytest.mark.parametrize("code", sorted(AUTH))
def test_credentials_that_aws_does_not_take_are_said(aws, provider, code):
    status, sentence = AUTH[code]
    aws.fail("ListHostedZones", RefusedError(status, code, "The security token included in the request is invalid"))
    with pytest.raises(ProviderAuthError, match=f"^route53: .*{sentence}.*{code}") as caught:
        run(provider.list_zones())
    assert caught.value.hint


def test_a_clock_that_is_off_is_told_from_a_wrong_secret(aws, provider):
    text = "Signature expired: 20261125T010101Z is now earlier than 20261125T020101Z"
    aws.fail("ListHostedZones", RefusedError(403, "SignatureDoesNotMatch", text))
    with pytest.raises(ProviderAuthError, match="time of the request") as caught:
        run(provider.list_zones())
    assert "clock" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"access_key_id": "AKIAUNKNOWN000000000"}, "InvalidClientTokenId"),
        ({"secret_access_key": "quite-another-secret"}, "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_key_is_refused_and_not_shown(aws, caplog, settings, code):
    caplog.set_level(logging.DEBUG, logger="autogit")
    provider = provider_of(aws, **settings)
    with pytest.raises(ProviderAuthError, match=code) as caught:
        run(provider.list_zones())
    health = run(provider.health())
    assert not health.ok
    told = f"{caught.value} {caught.value.hint} {health} {provider.config!r} {provider.config} {caplog.text}"
    assert not [secret for secret in (SECRET, *settings.values()) if secret in told]


@pytest.mark.parametrize("given", ["access_key_id", "secret_access_key"])
def test_half_a_key_is_said(aws, given):
    other = ({"access_key_id", "secret_access_key"} - {given}).pop()
    with pytest.raises(ProviderAuthError, match=f"ROUTE53_{other.upper()}$"):
        run(provider_of(aws, **{other: None}).list_zones())


def test_no_credentials_anywhere_are_said(aws):
    with pytest.raises(ProviderAuthError, match="no credentials to be used") as caught:
        run(provider_of(aws, access_key_id=None, secret_access_key=None).list_zones())
    assert "ROUTE53_ACCESS_KEY_ID" in caught.value.hint


def test_a_profile_that_is_not_there_is_said(aws, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "of-another-machine")
    with pytest.raises(ProviderAuthError, match="ProfileNotFound"):
        run(provider_of(aws, access_key_id=None, secret_access_key=None).list_zones())


def test_without_a_key_of_its_own_the_usual_places_are_looked_at(aws, monkeypatch, zone):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for nothing in (None, ""):
        provider = provider_of(aws, access_key_id=nothing, secret_access_key=nothing)
        assert run(provider.list_zones()) == [zone]


def test_the_machines_environment_does_not_override_what_is_given(aws, zone, monkeypatch):
    """Neither its keys nor its profile nor the address that other tools are sent to."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAOFTHEMACHINE0000",
        "AWS_SECRET_ACCESS_KEY": "of-the-machine",
        "AWS_SESSION_TOKEN": "of-the-machine",
        "AWS_PROFILE": "of-another-machine",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_ROUTE_53": "http://127.0.0.1:1",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_MAX_ATTEMPTS": "5",
        "AWS_RETRY_MODE": "standard",
    }.items():
        monkeypatch.setenv(name, value)
    assert run(provider_of(aws).list_zones()) == [zone]
    assert f"Credential={KEY_ID}/" in aws.requests[0]["Authorization"]
    assert "/us-east-1/route53/" in aws.requests[0]["Authorization"]
    aws.fail("ListHostedZones", RefusedError(503, "ServiceUnavailable"))
    with pytest.raises(UnavailableError):
        run(provider_of(aws).list_zones())
    assert aws.calls == ["ListHostedZones"] * 2


def test_an_address_of_the_environment_is_not_where_requests_go(aws, monkeypatch):
    """Only ROUTE53_ENDPOINT_URL says so."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    provider = provider_of(aws, endpoint_url=None)
    address = run(provider._call(lambda api: api.meta.endpoint_url))
    assert address == "https://route53.amazonaws.com"


@pytest.mark.parametrize("code", ["Throttling", "ThrottlingException", "PriorRequestNotComplete"])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86400.0),  # a date counts too, here a clock that is wrong
    ],
)
def test_being_asked_too_often_is_said_with_the_time_to_wait(aws, provider, zone, code, headers, seconds):
    aws.fail("ChangeResourceRecordSets", RefusedError(400, code, "Rate exceeded", headers))
    with pytest.raises(RateLimitedError, match="asked too often") as caught:
        run(provider.create_record(zone, A))
    assert caught.value.retry_after_seconds == seconds
    assert aws.calls.count("ChangeResourceRecordSets") == 1


@pytest.mark.parametrize(
    "refusal",
    [
        RefusedError(500, "InternalFailure"),
        RefusedError(503, "ServiceUnavailable"),
        RefusedError(502, "", body="<html><body>Bad Gateway"),
        RefusedError(504, "", body=""),
        RefusedError(200, "", body="<html><p>please log in to this network"),
    ],
    ids=lambda refusal: f"{refusal.status} {refusal.code or refusal.body}",
)
def test_a_server_that_is_ill_is_asked_once(aws, provider, refusal):
    aws.fail("ListHostedZones", refusal)
    with pytest.raises(UnavailableError, match="^route53: ") as caught:
        run(provider.list_zones())
    assert type(caught.value) is UnavailableError
    assert aws.calls == ["ListHostedZones"]


def test_no_answer_is_unavailable(aws):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        provider = provider_of(aws, endpoint_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(UnavailableError, match="does not answer"):
            run(provider.list_zones())
        health = run(provider.health())
    assert not health.ok
    assert "network" in health.fix


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (record_set("git.home.test", "A", 300, ["999.1.1.1"]), "not a valid IPv4 address"),
        (record_set("git.home.test", "AAAA", 300, ["192.0.2.1"]), "not a valid IPv6 address"),
        (record_set("git.home.test", "A", 2**31, ["192.0.2.1"]), "TTL"),
        (record_set("git.home.test", "A", -1, ["192.0.2.1"]), "TTL"),
        (record_set("git.home.test", "CAA", 300, ["0 issue letsencrypt.org"]), "CAA"),
        (record_set("git.home.test", "TXT", 300, ["x" * 4001]), "too long"),
        (record_set("git.home.test", "CNAME", 300, ["a.example", "b.example"]), "one value"),
        (record_set("home.test", "CNAME", 300, ["a.example"]), "CNAME"),
        (record_set("git.elsewhere.test", "A", 300, ["192.0.2.1"]), "not permitted in zone home.test"),
    ],
)
def test_what_aws_refuses_for_its_content_is_told_in_its_words(provider, zone, wanted, words):
    with pytest.raises(RejectedError, match=f"^route53: .*{words}") as caught:
        run(provider.create_record(zone, wanted))
    assert type(caught.value) is RejectedError
    assert run(provider.find_record(zone, wanted.key)) is None


def test_a_refused_change_leaves_the_set_as_it_was(aws, provider, zone):
    run(provider.create_record(zone, A))
    with pytest.raises(RejectedError, match="IPv4"):
        run(provider.update_record(zone, A, record_set("git.home.test", "A", 300, ["999.1.1.1"])))
    assert run(provider.find_record(zone, A.key)).same_data(A)


def test_without_the_library_it_says_how_to_get_it(aws, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(UnsupportedError, match="boto3") as caught:
        run(provider_of(aws).list_zones())
    assert caught.value.hint == "pip install 'autogit[route53]'"


@pytest.mark.parametrize("url", ["route53.example", "ftp://route53.example", "https://me:secret@route53.example"])
def test_an_address_that_is_none_is_refused_early(url):
    with pytest.raises(ValidationError):
        Route53Config(endpoint_url=url)


# The server of these tests is as strict as AWS, where moto is not

SIMPLE = {"Name": "git.home.test.", "Type": "A", "TTL": 300, "ResourceRecords": [{"Value": "192.0.2.1"}]}
OTHER = {**SIMPLE, "ResourceRecords": [{"Value": "192.0.2.2"}]}


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ([("CREATE", {**SIMPLE, "Type": "TXT"})], "enclosed in quotation marks"),
        ([("CREATE", {**SIMPLE, "Type": "TXT", "ResourceRecords": [{"Value": f'"{"x" * 256}"'}]})], "too long"),
        ([("CREATE", {**SIMPLE, "ResourceRecords": [{"Value": "192.0.2.1"}] * 2})], "Duplicate"),
        ([("CREATE", SIMPLE), ("CREATE", SIMPLE)], "already exists"),
        ([("CREATE", SIMPLE), ("CREATE", OTHER)], "already exists"),
        ([("DELETE", SIMPLE)], "not found"),
        ([("CREATE", SIMPLE), ("DELETE", OTHER)], "do not match"),
        ([("CREATE", SIMPLE), ("DELETE", {**SIMPLE, "TTL": 60})], "do not match"),
        ([("CREATE", SIMPLE), ("UPSERT", {**SIMPLE, "Type": "CNAME"})], "conflicts"),
        ([("CREATE", SIMPLE), ("CREATE", {**SIMPLE, "SetIdentifier": "x", "Weight": 1})], "routing policies"),
        ([("CREATE", {**SIMPLE, "Name": "nothome.test."})], "not permitted in zone"),
    ],
)
def test_the_server_refuses_a_batch_as_a_whole(aws, provider, zone, batch, words):
    changes = [{"Action": action, "ResourceRecordSet": raw} for action, raw in batch]
    before = run(provider.list_records(zone))
    with pytest.raises(RejectedError, match=f"{words}.*InvalidChangeBatch"):
        run(
            provider._call(
                lambda api: api.change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": changes})
            )
        )
    assert run(provider.list_records(zone)) == before
