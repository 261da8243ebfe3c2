"""Reading and judging many texts: here where there are few, in processes where there are many; always in order."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

from autogit.errors import AutogitError
from autogit.security.classifier import load_classifier
from autogit.security.scanning.files import FileTarget
from autogit.security.scanning.judging import Judge, Judged, Judgement
from autogit.security.scanning.reading import Reading, read_target
from autogit.security.scanning.texts import ScanText, Skipped

Source = FileTarget | ScanText | Skipped
"""What goes in: a file that is still to be read, a text, or what was left out."""
Scanned = Judged | Skipped
"""What comes out, one for each text."""
_BATCH_SOURCES = 32
_BATCH_CHARACTERS = 200_000
_FEW_BATCHES = 4
"""Starting a process costs as much as judging a megabyte."""
_AHEAD = 3


@dataclass(frozen=True)
class Work:
    """How texts are read and judged, and by how many processes."""

    judgement: Judgement = field(default_factory=Judgement)
    reading: Reading = field(default_factory=Reading)
    jobs: int = 1


def scan_sources(sources: Iterable[Source], work: Work) -> Iterator[Scanned]:
    """Yield what each text comes to, in the order of the sources whatever the number of processes.

    Raises AutogitError where a process dies.
    """
    done: Iterator[list[Scanned]]
    batches = _batches(sources)
    first = list(islice(batches, _FEW_BATCHES)) if work.jobs > 1 else []
    if len(first) < _FEW_BATCHES:
        pickled = pickle.dumps(work)
        done = (scan_batch(pickled, batch) for batch in chain(first, batches))
    else:
        done = _by_processes(chain(first, batches), work)
    for batch in done:
        yield from batch


def scan_batch(pickled: bytes, batch: list[Source]) -> list[Scanned]:
    """Return what each text of a batch comes to; `pickled` is the Work."""
    work, judge = _judge(pickled)
    scanned: list[Scanned] = []
    for source in batch:
        texts = read_target(source, work.reading) if isinstance(source, FileTarget) else (source,)
        scanned += [one if isinstance(one, Skipped) else judge.judge(one) for one in texts]
    return scanned


@lru_cache(maxsize=1)
def _judge(pickled: bytes) -> tuple[Work, Judge]:
    """Return what a process needs; made once in each, for it takes longer than a batch."""
    work = cast("Work", pickle.loads(pickled))  # noqa: S301 - from this very program
    return work, Judge(work.judgement, load_classifier() if work.judgement.classifier else None)


def _batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    batch: list[Source] = []
    size = 0
    for source in sources:
        batch.append(source)
        size += _size(source)
        if len(batch) == _BATCH_SOURCES or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(source: Source) -> int:
    if isinstance(source, ScanText):
        return len(source.text)
    try:
        return Path(source.file).lstat().st_size if isinstance(source, FileTarget) else 0
    except OSError:
        return 0


def _by_processes(batches: Iterator[list[Source]], work: Work) -> Iterator[list[Scanned]]:
    pickled = pickle.dumps(work)
    others = set(multiprocessing.active_children())
    # Never by fork: this process may have threads, and the workers need nothing of it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(work.jobs, mp_context=context, initializer=_end_with_parent)
    waiting: deque[Future[list[Scanned]]] = deque()
    try:
        for batch in batches:
            with _without_interrupts():
                waiting.append(pool.submit(scan_batch, pickled, batch))
            if len(waiting) >= work.jobs * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as exc:
        raise AutogitError(
            "a process of the scan died, and what it was to judge is unknown",
            hint="was memory short? --jobs 1 uses least",
        ) from exc
    except BaseException:
        # Whoever presses Ctrl-C does not want to wait for what is under way; the pool has no way to be told.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: only this one decides, and they end when it does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Let a worker end when this process is killed: by itself it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
