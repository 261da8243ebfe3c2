"""An engine over the network: by TCP with TLS, with images that came as a file, and no registry."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.docker.platform import ROUTED, SERVICE, TEMPLATES, platform_of
from tests.docker.remote import open_remote

pytestmark = pytest.mark.integration

HINT = "hint: DOCKER_CERT_PATH is the folder of ca.pem, cert.pem, key.pem, all three of that engine's authority"


@pytest.fixture(scope="module")
def remote():
    with open_remote() as one:
        yield one


@pytest.fixture
def platform(engine, images, remote, monkeypatch):
    with platform_of(engine, images, "x") as one:
        one.add("x", SERVICE, ROUTED)
        # Companies set this for all that speaks HTTPS; an engine's authority is its own.
        one.environ["REQUESTS_CA_BUNDLE"] = str(remote.stranger / "ca.pem")
        yield one


def move_to(platform, remote):
    """Take the project to the other engine, whose own socket is not where that of another machine is."""
    platform.engine = remote.engine
    platform.change("socket-proxy", '"{{ docker_socket }}"', f'"{remote.engine.socket}"')
    config = TEMPLATES / "socket-proxy" / "config"
    shutil.copytree(config, platform.root / "overrides/services/socket-proxy/config", dirs_exist_ok=True)
    platform.set(DOCKER_HOST=remote.host, DOCKER_CERT_PATH=remote.client)


def test_a_platform_moves_to_an_engine_with_tls_and_without_a_registry(platform, remote):
    platform.up()
    entries = platform.lockfile["resources"]
    held = {name: entry["attributes"]["id"] for name, entry in entries.items() if name.startswith("image/")}
    assert set(held) == {"image/socket-proxy", "image/traefik", "image/x"}
    assert "3 images, " in platform.run("images", "save", "images.tar").stdout
    platform.run("down")

    move_to(platform, remote)
    noted = platform.run("plan").stdout
    assert "engine: the engine is reached over the network" in noted
    assert len(re.findall(r"! image/\S+: .* cannot be pulled: its registry cannot be reached", noted)) == 3
    loaded = platform.run("images", "load", "images.tar").stdout
    assert loaded.count("loaded autogit-test/") == 3
    platform.up()
    assert {f"image/{name.removesuffix('-1')}": raw["Image"] for name, raw in platform.containers().items()} == held
    assert platform.get("x").status == 200
    assert {s["status"] for s in platform.json("status")["services"]} == {"healthy"}
    assert "Nothing to do" in platform.up().stdout
    assert "stand-in" in platform.run("logs", "x").stdout


def test_an_engine_that_wants_a_certificate_says_so(platform, remote):
    platform.set(DOCKER_HOST=remote.host)
    failed = platform.run("plan", expect=1).stderr
    assert f"error[unavailable]: docker: the engine at {remote.host} does not answer: it speaks TLS" in failed
    assert HINT in failed
    assert remote.host in platform.run("doctor", expect=None).stdout


def test_certificates_that_do_not_fit_are_told_apart(platform, remote, tmp_path):
    def files(**from_whom):
        """A folder of certificates, each from one of the two authorities, or with what is said here."""
        folder = tmp_path / "-".join(f"{name}-{whose}" for name, whose in from_whom.items())
        shutil.copytree(remote.client, folder)
        for name, whose in from_whom.items():
            known = remote.stranger / f"{name}.pem"
            (folder / f"{name}.pem").write_bytes(known.read_bytes() if whose == "stranger" else whose.encode())
        return folder

    for folder, why in (
        (files(ca="stranger"), "its certificate is not of the authority in ca.pem"),
        (files(key="stranger"), "key.pem does not belong to cert.pem"),
        (files(key="rubbish"), "ca.pem, cert.pem or key.pem is damaged"),
        # Where the connection is closed before the reason came, there is none.
        (files(cert="stranger", key="stranger"), "it does not take the certificate in cert.pem|the connection broke"),
    ):
        platform.set(DOCKER_HOST=remote.host, DOCKER_CERT_PATH=folder)
        failed = platform.run("plan", expect=1).stderr
        assert re.search(f"the engine at {remote.host} does not answer: ({why})", failed), failed


def test_a_missing_certificate_is_named(platform, remote, tmp_path):
    shutil.copy(remote.client / "ca.pem", tmp_path)
    platform.set(DOCKER_HOST=remote.host, DOCKER_CERT_PATH=tmp_path)
    failed = platform.run("plan", expect=1).stderr
    assert f"docker: DOCKER_CERT_PATH={tmp_path} has no cert.pem, key.pem\n" in failed
    assert HINT in failed
