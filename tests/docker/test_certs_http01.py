"""CERT_CHALLENGE=http-01 in containers: the way from the published port to AutoGit on this host, or to its folder."""

from __future__ import annotations

import ipaddress
import json

import pytest

from tests.docker.platform import ROUTED, SERVICE, free_ports, platform_of
from tests.integration.certs_lab import handshake
from tests.providers.dns.bind import bind_server
from tests.providers.ssl.pebble import pebble_server

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pebble(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    with (
        bind_server(folder / "bind", {"host.test": ["* A 127.0.0.1"]}, recursion=True) as bind,
        pebble_server(folder / "pebble", dns=bind.server, http_port=free_ports(1)[0]) as server,
    ):
        yield server


def acme(pebble):
    return {"CERT_ISSUER": pebble.directory_url, "ACME_CA_FILE": pebble.ca_file, "CERT_CHALLENGE": "http-01"}


def serial(platform, pebble):
    return handshake(platform.https_port, "site.host.test", pebble.root().decode()).serial_number


@pytest.mark.parametrize("ingress", ["traefik", "nginx"])
def test_a_platform_that_runs_moves_to_http01_and_renews_through_its_ingress(engine, images, pebble, ingress):
    """It ran with its own authority: the way has to be laid under containers that serve."""
    settings = {"BASE_DOMAIN": "host.test", "HTTP_PORT": pebble.http_port, "INGRESS": ingress}
    with platform_of(engine, images, "site", **settings) as one:
        one.add("site", SERVICE, ROUTED)
        one.up()
        one.set(**acme(pebble))
        one.up()
        first = serial(one, pebble)
        assert "Nothing to do" in one.up().stdout
        one.run("certs", "renew", "--force")
        assert serial(one, pebble) != first
        told = json.loads(one.run("certs", "status", "--format", "json").stdout)["certificates"]
        assert [row["names"] for row in told] == [["site.host.test"]]
        folder = one.root / ".autogit" / "acme-challenges"
        assert (folder.stat().st_mode & 0o777, list(folder.iterdir())) == (0o755, [])
        if ingress == "traefik":
            (network,) = one.engine.api("GET", f"/networks/{one.name}_edge")["IPAM"]["Config"]
            target = f"http://{ipaddress.ip_network(network['Subnet'])[1]}:{one.lockfile['ports']['traefik/acme']}"
            assert target in (one.root / ".autogit/rendered/traefik/dynamic/acme.yml").read_text()
