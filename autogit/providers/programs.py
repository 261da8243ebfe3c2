"""Finding programs of this host, with next to no imports (the fast path asks too)."""

from __future__ import annotations

import os
import sys


def find_program(name: str) -> str:
    """Return a program's absolute path: beside the running Python first, then on PATH; "" where it is not found.

    `python` is the running Python itself.
    """
    if name == "python":
        return sys.executable
    places = [os.path.dirname(sys.executable), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    for place in places:
        candidate = os.path.join(place, name)
        if place and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    return ""
