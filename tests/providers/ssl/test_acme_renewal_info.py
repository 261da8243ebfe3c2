"""Renewal information (RFC 9773): windows read, odd ones refused, and orders that say what they replace."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from autogit.errors import MissingError, ProviderError, RateLimitedError, RejectedError
from autogit.model.acme import RenewalInfo
from autogit.providers.ssl.acme_certificate import certificate_id
from tests.providers.ssl.acme_world import Client
from tests.providers.ssl.directory_shim import NEW_ORDER, directory_shim, problem
from tests.providers.ssl.pebble import pebble_server

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
    return Client(shim.server(), tmp_path / "accounts")


def identity_of(issued):
    return certificate_id(x509.load_pem_x509_certificate(issued.fullchain))


def test_the_window_of_a_certificate_is_told(client, shim):
    issued = client.run_issue()
    shim.window(
        "2026-12-01T02:00:00+02:00",
        "2026-12-02T00:00:00.123456789Z",
        certificate=identity_of(issued),
        headers={"Retry-After": "7200"},
        explanationURL="https://ca.test/why",
    )
    told = asyncio.run(client.renewal_info(issued.fullchain))
    end = datetime(2026, 12, 2, 0, 0, 0, 123456, UTC)
    assert told == RenewalInfo(datetime(2026, 12, 1, tzinfo=UTC), end, 7200.0, "https://ca.test/why")


@pytest.mark.parametrize(
    ("header", "seconds"), [({}, 21600.0), ({"Retry-After": "1"}, 60.0), ({"Retry-After": "999999"}, 86400.0)]
)
def test_when_to_ask_again_is_kept_within_a_minute_and_a_day(client, shim, header, seconds):
    issued = client.run_issue()
    shim.window("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z", headers=header)
    assert asyncio.run(client.renewal_info(issued.fullchain)).retry_after_seconds == seconds


def test_a_window_that_is_over_is_told_as_it_is(client, shim):
    issued = client.run_issue()
    shim.window("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")
    assert asyncio.run(client.renewal_info(issued.fullchain)).end == datetime(2020, 1, 2, tzinfo=UTC)


def test_a_server_that_is_asked_too_often_says_when_to_come_again(client, shim):
    issued = client.run_issue()
    shim.windows[""] = problem(429, "rateLimited", Retry_After="900")
    with pytest.raises(RateLimitedError) as caught:
        asyncio.run(client.renewal_info(issued.fullchain))
    assert caught.value.retry_after_seconds == 900


def test_a_server_without_renewal_information_has_none(client, shim):
    issued = client.run_issue()
    shim.ari = False
    assert asyncio.run(client.renewal_info(issued.fullchain)) is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-12-02T00:00:00Z", "2026-12-01T00:00:00Z"),
        ("soon", "later"),
        ("2026-12-01T00:00:00", "2026-12-02T00:00:00"),
    ],
)
def test_a_window_that_makes_no_sense_is_no_window(client, shim, start, end):
    issued = client.run_issue()
    shim.window(start, end)
    with pytest.raises(ProviderError, match="^pebble: its renewal information has no window"):
        asyncio.run(client.renewal_info(issued.fullchain))


def test_a_certificate_that_the_authority_does_not_know_has_no_window(client):
    with pytest.raises(MissingError, match="renewal information: no such one"):
        asyncio.run(client.renewal_info(client.run_issue().fullchain))


def test_the_identifier_of_rfc_9773_section_4_1():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    authority = x509.AuthorityKeyIdentifier(bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"), None, None)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 0x87654321)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 2, 1, tzinfo=UTC))
        .add_extension(authority, critical=False)
        .sign(key, hashes.SHA256())
    )
    assert certificate_id(made) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_a_renewal_names_what_it_replaces(client, shim):
    first = client.run_issue()
    assert "replaces" not in shim.sent(NEW_ORDER)[-1].payload
    client.run_issue(replaces=first.fullchain)
    assert shim.sent(NEW_ORDER)[-1].payload["replaces"] == identity_of(first)
    shim.ari = False
    client.run_issue(replaces=first.fullchain)
    assert "replaces" not in shim.sent(NEW_ORDER)[-1].payload


@pytest.mark.parametrize(
    "answer", [problem(409, "alreadyReplaced"), problem(400, "malformed"), problem(404, "malformed")]
)
def test_a_renewal_that_is_refused_as_one_is_ordered_once_as_a_new_certificate(client, shim, answer):
    first = client.run_issue()
    shim.when(NEW_ORDER, answer)
    client.run_issue(replaces=first.fullchain)
    asked = [one.payload for one in shim.sent(NEW_ORDER)][-2:]
    assert ["replaces" in one for one in asked] == [True, False]
    assert "not as a renewal" in client.notes[-1]


def test_a_refusal_that_has_nothing_to_do_with_the_old_certificate_is_not_asked_twice(client, shim):
    first = client.run_issue()
    shim.when(NEW_ORDER, problem(403, "caa", "CAA record for home.test prevents issuance"))
    with pytest.raises(RejectedError, match="CAA record for home.test prevents issuance") as caught:
        client.run_issue(replaces=first.fullchain)
    assert "CAA record that names this authority" in caught.value.hint
    assert len(shim.sent(NEW_ORDER)) == 2
