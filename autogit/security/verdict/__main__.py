"""`python -m autogit.security.verdict CONFIG`: workers that share one socket, and a parent that replaces the dead."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

import psutil
import uvicorn

from autogit.errors import AutogitError, SettingsError
from autogit.model.security import Verdict
from autogit.security.classifier import Classifier
from autogit.security.patterns import load_rules
from autogit.security.prompt_filter import PromptInjectionFilter
from autogit.security.quarantine import QuarantineStore
from autogit.security.verdict.app import VerdictApp
from autogit.security.verdict.config import VerdictConfig, load_config
from autogit.security.verdict.judge import Judge
from autogit.security.verdict.metrics import Metrics, share_values

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SHORT_LIFE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0
_GRACE_SECONDS = 5
_BACKLOG = 512
_LEAST_GROWTH_BYTES = 24 << 20
"""How much a worker may grow in any case, so that none ends as soon as it is there."""


class Workers:
    """The processes that judge. Rules are loaded once, before they part: a new one is there within milliseconds."""

    def __init__(self, config: VerdictConfig) -> None:
        self._config = config
        self._filter = PromptInjectionFilter(config.policy, classifier=_classifier() if config.classifier else None)
        _prove(self._filter)
        self._listener = socket.create_server((config.host, config.port), backlog=_BACKLOG)
        self._slots: dict[int, int] = {}
        self._is_ending = False
        self._quick = 0

    def run(self) -> None:
        """Keep all workers alive until a signal ends them."""
        shutil.rmtree(self._config.metrics, ignore_errors=True)
        self._config.metrics.mkdir(parents=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGALRM, lambda *_: self._signal_all(signal.SIGKILL))
        for slot in range(self._config.workers):
            self._start(slot)
        while self._slots:
            began = time.monotonic()
            pid, _ = os.waitpid(-1, 0)
            slot = self._slots.pop(pid, -1)
            if slot >= 0 and not self._is_ending:
                self._pause(time.monotonic() - began)
                self._start(slot)

    def _pause(self, seconds: float) -> None:
        """Slow down what dies at once: something is broken that a new process does not mend."""
        self._quick = self._quick + 1 if seconds < _SHORT_LIFE_SECONDS else 0
        time.sleep(min(_LONGEST_PAUSE_SECONDS, 0.01 * self._quick**2))

    def _start(self, slot: int) -> None:
        if self._is_ending:
            return
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._slots[pid] = slot
            return
        try:
            self._work(slot, parent)
        finally:
            os._exit(0)

    def _work(self, slot: int, parent: int) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        _tie_to(parent)
        config = self._config
        share_values(config.metrics, slot)
        store = QuarantineStore(config.quarantine, config.limits)
        app = VerdictApp(
            Judge(self._filter, store, config.max_body_bytes),
            Metrics(store.size),
            max_body_bytes=config.max_body_bytes,
            waiting=config.waiting,
            timeout=config.timeout_ms / 1000,
        )
        served = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=_GRACE_SECONDS - 1,
            timeout_notify=1,
        )
        server = uvicorn.Server(served)
        served.callback_notify = _ends_when_larger(server, config.worker_memory_mb << 20)
        server.run([self._listener])

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._is_ending = True
        self._signal_all(signal.SIGTERM)
        signal.alarm(_GRACE_SECONDS)

    def _signal_all(self, number: int) -> None:
        for pid in self._slots:
            os.kill(pid, number)


def _ends_when_larger(server: uvicorn.Server, limit: int) -> Callable[[], Awaitable[None]]:
    """Return what ends a worker, once it has answered, that is larger than so many bytes: its successor begins small.

    The automata of the rules grow with the variety of texts, and give nothing back.
    """
    process = psutil.Process()
    limit = max(limit, process.memory_info().rss + _LEAST_GROWTH_BYTES)

    async def look() -> None:
        server.should_exit = server.should_exit or process.memory_info().rss > limit

    return look


def _prove(prompt_filter: PromptInjectionFilter) -> None:
    """Judge what must be found, so that whatever is loaded on first use is there. Raises SettingsError."""
    heaviest = max(load_rules().rules, key=lambda rule: rule.weight)
    if prompt_filter.analyze(heaviest.matches[0], "canary").verdict is Verdict.PASS:
        raise SettingsError("the prompt filter does not find what it must", hint="raise no threshold up to 1")


def _classifier() -> Classifier:
    from autogit.security.classifier import load_classifier  # noqa: PLC0415 - it takes time and memory

    return load_classifier()


def _tie_to(parent: int) -> None:
    """End when the parent does, even where it is killed: its successor needs the port."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - Linux only

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Run the service until it is told to end; a fault is a sentence and exit code 1."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        Workers(load_config(Path(sys.argv[1]))).run()
    except AutogitError as exc:
        sys.exit(f"autogit: {exc.message}")
    except OSError as exc:
        sys.exit(f"autogit: the verdict service cannot start: {exc}")
    except IndexError:
        sys.exit("usage: python -m autogit.security.verdict CONFIG")


if __name__ == "__main__":
    main()
