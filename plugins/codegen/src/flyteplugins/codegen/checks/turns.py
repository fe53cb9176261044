"""How many checks run in sandboxes at one time, of all generations of a process together."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

AT_ONCE: Final = (os.cpu_count() or 1) + 1
"""Sandboxes that run checks at one time: one a processor, and one that is being set up or cleared away.

More would share the processors and each take longer, up to the time limits of their programs.
"""


class Turns:
    """Lets so many run at one time, in the order in which they came.

    Attributes:
        busy_seconds: Sum of the seconds that turns took so far.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self.busy_seconds = 0.0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn and have it inside the block."""
        async with self._places:
            began = time.monotonic()
            try:
                yield
            finally:
                self.busy_seconds += time.monotonic() - began


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = weakref.WeakKeyDictionary()


def turns() -> Turns:
    """The turns of the running event loop; Flyte has one loop for all generations of a process."""
    return _turns.setdefault(asyncio.get_running_loop(), Turns())
