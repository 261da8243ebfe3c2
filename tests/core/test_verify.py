"""Proof from outside, over real TLS: what counts as an answer, and which certificate is served."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autogit.core.verify import Verdict, await_routes, check_routes
from autogit.model.host import CertificateFacts
from autogit.providers.ssl.authority import Authority, private_pem

DOMAIN = "autogit.localhost"


class Ingress:
    """A TLS server on loopback with a certificate of a local authority; `answers` maps a host to a status."""

    def __init__(self, folder):
        self.answers, self.services = {}, {}
        authority = Authority(folder / "ca", DOMAIN)
        leaf, _, key = authority.issue((DOMAIN, f"*.{DOMAIN}"), 90, datetime.now(UTC))
        from cryptography.hazmat.primitives.serialization import Encoding

        pair = folder / "pair.pem"
        pair.write_bytes(leaf.public_bytes(Encoding.PEM) + private_pem(key))
        self.root, self.serial = authority.root_file, f"{leaf.serial_number:x}"
        ingress = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host = self.headers["Host"].partition(":")[0]
                self.send_response(ingress.answers.get(host, 404))
                self.send_header("X-Autogit-Service", ingress.services.get(host, host.partition(".")[0]))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def ingress(tmp_path):
    one = Ingress(tmp_path)
    yield one
    one.close()


def _spec(workbench, ingress):
    facts = CertificateFacts(1, "", (DOMAIN, f"*.{DOMAIN}"))
    workbench.facts = replace(workbench.facts, certificates={DOMAIN: facts})
    return workbench.spec(f"SERVICES_ENABLED=api,prometheus\nHTTPS_PORT={ingress.port}\n")


def _problems(spec, ingress):
    return {c.route.service: c.problem for c in asyncio.run(check_routes(spec, ingress.root))}


def test_a_route_that_another_service_answers_is_a_problem(workbench, ingress):
    spec = _spec(workbench, ingress)
    ingress.answers = {"api.autogit.localhost": 200, "prometheus.autogit.localhost": 401}
    ingress.services = {"api.autogit.localhost": "wiki", "prometheus.autogit.localhost": ""}
    assert _problems(spec, ingress) == {
        "api": "https://api.autogit.localhost is answered by wiki, not by api",
        "prometheus": "https://prometheus.autogit.localhost is answered by something else, not by prometheus",
    }


def test_a_route_is_proven_by_name_status_and_password(workbench, ingress):
    spec = _spec(workbench, ingress)
    ingress.answers = {"api.autogit.localhost": 200, "prometheus.autogit.localhost": 401}
    assert _problems(spec, ingress) == {"api": "", "prometheus": ""}
    assert asyncio.run(await_routes(spec, ingress.root, ingress.serial)) == Verdict()


@pytest.mark.parametrize(
    ("status", "problem"),
    [(404, "answers 404"), (502, "answers 502"), (200, ""), (302, ""), (401, "")],
)
def test_a_public_route_that_errs_is_a_problem(workbench, ingress, status, problem):
    ingress.answers = {"api.autogit.localhost": status, "prometheus.autogit.localhost": 401}
    assert _problems(_spec(workbench, ingress), ingress)["api"].endswith(problem)
    assert bool(_problems(_spec(workbench, ingress), ingress)["api"]) == bool(problem)


def test_a_protected_route_that_asks_for_no_password_is_a_problem(workbench, ingress):
    ingress.answers = {"api.autogit.localhost": 200, "prometheus.autogit.localhost": 200}
    assert "must ask for a password and answered 200" in _problems(_spec(workbench, ingress), ingress)["prometheus"]


def test_another_certificate_than_the_one_on_disk_is_a_problem(workbench, ingress):
    ingress.answers = {"api.autogit.localhost": 200, "prometheus.autogit.localhost": 401}
    spec = _spec(workbench, ingress)
    verdict = asyncio.run(await_routes(spec, ingress.root, "beef", budget_seconds=0.2))
    assert len(verdict.problems) == 2
    assert verdict.certificate == verdict.problems
    assert all(f"served with certificate {ingress.serial}, on disk is beef" in p for p in verdict.problems)


def test_a_route_that_errs_is_no_problem_of_the_certificate_and_an_unknown_root_is_one(workbench, ingress, tmp_path):
    ingress.answers = {"api.autogit.localhost": 502, "prometheus.autogit.localhost": 401}
    spec = _spec(workbench, ingress)
    verdict = asyncio.run(await_routes(spec, ingress.root, ingress.serial, budget_seconds=0.2))
    assert verdict == Verdict(("https://api.autogit.localhost answers 502",), ())
    other = Authority(tmp_path / "other", DOMAIN)
    other.ensure(datetime.now(UTC))
    verdict = asyncio.run(await_routes(spec, other.root_file, "", budget_seconds=0.2))
    assert len(verdict.certificate) == 2


def test_an_unknown_root_and_a_closed_port_are_sentences(workbench, ingress, tmp_path):
    spec = _spec(workbench, ingress)
    other = Authority(tmp_path / "other", DOMAIN)
    other.ensure(datetime.now(UTC))
    problems = [c.problem for c in asyncio.run(check_routes(spec, other.root_file))]
    assert all("does not answer:" in p for p in problems)
    closed = replace(spec, ports={**spec.ports, "traefik/https": 1})
    assert all("does not answer:" in c.problem for c in asyncio.run(check_routes(closed, ingress.root)))
    assert asyncio.run(check_routes(replace(spec, ports={}), ingress.root)) == ()
