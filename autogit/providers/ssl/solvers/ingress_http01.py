"""Shows http-01 challenges where port 80 leads: through the ingress where it runs, else in its place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import ClassVar

from autogit.errors import AutogitError, RejectedError, UnavailableError
from autogit.model.acme import Challenge, ChallengeKind, HttpChallenges, Solver
from autogit.providers.dns.world.lookup import Lookup
from autogit.providers.ssl.solvers.http01 import Http01Solver, Say, StandaloneHttp01Solver, check_shown
from autogit.providers.ssl.solvers.http_probe import Probe, Sight, look
from autogit.providers.ssl.solvers.journal import Entry

_CONNECT_SECONDS = 2.0
_POLL_SECONDS = 0.05
_WAY_SECONDS = 10.0
"""How long a running ingress may take to lead there: Traefik reads its files within a fraction of a second."""


class IngressHttp01Solver:
    """Chooses when a challenge is shown, for an ingress may run or not by then; who showed it takes it away.

    Where nothing listens on the ingress' port of plain HTTP, it is served on that very port. Where the ingress runs, it
    serves `folder`, or leads to a port on which the challenge is served; then it is asked first, here. A `public`
    authority's view is asked for, too, and told.
    """

    kind: ClassVar[ChallengeKind] = "http-01"

    def __init__(  # noqa: PLR0913 - where, in two senses, who is asked, and who hears of it
        self,
        place: Callable[[], HttpChallenges],
        folder: Path,
        state_file: Path,
        lookup: Lookup,
        *,
        public: bool,
        progress: Say,
        way_seconds: float = _WAY_SECONDS,
    ) -> None:
        self._place = place
        self._files = Http01Solver(folder, state_file=state_file, progress=progress)
        self._lookup = lookup
        self._public = public
        self._say = progress
        self._way_seconds = way_seconds
        self._shown_by: dict[str, Solver] = {}

    async def ingress_runs(self) -> bool:
        """Tell whether anything listens on the ingress' port of plain HTTP."""
        return await asyncio.to_thread(_listens, self._place())

    async def present(self, challenges: Sequence[Challenge]) -> None:
        """Show them, and return once the ingress, where it runs, leads there.

        Raises UnavailableError where it does not or a port is taken, RejectedError where a port may not be used,
        StorageFullError where files cannot be written.
        """
        place, runs = self._place(), await self.ingress_runs()
        solver = self._solver(place, runs=runs)
        self._shown_by |= {one.place: solver for one in challenges}
        try:
            await solver.present(challenges)
        except (RejectedError, UnavailableError) as exc:
            exc.hint = _other_way(exc, runs=runs)
            raise
        if runs:
            await self._await_way(place, challenges)
        if self._public:
            await check_shown(Probe(self._lookup, strict=False), challenges, self._say)

    async def clean(self, challenges: Sequence[Challenge]) -> None:
        """Take them away from where they were shown. Raises ProviderError."""
        shown: dict[int, tuple[Solver, list[Challenge]]] = {}
        for one in challenges:
            solver = self._shown_by.pop(one.place, None)
            if solver is not None:
                shown.setdefault(id(solver), (solver, []))[1].append(one)
        for solver, own in shown.values():
            await solver.clean(own)

    async def clean_leftovers(self) -> tuple[Entry, ...]:
        """Remove the files that killed runs left; what they listened on ended with them. Raises ProviderError."""
        return await self._files.clean_leftovers()

    def _solver(self, place: HttpChallenges, *, runs: bool) -> Solver:
        if not runs:
            return StandaloneHttp01Solver(place.port, place.address, progress=self._say)
        if place.listen_port:
            return StandaloneHttp01Solver(place.listen_port, place.listen_address, progress=self._say)
        return self._files

    async def _await_way(self, place: HttpChallenges, challenges: Sequence[Challenge]) -> None:
        probe = Probe(self._lookup, lambda _address, _port: (place.asked_at, place.port))
        deadline = monotonic() + self._way_seconds
        for one in challenges:
            while not (sight := await look(probe, one.identifier, place.asked_at, one.place)).shows(one.value):
                if monotonic() >= deadline:
                    raise _no_way(one.identifier, place, sight)
                await asyncio.sleep(_POLL_SECONDS)


def _listens(place: HttpChallenges) -> bool:
    try:
        socket.create_connection((place.asked_at, place.port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _other_way(exc: AutogitError, *, runs: bool) -> str:
    if isinstance(exc, UnavailableError):
        return "end what listens there, or name another port: PORT_TRAEFIK_ACME in .env" if runs else exc.hint or ""
    return (
        "run AutoGit as root this once, or set CERT_ISSUER=local for the first autogit up: where the ingress runs, it "
        "leads challenges to a port that every user may listen on"
    )


def _no_way(name: str, place: HttpChallenges, sight: Sight) -> UnavailableError:
    return UnavailableError(
        f"http-01: what listens on {place.asked_at}:{place.port} does not show the challenge of {name}: "
        f"{sight.sentence}",
        hint="autogit status tells whether that is the ingress, autogit logs what hinders it; where INGRESS has just "
        "been changed, change it alone, without new names",
    )
