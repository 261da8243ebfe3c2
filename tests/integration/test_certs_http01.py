"""CERT_CHALLENGE=http-01 as a user sees it: the command line, a real Pebble and real ingresses; nobody writes into DNS.

Pebble asks the very port that the ingress listens on; the redirect to HTTPS stands there, too.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading

import pytest

from tests.integration.certs_lab import Authority, Lab, handshake
from tests.integration.conftest import free_ports
from tests.integration.dns_lab import BindZone
from tests.providers.dns.bind import bind_server
from tests.providers.ssl.directory_shim import CHALLENGE, Answer, directory_shim
from tests.providers.ssl.pebble import pebble_server
from tests.tools import require_tool

pytestmark = pytest.mark.integration

PATH = "/.well-known/acme-challenge/"
WEB = """\
service: web
summary: A small web server
subdomain: web
health_endpoint: /
ports: {http: {internal: 8000}}
routes: [{}]
sizing: {minimal: 0.1C/32M, homelab: 0.1C/32M, team: 0.1C/32M, production: 0.1C/32M}
runs:
  embedded: {program: python, arguments: ["-m", "http.server", "--bind", "127.0.0.1", "{{ ports.http }}"]}
"""


class NamesOnly(BindZone):
    """A zone whose names lead here, and which the project knows no way to write to."""

    def settings(self, _folder, **_told):
        return {"BASE_DOMAIN": self.name, "CERT_CHALLENGE": "http-01"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """BIND, and a Pebble that finds one port for all sites: they are up one after the other."""
    folder = tmp_path_factory.mktemp("lab")
    names = [f"host{number}.test" for number in range(4)]
    with (
        bind_server(folder / "bind", {name: ["* A 127.0.0.1"] for name in names}, recursion=True) as bind,
        pebble_server(folder / "pebble", dns=bind.server, http_port=free_ports(1)[0]) as pebble,
        directory_shim(pebble) as shim,
    ):
        lab = Lab(bind, Authority(pebble, shim), [])
        lab.free = [NamesOnly(bind, name) for name in names]
        yield lab


@pytest.fixture
def up(lab, request):
    """A site that came up from nothing with the ingress of the parameter: the first challenge is shown without it."""
    if request.param == "nginx":
        require_tool("nginx")
    with lab.site(HTTP_PORT=lab.authority.pebble.http_port, INGRESS_IP=None, INGRESS=request.param) as site:
        site.first_up = site.run("up", "--yes")
        yield site


def https_port(site):
    """Which ingress it is, the lockfile tells."""
    return next(number for name, number in site.home.lockfile["ports"].items() if name.endswith("/https"))


def served(site, host=""):
    """The certificate that the ingress serves for a host."""
    return handshake(https_port(site), host or site.host, "\n".join(site.authority.roots))


def is_well(site):
    """Assert that the newest certificate is served and that nothing is left of any challenge."""
    assert served(site).serial_number == site.stored().serial_number
    assert files_left(site) == []
    port = site.home.lockfile["ports"].get("traefik/acme")
    assert port is None or not listens(port)


def files_left(site):
    folder = site.home.root / ".autogit" / "acme-challenges"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


def names(site):
    return json.loads(site.certs("status", "--format", "json").stdout)["certificates"][0]["names"]


def plain(site, path):
    """Status and Location of plain HTTP on the port that the authority asks."""
    link = http.client.HTTPConnection("127.0.0.1", site.authority.pebble.http_port, timeout=10)
    with contextlib.closing(link):
        link.request("GET", path, headers={"Host": site.host})
        answer = link.getresponse()
        return answer.status, answer.getheader("Location")


@contextlib.contextmanager
def killed_while_it_is_shown(site):
    """Kill a renewal once it has told the authority to look, so that its challenge is out in the world."""
    told, over = threading.Event(), threading.Event()

    def dying(_request, _forward):
        told.set()
        over.wait(30)
        return Answer(503)

    site.authority.shim.when(CHALLENGE, dying)
    victim = site.home.start("certs", "renew", "--force")
    try:
        for _ in range(120):
            if told.wait(1) or victim.poll() is not None:
                break
        else:
            pytest.fail("it never came to its challenge")
        assert told.is_set(), f"it ended before its challenge: {victim.communicate()}"
        yield
    finally:
        victim.send_signal(signal.SIGKILL)
        over.set()
        site.said += victim.communicate()


@pytest.mark.parametrize("up", ["traefik", "nginx"], indirect=True)
def test_a_public_host_needs_no_dns_provider(up):
    """From nothing, renewed through the ingress, and killed while a challenge is shown."""
    site = up
    is_well(site)
    assert names(site) == [site.host], "the names of the services, and no wildcard"
    assert "Nothing to do" in site.run("up").stdout

    # The ingress runs now and leads the authority past its redirect, which stands for everything else.
    serial = served(site).serial_number
    site.certs("renew", "--force")
    is_well(site)
    assert served(site).serial_number != serial
    status, location = plain(site, "/healthz?a=1")
    assert (status in (301, 308), location) == (True, f"https://{site.host}:{https_port(site)}/healthz?a=1")
    status, location = plain(site, f"{PATH}nobody")
    assert (status >= 400, location) == (True, None)

    # A run that is killed while its challenge is shown leaves at most a file, and the next one takes that away.
    with killed_while_it_is_shown(site):
        port = site.home.lockfile["ports"].get("traefik/acme")
        assert files_left(site) or listens(port), "it was shown"
    assert served(site).serial_number == site.stored().serial_number
    site.certs("renew")
    is_well(site)


def test_a_running_platform_moves_to_http01_grows_by_a_name_and_moves_back(lab):
    with lab.site(HTTP_PORT=lab.authority.pebble.http_port, INGRESS_IP=None, CERT_ISSUER="local") as site:
        site.run("up", "--yes")
        assert "traefik/acme" not in site.home.lockfile["ports"]
        site.home.set(CERT_ISSUER=site.authority.shim.directory_url)
        rows = [line.split() for line in site.run("plan").stdout.splitlines()]
        changed = [row[1] for row in rows if row[:1] in (["+"], ["~"])]
        assert changed.index("file/traefik/dynamic/acme.yml") < changed.index(f"certificate/{site.zone.name}")
        assert "process/traefik" not in changed, "Traefik looks at its files: nobody is cut off"
        site.run("up", "--yes")
        is_well(site)
        assert names(site) == [site.host]

        # A name more is a certificate more: said in the plan, ordered through the running ingress.
        site.home.add_service("web", WEB)
        site.home.set(SERVICES_ENABLED="api,web")
        row = next(line for line in site.run("plan").stdout.splitlines() if "certificate/" in line)
        assert "its names differ" in row
        assert f"web.{site.zone.name}" in row
        waits = site.certs("renew").stdout
        assert "waits for autogit up" in waits
        site.run("up", "--yes")
        is_well(site)
        assert names(site) == [site.host, f"web.{site.zone.name}"]
        assert served(site, f"web.{site.zone.name}") == served(site)

        # Somebody took the port that challenges go to: the route moves with the renewal.
        port = site.home.lockfile["ports"]["traefik/acme"]
        with socket.create_server(("127.0.0.1", port)):
            done = json.loads(site.certs("renew", "--force", "--format", "json").stdout)["applied"]
        assert "file/traefik/dynamic/acme.yml" in [one["address"] for one in done]
        assert site.home.lockfile["ports"]["traefik/acme"] != port
        is_well(site)

        site.authority.roots.append(site.home.root_certificate.read_text())
        site.home.set(CERT_ISSUER="local")
        site.run("up", "--yes")
        assert not (site.home.root / ".autogit/rendered/traefik/dynamic/acme.yml").exists()
        status, location = plain(site, f"{PATH}nobody")
        assert (status in (301, 308), location) == (True, f"https://{site.host}:{https_port(site)}{PATH}nobody")
        assert names(site) == [site.zone.name, f"*.{site.zone.name}"]


def test_traefik_proves_by_http_itself_and_hands_over_to_autogit(lab):
    """Its own answer to challenges would come before AutoGit's, as long as it runs with its resolver."""
    with lab.site(HTTP_PORT=lab.authority.pebble.http_port, INGRESS_IP=None, CERT_MANAGER="traefik") as site:
        site.run("up", "--yes")
        assert served(site).serial_number, "Traefik's own"
        site.home.set(CERT_MANAGER=None)
        site.run("up", "--yes")
        is_well(site)
        assert names(site) == [site.host]
