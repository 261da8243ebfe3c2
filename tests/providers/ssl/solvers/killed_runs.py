"""A script: kills runs of a solver with SIGKILL before and after every step, and has the next run follow each.

Reads on stdin how to reach a server that takes dynamic updates; writes as JSON what was in the zone after each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import dns.message
import dns.query

from autogit.model.acme import Challenge
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.rfc2136 import Rfc2136Config, Rfc2136DNS
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.dns.world.resolvers import LookupConfig
from autogit.providers.ssl.solvers.dns01 import Dns01Solver

PLACE = "_acme-challenge.kill.test"
_STEPS = {"list_zones", "find_record", "add_txt", "remove_txt", "note", "forget", "orphans", "release"}
_CONSTANTLY = 60


class Mortal:
    """Counts the steps of a provider and of a journal, and ends the process at one of them."""

    def __init__(self, inner, count):
        self._inner, self._count = inner, count

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name not in _STEPS:
            return found
        if asyncio.iscoroutinefunction(found):

            async def step(*args):
                self._count.before()
                done = await found(*args)
                self._count.after()
                return done

        else:

            def step(*args):
                self._count.before()
                done = found(*args)
                self._count.after()
                return done

        return step


class Count:
    """Dies at the n-th step, before it or after it."""

    def __init__(self, at, *, is_after):
        self.left, self.is_after = at, is_after

    def before(self):
        self.left -= 1
        if self.left == 0 and not self.is_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def solver_of(told, count):
    root = Path(told["folder"])
    config = Rfc2136Config(
        server=told["server"], zones="kill.test", key_name="autogit", key_secret=told["secret"], private=True
    )
    provider = Rfc2136DNS(ProviderContext(ProjectPaths(root, root / ".env")), config)
    lookup = Lookup(LookupConfig(servers=(told["server"],)))
    solver = Dns01Solver(Mortal(provider, count), lookup, state_file=root / "challenges.json")
    solver._journal = Mortal(solver._journal, count)
    return solver


async def run(told, count, values):
    """What a client does: present, then clean."""
    solver = solver_of(told, count)
    challenges = [Challenge("dns-01", "kill.test", PLACE, value) for value in values]
    try:
        await solver.present(challenges)
    finally:
        await solver.clean(challenges)


def forked(told, count, values):
    """Return how a run in a process of its own ended: 0, or the signal."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(run(told, count, values))
        except BaseException as exc:  # noqa: BLE001 - a child of a fork ends here, whatever happened
            print(repr(exc), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status := os.waitpid(child, 0)[1]) else os.WEXITSTATUS(status)


def there(told):
    host, _, port = told["server"].rpartition(":")
    answer = dns.query.udp(dns.message.make_query(PLACE, "TXT"), host, 5.0, int(port)).answer
    return sorted(value.to_text().strip('"') for rrset in answer for value in rrset)


def main():
    told = json.load(sys.stdin)
    rows = []
    for is_after in (False, True):
        for at in range(1, _CONSTANTLY):
            died = forked(told, Count(at, is_after=is_after), [f"one-{at}-{is_after}", f"two-{at}-{is_after}"])
            left = there(told)
            following = forked(
                told, Count(-1, is_after=False), ["of-the-next-run", f"one-{at}-{is_after}"][: 1 + at % 2]
            )
            rows.append({"at": at, "died": died, "left": left, "next": following, "then": there(told)})
            if died != signal.SIGKILL:
                break
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
