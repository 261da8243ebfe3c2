"""Challenges through the real ingresses, which send everybody to https: real Traefik, real nginx, real Pebble."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.http01 import Http01Solver, StandaloneHttp01Solver
from autogit.providers.ssl.solvers.http_probe import Probe
from tests.providers.dns.bind import bind_server
from tests.providers.dns.dnsmasq_server import free_port
from tests.providers.ssl.solvers.authority_of_test import Authority, issue, write_certificate
from tests.tools import require_tool

pytestmark = pytest.mark.integration

_SETTLE_SECONDS = 30.0
NAMES = ["git.home.test", "home.test"]
STATIC = """\
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
entryPoints:
  web:
    address: 127.0.0.1:{http}
    http: {{redirections: {{entryPoint: {{to: websecure, scheme: https}}}}}}
  websecure: {{address: 127.0.0.1:{https}}}
providers: {{file: {{filename: {folder}/dynamic.yml}}}}
"""
DYNAMIC = """\
http:
  routers:
    acme: {{rule: 'PathPrefix(`/.well-known/acme-challenge/`)', entryPoints: [websecure], tls: {{}}, service: acme}}
  services: {{acme: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{port}'}}]}}}}}}
"""
NGINX = """\
daemon off; pid {folder}/pid; error_log stderr; {user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{http};
        location /.well-known/acme-challenge/ {{ alias {served}/; default_type application/octet-stream; }}
        location / {{ return 301 https://$host:{https}$request_uri; }}
    }}
    server {{
        listen 127.0.0.1:{https} ssl;
        ssl_certificate {folder}/own.pem; ssl_certificate_key {folder}/own.key;
        return 404;
    }}
}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The resolver that all ask, and the authority."""
    folder = tmp_path_factory.mktemp("ingress")
    options = ["allow-recursion { 127.0.0.1; };"]
    zones = {"home.test": ["* A 127.0.0.1", "@ A 127.0.0.1"]}
    with bind_server(folder / "bind", zones, options=options, recursion=True) as bind:
        authority = Authority(folder / "pebble", bind.server)
        yield bind, authority
        authority.stop()


@pytest.fixture
def probe(lab):
    bind, authority = lab
    ports = {80: authority.http_port, authority.tls_port: authority.tls_port}
    lookup = Lookup(LookupConfig(servers=(bind.server,)))
    return Probe(lookup, lambda address, port: (address, ports[port]), ports=tuple(ports))


@contextlib.contextmanager
def running(command, folder, *ports):
    """Run a program until it listens on its ports; it ends afterwards."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for port in ports:
            _await_port(process, port, folder)
        yield
    finally:
        process.terminate()
        process.wait(_SETTLE_SECONDS)


def _await_port(process, port, folder):
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}: {(folder / 'log').read_text()}")


def _await_route(port):
    """Traefik listens before it has read its routes; then nobody is behind this one yet, which is a 502."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + _SETTLE_SECONDS
    status = 0
    while status != 502:
        assert time.monotonic() < deadline, status
        link = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        with contextlib.suppress(OSError):
            link.request("GET", "/.well-known/acme-challenge/x")
            status = link.getresponse().status
        link.close()
        time.sleep(0.02)


def test_through_traefik_and_its_redirect(lab, probe, tmp_path):
    """The solver serves on a port of its own, Traefik leads there: first to https, with a certificate of nobody."""
    _, authority = lab
    port = free_port()
    told = {"http": authority.http_port, "https": authority.tls_port, "folder": tmp_path, "port": port}
    (tmp_path / "traefik.yml").write_text(STATIC.format(**told))
    (tmp_path / "dynamic.yml").write_text(DYNAMIC.format(**told))
    command = [require_tool("traefik"), f"--configFile={tmp_path / 'traefik.yml'}"]
    with running(command, tmp_path, authority.http_port, authority.tls_port):
        _await_route(authority.tls_port)
        solver = StandaloneHttp01Solver(port, "127.0.0.1", probe=probe)
        assert asyncio.run(issue(authority, NAMES, solver)) == NAMES


def test_through_nginx_that_serves_the_folder(lab, probe, tmp_path):
    """Its workers are another user where it is started as root: the files have to be everybody's to read."""
    _, authority = lab
    served = tmp_path / "challenges"
    told = {"http": authority.http_port, "https": authority.tls_port, "folder": tmp_path, "served": served}
    told["user"] = "user nobody nogroup;" if os.getuid() == 0 else ""
    write_certificate(tmp_path / "own.pem", tmp_path / "own.key")
    (tmp_path / "nginx.conf").write_text(NGINX.format(**told))
    for folder in (tmp_path, *tmp_path.parents):  # pytest's are its user's only
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    command = [require_tool("nginx"), "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    with running(command, tmp_path, authority.http_port, authority.tls_port):
        before = os.umask(0o077)
        try:
            assert asyncio.run(issue(authority, NAMES, Http01Solver(served, probe))) == NAMES
        finally:
            os.umask(before)
    assert list(served.iterdir()) == []
