"""Finding programs of this host, with next to no imports (the fast path asks too)."""

from __future__ import annotations

import os
import sys


def find_program(name: str) -> str:
    """Return a program's absolute path: beside the running Python first, then on PATH; "" where it is not found.

    `python` is the running Python by its one name `python3`: the same environment can be entered by several names, and
    a process must not look changed because of that.
    """
    if name == "python":
        canonical = os.path.join(os.path.dirname(sys.executable), "python3")
        return canonical if os.access(canonical, os.X_OK) else sys.executable
    places = [os.path.dirname(sys.executable), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    for place in places:
        candidate = os.path.join(place, name)
        if place and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    return ""
