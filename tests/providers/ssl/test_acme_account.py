"""Accounts at an ACME server: made, found again, rolled over, closed; runs killed at every step of it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from autogit.errors import MissingError, ProviderAuthError, ProviderError, StorageFullError, UnavailableError
from autogit.model.acme import CertificateRequest
from autogit.providers.ssl.acme_account import Account, account_folder
from autogit.providers.ssl.acme_certificate import key_pem, new_key
from tests.providers.ssl.acme_world import Client, Folder, Shown
from tests.providers.ssl.directory_shim import ACCOUNT, KEY_CHANGE, NEW_ACCOUNT, Answer, directory_shim, problem
from tests.providers.ssl.pebble import pebble_server

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]


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


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def roll_over(client):
    asyncio.run(client.roll_over())


# -- made and found --------------------------------------------------------------------------------------------------


def test_an_account_is_made_once_and_only_its_owner_can_read_it(client, shim):
    client.run_issue()
    client.run_issue()
    folder = Folder(client)
    assert len(shim.sent(NEW_ACCOUNT)) == 1
    assert shim.sent(NEW_ACCOUNT)[0].payload == {"termsOfServiceAgreed": True}
    assert (mode(client.accounts), mode(folder.path)) == (0o700, 0o700)
    assert {mode(one) for one in folder.path.iterdir()} == {0o600}
    assert set(json.loads(folder.registration.read_text())) == {
        "uri", "directory_url", "thumbprint", "email", "terms_url",
    }  # fmt: skip
    assert "PRIVATE" not in folder.registration.read_text()


def test_accounts_of_two_directories_are_apart(client, pebble, tmp_path):
    client.run_issue()
    other = Client(pebble.server(), client.accounts)
    other.run_issue()
    one, two = Folder(client), Folder(other)
    assert one.path != two.path
    assert one.key.read_bytes() != two.key.read_bytes()
    assert account_folder(tmp_path, "https://ca.test/a") != account_folder(tmp_path, "https://ca.test/b")
    assert account_folder(tmp_path, "https://ca.test/../../x").parent == tmp_path


def test_a_changed_address_is_told_once(shim, tmp_path):
    Client(shim.server(email="one@home.test"), tmp_path).run_issue()
    assert shim.sent(NEW_ACCOUNT)[0].payload["contact"] == ["mailto:one@home.test"]
    for _ in range(2):
        Client(shim.server(email="two@home.test"), tmp_path).run_issue()
    (told,) = shim.sent(ACCOUNT)
    assert told.payload == {"contact": ["mailto:two@home.test"]}


def test_an_account_whose_registration_was_lost_is_found_by_its_key(client, shim):
    client.run_issue()
    folder = Folder(client)
    uri = folder.uri
    for damage in ("", "{", "[]", '{"uri": 1}'):
        folder.registration.write_text(damage)
        client.run_issue()
        assert folder.uri == uri
    folder.registration.unlink()
    client.run_issue()
    assert folder.uri == uri


def test_a_server_that_forgot_the_account_gets_it_anew_with_the_same_key(tmp_path):
    with pebble_server(tmp_path / "pebble", always_valid=True) as pebble:
        client = Client(pebble.server(), tmp_path / "accounts")
        issued = client.run_issue()
        folder = Folder(client)
        key, uri = folder.key.read_bytes(), folder.uri
        pebble.stop()
        pebble.start()
        with pytest.raises(ProviderError, match="^pebble: revoking"):
            asyncio.run(client.revoke(issued.fullchain))
        client.run_issue()
        assert folder.key.read_bytes() == key
        assert folder.uri != uri
        assert any("made anew" in note for note in client.notes)
        pebble.stop()
        pebble.start()
        roll_over(client)
        client.run_issue()
        assert folder.key.read_bytes() != key


def test_several_at_once_make_one_account(shim, tmp_path):
    clients = [Client(shim.server(), tmp_path) for _ in range(2)] * 2

    async def together():
        orders = [one.issue(CertificateRequest(("home.test",)), {"dns-01": Shown()}) for one in clients]
        return await asyncio.gather(*orders)

    issued = asyncio.run(together())
    assert len({one.serial for one in issued}) == 4
    assert len(shim.sent(NEW_ACCOUNT)) == 1


# -- keys and folders that are not as they should be -----------------------------------------------------------------


def test_a_key_that_others_can_read_is_closed_to_them_and_that_is_told(client):
    client.run_issue()
    folder = Folder(client)
    folder.key.chmod(0o644)
    folder.path.chmod(0o755)
    client.run_issue()
    assert (mode(folder.key), mode(folder.path)) == (0o600, 0o700)
    assert any("others could read" in note for note in client.notes)


@pytest.mark.parametrize(
    "damage", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_told_and_left_alone(client, shim, damage):
    client.run_issue()
    folder = Folder(client)
    folder.key.write_bytes(damage)
    before = len(shim.requests)
    with pytest.raises(ProviderError, match=r"^pebble: the account's key .*key\.pem cannot be used") as caught:
        client.run_issue()
    assert "aside" in caught.value.hint
    assert folder.key.read_bytes() == damage
    assert not [one for one in shim.requests[before:] if one.method == "POST"]


@pytest.mark.parametrize("kind", ["P-384", "RSA-2048"])
def test_a_key_of_another_kind_that_was_put_there_is_used(client, kind):
    folder = Folder(client)
    folder.path.mkdir(parents=True)
    key = key_pem(new_key(kind))
    folder.key.write_bytes(key)
    client.run_issue()
    assert folder.key.read_bytes() == key
    uri = folder.uri
    roll_over(client)
    assert client.run_issue().serial
    assert folder.key.read_bytes() != key
    assert folder.uri == uri


def test_a_registration_without_its_key_is_not_used(client, shim):
    client.run_issue()
    folder = Folder(client)
    uri = folder.uri
    folder.key.unlink()
    client.run_issue()
    assert folder.uri != uri
    assert len(shim.sent(NEW_ACCOUNT)) == 2


def test_a_folder_that_cannot_be_written_is_told_in_the_servers_name(client):
    client.accounts.write_text("in the way")
    with pytest.raises(StorageFullError, match="^pebble: cannot write "):
        client.run_issue()


# -- roll-over -------------------------------------------------------------------------------------------------------


def test_a_rolled_over_account_is_the_same_account_with_another_key(client):
    client.run_issue()
    folder = Folder(client)
    before, uri = folder.key.read_bytes(), folder.uri
    roll_over(client)
    assert folder.key.read_bytes() != before
    assert folder.uri == uri
    assert not folder.new_key.exists()
    assert mode(folder.key) == 0o600
    client.run_issue()


def test_an_answer_to_a_roll_over_that_was_lost_is_asked_for(client, shim):
    client.run_issue()
    folder = Folder(client)
    old = folder.key.read_bytes()
    shim.lose(KEY_CHANGE)
    with pytest.raises(UnavailableError):
        roll_over(client)
    new = folder.new_key.read_bytes()
    assert folder.key.read_bytes() == old
    client.run_issue()
    assert folder.key.read_bytes() == new
    assert not folder.new_key.exists()


def test_a_roll_over_that_did_not_land_is_undone(client, shim):
    client.run_issue()
    folder = Folder(client)
    old, uri = folder.key.read_bytes(), folder.uri
    shim.when(KEY_CHANGE, Answer(503))
    with pytest.raises(UnavailableError):
        roll_over(client)
    assert folder.new_key.exists()
    client.run_issue()
    assert (folder.key.read_bytes(), folder.uri) == (old, uri)
    assert not folder.new_key.exists()


def test_a_refusal_of_something_in_between_does_not_cost_the_account(client, shim):
    def blocked(_request, forward):
        forward()
        return Answer(403, b"<html>blocked</html>")

    client.run_issue()
    folder = Folder(client)
    before, uri = folder.key.read_bytes(), folder.uri
    shim.when(KEY_CHANGE, blocked)
    roll_over(client)
    client.run_issue()
    assert folder.key.read_bytes() != before
    assert folder.uri == uri


@pytest.mark.parametrize("answer", [Answer(503), problem(400, "malformed"), problem(429, "rateLimited"), Answer(404)])
def test_both_keys_stay_while_the_server_does_not_say_which_it_knows(client, shim, answer):
    client.run_issue()
    folder = Folder(client)
    shim.lose(KEY_CHANGE)
    with pytest.raises(UnavailableError):
        roll_over(client)
    new = folder.new_key.read_bytes()
    shim.when(NEW_ACCOUNT, answer)
    with pytest.raises(ProviderError):
        client.run_issue()
    assert folder.key.exists()
    assert folder.new_key.exists()
    client.run_issue()
    assert folder.key.read_bytes() == new


def test_a_roll_over_that_is_refused_leaves_the_old_key(client, shim):
    client.run_issue()
    folder = Folder(client)
    old = folder.key.read_bytes()
    shim.when(KEY_CHANGE, problem(400, "badPublicKey", "weak key"))
    with pytest.raises(ProviderError, match="^pebble: the account's new key: weak key"):
        roll_over(client)
    assert folder.key.read_bytes() == old
    assert not folder.new_key.exists()
    client.run_issue()


_RUN = """\
import asyncio, sys
from pathlib import Path
from autogit.model.acme import AcmeServer, CertificateRequest
from autogit.providers.ssl.acme_client import AcmeClient
from tests.providers.ssl.acme_world import Shown
url, ca_file, accounts, what = sys.argv[1:]
client = AcmeClient(AcmeServer("pebble", url, ca_file=ca_file), Path(accounts))
order = client.issue(CertificateRequest(("home.test",)), {"dns-01": Shown()})
asyncio.run(client.roll_over() if what == "roll-over" else order)
"""


def killed_at(shim, client, what, path, *, landed):
    """Run something in a process that is killed when a request of it comes, before or after that has landed."""
    running = []

    def kill(_request, forward):
        answer = forward() if landed else Answer(503)
        os.kill(running[0].pid, signal.SIGKILL)
        running[0].wait()
        return answer

    shim.when(path, kill)
    told = [shim.directory_url, str(shim.pebble.ca_file), str(client.accounts), what]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running.append(subprocess.Popen([sys.executable, "-c", _RUN, *told], env=environment, cwd=ROOT))
    assert running[0].wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("landed", [False, True])
def test_a_run_that_is_killed_while_it_makes_an_account_leaves_one_that_is_found(client, shim, landed):
    killed_at(shim, client, "issue", NEW_ACCOUNT, landed=landed)
    folder = Folder(client)
    key = folder.key.read_bytes()
    client.run_issue()
    assert folder.key.read_bytes() == key
    assert len(shim.sent(NEW_ACCOUNT)) == 2


def test_a_run_that_is_killed_before_it_wrote_down_which_key_counts_is_healed(client):
    client.run_issue()
    folder = Folder(client)
    written = folder.registration.read_bytes()
    roll_over(client)
    new = folder.key.read_bytes()
    folder.registration.write_bytes(written)
    client.run_issue()
    assert folder.key.read_bytes() == new
    assert folder.uri == json.loads(written)["uri"]


def test_two_roll_overs_at_once_leave_an_account_that_works(client):
    async def together():
        await asyncio.gather(client.roll_over(), client.roll_over())

    client.run_issue()
    folder = Folder(client)
    uri = folder.uri
    asyncio.run(together())
    client.run_issue()
    assert folder.uri == uri
    assert not folder.new_key.exists()


def test_an_account_that_another_process_holds_is_waited_for_and_then_told(client):
    client.run_issue()
    folder = Folder(client)
    with (folder.path / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = Account(client.server, client.accounts, None, lock_wait_seconds=0.1)
        with pytest.raises(UnavailableError, match="^pebble: another process") as caught:
            waiting.ensure()
    assert str(folder.path / "lock") in caught.value.hint


@pytest.mark.parametrize("landed", [False, True])
def test_a_run_that_is_killed_in_a_roll_over_is_healed_by_the_next(client, shim, landed):
    client.run_issue()
    folder = Folder(client)
    old, uri = folder.key.read_bytes(), folder.uri
    killed_at(shim, client, "roll-over", KEY_CHANGE, landed=landed)
    new = folder.new_key.read_bytes()
    client.run_issue()
    assert folder.key.read_bytes() == (new if landed else old)
    assert folder.uri == uri
    assert not folder.new_key.exists()


# -- closed ----------------------------------------------------------------------------------------------------------


def test_a_closed_account_is_followed_by_a_new_one(client):
    client.run_issue()
    folder = Folder(client)
    key, uri = folder.key.read_bytes(), folder.uri
    asyncio.run(client.deactivate())
    (kept,) = folder.path.glob("key.deactivated-*.pem")
    assert kept.read_bytes() == key
    with pytest.raises(MissingError, match="no account here"):
        asyncio.run(client.deactivate())
    client.run_issue()
    assert folder.uri != uri


def test_an_account_that_was_closed_elsewhere_is_told_and_not_made_again(client, tmp_path):
    client.run_issue()
    shutil.copytree(client.accounts, tmp_path / "copy")
    asyncio.run(Client(client.server, tmp_path / "copy").deactivate())
    folder = Folder(client)
    key = folder.key.read_bytes()
    with pytest.raises(ProviderAuthError, match="^pebble: ") as caught:
        client.run_issue()
    assert str(folder.path) in caught.value.hint
    folder.registration.unlink()
    with pytest.raises(ProviderAuthError, match="^pebble: ") as caught:
        client.run_issue()
    assert str(folder.path) in caught.value.hint
    assert folder.key.read_bytes() == key
