"""One sync in a process of its own, to be killed: says on standard output when the work begins."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from autogit.providers.git.bare import BareCopy, Reading
from autogit.providers.git.refs import advertise
from autogit.providers.git.runner import Git


async def main(url: str, path: str) -> None:
    git = Git()
    copy = BareCopy(Path(path), git, wait_seconds=60)
    print("ready", flush=True)
    await copy.fetch(await advertise(git, url), Reading(url, allow_empty=True), datetime.now(UTC))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
