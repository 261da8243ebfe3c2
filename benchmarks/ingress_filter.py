"""What the prompt filter adds to a request: the same route through the real Traefik, with and without the middleware.

Run `python benchmarks/ingress_filter.py [--rounds 1000]`. A platform is brought up in a folder of its own, with a
backend that reads a body and answers at once. One client asks over one kept TLS connection, in turn (A B A B ...): `/x`
has the middleware, `/raw/x` is a bypass of that very route and has all others. `GET` has no body; a POST is JSON of
ordinary words. Ratios are of the medians; added is the difference of the medians. `judged` is the mean time within the
filter, as its own metrics have it: what it takes to read, judge and answer, without the way there and back.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.integration.conftest import Installation, end_installation, make_installation  # noqa: E402 - the paths first
from tests.integration.filter_lab import FORGE, HOST, JSON, Lab  # noqa: E402 - the same

WARM_UP = 50
WORDS = (
    "The pipeline fails on arm64 since the base image was changed last week; the log of the failed job is attached. "
    "We pinned the former tag in the build file and opened a merge request, so that others can go on until then. "
)
BACKEND = """
import asyncio, sys

async def serve(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            lines = head.lower().split(b"\\r\\n")
            length = next((int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=1 << 20)
    await server.serve_forever()

asyncio.run(main())
"""


def text_of(size: int) -> str:
    """Return an issue in JSON of about that many bytes."""
    return json.dumps({"title": "The build fails", "description": (WORDS * (size // len(WORDS) + 1))[:size]})


class Client:
    """One connection to the forge."""

    def __init__(self, installation: Installation) -> None:
        self._link = http.client.HTTPSConnection("127.0.0.1", timeout=60)
        self._link.sock = Lab(installation).connect()
        self._link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # http.client sends head and body apart

    def milliseconds(self, method: str, path: str, body: str | None) -> float:
        """Ask once. Raises AssertionError where the answer is another than the backend's."""
        began = time.perf_counter()
        self._link.request(method, path, body, {"Host": HOST, **(JSON if body else {})})
        answer = self._link.getresponse()
        said = answer.read()
        took = time.perf_counter() - began
        assert (answer.status, said) == (200, b"ok"), (answer.status, said)
        assert bool(answer.headers["X-AutoGit-Risk"]) == (body is not None and not path.startswith("/raw/"))
        return took * 1000


def measure(client: Client, method: str, body: str | None, rounds: int) -> dict[str, list[float]]:
    """Time both ways in turn, after some rounds that do not count."""
    found: dict[str, list[float]] = {"/x": [], "/raw/x": []}
    for turn in range(rounds + WARM_UP):
        for path, times in found.items():
            took = client.milliseconds(method, path, body)
            if turn >= WARM_UP:
                times.append(took)
    return found


def judged(lab: Lab) -> tuple[float, float]:
    """Return the seconds and the number of all that was judged."""
    return lab.metric("autogit_prompt_filter_seconds_sum"), lab.metric("autogit_prompt_filter_seconds_count")


def mean_since(former: tuple[float, float], now: tuple[float, float]) -> float:
    """Return the mean of what was judged in between, in milliseconds."""
    return (now[0] - former[0]) / max(now[1] - former[1], 1) * 1000


def row(name: str, found: dict[str, list[float]]) -> str:
    """Return one line of the table."""
    cuts = {path: statistics.quantiles(times, n=100) for path, times in found.items()}
    (with_50, with_99), (bare_50, bare_99) = ((cuts[path][49], cuts[path][98]) for path in ("/x", "/raw/x"))
    return (
        f"{name:<14} {bare_50:>7.2f} {bare_99:>7.2f}   {with_50:>7.2f} {with_99:>7.2f}   "
        f"{with_50 - bare_50:>+8.2f} ms   x {with_50 / bare_50:.2f}"
    )


def main() -> None:
    """Bring a platform up, time, print, take it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp(prefix="autogit-"))
    installation = make_installation(folder, SERVICES_ENABLED="forge,prompt-filter", PROMPT_FILTER="quarantine")
    try:
        installation.add_service("forge", FORGE.replace("NAME", "forge"), **{"forge.py": BACKEND})
        descriptor = installation.root / "overrides" / "services" / "forge" / "service.yml"
        descriptor.write_text(descriptor.read_text().replace("/healthz", "/raw/healthz"))
        installation.run("up")
        client = Client(installation)
        print("               without: p50    p99     with: p50     p99        added p50   ratio")
        lab = Lab(installation)
        for name, method, body, share in (
            ("GET", "GET", None, 1),
            ("POST 2 KB", "POST", text_of(2000), 1),
            ("POST 64 KB", "POST", text_of(64000), 10),
        ):
            former = judged(lab)
            found = measure(client, method, body, rounds // share)
            print(row(name, found), f"  judged {mean_since(former, judged(lab)):.2f} ms" if body else "")
    finally:
        end_installation(installation)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
