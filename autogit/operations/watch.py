"""Self-healing as long as somebody lets it run: when to look, and what goes on while something is broken."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from autogit.errors import ApplyLockHeldError, AutogitError
from autogit.fastpath import file_digest, tree_digest
from autogit.model.healing import DEFAULT_POLICY, HealingPolicy
from autogit.model.views import TurnView
from autogit.operations.project import Project, input_trees
from autogit.operations.reconcile import leave_heartbeat, sentence_of, take_turn

Open = Callable[[], Project]
OnTurn = Callable[[TurnView], None]
_SETTLE_SECONDS = 0.3
_STORM_SECONDS, _STORM_TURNS, _STORM_PAUSE_SECONDS = 60.0, 30, 3.0
"""So many turns in so short a time are a storm of events: from then on they are gathered for longer."""
_LEAST_PAUSE_SECONDS = 0.2
_LISTEN_AGAIN_SECONDS = 2.0
_LOCKED_SECONDS = 2.0
_TROUBLE_SECONDS = 10.0
_END_SECONDS = 30.0
"""How long a repair that is under way may go on once somebody wants an end."""


async def watch(
    open_project: Open,
    interval_seconds: float,
    on_turn: OnTurn,
    stop: asyncio.Event,
    policy: HealingPolicy = DEFAULT_POLICY,
) -> None:
    """Heal until `stop` is set: at once when the runtime tells of something, else at the interval.

    The project is opened anew where what it is read from has changed, so that an edited `.env` counts; while it is
    broken, the last good one goes on being healed. A repair that is under way at the end may go on for a while.
    """
    opened = _Opened(open_project)
    heard = asyncio.Event()
    turns: deque[float] = deque(maxlen=_STORM_TURNS)
    loop = asyncio.get_running_loop()
    _listen(opened, loop, heard)
    while not stop.is_set():
        heard.clear()
        turns.append(loop.time())
        view, wake = await _bounded(_guarded_turn(opened, policy), stop) or (None, None)
        if view is not None:
            on_turn(view)
        await _until_heard(heard, stop, interval_seconds if wake is None else min(wake, interval_seconds))
        if heard.is_set():  # one fault is several events
            storm = len(turns) == _STORM_TURNS and loop.time() - turns[0] < _STORM_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _STORM_PAUSE_SECONDS if storm else _SETTLE_SECONDS)


class _Opened:
    """The project as it can be read now; while it is broken, as it was last."""

    def __init__(self, open_project: Open) -> None:
        self._open = open_project
        self.project = open_project()
        self.trouble = ""

    def current(self) -> Project:
        """Return the project, opened anew where something that it was read from has changed."""
        if not self._is_unchanged():
            self.reopen()
        return self.project

    def reopen(self) -> None:
        """Open it anew: with a new connection to its runtime, too."""
        try:
            self.project, self.trouble = self._open(), ""
        except (AutogitError, OSError) as exc:
            self.trouble = f"goes on with what was read before: {sentence_of(exc)}"

    def _is_unchanged(self) -> bool:
        trees = {str(tree) for tree in input_trees(self.project.paths)}
        return not self.trouble and all(
            (tree_digest if path in trees else file_digest)(path) == digest
            for path, digest in self.project.inputs.items()
        )


async def _guarded_turn(opened: _Opened, policy: HealingPolicy) -> tuple[TurnView, float | None]:
    """Return what a turn came to, and after how many seconds the next one is due at the latest."""
    project = opened.current()
    trouble = (opened.trouble,) if opened.trouble else ()
    try:
        turn = await take_turn(project, policy)
    except ApplyLockHeldError as exc:
        return TurnView(healthy=True, services=(), messages=(f"waits: {exc.message}", *trouble)), _LOCKED_SECONDS
    except (AutogitError, OSError) as exc:
        leave_heartbeat(project, exc.code if isinstance(exc, AutogitError) else "failed")
        opened.reopen()
        return TurnView(healthy=False, services=(), messages=(sentence_of(exc), *trouble)), _TROUBLE_SECONDS
    turn.messages += trouble
    return turn.view(), turn.wake_seconds


async def _bounded(
    work: Coroutine[Any, Any, tuple[TurnView, float | None]], stop: asyncio.Event
) -> tuple[TurnView, float | None] | None:
    """Return what work comes to, None where it took too long after somebody wanted an end."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        await asyncio.wait({task}, timeout=_END_SECONDS)
    stopped.cancel()
    if not task.done():
        task.cancel()  # what is left is what a killed repair leaves
        await asyncio.wait({task})
    return None if task.cancelled() else task.result()


async def _until_heard(heard: asyncio.Event, stop: asyncio.Event, seconds: float) -> None:
    waits = {asyncio.ensure_future(heard.wait()), asyncio.ensure_future(stop.wait())}
    await asyncio.wait(waits, timeout=max(_LEAST_PAUSE_SECONDS, seconds), return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()


def _listen(opened: _Opened, loop: asyncio.AbstractEventLoop, heard: asyncio.Event) -> None:
    """Listen to the runtime in a thread of its own; where it falls silent, listen again a little later."""

    def tell() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(heard.set)

    def listen() -> None:
        pause = threading.Event()
        while not loop.is_closed():
            listening = False
            with suppress(Exception):  # the thread's own boundary: whatever it was, it listens again
                for _ in opened.project.runtime.events():
                    listening = True
                    tell()
            if listening:  # what ended it may be worth a look
                tell()
            pause.wait(_LISTEN_AGAIN_SECONDS)

    threading.Thread(target=listen, name="runtime-events", daemon=True).start()
