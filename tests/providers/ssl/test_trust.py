"""Trust: the root goes into the system's store by the system's own tool, and every way is shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autogit.errors import CertificateError
from autogit.providers.ssl.authority import Authority
from autogit.providers.ssl.trust import STORES, install_root, store_name, trust_instructions

DOMAIN = "home.example.org"


@pytest.fixture
def root(tmp_path, clock):
    authority = Authority(tmp_path / "ca", DOMAIN)
    authority.ensure(clock())
    return authority.root_file


def _store(tmp_path, monkeypatch, script="exit 0"):
    """A system store of one's own: a folder, and a program on PATH that takes the roots in."""
    folder, programs = tmp_path / "anchors", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    program = programs / "take-in"
    program.write_text(f"#!/bin/sh\necho ran > {tmp_path}/ran\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    return {"Test": (str(folder), ("take-in",))}, folder


def test_the_root_is_put_into_the_store_and_taken_in(root, tmp_path, monkeypatch):
    stores, folder = _store(tmp_path, monkeypatch)
    done = install_root(root, DOMAIN, stores=stores)
    assert (folder / "autogit-home.example.org.crt").read_bytes() == root.read_bytes()
    assert (tmp_path / "ran").exists()
    assert "take-in ran" in done[0]


def test_a_failing_tool_a_missing_store_and_a_missing_root_are_sentences(root, tmp_path, monkeypatch):
    stores, _ = _store(tmp_path, monkeypatch, "exit 1")
    with pytest.raises(CertificateError, match="take-in failed"):
        install_root(root, DOMAIN, stores=stores)
    with pytest.raises(CertificateError, match="no certificate store of a known kind"):
        install_root(root, DOMAIN, stores={"None": ("/nowhere", ("no-such-tool",))})
    with pytest.raises(CertificateError, match="no root"):
        install_root(tmp_path / "none.pem", DOMAIN, stores=stores)


def test_the_instructions_name_the_root_every_store_and_its_limits(root):
    text = "\n".join(trust_instructions(root, DOMAIN))
    for folder, command in STORES.values():
        assert folder in text
        assert command[0] in text
    assert f"curl --cacert {root}" in text
    assert "and for nothing else" in text


@pytest.mark.parametrize("domain", ["../../etc/x", "a b;rm -rf", "UPPER.org"])
def test_no_domain_makes_a_path_of_the_file_name(domain):
    assert "/" not in store_name(domain)
    assert " " not in store_name(domain)
    assert store_name(domain).startswith("autogit-")


def test_python_trusts_what_the_root_signed_and_refuses_it_without(root, tmp_path, clock):
    code = "import ssl,sys; c=ssl.create_default_context(cafile=sys.argv[1]); print(c.cert_store_stats()['x509_ca'])"
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
