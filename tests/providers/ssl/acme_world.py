"""What tests of the ACME client share: solvers, time that is in no hurry, clients and their files."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time

import dns.query
import dns.tsigkeyring
import dns.update

from autogit.model.acme import CertificateRequest
from autogit.providers.ssl.acme_account import account_folder
from autogit.providers.ssl.acme_client import AcmeClient

NAMES = ("home.test", "*.home.test")


class Sleeper:
    """Sleeps next to nothing and remembers what was wished; its clock goes on by what was wished."""

    def __init__(self):
        self.wished = []
        self._ahead = 0.0

    async def __call__(self, seconds):
        self.wished.append(seconds)
        self._ahead += seconds
        await asyncio.sleep(min(seconds, 0.02))

    def clock(self):
        return time.monotonic() + self._ahead


class Shown:
    """A solver that shows nothing to anybody: for a Pebble that believes everything."""

    def __init__(self, kind="dns-01"):
        self.kind = kind
        self.presented, self.cleaned = [], []

    async def present(self, challenges):
        self.presented.append(tuple(challenges))

    async def clean(self, challenges):
        self.cleaned.append(tuple(challenges))


class BindSolver(Shown):
    """Writes to a real BIND, as it is told by `value_of` (the true value without)."""

    def __init__(self, bind, value_of=lambda challenge: challenge.value):
        super().__init__()
        self.bind, self.value_of = bind, value_of

    async def present(self, challenges):
        await super().present(challenges)
        for one in challenges:
            self._change(lambda update, one=one: update.add(f"{one.place}.", 5, "TXT", self.value_of(one)))

    async def clean(self, challenges):
        await super().clean(challenges)
        for one in challenges:
            self._change(lambda update, one=one: update.delete(f"{one.place}.", "TXT", self.value_of(one)))

    def _change(self, change):
        key = self.bind.key
        ring = dns.tsigkeyring.from_text({key.name: key.secret})
        update = dns.update.Update("home.test", keyring=ring, keyname=key.name, keyalgorithm=key.algorithm)
        change(update)
        assert dns.query.tcp(update, "127.0.0.1", 5, self.bind.port).rcode() == 0


class HttpSolver(Shown):
    """Serves what it shows on a port, which a Pebble looks at for http-01."""

    def __init__(self, port):
        super().__init__("http-01")
        self.port = port
        self._pages = {}
        self._server = None

    async def present(self, challenges):
        await super().present(challenges)
        self._pages = {one.place: one.value for one in challenges}
        pages = self._pages

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page = pages.get(self.path, "").encode()
                self.send_response_only(200 if page else 404)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()

    async def clean(self, challenges):
        await super().clean(challenges)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class Client(AcmeClient):
    """A client with time in no hurry, which remembers its notes."""

    def __init__(self, server, accounts, **told):
        self.notes = []
        self.sleeper = Sleeper()
        given = {"sleep": self.sleeper, "clock": self.sleeper.clock, "note": self.notes.append}
        super().__init__(server, accounts, **{**given, **told})

    def run_issue(self, *names, solver=None, **request):
        """Issue, with a solver for all or one that shows nothing."""
        solvers = solver if callable(solver) or isinstance(solver, dict) else {"dns-01": solver or Shown()}
        return asyncio.run(self.issue(CertificateRequest(names or NAMES, **request), solvers))


class Folder:
    """The account's files of a client."""

    def __init__(self, client):
        self.path = account_folder(client.accounts, client.server.directory_url)
        self.key, self.new_key, self.registration = (
            self.path / name for name in ("key.pem", "key.new.pem", "regr.json")
        )

    @property
    def uri(self):
        return json.loads(self.registration.read_text())["uri"]
