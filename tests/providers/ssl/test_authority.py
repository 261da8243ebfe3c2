"""The local authority: name-constrained, ten years, and OpenSSL agrees with every claim."""

from __future__ import annotations

import stat
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from autogit.errors import CertificateError
from autogit.providers.ssl.authority import Authority, matches_key, private_pem, signed_by

DOMAIN = "home.example.org"
NAMES = (DOMAIN, f"*.{DOMAIN}")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca", DOMAIN)


def _verify(authority, leaf, host, tmp_path, clock):
    """Ask OpenSSL whether a leaf is good for a host under this root."""
    path = tmp_path / "leaf.pem"
    path.write_bytes(leaf.public_bytes(Encoding.PEM))
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(authority.root_file)]
    words += ["-attime", str(int(clock().timestamp())), "-verify_hostname", host, str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_the_root_can_vouch_for_its_domain_and_nothing_else(authority, clock):
    root, _ = authority.ensure(clock())
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert [name.value for name in constraints.value.permitted_subtrees] == [DOMAIN]
    assert {str(name.value) for name in constraints.value.excluded_subtrees} == {"0.0.0.0/0", "::/0"}
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert root.not_valid_after_utc - clock() == timedelta(days=3650)
    assert stat.S_IMODE(authority.key_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("host", [DOMAIN, f"api.{DOMAIN}"])
def test_openssl_takes_a_leaf_for_its_names(authority, clock, tmp_path, host):
    leaf, _, _ = authority.issue(NAMES, 90, clock())
    done = _verify(authority, leaf, host, tmp_path, clock)
    assert done.returncode == 0, done.stderr


def test_openssl_refuses_other_hosts_and_leafs_outside_the_constraint(authority, clock, tmp_path):
    leaf, _, _ = authority.issue(NAMES, 90, clock())
    assert "ostname mismatch" in _verify(authority, leaf, "example.org", tmp_path, clock).stderr
    evil, _, _ = authority.issue(("bank.example.com",), 90, clock())
    assert "permitted subtree violation" in _verify(authority, evil, "bank.example.com", tmp_path, clock).stderr


def test_a_leaf_is_p256_for_servers_and_ninety_days(authority, clock):
    leaf, root, key = authority.issue(NAMES, 90, clock())
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    assert leaf.public_key().curve.name == "secp256r1"
    assert leaf.not_valid_after_utc - clock() == timedelta(days=90)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [u.dotted_string for u in usage] == ["1.3.6.1.5.5.7.3.1"]
    assert signed_by(leaf, root)
    assert matches_key(leaf, private_pem(key))
    assert not matches_key(leaf, b"nonsense")


def test_a_leaf_never_outlives_its_root(authority, clock):
    authority.ensure(clock())
    clock.forward(3600)
    leaf, root, _ = authority.issue(NAMES, 90, clock())
    assert leaf.not_valid_after_utc == root.not_valid_after_utc


def test_the_root_stays_the_same_once_made(authority, clock):
    root, _ = authority.ensure(clock())
    before = authority.key_file.read_bytes()
    clock.forward(100)
    assert authority.ensure(clock())[0] == root
    assert authority.key_file.read_bytes() == before


def test_a_killed_first_issue_is_finished_with_the_same_key(authority, clock):
    authority.ensure(clock())
    before = authority.key_file.read_bytes()
    authority.root_file.unlink()
    authority.ensure(clock())
    assert authority.key_file.read_bytes() == before


def _damages():
    def other_key(a):
        a.key_file.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))

    def rsa_key(a):
        a.key_file.write_bytes(private_pem(rsa.generate_private_key(65537, 2048)))

    yield "is missing", lambda a: a.key_file.unlink()
    yield "cannot be read", lambda a: a.key_file.write_bytes(b"garbage")
    yield "belongs to another root", other_key
    yield "is of another type", rsa_key


@pytest.mark.parametrize(("what", "damage"), list(_damages()), ids=lambda x: x if isinstance(x, str) else "")
def test_an_unusable_key_is_a_sentence_and_nothing_is_made_anew(authority, clock, what, damage):
    authority.ensure(clock())
    root = authority.root_file.read_bytes()
    damage(authority)
    for ask in (authority.check, lambda: authority.ensure(clock())):
        with pytest.raises(CertificateError, match=what) as refused:
            ask()
        assert "restore" in refused.value.hint
    assert authority.root_file.read_bytes() == root


def test_a_damaged_root_is_a_sentence(authority, clock):
    authority.ensure(clock())
    authority.root_file.write_bytes(b"garbage")
    with pytest.raises(CertificateError, match="is damaged"):
        authority.ensure(clock())
    assert authority.root_file.read_bytes() == b"garbage"


def test_checking_makes_nothing(authority):
    authority.check()
    assert not authority.folder.exists()


def test_a_leaf_of_another_authority_is_not_signed_by_this_root(authority, clock, tmp_path):
    leaf, _, _ = Authority(tmp_path / "other", DOMAIN).issue(NAMES, 90, clock())
    assert not signed_by(leaf, authority.ensure(clock())[0])
