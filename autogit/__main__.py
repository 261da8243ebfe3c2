"""The entry point: the fast path first, everything else only where it does not answer."""

from __future__ import annotations

import gc
import sys

from autogit.fastpath import try_fast_up


def main() -> int:
    """Run `autogit` with the words of this process and return its exit code."""
    answered = try_fast_up(sys.argv[1:])
    if answered is not None:
        return answered
    gc.disable()  # loading makes no garbage, and looking for it takes a tenth of a full start
    from autogit.cli import run  # noqa: PLC0415 - what the fast path saves

    gc.enable()
    return run()


if __name__ == "__main__":
    sys.exit(main())
