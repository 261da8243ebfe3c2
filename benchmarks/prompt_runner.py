"""Runs a prompt-injection filter over texts in a process of its own, with a budget for each text and for all of them.

Some peers take minutes for a text of a few kilobytes. A text that takes longer than its budget counts as not flagged,
its process is ended, and the next text goes to a new one. The peak of the memory is that of the process, which has
nothing loaded but the filter.
"""
# ruff: noqa: PLC0415 - each process loads the filter that it measures, and no other

from __future__ import annotations

import importlib
import importlib.util
import logging
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_START_SECONDS = 60.0
_SCORE_CAP = 0.999


@dataclass(frozen=True, slots=True)
class Answer:
    """What a filter says of a text; `seconds` is CPU time of the call."""

    score: float
    flagged: bool
    seconds: float
    clean: str | None = None
    late: bool = False


@dataclass
class Runner:
    """A filter in its process; `spent` is the wall time of all texts so far, `peak_bytes` the most memory of any."""

    name: str
    text_seconds: float
    models: dict[str, str] = field(default_factory=dict)
    peak_bytes: int = 0
    late: int = 0
    spent: float = 0.0
    _process: Any = None
    _link: Connection | None = None

    def answer(self, text: str, fold: str = "") -> Answer:
        """Have one text judged (by the model of a fold, where the filter has a model)."""
        link = self._started()
        began = time.monotonic()
        link.send((text, self.models.get(fold, "")))
        if not link.poll(self.text_seconds):
            self.late += 1
            self.spent += time.monotonic() - began
            self._process.terminate()
            self._forget()
            return Answer(0.0, flagged=False, seconds=self.text_seconds, late=True)
        score, flagged, seconds, clean, peak = link.recv()
        self.peak_bytes = max(self.peak_bytes, peak)
        self.spent += time.monotonic() - began
        return Answer(score, flagged, seconds, clean)

    def answers(self, texts: Iterable[tuple[str, str]], budget: float) -> list[Answer]:
        """Have texts judged, in order, until the budget (seconds) is spent."""
        done: list[Answer] = []
        began = self.spent
        for text, fold in texts:
            if self.spent - began > budget:
                break
            done.append(self.answer(text, fold))
        return done

    def close(self) -> None:
        """End the process."""
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            self._process.join(5)
            if self._process.is_alive():
                self._process.terminate()
        self._forget()

    def _started(self) -> Connection:
        if self._link is None:
            many = multiprocessing.get_context("spawn")
            self._link, theirs = many.Pipe()
            self._process = many.Process(target=_serve, args=(self.name, theirs), daemon=True)
            self._process.start()
            theirs.close()
            try:
                ready = self._link.poll(_START_SECONDS) and self._link.recv()
            except EOFError:
                ready = None
            if not ready:
                sys.exit(f"error: {self.name} does not start, see above")
        return self._link

    def _forget(self) -> None:
        self._process, self._link = None, None


def _serve(name: str, link: Connection) -> None:
    """Judge texts until the other end of the link is closed."""
    logging.disable(logging.CRITICAL)
    judge = FILTERS[name]()
    judge("Words to load what is loaded on first use.", "")
    link.send("ready")
    try:
        while True:
            text, model = link.recv()
            began = time.process_time()
            score, flagged, clean = judge(text, model)
            seconds = time.process_time() - began
            link.send((score, flagged, seconds, clean if clean != text else None, _peak_bytes()))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _peak_bytes() -> int:
    """Return the most memory of this process (`ru_maxrss` would have that of the parent, too)."""
    with suppress(OSError, ValueError), Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


Judge = Callable[[str, str], tuple[float, bool, str | None]]


def _autogit() -> Judge:
    from autogit.security.prompt_filter import PromptInjectionFilter

    watcher = PromptInjectionFilter()

    def judge(text: str, _model: str) -> tuple[float, bool, str | None]:
        found = watcher.analyze(text)
        return found.risk_score, found.verdict.rank > 0, found.clean_text

    return judge


def _autogit_model() -> Judge:
    from autogit.security.classifier import load_classifier
    from autogit.security.prompt_filter import PromptInjectionFilter

    made: dict[str, PromptInjectionFilter] = {}

    def judge(text: str, model: str) -> tuple[float, bool, str | None]:
        if model not in made:
            made[model] = PromptInjectionFilter(classifier=load_classifier(Path(model) if model else None))
        found = made[model].analyze(text)
        return found.risk_score, found.verdict.rank > 0, found.clean_text

    return judge


def _injectionguard() -> Judge:
    from injectionguard import detect
    from injectionguard.types import LEVEL_ORDER

    def judge(text: str, _model: str) -> tuple[float, bool, str | None]:
        found = detect(text)
        levels = [LEVEL_ORDER.index(one.threat_level) for one in found.detections]
        # It has no score: the worst level, and among equals the number of detections.
        score = min(_SCORE_CAP, max(levels, default=0) / 4 + len(levels) / 1000)
        return score, not found.is_safe, None

    return judge


def _nukon() -> Judge:
    from nukon_pi_detect import DECISION_CLEAN, scan

    def judge(text: str, _model: str) -> tuple[float, bool, str | None]:
        found = scan(text)
        return found.score, found.decision != DECISION_CLEAN, None

    return judge


FILTERS: dict[str, Callable[[], Judge]] = {
    "autogit": _autogit,
    "autogit+model": _autogit_model,
    "injectionguard": _injectionguard,
    "nukon-pi-detect": _nukon,
}
_MODULES = {"injectionguard": "injectionguard", "nukon-pi-detect": "nukon_pi_detect"}


def is_installed(name: str) -> bool:
    """Whether a filter can be measured here."""
    return name not in _MODULES or importlib.util.find_spec(_MODULES[name]) is not None
