"""The provider for Cloudflare, against a strict stand-in that is held to the client library's own models."""

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
from types import SimpleNamespace

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
from autogit.providers.dns.cloudflare import CloudflareConfig, CloudflareDNS
from autogit.providers.dns.patience import PatientDNS
from autogit.testing.dns import DNSProviderContract
from tests.fakes.cloudflare import Broken, Page, Refusal, fake_cloudflare

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
OLD = record_set("git.home.test", "A", 300, ["192.0.2.1"])
NEW = record_set("git.home.test", "A", 300, ["192.0.2.2"])
TXT = RecordKey("x.home.test", "TXT")
GOOD = {"name": "x.home.test", "type": "TXT", "ttl": 300, "content": '"x"'}


class SmallPages(CloudflareDNS):
    zones_per_page = records_per_page = 5


@pytest.fixture(autouse=True)
def _only_what_the_test_says(monkeypatch):
    """Neither this machine's proxies nor its credentials."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "CLOUDFLARE_LOG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cloudflare():
    with fake_cloudflare() as fake:
        yield fake


@pytest.fixture
def zone(cloudflare):
    return Zone(cloudflare.add_zone("home.test"), "home.test")


@pytest.fixture
def token(cloudflare, zone):
    return cloudflare.add_token("Zone:Read", "DNS:Edit", zones=[zone.id])


@pytest.fixture
def make(cloudflare, token, tmp_path):
    """Make a provider of the stand-in, with other settings where told."""

    def made(kind=SmallPages, **settings):
        config = {"api_token": token, "base_url": cloudflare.url} | settings
        context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"), clock=lambda: NOW)
        return kind(context, CloudflareConfig(**config))

    return made


@pytest.fixture
def provider(make):
    return make()


def run(work):
    return asyncio.run(work)


async def no_sleep(seconds):
    pass


def writes(cloudflare):
    return [one.body for one in cloudflare.asked if one.method != "GET"]


def shown(caught):
    """Return all that anybody could see of an error."""
    error = caught.value
    return f"{error} {error!r} {error.hint} {''.join(traceback.format_exception(error))}"


class TestCloudflare(DNSProviderContract):
    """The contract."""


class TestCredentials:
    OTHERS = {  # noqa: RUF012 - read only
        "CLOUDFLARE_API_TOKEN": "an0ther-token-of-the-environment",
        "CLOUDFLARE_EMAIL": "me@example.org",
        "CLOUDFLARE_API_EMAIL": "me@example.org",
        "CLOUDFLARE_API_KEY": "gl0bal-key",
        "CLOUDFLARE_API_USER_SERVICE_KEY": "v1.0-service-key",
        "CLOUDFLARE_BASE_URL": "http://127.0.0.1:1",
        "CLOUDFLARE_CUSTOM_HEADERS": "Authorization: Bearer custom\nX-Auth-Key: custom\nX-Custom: custom",
    }

    def test_only_our_token_is_sent_whatever_the_environment_says(self, cloudflare, make, zone, token, monkeypatch):
        for name, value in self.OTHERS.items():
            monkeypatch.setenv(name, value)
        provider = make()
        assert run(provider.list_zones()) == [zone]
        run(provider.create_record(zone, OLD))
        for one in cloudflare.asked:
            assert one.headers["authorization"] == f"Bearer {token}"
            assert not [name for name in one.headers if name.startswith(("x-auth", "x-custom"))]
            assert not set(self.OTHERS.values()) & set(one.headers.values())

    def test_nothing_about_this_machine_is_sent(self, cloudflare, provider):
        run(provider.list_zones())
        names = cloudflare.asked[0].headers.keys()
        assert [name for name in names if name.startswith("x-")] == ["x-stainless-raw-response"]

    def test_an_address_with_a_password_does_not_take_the_place_of_the_token(self, cloudflare, make, token):
        run(make(base_url=cloudflare.url.replace("://", "://me:s3cret@")).list_zones())
        assert cloudflare.asked[0].headers["authorization"] == f"Bearer {token}"

    @pytest.mark.parametrize("wrong", ["Bearer abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnop\n", "tökenabcdefghijkl"])
    def test_what_cannot_be_a_token_is_said_without_it(self, cloudflare, make, wrong):
        with pytest.raises(ProviderAuthError, match="CLOUDFLARE_API_TOKEN has blanks or other signs") as caught:
            run(make(api_token=wrong).list_zones())
        assert wrong.split()[-1] not in shown(caught)
        assert "without Bearer" in caught.value.hint
        assert cloudflare.asked == []

    def test_no_token_is_a_fault_of_the_settings(self):
        with pytest.raises(ValidationError, match="api_token"):
            CloudflareConfig(api_token="")

    def test_the_token_is_not_in_what_the_settings_show(self, make, token):
        config = make().config
        assert token not in f"{config} {config!r} {config.model_dump_json()}"

    def test_a_token_that_an_answer_quotes_is_not_shown(self, cloudflare, provider, token):
        cloudflare.faults.append(Refusal(400, 6003, f"Invalid header: Bearer {token}"))
        with pytest.raises(ProviderAuthError, match=r"Bearer \(the token\)") as caught:
            run(provider.list_zones())
        assert token not in f"{caught.value} {caught.value!r}"


class TestRights:
    """Each wrong token in words of its own."""

    @pytest.mark.parametrize("wrong", ["cf-0123456789abcdef0123456789abcdef", "short"])
    def test_a_token_that_is_not_known(self, make, wrong):
        provider = make(api_token=wrong)
        with pytest.raises(ProviderAuthError, match="the token is not taken") as caught:
            run(provider.list_zones())
        assert "CLOUDFLARE_API_TOKEN whole, not expired" in caught.value.hint
        assert wrong not in shown(caught)
        status = run(provider.health())
        assert not status.ok
        assert "the token is not taken" in status.detail
        assert status.fix == caught.value.hint

    def test_a_token_from_a_wrong_address_is_said_in_cloudflares_words(self, cloudflare, provider):
        said = "Cannot use the access token from location: 192.0.2.7"
        cloudflare.faults.append(Refusal(403, 9109, said))
        with pytest.raises(ProviderAuthError, match=re.escape(said)):
            run(provider.list_zones())

    def test_a_token_that_may_not_list_zones(self, cloudflare, make, zone):
        provider = make(api_token=cloudflare.add_token("DNS:Edit", zones=[zone.id]))
        with pytest.raises(ProviderAuthError, match="lacks Zone:Read"):
            run(provider.list_zones())

    def test_a_token_that_sees_no_zone(self, cloudflare, make):
        provider = make(api_token=cloudflare.add_token("Zone:Read", "DNS:Edit", zones=[]))
        with pytest.raises(ProviderAuthError, match="the token shows no zone at all") as caught:
            run(provider.find_zone("git.home.test"))
        assert "Zone Resources" in caught.value.hint
        assert run(provider.health()).fix == caught.value.hint

    def test_a_token_for_another_zone(self, cloudflare, make, zone):
        other = cloudflare.add_zone("other.test")
        provider = make(api_token=cloudflare.add_token("Zone:Read", "DNS:Edit", zones=[other]))
        with pytest.raises(MissingError, match=r"no zone for git\.home\.test; the credentials show other\.test"):
            run(provider.find_zone("git.home.test"))
        with pytest.raises(ProviderAuthError, match=r"home\.test: the token may not read it") as caught:
            run(provider.list_records(zone))
        assert "DNS:Edit" in caught.value.hint

    def test_a_token_that_reads_and_may_not_write(self, cloudflare, make, zone):
        provider = make(api_token=cloudflare.add_token("Zone:Read", "DNS:Read", zones=[zone.id]))
        assert run(provider.list_records(zone)) == []
        with pytest.raises(
            ProviderAuthError, match=r"git\.home\.test/A: .* not change it, it lacks DNS:Edit"
        ) as caught:
            run(provider.create_record(zone, OLD))
        assert "DNS:Edit for this zone" in caught.value.hint


class TestErrors:
    @pytest.mark.parametrize(
        ("wait", "seconds"),
        [
            ({}, 0),
            ({"Retry-After": "300"}, 300),
            ({"Retry-After": "Wed, 25 Nov 2026 12:01:30 GMT"}, 90),
            ({"Retry-After": "Wed, 25 Nov 2026 11:00:00 GMT"}, 0),
            ({"Retry-After": "soon"}, 0),
        ],
    )
    @pytest.mark.parametrize("is_write", [False, True], ids=["read", "write"])
    def test_asking_too_often_says_how_long_to_wait(self, cloudflare, provider, zone, wait, seconds, is_write):
        cloudflare.faults.extend([None] * is_write)
        said = "Please wait and consider throttling your request speed"
        cloudflare.faults.append(Refusal(429, 971, said, wait))
        with pytest.raises(RateLimitedError, match=said) as caught:
            run(provider.create_record(zone, OLD) if is_write else provider.list_zones())
        assert caught.value.retry_after_seconds == seconds
        assert len(cloudflare.asked) == 1 + is_write

    @pytest.mark.parametrize("zone_id", ["f" * 32, "home"])
    def test_a_zone_that_is_not_there_is_missing(self, cloudflare, make, zone, zone_id):
        cloudflare.tokens[make().config.api_token.get_secret_value()].zones.add(zone_id)
        gone = Zone(zone_id, "home.test")
        for work in (make().list_records(gone), make().create_record(gone, OLD), make().delete_record(gone, OLD)):
            with pytest.raises(MissingError, match=r"home\.test: it is not there any more"):
                run(work)

    def test_a_zone_that_was_deleted_is_missing(self, cloudflare, provider, zone):
        cloudflare.remove_zone(zone.id)
        with pytest.raises(MissingError):
            run(provider.list_records(zone))

    @pytest.mark.parametrize(
        "fault",
        [
            Page(500, "<html>Internal Server Error</html>"),
            Page(502, ""),
            Page(521, "error code: 521"),
            Page(200, "<html>log in first</html>"),
            Page(200, "[]", {"Content-Type": "application/json"}),
            Page(200, "{", {"Content-Type": "application/json"}),
            Page(200, json.dumps({"success": True, "result": None}), {"Content-Type": "application/json"}),
            Page(403, "<html>blocked by your company</html>"),
            Page(302, "", {"Location": "/login"}),
            Refusal(503, 7010, "Service unavailable"),
            Refusal(409, 10001, "lock timeout"),
            Broken(),
        ],
        ids=repr,
    )
    def test_whatever_is_no_answer_of_the_api_is_said_at_once(self, cloudflare, provider, fault):
        cloudflare.faults.append(fault)
        with pytest.raises(UnavailableError, match="^cloudflare: "):
            run(provider.list_zones())
        assert len(cloudflare.asked) == 1

    def test_a_server_that_does_not_listen_is_unavailable(self, make):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1: no answer \(ConnectError\)"):
            run(make(base_url=f"http://127.0.0.1:{port}").list_zones())

    def test_a_server_that_does_not_answer_is_given_up(self, make):
        class Hasty(CloudflareDNS):
            timeout_seconds = 0.05

        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with pytest.raises(UnavailableError, match=r"no answer \(ReadTimeout\)"):
                run(make(Hasty, base_url=url).list_zones())

    @pytest.mark.parametrize("proxy", ["http://me:s3cret@127.0.0.1:{port}", "odd://me:s3cret@127.0.0.1:{port}"])
    def test_a_password_of_a_proxy_is_never_shown(self, make, monkeypatch, proxy):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        monkeypatch.setenv("http_proxy", proxy.format(port=port))
        with pytest.raises(UnavailableError) as caught:
            run(make().list_zones())
        assert "s3cret" not in shown(caught)

    def test_a_file_of_authorities_that_is_not_there_is_an_error_of_ours(self, make, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
        with pytest.raises(UnavailableError, match="FileNotFoundError"):
            run(make(base_url="https://127.0.0.1:1").list_zones())

    @pytest.mark.parametrize(
        ("wanted", "said", "hint"),
        [
            (replace(OLD, ttl=30), "Invalid TTL", "60 to 86400"),
            (record_set("git.home.test", "A", 300, ["999.1.1.1"]), "must be a valid IPv4 address", ""),
            (replace(OLD, mark="x" * 101), "comment is longer", ""),
            (record_set("git.home.test", "CAA", 300, ["letsencrypt.org"]), "'letsencrypt.org' is no value", ""),
        ],
    )
    def test_what_cloudflare_refuses_is_said_in_its_words(self, cloudflare, provider, zone, wanted, said, hint):
        with pytest.raises(RejectedError, match=said) as caught:
            run(provider.create_record(zone, wanted))
        assert hint in caught.value.hint
        assert run(provider.list_records(zone)) == []

    def test_an_alias_beside_an_address_is_refused_with_a_way_out(self, provider, zone):
        run(provider.create_record(zone, OLD))
        with pytest.raises(RejectedError, match=r"CNAME: refused: .*\(81053\)") as caught:
            run(provider.create_record(zone, record_set("git.home.test", "CNAME", 300, ["pages.example.net"])))
        assert "do not stand beside a CNAME" in caught.value.hint

    @pytest.mark.parametrize("is_write", [False, True], ids=["read", "write"])
    def test_a_refusal_with_status_200_is_a_refusal(self, cloudflare, provider, zone, is_write):
        # The library returns None for it, or an empty list: a whole zone would seem to be gone.
        cloudflare.faults.extend([None] * is_write)
        cloudflare.faults.append(Refusal(200, 1234, "No, sorry."))
        with pytest.raises(RejectedError, match=r"No, sorry\. \(1234\)"):
            run(provider.create_record(zone, OLD) if is_write else provider.list_records(zone))

    @pytest.mark.parametrize("kind", ["MX", "SRV", "TLSA"])
    def test_types_that_are_not_written_are_unsupported(self, cloudflare, provider, zone, kind):
        with pytest.raises(UnsupportedError, match=f"does not write {kind} records"):
            run(provider.create_record(zone, record_set("x.home.test", kind, 300, ["10 mail.home.test"])))
        assert cloudflare.asked == []

    def test_a_missing_library_is_said_with_the_extra_to_install(self, provider, monkeypatch):
        monkeypatch.setitem(sys.modules, "cloudflare", None)
        with pytest.raises(UnsupportedError) as caught:
            run(provider.list_zones())
        assert caught.value.hint == "pip install 'autogit[cloudflare]'"

    def test_no_library_is_loaded_before_it_is_needed(self):
        code = (
            "import sys, autogit.providers.dns.cloudflare;"
            "print(sorted({'cloudflare', 'httpx', 'dns'} & sys.modules.keys()))"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "[]"


class TestWrites:
    def test_a_change_is_one_transaction(self, cloudflare, provider, zone):
        run(provider.create_record(zone, record_set("git.home.test", "A", 300, ["192.0.2.1", "192.0.2.2"])))
        old = run(provider.find_record(zone, OLD.key))
        wanted = record_set("git.home.test", "A", 300, ["192.0.2.2", "192.0.2.3", "192.0.2.4"])
        cloudflare.asked.clear()
        run(provider.update_record(zone, old, wanted))
        fields = {"name": "git.home.test", "type": "A", "ttl": 300, "proxied": False, "comment": ""}
        assert writes(cloudflare) == [
            {
                "patches": [{**fields, "id": old.handles[0], "content": "192.0.2.3"}],
                "posts": [{**fields, "content": "192.0.2.4"}],
            }
        ]
        assert len(cloudflare.asked) == 2
        cloudflare.asked.clear()
        run(provider.delete_record(zone, wanted))
        assert [sorted(body) for body in writes(cloudflare)] == [["deletes"]]

    def test_nothing_of_a_refused_change_is_done(self, provider, zone):
        old = record_set("git.home.test", "A", 300, ["192.0.2.1", "192.0.2.2"])
        run(provider.create_record(zone, old))
        with pytest.raises(RejectedError):
            run(provider.update_record(zone, old, record_set("git.home.test", "A", 300, ["192.0.2.3", "999.1.1.1"])))
        assert run(provider.find_record(zone, OLD.key)).same_data(old)

    def test_what_others_know_of_a_record_that_stays_is_kept(self, cloudflare, provider, zone):
        cloudflare.put(zone.id, name="git.home.test", type="A", content="192.0.2.1", tags=["team:web"])
        run(provider.update_record(zone, OLD, replace(OLD, ttl=600)))
        (kept,) = cloudflare.get(zone.id, "git.home.test", "A")
        assert (kept["ttl"], kept["tags"]) == (600, ["team:web"])

    def test_a_ttl_that_others_changed_is_a_change(self, cloudflare, provider, zone):
        cloudflare.put(zone.id, name="git.home.test", type="A", content="192.0.2.1", ttl=60)
        for work in (provider.update_record(zone, OLD, NEW), provider.delete_record(zone, OLD)):
            with pytest.raises(StalePlanError):
                run(work)
        assert writes(cloudflare) == []

    def test_records_of_one_set_with_several_ttls_are_brought_together(self, cloudflare, provider, zone):
        for number, ttl in enumerate([300, 600], 1):
            cloudflare.put(zone.id, name="git.home.test", type="A", content=f"192.0.2.{number}", ttl=ttl)
        read = run(provider.find_record(zone, OLD.key))
        assert read.ttl == 300
        run(provider.update_record(zone, read, replace(read, ttl=60)))
        assert [one["ttl"] for one in cloudflare.get(zone.id, "git.home.test", "A")] == [60, 60]

    @pytest.mark.parametrize("is_as_wanted", [True, False])
    def test_a_record_that_came_between_reading_and_writing(self, cloudflare, make, zone, is_as_wanted):
        content = "192.0.2.1" if is_as_wanted else "192.0.2.7"

        class Raced(SmallPages):
            def _write(self, zone, key, changes):
                cloudflare.put(zone.id, name="git.home.test", type="A", content="192.0.2.1")
                if not is_as_wanted:
                    cloudflare.put(zone.id, name="git.home.test", type="A", content=content)
                super()._write(zone, key, changes)

        work = make(Raced).create_record(zone, OLD)
        if is_as_wanted:
            run(work)
        else:
            with pytest.raises(StalePlanError, match=r"192\.0\.2\.7"):
                run(work)

    @pytest.mark.parametrize("wanted", [NEW, None], ids=["update", "delete"])
    def test_a_record_that_went_between_reading_and_writing(self, cloudflare, make, zone, wanted):
        class Raced(SmallPages):
            def _write(self, zone, key, changes):
                for one in cloudflare.get(zone.id, "git.home.test", "A"):
                    cloudflare.remove(zone.id, one["id"])
                super()._write(zone, key, changes)

        cloudflare.put(zone.id, name="git.home.test", type="A", content="192.0.2.1")
        if wanted is None:
            run(make(Raced).delete_record(zone, OLD))
        else:
            with pytest.raises(StalePlanError, match="gone"):
                run(make(Raced).update_record(zone, OLD, wanted))
        assert cloudflare.get(zone.id, "git.home.test", "A") == []

    @pytest.mark.parametrize(
        "fault",
        [Broken(), Broken(is_done=True), Page(502, "<html></html>"), Page(502, "<html></html>", is_done=True)],
        ids=repr,
    )
    @pytest.mark.parametrize("old", [None, OLD], ids=["create", "update"])
    def test_a_write_whose_answer_was_lost_is_carried_out_once(self, cloudflare, make, zone, fault, old):
        if old is not None:
            run(make().create_record(zone, old))
        cloudflare.asked.clear()
        cloudflare.faults.extend([None, fault])
        patient = PatientDNS(make(), sleep=no_sleep)
        run(patient.create_record(zone, NEW) if old is None else patient.update_record(zone, old, NEW))
        assert [one["content"] for one in cloudflare.get(zone.id, "git.home.test", "A")] == ["192.0.2.2"]
        assert len(writes(cloudflare)) == (1 if fault.is_done else 2)


class TestMarks:
    MINE = replace(OLD, mark="heritage=autogit,owner=1")

    def test_a_mark_is_the_comment_of_each_record(self, cloudflare, provider, zone):
        wanted = replace(self.MINE, values=("192.0.2.1", "192.0.2.2"))
        run(provider.create_record(zone, wanted))
        assert [one["comment"] for one in cloudflare.get(zone.id, "git.home.test", "A")] == [wanted.mark] * 2
        assert run(provider.find_record(zone, OLD.key)).mark == wanted.mark

    def test_a_mark_is_put_on_and_taken_off_what_is_there(self, cloudflare, provider, zone):
        run(provider.create_record(zone, OLD))
        run(provider.update_record(zone, OLD, self.MINE))
        assert run(provider.find_record(zone, OLD.key)) == self.MINE
        run(provider.update_record(zone, self.MINE, OLD))
        assert run(provider.find_record(zone, OLD.key)) == OLD
        cloudflare.asked.clear()
        run(provider.update_record(zone, OLD, OLD))
        assert writes(cloudflare) == []

    def test_a_set_whose_records_carry_different_comments_has_no_mark_and_keeps_them(self, cloudflare, provider, zone):
        for text, comment in (("one", "heritage=autogit,owner=1"), ("two", "Bob's"), ("three", None)):
            cloudflare.put(zone.id, name=TXT.name, type="TXT", content=f'"{text}"', comment=comment)
        assert run(provider.find_record(zone, TXT)).mark == ""
        run(provider.add_txt(zone, TXT.name, "four", 300))
        run(provider.remove_txt(zone, TXT.name, "three"))
        read = run(provider.find_record(zone, TXT))
        run(provider.update_record(zone, read, replace(read, ttl=600)))
        kept = {one["content"]: (one["comment"], one["ttl"]) for one in cloudflare.get(zone.id, *_parts(TXT))}
        assert kept == {
            '"one"': ("heritage=autogit,owner=1", 600),
            '"two"': ("Bob's", 600),
            '"four"': (None, 600),
        }

    def test_a_value_that_takes_anothers_place_does_not_inherit_its_comment(self, cloudflare, provider, zone):
        for number, comment in ((1, "mine"), (2, "Bob's")):
            cloudflare.put(zone.id, name="git.home.test", type="A", content=f"192.0.2.{number}", comment=comment)
        read = run(provider.find_record(zone, OLD.key))
        run(provider.update_record(zone, read, replace(read, values=("192.0.2.1", "192.0.2.3"))))
        kept = {one["content"]: one["comment"] for one in cloudflare.get(zone.id, "git.home.test", "A")}
        assert kept == {"192.0.2.1": "mine", "192.0.2.3": None}

    def test_a_wildcard_that_moves_keeps_its_mark(self, provider, zone):
        wildcard = replace(record_set("*.home.test", "A", 300, ["192.0.2.1"]), mark=self.MINE.mark)
        run(provider.create_record(zone, wildcard))
        run(provider.ensure_wildcard("home.test", "192.0.2.2", 300))
        found = run(provider.find_record(zone, wildcard.key))
        assert (found.values, found.mark) == (("192.0.2.2",), self.MINE.mark)


class TestProxied:
    def test_a_proxied_set_has_the_automatic_ttl_and_reads_back(self, cloudflare, provider, zone):
        wanted = replace(OLD, proxied=True)
        run(provider.create_record(zone, wanted))
        found = run(provider.find_record(zone, OLD.key))
        assert (found.ttl, found.proxied) == (1, True)
        assert found.same_data(wanted)
        assert writes(cloudflare)[0]["posts"][0]["ttl"] == 1

    def test_it_is_switched_on_and_off(self, cloudflare, provider, zone):
        run(provider.create_record(zone, OLD))
        for wanted in (replace(OLD, proxied=True), OLD):
            run(provider.update_record(zone, run(provider.find_record(zone, OLD.key)), wanted))
            (kept,) = cloudflare.get(zone.id, "git.home.test", "A")
            assert (kept["proxied"], kept["ttl"]) == (wanted.proxied, 1 if wanted.proxied else 300)

    def test_a_proxied_wildcard_and_a_proxied_alias(self, provider, zone):
        for name, kind, value in (("*.home.test", "AAAA", "2001:db8::1"), ("www.home.test", "CNAME", "home.test")):
            wanted = replace(record_set(name, kind, 300, [value]), proxied=True)
            run(provider.create_record(zone, wanted))
            assert run(provider.find_record(zone, wanted.key)).same_data(wanted)

    @pytest.mark.parametrize(("kind", "value"), [("TXT", "x"), ("CAA", '0 issue "letsencrypt.org"')])
    def test_other_types_cannot_be_proxied(self, cloudflare, provider, zone, kind, value):
        wanted = replace(record_set("x.home.test", kind, 300, [value]), proxied=True)
        for work in (provider.create_record(zone, wanted), provider.update_record(zone, wanted, wanted)):
            with pytest.raises(UnsupportedError, match="only A, AAAA and CNAME"):
                run(work)
        assert cloudflare.asked == []

    def test_a_set_of_which_one_record_is_proxied_is_proxied_and_is_brought_together(self, cloudflare, provider, zone):
        for number in (1, 2):
            ttl = 1 if number == 1 else 300
            cloudflare.put(
                zone.id, name="git.home.test", type="A", content=f"192.0.2.{number}", ttl=ttl, proxied=number == 1
            )
        read = run(provider.find_record(zone, OLD.key))
        assert read.proxied
        run(provider.update_record(zone, read, replace(read, proxied=False, ttl=300)))
        kept = [(one["proxied"], one["ttl"]) for one in cloudflare.get(zone.id, "git.home.test", "A")]
        assert kept == [(False, 300)] * 2

    def test_an_automatic_ttl_of_a_set_that_is_not_proxied_stays_one(self, cloudflare, provider, zone):
        run(provider.create_record(zone, replace(OLD, ttl=1)))
        assert run(provider.find_record(zone, OLD.key)).ttl == 1


class TestValues:
    @pytest.mark.parametrize(
        "text", ["é" * 200, "a" * 255, "a" * 256, "tab\t and line\n", '\\"' * 200, '"', "a b", "\\"]
    )
    def test_any_text_reads_back(self, provider, zone, text):
        wanted = record_set(TXT.name, "TXT", 300, [text])
        run(provider.create_record(zone, wanted))
        assert run(provider.find_record(zone, TXT)).values == (text,)

    def test_texts_are_sent_quoted_in_strings_of_255_bytes(self, cloudflare, provider, zone):
        run(provider.create_record(zone, record_set(TXT.name, "TXT", 300, ["a" * 300])))
        assert writes(cloudflare)[0]["posts"][0]["content"] == f'"{"a" * 255}" "{"a" * 45}"'

    @pytest.mark.parametrize(
        ("record", "value"),
        [
            ({"type": "TXT", "content": "one two"}, "one two"),
            ({"type": "TXT", "content": 'say "hi"'}, 'say "hi"'),
            ({"type": "TXT", "content": '"one" "two"'}, "onetwo"),
            ({"type": "TXT", "content": r'"b\195\188ro"'}, "büro"),
            ({"type": "TXT", "content": '"not closed'}, '"not closed'),
            ({"type": "TXT", "content": "a" * 300}, "a" * 300),
            ({"type": "CNAME", "content": "Pages.Example.NET."}, "pages.example.net"),
            ({"type": "AAAA", "content": "2001:DB8:0:0:0:0:0:1"}, "2001:db8::1"),
            (
                {
                    "type": "CAA",
                    "content": '0 issue "ca.test"',
                    "data": {"flags": 0, "tag": "Issue", "value": "ca.test"},
                },
                '0 issue "ca.test"',
            ),
            ({"type": "CAA", "content": '0 issue "ca.test"'}, '0 issue "ca.test"'),
            ({"type": "MX", "content": "Mail.home.test", "priority": 10}, "10 mail.home.test"),
            ({"type": "MX", "content": ".", "priority": 0}, "0 ."),
            ({"type": "MX", "data": {"priority": 10, "target": "mail.home.test"}}, "10 mail.home.test"),
            (
                {
                    "type": "SRV",
                    "content": "5\t5060\tsip.home.test",
                    "priority": 1,
                    "data": {"priority": 1, "weight": 5, "port": 5060, "target": "sip.home.test"},
                },
                "1 5 5060 sip.home.test",
            ),
            ({"type": "SRV", "content": "1 5 5060 sip.home.test"}, "1 5 5060 sip.home.test"),
            ({"type": "NS", "content": "NS1.example.net"}, "ns1.example.net"),
            ({"type": "SSHFP", "content": "4 2 abcd"}, "4 2 abcd"),
        ],
    )
    def test_what_others_wrote_is_read_in_normal_form_and_can_be_deleted(
        self, cloudflare, provider, zone, record, value
    ):
        # Older records come in shapes that the library's models do not name any more.
        cloudflare.is_strict = False
        cloudflare.put(zone.id, name="x.home.test", **record)
        key = RecordKey("x.home.test", record["type"])
        read = run(provider.find_record(zone, key))
        assert read.values == (value,)
        run(provider.delete_record(zone, replace(read, handles=())))
        assert cloudflare.get(zone.id, *_parts(key)) == []

    def test_an_authority_is_written_in_parts(self, cloudflare, provider, zone):
        run(provider.create_record(zone, record_set("home.test", "CAA", 300, ['128 issue "ca.test; account=\\"1\\""'])))
        sent = writes(cloudflare)[0]["posts"][0]
        assert sent["data"] == {"flags": 128, "tag": "issue", "value": 'ca.test; account="1"'}
        assert "content" not in sent

    def test_the_same_text_in_two_spellings_is_one_value(self, cloudflare, provider, zone):
        for content in ("one", '"one"'):
            cloudflare.put(zone.id, name=TXT.name, type="TXT", content=content)
        read = run(provider.find_record(zone, TXT))
        assert read.values == ("one",)
        assert len(read.handles) == 2
        run(provider.update_record(zone, read, replace(read, ttl=600)))
        assert [one["ttl"] for one in cloudflare.get(zone.id, *_parts(TXT))] == [600]

    def test_names_that_no_host_could_have_do_not_hide_the_others(self, cloudflare, provider, zone):
        cloudflare.put(zone.id, name="a/b.home.test", type="TXT", content='"x"')
        run(provider.create_record(zone, OLD))
        assert {one.key.name for one in run(provider.list_records(zone))} == {"a/b.home.test", "git.home.test"}


class TestPages:
    @pytest.mark.parametrize("tells_pages", [True, False])
    def test_all_zones_and_records_are_read(self, cloudflare, provider, zone, token, tells_pages):
        cloudflare.tells_pages = tells_pages
        for number in range(14):
            cloudflare.tokens[token].zones.add(cloudflare.add_zone(f"zone-{number}.test"))
            cloudflare.put(zone.id, name=f"n{number}.home.test", type="A", content="192.0.2.1")
        cloudflare.put(zone.id, name="n1.home.test", type="A", content="192.0.2.2")
        assert len(run(provider.list_zones())) == 15
        cloudflare.asked.clear()
        assert len(run(provider.list_records(zone))) == 14
        # 15 records at 5 a page: where nobody tells how many there are, an empty page ends them.
        assert len(cloudflare.asked) == (3 if tells_pages else 4)

    def test_a_list_without_an_end_is_given_up(self, cloudflare, provider):
        page = {"success": True, "result": [{"id": "1", "name": "home.test"}]}
        cloudflare.faults.extend([Page(200, json.dumps(page), {"Content-Type": "application/json"})] * 1000)
        with pytest.raises(UnavailableError, match="does not end"):
            run(provider.list_zones())

    def test_an_ordinary_zone_is_one_request_and_so_is_a_set(self, cloudflare, make, zone):
        provider = make(CloudflareDNS)
        run(provider.create_record(zone, OLD))
        keys = [OLD.key, *(RecordKey(f"n{number}.home.test", "A") for number in range(30))]
        for wanted in (None, keys, [OLD.key], [OLD.key, RecordKey("git.home.test", "AAAA")]):
            cloudflare.asked.clear()
            assert [one.key for one in run(provider.list_records(zone, wanted))] == [OLD.key]
            (asked,) = cloudflare.asked
            is_one_name = wanted is not None and len(wanted) < 3
            assert asked.query.get("name.exact") == ("git.home.test" if is_one_name else None)
        cloudflare.asked.clear()
        assert run(provider.list_records(zone, [])) == []
        assert cloudflare.asked == []


class TestStandIn:
    """What it is for is to refuse what Cloudflare refuses."""

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"posts": [GOOD], "wait": True},
            {"posts": [GOOD | {"weight": 1}]},
            {"posts": [GOOD | {"ttl": "300"}]},
            {"posts": [GOOD | {"ttl": 30}]},
            {"posts": [{k: v for k, v in GOOD.items() if k != "ttl"}]},
            {"posts": [GOOD | {"content": '"x'}]},
            {"posts": [GOOD | {"proxied": True}]},
            {"posts": [GOOD | {"type": "SPF"}]},
            {"posts": [GOOD | {"tags": "team:web"}]},
            {"posts": [GOOD | {"type": "CAA", "content": '0 issue "ca.test"'}]},
            {"posts": [GOOD | {"type": "CAA"}]},
            {"posts": [GOOD | {"type": "AAAA", "content": "192.0.2.1"}]},
            {"posts": [GOOD | {"name": "x y.home.test"}]},
            {"posts": [GOOD, GOOD]},
            {"patches": [GOOD]},
            {"puts": [GOOD | {"id": "f" * 32}]},
            {"deletes": [{"id": "f" * 32}]},
            {"deletes": [{"id": "f" * 32, "name": "x.home.test"}]},
            {"posts": [GOOD | {"content": f'"{number}"'} for number in range(201)]},
        ],
    )
    def test_it_refuses_and_does_nothing(self, cloudflare, provider, zone, body):
        with pytest.raises((RejectedError, StalePlanError)):
            run(self.send(provider, lambda client: client.post(f"/zones/{zone.id}/dns_records/batch", **_raw(body))))
        assert cloudflare.get(zone.id, "x.home.test", "TXT") == []

    def test_it_takes_what_is_right(self, cloudflare, provider, zone):
        body = {"posts": [GOOD | {"content": f'"{number}"'} for number in range(200)]}
        run(self.send(provider, lambda client: client.post(f"/zones/{zone.id}/dns_records/batch", **_raw(body))))
        path = f"/zones/{zone.id}/dns_records?name.exact=x.home.test&type=TXT&per_page=5000"
        assert len(run(self.send(provider, lambda client: client.get(path, **_raw())))["result"]) == 200

    @pytest.mark.parametrize("query", ["name=x.home.test", "per_page=5001", "page=0", "per_page=many", "nonsense=1"])
    def test_it_knows_its_queries(self, provider, zone, query):
        with pytest.raises(RejectedError):
            run(self.send(provider, lambda client: client.get(f"/zones/{zone.id}/dns_records?{query}", **_raw())))

    def test_it_knows_single_records_too(self, cloudflare, provider, zone):
        from cloudflare import NotFoundError

        records = provider._client.dns.records
        made = records.create(zone_id=zone.id, **GOOD)
        records.edit(made.id, zone_id=zone.id, **GOOD, comment="a note")
        assert records.get(made.id, zone_id=zone.id).comment == "a note"
        changed = records.update(made.id, zone_id=zone.id, **GOOD)
        assert changed.comment is None
        records.delete(made.id, zone_id=zone.id)
        with pytest.raises(NotFoundError):
            records.get(made.id, zone_id=zone.id)

    async def send(self, provider, work):
        def asked(client):
            return SimpleNamespace(http_response=work(client))

        return await asyncio.to_thread(provider._ask, ("it", "DNS:Edit"), asked)


def _raw(body=None):
    import httpx

    return {"cast_to": httpx.Response} | ({} if body is None else {"body": body})


def _parts(key):
    return key.name, key.type


def test_the_page_names_the_permissions_that_are_needed_and_no_others(cloudflare, make, zone):
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "dns-cloudflare.md").read_text()
    named = re.findall(r"^\| Zone \| (\w+) \| (\w+) \|", page, re.MULTILINE)
    permissions = {f"{group}:{right}" for group, right in named}
    assert permissions == {"Zone:Read", "DNS:Edit"}
    provider = make(api_token=cloudflare.add_token(*permissions, zones=[zone.id]))
    run(provider.ensure_wildcard("home.test", "192.0.2.1", 300))
    run(provider.ensure_wildcard("home.test", "192.0.2.2", 300))
    run(provider.add_txt(zone, "_acme-challenge.home.test", "x", 300))
    run(provider.remove_txt(zone, "_acme-challenge.home.test", "x"))
