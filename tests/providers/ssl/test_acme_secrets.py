"""Secrets of an account: external bindings, and a private key that is never sent, looked for on the wire."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from autogit.errors import ProviderAuthError
from autogit.providers.ssl.acme_certificate import key_pem, new_key
from tests.providers.ssl.acme_world import Client, Folder
from tests.providers.ssl.directory_shim import NEW_ACCOUNT, directory_shim, problem
from tests.providers.ssl.pebble import pebble_server

pytestmark = pytest.mark.integration
EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}


@pytest.fixture(scope="module")
def binding_pebble(tmp_path_factory):
    with pebble_server(tmp_path_factory.mktemp("binding"), always_valid=True, eab=EAB) as server:
        yield server


# -- external account binding ----------------------------------------------------------------------------------------


def test_an_account_is_bound_to_an_external_one(binding_pebble, tmp_path):
    ((kid, secret),) = EAB.items()
    for number, written in enumerate((secret, f" {secret}\n", secret + "==")):
        server = binding_pebble.server(eab_key_id=kid, eab_hmac_key=written)
        Client(server, tmp_path / str(number)).run_issue()
        assert secret not in repr(server)


@pytest.mark.parametrize(
    ("kid", "secret", "fault"),
    [
        ("", "", "external account binding only|External Account|external account"),
        ("kid-1", "b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH", "the account was refused: "),
        ("kid-9", EAB["kid-1"], "the account was refused: "),
        ("kid-1", "", "the HMAC key is missing"),
        ("", EAB["kid-1"], "the key id is missing"),
        ("kid-1", "not base64!", "it is not base64url"),
    ],
)
def test_a_binding_that_does_not_fit_is_refused_with_the_way_out(binding_pebble, tmp_path, kid, secret, fault):
    client = Client(binding_pebble.server(eab_key_id=kid, eab_hmac_key=secret), tmp_path)
    with pytest.raises(ProviderAuthError, match=f"^pebble: .*({fault})") as caught:
        client.run_issue()
    assert "ACME_EAB_HMAC_KEY" in caught.value.hint
    assert not secret or secret not in caught.value.message + caught.value.hint
    other = binding_pebble.server(eab_key_id=kid, eab_hmac_key=secret, eab_setting="ACME_FALLBACK_EAB")
    with pytest.raises(ProviderAuthError) as caught:
        Client(other, tmp_path).run_issue()
    assert "ACME_FALLBACK_EAB_HMAC_KEY" in caught.value.hint
    assert "ACME_EAB_" not in caught.value.hint


def test_a_server_that_cannot_be_asked_for_an_account_still_makes_one(binding_pebble, tmp_path):
    with directory_shim(binding_pebble) as shim:
        shim.when(NEW_ACCOUNT, problem(400, "malformed"))
        Client(shim.server(eab_key_id="kid-1", eab_hmac_key=EAB["kid-1"]), tmp_path).run_issue()
        asked = [set(one.payload) for one in shim.sent(NEW_ACCOUNT)]
    assert asked == [{"onlyReturnExisting"}, {"termsOfServiceAgreed", "externalAccountBinding"}]


def test_a_bound_account_needs_no_binding_to_be_found_again(binding_pebble, tmp_path):
    kid, secret = "kid-1", EAB["kid-1"]
    client = Client(binding_pebble.server(eab_key_id=kid, eab_hmac_key=secret), tmp_path)
    client.run_issue()
    known = Folder(client).registration.read_text()
    Folder(client).registration.unlink()
    Client(binding_pebble.server(), tmp_path).run_issue()
    assert json.loads(Folder(client).registration.read_text())["uri"] == json.loads(known)["uri"]


# -- the key stays here ----------------------------------------------------------------------------------------------


def secrets_of(pem):
    """All ways in which the private half of a key could be written."""
    key = load_pem_private_key(pem, None)
    numbers = key.private_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        raw = numbers.d.to_bytes(256, "big")
    else:
        raw = numbers.private_value.to_bytes((key.key_size + 7) // 8, "big")
    body = "".join(pem.decode().split("\n")[1:-2])
    return [base64.urlsafe_b64encode(raw).decode().rstrip("="), base64.b64encode(raw).decode(), raw.hex(), body]


@pytest.mark.parametrize("kind", ["P-256", "RSA-2048"])
def test_no_private_key_is_ever_sent(binding_pebble, tmp_path, kind):
    with directory_shim(binding_pebble) as shim:
        server = shim.server(email="one@home.test", eab_key_id="kid-1", eab_hmac_key=EAB["kid-1"])
        client = Client(server, tmp_path)
        folder = Folder(client)
        folder.path.mkdir(parents=True)
        folder.key.write_bytes(key_pem(new_key(kind)))
        issued = client.run_issue(key_type=kind)
        keys = [issued.key, folder.key.read_bytes()]
        asyncio.run(client.roll_over())
        keys.append(folder.key.read_bytes())
        changed = Client(shim.server(email="two@home.test"), tmp_path)
        keys.append(changed.run_issue(replaces=issued.fullchain).key)
        asyncio.run(changed.revoke(issued.fullchain, 1, issued.key))
        asyncio.run(changed.deactivate())
        sent = [f"{one.path}\n{one.headers}\n{one.body.decode()}\n" for one in shim.requests]
        read = [one.open_text for one in shim.requests if one.method == "POST"]
    wire = "\n".join(sent + read)
    assert len(set(keys)) == 4
    # What is looked for could be seen: the binding's inner key is in it.
    bound = next(text for text in read if '"kid-1"' in text)
    assert bound.count('"kty"') == 2
    assert '"oldKey"' in wire
    for name in ("d", "p", "q", "dp", "dq", "qi", "k"):
        assert f'"{name}":' not in wire
    for secret in [*(text for key in keys for text in secrets_of(key)), EAB["kid-1"]]:
        assert secret not in wire
