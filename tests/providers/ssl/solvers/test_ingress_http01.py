"""Where an http-01 challenge is shown: in the ingress' place while it is down, through it while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import http.client
import http.server
import os
import socket
import subprocess
import sys
import threading

import pytest

from autogit.errors import UnavailableError
from autogit.model.acme import Challenge, HttpChallenges
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.ingress_http01 import IngressHttp01Solver
from tests.providers.dns.bind import bind_server
from tests.providers.dns.dnsmasq_server import free_port

pytestmark = pytest.mark.integration

PATH = "/.well-known/acme-challenge/"
SHOWN = [Challenge("http-01", f"{name}.home.test", f"{PATH}{name}", f"{name}.key") for name in ("git", "api")]


class Ingress:
    """Serves a folder's files, or passes on to a port, below the path of challenges; sends all else to https."""

    def __init__(self, port, *, folder=None, to=0):
        mine = self
        self.folder, self.to, self.hosts, self.asked = folder, to, [], threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mine.hosts.append(self.headers["Host"])
                mine.asked.set()
                status, body = mine.answer(self.path)
                self.send_response(status)
                if status == 308:
                    self.send_header("Location", f"https://{self.headers['Host']}:8443{self.path}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def answer(self, path):
        if path.startswith(PATH) and self.to:
            return asked(self.to, path) or (502, b"")
        if path.startswith(PATH) and self.folder and (file := self.folder / path.removeprefix(PATH)).is_file():
            return 200, file.read_bytes()
        return 308, b""

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def asked(port, path):
    """Status and body that a port answers with, None where nobody listens."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(link), contextlib.suppress(OSError):
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, answer.read()


class World:
    """A port for the ingress, one for challenges, a folder, and what was said."""

    def __init__(self, folder):
        self.port, self.listen_port = free_port(), free_port()
        self.folder, self.state_file, self.said = folder / "acme-challenges", folder / "challenges.json", []

    def solver(self, *, by_files=False, public=False, servers=("127.0.0.1:9",), way_seconds=10.0):
        place = HttpChallenges("127.0.0.1", "127.0.0.1", self.port, "127.0.0.1", 0 if by_files else self.listen_port)
        lookup = Lookup(LookupConfig(servers=servers))
        return IngressHttp01Solver(
            lambda: place,
            self.folder,
            self.state_file,
            lookup,
            public=public,
            progress=self.said.append,
            way_seconds=way_seconds,
        )

    def seen(self, port):
        return [asked(port, one.place) for one in SHOWN]

    def files(self):
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


ANSWERS = [(200, one.value.encode()) for one in SHOWN]


def test_while_nothing_listens_the_challenge_has_the_ingress_port_and_frees_it(world):
    async def run():
        solver = world.solver()
        await solver.present(SHOWN)
        try:
            return await asyncio.to_thread(world.seen, world.port)
        finally:
            await solver.clean(SHOWN)

    assert asyncio.run(run()) == ANSWERS
    assert world.seen(world.port) == [None, None], "the ingress can start there now"
    assert world.files() == []


def test_a_running_ingress_leads_to_the_port_of_challenges_which_is_open_no_longer_than_needed(world):
    async def run():
        solver = world.solver()
        await solver.present(SHOWN)
        try:
            return await asyncio.to_thread(world.seen, world.port)
        finally:
            await solver.clean(SHOWN)

    with Ingress(world.port, to=world.listen_port) as ingress:
        assert asyncio.run(run()) == ANSWERS
        assert {"git.home.test", "api.home.test"} <= set(ingress.hosts), "each name was asked for before the authority"
        assert world.seen(world.port) == [(502, b""), (502, b"")]
    assert world.seen(world.listen_port) == [None, None]


def test_an_ingress_that_serves_files_has_them_in_its_folder(world):
    async def run():
        solver = world.solver(by_files=True)
        await solver.present(SHOWN)
        try:
            assert (os.stat(world.folder).st_mode & 0o777, world.files()) == (0o755, ["api", "git"])
            return await asyncio.to_thread(world.seen, world.port)
        finally:
            await solver.clean(SHOWN)

    with Ingress(world.port, folder=world.folder):
        assert asyncio.run(run()) == ANSWERS
    assert world.files() == []


def test_an_ingress_that_learns_the_way_a_moment_later_is_waited_for(world):
    """Traefik reads a new file within a fraction of a second."""

    async def run(ingress):
        solver = world.solver()
        showing = asyncio.ensure_future(solver.present(SHOWN))
        await asyncio.to_thread(ingress.asked.wait, 10)
        assert not showing.done()
        ingress.to = world.listen_port
        await showing
        await solver.clean(SHOWN)

    with Ingress(world.port) as ingress:
        asyncio.run(run(ingress))


@pytest.mark.parametrize("by_files", [False, True])
def test_an_ingress_that_leads_elsewhere_is_told_before_the_authority_looks(world, by_files):
    async def run():
        solver = world.solver(by_files=by_files, way_seconds=0.1)
        try:
            await solver.present(SHOWN)
        finally:
            await solver.clean(SHOWN)

    with Ingress(world.port), pytest.raises(UnavailableError) as caught:
        asyncio.run(run())
    assert f"127.0.0.1:{world.port} does not show the challenge of git.home.test" in caught.value.message
    assert "redirects to https://git.home.test:8443" in caught.value.message
    assert "autogit logs" in caught.value.hint
    assert world.files() == []
    assert world.seen(world.listen_port) == [None, None]


def test_a_port_that_somebody_else_has_is_named_with_its_setting(world):
    with Ingress(world.port, to=world.listen_port), socket.create_server(("127.0.0.1", world.listen_port)):
        solver = world.solver()
        with pytest.raises(UnavailableError, match=f"cannot listen on port {world.listen_port}") as caught:
            asyncio.run(solver.present(SHOWN))
        asyncio.run(solver.clean(SHOWN))
    assert "PORT_TRAEFIK_ACME" in caught.value.hint


UNPRIVILEGED = """\
import asyncio, sys
from pathlib import Path
sys.path[:0] = {path!r}
from autogit.model.acme import Challenge, HttpChallenges
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.ingress_http01 import IngressHttp01Solver
place = HttpChallenges("127.0.0.9", "127.0.0.9", 80, "127.0.0.1", 0)
nobody = Lookup(LookupConfig())
solver = IngressHttp01Solver(lambda: place, Path("/x"), Path("/y"), nobody, public=False, progress=print)
try:
    asyncio.run(solver.present([Challenge("http-01", "a.test", "/.well-known/acme-challenge/t", "v")]))
except Exception as exc:
    print(type(exc).__name__, exc.message, "|", exc.hint)
"""


def without_low_ports():
    """Be somebody without CAP_NET_BIND_SERVICE from the next exec on (prctl(2): PR_CAPBSET_DROP), root or not."""
    ctypes.CDLL(None).prctl(24, 10, 0, 0, 0)


def test_a_user_who_may_not_have_port_80_is_told_the_ways_out():
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 80:
            pytest.skip("every user may listen on port 80 here")
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED.format(path=sys.path)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=without_low_ports,
    )
    assert done.stdout.startswith("RejectedError http-01: this user may not listen on port 80 |"), done
    assert "CERT_ISSUER=local for the first autogit up" in done.stdout


def test_for_a_public_authority_the_public_name_is_asked_too_and_only_told(world, tmp_path):
    """Behind a router that does not lead its own address back inside nobody can ask from inside."""

    async def run(servers):
        solver = world.solver(public=True, servers=servers)
        await solver.present(SHOWN[:1])
        await solver.clean(SHOWN[:1])

    zone = {"home.test": ["git A 127.0.0.9"]}  # nobody listens on port 80 there
    with bind_server(tmp_path / "bind", zone) as bind, Ingress(world.port, to=world.listen_port):
        asyncio.run(run((bind.server,)))
    assert any("git.home.test" in text and "127.0.0.9" in text for text in world.said), world.said


def test_what_a_killed_run_left_in_the_folder_is_taken_away(world):
    with Ingress(world.port, folder=world.folder):
        dying = world.solver(by_files=True)
        asyncio.run(dying.present(SHOWN))
        assert world.files() == ["api", "git"]
        dying._files._journal.release()  # what the kernel does to the lock of a run that is killed
        assert len(asyncio.run(world.solver(by_files=True).clean_leftovers())) == len(SHOWN)
    assert world.files() == []
