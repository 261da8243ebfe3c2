"""Authorities that are slow, down, busy or odd, and orders that are stopped: what is told, and what is left behind."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from autogit.errors import (
    ProviderError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from autogit.model.acme import AcmeServer
from tests.providers.ssl.acme_world import Client, Shown
from tests.providers.ssl.directory_shim import (
    AUTHORIZATION,
    CERTIFICATE,
    CHALLENGE,
    DIRECTORY,
    FINALISE,
    NEW_NONCE,
    NEW_ORDER,
    ORDER,
    Answer,
    altered,
    directory_shim,
    problem,
)
from tests.providers.ssl.pebble import pebble_server, write_server_certificate

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pebble(tmp_path_factory):
    with pebble_server(tmp_path_factory.mktemp("pebble"), always_valid=True) as server:
        yield server


@pytest.fixture
def shim(pebble):
    with directory_shim(pebble) as one:
        yield one


@pytest.fixture
def client(shim, tmp_path):
    return Client(shim.server(), tmp_path)


@pytest.fixture(params=["Europe/Madrid", "America/New_York", "UTC"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


# -- asked too often -------------------------------------------------------------------------------------------------


def test_a_rate_limit_says_for_how_long(client, shim):
    shim.when(NEW_ORDER, problem(429, "rateLimited", "too many certificates for home.test", Retry_After="3600"))
    with pytest.raises(RateLimitedError, match="^pebble: .*too many certificates for home.test") as caught:
        client.run_issue()
    assert caught.value.retry_after_seconds == 3600
    assert "3600 seconds" in caught.value.hint
    assert len(shim.sent(NEW_ORDER)) == 1


@pytest.mark.parametrize("night", ["2026-10-25T00:59:30", "2026-03-29T00:59:30", "2026-11-01T05:59:30"])
def test_a_rate_limit_as_a_date_is_right_in_every_zone_and_over_a_dst_night(shim, tmp_path, zone, night):
    now = datetime.fromisoformat(night).replace(tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=90), usegmt=True)
    shim.when(NEW_ORDER, problem(429, "rateLimited", Retry_After=date))
    with pytest.raises(RateLimitedError) as caught:
        Client(shim.server(), tmp_path, now=lambda: now).run_issue()
    assert caught.value.retry_after_seconds == 90


def test_a_date_is_meant_by_the_servers_clock_where_it_shows_it(client, shim, zone):
    theirs = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    date, later = (format_datetime(moment, usegmt=True) for moment in (theirs, theirs + timedelta(seconds=60)))
    shim.when(NEW_ORDER, problem(429, "rateLimited", Retry_After=later, Date=date))
    with pytest.raises(RateLimitedError) as caught:
        client.run_issue()
    assert caught.value.retry_after_seconds == 60


def test_a_server_under_load_says_when_to_come_again(client, shim):
    shim.when(NEW_ORDER, problem(503, "rateLimited", "Service busy; retry later.", Retry_After="30"))
    with pytest.raises(RateLimitedError, match="Service busy") as caught:
        client.run_issue()
    assert caught.value.retry_after_seconds == 30


# -- down, slow, broken ----------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_unavailable(tmp_path):
    with pebble_server(tmp_path / "pebble", always_valid=True) as pebble:
        client = Client(pebble.server(), tmp_path / "accounts")
        client.run_issue()
    for call in (client.health, client.roll_over, client.terms_url):
        with pytest.raises(
            UnavailableError, match=r"^pebble: 127\.0\.0\.1:\d+ cannot be reached \(Connection refused\)"
        ):
            asyncio.run(call())
    with pytest.raises(UnavailableError):
        client.run_issue()


def test_a_server_that_is_called_by_its_host_is_named_once(pebble, shim, tmp_path):
    name = f"127.0.0.1:{shim.port}"
    shim.hang(DIRECTORY, method="GET")
    with pytest.raises(UnavailableError, match=f"^{name}: it did not answer within 0.3 s$"):
        Client(shim.server(name=name, timeout_seconds=0.3), tmp_path).run_issue()
    write_server_certificate(tmp_path / "other.pem", tmp_path / "other.key")
    with pytest.raises(ProviderError, match=f"^{name}: its TLS certificate cannot be trusted"):
        Client(shim.server(name=name, ca_file=str(tmp_path / "other.pem")), tmp_path).run_issue()


def test_a_server_that_stops_in_the_middle_of_an_order_is_unavailable_and_all_is_cleaned(tmp_path):
    with pebble_server(tmp_path / "pebble", always_valid=True) as pebble:

        class Stops(Shown):
            async def present(self, challenges):
                await super().present(challenges)
                pebble.stop()

        solver = Stops()
        client = Client(pebble.server(), tmp_path / "accounts")
        with pytest.raises(UnavailableError, match="^pebble: "):
            client.run_issue(solver=solver)
        assert solver.cleaned == solver.presented
        pebble.start()
        client.run_issue()


def test_a_server_that_does_not_answer_in_time_is_unavailable(shim, tmp_path):
    client = Client(shim.server(timeout_seconds=0.3), tmp_path)
    shim.hang(NEW_ORDER)
    with pytest.raises(UnavailableError, match=r"^pebble: 127\.0\.0\.1:\d+ did not answer within"):
        client.run_issue()
    client.run_issue()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        *((path, Answer(502, b"<html>")) for path in (AUTHORIZATION, CHALLENGE, ORDER, CERTIFICATE)),
        *((path, problem(500, "serverInternal")) for path in (AUTHORIZATION, CHALLENGE, ORDER, CERTIFICATE)),
        (ORDER, problem(429, "rateLimited", Retry_After="2")),
    ],
)
def test_trouble_on_the_way_does_not_lose_an_order(client, shim, path, answer):
    shim.when(path, answer, times=2)
    client.run_issue()
    assert len(shim.sent(NEW_ORDER)) == 1


@pytest.mark.parametrize("path", [CHALLENGE, FINALISE])
def test_an_answer_that_was_lost_is_asked_about(client, shim, path):
    shim.lose(path)
    client.run_issue("home.test")
    assert len(shim.sent(NEW_ORDER)) == 1
    assert path != FINALISE or len(shim.sent(FINALISE)) == 1


@pytest.mark.parametrize("answer", [Answer(503), problem(403, "orderNotReady")])
def test_what_did_not_land_is_sent_again(client, shim, answer):
    shim.when(FINALISE, answer)
    client.run_issue()
    assert len(shim.sent(FINALISE)) == 2


def test_a_server_that_never_takes_the_request_is_unavailable(client, shim):
    shim.when(FINALISE, Answer(503), times=99)
    with pytest.raises(UnavailableError):
        client.run_issue()
    assert len(shim.sent(FINALISE)) == 3


def test_a_rate_limit_on_the_last_step_is_told_at_once(client, shim):
    shim.when(FINALISE, problem(429, "rateLimited", Retry_After="3600"), times=9)
    with pytest.raises(RateLimitedError) as caught:
        client.run_issue()
    assert caught.value.retry_after_seconds == 3600
    assert len(shim.sent(FINALISE)) == 1


def test_a_server_that_gives_out_no_nonces_is_unavailable(client, shim):
    def bare(_request, forward):
        answer = forward()
        answer.headers.pop("Replay-Nonce", None)
        return answer

    shim.when(NEW_NONCE, bare, method="HEAD")
    with pytest.raises(UnavailableError, match="gives out no nonces"):
        client.run_issue()


def test_nonces_that_are_never_taken_come_to_an_end(client, shim):
    shim.when(NEW_ORDER, problem(400, "badNonce"), times=10**6)
    with pytest.raises(UnavailableError, match="badNonce"):
        client.run_issue()
    assert len(shim.sent(NEW_ORDER)) <= 20


def test_an_answer_without_end_is_not_read_to_its_end(client, shim):
    shim.when(DIRECTORY, Answer(200, b" " * 5_000_000), method="GET")
    with pytest.raises(UnavailableError, match="sends more"):
        client.run_issue()


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b"{}", b'{"newNonce": 1}'])
def test_a_url_that_leads_elsewhere_is_told(client, shim, body):
    shim.when(DIRECTORY, Answer(200, body), method="GET")
    with pytest.raises(ProviderError, match="is not an ACME directory"):
        client.run_issue()


def test_a_page_that_is_missing_is_told(client, shim):
    shim.when(DIRECTORY, Answer(404, b"<html>"), method="GET")
    with pytest.raises(ProviderError, match="^pebble: its directory: HTTP 404"):
        client.run_issue()


@pytest.mark.parametrize("url", ["http://ca.test/dir", "ftp://ca.test/dir", "ca.test/dir", ""])
def test_a_directory_is_asked_over_tls_only(tmp_path, url):
    with pytest.raises(ProviderError, match="^ca: .*is no https URL"):
        Client(AcmeServer("ca", url), tmp_path).run_issue()


def test_a_server_that_cannot_be_trusted_is_not_spoken_to(pebble, tmp_path):
    write_server_certificate(tmp_path / "other.pem", tmp_path / "other.key")
    client = Client(pebble.server(ca_file=str(tmp_path / "other.pem")), tmp_path)
    with pytest.raises(ProviderError, match="^pebble: the TLS certificate of .* cannot be trusted") as caught:
        client.run_issue()
    assert "other.pem" in caught.value.hint
    assert not caught.value.retryable
    (tmp_path / "odd.pem").write_text("nonsense")
    with pytest.raises(ProviderError, match="cannot be trusted"):
        Client(pebble.server(ca_file=str(tmp_path / "odd.pem")), tmp_path).run_issue()
    with pytest.raises(ProviderError, match=r"there is no file .*missing\.pem"):
        Client(pebble.server(ca_file=str(tmp_path / "missing.pem")), tmp_path).run_issue()


def test_what_the_environment_says_of_certificates_does_not_win(pebble, tmp_path, monkeypatch):
    write_server_certificate(tmp_path / "other.pem", tmp_path / "other.key")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "other.pem"))
    assert Client(pebble.server(), tmp_path).run_issue().serial


# -- waiting ---------------------------------------------------------------------------------------------------------


def test_retry_after_is_obeyed_while_a_name_is_validated(client, shim):
    # The first one is read, the second polled.
    shim.when(AUTHORIZATION, altered(status="pending", headers={"Retry-After": "7"}), times=2)
    client.run_issue("home.test")
    assert client.sleeper.wished == [7.0]


def test_a_date_to_come_again_at_is_obeyed_in_every_zone_while_a_name_is_validated(shim, tmp_path, zone):
    night = datetime(2026, 10, 25, 0, 59, 57, tzinfo=UTC)
    date, later = (format_datetime(night + timedelta(seconds=s), usegmt=True) for s in (0, 7))
    shim.when(AUTHORIZATION, altered(status="pending", headers={"Retry-After": later, "Date": date}), times=2)
    client = Client(shim.server(), tmp_path)
    client.run_issue("home.test")
    assert client.sleeper.wished == [7.0]


def test_waiting_for_a_decision_ends(client, shim):
    shim.when(AUTHORIZATION, altered(status="pending", headers={"Retry-After": "86400"}), times=10**6)
    solver = Shown()
    with pytest.raises(UnavailableError, match=r"^pebble: the validation of home\.test: .* within 300 seconds"):
        client.run_issue("home.test", solver=solver)
    assert max(client.sleeper.wished) <= 300
    assert solver.cleaned == solver.presented


def test_a_name_that_failed_is_told_before_one_that_is_not_decided(client, shim):
    answers = [altered(status="pending"), altered(status="pending"), altered(status="invalid")]
    for answer in answers:
        shim.when(AUTHORIZATION, answer)
    shim.when(AUTHORIZATION, altered(status="pending"), times=10**6)
    with pytest.raises(RejectedError, match=r"could not validate (one|two)\.test: its auth[^;]*$"):
        client.run_issue("one.test", "two.test")


def test_waiting_for_the_certificate_ends(client, shim):
    shim.when(ORDER, altered(status="processing"), times=10**6)
    with pytest.raises(UnavailableError, match="has not decided within 300 seconds"):
        client.run_issue()


def test_an_order_that_fails_in_the_end_is_told_in_the_authoritys_words(client, shim):
    said = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA for home.test forbids it"}
    shim.when(ORDER, altered(status="invalid", error=said), times=10**6)
    with pytest.raises(RejectedError, match="CAA for home.test forbids it"):
        client.run_issue()


def test_an_order_that_fails_without_a_reason_is_told(client, shim):
    shim.when(ORDER, altered(status="invalid"), times=10**6)
    with pytest.raises(RejectedError, match="ended as 'invalid', and it gave no reason"):
        client.run_issue()


def test_an_authorization_that_is_invalid_without_a_reason_is_no_success(client, shim):
    shim.when(AUTHORIZATION, altered(status="pending"))
    shim.when(AUTHORIZATION, altered(status="invalid"))
    with pytest.raises(RejectedError, match=r"could not validate home\.test: .*invalid, and no reason was given"):
        client.run_issue("home.test")


@pytest.mark.parametrize("status", ["expired", "revoked", "deactivated", "something new", None])
def test_an_authorization_in_an_odd_state_is_told(client, shim, status):
    shim.when(AUTHORIZATION, altered(status=status))
    with pytest.raises(RejectedError, match=r"could not validate home\.test"):
        client.run_issue("home.test")


def test_a_proof_for_a_name_that_was_not_asked_for_is_not_given(client, shim):
    shim.when(AUTHORIZATION, altered(identifier={"type": "dns", "value": "other.test"}))
    solver = Shown()
    with pytest.raises(RejectedError, match="it wants a proof for 'other.test', which was not asked for"):
        client.run_issue("home.test", solver=solver)
    assert solver.presented == []


@pytest.mark.parametrize("token", ["../../etc/passwd", "a/b", "", "a" * 500, "a\nb"])
def test_a_token_that_could_be_a_path_is_not_used(client, shim, token):
    offered = [{"type": "http-01", "url": "https://127.0.0.1/x", "token": token}]
    shim.when(AUTHORIZATION, altered(challenges=offered))
    solver = Shown("http-01")
    with pytest.raises(RejectedError, match="a token that RFC 8555"):
        client.run_issue("home.test", solver={"http-01": solver})
    assert solver.presented == []
