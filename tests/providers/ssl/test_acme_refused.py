"""Accounts and orders that a server refuses, or takes in odd ways, and what of a roll-over can be left on disk."""

from __future__ import annotations

import asyncio

import pytest

from autogit.errors import ProviderAuthError, ProviderError, RejectedError
from tests.providers.ssl.acme_world import Client, Folder
from tests.providers.ssl.directory_shim import (
    ACCOUNT,
    DIRECTORY,
    KEY_CHANGE,
    NEW_ACCOUNT,
    NEW_ORDER,
    Answer,
    altered,
    directory_shim,
    problem,
)
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


def without_location(_request, forward):
    answer = forward()
    answer.headers.pop("Location")
    return answer


@pytest.mark.parametrize("code", ["invalidContact", "unsupportedContact"])
def test_an_address_that_is_not_taken_is_told(shim, tmp_path, code):
    shim.when(NEW_ACCOUNT, problem(400, code, "no such domain"))
    with pytest.raises(RejectedError, match="^pebble: the account was refused: no such domain") as caught:
        Client(shim.server(email="one@home.test"), tmp_path).run_issue()
    assert "ACME_EMAIL" in caught.value.hint
    Client(shim.server(), tmp_path).run_issue()
    shim.when(ACCOUNT, problem(400, code, "no such domain"))
    client = Client(shim.server(email="two@home.test"), tmp_path)
    client.run_issue()
    (note,) = client.notes
    assert note.startswith("pebble: the account's new e-mail address: no such domain; set ACME_EMAIL")
    client.run_issue()
    client.run_issue()
    assert len(shim.sent(ACCOUNT)) == 2


def test_terms_that_must_be_agreed_to_by_hand_are_told_with_their_page(client, shim):
    words = b'{"type": "urn:ietf:params:acme:error:userActionRequired", "detail": "new terms", "instance": "https://ca.test/t"}'
    shim.when(NEW_ORDER, Answer(403, words, {"Content-Type": "application/problem+json"}))
    with pytest.raises(ProviderAuthError, match=r"new terms \(see https://ca\.test/t\)") as caught:
        client.run_issue()
    assert "agree" in caught.value.hint


@pytest.mark.parametrize("path", [NEW_ACCOUNT, NEW_ORDER])
def test_a_server_that_does_not_say_where_things_are_is_told(client, shim, path):
    shim.when(path, without_location)
    with pytest.raises(ProviderError, match="it did not say where .* is"):
        client.run_issue()
    client.run_issue()


@pytest.mark.parametrize("status", ["deactivated", "revoked"])
def test_an_account_that_is_not_valid_is_not_used(client, shim, status):
    shim.when(NEW_ACCOUNT, altered(status=status))
    with pytest.raises(ProviderAuthError, match=f"is {status} at the authority"):
        client.run_issue()


def test_a_server_without_roll_over_is_told_and_the_account_stays(client, shim):
    client.run_issue()
    key = Folder(client).key.read_bytes()
    shim.when(DIRECTORY, altered(keyChange=None), method="GET")
    with pytest.raises(ProviderError, match="no roll-over"):
        asyncio.run(client.roll_over())
    client.run_issue()
    assert Folder(client).key.read_bytes() == key


@pytest.mark.parametrize("landed", [True, False])
def test_a_new_key_whose_old_one_was_lost_is_used(client, shim, landed):
    client.run_issue()
    folder = Folder(client)
    uri = folder.uri
    if landed:
        shim.lose(KEY_CHANGE)
    else:
        shim.when(KEY_CHANGE, Answer(503))
    with pytest.raises(ProviderError):
        asyncio.run(client.roll_over())
    new = folder.new_key.read_bytes()
    folder.key.unlink()
    client.run_issue()
    assert folder.key.read_bytes() == new
    assert (folder.uri == uri) is landed


def test_an_address_for_an_account_that_the_server_forgot_makes_it_anew(tmp_path):
    with pebble_server(tmp_path / "pebble", always_valid=True) as pebble:
        client = Client(pebble.server(), tmp_path / "accounts")
        client.run_issue()
        pebble.stop()
        pebble.start()
        Client(pebble.server(email="one@home.test"), tmp_path / "accounts").run_issue()
        pebble.stop()
        pebble.start()
        asyncio.run(client.deactivate())
        assert not Folder(client).key.exists()


def test_pebble_as_it_comes_out_of_the_box(tmp_path):
    env = {"PEBBLE_VA_NOSLEEP": "", "PEBBLE_VA_SLEEPTIME": "2"}
    with pebble_server(tmp_path / "pebble", always_valid=True, nonce_reject=5, authz_reuse=50, env=env) as pebble:
        client = Client(pebble.server(), tmp_path / "accounts", sleep=asyncio.sleep)
        for _ in range(2):
            issued = client.run_issue()
        asyncio.run(client.revoke(issued.fullchain))
        assert pebble.status_of(issued.serial)["Status"] == "Revoked"
