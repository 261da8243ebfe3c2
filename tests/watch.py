"""Looks for a secret where other users of a machine would see it: in the process list, over and over."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path


class Watch:
    """Reads every process's arguments and environment until the end of its block; `found` is where a secret was."""

    def __init__(self, *secrets: bytes) -> None:
        self.found: list[tuple[str, str]] = []
        self.rounds = 0
        self.programs: set[str] = set()
        self._secrets = secrets
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _look(self):
        while not self._stop.is_set():
            self.rounds += 1
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        self._read(process, name)

    def _read(self, process, name):
        body = (process / name).read_bytes()
        if name == "cmdline":
            self.programs |= {word for word in body.decode(errors="replace").split("\0")[:3] if word}
        if any(secret in body for secret in self._secrets):
            self.found.append((str(process), name))
