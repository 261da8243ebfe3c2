"""Secrets: generated once, never made anew, written only where one is read, and never shown."""

from __future__ import annotations

import asyncio
import json
import stat

import bcrypt
import pyrage
import pytest
from pydantic import SecretStr

from autogit.errors import RejectedError, SecretStoreError
from autogit.model.plan import Action
from autogit.model.resource import Address, Resource
from autogit.model.spec import SecretSpec
from autogit.providers.base import Scope
from autogit.providers.host.secrets import Secrets
from autogit.testing.contracts import ReconcilerContract

PASSWORD = "canary-password-4711"


def wish_for(name, given=None, file="", user="", length=32, version=1, fingerprint=""):
    source = "generated" if given is None else "given"
    attributes = {"source": source, "version": version, "file": file}
    attributes |= {"fingerprint": fingerprint} if fingerprint else {}
    spec = SecretSpec(name, "A password", length, given, user, version, fingerprint, file)
    return Resource(Address("secret", name), attributes, payload=spec)


class TestSecretsContract(ReconcilerContract):
    @pytest.fixture
    def provider(self, context):
        secrets = Secrets(context)
        secrets.store.ensure_identity()
        return secrets

    @pytest.fixture
    def wishes(self, context):
        file = str(context.paths.secrets / "WEB.v1.htpasswd")
        return [wish_for("DB"), wish_for("GIVEN", given=PASSWORD), wish_for("WEB", file=file, user="admin")]

    @pytest.fixture
    def other_wishes(self, context):
        file = str(context.paths.secrets / "WEB.v2.htpasswd")
        return [
            wish_for("DB", given=PASSWORD, version=2),
            wish_for("GIVEN", given="another", version=2),
            wish_for("WEB", None, file, "root", version=2),
        ]


@pytest.fixture
def secrets(context):
    return Secrets(context)


def _file_state(secrets, wish):
    (seen,) = asyncio.run(secrets.observe(Scope(desired={wish.address: wish})))
    return seen.attributes["file"]


def test_a_generated_secret_is_random_and_never_made_anew(secrets, carry_out):
    wish = wish_for("DB")
    carry_out(secrets, wish)
    first = secrets.reveal("DB")
    assert len(first) == 32
    assert first.isalnum()
    carry_out(secrets, wish, Action.UPDATE)
    assert secrets.reveal("DB") == first
    carry_out(secrets, wish_for("OTHER"))
    assert secrets.reveal("OTHER") != first
    assert secrets.list_names() == ("DB", "OTHER")


def test_a_given_secret_replaces_a_generated_one_and_shows_as_a_change(secrets, carry_out):
    carry_out(secrets, wish_for("DB"))
    fingerprints = secrets.fingerprints({"DB": SecretStr(PASSWORD)})
    wish = wish_for("DB", given=PASSWORD, version=2, fingerprint=fingerprints["DB"])
    (seen,) = asyncio.run(secrets.observe(Scope(desired={wish.address: wish})))
    assert wish.attributes["fingerprint"] != seen.attributes["fingerprint"]
    carry_out(secrets, wish, Action.UPDATE)
    assert secrets.reveal("DB") == PASSWORD
    assert secrets.fingerprints({}) == fingerprints
    assert PASSWORD not in repr(wish) + repr(seen) + json.dumps(dict(wish.attributes)) + repr(fingerprints)


@pytest.mark.parametrize(("user", "ending"), [("admin", ".htpasswd"), ("", "")], ids=["password file", "plain"])
def test_the_file_of_the_version_before_stays_for_going_back_and_older_ones_go(
    secrets, context, carry_out, user, ending
):
    for version in (1, 2, 3):
        file = context.paths.secrets / f"WEB.v{version}{ending}"
        carry_out(secrets, wish_for("WEB", f"password {version}", str(file), user, version=version))
    assert sorted(p.name for p in context.paths.secrets.iterdir()) == [f"WEB.v2{ending}", f"WEB.v3{ending}"]


def test_without_an_identity_nothing_is_known_and_nothing_is_made(secrets, context):
    assert secrets.fingerprints({"DB": SecretStr(PASSWORD)}) == {}
    assert not secrets.store.identity_path().exists()


def test_only_the_age_file_holds_the_value_and_only_its_owner_reads_it(secrets, context, carry_out):
    file = context.paths.secrets / "WEB.v1.htpasswd"
    outcome = carry_out(secrets, wish_for("WEB", given=PASSWORD, file=str(file), user="admin"))
    assert PASSWORD not in repr(outcome)
    for path in context.paths.root.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    user, _, hashed = file.read_text().strip().partition(":")
    assert user == "admin"
    assert bcrypt.checkpw(PASSWORD.encode(), hashed.encode())
    identity = secrets.store.identity_path()
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert pyrage.x25519.Identity.from_str(identity.read_text().splitlines()[-1])


def test_the_age_tool_of_anybody_opens_the_store(secrets, carry_out):
    carry_out(secrets, wish_for("DB", given=PASSWORD))
    line = secrets.store.identity_path().read_text().splitlines()[-1]
    plain = pyrage.decrypt(secrets.store.path.read_bytes(), [pyrage.x25519.Identity.from_str(line)])
    assert json.loads(plain) == {"schema": 1, "secrets": {"DB": PASSWORD}}


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (lambda p: p.unlink(), "missing"),
        (lambda p: p.chmod(0o644), "open to others"),
        (lambda p: p.write_text("admin:$2b$10$nonsense"), "differs"),
        (lambda p: p.write_text("root:" + p.read_text().partition(":")[2]), "differs"),
        (lambda p: p.write_bytes(b"\xff\xfe"), "unreadable"),
    ],
)
def test_a_damaged_password_file_is_seen_and_healed(secrets, context, carry_out, damage, state):
    file = context.paths.secrets / "WEB.v1.htpasswd"
    wish = wish_for("WEB", file=str(file), user="admin")
    carry_out(secrets, wish)
    value = secrets.reveal("WEB")
    damage(file)
    assert _file_state(secrets, wish) == state
    carry_out(secrets, wish, Action.UPDATE)
    assert _file_state(secrets, wish) == str(file)
    assert secrets.reveal("WEB") == value


def test_a_plain_secret_file_holds_exactly_the_value(secrets, context, carry_out):
    file = context.paths.secrets / "DB"
    wish = wish_for("DB", given=PASSWORD, file=str(file))
    carry_out(secrets, wish)
    assert file.read_text() == PASSWORD
    file.write_text("another")
    assert _file_state(secrets, wish) == "differs"


def test_a_password_that_bcrypt_would_cut_is_refused(secrets, context, carry_out):
    file = context.paths.secrets / "WEB.v1.htpasswd"
    outcome = carry_out(secrets, wish_for("WEB", given="x" * 73, file=str(file), user="admin"))
    assert isinstance(outcome.error, RejectedError)
    assert "72 bytes" in outcome.error.message
    assert not file.exists()


def test_a_deleted_secret_leaves_store_and_file(secrets, context, carry_out):
    file = context.paths.secrets / "WEB.v1.htpasswd"
    wish = wish_for("WEB", file=str(file), user="admin")
    carry_out(secrets, wish)
    carry_out(secrets, wish, Action.DELETE)
    assert not file.exists()
    assert secrets.list_names() == ()
    with pytest.raises(RejectedError, match="no secret called WEB"):
        secrets.reveal("WEB")


def test_many_secrets_at_once_are_all_kept(secrets):
    from autogit.model.plan import Change

    async def one(name):
        return [
            o async for o in secrets.apply([Change(Address("secret", name), Action.CREATE, "", after=wish_for(name))])
        ]

    async def all_at_once():
        return await asyncio.gather(*(one(f"S{n}") for n in range(12)))

    assert all(outcome.ok for (outcome,) in asyncio.run(all_at_once()))
    assert len(secrets.list_names()) == 12


class TestIdentity:
    @pytest.fixture
    def stored(self, secrets, carry_out):
        carry_out(secrets, wish_for("DB", given=PASSWORD))
        return secrets.store

    def _refused(self, store):
        before = store.path.read_bytes()
        with pytest.raises(SecretStoreError) as refused:
            store.load()
        assert PASSWORD not in str(refused.value) + refused.value.hint
        assert store.path.read_bytes() == before
        return refused.value

    def test_a_missing_identity_is_never_replaced_while_a_store_exists(self, stored):
        stored.identity_path().unlink()
        assert "is missing" in self._refused(stored).message
        with pytest.raises(SecretStoreError, match="is missing"):
            stored.ensure_identity()
        assert not stored.identity_path().exists()

    def test_another_identity_does_not_open_it(self, stored):
        stored.identity_path().write_text(f"{pyrage.x25519.Identity.generate()}\n")
        assert "another identity" in self._refused(stored).message

    def test_a_damaged_store_is_a_sentence(self, stored):
        stored.path.write_bytes(stored.path.read_bytes()[:-9])
        assert "damaged" in self._refused(stored).message

    def test_an_identity_that_others_can_read_is_refused(self, stored):
        stored.identity_path().chmod(0o640)
        assert self._refused(stored).hint.startswith("chmod 600")

    @pytest.mark.parametrize("content", ["", "hello", "AGE-SECRET-KEY-1BROKEN"])
    def test_a_file_without_an_identity_is_a_sentence(self, stored, content):
        stored.identity_path().write_text(content)
        assert "holds no age identity" in self._refused(stored).message

    def test_a_store_of_another_shape_or_a_newer_autogit_is_refused(self, stored):
        recipient = pyrage.x25519.Identity.from_str(stored.identity_path().read_text().splitlines()[-1]).to_public()
        stored.path.write_bytes(pyrage.encrypt(b'{"schema": 9, "secrets": {}}', [recipient]))
        assert "newer AutoGit" in self._refused(stored).message
        stored.path.write_bytes(pyrage.encrypt(b"[1]", [recipient]))
        assert "something else" in self._refused(stored).message

    def test_health_says_what_is_wrong(self, secrets, stored):
        assert asyncio.run(secrets.health()).detail == "1 secrets"
        stored.identity_path().unlink()
        health = asyncio.run(secrets.health())
        assert not health.ok
        assert "missing" in health.detail

    def test_the_identity_lies_in_the_home_folder_unless_told_otherwise(self, secrets, monkeypatch, tmp_path):
        monkeypatch.delenv("AUTOGIT_IDENTITY_FILE")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert secrets.store.identity_path() == tmp_path / ".config" / "autogit" / "identity.txt"
