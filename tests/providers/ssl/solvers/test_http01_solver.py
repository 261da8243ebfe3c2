"""The http-01 solvers against real Pebble and real BIND, through a web server that redirects to https."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from acme import errors

from autogit.errors import ProviderError, RejectedError, StorageFullError, UnavailableError
from autogit.model.acme import Challenge
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.http01 import Http01Solver, StandaloneHttp01Solver
from autogit.providers.ssl.solvers.http_probe import Probe
from tests.providers.dns.bind import bind_server
from tests.providers.dns.dnsmasq_server import free_port
from tests.providers.ssl.solvers.authority_of_test import Authority, issue, reason, write_certificate

pytestmark = pytest.mark.integration

PATH = "/.well-known/acme-challenge/"
ADDRESSES = ["* A 127.0.0.1", "@ A 127.0.0.1", "dead A 127.0.0.1", "dead AAAA ::1", "nowhere TXT none"]


@pytest.fixture(scope="module")
def bind(tmp_path_factory):
    options = ["allow-recursion { 127.0.0.1; };"]
    folder = tmp_path_factory.mktemp("http") / "bind"
    with bind_server(folder, {"home.test": ADDRESSES}, recursion=True, options=options) as made:
        yield made


@pytest.fixture(scope="module")
def authority(bind, tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("http") / "pebble", bind.server)
    yield made
    made.stop()


class Ingress:
    """Serves a folder's challenges on one port, or sends everybody to https on another; can answer otherwise."""

    def __init__(self, folder, port, tls_port, tls_folder):
        self.folder, self.answer, self.to, self.asked = folder, None, "", []
        certificate, key = tls_folder / "ingress.pem", tls_folder / "ingress.key"
        write_certificate(certificate, key, "not-this-name.test")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._servers = [self._serve(port), self._serve(tls_port, context)]

    def stop(self):
        for server, thread in self._servers:
            server.shutdown()
            server.server_close()
            thread.join(10)

    def _serve(self, port, context=None):
        mine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            is_tls = context is not None

            def do_GET(self):
                mine.asked.append((self.is_tls, self.headers["Host"], self.path))
                if mine.answer is not None:
                    status, body, headers = mine.answer
                elif mine.to and not self.is_tls:
                    status, body, headers = 301, b"", {"Location": mine.to.format(path=self.path)}
                else:
                    status, body, headers = self.file()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def file(self):
                path = mine.folder / self.path.removeprefix(PATH)
                return (200, path.read_bytes(), {}) if path.is_file() else (404, b"no such page", {})

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.handle_error = lambda *_: None
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        return server, thread


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "served" / "challenges"


@pytest.fixture
def ingress(folder, authority, tmp_path):
    made = Ingress(folder, authority.http_port, authority.tls_port, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def probe(bind, authority):
    """Asks what the authority asks: its ports are 80 and 443 here."""
    ports = {80: authority.http_port, 443: authority.tls_port, authority.tls_port: authority.tls_port}
    lookup = Lookup(LookupConfig(servers=(bind.server,)))
    usual = {"reach": lambda address, port: (address, ports[port]), "timeout_seconds": 2.0}
    return lambda **told: Probe(lookup, **usual | told)


def proof(value="token.thumb", token="token", name="git.home.test"):
    return Challenge("http-01", name, PATH + token, value)


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_names_are_issued_and_nothing_stays(folder, ingress, authority, probe):
    solver = Http01Solver(folder, probe())
    names = ["git.home.test", "home.test", "www.home.test"]
    seen = []

    async def meanwhile(_challenges):
        seen.extend(path.stat().st_mode & 0o777 for path in folder.iterdir())

    assert asyncio.run(issue(authority, names, solver, meanwhile=meanwhile)) == names
    assert seen == [0o644] * 3
    assert (files(folder), files(folder.parent)) == (
        [],
        ["challenges", "challenges.http-01.json", "challenges.http-01.json.lock"],
    )
    assert json.loads((folder.parent / "challenges.http-01.json").read_text())["entries"] == []


def test_the_redirect_of_the_ingress_is_followed_without_verifying(folder, ingress, authority, probe):
    """Everything is sent to https, whose certificate is another name's: that is why one is ordered."""
    port = authority.tls_port  # Pebble follows to its own ports only
    ingress.to = f"https://git.home.test:{port}{{path}}"
    solver = Http01Solver(folder, probe(ports=(80, port)))
    assert asyncio.run(issue(authority, ["git.home.test"], solver)) == ["git.home.test"]
    ours = [one for one in ingress.asked if one[0]]
    assert len(ours) >= 2  # the probe and the authority
    assert {one[1] for one in ours} == {f"git.home.test:{port}"}


def test_a_redirect_to_https_is_followed_to_port_443_of_another_name(folder, ingress, probe):
    ingress.to = "https://www.home.test{path}"
    asyncio.run(Http01Solver(folder, probe()).present([proof()]))
    assert ingress.asked[-1] == (True, "www.home.test", PATH + "token")


def test_the_ingress_reads_the_files_whatever_the_umask(folder):
    before = os.umask(0o077)
    try:
        asyncio.run(Http01Solver(folder).present([proof()]))
    finally:
        os.umask(before)
    assert (folder / "token").stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder.parent / "challenges.http-01.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, b"no such page", {}), "answers http://git.home.test/.well-known/acme-challenge/token with 404 and"),
        ((200, b"Welcome to the router", {}), "with 200 and 'Welcome to the router'"),
        ((200, b"token.of-another-account", {}), "with 200 and 'token.of-another-account'"),
        ((200, b"x" * 4000, {}), "with 200 and 'xxxxx"),
        ((503, b"", {}), "with 503"),
    ],
    ids=["not found", "another server", "another account", "long", "down"],
)
def test_what_is_seen_instead_is_said_before_the_authority_is_asked(folder, ingress, probe, answer, said):
    ingress.answer = answer
    with pytest.raises(RejectedError) as caught:
        asyncio.run(Http01Solver(folder, probe()).present([proof()]))
    assert caught.value.message.startswith("http-01: git.home.test does not show the challenge: 127.0.0.1 answers")
    assert said in caught.value.message
    assert len(caught.value.message) < 400
    assert "port 80 of git.home.test has to lead to" in caught.value.hint


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("http://git.home.test:8080{path}", "authorities follow redirects to the ports 80 and 443 only"),
        ("https://127.0.0.1{path}", "authorities do not follow redirects to addresses"),
        ("ftp://git.home.test{path}", "which is neither http nor https"),
        ("http://git.home.test{path}", "redirects more than 10 times"),
        ("https://nowhere.home.test{path}", "nowhere.home.test has no address"),
        ("http://git.home.test:x{path}", "which is no URL"),
    ],
)
def test_a_redirect_that_no_authority_follows_is_said(folder, ingress, probe, to, said):
    ingress.to = to
    with pytest.raises(UnavailableError, match=said):
        asyncio.run(Http01Solver(folder, probe()).present([proof()]))


def test_nobody_answers_on_port_80(folder, probe):
    with pytest.raises(UnavailableError, match=r"nobody shows the challenge at git\.home\.test: 127") as caught:
        asyncio.run(Http01Solver(folder, probe()).present([proof()]))
    assert "does not lead its own address back inside" in caught.value.hint


def test_a_port_that_speaks_something_else_is_said(folder, authority, probe):
    with socket.create_server(("127.0.0.1", authority.http_port)) as listening:

        def speak():
            link, _ = listening.accept()
            with link:
                link.recv(1000)
                link.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(UnavailableError, match="something that is not HTTP"):
            asyncio.run(Http01Solver(folder, probe()).present([proof()]))
        thread.join()


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_port_that_takes_a_connection_and_says_nothing_is_said(folder, authority, probe, is_tls):
    """A firewall, or a tunnel whose other end is gone; asked by http, and after a redirect."""
    with contextlib.ExitStack() as held:
        if is_tls:
            tls = held.enter_context(socket.create_server(("127.0.0.1", authority.tls_port)))
            web = held.enter_context(socket.create_server(("127.0.0.1", authority.http_port)))
            thread = threading.Thread(target=redirect_once, args=(web,))
            thread.start()
            held.callback(thread.join)
            assert tls
        else:
            held.enter_context(socket.create_server(("127.0.0.1", authority.http_port)))
        said = rf"127\.0\.0\.1 does not answer http{'s' if is_tls else ''}://git\.home\.test/.* within 0\.5 s"
        with pytest.raises(UnavailableError, match=said):
            asyncio.run(Http01Solver(folder, probe(timeout_seconds=0.5)).present([proof()]))


def redirect_once(listening):
    link, _ = listening.accept()
    with link:
        link.recv(1000)
        link.sendall(b"HTTP/1.1 301 Moved\r\nLocation: https://git.home.test/x\r\nContent-Length: 0\r\n\r\n")


def test_no_tls_where_a_redirect_leads_is_said(folder, ingress, authority, probe):
    """https on a port that speaks http: a common slip with port forwarding."""
    ingress.to = "https://git.home.test{path}"
    plain = probe(reach=lambda address, _: (address, authority.http_port))
    with pytest.raises(UnavailableError, match="has no TLS to follow to https://git.home.test/"):
        asyncio.run(Http01Solver(folder, plain).present([proof()]))


def test_a_self_check_that_only_warns_lets_the_authority_decide(folder, probe):
    """Behind a router that does not lead its own address back inside."""
    said = []
    solver = Http01Solver(folder, probe(strict=False), progress=said.append)
    asyncio.run(solver.present([proof()]))
    assert len(said) == 1
    assert "nobody shows the challenge at git.home.test" in said[0]
    assert files(folder) == ["token"]


def test_a_name_without_an_address_is_said(folder, probe):
    with pytest.raises(UnavailableError, match=r"http-01: nowhere\.home\.test cannot be asked: .*no address"):
        asyncio.run(Http01Solver(folder, probe()).present([proof(name="nowhere.home.test")]))


def test_one_dead_address_of_two_is_told(folder, ingress, probe):
    """A dead AAAA: an authority tries it first, and then the other."""
    said = []
    asyncio.run(Http01Solver(folder, probe(), progress=said.append).present([proof(name="dead.home.test")]))
    assert len(said) == 1
    assert said[0].startswith("http-01: ::1 cannot be asked for http://dead.home.test/")


def test_all_names_that_are_wrong_are_said_at_once(folder, ingress, probe):
    ingress.answer = (404, b"", {})
    names = ["a.home.test", "b.home.test"]
    with pytest.raises(RejectedError, match=r"a\.home\.test does not show .*; b\.home\.test does not show"):
        asyncio.run(Http01Solver(folder, probe()).present([proof(name=name, token=name[0]) for name in names]))


def test_what_is_cleaned_are_exactly_its_files(folder):
    (folder / "deep").mkdir(parents=True)
    (folder / "of-another-client").write_text("theirs")
    solver = Http01Solver(folder)
    asyncio.run(solver.present([proof(), proof(token="other")]))
    asyncio.run(solver.clean([proof()]))
    assert files(folder) == ["deep", "of-another-client", "other"]
    for _ in range(2):
        asyncio.run(solver.clean([proof(), proof(token="other")]))
    assert files(folder) == ["deep", "of-another-client"]


KILLED = """\
import asyncio, os, signal, sys
from pathlib import Path
from autogit.model.acme import Challenge
from autogit.providers.ssl.solvers.http01 import Http01Solver
folder = Path(sys.argv[1])
wanted = [Challenge("http-01", "a.test", "/.well-known/acme-challenge/" + token, "x") for token in ("one", "two")]
asyncio.run(Http01Solver(folder).present(wanted))
(folder / ".two.half").write_text("a temporary file")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_removed_by_the_next(folder):
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode < 0
    assert files(folder) == [".two.half", "one", "two"]
    running = Http01Solver(folder)
    asyncio.run(running.present([proof(token="three")]))
    assert files(folder) == ["three"]
    assert asyncio.run(Http01Solver(folder).clean_leftovers()) == ()  # that run goes on
    asyncio.run(running.clean([proof(token="three")]))
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    removed = asyncio.run(Http01Solver(folder).clean_leftovers())
    assert sorted(one.place for one in removed) == ["one", "two"]
    assert files(folder) == []


@pytest.mark.parametrize(
    "place",
    [
        PATH + "../../etc/passwd",
        PATH,
        "/elsewhere/token",
        PATH + "a/b",
        PATH + ".hidden",
        PATH + "a b",
        PATH + "é",
        PATH + "x" * 300,
        "token",
    ],
)
def test_a_token_that_is_none_becomes_no_file(folder, place):
    """What an authority says is not trusted with the file system."""
    for solver in (Http01Solver(folder), StandaloneHttp01Solver(0, "127.0.0.1")):
        with pytest.raises(RejectedError, match="which is no path of a challenge"):
            asyncio.run(solver.present([Challenge("http-01", "a.test", place, "x")]))
    assert not folder.exists()


def test_a_challenge_of_dns_is_refused(folder):
    with pytest.raises(RejectedError, match=r"http-01: a\.test is to be shown by dns-01"):
        asyncio.run(Http01Solver(folder).present([Challenge("dns-01", "a.test", "_acme-challenge.a.test", "x")]))


def test_a_folder_that_cannot_be_made_is_said(folder):
    folder.parent.mkdir()
    folder.write_text("a file")
    with pytest.raises(StorageFullError, match="cannot make"):
        asyncio.run(Http01Solver(folder).present([proof()]))


def test_a_file_that_cannot_be_removed_is_said_and_remembered(folder):
    solver = Http01Solver(folder)
    asyncio.run(solver.present([proof(), proof(token="other")]))
    (folder / "token").unlink()
    (folder / "token").mkdir()  # as root, no mode forbids it
    with pytest.raises(ProviderError, match=r"http-01: challenge files could not be removed: .*token"):
        asyncio.run(solver.clean([proof(), proof(token="other")]))
    assert files(folder) == ["token"]
    (folder / "token").rmdir()
    (left,) = asyncio.run(Http01Solver(folder).clean_leftovers())
    assert left.place == "token"


@pytest.fixture
def standalone(authority):
    made = []

    def solver(port=authority.http_port, address="127.0.0.1", **told):
        made.append(StandaloneHttp01Solver(port, address, **told))
        return made[-1]

    yield solver
    for one in made:
        asyncio.run(one.clean([Challenge("http-01", "", place, "") for place in list(one._answers)]))


def ask(port, path, method="GET", host="127.0.0.1"):
    link = http.client.HTTPConnection(host, port, timeout=5)
    try:
        link.request(method, path)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


def test_standalone_names_are_issued_and_the_port_is_free_again(standalone, authority, probe):
    names = ["git.home.test", "www.home.test"]
    assert asyncio.run(issue(authority, names, standalone(probe=probe()))) == names
    with socket.create_server(("127.0.0.1", authority.http_port)):
        pass


def test_standalone_serves_these_paths_and_nothing_else(standalone):
    solver = standalone(0)
    asyncio.run(solver.present([proof()]))
    assert ask(solver.port, PATH + "token") == (200, b"token.thumb")
    assert ask(solver.port, PATH + "token", "HEAD") == (200, b"")
    for path in (
        "/",
        PATH,
        PATH + "other",
        "/etc/passwd",
        PATH + "token/..",
        PATH + "token?x=1",
    ):
        assert ask(solver.port, path) == (404, b""), path
    for method in ("POST", "PUT", "DELETE"):
        assert ask(solver.port, PATH + "token", method)[0] == 501, method


def test_standalone_serves_while_something_is_presented(standalone):
    solver = standalone(0)
    asyncio.run(solver.present([]))
    assert solver.port == 0
    asyncio.run(solver.present([proof()]))
    asyncio.run(solver.present([proof(token="other", value="other.thumb")]))
    asyncio.run(solver.clean([proof()]))
    assert ask(solver.port, PATH + "token")[0] == 404
    assert ask(solver.port, PATH + "other") == (200, b"other.thumb")
    for _ in range(2):
        asyncio.run(solver.clean([proof(token="other")]))
    with pytest.raises(OSError):
        ask(solver.port, PATH + "other")


def test_standalone_answers_both_families_and_somebody_who_is_slow(standalone):
    solver = standalone(0, "")
    asyncio.run(solver.present([proof()]))
    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(socket.create_connection(("127.0.0.1", solver.port))).sendall(b"GET /")
        assert ask(solver.port, PATH + "token") == (200, b"token.thumb")
        if socket.has_dualstack_ipv6():
            assert ask(solver.port, PATH + "token", host="::1") == (200, b"token.thumb")
        asyncio.run(solver.clean([proof()]))


def test_standalone_a_port_that_is_taken_is_said(standalone):
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"http-01: cannot listen on port {port} of 127\.0\.0\.1") as caught:
            asyncio.run(standalone(port).present([proof()]))
    assert "ingress" in caught.value.hint


def test_the_authoritys_own_reason_is_there_where_nothing_was_checked(folder, ingress, authority):
    """Without a probe the authority is the first to see that it is wrong; the files go all the same."""
    ingress.answer = (404, b"no such page", {})
    with pytest.raises(errors.ValidationError) as caught:
        asyncio.run(issue(authority, ["git.home.test"], Http01Solver(folder)))
    assert "404" in reason(caught.value)
    assert files(folder) == []
