"""Lets a step of writing come to its end although its task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Carry out; where this task is cancelled, end with CancelledError after the work has ended.

    What runs in a thread goes on whoever is cancelled, and would land after the clean-up. A second cancellation does
    not wait.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it was looked at: nobody is told that it was not
        raise
