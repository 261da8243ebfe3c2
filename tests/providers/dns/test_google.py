"""The provider for Google Cloud DNS, against a strict stand-in that is held to Google's description of the API."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

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
from autogit.providers.dns.google import GoogleConfig, GoogleDNS, _Call
from autogit.providers.dns.patience import PatientDNS
from autogit.testing.dns import DNSProviderContract
from tests.fakes.google_dns import Broken, Page, Refusal, fake_google

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _only_what_the_test_says(monkeypatch, tmp_path):
    """Neither this machine's proxies nor its credentials."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "NETRC", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def google(tmp_path):
    with fake_google() as fake:
        fake.add_zone("home-public", "home.test.")
        (tmp_path / "key.json").write_text(fake.key_file())
        yield fake


@pytest.fixture
def make(google, tmp_path):
    """Make a provider of the stand-in, with other settings where told."""

    def made(kind=GoogleDNS, **settings):
        config = {"project": google.project, "credentials_file": "key.json", "endpoint": google.url} | settings
        context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"), clock=lambda: NOW)
        return kind(context, GoogleConfig(**config))

    return made


@pytest.fixture
def provider(make):
    return make()


NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
ZONE = Zone("home-public", "home.test")
OLD = record_set("git.home.test", "A", 300, ["192.0.2.1"])
NEW = record_set("git.home.test", "A", 300, ["192.0.2.2"])


def run(work):
    return asyncio.run(work)


class TestGoogle(DNSProviderContract):
    @pytest.fixture
    def zone(self):
        return ZONE


class TestCredentials:
    def test_one_token_of_the_key_serves_many_requests(self, google, provider):
        run(provider.list_zones())
        run(provider.create_record(ZONE, OLD))
        run(provider.list_records(ZONE))
        assert google.grants == 1

    def test_a_token_that_was_revoked_is_replaced(self, google, provider):
        run(provider.list_zones())
        google.tokens.clear()
        assert run(provider.list_zones()) == [ZONE]
        assert google.grants == 2

    def test_a_key_is_found_by_its_absolute_path_too(self, make, tmp_path):
        assert run(make(credentials_file=tmp_path / "key.json").list_zones()) == [ZONE]

    def test_without_a_key_the_application_default_credentials_serve(self, make, tmp_path, monkeypatch):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        assert run(make(credentials_file=None).list_zones()) == [ZONE]

    def test_no_credentials_at_all_are_said(self, make):
        with pytest.raises(ProviderAuthError, match=r"neither .* nor a GOOGLE_CREDENTIALS_FILE") as caught:
            run(make(credentials_file=None).list_zones())
        assert "dns-google.md" in caught.value.hint

    @pytest.mark.parametrize("name", ["nowhere.json", "."])
    def test_a_key_that_cannot_be_read_is_named(self, make, name):
        with pytest.raises(ProviderAuthError, match="cannot be read"):
            run(make(credentials_file=name).list_zones())

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda key: "",
            lambda key: key[:-40],
            lambda key: "[]",
            lambda key: "{}",
            lambda key: json.dumps(json.loads(key)["private_key"]),
            lambda key: json.dumps({"type": "authorized_user", "refresh_token": "s3cret", "client_secret": "s3cret"}),
            lambda key: json.dumps(json.loads(key) | {"private_key": "s3cret"}),
            lambda key: json.dumps(json.loads(key) | {"private_key": 7}),
            lambda key: json.dumps(json.loads(key) | {"private_key": json.loads(key)["private_key"][:400]}),
            lambda key: json.dumps({k: v for k, v in json.loads(key).items() if k != "client_email"}),
            lambda key: json.dumps(json.loads(key) | {"private_key": elliptic_key()}),
            lambda key: key.encode("utf-16")[1:],
        ],
    )
    def test_a_malformed_key_is_refused_and_never_shown(self, google, make, tmp_path, spoil):
        text = spoil(google.key_file())
        (tmp_path / "key.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        provider = make()
        with pytest.raises(ProviderAuthError, match=r"key\.json is not the JSON key of a service account") as caught:
            run(provider.list_zones())
        told = shown(caught.value) + repr(provider.config)
        body = json.loads(google.key_file())["private_key"].splitlines()
        assert [line for line in ("s3cret", "BEGIN PRIVATE", *body[1:-1]) if line in told] == []
        assert google.asked == []

    def test_a_key_that_google_does_not_know_is_refused_in_its_words(self, google, make, tmp_path):
        (tmp_path / "key.json").write_text(google.key_file(client_email="gone@home-1.iam.gserviceaccount.com"))
        with pytest.raises(ProviderAuthError, match="invalid_grant: Invalid grant: account not found") as caught:
            run(make().list_zones())
        assert "clock" in caught.value.hint
        assert google.grants == 1

    def test_a_token_that_stays_refused_is_an_error(self, google, provider):
        google.faults.extend(Refusal(401, "authError", "Request had invalid credentials.") for _ in range(9))
        with pytest.raises(ProviderAuthError, match="invalid credentials"):
            run(provider.list_zones())

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Page(503, "busy"), UnavailableError),
            (Page(500, '{"error": "internal_failure"}'), UnavailableError),
            (Page(429, "slowly"), RateLimitedError),
            (Broken(), UnavailableError),
            (Page(403, "<html>sign in</html>"), ProviderAuthError),
        ],
    )
    def test_the_giver_of_tokens_is_asked_once(self, google, provider, fault, kind):
        google.token_faults.append(fault)
        with pytest.raises(kind, match="^google: "):
            run(provider.list_zones())
        assert (google.grants, google.asked) == (0, [])
        assert run(provider.list_zones()) == [ZONE]

    def test_a_password_of_netrc_does_not_take_the_place_of_the_token(self, provider, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("default login me password s3cret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        assert run(provider.list_zones()) == [ZONE]


def elliptic_key():
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form).decode()


def shown(exc):
    return "".join(traceback.format_exception(exc)) + repr(exc) + exc.hint


class TestErrors:
    @pytest.mark.parametrize(
        ("right", "work"),
        [
            ("dns.managedZones.list", lambda google: google.list_zones()),
            ("dns.resourceRecordSets.list", lambda google: google.list_records(ZONE)),
            ("dns.changes.create", lambda google: google.update_record(ZONE, OLD, NEW)),
            ("dns.changes.get", lambda google: google.update_record(ZONE, OLD, NEW)),
            ("dns.resourceRecordSets.create", lambda google: google.create_record(ZONE, record("a"))),
            ("dns.resourceRecordSets.update", lambda google: google.update_record(ZONE, OLD, NEW)),
            ("dns.resourceRecordSets.delete", lambda google: google.delete_record(ZONE, OLD)),
        ],
    )
    def test_a_missing_right_is_named(self, google, provider, right, work):
        run(provider.create_record(ZONE, OLD))
        google.permissions.remove(right)
        with pytest.raises(ProviderAuthError, match=re.escape(right)) as caught:
            run(work(provider))
        assert "dns-google.md" in caught.value.hint

    def test_an_api_that_is_not_enabled_is_said_with_the_command_that_enables_it(self, google, provider):
        said = "Cloud DNS API has not been used in project 7 before or it is disabled."
        google.faults.append(Refusal(403, "accessNotConfigured", said))
        health = run(provider.health())
        assert (health.ok, health.fix) == (False, "gcloud services enable dns.googleapis.com --project=home-1")
        assert said in health.detail

    @pytest.mark.parametrize(
        ("status", "reason", "wait", "seconds"),
        [
            (403, "rateLimitExceeded", {}, 0.0),
            (403, "userRateLimitExceeded", {"Retry-After": "7"}, 7.0),
            (403, "quotaExceeded", {}, 0.0),
            (429, "rateLimitExceeded", {"Retry-After": "90"}, 90.0),
            (429, "", {"Retry-After": "Wed, 25 Nov 2026 12:00:45 GMT"}, 45.0),
            (429, "", {"Retry-After": "Wed, 25 Nov 2026 11:00:00 GMT"}, 0.0),
            (429, "", {"Retry-After": "soon"}, 0.0),
        ],
    )
    def test_asking_too_often_says_how_long_to_wait(self, google, provider, status, reason, wait, seconds):
        google.faults.append(Refusal(status, reason, "Quota exceeded for quota metric 'Queries'", wait))
        with pytest.raises(RateLimitedError, match="too often") as caught:
            run(provider.list_zones())
        assert caught.value.retry_after_seconds == seconds

    def test_the_newer_shape_of_a_refusal_is_understood(self, google, provider):
        detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
        error = {"code": 403, "message": "slowly", "status": "RESOURCE_EXHAUSTED", "details": [detail]}
        google.faults.append(Page(403, json.dumps({"error": error})))
        with pytest.raises(RateLimitedError):
            run(provider.list_zones())

    def test_too_many_records_for_the_project_is_no_matter_of_waiting(self, google, provider):
        google.faults.append(Refusal(403, "quotaExceeded", "Quota 'resourceRecordSetsPerManagedZone' exceeded"))
        with pytest.raises(RejectedError, match="resourceRecordSetsPerManagedZone"):
            run(provider.create_record(ZONE, NEW))

    def test_a_project_that_is_not_there_is_missing(self, make):
        with pytest.raises(MissingError, match="parameters.project") as caught:
            run(make(project="elsewhere").list_zones())
        assert "GOOGLE_PROJECT" in caught.value.hint

    @pytest.mark.parametrize(
        "work",
        [
            lambda google: google.list_records(ZONE),
            lambda google: google.find_record(ZONE, OLD.key),
            lambda google: google.create_record(ZONE, NEW),
            lambda google: google.update_record(ZONE, OLD, NEW),
            lambda google: google.delete_record(ZONE, OLD),
        ],
    )
    def test_a_zone_that_is_gone_is_missing(self, google, provider, work):
        google.remove_zone("home-public")
        with pytest.raises(MissingError, match="home-public"):
            run(work(provider))

    @pytest.mark.parametrize(
        "fault",
        [
            Refusal(500, "backendError", "Backend Error"),
            Refusal(503, "backendError", "The service is currently unavailable."),
            Refusal(408, "", "Request Timeout"),
            Page(502, "<html>Bad Gateway</html>"),
            Page(200, "<html>Please sign in</html>"),
            Page(200, "[]x"),
            Page(200, "7"),
            Page(302, "", {"Location": "/dns/v1/projects/home-1/managedZones"}),
            Broken(),
        ],
    )
    def test_whatever_is_no_answer_of_the_api_is_said_at_once(self, google, provider, fault):
        google.faults.append(fault)
        with pytest.raises(UnavailableError, match="^google: ") as caught:
            run(provider.list_zones())
        assert type(caught.value) is UnavailableError
        assert run(provider.list_zones()) == [ZONE]

    def test_a_server_that_does_not_listen_is_unavailable(self, make):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(UnavailableError, match="ConnectionError"):
            run(make(endpoint=f"http://127.0.0.1:{port}").list_zones())

    def test_a_server_that_does_not_answer_is_given_up(self, make):
        class Hasty(GoogleDNS):
            timeout_seconds = (5.0, 0.05)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            provider = make(Hasty, endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(UnavailableError, match="Timeout"):
                run(provider.list_zones())

    def test_a_proxy_of_the_environment_is_used_and_its_password_never_shown(self, make, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://me:s3cret@127.0.0.1:{port}")
        with pytest.raises(UnavailableError, match="ProxyError") as caught:
            run(make().list_zones())
        assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.hint}"

    def test_a_file_of_authorities_that_is_not_there_is_an_error_of_ours(self, make, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
        with pytest.raises(UnavailableError, match="OSError"):
            run(make(endpoint="https://127.0.0.1:1").list_zones())

    def test_a_list_without_an_end_is_given_up(self, google, provider):
        page = Page(200, json.dumps({"managedZones": [], "nextPageToken": "again"}))
        google.faults.extend([page] * 1000)
        with pytest.raises(UnavailableError, match="does not end"):
            run(provider.list_zones())

    def test_a_missing_library_is_said_with_the_extra_to_install(self, provider, monkeypatch):
        monkeypatch.setitem(sys.modules, "google.auth.transport.requests", None)
        with pytest.raises(UnsupportedError) as caught:
            run(provider.list_zones())
        assert caught.value.hint == "pip install 'autogit[google]'"

    def test_no_library_is_loaded_before_it_is_needed(self):
        code = (
            "import sys, autogit.providers.dns.google;"
            "print(sorted({'google.auth', 'requests', 'dns'} & sys.modules.keys()))"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "[]"


class TestWrites:
    def test_a_change_is_exact_and_in_one_request(self, google, provider):
        run(provider.create_record(ZONE, OLD))
        google.asked.clear()
        run(provider.update_record(ZONE, OLD, NEW))
        posted = [one.body for one in google.asked if one.method == "POST"]
        side = {"name": "git.home.test.", "type": "A", "ttl": 300}
        assert posted == [
            {"deletions": [{**side, "rrdatas": ["192.0.2.1"]}], "additions": [{**side, "rrdatas": ["192.0.2.2"]}]}
        ]

    def test_a_refused_change_leaves_the_old_set(self, google, provider):
        run(provider.create_record(ZONE, OLD))
        with pytest.raises(RejectedError, match="Invalid value"):
            run(provider.update_record(ZONE, OLD, record_set("git.home.test", "A", 300, ["999.1.1.1"])))
        assert google.get("home-public", "git.home.test.", "A")["rrdatas"] == ["192.0.2.1"]

    def test_a_ttl_that_others_changed_is_a_change(self, google, provider):
        run(provider.create_record(ZONE, replace(OLD, ttl=60)))
        for work in (provider.update_record(ZONE, OLD, NEW), provider.delete_record(ZONE, OLD)):
            with pytest.raises(StalePlanError):
                run(work)
        assert google.get("home-public", "git.home.test.", "A")["ttl"] == 60

    def test_what_is_as_wanted_already_is_looked_at_and_left(self, google, provider):
        run(provider.create_record(ZONE, NEW))
        google.asked.clear()
        run(provider.update_record(ZONE, NEW, NEW))
        assert [one.method for one in google.asked] == ["GET"]
        with pytest.raises(StalePlanError):
            run(provider.update_record(ZONE, OLD, OLD))

    @pytest.mark.parametrize(
        ("kind", "spelled", "value"),
        [
            ("TXT", ['"one" "two"'], "onetwo"),
            ("TXT", ["one"], "one"),
            ("TXT", ["one two"], "onetwo"),
            ("TXT", [r'"b\195\188ro"'], "büro"),
            ("TXT", [r'"\255"'], r"\xff"),
            ("CNAME", ["Pages.Example.NET."], "pages.example.net"),
            ("AAAA", ["2001:DB8:0:0:0:0:0:1"], "2001:db8::1"),
            ("CAA", ["0 ISSUE letsencrypt.org"], '0 issue "letsencrypt.org"'),
        ],
    )
    @pytest.mark.parametrize("is_saved", [False, True], ids=["as read", "from a saved plan"])
    def test_a_set_in_another_spelling_can_be_changed(self, google, provider, kind, spelled, value, is_saved):
        google.put("home-public", {"name": "x.home.test.", "type": kind, "ttl": 300, "rrdatas": spelled})
        read = run(provider.find_record(ZONE, RecordKey("x.home.test", kind)))
        assert read.values == (value,)
        run(provider.delete_record(ZONE, replace(read, handles=()) if is_saved else read))
        assert google.get("home-public", "x.home.test.", kind) is None

    @pytest.mark.parametrize(
        ("kind", "spelled"),
        [("TXT", '"open'), ("AAAA", "not::an::address"), ("CAA", "0 issue"), ("MX", "10"), ("A", "x")],
    )
    def test_a_value_of_no_known_form_does_not_hide_the_others(self, google, provider, kind, spelled):
        google.put("home-public", {"name": "x.home.test.", "type": kind, "ttl": 300, "rrdatas": [spelled]})
        google.put("home-public", {"name": "y.home.test.", "type": "A", "ttl": 300, "rrdatas": ["192.0.2.1"]})
        found = {str(one.key): one.values for one in run(provider.list_records(ZONE))}
        assert found[f"x.home.test/{kind}"] == (spelled,)
        assert found["y.home.test/A"] == ("192.0.2.1",)

    def test_values_keep_their_spelling_where_only_the_ttl_changes(self, google, provider):
        google.put("home-public", {"name": "x.home.test.", "type": "TXT", "ttl": 300, "rrdatas": ['"one" "two"']})
        read = run(provider.find_record(ZONE, RecordKey("x.home.test", "TXT")))
        run(provider.update_record(ZONE, read, replace(read, ttl=60)))
        kept = google.get("home-public", "x.home.test.", "TXT")
        assert (kept["ttl"], kept["rrdatas"]) == (60, ['"one" "two"'])

    @pytest.mark.parametrize("text", ["", "é" * 200, "a" * 255, "a" * 256, "tab\t and line\n", '\\"' * 200])
    def test_any_text_reads_back(self, provider, text):
        wanted = record_set("x.home.test", "TXT", 300, [text])
        run(provider.create_record(ZONE, wanted))
        assert run(provider.find_record(ZONE, wanted.key)).values == (text,)

    @pytest.mark.parametrize(
        ("kind", "value"),
        [("MX", "10 mail.home.test"), ("SRV", "0 5 5060 sip.home.test"), ("NS", "ns.home.test"), ("PTR", "a.test")],
    )
    def test_names_within_values_are_absolute_there_and_bare_here(self, google, provider, kind, value):
        wanted = record_set("x.home.test", kind, 300, [value])
        run(provider.create_record(ZONE, wanted))
        assert google.get("home-public", "x.home.test.", kind)["rrdatas"] == [f"{value}."]
        assert run(provider.find_record(ZONE, wanted.key)).same_data(wanted)

    def test_a_change_is_waited_for(self, google, provider):
        google.pending = 3
        run(provider.create_record(ZONE, NEW))
        looks = [one.path for one in google.asked if one.method == "GET"]
        assert looks == ["/dns/v1/projects/home-1/managedZones/home-public/changes/1"] * 3

    def test_a_change_that_does_not_get_done_is_given_up(self, google, make):
        google.pending = 100
        with pytest.raises(UnavailableError, match="accepted and is not done yet"):
            run(make(Unwaiting).create_record(ZONE, NEW))
        # Asking again finds what was accepted.
        run(PatientDNS(make(Unwaiting), sleep=no_sleep).create_record(ZONE, NEW))

    @pytest.mark.parametrize("is_done", [False, True])
    def test_a_write_whose_answer_was_lost_is_carried_out_once(self, google, make, is_done):
        run(make().create_record(ZONE, OLD))
        google.faults.append(Broken(is_done=is_done))
        run(PatientDNS(make(), sleep=no_sleep).update_record(ZONE, OLD, NEW))
        assert google.get("home-public", "git.home.test.", "A")["rrdatas"] == ["192.0.2.2"]
        assert sum(one.method == "POST" for one in google.asked) == 2


class TestRoutingPolicies:
    RRSET = {  # noqa: RUF012 - read only
        "name": "git.home.test.",
        "type": "A",
        "ttl": 300,
        "routingPolicy": {
            "kind": "dns#rRSetRoutingPolicy",
            "wrr": {"items": [{"weight": 1.0, "rrdatas": ["192.0.2.1"]}, {"weight": 2.0, "rrdatas": ["192.0.2.2"]}]},
        },
    }

    @pytest.fixture
    def policy(self, google, provider):
        google.put("home-public", self.RRSET)
        return run(provider.find_record(ZONE, OLD.key))

    def test_it_is_shown_as_there(self, provider, policy):
        assert policy.values == ("(routing policy: wrr)",)
        assert policy in run(provider.list_records(ZONE))

    @pytest.mark.parametrize(
        "work",
        [
            lambda google, policy: google.create_record(ZONE, NEW),
            lambda google, policy: google.update_record(ZONE, policy, NEW),
            lambda google, policy: google.delete_record(ZONE, policy),
            lambda google, policy: google.ensure_wildcard("git.home.test", "192.0.2.9", 300),
        ],
    )
    def test_it_is_not_written_over(self, google, provider, policy, work):
        google.put("home-public", self.RRSET | {"name": "*.git.home.test."})
        with pytest.raises(RejectedError, match=r"routing policy: wrr, which AutoGit does not write over"):
            run(work(provider, policy))
        assert "routingPolicy" in google.get("home-public", "git.home.test.", "A")

    def test_one_that_came_meanwhile_is_a_change(self, provider, policy):
        with pytest.raises(StalePlanError, match=r"routing policy: wrr"):
            run(provider.update_record(ZONE, OLD, NEW))


class TestZones:
    def test_all_pages_are_read(self, google, provider):
        for number in range(10):
            google.add_zone(f"zone-{number}", f"zone-{number}.test.")
        assert len(run(provider.list_zones())) == 11

    def test_a_private_zone_of_the_same_name_is_told_apart(self, google, make):
        google.add_zone("home-lan", "home.test.", visibility="private")
        lan = Zone("home-lan", "home.test", private=True)
        assert run(make().list_zones()) == [ZONE, lan]
        assert run(make().find_zone("git.home.test")) == ZONE
        assert run(make(private=True).find_zone("git.home.test")) == lan

    def test_a_wildcard_goes_to_the_private_zone_where_that_is_set(self, google, make):
        google.add_zone("home-lan", "home.test.", visibility="private")
        run(make(private=True).ensure_wildcard("home.test", "192.0.2.9", 300))
        assert google.get("home-lan", "*.home.test.", "A")
        assert google.get("home-public", "*.home.test.", "A") is None

    def test_of_twins_the_named_one_is_taken(self, google, make):
        google.add_zone("home-new", "home.test.")
        google.add_zone("other", "other.test.")
        with pytest.raises(RejectedError, match=r"home-public, home-new"):
            run(make().find_zone("git.home.test"))
        assert run(make(zone="home-new").find_zone("git.home.test")).id == "home-new"
        assert run(make(zone="home-new").find_zone("git.other.test")).id == "other"

    def test_a_named_zone_that_is_not_there_is_said(self, make):
        with pytest.raises(MissingError, match="no managed zone home.test in home-1, only home-public"):
            run(make(zone="home.test").list_zones())

    def test_zones_that_only_lead_elsewhere_are_none(self, google, provider):
        target = {"targetNameServers": [{"ipv4Address": "192.0.2.53"}]}
        google.add_zone("out", ".", visibility="private", forwardingConfig=target)
        assert run(provider.list_zones()) == [ZONE]

    def test_names_that_no_host_could_have_do_not_hide_the_others(self, google, provider):
        google.add_zone("reverse", "0/25.2.0.192.in-addr.arpa.")
        google.put(
            "home-public", {"name": "a/b.home.test.", "type": "TXT", "ttl": 300, "rrdatas": ['"somebody else\'s"']}
        )
        assert ZONE in run(provider.list_zones())
        assert "a/b.home.test" in {one.key.name for one in run(provider.list_records(ZONE))}

    def test_a_few_sets_are_asked_for_by_name_and_many_by_the_zone(self, google, provider):
        run(provider.create_record(ZONE, OLD))
        google.asked.clear()
        assert run(provider.find_record(ZONE, OLD.key)).same_data(OLD)
        assert [one.query for one in google.asked] == [{"name": "git.home.test.", "type": "A"}]
        google.asked.clear()
        keys = [OLD.key, *(RecordKey(f"n{number}.home.test", "A") for number in range(30))]
        assert [one.key for one in run(provider.list_records(ZONE, keys))] == [OLD.key]
        assert len(google.asked) == 1
        assert run(provider.list_records(ZONE, [])) == []


class TestStandIn:
    """What it is for is to refuse what Google refuses."""

    GOOD = {"name": "x.home.test.", "type": "TXT", "ttl": 300, "rrdatas": ['"x"']}  # noqa: RUF012 - read only

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"additions": [GOOD], "wait": True},
            {"additions": [GOOD], "status": "done"},
            {"additions": [GOOD | {"proxied": True}]},
            {"additions": [GOOD | {"ttl": "300"}]},
            {"additions": [GOOD | {"ttl": 2**31}]},
            {"additions": [GOOD | {"name": "x.home.test"}]},
            {"additions": [GOOD | {"name": "x.elsewhere.test."}]},
            {"additions": [GOOD | {"rrdatas": ["x"]}]},
            {"additions": [GOOD | {"rrdatas": ['"' + "x" * 256 + '"']}]},
            {"additions": [GOOD | {"rrdatas": []}]},
            {"additions": [GOOD | {"type": "CNAME", "rrdatas": ["pages.example.net"]}]},
            {"additions": [GOOD | {"type": "A", "rrdatas": ["192.0.2.256"]}]},
        ],
    )
    def test_it_refuses(self, google, provider, body):
        with pytest.raises(RejectedError):
            self.post(provider, body)
        assert google.get("home-public", "x.home.test.", "TXT") is None

    def test_nothing_of_a_change_is_done_where_a_part_is_refused(self, google, provider):
        with pytest.raises(RejectedError):
            self.post(provider, {"additions": [self.GOOD, self.GOOD | {"name": "y.home.test.", "ttl": -1}]})
        assert google.get("home-public", "x.home.test.", "TXT") is None

    def test_it_knows_its_queries(self, provider):
        for query in ({"name_": "x"}, {"type": "A"}, {"pageToken": "guessed"}):
            with pytest.raises(RejectedError):
                provider._ask(_Call("managedZones/home-public/rrsets", (), query=query))

    def post(self, provider, body):
        return provider._ask(_Call("managedZones/home-public/changes", (), body=body))


def test_the_page_names_the_rights_that_are_needed_and_no_others(google, provider):
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "dns-google.md").read_text()
    google.permissions = set(re.search(r"--permissions=(\S+)", page)[1].split(","))
    needed = {
        *("dns.managedZones.list", "dns.resourceRecordSets.list", "dns.resourceRecordSets.create"),
        *("dns.resourceRecordSets.update", "dns.resourceRecordSets.delete", "dns.changes.create", "dns.changes.get"),
    }
    assert google.permissions == needed
    assert set(re.findall(r"^\| `(dns\.\S+)` \|", page, re.MULTILINE)) == needed
    run(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    run(provider.ensure_wildcard("home.test", "192.0.2.2", 300))
    run(provider.add_txt(ZONE, "_acme-challenge.home.test", "x", 300))
    run(provider.remove_txt(ZONE, "_acme-challenge.home.test", "x"))


class Unwaiting(GoogleDNS):
    pauses_seconds = (0.0, 0.0)


async def no_sleep(seconds):
    pass


def record(label):
    return record_set(f"{label}.home.test", "A", 300, ["192.0.2.1"])
